"""SnapshotCheckpoint: the right weights at the right step, whatever happens."""

import copy
import os
import signal
import sys
import time
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import layers as L
from support import fresh

from keras_babysit import ScheduleLearningRate
from keras_babysit.ensemble import SnapshotCheckpoint
from keras_babysit.ensemble.members.cycle_ends import ends_in_fit
from keras_babysit.schedules import Chain, Constant, CosineCycles, StepDecay

N, SIZE = 12, 3  # Samples, and batches of four in an epoch.


def data(n=N):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 3)).astype("float32")
    return x, x[:, :1] - x[:, 1:2] ** 2


def compiled(rate=0.05, **kwargs):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), L.Dense(4, "tanh"), L.Dense(1)])
    model.compile(keras.optimizers.SGD(rate), "mse", run_eagerly=True, **kwargs)
    return model


class Weights(keras.callbacks.Callback):
    """Remembers the weights after each batch and each epoch."""

    def on_train_begin(self, logs=None):
        self.steps, self.epochs = {}, {}

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        size = self.params["steps"] or 0
        self.steps[self.epoch * size + batch + 1] = self.model.get_weights()

    def on_epoch_end(self, epoch, logs=None):
        self.epochs[epoch + 1] = self.model.get_weights()


def fit(model, *callbacks, epochs=6, n=N, **kwargs):
    x, y = data(n)
    given = {"batch_size": 4, "shuffle": False, "verbose": 0, **kwargs}
    if given.pop("generator", False):
        given = {"steps_per_epoch": SIZE, "verbose": 0}
        x, y = batches(x, y), None
    model.fit(x, y, epochs=epochs, callbacks=list(callbacks), **given)


def batches(x, y):
    while True:
        for i in range(0, len(x), 4):
            yield x[i : i + 4], y[i : i + 4]


def names(snapshots):
    return [os.path.basename(path)[9:-6] for path in snapshots.paths]


def check(snapshots, seen):
    """The weights in each file are those of the time in its name."""
    for path in snapshots.paths:
        unit, time_ = os.path.basename(path)[:-6].split("-")[2:]
        expected = (seen.epochs if unit == "epoch" else seen.steps)[int(time_)]
        found = keras.saving.load_model(path).get_weights()
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a, b)


def in_epochs(**kwargs):
    return CosineCycles(0.1, epochs=2, cycles=3, **kwargs)


IN_EPOCHS = ["000-epoch-002", "001-epoch-004", "002-epoch-006"]
INSIDE = ["000-step-004", "001-step-008", "002-epoch-004", "003-step-016"]
CASES = {
    "optimizer": (in_epochs(steps_per_epoch=SIZE), {}, None, IN_EPOCHS),
    "every": (0.05, {"every": 2}, None, IN_EPOCHS),
    "callback, steps": (
        0.05,
        {},
        lambda: ScheduleLearningRate(in_epochs(), unit="step"),
        IN_EPOCHS,
    ),
    "callback, epochs": (
        0.05,
        {},
        lambda: ScheduleLearningRate(in_epochs()),
        IN_EPOCHS,
    ),
    "inside": (CosineCycles(0.1, steps=4), {}, None, INSIDE),
    "the last": (0.05, {"schedule": in_epochs(), "keep": 2}, None, IN_EPOCHS[-2:]),
}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_weights_at_the_end_of_each_cycle(case, tmp_path):
    rate, arguments, other, expected = CASES[case]
    seen, snapshots = Weights(), SnapshotCheckpoint(tmp_path, **arguments)
    # Whether the other callback comes before or after does not matter.
    callbacks = [snapshots] if other is None else [snapshots, other()]
    fit(compiled(rate), seen, *(callbacks[::-1] if "steps" in case else callbacks))
    assert names(snapshots) == expected
    assert sorted(os.listdir(tmp_path)) == [f"snapshot-{e}.keras" for e in expected]
    check(snapshots, seen)


COUNTED = {
    "given in epochs": (in_epochs(), 1, IN_EPOCHS),
    "growing": (
        CosineCycles(0.1, steps=3, multiplier=2),
        1,
        ["000-epoch-001", "001-epoch-003"],
    ),
    "of Keras": (
        keras.optimizers.schedules.CosineDecayRestarts(0.1, 4, 1.0),
        1,
        INSIDE,
    ),
    "after a constant": (
        Chain([Constant(0.1), CosineCycles(0.1, steps=4)], steps=[3]),
        1,
        ["000-step-007", "001-step-011", "002-epoch-005"],
    ),
    # Keras stops after 2, 3, 5, 6, 8, ... batches; cycles end after 4, 8, 12, 16.
    "several at once": (
        CosineCycles(0.1, steps=4),
        2,
        ["000-epoch-001", "001-step-008", "002-epoch-004", "003-epoch-005"],
    ),
    "an epoch at once": (
        CosineCycles(0.1, steps=4),
        9,
        ["000-epoch-001", "001-epoch-002", "002-epoch-004", "003-epoch-005"],
    ),
}


@pytest.mark.parametrize("case", COUNTED, ids=str)
def test_where_cycles_end_by_counting(case):
    schedule, at_once, expected = COUNTED[case]
    optimizer = SimpleNamespace(_iterations=np.int64(0))
    model = SimpleNamespace(optimizer=optimizer, steps_per_execution=at_once)
    ends = ends_in_fit(schedule, None, model, {"steps": SIZE, "epochs": 6})
    found = []
    for epoch in range(6):
        ends.begin_epoch(model, epoch)
        for batch in range(min(at_once, SIZE) - 1, SIZE + at_once - 1, at_once):
            last = min(batch, SIZE - 1)
            optimizer._iterations = np.int64(epoch * SIZE + last + 1)
            found += [ends.after_batch(model, last), ends.after_epoch(epoch)]
    due = [f"{d.number:03d}-{d.unit}-{d.after:03d}" for d in found if d is not None]
    assert due == expected


def test_batches_that_loss_scaling_skips_do_not_count():
    optimizer = SimpleNamespace(_iterations=np.int64(0))
    model = SimpleNamespace(optimizer=optimizer, steps_per_execution=1)
    ends = ends_in_fit(
        CosineCycles(0.1, steps=4), None, model, {"steps": 9, "epochs": 1}
    )
    ends.begin_epoch(model, 0)
    due = []
    for batch in range(9):
        optimizer._iterations += batch not in (1, 5)
        if ends.after_batch(model, batch) is not None:
            due.append((batch, int(optimizer._iterations)))
    assert due == [(4, 4)]


def test_a_generator_of_unknown_length_and_accumulated_gradients(tmp_path):
    seen, snapshots = Weights(), SnapshotCheckpoint(tmp_path)
    model = compiled(CosineCycles(0.1, steps=4))
    model.optimizer.gradient_accumulation_steps = 2
    fit(model, seen, snapshots, generator=True)
    assert names(snapshots) == INSIDE
    check(snapshots, seen)


def test_several_steps_at_once_end_before_the_rate_goes_up(tmp_path):
    snapshots = SnapshotCheckpoint(tmp_path)
    model = compiled(CosineCycles(0.1, steps=4), steps_per_execution=2)
    fit(model, snapshots)
    assert names(snapshots) == COUNTED["several at once"][2]


def test_a_second_fit_goes_on_with_the_cycles_of_the_optimizer(tmp_path):
    model, snapshots = (
        compiled(CosineCycles(0.1, steps=4)),
        SnapshotCheckpoint(tmp_path),
    )
    fit(model, snapshots, epochs=3)
    assert names(snapshots) == INSIDE[:2]
    fit(model, snapshots, epochs=3)
    assert names(snapshots) == INSIDE


def test_it_only_watches_and_survives_a_deep_copy(tmp_path):
    snapshots = copy.deepcopy(SnapshotCheckpoint(tmp_path))
    models = [compiled(CosineCycles(0.1, steps=4)) for _ in range(2)]
    fit(models[0], epochs=3)
    fit(models[1], snapshots, epochs=3)
    copy.deepcopy(snapshots)
    for a, b in zip(models[0].variables, models[1].variables, strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(
        models[0].optimizer.variables, models[1].optimizer.variables, strict=True
    ):
        np.testing.assert_array_equal(a, b)
    assert len(snapshots.paths) == 2


@pytest.mark.slow
def test_files_load_in_plain_keras_and_train_on(tmp_path):
    snapshots = SnapshotCheckpoint(tmp_path)
    model = compiled(keras_rate := in_epochs(steps_per_epoch=SIZE))
    fit(model, snapshots, epochs=2)
    code = (
        "import sys, warnings, keras, numpy as np\n"
        "warnings.simplefilter('error', UserWarning)\n"
        f"model = keras.saving.load_model({snapshots.paths[0]!r})\n"
        "assert not [m for m in sys.modules if m.startswith('keras_babysit')]\n"
        "x = np.ones((4, 3), 'float32')\n"
        "print(float(model.optimizer.learning_rate), int(model.optimizer.iterations))\n"
        "print(model.predict(x, verbose=0)[0, 0])\n"
        "model.fit(x, x[:, :1], verbose=0)\n"
    )
    done = fresh.run(code, cwd=tmp_path)
    rate, iterations, output = done.stdout.split()
    assert float(rate) == pytest.approx(float(keras_rate(6)))
    assert int(iterations) == 6
    expected = model.predict(np.ones((4, 3), "float32"), verbose=0)[0, 0]
    assert float(output) == pytest.approx(float(expected), rel=1e-6)


class Stop(keras.callbacks.Callback):
    """Ends a training without further ado after some batches."""

    def __init__(self, batches):
        super().__init__()
        self.left = batches

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize(("batches", "backup_first"), [(5, True), (10, False)])
def test_an_interrupted_training_goes_on(batches, backup_first, tmp_path):
    def callbacks():
        made = [
            keras.callbacks.BackupAndRestore(str(tmp_path / "backup")),
            SnapshotCheckpoint(tmp_path / "snapshots"),
        ]
        return made if backup_first else made[::-1]

    seen, whole = Weights(), SnapshotCheckpoint(tmp_path / "whole")
    fit(compiled(CosineCycles(0.1, steps=3)), seen, whole)
    with pytest.raises(KeyboardInterrupt):
        fit(compiled(CosineCycles(0.1, steps=3)), *callbacks(), Stop(batches))
    again = callbacks()
    fit(compiled(CosineCycles(0.1, steps=3)), *again)
    snapshots = again[backup_first]
    assert names(snapshots) == names(whole)
    check(snapshots, seen)


def test_a_snapshot_lost_between_the_backup_and_its_file_is_taken_anew(tmp_path):
    backup = str(tmp_path / "backup")

    class Dies(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 3:
                raise KeyboardInterrupt

    seen = Weights()
    for last in (Dies(), seen):
        snapshots = SnapshotCheckpoint(tmp_path / "snapshots", every=2)
        # The backup, then death, then what would have been the snapshot.
        order = [keras.callbacks.BackupAndRestore(backup), last, snapshots]
        if last is seen:
            fit(compiled(), *order)
        else:
            with pytest.raises(KeyboardInterrupt):
                fit(compiled(), *order)
            assert names(snapshots) == ["000-epoch-002"]
    assert names(snapshots) == IN_EPOCHS
    whole = Weights()
    fit(compiled(), whole)
    check(snapshots, whole)


KILLED = """
import sys, time, keras, numpy as np
from keras import layers as L
from keras_babysit.ensemble import SnapshotCheckpoint
from keras_babysit.schedules import CosineCycles
folder, slow = sys.argv[1], float(sys.argv[2])
keras.utils.set_random_seed(0)
x = np.random.default_rng(0).normal(size=(20, 3)).astype("float32")
model = keras.Sequential([keras.Input((3,)), L.Dense(4), L.BatchNormalization()])
rate = CosineCycles(0.1, steps=7)
model.compile(keras.optimizers.Adam(rate), "mse", run_eagerly=True)

class Wait(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        time.sleep(slow)

callbacks = [
    keras.callbacks.BackupAndRestore(folder + "/backup"),
    SnapshotCheckpoint(folder + "/snapshots"),
    Wait(),
]
model.fit(x, x[:, :1].repeat(4, 1), batch_size=4, epochs=6, shuffle=False, verbose=0,
          callbacks=callbacks)
"""


@pytest.mark.slow
def test_a_training_that_is_killed_has_the_same_members(tmp_path, monkeypatch):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    process = fresh.start(KILLED, killed, 0.1)
    try:
        deadline = time.monotonic() + 500
        while len(list(killed.glob("snapshots/snapshot-*.keras"))) < 2:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
    finally:
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert len(list(killed.glob("snapshots/snapshot-*.keras"))) < 4
    for folder in (whole, killed):
        monkeypatch.setattr(sys, "argv", ["", str(folder), "0"])
        exec(KILLED, {})
    found = [sorted((folder / "snapshots").iterdir()) for folder in (whole, killed)]
    assert [p.name for p in found[0]] == [p.name for p in found[1]]
    assert len(found[0]) == 4
    for one, other in zip(*found, strict=True):
        models = [keras.saving.load_model(p) for p in (one, other)]
        for a, b in zip(*(m.variables for m in models), strict=True):
            np.testing.assert_array_equal(a, b)


def test_what_cannot_be_written_does_not_end_the_training(tmp_path, monkeypatch):
    def save(model, path):
        raise OSError("No space left on device")

    monkeypatch.setattr("keras_babysit.ensemble.files.save", save)
    snapshots, seen = SnapshotCheckpoint(tmp_path, every=2), Weights()
    with pytest.warns(UserWarning, match="could not write .* No space left") as found:
        fit(compiled(), snapshots, seen)
    assert len([w for w in found if "Snapshot" in str(w.message)]) == 1
    assert len(seen.epochs) == 6
    assert snapshots.paths == []


def test_snapshots_of_another_training_are_not_mixed_in(tmp_path):
    fit(compiled(), SnapshotCheckpoint(tmp_path, every=2))
    with pytest.raises(ValueError, match="has snapshots of another training"):
        fit(compiled(), SnapshotCheckpoint(tmp_path, every=3))
    snapshots = SnapshotCheckpoint(tmp_path, every=3, overwrite=True)
    fit(compiled(), snapshots)
    assert [str(tmp_path / p) for p in sorted(os.listdir(tmp_path))] == snapshots.paths


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"directory": ""}, "`directory` must be a directory"),
        ({"directory": __file__}, "is a file"),
        ({"every": 0}, "`every` must be a positive integer"),
        ({"keep": 1.5}, "`keep` must be a positive integer"),
        ({"schedule": 0.1}, "`schedule` must be a schedule with cycles"),
        ({"schedule": in_epochs(), "every": 1}, "Only one of"),
    ],
)
def test_bad_input(arguments, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        SnapshotCheckpoint(**{"directory": tmp_path, **arguments})


@pytest.mark.parametrize(
    ("rate", "arguments", "words"),
    [
        (0.1, {}, "the rate of this optimizer is constant"),
        (StepDecay(0.1, factor=0.5, steps=9), {}, "no cycle of the schedule ends"),
        (CosineCycles(0.1, steps=99), {}, "no cycle of the schedule ends"),
        (
            keras.optimizers.schedules.ExponentialDecay(0.1, 9, 0.5),
            {},
            "does not know where .* Received: ExponentialDecay",
        ),
        (0.1, {"every": 7}, "ends before the first snapshot"),
    ],
)
def test_a_training_without_cycles(rate, arguments, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        fit(compiled(rate), SnapshotCheckpoint(tmp_path, **arguments))
