"""One trial, whatever happens in it."""

import errno
import gc
import json
import random
import re
import resource
import warnings

import keras
import keras_tuner
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as L

from keras_babysit.search.store import Store
from keras_babysit.search.trial.checkpoints import Checkpoints, load_model, stem_of
from keras_babysit.search.trial.isolation import in_one_line
from keras_babysit.search.trial.runner import run_trial
from keras_babysit.search.trial.scoring import returned_by, score_of, score_of_returned
from keras_babysit.search.trial.task import Work
from keras_babysit.search.trials import (
    INFEASIBLE,
    EpochResult,
    Objective,
    Outcome,
    Trial,
    outcome_of,
    plain,
    with_outcome,
)

MIN, MAX = Objective("val_loss", "min"), Objective("val_accuracy", "max")
VALUES = {"units": 6, "rate": 0.05}


def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 6)).astype("float32")
    return x, np.argmax(x[:, :3], 1)


class Small(keras_tuner.HyperModel):
    def build(self, hp):
        units = hp.Int("units", 4, 8)
        model = keras.Sequential([keras.Input((6,)), *self.layers(units), L.Dense(3)])
        rate = hp.Float("rate", 1e-3, 0.1, sampling="log")
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
        return model

    def layers(self, units):
        return [L.Dense(units, activation="relu"), L.Dropout(0.2)]


def space(hypermodel=None):
    hp = keras_tuner.HyperParameters()
    hp.Int("units", 4, 8)
    hp.Float("rate", 1e-3, 0.1, sampling="log")
    return hp.get_config()


def work(folder, hypermodel=None, objective=MIN, arguments=None, **fields):
    x, y = data()
    given = {"x": x, "y": y, "batch_size": 16, "validation_split": 0.25}
    if fields.get("folds"):
        del given["validation_split"]
    given |= arguments or {}
    fields = {"babysit": False, **fields}
    return Work(hypermodel or Small(), given, objective, str(folder), **fields)


def trial(epochs=2, number=0, outcome=None):
    return Trial(number, 0, VALUES, epochs, seed=5, outcome=outcome)


def run(task, epochs=2, report=lambda result: ""):
    return run_trial(task, trial(epochs), space(), report)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A trial with all there is, and what `report` was told."""
    task = work(tmp_path_factory.mktemp("done"), objective=MAX, babysit=True)
    told = []
    outcome = run(task, 3, lambda result: told.append(result) or "")
    return task, outcome, told


def test_is_what_the_same_by_hand_gives(done):
    task, outcome, told = done
    keras.utils.set_random_seed(5)
    hp = keras_tuner.HyperParameters()
    hp.values = dict(VALUES)
    model = Small().build(hp)
    history = model.fit(**task.arguments, epochs=3, verbose=0).history
    assert [dict(r.logs) for r in told] == [
        {name: values[n] for name, values in history.items()} for n in range(3)
    ]
    assert outcome.status == "completed"
    assert outcome.reason == ""
    assert outcome.score == max(history["val_accuracy"])
    assert outcome.best_epoch == 1 + np.argmax(history["val_accuracy"])
    assert outcome.epochs == 3
    assert outcome.metrics == told[outcome.best_epoch - 1].logs
    assert outcome.parameters == model.count_params() == 6 * 6 + 6 + 6 * 3 + 3
    assert outcome.space is None
    assert outcome.notes == ()
    assert 0 < sum(r.seconds for r in told) < outcome.seconds


def test_files_of_a_trial(done):
    task, outcome, told = done
    store = Store(task.directory)
    assert store.epochs(0) == told
    folder = store.folder(0)
    # Only the best checkpoint is left; its name has its epoch and score.
    assert outcome.checkpoint == (
        f"epoch-{outcome.best_epoch:04d}-val_accuracy-{outcome.score:.4f}.keras"
    )
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == [
        outcome.checkpoint,
        outcome.checkpoint + ".json",
    ]
    assert list((folder / "logs" / "train").glob("events.out.tfevents.*"))
    assert plain(outcome_of(plain(outcome))) == plain(outcome)


def test_best_model_is_that_of_the_best_epoch(done):
    task, outcome, _ = done
    model = load_model(task.directory, trial(3, outcome=outcome), Small(), space())
    x, y = data()
    result = model.evaluate(x[60:], y[60:], batch_size=16, verbose=0, return_dict=True)
    assert result["accuracy"] == outcome.score
    assert isinstance(model.optimizer, keras.optimizers.Adam)


def test_checkpoint_loads_in_plain_keras(done):
    task, outcome, _ = done
    path = Store(task.directory).folder(0) / "checkpoints" / outcome.checkpoint
    model = keras.models.load_model(path)
    assert int(model.optimizer.iterations) == outcome.best_epoch * 4


def number_of_graphs():
    """How many functions TensorFlow has compiled and not freed."""
    gc.collect()
    return sum(type(thing).__name__ == "FuncGraph" for thing in gc.get_objects())


def test_the_program_around_it_does_not_notice(tmp_path):
    def program():
        keras.utils.set_random_seed(1)
        keras.random.normal((1,))
        return L.Dense(1).name

    def states():
        return random.getstate(), np.random.get_state()[1].tolist()

    program()
    expected = states(), np.asarray(keras.random.normal((3,)))
    name = program()
    graphs = number_of_graphs()
    outcome = run(work(tmp_path, babysit=True), 1)
    assert outcome.status == "completed"
    assert states() == expected[0]
    # A search of any length needs the memory of one trial.
    assert number_of_graphs() == graphs
    np.testing.assert_array_equal(keras.random.normal((3,)), expected[1])
    assert (name, L.Dense(1).name) == ("dense_1", "dense_2")


# What users bring along.


class Asks(Small):
    def build(self, hp):
        if hp.Boolean("deep", default=True):
            hp.Float("slope", 0.0, 1.0)
        return super().build(hp)


def test_hyperparameters_that_turn_up_on_the_way(tmp_path):
    outcome = run(work(tmp_path, Asks()), 1)
    found = keras_tuner.HyperParameters.from_config(outcome.space)
    assert [hp.name for hp in found.space] == ["units", "rate", "deep", "slope"]
    assert found.values == {**VALUES, "deep": True, "slope": 0.0}


ENDED = []


class Seen(keras.callbacks.Callback):
    ended = ()

    def on_epoch_end(self, epoch, logs=None):
        self.ended = (*self.ended, epoch)
        logs["twice"] = 2 * logs["val_loss"]

    def on_train_end(self, logs=None):
        ENDED.append(self.ended)


def test_callbacks_are_copies_and_may_add_the_objective(tmp_path):
    seen, board = Seen(), keras.callbacks.TensorBoard(str(tmp_path / "board"))
    ENDED.clear()
    callbacks = [seen, board]
    task = work(
        tmp_path,
        objective=Objective("twice", "min"),
        arguments={"callbacks": callbacks},
    )
    outcome = run(task, 3, lambda result: "enough" if result.epoch == 2 else "")
    assert seen.ended == ()
    assert ENDED == [(0, 1)]  # The training ended as Keras ends it.
    assert (tmp_path / "board" / "0000" / "train").is_dir()
    assert (outcome.status, outcome.reason) == ("stopped", "enough")
    assert outcome.epochs == 2
    assert outcome.score == pytest.approx(2 * outcome.metrics["val_loss"])


class OwnFit(Small):
    def __init__(self, returns):
        super().__init__()
        self.returns = returns

    def fit(self, hp, model, x, y, validation_split, **arguments):
        seen = []
        for _ in range(2):
            hp.Choice("order", ["a", "b"])
            fit = {**arguments, "epochs": 1}
            seen.append(model.fit(x, y, validation_data=(x[60:], y[60:]), **fit))
        return self.returns(seen[-1])


@pytest.mark.parametrize(
    ("returns", "score"),
    [
        (lambda history: history, "best"),
        (lambda history: {"val_loss": 0.5, "other": 1}, 0.5),
    ],
    ids=["history", "metrics"],
)
def test_own_fit_of_a_hypermodel(tmp_path, returns, score):
    task, told = work(tmp_path, OwnFit(returns)), []
    outcome = run(task, 7, lambda result: told.append(result) or "")
    assert outcome.status == "completed"
    assert [result.epoch for result in told] == [1, 2]
    best = min(result.logs["val_loss"] for result in told)
    assert outcome.score == (best if score == "best" else score)
    assert outcome.space["values"]["order"] == "a"
    assert outcome.checkpoint


def test_own_fit_is_ended_in_all_of_its_parts(tmp_path):
    task = work(tmp_path, OwnFit(lambda history: history))
    outcome = run(task, 7, lambda result: "enough")
    assert (outcome.status, outcome.reason) == ("stopped", "enough")
    assert outcome.epochs == 1


class ByHand(Small):
    """As in KerasTuner's guide: nothing is compiled, and a number returned."""

    def build(self, hp):
        return keras.Sequential(
            [keras.Input((6,)), *self.layers(hp.Int("units", 4, 8))]
        )

    def fit(self, hp, model, images, labels, callbacks=None, **arguments):
        for callback in callbacks:
            callback.set_model(model)
        for epoch in range(2):
            for callback in callbacks:
                callback.on_epoch_end(epoch, logs={"mine": 0.5 - epoch})
        return -0.5


def test_own_fit_of_a_model_that_is_not_compiled(tmp_path):
    hypermodel = ByHand()
    task = work(tmp_path, hypermodel, Objective("mine", "min"), babysit=True)
    outcome = run(task)
    assert (outcome.status, outcome.reason) == ("completed", "")
    assert (outcome.score, outcome.epochs) == (-0.5, 2)
    assert outcome.checkpoint == "epoch-0002-mine--0.5000.keras"
    model = load_model(tmp_path, trial(outcome=outcome), hypermodel, space())
    assert model.count_params() == outcome.parameters


# Trials that fail.


def failing(error, where="build"):
    class Failing(Small):
        def build(self, hp):
            if where == "build":
                raise error
            return super().build(hp)

        def fit(self, hp, model, **arguments):
            try:
                model.fit(**arguments)
            except Exception:
                raise AssertionError("what ends a trial is no Exception") from None
            raise error

    return Failing()


def test_a_fatal_error_of_keras_tuners_is_no_outcome(tmp_path):
    error = keras_tuner.errors.FatalRuntimeError("no more")
    with pytest.raises(keras_tuner.errors.FatalRuntimeError, match="no more"):
        run(work(tmp_path, failing(error)))


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            ValueError("no\nsuch \x1b[1mlayer\x1b[0m"),
            "ValueError: no such layer (test_",
        ),
        (MemoryError(), "MemoryError (test_task.py, line "),
        (
            tf.errors.ResourceExhaustedError(None, None, "OOM when\nallocating"),
            "ResourceExhaustedError: OOM when allocating (test_task.py, line ",
        ),
        (RuntimeError("x" * 999), "RuntimeError: " + "x" * 400 + " ... (test_task.py"),
    ],
)
def test_exceptions_are_told_in_one_line(tmp_path, error, reason):
    outcome = run(work(tmp_path, failing(error)))
    assert outcome.status == "failed"
    assert outcome.reason.startswith(reason)
    assert "\n" not in outcome.reason
    assert (outcome.score, outcome.epochs, outcome.checkpoint) == (None, 0, "")
    assert outcome.parameters is None


def test_failure_in_the_middle_leaves_no_score_and_no_checkpoint(tmp_path):
    outcome = run(work(tmp_path, failing(MemoryError("3 GiB"), "fit")), 1)
    assert outcome.status == "failed"
    assert outcome.reason.startswith("MemoryError: 3 GiB")
    assert (outcome.score, outcome.epochs) == (None, 1)
    assert not list((Store(tmp_path).folder(0) / "checkpoints").iterdir())


def test_what_is_no_model(tmp_path):
    class Nothing(keras_tuner.HyperModel):
        def build(self, hp):
            return None

    outcome = run(work(tmp_path, Nothing()))
    assert outcome.reason == (
        "TypeError: the hypermodel must return a `keras.Model`, not NoneType"
    )


def test_objective_that_is_not_logged(tmp_path):
    outcome = run(work(tmp_path, objective=Objective("val_auc", "max")), 3)
    assert outcome.status == "failed"
    assert outcome.reason == (
        "the objective 'val_auc' is not among the logs of `fit`: accuracy, loss, "
        "val_accuracy, val_loss"
    )
    assert outcome.epochs == 1


def test_objective_that_is_not_logged_is_heard_of(tmp_path):
    def report(result):
        raise ValueError(f"only {sorted(result.logs)[:2]}")

    with pytest.raises(ValueError, match=r"only .'accuracy', 'loss'."):
        run(work(tmp_path, objective=Objective("val_auc", "max")), 1, report)


def test_values_that_the_stage_did_not_know_of_are_used(tmp_path):
    class Late(Small):
        def fit(self, hp, model, *args, **kwargs):
            used.append(hp.Float("late", 0.0, 1.0, default=0.5))
            return used[-1]

    used = []
    task = work(tmp_path, Late())
    values = {**VALUES, "late": 0.75}
    for given, expected in ((VALUES, 0.5), (values, 0.75)):
        one = Trial(0, 0, given, 1, seed=5)
        outcome = run_trial(task, one, space(), lambda result: "")
        assert used[-1] == outcome.score == expected
        assert with_outcome(one, outcome).values == {**VALUES, "late": expected}


def test_metrics_of_several_values_end_nothing(tmp_path):
    class Vector(Small):
        def build(self, hp):
            model = super().build(hp)
            f1 = keras.metrics.F1Score(average=None)
            loss = keras.losses.CategoricalCrossentropy(from_logits=True)
            model.compile("sgd", loss, metrics=[f1])
            return model

    x, y = data()
    arguments = {"x": x, "y": keras.utils.to_categorical(y)}
    with warnings.catch_warnings():
        warnings.simplefilter(
            "error", UserWarning
        )  # Neither does its babysitter step aside.
        outcome = run(work(tmp_path, Vector(), arguments=arguments, babysit=True), 1)
    assert outcome.status == "completed", outcome.reason
    assert sorted(outcome.metrics) == ["loss", "val_loss"]


def test_loss_that_becomes_nan(tmp_path):
    class Poisoned(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == poisoned:
                weight = self.model.weights[-1]
                weight.assign(weight.value * float("nan"))

    task = work(tmp_path, arguments={"callbacks": [Poisoned()]})
    poisoned = 1
    outcome = run(task, 4)
    assert (outcome.status, outcome.reason) == (
        "stopped",
        "the loss became NaN in epoch 2",
    )
    assert (outcome.epochs, outcome.best_epoch) == (2, 1)
    assert outcome.score == outcome.metrics["val_loss"]
    assert outcome.checkpoint.startswith("epoch-0001-")
    poisoned = 0
    outcome = run(task, 4)
    assert (outcome.status, outcome.score) == ("failed", None)
    assert outcome.reason == "the loss became NaN in epoch 1"

    poisoned = 1
    outcome = run(Work(**{**vars(task), "babysit": True}), 4)
    assert outcome.status == "stopped"
    assert outcome.reason.startswith("loss-not-finite: ")
    assert outcome.best_epoch == 1
    assert outcome.findings[0]["rule"] == "loss-not-finite"


def test_what_is_not_the_trials_fault_passes(tmp_path):
    def report(result):
        return 1 / 0

    state = random.getstate()
    with pytest.raises(ZeroDivisionError):
        run(work(tmp_path), 1, report)
    assert random.getstate() == state


# What the babysitter finds.


class SoftmaxOfOne(keras_tuner.HyperModel):
    def build(self, hp):
        model = keras.Sequential(
            [keras.Input((6,)), L.Dense(1, activation="softmax", name="out")]
        )
        model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
        return model


def test_error_before_the_first_step_ends_it_at_once(tmp_path):
    _, y = data()
    arguments = {"y": (y == 1).astype("float32")}
    task = work(tmp_path, SoftmaxOfOne(), arguments=arguments, babysit=True)
    outcome = run(task)
    assert outcome.status == "stopped"
    assert outcome.reason.startswith("softmax-on-one-unit: sequential/out: ")
    assert (outcome.epochs, outcome.score) == (0, None)
    assert outcome.findings[0]["severity"] == "error"
    assert outcome.parameters == 7

    on = Work(**{**vars(task), "stop_on_error": False})
    outcome = run(on, 1)
    assert (outcome.status, outcome.epochs) == ("completed", 1)
    assert outcome.findings[0]["rule"] == "softmax-on-one-unit"


# Disks.


def test_disk_that_is_full(tmp_path):
    """Files of more than 2 kB cannot be written: neither models nor event files."""
    task = work(tmp_path, babysit=True)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        outcome = run(task, 3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert outcome.status == "completed"
    assert outcome.epochs == 3
    assert outcome.score is not None
    assert outcome.checkpoint == ""
    assert len(outcome.notes) == 1
    assert "File too large" in outcome.notes[0]
    assert [epoch.checkpoint for epoch in Store(tmp_path).epochs(0)] == ["", "", ""]
    assert not list((Store(tmp_path).folder(0) / "checkpoints").iterdir())


def test_a_full_disk_costs_the_worst_checkpoints_first(tmp_path, monkeypatch):
    store = Store(tmp_path)
    for number, score in ((7, 50.0), (8, 99.0), (9, 0.0)):
        one = trial(number=number)
        store.append("started", **plain(one))
        outcome = Outcome("completed", score, checkpoint="best.keras")
        store.append("ended", number=number, outcome=plain(outcome))
        Checkpoints(store.folder(one)).folder.mkdir(parents=True)
        (Checkpoints(store.folder(one)).folder / "best.keras").write_text("a model")
    save, room = keras.Model.save, 3

    def limited(model, path):
        if len(list(tmp_path.rglob("*.keras"))) >= room:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(model, path)

    monkeypatch.setattr(keras.Model, "save", limited)
    outcome = run(work(tmp_path), 3)
    left = {path.parts[-3] for path in tmp_path.rglob("*.keras")}
    # Of each trial only one fits beside it: the best of the others stays.
    assert "0009" in left
    assert "0008" not in left
    assert any("checkpoint of trial 8, which is worse" in n for n in outcome.notes)
    assert outcome.checkpoint
    model = load_model(tmp_path, trial(outcome=outcome), Small(), space())
    x, y = (part[60:] for part in data())
    assert model.evaluate(x, y, verbose=0)[0] == pytest.approx(outcome.score, rel=1e-5)
    room = 0  # Nothing helps: nothing that is better is lost for it.
    outcome = run(work(tmp_path), 1)
    assert outcome.status == "completed"
    assert outcome.checkpoint == ""
    assert "No space left on device" in outcome.notes[-1]
    assert "0009" in {path.parts[-3] for path in tmp_path.rglob("*.keras")}


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "trials").write_text("in its place")
    outcome = run(work(tmp_path), 1)
    assert (outcome.status, outcome.epochs) == ("completed", 1)
    assert outcome.notes


# Checkpoints.


class Double(L.Layer):
    """Keras saves it, but does not find it when it loads."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def call(self, x):
        return self.factor * x


class Custom(Small):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def layers(self, units):
        return [self.layer(), L.Dense(units)]


@pytest.mark.parametrize(
    "layer",
    [lambda: Double(2.0), lambda: L.Lambda(lambda x: 2 * x)],
    ids=["not registered", "Lambda"],
)
def test_models_with_parts_of_the_users(tmp_path, layer):
    task = work(tmp_path, Custom(layer))
    outcome = run(task, 1)
    assert outcome.status == "completed"
    assert outcome.notes == ()
    model = load_model(tmp_path, trial(outcome=outcome), task.hypermodel, space())
    x, y = data()
    result = model.evaluate(x[60:], y[60:], batch_size=16, verbose=0, return_dict=True)
    assert result["loss"] == pytest.approx(outcome.score, rel=1e-6)


def test_weights_where_a_model_cannot_be_saved_whole(tmp_path):
    class Unsavable(keras.Model):
        def __init__(self, units):
            super().__init__()
            self.hidden, self.out = L.Dense(units), L.Dense(3)

        def call(self, x):
            return self.out(self.hidden(x))

        def get_config(self):
            raise NotImplementedError

    class Lazy(Small):
        def build(self, hp):
            model = Unsavable(hp.Int("units", 4, 8))
            model.compile("adam", super().build(hp).loss)
            return model

    task = work(tmp_path, Lazy())
    outcome = run(task, 1)
    assert outcome.checkpoint.endswith(".weights.h5")
    model = load_model(tmp_path, trial(outcome=outcome), task.hypermodel, space())
    x, y = data()
    loss = model.evaluate(x[60:], y[60:], batch_size=16, verbose=0)
    assert loss == pytest.approx(outcome.score, rel=1e-6)


def test_checkpoint_that_does_not_fit(done):
    task, outcome, _ = done
    with pytest.raises(ValueError, match="Trial 1 has no checkpoint: none was written"):
        load_model(task.directory, trial(number=1), Small(), space())
    gone = trial(number=1, outcome=outcome)
    with pytest.raises(ValueError, match=r"Trial 1 has no checkpoint: .* is gone"):
        load_model(task.directory, gone, Small(), space())


def test_checkpoints_are_written_whole_or_not_at_all(tmp_path):
    class Breaks:
        def save(self, path):
            path.write_bytes(b"half of it")
            raise OSError(28, "No space left on device")

    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(OSError, match="No space"):
        checkpoints.save(Breaks(), "epoch-0001", {})
    assert not list((tmp_path / "checkpoints").iterdir())


@pytest.mark.parametrize(
    ("value", "fold", "stem"),
    [
        (0.12341, 0, "epoch-0003-val_loss-0.1234"),
        (0.00123456, 0, "epoch-0003-val_loss-1.235e-03"),
        (-1234567.0, 0, "epoch-0003-val_loss--1.235e+06"),
        (0.0, 2, "fold-2-epoch-0003-val_loss-0.0000"),
        (None, 0, "epoch-0003-val_loss-none"),
    ],
)
def test_names_of_checkpoints(value, fold, stem):
    assert stem_of(MIN, value, 3, fold) == stem


def test_names_of_checkpoints_are_names_of_files():
    assert stem_of(Objective("a/b c", "min"), 1.0, 1, 0) == "epoch-0001-a_b_c-1.0000"


# Folds.


def test_folds_are_trained_alike_and_averaged(tmp_path):
    told = []
    task = work(tmp_path, folds=2, folds_seed=3)
    outcome = run(task, 2, lambda result: told.append(result) or "")
    assert [(r.fold, r.epoch) for r in told] == [(0, 1), (0, 2), (1, 1), (1, 2)]
    best = [
        min((r for r in told if r.fold == fold), key=lambda r: r.logs["val_loss"])
        for fold in (0, 1)
    ]
    assert outcome.fold_scores == tuple(r.logs["val_loss"] for r in best)
    assert outcome.score == pytest.approx(np.mean(outcome.fold_scores), rel=1e-12)
    assert outcome.metrics["accuracy"] == pytest.approx(
        np.mean([r.logs["accuracy"] for r in best]), rel=1e-12
    )
    assert outcome.epochs == 4
    assert outcome.best_epoch == best[0].epoch
    assert outcome.checkpoint == best[0].checkpoint


def test_executions_have_other_seeds_and_the_best_model_is_kept(tmp_path):
    told = []
    task = work(tmp_path, executions=2)
    outcome = run(task, 2, lambda result: told.append(result) or "")
    assert [(r.fold, r.epoch) for r in told] == [(0, 1), (0, 2), (1, 1), (1, 2)]
    losses = [[r.logs["val_loss"] for r in told if r.fold == n] for n in (0, 1)]
    assert losses[0] != losses[1]
    assert outcome.fold_scores == (min(losses[0]), min(losses[1]))
    assert outcome.score == pytest.approx(np.mean(outcome.fold_scores), rel=1e-12)
    best = min(told, key=lambda r: r.logs["val_loss"])
    assert outcome.checkpoint == best.checkpoint
    # The first one is what a trial without executions is.
    alone = run(work(tmp_path / "alone"), 2)
    assert alone.score == outcome.fold_scores[0]


@pytest.mark.parametrize("built", [True, False])
def test_a_model_that_is_too_large_is_not_trained(tmp_path, built):
    class Unbuilt(Small):
        def build(self, hp):
            if built:
                return super().build(hp)
            model = keras.Sequential([L.Dense(3, activation="softmax")])
            model.compile("sgd", "sparse_categorical_crossentropy")
            return model

    outcome = run(work(tmp_path, Unbuilt(), max_model_size=10))
    assert outcome.status == "failed"
    assert re.fullmatch(
        r"the model has \d+ trainable weights, more than max_model_size=10",
        outcome.reason,
    )
    assert (outcome.raised, outcome.epochs) == (INFEASIBLE, 0)


def test_a_trial_that_asks_for_what_it_must_not(tmp_path):
    with pytest.raises(keras_tuner.errors.FatalValueError, match="allow_new_entries"):
        run(work(tmp_path, Asks(), allow_new_entries=False))


def test_a_fold_that_is_stopped_ends_the_trial(tmp_path):
    outcome = run(work(tmp_path, folds=3), 2, lambda r: "no good")
    assert (outcome.status, outcome.reason) == ("stopped", "no good")
    assert (outcome.epochs, outcome.fold_scores) == (1, ())
    assert outcome.score == outcome.metrics["val_loss"]


# From epochs to a score.


def epoch(number, fold=0, **logs):
    return EpochResult(number, logs, fold=fold)


def test_score_is_that_of_the_best_epoch():
    epochs = [epoch(n + 1, loss=n, val_loss=v) for n, v in enumerate([3.0, 1.0, 1.0])]
    score = score_of([*epochs, epoch(4, val_loss=float("nan"))], MIN)
    assert (score.value, score.best_epoch) == (1.0, 2)
    assert score.metrics == {"loss": 1, "val_loss": 1.0}
    assert score.folds == ()


def test_score_without_a_finite_value_is_none():
    assert score_of([], MIN).value is None
    epochs = [epoch(1, val_loss=float("inf")), epoch(2, loss=1.0)]
    assert score_of(epochs, MIN).value is None


def test_score_of_folds_is_their_mean():
    epochs = [
        epoch(1, 0, val_accuracy=0.5, loss=1.0),
        epoch(2, 0, val_accuracy=0.75, loss=2.0),
        epoch(1, 1, val_accuracy=0.25, loss=4.0, more=1.0),
    ]
    score = score_of(epochs, MAX)
    assert (score.value, score.best_epoch, score.folds) == (0.5, 2, (0.75, 0.25))
    assert score.metrics == {"val_accuracy": 0.5, "loss": 3.0}


def test_what_a_fit_may_return():
    assert returned_by(1, MIN) == {"val_loss": 1.0}
    assert returned_by(np.float32(0.5), MIN) == {"val_loss": 0.5}
    assert returned_by([1.0, 2.0], MIN) == {"val_loss": 1.5}
    assert returned_by(keras.callbacks.History(), MIN) is None
    for wrong in (None, "0.5", {"loss": 1.0}, []):
        with pytest.raises(ValueError, match="`fit` must return a `History`"):
            returned_by(wrong, MIN)
    assert score_of_returned([], MIN) is None
    assert score_of_returned([{"val_loss": float("nan")}], MIN).value is None


def test_place_of_an_error_is_in_the_users_file():
    def theirs():
        keras.layers.Dense(-1)

    with pytest.raises(ValueError, match="units") as raised:
        theirs()
    line = theirs.__code__.co_firstlineno + 1
    assert in_one_line(raised.value).endswith(f"(test_task.py, line {line})")


def test_outcomes_are_plain_values(done):
    json.dumps(plain(done[1]), allow_nan=False)
