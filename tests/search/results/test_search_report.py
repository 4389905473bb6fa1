"""The report of a made-up search: in text, as JSON, as a page."""

import dataclasses
import html
import json
import re
import statistics
import sys

import filelock
import pytest
from support import made_up_search as made

from keras_babysit.document import console
from keras_babysit.document.blocks import Details, Heading
from keras_babysit.document.plots import Figure
from keras_babysit.search.results.ranking import Repeats
from keras_babysit.search.results.report import make_report, report_of
from keras_babysit.search.results.summaries import Reason
from keras_babysit.search.store import LOCK, Store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return made.stored(tmp_path_factory.mktemp("searches"))


@pytest.fixture(scope="module")
def report(store):
    return make_report(store)


@pytest.fixture(scope="module")
def page(report, tmp_path_factory):
    path = tmp_path_factory.mktemp("pages") / "report.html"
    report.save(path)
    return path.read_text(encoding="utf-8")


def small(trials, **settings):
    """A report of few trials, without importance."""
    known = {"objective": {"name": "val_loss", "direction": "min"}}
    return report_of({**known, **settings}, [{"event": "finished"}], trials)


def test_what_is_in_it(report):
    _, _, trials, _ = made.made_up()
    assert (report.name, report.method, report.seed) == ("mlp", "random", 0)
    assert report.ended
    assert report.trials == tuple(trials)
    assert [d.name for d in report.dimensions][:2] == ["learning_rate", "dropout"]
    assert [(len(s.trials), s.epochs) for s in report.stages] == list(made.STAGES)
    for stage in report.stages:
        scores = [report.trial(n).score for n in stage.trials]
        assert report.trial(stage.best).score == min(s for s in scores if s)
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.name = "another"


def test_the_best_are_those_whose_repeats_are_best(report):
    assert len(report.repeats) == 2
    for repeats in report.repeats:
        again = [t for t in report.trials if t.source == repeats.trial]
        scores = [t.score for t in again if t.origin == "repeat"]
        assert list(repeats.scores) == scores
        assert repeats.mean == pytest.approx(statistics.fmean(scores))
        assert repeats.std == pytest.approx(statistics.stdev(scores))
    assert report.repeats[0].mean < report.repeats[1].mean
    assert [b.trial.number for b in report.best[:2]] == [
        r.trial for r in report.repeats
    ]
    assert report.best[0].score == report.repeats[0].mean
    assert "clearly the best" in report.verdict or "by luck only" in report.verdict


def test_epochs_that_stopping_saved():
    trials = [
        made.trial(0, 0.5, epochs=10),
        made.trial(1, 0.9, "stopped", epochs=10),
        made.trial(2, None, "failed", epochs=10),
        made.trial(3, status="running", epochs=10),
    ]
    for index, trained in ((1, 3), (2, 1)):
        outcome = dataclasses.replace(trials[index].outcome, epochs=trained)
        trials[index] = dataclasses.replace(trials[index], outcome=outcome)
    report = small(trials)
    assert report.epochs_planned == 30
    assert report.epochs_trained == 10 + 3 + 1
    assert report.epochs_saved == 7
    assert "14 of 30 planned epochs were trained; stopping 1 trial saved 7 (23 %)" in (
        str(report)
    )


def test_epochs_of_folds():
    outcome = {"epochs": 4, "fold_scores": (0.4, 0.5, 0.6)}
    trial = made.trial(0, 0.5, **outcome)
    trial = dataclasses.replace(
        trial, outcome=dataclasses.replace(trial.outcome, epochs=12)
    )
    report = small([trial], folds=3)
    assert (report.epochs_planned, report.epochs_trained) == (12, 12)
    assert report.epochs_saved == 0
    assert "3 folds" in str(report)
    assert re.search(r"± over folds\s+0\.1\n", str(report))


def test_reasons_that_differ_in_numbers_only_are_one():
    trials = [
        made.trial(0, 0.5, "stopped", reason="0.53 after epoch 3 is worse than 0.41"),
        made.trial(1, 0.5, "stopped", reason="1.2e-1 after epoch 12 is worse than 3"),
        made.trial(2, None, "failed", reason="ValueError: no"),
        made.trial(3, None, "stopped", reason="ValueError: no"),
        made.trial(4, 0.5),
    ]
    reasons = small(trials).reasons
    assert [(r.status, r.trials) for r in reasons] == [
        ("stopped", (0, 1)),
        ("failed", (2,)),
        ("stopped", (3,)),
    ]
    assert reasons[0].text == "0.53 after epoch 3 is worse than 0.41"


def test_what_was_found_in_trials_and_on_the_side():
    dead = {"rule": "dead-relu", "severity": "warning", "healed": False}
    findings = (
        {**dead, "where": "dense"},
        {**dead, "where": "dense_1"},
        {**dead, "rule": "gone", "healed": True},
        {**dead, "rule": "a-symptom", "because": "dead-relu"},
        {**dead, "rule": "by-the-way", "severity": "info"},
    )
    full = ("epoch 3: no space left on device",)
    trials = [
        made.trial(0, 0.5, findings=findings),
        made.trial(1, 0.5, findings=findings[:1], notes=full),
        made.trial(2, 0.5, notes=("epoch 7: no space left on device",)),
    ]
    report = small(trials)
    assert report.rules == (Reason("warning", "dead-relu", (0, 1)),)
    assert report.notes == (Reason("note", full[0], (1, 2)),)
    assert re.search(r"2 +warning +dead-relu +0, 1", str(report))
    assert re.search(r"2 +note +epoch 3: no space left on device +1, 2", str(report))


def test_text(report):
    text = str(report)
    first, second = text.splitlines()[:2]
    stopped = sum(t.status == "stopped" for t in report.trials)
    assert first == f"mlp: 42 trials, {stopped} stopped, 2 failed."
    assert second.startswith("Best val_loss 0.17")
    assert "mean ± std of 3 repeats" in second
    for words in (
        "val_loss, lower is better; method random; seed 0; one validation set.",
        "1e-6 to 10, log",
        "0.5, 0.9, 0.99 (if optimizer is sgd)",
        "try hp.Float",
        "functional ANOVA",
        "ResourceExhaustedError: OOM",
        "5, 11",
    ):
        assert words in text
    assert max(map(len, text.splitlines())) <= 100


def test_the_pictures_are_between_the_sections(report):
    blocks = report.content()
    figures = [block.title for block in blocks if isinstance(block, Figure)]
    assert figures == ["Trials across all axes", "Score along each hyperparameter"]
    titles = [b.text if isinstance(b, Heading) else type(b) for b in blocks]
    at = titles.index(Figure)
    assert titles[at - 2] == "Best trials"
    assert isinstance(blocks[-1], Details)


@pytest.mark.parametrize("width", [45, 80, 120])
def test_on_consoles_of_any_width(report, width):
    lines = console.text(report.content(), width).splitlines()
    assert max(map(len, lines)) <= width
    assert any("learning_rate" in line for line in lines)


def test_as_markdown(report, tmp_path):
    text = report.save(tmp_path / "report.md").read_text(encoding="utf-8")
    assert text.startswith("## mlp: 42 trials")
    assert "| learning\\_rate | 1e-6 to 10, log |" in text
    assert "### All trials" in text


def test_as_json(report, tmp_path):
    path = report.save(tmp_path / "report.json")
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["best"][0]["trial"] == report.best[0].trial.number
    assert found["best"][0]["values"]["task"] == "digits"
    assert len(found["trials"]) == 42
    assert found["trials"][0]["learning_rate"] > 0
    named = {"name": "val_loss", "direction": "min", "parts": []}
    assert found["objective"] == named
    assert found["importance"]["singles"][0]["names"] == ["learning_rate"]
    assert found["findings"][0]["where"] == "learning_rate"
    assert found["epochs_saved"] == report.epochs_saved
    # NaN and infinity, of which JSON knows nothing, too.
    odd = small([made.trial(0, 0.1, metrics={"loss": float("nan")})])
    assert odd.to_dict()["trials"][0]["loss"] == "nan"


def test_the_page_needs_nothing_else(report, page):
    assert page.startswith("<!doctype html>")
    assert page.count('src="data:image/svg+xml;base64,') == 2
    assert "<script" not in page
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert report.findings[0].action in html.unescape(page)
    rows = page.split("<summary>All trials</summary>")[1].count("<tr")
    assert rows == len(report.trials) + 1
    assert "<h4>Best trials</h4>" in page
    assert '<td class="bar"><div style="width:100.0%">' in page
    assert page.count("<div") == page.count("</div>")
    assert page.count("<td") == page.count("</td>")


def test_the_page_is_the_same_each_time(report, page, tmp_path):
    report.save(tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == page


def test_all_text_is_escaped(tmp_path):
    evil = "<script>alert(1)</script>"
    trials = [
        made.trial(0, 0.5, values={evil: evil}),
        made.trial(1, None, "failed", values={evil: "b"}, reason=evil),
    ]
    report = small(trials, project_name=evil, method=evil)
    report.save(tmp_path / "report.html")
    assert "<script>" not in (tmp_path / "report.html").read_text()
    assert "<script>" not in report._repr_html_()


def test_without_matplotlib_the_page_says_so(report, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    report.save(tmp_path / "report.html")
    assert "No picture: " in (tmp_path / "report.html").read_text()


def test_without_scikit_learn_it_says_so(store, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    assert "needs scikit-learn: `pip install" in make_report(store).importance.reason


def test_a_search_that_goes_on(tmp_path):
    _, events, _, _ = made.made_up()
    store = made.stored(tmp_path, events=events[:4])
    report = make_report(store)
    assert not report.ended
    assert "2 trials, 1 running, not finished." in str(report).replace("\n", " ")
    assert "needs at least" in str(report)
    assert report.to_dict()["status"]["state"] == "interrupted"
    with filelock.FileLock(store.directory / LOCK):
        report = make_report(store)
    page = report.save(tmp_path / "running.html").read_text()
    assert report.status.seconds_left
    for said in ("How far it is: running", "time left", "1 running", "trial 1: "):
        assert said in page
        assert said in " ".join(str(report).split())
    empty = make_report(made.stored(tmp_path / "b", events=[]))
    assert str(empty).splitlines()[0] == ("mlp: 0 trials, not finished.")
    assert "No trial has a score." in str(empty)
    empty.save(tmp_path / "empty.html")


def test_a_search_that_was_given_up(tmp_path):
    _, events, _, _ = made.made_up()
    given_up = {"event": "aborted", "reason": "The first 3 trials failed: no."}
    store = made.stored(tmp_path, events=[*events[:3], given_up])
    report = make_report(store, importance=False)
    assert report.aborted == "The first 3 trials failed: no."
    assert "given up" in str(report).splitlines()[0]
    assert "Given up: The first 3 trials failed" in str(report)
    assert report.importance is None


def test_luck_is_mentioned_where_nothing_was_repeated():
    report = small([made.trial(0, 0.5), made.trial(1, 0.6)])
    assert "repeat_top=3" in str(report)
    assert "repeat_top" not in str(small([made.trial(0, 0.5)]))


def test_repeats_without_a_score():
    trials = [
        made.trial(0, 0.5),
        made.trial(1, None, "failed", origin="repeat", source=0),
        made.trial(2, 0.7, origin="repeat", source=0),
    ]
    report = small(trials)
    assert report.repeats == (Repeats(0, 0.5, (0.7,), 1),)
    assert report.best[0].score == 0.7
    assert "nan" not in str(report).lower()


def test_no_search(tmp_path):
    with pytest.raises(ValueError, match=r"There is no search in .*no search\.json"):
        make_report(Store(tmp_path))
