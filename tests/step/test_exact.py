"""The first promise: a babysat run ends as it would have, bit for bit."""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from support import models

import keras_babysit
from keras_babysit.backend import packing
from keras_babysit.records import StepRecord

O = keras.optimizers  # noqa: E741


@pytest.fixture(autouse=True)
def _described_in_the_graph(monkeypatch):
    """As large tensors are, which changes more than what NumPy does."""
    monkeypatch.setattr(packing, "ON_HOST", 0)


def fit(
    tmp_path, make, watched, *, optimizer=None, epochs=2, data=None, rows=None, **kwargs
):
    keras.backend.clear_session(free_memory=False)  # See conftest.
    keras.utils.set_random_seed(7)
    policy = kwargs.pop("policy", None)
    if policy:
        keras.config.set_dtype_policy(policy)
    model, (x, y) = make()
    x, y = keras.tree.map_structure(lambda a: a[:rows], (x, y))
    if isinstance(model, models.Gan):
        model.compile()
    else:
        models.compile_model(model, optimizer() if optimizer else None, **kwargs)
    callback = keras_babysit.Babysitter(tmp_path / "logs", every=2)
    arguments = data(x, y) if data else {"x": x, "y": y, "batch_size": 16}
    history = model.fit(
        **arguments,
        epochs=epochs,
        verbose=0,
        callbacks=[callback] if watched else [],
    )
    return model, history, callback


def check(tmp_path, make, **kwargs):
    plain, plain_history, _ = fit(tmp_path, make, False, **kwargs)
    expected = models.state(plain)
    with _no_warning_of_ours():
        model, history, callback = fit(tmp_path, make, True, **kwargs)
    found = models.state(model)
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)
    assert history.history == plain_history.history
    record = callback.history.last_step
    assert isinstance(record, StepRecord)
    assert "_keras_babysit" not in str(history.history)
    assert "train_function" not in str(model.train_function)
    return model, callback, record


def _no_warning_of_ours():
    import contextlib
    import warnings

    @contextlib.contextmanager
    def manager():
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*stopped watching.*")
            warnings.filterwarnings("error", message=".*cannot be observed.*")
            yield

    return manager()


#: Batches of one size: XLA compiles for each, which takes seconds.
WHOLE_BATCHES = 64

EVERY_MODEL = [
    models.mlp,
    models.cnn,
    models.residual,
    models.shared_and_nested,
    models.subclassed,
    models.custom_step,
    models.lstm,
    models.embedding,
    models.frozen_and_unused,
    models.transformer,
]


@pytest.mark.slow
@pytest.mark.parametrize("make", EVERY_MODEL, ids=lambda m: m.__name__)
def test_models(tmp_path, make):
    # As Keras compiles by default: with XLA where there is a GPU.
    _, _, record = check(tmp_path, make)
    assert record.variables
    assert record.layers
    assert record.learning_rate == pytest.approx(1e-2)


@pytest.mark.parametrize("make", [models.cnn, models.lstm, models.subclassed])
def test_eager(tmp_path, make):
    # Two batches of 16 and one of 8.
    check(tmp_path, make, run_eagerly=True, epochs=1, rows=40)


@pytest.mark.slow
@pytest.mark.parametrize("make", [models.mlp, models.shared_and_nested])
def test_models_with_xla(tmp_path, make):
    # With XLA exactness is hardest. Here the last batch is smaller.
    check(tmp_path, make, jit_compile=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: O.SGD(
            0.05,
            momentum=0.9,
            nesterov=True,
            clipnorm=0.1,
            use_ema=True,
            ema_overwrite_frequency=4,
        ),
        lambda: O.AdamW(1e-2, weight_decay=0.1, global_clipnorm=0.5),
        lambda: O.Adam(1e-2, gradient_accumulation_steps=3, clipvalue=0.01),
        lambda: O.RMSprop(
            O.schedules.ExponentialDecay(1e-2, 3, 0.5), loss_scale_factor=128.0
        ),
    ],
    ids=["sgd and ema", "adamw", "accumulation", "schedule and loss scale"],
)
def test_optimizers(tmp_path, optimizer):
    # Convolutions: there XLA rounds differently where it would not in an MLP.
    check(
        tmp_path,
        models.cnn,
        optimizer=optimizer,
        rows=WHOLE_BATCHES,
        jit_compile=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("policy", "make", "jit"),
    [
        ("mixed_float16", models.cnn, True),
        ("mixed_float16", models.mlp, False),
        ("mixed_bfloat16", models.mlp, True),
    ],
)
def test_mixed_precision(tmp_path, policy, make, jit):
    check(tmp_path, make, policy=policy, rows=WHOLE_BATCHES, jit_compile=jit)


@pytest.mark.parametrize("n", [2, 10])
def test_steps_per_execution(tmp_path, n):
    _, callback, record = check(
        tmp_path, models.mlp, steps_per_execution=n, jit_compile=False
    )
    # 5 batches an epoch: the last execution is shorter, of one and of five.
    assert record.step <= 9
    assert callback.observation.observed >= 2


def as_dataset(x, y):
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(100, seed=3)
    return {"x": data.batch(16)}


def as_generator(x, y):
    def batches():
        while True:
            for i in range(0, models.N, 16):
                yield x[i : i + 16], y[i : i + 16]

    return {"x": batches(), "steps_per_epoch": 5}


class Batches(keras.utils.PyDataset):
    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x, y

    def __len__(self):
        return 5

    def __getitem__(self, i):
        part = slice(16 * i, 16 * i + 16)
        return self.x[part], self.y[part]


def as_py_dataset(x, y):
    return {"x": Batches(x, y)}


def with_weights(x, y):
    weights = np.linspace(0, 2, len(y)).astype("float32")
    return {"x": x, "y": y, "sample_weight": weights, "validation_split": 0.25}


@pytest.mark.parametrize(
    "data", [as_dataset, as_generator, as_py_dataset, with_weights]
)
def test_data(tmp_path, data):
    check(tmp_path, models.mlp, data=data, jit_compile=False)


def test_gan(tmp_path):
    _, _, record = check(tmp_path, models.Gan_and_data)
    paths = {v.path for v in record.variables}
    assert len(paths) == 6
    assert all(v.gradient is not None for v in record.variables)
    assert record.layers


def test_augmented_inputs_are_read_from_the_real_pass(tmp_path):
    _, _, record = check(tmp_path, models.augmented, jit_compile=False)
    assert record.layers


@pytest.mark.slow
def test_mirrored_strategy(tmp_path):
    program = Path(models.__file__).with_name("mirrored.py")
    ended = subprocess.run(
        [sys.executable, program, tmp_path / "logs"], capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
