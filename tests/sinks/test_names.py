"""Names in tags: unique, stable, harmless, and the same for one architecture."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import layers as L
from support import findings as made
from support import models
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from keras_babysit import Babysitter
from keras_babysit.facts import Outline
from keras_babysit.records import (
    EpochRecord,
    Histogram,
    LayerStats,
    StepRecord,
    VariableStats,
)
from keras_babysit.sinks.charts import BAND, SPACING
from keras_babysit.sinks.layout import KERNELS
from keras_babysit.sinks.names import LONGEST, Names, harmless, renumbered
from keras_babysit.sinks.tensorboard import TensorBoardSink

KINDS = st.sampled_from(["dense", "conv2d", "dense_1", "forward_lstm", "d", "é"])
MADE_UP = st.dictionaries(st.tuples(KINDS, st.integers(0, 30)), st.none()).map(
    lambda found: {f"{k}_{n}" if n else k: k for k, n in found}
)
CHOSEN = st.frozensets(
    st.one_of(st.text(max_size=5), st.sampled_from(["dense", "dense_1", "dense_1_1"]))
)
PART = st.one_of(
    st.text(max_size=3), st.sampled_from(["dense_1", "dense_4", "net_2", "kernel@2"])
)
PATHS = st.lists(st.lists(PART, min_size=1, max_size=3).map("/".join), unique=True)


@given(MADE_UP, CHOSEN)
def test_renumbered(made_up, chosen):
    chosen -= set(made_up)
    new = renumbered(made_up, chosen)
    assert set(new) == set(made_up)
    assert len(set(new.values()) | chosen) == len(new) + len(chosen)
    again = renumbered({new[name]: kind for name, kind in made_up.items()}, chosen)
    assert all(before == after for before, after in again.items())


@given(st.lists(st.integers(0, 99), unique=True, min_size=1), st.integers(1, 99))
def test_numbers_that_are_further_on_make_no_difference(numbers, later):
    def of(shift):
        names = [f"dense_{n + shift}" if n + shift else "dense" for n in numbers]
        new = renumbered(dict.fromkeys(names, "dense"))
        return [new[name] for name in names]

    assert of(0) == of(later)


def test_the_first_model_of_a_process_keeps_its_names():
    names = {f"dense_{i}" if i else "dense": "dense" for i in range(12)}
    assert renumbered(names) == {name: name for name in names}


@given(PATHS, MADE_UP)
def test_unique_and_stable(paths, made_up):
    made_up["net_2"] = "net"
    names = Names(Outline("net_2", made_up))
    first = [names.of(path) for path in paths]
    assert len(set(first)) == len(first)
    assert [names.of(path) for path in reversed(paths)] == first[::-1]
    for name in first:
        assert name.isprintable()
        name.encode()


def test_what_somebody_has_chosen_stays():
    outline = Outline("net_2", {"dense_3": "dense"}, frozenset({"net_2", "block_4"}))
    names = Names(outline)
    assert names.of("net_2/block_4/dense_3/kernel") == "net_2/block_4/dense/kernel"
    assert names.of("net_2/block_4/dense_3@2") == "net_2/block_4/dense@2"
    assert names.model == "net_2"
    assert Names(Outline()).of("dense_7/kernel") == "dense_7/kernel"
    assert Names(Outline()).description("a", "dense_7/kernel") == ""


@given(st.text())
def test_harmless(name):
    assert harmless(name).isprintable()
    assert len(harmless(name)) <= LONGEST + len("…~12345678")
    assert (harmless(name) == name) == (name.isprintable() and len(name) <= LONGEST)


ODD = ("<script>alert(1)</script>", "a\nb", "a b", "a\rb", "`é`*_😀", "\ud800", "")
ODD += ("x" * 10_000, "x" * 10_001, "(", "[a-", "\\d+$")


def test_odd_names_in_files(tmp_path):
    histogram = Histogram(0.0, 1.0, np.ones(3))
    outline = Outline("net", minor=frozenset({"bias"}))
    sink = TensorBoardSink(tmp_path, lambda: outline)
    variables = tuple(
        VariableStats(path, update_ratio=1e-3, gradient_histogram=histogram)
        for path in (*ODD, "bias")
    )
    layers = tuple(LayerStats(path, histogram=histogram) for path in ODD)
    sink.emit(StepRecord(0, 0.0, variables=variables, layers=layers))
    sink.close()
    found = EventAccumulator(str(tmp_path / "train")).Reload()
    tags = found.Tags()["tensors"]
    for group, count in (
        ("layer_update_ratio_log10", len(ODD)),
        ("layer_gradients", len(ODD)),
        ("layer_activations", len(ODD)),
    ):
        shown = [t for t in tags if t.startswith(f"{group}/") and "/~ 1e-" not in t]
        assert len(shown) == count
        assert max(map(len, shown)) < 250
    described = [found.SummaryMetadata(t).summary_description for t in tags]
    assert sum("xxx" in text for text in described) == 6
    assert max(map(len, described)) < 1100


def functional():
    inputs = keras.Input((6, 4))
    x = L.Bidirectional(L.LSTM(3, return_sequences=True))(inputs)
    x = keras.Sequential([L.Dense(4, activation="relu"), L.Dense(4)])(x)
    x = L.MultiHeadAttention(2, 2)(x, x)
    return keras.Model(inputs, L.Dense(models.CLASSES, name="head")(L.Flatten()(x)))


@keras.saving.register_keras_serializable("tests")
class Unnamed(L.Layer):
    def build(self, shape):
        self.a = self.add_weight(shape=(shape[-1], 3), initializer="ones")
        self.b = self.add_weight(shape=(3, 4), initializer="ones")

    def call(self, x):
        return x @ self.a @ self.b


def sequential():
    parts = [Unnamed(), L.Flatten(), L.Dense(models.CLASSES)]
    return keras.Sequential([keras.Input((6, 4)), *parts])


def subclassed():
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.first, self.last = L.Dense(4, "relu"), L.Dense(models.CLASSES)

        def call(self, x):
            return self.last(keras.ops.mean(self.first(x), 1))

    return Net()


@pytest.mark.parametrize("make", [functional, sequential, subclassed])
def test_an_architecture_has_its_tags(make, tmp_path):
    """Whatever was built before it in the process."""
    x, y = models.images((6, 4))
    found = []
    for run in ("first", "second"):
        model = make()
        models.compile_model(model, jit_compile=False)
        watcher = Babysitter(tmp_path / run, every=1, rules=[], verbose=0)
        model.fit(x, y, batch_size=36, verbose=0, callbacks=[watcher])
        read = EventAccumulator(str(tmp_path / run / "train")).Reload()
        of_layers = [t for t in read.Tags()["tensors"] if t.startswith("layer_")]
        assert of_layers
        (layout,) = read.Tensors("custom_scalars__config__")
        found.append((of_layers, layout.tensor_proto.string_val))
        L.Dense(3), L.LSTM(3)
    assert found[0] == found[1]
    text = " ".join(found[0][0])
    assert "head" in text or make is not functional
    # Records and histories have Keras's own names.
    assert watcher.history.window("update_ratio", 1).places == tuple(
        v.path for v in model.trainable_variables
    )


def tags_of(log_dir, n):
    """The tags of a network of `n` layers, a kernel, a bias and a scale in each."""
    model = made.facts(n)
    weights = [f"{x.path}/{w}" for x in model.layers for w in ("b", "gamma")]
    outline = Outline(minor=frozenset([*weights, "flatten"]))
    sink = TensorBoardSink(log_dir, lambda: outline)
    sink.emit(made.step_record(model, 0))
    sink.emit(EpochRecord(1, 1, {"loss": 1.0, "accuracy": 0.5}))
    sink.close()
    return EventAccumulator(str(log_dir / "train")).Reload()


@pytest.mark.parametrize("n", [5, 60, 300])
def test_one_card_for_each_kernel(tmp_path, n):
    found = tags_of(tmp_path, n)
    tags = [t for t in found.Tags()["tensors"] if not t.startswith("babysit/")]
    of_kernels = [t for t in tags if t.startswith("layer_")]
    assert len(of_kernels) == n + 1 + len(BAND)
    assert len(tags) - len(of_kernels) < 20


def test_charts_of_kernels_have_few_lines(tmp_path):
    from tensorboard.plugins.custom_scalar import layout_pb2
    from tensorboard.util import tensor_util

    (point,) = tags_of(tmp_path, 60).Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(
        tensor_util.make_ndarray(point.tensor_proto).item()
    )
    charts = layout.category[-1].chart
    lines = [c.multiline.tag[0].count("|") + 1 - len(BAND) for c in charts]
    assert sum(lines) == 61
    assert max(lines) == KERNELS
    assert len({c.title for c in charts}) == len(charts)


def test_histograms_come_ever_more_rarely(tmp_path):
    histogram = Histogram(0.0, 1.0, np.ones(3))
    sink = TensorBoardSink(tmp_path)
    began, steps = 70_000, 3_000
    for step in range(began, began + steps):
        full = step % 2 == 0
        layers = (LayerStats("dense", histogram=histogram),) if full else ()
        sink.emit(StepRecord(step, 0.0, 1.0, layers=layers))
    sink.close()
    found = EventAccumulator(str(tmp_path / "train"), size_guidance={"tensors": 0})
    found.Reload()
    assert len(found.Tensors("batch/loss")) == steps
    kept = [e.step - began for e in found.Tensors("layer_activations/dense")]
    assert kept[:50] == list(range(0, 100, 2))
    assert len(kept) < 300
    assert kept[-1] > steps * (1 - 2 * SPACING)
    gaps = np.diff(kept)
    assert (gaps <= np.maximum(2, SPACING * np.array(kept[1:]) + 2)).all()
    assert (gaps >= SPACING * np.array(kept[:-1])).all()


def test_charts_of_what_went_wrong(tmp_path):
    bad = made.stats(float("nan"))
    bad = bad.__class__(**{**vars(bad), "nan": 3.0})
    good = made.stats(1.0)
    sink = TensorBoardSink(tmp_path)
    for step, (one, two) in enumerate([(good, good), (bad, good), (bad, bad)]):
        variables = (
            VariableStats("a/kernel", weight=good, gradient=one),
            VariableStats("b/kernel", weight=good, gradient=two),
        )
        sink.emit(StepRecord(step, 0.0, variables=variables))
    sink.close()
    found = EventAccumulator(str(tmp_path / "train")).Reload()
    wrong = [t for t in found.Tags()["tensors"] if "nan_or_inf" in t]
    assert wrong == ["batch/nan_or_inf/gradients"]
    points = [(e.step, e.tensor_proto.float_val[0]) for e in found.Tensors(wrong[0])]
    assert points == [(1, 1.0), (2, 2.0)]
