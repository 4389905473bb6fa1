"""What losses give that know nothing: closed forms against Keras's own functions."""

import inspect
import itertools
import math

import keras
import numpy as np
import pytest
from support import closed_forms
from support.closed_forms import entropy

from keras_babysit.checks.losses import loss_kinds
from keras_babysit.checks.losses.chance import Guesses, guesses_of, inverse
from keras_babysit.checks.losses.parts import Part
from keras_babysit.inspection.compiled import loss_facts

N, C = 24, 5
RNG = np.random.default_rng(3)
LABELS = RNG.integers(0, C - 1, N)  # The last class does not occur.
ONE_HOT = np.eye(C)[LABELS]
SOFT = RNG.dirichlet(np.ones(C), N)
BITS = (RNG.random((N, C)) < 0.3).astype(float)
NUMBERS = RNG.normal(0.5, 2, (N, C))
COUNTS = RNG.poisson(3, (N, C)).astype(float)

K = keras.losses
#: Loss, its targets for Keras, its targets as rows, options that the closed form takes.
CASES = {
    "binary_crossentropy": [
        (K.BinaryCrossentropy(), BITS, BITS, {}),
        (K.BinaryCrossentropy(from_logits=True), BITS, BITS, {}),
        (K.BinaryCrossentropy(label_smoothing=0.2), BITS, BITS, {"label_smoothing"}),
    ],
    "binary_focal_crossentropy": [
        (K.BinaryFocalCrossentropy(), BITS, BITS, {}),
        (
            K.BinaryFocalCrossentropy(
                True, alpha=0.7, gamma=1.5, label_smoothing=0.1, from_logits=True
            ),
            BITS,
            BITS,
            {"apply_class_balancing", "alpha", "gamma", "label_smoothing"},
        ),
    ],
    "categorical_crossentropy": [
        (K.CategoricalCrossentropy(), ONE_HOT, ONE_HOT, {}),
        (K.CategoricalCrossentropy(from_logits=True), SOFT, SOFT, {}),
        (
            K.CategoricalCrossentropy(label_smoothing=0.1),
            ONE_HOT,
            ONE_HOT,
            {"label_smoothing"},
        ),
    ],
    "categorical_focal_crossentropy": [
        (K.CategoricalFocalCrossentropy(), ONE_HOT, ONE_HOT, {}),
        (
            K.CategoricalFocalCrossentropy(alpha=0.4, gamma=3.0, from_logits=True),
            ONE_HOT,
            ONE_HOT,
            {"alpha", "gamma"},
        ),
    ],
    "categorical_generalized_cross_entropy": [
        (K.CategoricalGeneralizedCrossEntropy(), LABELS, ONE_HOT, {}),
        (K.CategoricalGeneralizedCrossEntropy(q=0.2), LABELS, ONE_HOT, {"q"}),
    ],
    "categorical_hinge": [(K.CategoricalHinge(), ONE_HOT, ONE_HOT, {})],
    "circle": [
        (K.Circle(), LABELS, LABELS, {}),
        (K.Circle(gamma=3.0, margin=0.9), LABELS, LABELS, {"gamma", "margin"}),
        (
            K.Circle(gamma=2.0, margin=0.5, remove_diagonal=False),
            LABELS,
            LABELS,
            {"gamma", "margin", "remove_diagonal"},
        ),
    ],
    "cosine_similarity": [(K.CosineSimilarity(), NUMBERS, NUMBERS, {})],
    "ctc": [],  # See below: its targets are not like those of any other.
    "dice": [(K.Dice(), BITS, BITS, {})],
    "hinge": [(K.Hinge(), BITS, BITS, {}), (K.Hinge(), 2 * BITS - 1, BITS, {})],
    "huber": [
        (K.Huber(), NUMBERS, NUMBERS, {}),
        (K.Huber(delta=2.5), NUMBERS, NUMBERS, {"delta"}),
    ],
    "kl_divergence": [(K.KLDivergence(), SOFT, SOFT, {})],
    "log_cosh": [(K.LogCosh(), NUMBERS, NUMBERS, {})],
    "mean_absolute_error": [(K.MeanAbsoluteError(), NUMBERS, NUMBERS, {})],
    "mean_absolute_percentage_error": [
        (K.MeanAbsolutePercentageError(), NUMBERS, NUMBERS, {})
    ],
    "mean_squared_error": [(K.MeanSquaredError(), NUMBERS, NUMBERS, {})],
    "mean_squared_logarithmic_error": [
        (K.MeanSquaredLogarithmicError(), COUNTS, COUNTS, {})
    ],
    "poisson": [(K.Poisson(), COUNTS, COUNTS, {})],
    "sparse_categorical_crossentropy": [
        (K.SparseCategoricalCrossentropy(), LABELS, ONE_HOT, {}),
        (K.SparseCategoricalCrossentropy(from_logits=True), LABELS, ONE_HOT, {}),
    ],
    "squared_hinge": [(K.SquaredHinge(), BITS, BITS, {})],
    "tversky": [
        (K.Tversky(), BITS, BITS, {}),
        (K.Tversky(alpha=0.2, beta=0.7), BITS, BITS, {"alpha", "beta"}),
    ],
}
FLAT = [(name, *case) for name, cases in CASES.items() for case in cases]


def guesses(loss, y, shape=(N, C), weight=None):
    part = Part(
        name="",
        loss=loss,
        y=keras.ops.convert_to_tensor(y),
        y_pred=keras.ops.zeros(shape),
        sample_weight=weight,
    )
    found = guesses_of(part, None)
    assert found is not None
    facts = part.facts
    link = loss_kinds.link_of(facts.name, None, bool(facts.from_logits))
    return Guesses(part, link)


def options_of(loss, names):
    given = {**getattr(loss, "_fn_kwargs", {}), **vars(loss)}
    return {name: given[name] for name in names}


def test_every_loss_of_keras_is_known():
    """A new loss in Keras has to be added to `loss_kinds` and to the cases here."""
    classes = [c for c in vars(K).values() if inspect.isclass(c) and c is not K.Loss]
    names = {loss_facts(made, C).name for made in (make() for make in classes)}
    known = {*loss_kinds.KINDS} & {*CASES} & {*closed_forms.UNTRAINED}
    assert names == known == set(loss_kinds.KINDS)
    functions = {
        name
        for name, f in vars(K).items()
        if inspect.isfunction(f) and name not in ("get", "serialize", "deserialize")
    }
    assert functions == names


# Loops rather than parameters: Keras is cleaned up after each test, which takes longer.
def test_untrained():
    for name, loss, y, rows, names in FLAT:
        assert loss_facts(loss, C).name == name
        expected = closed_forms.UNTRAINED[name](rows, C, **options_of(loss, names))
        found = guesses(loss, y).untrained
        assert found == pytest.approx(expected, rel=2e-5, abs=2e-6), name


def test_constant():
    """It is what the closed form says, and nothing constant is better."""
    for name, loss, y, rows, names in FLAT:
        known = guesses(loss, y)
        if known.constant is None:
            assert name == "circle"
            continue
        if name in closed_forms.CONSTANT:
            if "label_smoothing" in names:
                smoothing = loss._fn_kwargs["label_smoothing"]
                rows = closed_forms.smoothed(rows, smoothing, "binary" in name)
            expected = closed_forms.CONSTANT[name](rows)
            assert known.constant == pytest.approx(expected, rel=1e-4, abs=2e-6), name
        best = known._constant_scores
        slack = 1e-5 * (1 + abs(known.constant))
        for size in (0.01, 0.1, 0.1, 1.0, 1.0):
            other = known.loss_at(best + size * RNG.normal(size=C))
            assert other >= known.constant - slack, name
        assert known.lowest is None or known.lowest <= known.constant + slack, name
        assert known.constant <= known.untrained + slack, name


def test_values_of_the_notes():
    def of(loss, y, classes):
        return guesses(loss, y, shape=(len(y), classes))

    ten = of(K.CategoricalCrossentropy(), np.eye(10), 10)
    assert ten.untrained == pytest.approx(2.302585, abs=1e-5)
    assert loss_kinds.formula("sparse_categorical_crossentropy", 10) == "log 10"
    two = of(K.BinaryCrossentropy(), np.ones((2, 1)), 1)
    assert two.untrained == pytest.approx(math.log(2), abs=1e-6)
    assert of(K.Hinge(), np.ones((2, 1)), 1).untrained == 1
    shares = np.repeat(np.eye(2), [9, 1], axis=0)
    expected = -0.9 * math.log(0.9) - 0.1 * math.log(0.1)
    uneven = of(K.CategoricalCrossentropy(), shares, 2)
    assert uneven.constant == pytest.approx(expected, rel=1e-5)
    y = np.array([[1.0], [2.0], [6.0]], "float32")
    squared = of(K.MeanSquaredError(), y, 1)
    assert squared.untrained == pytest.approx(41 / 3)
    assert squared.constant == pytest.approx(14 / 3)
    assert of(K.MeanAbsoluteError(), y, 1).constant == pytest.approx(5 / 3)


def test_sums_and_weights_are_those_of_the_loss():
    weight = RNG.random(N) + 0.5
    loss = K.SparseCategoricalCrossentropy(reduction="sum")
    found = guesses(loss, LABELS, weight=weight).untrained
    assert found == pytest.approx(weight.sum() * math.log(C), rel=1e-5)
    shares = np.bincount(LABELS, weight, C) / weight.sum()
    found = guesses(loss, LABELS, weight=weight).constant
    assert found == pytest.approx(weight.sum() * entropy(shares), rel=1e-4)


def test_ctc():
    rows = [(1, 2), (1, 1), (2, 1, 2), (2, 2, 2), (1,), (1, 2, 2, 1)]
    for row, frames in itertools.product(rows, (4, 7)):
        check_ctc(row, frames)


def check_ctc(row, frames):
    classes, padded = 3, np.zeros((1, 5), int)
    padded[0, : len(row)] = row
    ways = 0
    for path in itertools.product(range(classes), repeat=frames):
        merged = [a for a, _ in itertools.groupby(path)]
        ways += tuple(a for a in merged if a) == row
    expected = closed_forms.ctc(padded, classes, frames)
    if not ways:
        assert expected == math.inf
        return
    assert expected == pytest.approx(frames * math.log(classes) - math.log(ways))
    known = guesses(K.CTC(), padded, shape=(1, frames, classes))
    assert known.untrained == pytest.approx(expected, rel=1e-5)
    assert known.constant is None


def test_binary_of_one_unit():
    y = (np.arange(N) < 6).astype("int64")
    known = guesses(K.BinaryCrossentropy(), y, shape=(N, 1))
    assert known.untrained == pytest.approx(math.log(2), rel=1e-5)
    assert known.constant == pytest.approx(entropy([0.25, 0.75]), rel=1e-5)
    assert known.lowest == pytest.approx(0, abs=1e-5)


def test_positions_share_their_constant():
    labels = RNG.integers(0, C, (6, 4, 3))
    known = guesses(K.SparseCategoricalCrossentropy(), labels, shape=(6, 4, 3, C))
    shares = np.bincount(labels.ravel(), minlength=C) / labels.size
    assert known.constant == pytest.approx(entropy(shares), rel=1e-5)


def test_ignored_class():
    labels = LABELS.copy()
    labels[::2] = -1
    loss = K.SparseCategoricalCrossentropy(ignore_class=-1)
    known = guesses(loss, labels)
    shares = np.bincount(LABELS[1::2], minlength=C) / (N // 2)
    assert known.untrained == pytest.approx(math.log(C), rel=1e-5)
    assert known.constant == pytest.approx(entropy(shares), rel=1e-4)


def test_inverse():
    values = RNG.dirichlet(np.ones(4), 6)
    for link in ("linear", "softmax", "sigmoid", "tanh", "softplus", "exponential"):
        scores = inverse(link, values).astype("float32")
        made = keras.activations.get(link)(keras.ops.convert_to_tensor(scores))
        np.testing.assert_allclose(np.asarray(made), values, rtol=1e-4, atol=1e-5)


def test_links():
    assert loss_kinds.link_of("categorical_crossentropy", "linear") == "softmax"
    assert loss_kinds.link_of("categorical_crossentropy", "linear", True) == "linear"
    assert loss_kinds.link_of("binary_crossentropy", None) == "sigmoid"
    assert loss_kinds.link_of("binary_crossentropy", "softmax") == "softmax"
    assert loss_kinds.link_of("mean_squared_error", "tanh") == "tanh"
    assert loss_kinds.link_of("poisson", "softplus") == "softplus"
    assert loss_kinds.link_of("poisson", "linear") == "exponential"
