"""Rows and DataFrames of made-up trials; the words for numbers."""

import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from support import made_up_search as made

from keras_babysit.search.results.table import (
    COLUMNS,
    counts,
    duration,
    frame,
    roughly,
    rows,
    said,
    score_text,
    shown,
)
from keras_babysit.search.trials import EpochResult


def test_a_row_for_each_trial_by_number():
    trials = [
        made.trial(1, 0.25, values={"rate": 0.1}, metrics={"val_loss": 0.25}),
        made.trial(0, None, "failed", values={"rate": 0.2}, reason="ValueError: x"),
    ]
    found = rows(trials)
    assert [row["number"] for row in found] == [0, 1]
    assert list(found[0]) == list(found[1]) == [*COLUMNS, "rate", "val_loss"]
    assert found[0]["reason"] == "ValueError: x"
    assert found[0]["score"] is None
    assert found[0]["val_loss"] is None
    assert found[1]["rate"] == 0.1
    assert found[1]["val_loss"] == 0.25


def test_names_that_are_taken():
    values = {"epochs": 7, "learning_rate": 0.1}
    metrics = {"learning_rate": 0.05, "score": 3.0}
    row = rows([made.trial(0, 0.5, values=values, metrics=metrics)])[0]
    assert row["epochs"] == 2
    assert row["hp/epochs"] == 7
    assert row["learning_rate"] == 0.1
    assert row["metric/learning_rate"] == 0.05
    assert row["metric/score"] == 3.0
    made_frame = frame([made.trial(0, 0.5, values=values, metrics=metrics)])
    assert made_frame.attrs["hyperparameters"] == ["hp/epochs", "learning_rate"]
    assert made_frame.attrs["metrics"] == ["metric/learning_rate", "metric/score"]


def test_the_spread_over_the_folds():
    scores = (0.1, 0.25, 0.4, 0.2)
    row = rows([made.trial(0, np.mean(scores), fold_scores=scores)])[0]
    assert row["score_std"] == pytest.approx(np.std(scores, ddof=1), rel=1e-12)
    assert rows([made.trial(0, 0.1, fold_scores=(0.1,))])[0]["score_std"] is None


def test_a_running_trial_has_its_best_so_far():
    running = made.trial(3, status="running", values={"rate": 0.1}, epochs=10)
    losses = [0.9, 0.4, math.nan, 0.5]
    epochs = [EpochResult(i + 1, {"val_loss": v}, 1.5) for i, v in enumerate(losses, 0)]
    row = rows([running], made.LOSS, {3: epochs})[0]
    assert (row["score"], row["best_epoch"], row["epochs"]) == (0.4, 2, 4)
    assert row["seconds"] == 6.0
    assert row["epochs_planned"] == 10
    assert rows([running])[0]["score"] is None


def test_frame_keeps_whole_numbers_and_booleans():
    trials = [
        made.trial(0, 0.5, values={"units": 32, "nesterov": True}, best_epoch=2),
        made.trial(1, None, "failed", values={"units": 64}),
        made.trial(2, 0.25, values={"nesterov": False}, parameters=10, source=0),
    ]
    found = frame(trials, made.LOSS)
    assert found["units"].dtype == "Int64"
    assert found["units"].tolist()[:2] == [32, 64]
    assert found["units"].isna().tolist() == [False, False, True]
    assert found["nesterov"].dtype == "boolean"
    assert found["score"].dtype == "float64"
    assert [found[c].dtype for c in ("source", "best_epoch", "parameters")] == [
        pd.Int64Dtype()
    ] * 3
    assert found.sort_values("score").number.tolist()[0] == 2
    assert found.attrs["objective"] == "val_loss"
    assert found.attrs["direction"] == "min"


def test_frame_of_a_whole_search():
    _, _, trials, _ = made.made_up()
    found = frame(trials, made.LOSS)
    assert len(found) == len(trials)
    assert found["number"].tolist() == list(range(len(trials)))
    active = found["momentum"].notna()
    assert (active == (found["optimizer"] == "sgd")).all()
    best = found.loc[found["score"].idxmin()]
    assert best["val_loss"] == best["score"]
    assert set(found["status"]) == {"completed", "stopped", "failed"}
    by_stage = found[found.origin != "repeat"].groupby("stage").size()
    assert by_stage.tolist() == [count for count, _ in made.STAGES]


def test_nothing_yet():
    assert rows([]) == []
    found = frame([])
    assert found.columns.tolist() == list(COLUMNS)
    assert len(found) == 0


def test_without_pandas(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"pip install .*\[search\]'"):
        frame([made.trial(0)])


def test_rows_and_reports_need_neither_keras_nor_pandas(tmp_path):
    made.stored(tmp_path)
    code = f"""
import sys
from keras_babysit.search.results.table import rows
from keras_babysit.search.results.report import make_report
from keras_babysit.search.store import Store
store = Store({str(tmp_path)!r})
assert len(rows(store.trials())) > 10
assert str(make_report({str(tmp_path)!r}, importance=False))
heavy = ("keras", "keras_tuner", "optuna", "pandas", "matplotlib", "sklearn")
print([m for m in heavy if m in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_counts_in_a_fixed_order():
    trials = [
        made.trial(0, status="running"),
        made.trial(1, None, "failed"),
        made.trial(2, 0.1),
        made.trial(3, 0.1),
    ]
    assert list(counts(trials).items()) == [
        ("completed", 2),
        ("failed", 1),
        ("running", 1),
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0"),
        (0.123456, "0.1235"),
        (123456.0, "1.235e5"),
        (0.000123456, "1.235e-4"),
        (math.nan, "NaN"),
        (-math.inf, "-inf"),
    ],
)
def test_scores_in_words(value, text):
    assert score_text(value) == text


@pytest.mark.parametrize(
    ("seconds", "exact", "rough"),
    [
        (0.04, "0.0 s", "10 s"),
        (9.94, "9.9 s", "10 s"),
        (9.96, "10 s", "10 s"),
        (59.4, "59 s", "60 s"),
        (59.6, "1 min 00 s", "60 s"),
        (100, "1 min 40 s", "2 min"),
        (3599, "59 min 59 s", "60 min"),
        (3600, "1 h 00 min", "1 h 00 min"),
        (9000, "2 h 30 min", "2 h 30 min"),
        (86399, "1 d 0 h", "24 h 00 min"),
        (100 * 3600, "4 d 4 h", "4 d 4 h"),
    ],
)
def test_durations_in_words(seconds, exact, rough):
    assert duration(seconds) == exact
    assert roughly(seconds) == rough


def test_values_in_words():
    values = {"learning_rate": 3.14159e-4, "units": 64, "bias": True, "how": "sgd"}
    told = "learning_rate 3.1e-4, units 64, bias yes, how sgd"
    assert said(values) == told
    assert said(values, 2) == "learning_rate 3.1e-4, units 64, and 2 more"
    assert shown("two\nlines") == "two lines"
