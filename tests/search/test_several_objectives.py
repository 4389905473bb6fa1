"""A search with several objectives: their sum ranks, their Pareto front is reported."""

import dataclasses
import math

import keras_tuner
import pytest
from support.pretending import Pretend, X, Y, make_model

from keras_babysit import search
from keras_babysit.search.results import pareto
from keras_babysit.search.trial.scoring import missing, returned_by
from keras_babysit.search.trials import EpochResult, Objective, Outcome, Trial

PARTS = (Objective("val_loss", "min"), Objective("val_accuracy", "max"))
BOTH = Objective("multi_objective", "min", PARTS)


@pytest.fixture(autouse=True)
def _fresh_keras():
    """Instead of conftest's: nothing here is trained."""


def two(trial, outcome):
    """The loss is lowest at 1e-4, the accuracy highest at 1e-1."""
    place = math.log10(trial.values["learning_rate"])
    logs = {"val_loss": abs(place + 4), "val_accuracy": 1 - abs(place + 1) / 10}
    metrics = BOTH.completed(logs)
    return dataclasses.replace(outcome, metrics=metrics, score=metrics[BOTH.name])


def searched(folder, method="random", **settings):
    logs = {"val_loss": 1.0, "val_accuracy": 0.5, BOTH.name: 0.5}
    executor = settings.pop("executor", None) or Pretend(
        outcome=two, logs=lambda value: logs
    )
    settings = {"max_trials": 30, "epochs": 1, "seed": 3, "verbose": 0} | settings
    one = search.Search(
        make_model,
        ["val_loss", keras_tuner.Objective("val_accuracy", "max")],
        method=method,
        directory=folder,
        executor=executor,
        **settings,
    )
    one.search(X, Y, validation_data=(X, Y))
    return one


def test_the_sum_is_keras_tuners():
    logs = {"val_loss": 0.5, "val_accuracy": 0.75}
    both = ["val_loss", keras_tuner.Objective("val_accuracy", "max")]
    theirs = keras_tuner.oracles.RandomSearchOracle(both).objective
    assert (theirs.name, theirs.direction) == (BOTH.name, BOTH.direction)
    assert BOTH.completed(logs)[BOTH.name] == theirs.get_value(logs) == -0.25
    assert BOTH.completed({"val_loss": 0.5}) == {"val_loss": 0.5}
    assert returned_by(logs, BOTH) == {**logs, BOTH.name: -0.25}
    assert PARTS[0].completed(logs) == logs
    epochs = [EpochResult(1, {"val_loss": 0.5})]
    assert "'val_accuracy' is not among the logs" in missing(epochs, BOTH)


@pytest.mark.parametrize("method", ["random", "tpe", "nsga2", "grid"])
def test_report_has_the_front(tmp_path, method):
    one = searched(tmp_path, method)
    report = one.report()
    assert report.objective == BOTH
    places = [math.log10(t.values["learning_rate"]) for t in report.front]
    # All between the two best places, in the order of the first objective.
    assert all(-4.2 < place < -0.8 for place in places)
    assert places == sorted(places, key=lambda p: abs(p + 4))
    numbers = {t.number for t in report.front}
    inside = {
        t.number
        for t in report.trials
        if -4 <= math.log10(t.values["learning_rate"]) <= -1
    }
    assert inside <= numbers
    text = str(report)
    assert "Pareto front" in text
    assert "better in one of val_loss (lower), val_accuracy (higher)" in text
    assert report.to_dict()["front"] == [t.number for t in report.front]
    assert report.best[0].score == min(t.score for t in report.trials)


def test_samplers_look_for_the_front(tmp_path):
    def share(method):
        one = searched(tmp_path / method, method, max_trials=45)
        late = [math.log10(t.values["learning_rate"]) for t in one._store.trials()[15:]]
        return sum(-4.2 < place < -0.8 for place in late) / len(late)

    assert share("tpe") > 1.2 * share("random")


@pytest.mark.parametrize("method", ["tpe", "nsga2"])
def test_goes_on_the_same_when_it_was_cut_off(tmp_path, method):
    def interrupt(trial):
        if trial.number == 13:
            raise KeyboardInterrupt

    settings = {"max_trials": 20}
    alone = searched(tmp_path / "alone", method, **settings)._store.trials()
    logs = {"val_loss": 1.0, "val_accuracy": 0.5}
    cut = Pretend(outcome=two, logs=lambda value: logs, before=interrupt)
    with pytest.raises(KeyboardInterrupt):
        searched(tmp_path / "cut", method, executor=cut, **settings)
    again = searched(tmp_path / "cut", method, **settings)._store.trials()
    assert [(t.values, t.score) for t in again] == [(t.values, t.score) for t in alone]


def test_the_front():
    def trial(number, loss, accuracy, status="completed"):
        metrics = BOTH.completed({"val_loss": loss, "val_accuracy": accuracy})
        score = None if status == "failed" else metrics[BOTH.name]
        outcome = Outcome(status, score, metrics=metrics)
        return Trial(number, 0, {"n": number}, 1, 0, outcome=outcome)

    trials = [
        trial(0, 0.5, 0.5),
        trial(1, 0.4, 0.6),
        trial(2, 0.9, 0.9),
        trial(3, 0.1, 0.1),
        trial(4, 0.9, 0.8),
        trial(5, 0.0, 1.0, "failed"),
        Trial(6, 0, {}, 1, 0),
    ]
    assert [t.number for t in pareto.front(trials, BOTH)] == [3, 1, 2]
    assert pareto.front(trials, PARTS[0]) == []


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ([], "`objective` must be"),
        (["val_loss", "val_loss"], "a list of different ones"),
        (["val_loss", 3], "`objective` must be"),
        (["val_loss", "val_f7"], "minimized or maximized"),
    ],
)
def test_lists_that_are_refused(tmp_path, objective, message):
    with pytest.raises(ValueError, match=message):
        search.Search(make_model, objective, directory=tmp_path)


def test_one_in_a_list_is_one(tmp_path):
    one = search.Search(make_model, ["val_loss"], directory=tmp_path)
    assert one._objective == PARTS[0]


def test_one_that_is_not_logged(tmp_path):
    executor = Pretend(logs=lambda value: {"loss": 1.0, "val_loss": 1.0})
    with pytest.raises(ValueError, match="'val_accuracy' is not logged"):
        searched(tmp_path, executor=executor)


def test_another_list_is_another_search(tmp_path):
    searched(tmp_path, max_trials=2)
    other = search.Search(
        make_model,
        ["val_loss", "val_mae"],
        max_trials=2,
        epochs=1,
        seed=3,
        directory=tmp_path,
        verbose=0,
    )
    with pytest.raises(ValueError, match=r"`objective` is .*val_mae"):
        other.search(X, Y, validation_data=(X, Y))
