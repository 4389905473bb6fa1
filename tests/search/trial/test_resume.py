"""A trial whose process was killed ends as if it had not been, to the last bit."""

import shutil
import signal
import time
from pathlib import Path

import keras
import keras_tuner
import numpy as np
import pytest
from keras import layers as L
from support import fresh

from keras_babysit.search.store import Store, append_line
from keras_babysit.search.trial import resume
from keras_babysit.search.trial.checkpoints import load_model
from keras_babysit.search.trial.runner import run_trial
from keras_babysit.search.trial.task import Work
from keras_babysit.search.trials import EpochResult, Objective, Trial, to_json

pytestmark = pytest.mark.usefixtures("optimized_graphs")

EPOCHS = 4
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def data(samples=90):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(samples, 6)).astype("float32")
    return x, np.argmax(x[:, :3], 1)


class Small(keras_tuner.HyperModel):
    """Everything that has a state: dropout, batch normalization, noise, Adam."""

    def build(self, hp):
        model = keras.Sequential(
            [
                keras.Input((6,)),
                L.GaussianNoise(0.1),
                L.Dense(hp.Int("units", 4, 8), activation="relu"),
                L.BatchNormalization(),
                L.Dropout(0.3),
                L.Dense(3),
            ]
        )
        model.compile(self.optimizer(), LOSS, metrics=["accuracy"])
        return model

    def optimizer(self):
        return keras.optimizers.Adam(0.03)


def space():
    hp = keras_tuner.HyperParameters()
    hp.Int("units", 4, 8)
    return hp.get_config()


def work(folder, hypermodel=None, **arguments):
    x, y = data()
    fields = {
        name: arguments.pop(name)
        for name in ("folds", "executions", "babysit", "objective")
        if name in arguments
    }
    given = {"x": x, "y": y, "batch_size": 16, **arguments}
    if not fields.get("folds"):
        given.setdefault("validation_split", 0.25)
    fields = {"objective": Objective("val_loss", "min"), "babysit": False, **fields}
    return Work(hypermodel or Small(), given, directory=str(folder), **fields)


def trial(attempts=1, epochs=EPOCHS):
    return Trial(0, 0, {"units": 6}, epochs, seed=11, attempts=attempts)


def go_on(result):
    return ""


def cut_off(task, after):
    """Trains the trial until it has told of so many epochs, and then no further."""
    seen = []

    def report(result):
        seen.append(result)
        if len(seen) == after:
            raise KeyboardInterrupt  # As little is done after it as after a kill.
        return ""

    with pytest.raises(KeyboardInterrupt):
        run_trial(task, trial(), space(), report)


def curves(task):
    return [
        (e.fold, e.epoch, e.logs, e.checkpoint) for e in Store(task.directory).epochs(0)
    ]


def weights(task, outcome):
    given = Trial(0, 0, {"units": 6}, EPOCHS, seed=11, outcome=outcome)
    model = load_model(task.directory, given, task.hypermodel, space())
    return [np.asarray(v) for v in [*model.weights, *model.optimizer.variables]]


def same(a, b):
    """Whether two outcomes agree in all but the time they took."""
    return to_json(a) | {"seconds": 0} == to_json(b) | {"seconds": 0}


def assert_same_as_unbroken(tmp_path, after, make):
    unbroken, broken = make(tmp_path / "unbroken"), make(tmp_path / "broken")
    expected = run_trial(unbroken, trial(), space(), go_on)
    assert expected.status == "completed", expected.reason
    cut_off(broken, after)
    epochs = []
    outcome = run_trial(
        broken, trial(2), space(), lambda r: epochs.append((r.fold, r.epoch)) or ""
    )
    assert same(outcome, expected)
    assert curves(broken) == curves(unbroken)
    for a, b in zip(weights(broken, outcome), weights(unbroken, expected), strict=True):
        np.testing.assert_array_equal(a, b)
    return epochs, expected


def logs_only():
    return [
        keras.callbacks.ReduceLROnPlateau("val_loss", 0.3, patience=1, min_delta=0.2),
        keras.callbacks.EarlyStopping("val_loss", patience=3),
        keras.callbacks.TerminateOnNaN(),
    ]


class Linear(Small):
    def build(self, hp):
        layers = [L.Lambda(lambda x: 2 * x)] if self.own else []
        model = keras.Sequential([keras.Input((6,)), *layers, L.Dense(3)])
        model.compile(self.optimizer(), LOSS)
        return model

    def __init__(self, own=False):
        super().__init__()
        self.own = own


class Scheduled(Linear):
    def optimizer(self):
        rate = keras.optimizers.schedules.CosineDecay(0.05, 20)
        return keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, use_ema=True)


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: work(folder, callbacks=logs_only(), class_weight={1: 3.0}),
        lambda folder: work(folder, Scheduled(), shuffle=False, batch_size=20),
    ],
    ids=["Adam, callbacks", "momentum, schedule, averaged weights"],
)
def test_goes_on_after_the_last_checkpoint(tmp_path, make):
    epochs, outcome = assert_same_as_unbroken(tmp_path, 2, make)
    # The second is told again: what was answered may not have been heard.
    assert epochs == [(0, 2), (0, 3), (0, 4)]
    assert outcome.notes == ()


@pytest.mark.slow
@pytest.mark.parametrize("parts", [{"folds": 2}, {"executions": 2}], ids=str)
def test_goes_on_in_the_part_that_it_was_in(tmp_path, parts):
    def make(folder):
        return work(folder, Linear(), **parts, babysit=True)

    epochs, outcome = assert_same_as_unbroken(tmp_path, EPOCHS + 1, make)
    assert epochs == [(1, n) for n in range(1, EPOCHS + 1)]
    assert len(outcome.fold_scores) == 2


def test_stopped_by_callback_before_the_end(tmp_path):
    """Killed after the epoch in which EarlyStopping had its way."""
    stop = keras.callbacks.EarlyStopping("val_loss", patience=0, min_delta=10.0)

    def make(folder):
        return work(folder, Linear(), callbacks=[stop])

    epochs, outcome = assert_same_as_unbroken(tmp_path, 2, make)
    assert epochs == [(0, 2)]
    assert outcome.epochs == 2


def test_answer_that_was_not_heard_is_given_again(tmp_path):
    task = work(tmp_path, Linear())
    cut_off(task, 2)
    outcome = run_trial(task, trial(2), space(), lambda r: f"enough: {r.epoch}")
    assert (outcome.status, outcome.reason) == ("stopped", "enough: 2")
    assert (outcome.epochs, outcome.parameters) == (2, 21)


def test_begins_anew_where_going_on_could_differ(tmp_path):
    task = work(tmp_path, Linear(own=True))
    cut_off(task, 2)
    first, epochs = curves(task), []
    outcome = run_trial(
        task, trial(2, 3), space(), lambda r: epochs.append(r.epoch) or ""
    )
    assert epochs == [1, 2, 3]
    assert outcome.status == "completed"
    assert "begun anew" in outcome.notes[0]
    assert "Lambda may have a state" in outcome.notes[0]
    assert [line[:3] for line in curves(task)[:2]] == [line[:3] for line in first]

    epochs.clear()  # A first attempt takes nothing up that lies in its folder.
    run_trial(task, trial(1, 1), space(), lambda r: epochs.append(r.epoch) or "")
    assert epochs == [1]
    assert len(curves(task)) == 1


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 1


@pytest.mark.parametrize(
    ("arguments", "own_fit", "why"),
    [
        ({}, False, ""),
        ({"callbacks": logs_only()}, False, ""),
        ({}, True, "the hypermodel has a `fit` of its own"),
        ({"x": Batches()}, False, "the data is not arrays"),
        ({"steps_per_epoch": 3}, False, "with `steps_per_epoch` an epoch begins"),
        ({"callbacks": [keras.callbacks.Callback()]}, False, "the callback Callback"),
    ],
)
def test_what_is_in_the_way(arguments, own_fit, why):
    found = resume.obstacle({"x": data()[0], **arguments}, own_fit)
    assert found.startswith(why)
    assert bool(found) == bool(why)


class OwnAdam(keras.optimizers.Adam):
    pass


class OwnLoss(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return y_pred[:, 0]


class OwnModel(keras.Model):
    pass


@pytest.mark.parametrize(
    ("compiled", "kind", "why"),
    [
        ({"loss": lambda y, p: p[:, 0], "metrics": ["mae"]}, keras.Model, ""),
        ({"optimizer": OwnAdam()}, keras.Model, "OwnAdam may have"),
        ({"loss": OwnLoss()}, keras.Model, "OwnLoss may have"),
        ({"loss": "mse"}, OwnModel, "OwnModel may have"),
    ],
    ids=["functions", "optimizer", "loss", "model"],
)
def test_which_part_of_a_model_is_in_the_way(compiled, kind, why):
    inputs = keras.Input((3,))
    model = kind(inputs, L.Dense(2)(inputs))
    model.compile(**{"optimizer": "sgd", "loss": "mse", **compiled})
    found = resume.obstacle_in(model)
    assert found.startswith(why)
    assert bool(found) == bool(why)


# What an earlier attempt has left, from made-up files.


def left(tmp_path, epochs, lost=()):
    """Writes epochs (fold, number, loss); `lost` ones have no checkpoint any more."""
    folder = Store(tmp_path).folder(0)
    (folder / "checkpoints").mkdir(parents=True)
    for fold, number, loss in epochs:
        name = f"{fold}-{number}.keras"
        result = EpochResult(number, {"val_loss": loss}, 0.0, fold, name)
        append_line(folder / "epochs.jsonl", result)
        if (fold, number) not in lost:
            (folder / "checkpoints" / name).write_text("a model")
            (folder / "checkpoints" / f"{name}.json").write_text('{"step": 1}')
    return resume.left_by(Store(tmp_path), trial(2), Objective("val_loss", "min"))


def test_nothing_is_left(tmp_path):
    assert left(tmp_path, []) is None


@pytest.mark.parametrize(
    ("epochs", "lost", "fold", "done", "checkpoint"),
    [
        ([(0, 1, 2.0), (0, 2, 3.0)], (), 0, 2, "0-2.keras"),
        ([(0, 1, 2.0), (0, 2, 3.0)], [(0, 2)], 0, 1, "0-1.keras"),
        ([(0, 1, 2.0), (1, 1, 3.0)], (), 1, 1, "1-1.keras"),
        ([(0, 1, 2.0), (1, 1, 3.0)], [(1, 1)], 1, 0, ""),
    ],
    ids=["last", "best", "second fold", "second fold from its beginning"],
)
def test_what_is_left(tmp_path, epochs, lost, fold, done, checkpoint):
    found = left(tmp_path, epochs, lost)
    assert (found.fold, found.done, found.checkpoint) == (fold, done, checkpoint)
    assert found.state == ({"step": 1} if checkpoint else {})


@pytest.mark.parametrize(
    ("epochs", "lost"),
    [
        ([(0, 1, 2.0), (0, 2, 1.0)], [(0, 1), (0, 2)]),
        ([(0, 1, 2.0), (0, 2, 3.0)], [(0, 1)]),
        ([(0, 1, 2.0), (0, 3, 1.0)], ()),
        ([(1, 1, 2.0)], ()),
    ],
    ids=["no checkpoint", "best one gone", "an epoch missing", "a fold missing"],
)
def test_what_does_not_fit_together_is_not_gone_on_with(tmp_path, epochs, lost):
    assert left(tmp_path, epochs, lost) is None


PATHS = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
SCRIPT = """
import sys
sys.path[:0] = {tests!r}
import test_resume as t
from keras_babysit.search.trial.runner import run_trial
task = t.long_work({folder!r})
run_trial(task, t.trial(epochs=t.LONG), t.space(), t.go_on)
"""
LONG = 3


def long_work(folder):
    x, y = data(3000)
    return work(folder, x=x, y=y, batch_size=8, babysit=True)


@pytest.mark.slow
def test_killed_in_the_middle_of_an_epoch(tmp_path):
    broken = long_work(tmp_path / "broken")
    script = SCRIPT.format(tests=PATHS, folder=broken.directory)
    process = fresh.start(script)
    lines = Store(broken.directory).folder(0) / "epochs.jsonl"
    limit = time.monotonic() + 500
    while not (lines.exists() and lines.read_bytes().count(b"\n") >= 1):
        assert process.poll() is None
        assert time.monotonic() < limit
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    before = Store(broken.directory).epochs(0)
    assert len(before) < LONG

    unbroken = long_work(tmp_path / "unbroken")
    expected = run_trial(unbroken, trial(epochs=LONG), space(), go_on)
    outcome = run_trial(broken, trial(2, LONG), space(), go_on)
    # It went on, and did not begin anew: these epochs took as long as they did.
    assert Store(broken.directory).epochs(0)[: len(before)] == before
    assert same(outcome, expected)
    assert curves(broken) == curves(unbroken)
    for a, b in zip(weights(broken, outcome), weights(unbroken, expected), strict=True):
        np.testing.assert_array_equal(a, b)


#: What a file may hold after its disk, or someone else, was at it.
GARBAGE = [
    b"",
    b"\x80\x04\x95\xff\x00" * 40,
    b'[{"rule": 3}, 4, null]\n{"epoch": "x", "logs": 3}\n{}\n',
]


@pytest.mark.parametrize("garbage", GARBAGE, ids=["empty", "bytes", "json"])
def test_what_are_no_epochs_are_none(tmp_path, garbage):
    left(tmp_path, [(0, 1, 0.5), (0, 2, 0.25)])
    store = Store(tmp_path)
    path = store.folder(0) / "epochs.jsonl"
    path.write_bytes(path.read_bytes() + garbage)
    assert [e.epoch for e in store.epochs(0)] == [1, 2]


@pytest.mark.slow
def test_a_damaged_file_costs_that_file(tmp_path):
    cut_off(work(tmp_path / "all", folds=2, babysit=True), after=EPOCHS + 2)
    files = (p for p in (tmp_path / "all").rglob("*") if p.is_file())
    # One of each kind: all that end alike, with the same garbage in them.
    kinds = {}
    for path in files:
        kinds.setdefault(path.suffix, []).append(path.relative_to(tmp_path / "all"))
    assert set(kinds) >= {".jsonl", ".json", ".keras"}
    for index, (suffix, names) in enumerate(sorted(kinds.items())):
        folder = tmp_path / str(index)
        shutil.copytree(tmp_path / "all", folder)
        for name in names:
            (folder / name).write_bytes(GARBAGE[1 + index % 2])
        outcome = run_trial(
            work(folder, folds=2, babysit=True), trial(2), space(), go_on
        )
        assert outcome.status == "completed", (suffix, outcome.reason)
        assert len(outcome.fold_scores) == 2
