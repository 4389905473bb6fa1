"""A watched run against the plain one, bit for bit, for combinations of everything.

Every two choices of different factors meet in one of the combinations at least. Eight
of them run always, with the slow tests all of them but most of those under XLA, which
takes the time: `make fuzz` has all.
"""

import os
import random
import warnings

import keras
import numpy as np
import pytest
from support import models
from support.combinations import pairs_of, pairwise

from keras_babysit import Babysitter
from keras_babysit.backend import load, packing

BACKEND = keras.backend.backend()

O = keras.optimizers  # noqa: E741

#: Steps of each run, more or less: epochs of four or five.
EPOCHS = 5

OPTIMIZERS = {
    "sgd": lambda: O.SGD(0.05),
    "momentum": lambda: O.SGD(0.05, momentum=0.9),
    "nesterov": lambda: O.SGD(0.05, momentum=0.9, nesterov=True),
    "adam": lambda: O.Adam(1e-2),
    "adamw": lambda: O.AdamW(1e-2, weight_decay=0.1),
    "rmsprop": lambda: O.RMSprop(O.schedules.ExponentialDecay(1e-2, 3, 0.5)),
    "adagrad": lambda: O.Adagrad(1e-2),
    "lion": lambda: O.Lion(1e-3),
    "accumulation": lambda: O.Adam(1e-2, gradient_accumulation_steps=3),
    "ema": lambda: O.SGD(0.05, use_ema=True, ema_overwrite_frequency=4),
    "clipping": lambda: O.Adam(1e-2, global_clipnorm=0.5),
    "loss scale": lambda: O.LossScaleOptimizer(O.SGD(0.05), dynamic_growth_steps=3),
}
MODELS = {
    "batch normalization": models.cnn,
    "dropout": models.mlp,
    "recurrent": models.lstm,
    "attention": models.transformer,
    "subclassed": models.subclassed,
    "custom step": models.custom_step,
    "gan": models.Gan_and_data,
    "shared layers": models.shared_and_nested,
}
WATCHING = {
    "every step": {"every": 1},
    "every third": {"every": 3},
    "budget": {},
    "strictly": {"strict": True, "overhead": 0.5},
    "updates": {"probes": ["update_ratio"], "every": 1},
}


def batches(x, y, size):
    n = len(keras.tree.flatten(x)[0])
    for i in range(0, n, size):
        part = slice(i, i + size)
        yield keras.tree.map_structure(lambda a, part=part: a[part], (x, y))


def as_arrays(x, y, size):
    return {"x": x, "y": y, "batch_size": size}


def as_dataset(x, y, size):
    import tensorflow as tf

    return {"x": tf.data.Dataset.from_tensor_slices((x, y)).batch(size)}


def as_filtered(x, y, size):
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices((x, y))
    return {"x": data.filter(lambda *_: True).batch(size)}


def as_repeated(x, y, size):
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(size).repeat()
    return {"x": data, "steps_per_epoch": 4}


def as_generator(x, y, size):
    def endless():
        while True:
            yield from batches(x, y, size)

    return {"x": endless(), "steps_per_epoch": 4}


class Batches(keras.utils.PyDataset):
    def __init__(self, x, y, size):
        super().__init__()
        self.parts = list(batches(x, y, size))

    def __len__(self):
        return len(self.parts)

    def __getitem__(self, i):
        return self.parts[i]


def as_py_dataset(x, y, size):
    return {"x": Batches(x, y, size)}


def as_finite_generator(x, y, size):
    # It would end in the second epoch: this many batches are all that is trained on.
    def all_epochs():
        for _ in range(EPOCHS):
            yield from batches(x, y, size)

    return {"x": all_epochs(), "steps_per_epoch": -(-models.N // size)}


class Pairs:
    """Samples as PyTorch's data sets have them."""

    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(keras.tree.flatten(self.x)[0])

    def __getitem__(self, i):
        return keras.tree.map_structure(lambda a: a[i], (self.x, self.y))


def as_loader(x, y, size):
    from torch.utils.data import DataLoader

    return {"x": DataLoader(Pairs(x, y), batch_size=size)}


DATA = {
    "arrays": as_arrays,
    "generator": as_generator,
    "finite generator": as_finite_generator,
    "py dataset": as_py_dataset,
} | {
    "tensorflow": {
        "dataset": as_dataset,
        "of unknown length": as_filtered,
        "repeated": as_repeated,
    },
    "jax": {},
    "torch": {"loader": as_loader},
}[BACKEND]
#: What a backend cannot do, or Keras cannot with it.
WITHOUT = {
    "tensorflow": {},
    "jax": {"model": {"gan"}},
    "torch": {"per_execution": {2, 3}, "jit": {True}},
}[BACKEND]
COMBINATIONS = pairwise(
    {
        factor: [c for c in choices if c not in WITHOUT.get(factor, ())]
        for factor, choices in {
            "model": MODELS,
            "optimizer": OPTIMIZERS,
            "data": DATA,
            "watching": WATCHING,
            "per_execution": (1, 2, 3),
            "partial": (False, True),
            "jit": (False, True),
            "described by": ("numpy", "graph"),
        }.items()
    }
)


class EveryBatch(keras.callbacks.Callback):
    """A user's callback, which looks at the logs of each batch."""

    def __init__(self):
        super().__init__()
        self.logs = []

    def on_train_batch_end(self, batch, logs=None):
        self.logs.append((batch, {k: float(v).hex() for k, v in logs.items()}))


class CountedLoss(keras.losses.SparseCategoricalCrossentropy):
    """Counts how often the user's Python code is run."""

    calls = 0

    def call(self, y_true, y_pred):
        CountedLoss.calls += 1
        return super().call(y_true, y_pred)


def compiled(model, optimizer, jit, per_execution):
    if isinstance(model, models.Gan):
        model.compile()
        model.g_optimizer = optimizer()
        model._jit_compile = jit
        model.steps_per_execution = per_execution
        return
    loss = CountedLoss(from_logits=True)
    names = getattr(model, "output_names", None) or []
    if isinstance(names, list) and len(names) > 1:
        loss = {"one": loss, "two": "mse"}
    model.compile(optimizer(), loss, jit_compile=jit, steps_per_execution=per_execution)


def trained(combination, callbacks):
    """Trains; returns everything that must not depend on being watched."""
    keras.backend.clear_session(free_memory=False)
    keras.utils.set_random_seed(7)
    CountedLoss.calls = 0
    model, (x, y) = MODELS[combination["model"]]()
    compiled(
        model,
        OPTIMIZERS[combination["optimizer"]],
        combination["jit"],
        combination["per_execution"],
    )
    size = 16 if combination["partial"] else 18
    seen = EveryBatch()
    history = model.fit(
        **DATA[combination["data"]](x, y, size),
        epochs=EPOCHS,
        verbose=0,
        callbacks=[*callbacks, seen],
    )
    return {
        "weights": [v.tobytes() for v in models.state(model)],
        "history": {k: [float(v).hex() for v in h] for k, h in history.history.items()},
        "logs": seen.logs,
        # What measures is traced once more from the user's code where a step is a
        # function of the state.
        "calls": CountedLoss.calls * (BACKEND != "jax"),
        "python": random.getstate(),
        "numpy": np.random.get_state()[1].tobytes(),
        "backend": repr(load("autodiff").random_state()),
        "train function": model.train_function.__qualname__,
    }


def name(combination):
    return ", ".join(str(choice) for choice in combination.values())


def tried():
    """With XLA one for each model and one for each optimizer, or all of them."""
    everything = bool(os.environ.get("KERAS_BABYSIT_FUZZ"))
    if BACKEND == "jax" and not everything:  # Compiled for seconds, with XLA or not.
        return COMBINATIONS[::12]
    compiled = [c for c in COMBINATIONS if c["jit"]]
    firsts = [
        next(c for c in compiled if c[factor] == choice)
        for factor, choices in (("model", MODELS), ("optimizer", OPTIMIZERS))
        for choice in choices
        if compiled and not everything
    ]
    return [c for c in COMBINATIONS if everything or not c["jit"] or c in firsts]


@pytest.mark.parametrize(
    "combination",
    [
        pytest.param(c, id=name(c), marks=[pytest.mark.slow] if i >= 8 else [])
        for i, c in enumerate(tried())
    ],
)
def test_watched_is_as_plain(tmp_path, monkeypatch, combination):
    if combination["described by"] == "graph":
        monkeypatch.setattr(packing, "ON_HOST", 0)
    expected = trained(combination, [])
    callback = Babysitter(tmp_path, verbose=0, **WATCHING[combination["watching"]])
    found = trained(combination, [callback])
    for what, value in expected.items():
        assert found[what] == value, what
    cost = callback.observation
    assert cost.steps >= 20
    assert cost.observed
    assert not [note for note in cost.unobserved if note.startswith("Not observed")]
    record = callback.history.last_step
    assert record.variables
    if combination["watching"].startswith("every"):
        assert record.layers
        # That of a Wasserstein GAN is none of Keras's.
        assert bool(record.losses) == (combination["model"] != "gan")
        assert all(v.gradient is not None for v in record.variables)


def first_part(model):
    """The first layer that has weights."""
    return next(layer for layer in model.layers if layer.weights)


# The other backends train what is trainable now. Averages of the weights are left out:
# with those, Keras's own `fit` raises at its end.
@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("make", "optimizer", "watching", "settings"),
    [
        (models.cnn, "momentum", "every step", {"jit_compile": False}),
        (models.mlp, "clipping", "budget", {"jit_compile": True}),
        (models.shared_and_nested, "adamw", "budget", {"steps_per_execution": 2}),
        (models.embedding, "accumulation", "every step", {"jit_compile": False}),
        (models.subclassed, "loss scale", "updates", {"jit_compile": False}),
        (models.custom_step, "rmsprop", "every third", {"jit_compile": False}),
    ],
)
def test_frozen_late_is_as_plain(tmp_path, make, optimizer, watching, settings):

    def run(callbacks):
        keras.backend.clear_session(free_memory=False)
        keras.utils.set_random_seed(7)
        model, (x, y) = make()
        models.compile_model(model, OPTIMIZERS[optimizer](), **settings)
        model.fit(x, y, batch_size=18, verbose=0)
        first_part(model).trainable = False
        before = [v.numpy() for v in first_part(model).weights]
        seen = EveryBatch()
        history = model.fit(
            x, y, batch_size=18, epochs=3, verbose=0, callbacks=[*callbacks, seen]
        )
        after = [v.numpy() for v in first_part(model).weights]
        return {
            "weights": [v.tobytes() for v in models.state(model)],
            "history": history.history,
            "logs": seen.logs,
            "backend": repr(load("autodiff").random_state()),
            "moved": any((a != b).any() for a, b in zip(before, after, strict=True)),
        }

    ours = Babysitter(tmp_path, verbose=0, **WATCHING[watching])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # That gradients cannot be measured.
        found = run([ours])
    assert found == run([])
    assert found["moved"]
    assert ours.observation.observed
    assert ours.history.frozen


def test_the_combinations_have_every_pair():
    # JAX has fewer kinds of data, and no model with two optimizers.
    assert len(COMBINATIONS) >= (80 if BACKEND == "jax" else 96)
    met = set().union(*map(pairs_of, COMBINATIONS))
    assert frozenset([("optimizer", "ema"), ("model", "attention")]) in met
    assert frozenset([("model", "recurrent"), ("data", "py dataset")]) in met


@pytest.mark.tensorflow  # Keras divides by the number of batches with the others.
@pytest.mark.parametrize("watching", ["every step", "budget"])
def test_data_of_no_length(tmp_path, watching):
    def run(callbacks):
        keras.utils.set_random_seed(7)
        model, (x, y) = models.mlp()
        import tensorflow as tf

        models.compile_model(model, jit_compile=False)
        data = tf.data.Dataset.from_tensor_slices((x[:0], y[:0])).batch(16)
        history = model.fit(data, epochs=2, verbose=0, callbacks=callbacks)
        return [v.tobytes() for v in models.state(model)], history.history

    ours = Babysitter(tmp_path, verbose=0, **WATCHING[watching])
    assert run([]) == run([ours])
    assert not ours.history.observed
