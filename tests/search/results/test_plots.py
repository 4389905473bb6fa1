"""Axes in numbers, and that the pictures hold what they should."""

import io
import math
import sys

import numpy as np
import pytest
from PIL import Image
from support import made_up_search as made

from keras_babysit.document.figures import drawn as drawn_by_matplotlib
from keras_babysit.search.results.dimensions import Dimension, dimensions
from keras_babysit.search.results.plots import axes, parallel, slices
from keras_babysit.search.results.plots.figures import figures
from keras_babysit.search.results.report import report_of


@pytest.fixture(scope="module")
def report():
    settings, events, trials, _ = made.made_up()
    return report_of(settings, events, trials)


@pytest.fixture(scope="module")
def view(report):
    drawn = tuple(t for t in report.trials if t.origin != "repeat")
    shown = tuple(d for d in report.dimensions if not d.is_fixed)
    best = report.best[0].trial.number
    return axes.View(drawn, shown, axes.scores_of(drawn, report.objective), best)


def scores_of(scores, objective):
    trials = [made.trial(i, score) for i, score in enumerate(scores)]
    return axes.scores_of(trials, objective)


def test_places_on_their_scales():
    log = Dimension("rate", 1e-4, 1.0, sampling="log")
    assert [log.place(v) for v in (1e-4, 1e-2, 1.0)] == pytest.approx([0, 0.5, 1])
    assert log.value(0.25) == pytest.approx(1e-3)
    linear = Dimension("x", -1.0, 3.0)
    assert linear.place(0.0) == 0.25
    turned = Dimension("momentum", 0.9, 0.999, sampling="reverse_log")
    assert [turned.place(v) for v in (0.9, 0.999)] == pytest.approx([0, 1])
    assert turned.place(turned.value(0.3)) == pytest.approx(0.3)
    choice = Dimension("how", choices=("a", "b", 1, True))
    assert [choice.place(v) for v in ("a", "b", 1, True)] == [
        0.125,
        0.375,
        0.625,
        0.875,
    ]
    assert math.isnan(choice.place("c"))
    assert math.isnan(log.place("a"))
    assert math.isnan(log.place(-1.0))
    assert Dimension("one", 2, 2).place(2) == 0.5


def test_dimensions_of_a_search():
    settings, _, trials, _ = made.made_up()
    found = dimensions([settings["space"]], trials)
    by_name = {d.name: d for d in found}
    assert list(by_name) == [h["config"]["name"] for h in made.SPACE["space"]]
    assert str(by_name["learning_rate"]) == "1e-6 to 10, log"
    assert str(by_name["units"]) == "16 to 512, log"
    assert str(by_name["momentum"]) == "0.5, 0.9, 0.99 (if optimizer is sgd)"
    assert str(by_name["batch_norm"]) == "no, yes"
    assert by_name["task"].is_fixed


def test_dimensions_cover_all_stages_and_values():
    narrow = made.number("Float", "rate", 0.01, 0.1, "log")
    wide = made.number("Float", "rate", 1e-3, 0.05, "log")
    found = dimensions([{"space": [narrow]}, {"space": [wide]}])
    assert (found[0].low, found[0].high) == (1e-3, 0.1)
    trials = [made.trial(0, values={"rate": 0.5, "new": "a"}), made.trial(1)]
    found = dimensions([{"space": [narrow]}], trials)
    assert found[0].high == 0.5
    assert found[1] == Dimension("new", choices=("a",))
    unknown = dimensions([], [made.trial(0, values={"n": 3}), made.trial(1)])
    assert unknown[0] == Dimension("n", 3, 3, whole=True)


@pytest.mark.parametrize(
    ("dimension", "labels"),
    [
        (Dimension("a", 1e-4, 1.0, sampling="log"), "1e-4 1e-3 0.01 0.1 1"),
        (Dimension("a", 0.02, 0.5, sampling="log"), "0.02 0.03 0.1 0.3 0.5"),
        (Dimension("a", 0.0, 1.0), "0 0.2 0.4 0.6 0.8 1"),
        (Dimension("a", 1, 4, whole=True), "1 2 3 4"),
        (Dimension("a", 16, 512, True, "log"), "16 30 100 300 512"),
        (Dimension("a", choices=("x", True)), "x yes"),
    ],
)
def test_ticks(dimension, labels):
    found = axes.ticks(dimension)
    assert " ".join(label for _, label in found) == labels
    places = [place for place, _ in found]
    assert places == sorted(places)
    assert min(places) >= 0
    assert max(places) <= 1


def test_the_axis_of_scores_leaves_out_what_is_far_out():
    scores = [*np.linspace(1, 2, 20), 1000.0, None, math.nan]
    found = scores_of(scores, made.LOSS)
    assert found.cut
    assert found.axis.low == 1.0
    assert found.axis.high < 10
    assert found.place(1000.0) == 1.0
    assert found.ticks()[-1][1].startswith("≥ ")
    assert found.badness(1.0) == 0.0
    assert math.isnan(found.place(None))
    assert found.without > 1


def test_the_axis_of_scores_where_more_is_better():
    found = scores_of([0.5, 0.9, 0.7, 0.8], made.ACCURACY)
    assert not found.cut
    assert found.axis.sampling == "linear"
    assert found.badness(0.9) == 0.0
    assert found.badness(0.5) == 1.0
    assert found.without < 0


def test_scores_of_many_magnitudes_are_on_a_logarithmic_axis():
    found = scores_of([0.01, 0.1, 1.0], made.LOSS)
    assert found.axis.sampling == "log"
    assert found.place(0.1) == pytest.approx(0.5)
    assert scores_of([0.5], made.LOSS).ticks() == [(0.5, "0.5")]
    assert scores_of([None, math.nan], made.LOSS) is None


def test_a_line_for_each_trial(report, view):
    figure = drawn_by_matplotlib([parallel.figure(view)], "searches")
    lines = figure.axes[0].patches
    drawn = [t for t in report.trials if t.origin != "repeat"]
    assert len(lines) == len(drawn)
    # Through every axis, and on to the score.
    assert {len(line.get_path().vertices) for line in lines} == {
        1 + 3 * len(view.shown)
    }
    dashed = [line for line in lines if line.get_linestyle() != "solid"]
    assert len(dashed) == sum(t.score is None for t in drawn)
    best = report.best[0].trial
    rates = view.shown[0].place(best.values["learning_rate"])
    thick = max(lines, key=lambda line: line.get_linewidth())
    assert thick.get_path().vertices[0, 1] == pytest.approx(rates)
    assert thick.get_path().vertices[-1, 1] == view.scores.place(best.score)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert {"learning_rate", "val_loss", "not active", "no score", "sgd"} <= set(texts)
    assert "task" not in texts  # It does not vary.


def test_a_panel_for_each_hyperparameter(report, view):
    figure = drawn_by_matplotlib([slices.figure(view)], "searches")
    panels = {p.get_title(): p for p in figure.axes if p.get_title()}
    assert list(panels) == [d.name for d in view.shown]
    drawn = [t for t in report.trials if t.origin != "repeat"]
    points = {n: sum(len(x.get_xdata()) for x in p.lines) for n, p in panels.items()}
    assert points["learning_rate"] == len(drawn)
    active = [t for t in drawn if "momentum" in t.values]
    assert points["momentum"] == len(active)
    legend = [text.get_text() for text in figure.legends[0].texts]
    assert legend[:3] == [
        "stage 1, 2 epochs",
        "stage 2, 4 epochs",
        "stage 3, 8 epochs",
    ]
    assert legend[-2:] == ["no score", "the best"]


def test_a_file(report, view, tmp_path):
    path = tmp_path / "search.png"
    figure = report.plot(path)
    picture = np.asarray(Image.open(path).convert("L"))
    assert picture.shape[0] > 600
    assert picture.std() > 10
    assert len(figure.axes) > len(view.shown)


def test_odd_searches():
    rng = np.random.default_rng(0)
    names = [f"block_{i}_number_of_filters\nin_$_the_layer_{i}" for i in range(17)]
    many = [
        made.trial(
            i,
            float(rng.uniform()),
            "stopped" if i % 2 else "completed",
            values={n: int(rng.integers(1, 99)) for n in names},
        )
        for i in range(4)
    ]
    one = [
        made.trial(0, 0.5, values={r"$\b$": "x" * 50}),
        made.trial(1, values={r"$\b$": r"$\q$"}),
    ]
    for trials in (many, one):
        settings = {"objective": {"name": r"val_$\frac$_", "direction": "max"}}
        found = report_of(settings, [], trials)
        found.plot().savefig(io.BytesIO(), dpi=30)


def test_nothing_to_draw(report):
    settings = {"objective": {"name": "val_loss", "direction": "min"}}
    for trials in (
        [],
        [made.trial(0, None, "failed", values={"a": 1}), made.trial(1)],
        [made.trial(0, 0.5, values={"a": 1})],
    ):
        found = report_of(settings, [], trials)
        assert figures(found.objective, found.trials, found.dimensions) == []
        with pytest.raises(ValueError, match="nothing to draw"):
            found.plot()


def test_without_matplotlib(report, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install .*\[plot\]'"):
        report.plot()
