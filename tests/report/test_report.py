"""The report: what is in it, how findings are grouped, and what it looks like."""

import dataclasses
import json
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from support import findings as made
from support.histories import labels, loss_call

from keras_babysit import Report
from keras_babysit.document import html as pages
from keras_babysit.document import markdown, words
from keras_babysit.history import RunHistory
from keras_babysit.records import EpochRecord, LayerStats, StepRecord, VariableStats
from keras_babysit.report import groups, make_report
from keras_babysit.report.layers import MAX_LAYERS, RECENT

HOSTILE = "<img src=x onerror=alert(1)>\n\x1b[31m|`*'\"&"


@pytest.fixture(autouse=True)
def _fresh_keras():
    """Instead of conftest's: nothing here makes models."""


@pytest.fixture
def report():
    return make_report(
        made.history(), made.findings(), made.COST, "because", ("rolled back",)
    )


def test_what_is_in_it(report):
    assert report.model == "digits"
    assert (report.steps, report.epochs, report.ended) == (600, 10.0, True)
    assert report.logs == {"loss": 0.25, "val_loss": 0.5}
    assert report.parameters == 3001
    assert report.cost == made.COST
    assert report.stopped == "because"
    assert report.notes == ("rolled back",)
    assert report.unasked == (
        "The training data were not seen: rules about them could not be applied.",
    )
    severities = [f.severity for f in report.findings if not f.healed]
    assert severities == sorted(severities, key=["error", "warning", "info"].index)
    assert report.findings[-1].healed


def test_problems_are_open_unexplained_and_not_remarks(report):
    rules = [f.rule for f in report.problems]
    assert rules == ["dead-relu"] * 5 + ["inputs-not-scaled"]


def test_layers(report):
    by_path = {layer.path: layer for layer in report.layers}
    assert list(by_path) == [layer.path for layer in made.facts().layers]
    conv = by_path["conv2d_0"]
    assert (conv.kind, conv.activation, conv.parameters) == ("Conv2D", "relu", 584)
    assert conv.variables == ("conv2d_0/kernel", "conv2d_0/b")
    assert conv.update_ratio == pytest.approx(1e-3)
    assert conv.gradient_norm == pytest.approx(math.hypot(3.0, 3.0))
    assert conv.dead_fraction == pytest.approx(0.93)
    assert conv.saturation_fraction is None
    assert conv.findings == ("dead-relu", "vanishing-gradient")
    assert by_path["dense"].saturation_fraction == 0.5
    assert by_path["flatten"].update_ratio is None


def test_numbers_are_recent_medians_unless_the_last_is_not_finite():
    model = made.facts(1)
    history = made.history(model, steps=())
    for step in range(3 * RECENT):
        ratio = 5.0 if step < 2 * RECENT or step == 3 * RECENT - 2 else 2e-3
        history.append(made.step_record(model, step, ratio))
    (conv, *_) = make_report(history, ()).layers
    assert conv.update_ratio == pytest.approx(2e-3)
    history.append(made.step_record(model, 100, math.nan))
    (conv, *_) = make_report(history, ()).layers
    assert math.isnan(conv.update_ratio)
    history.append(made.step_record(model, 101, 2e-3))
    (conv, *_) = make_report(history, ()).layers
    assert conv.update_ratio == pytest.approx(2e-3)


def test_layers_without_facts_are_guessed_from_their_measurements():
    history = RunHistory()
    history.append(
        StepRecord(
            7,
            0.5,
            variables=(
                VariableStats("a/b/kernel", made.stats(1.0, 9.0), update_ratio=1e-3),
                VariableStats(
                    "a/b/cell/kernel", made.stats(1.0, 1.0), update_ratio=1.0
                ),
                VariableStats("lonely", made.stats(1.0), update_ratio=2.0),
            ),
            layers=(
                LayerStats("a/b", made.stats(1.0), dead_fraction=0.1),
                LayerStats("a/b@2", made.stats(1.0), dead_fraction=0.7),
            ),
        )
    )
    report = make_report(history, [made.finding(where="a/b@2")])
    first, second = report.layers
    assert first.path == "a/b"
    assert first.variables == ("a/b/kernel", "a/b/cell/kernel")
    assert first.update_ratio == pytest.approx(1e-3)
    assert first.dead_fraction == 0.7
    assert first.findings == ("dead-relu",)
    assert second.path == "lonely"
    assert report.steps == 8


def test_findings_of_variables_belong_to_their_layers():
    report = make_report(made.history(), [made.finding(where="conv2d_1/kernel")])
    assert [v.path for v in report.layers if v.findings] == ["conv2d_1"]


def test_round_trip_through_json(report):
    plain = json.loads(report.to_json())
    assert Report.from_dict(plain) == report
    assert Report.from_dict(json.loads(Report().to_json())) == Report()


def test_the_cost_names_what_was_looked_at():
    for looked_at, said in (
        ("gradients and activations", ", 9 of them with gradients and activations. "),
        ("what the loss gets", ", 9 of them with what the loss gets. "),
        ("", "Observed 30 of 600 steps. "),
    ):
        cost = dataclasses.replace(made.COST, full=9, looked_at=looked_at)
        assert said in Report(cost=cost).cost_line


def test_a_loss_of_yours_that_broadcasts_has_one_row():
    history = made.history()
    mine = loss_call(labels(), loss="mine", layer="dense")
    within = dataclasses.replace(mine, path="own code", loss="own code", expanded=True)
    for calls, shown in (((mine, within), ["mine"]), ((within,), ["own code"])):
        history.losses.clear()
        record = made.step_record(history.model, 600)
        history.append(dataclasses.replace(record, losses=calls))
        assert [loss.path for loss in make_report(history, ()).losses] == shown


def test_what_the_loss_gets():
    history = made.history()
    calls = (
        loss_call(labels(min=-1.0, max=2.5), loss="mse", layer="dense"),
        dataclasses.replace(loss_call(loss="own"), outputs=None),
    )
    record = dataclasses.replace(made.step_record(history.model, 600), losses=calls)
    history.append(record)
    report = make_report(history, ())
    assert [loss.path for loss in report.losses] == ["mse", "own"]
    assert report.losses[0].targets == (-1.0, 2.5)
    assert report.losses[1].outputs == ()
    assert "mse of dense -1 to 2.5" in " ".join(str(report).split())
    assert Report.from_dict(json.loads(report.to_json())) == report


def test_json_of_what_is_not_finite():
    model = made.facts(1, prefix="nan")
    history = made.history(model, steps=())
    history.append(made.step_record(model, 0, math.nan))
    history.append(EpochRecord(1, 1, {"loss": math.nan, "accuracy": np.float32(0.5)}))
    evidence = {"a": np.float32("inf"), "b": np.arange(2.0), "c": [math.nan], "d": None}
    report = make_report(history, [made.finding(evidence=evidence)])
    plain = json.loads(report.to_json())
    assert plain["logs"] == {"loss": "nan", "accuracy": 0.5}
    again = Report.from_dict(plain)
    assert math.isnan(again.logs["loss"])
    assert math.isnan(again.layers[0].update_ratio)
    assert again.layers[0].path == "nan0"
    assert again.to_dict() == report.to_dict()


def test_nothing_recorded():
    report = make_report(RunHistory(), ())
    assert report.findings == report.problems == report.layers == ()
    assert "nothing wrong found" in str(report)
    unobserved = dataclasses.replace(made.COST, steps=0, observed=0)
    assert "bserved" not in str(make_report(RunHistory(), (), unobserved))
    assert "nothing wrong found" in report._repr_html_()


def test_grouped_with_symptoms_below_their_cause(report):
    first, second, third, healed = report.groups
    assert first.seen == (
        "conv2d_0, conv2d_1 and 3 more: 90 % of the units are dead (conv2d_0)"
    )
    assert first.when == "since epoch 2"
    assert first.also_seen == "Also seen: vanishing-gradient (conv2d_0), loss-flat"
    card = second.card
    assert (card.status, card.rule) == ("warning", "inputs-not-scaled")
    assert card.seen == "x: values from 0 to 255"
    assert card.advice == (
        "Likely the learning rate is too high: try 1e-4 instead of 1e-3."
    )
    assert third.when == "since epoch 5"
    card = healed.card
    assert (card.status, card.tone, card.over) == ("healed", "good", True)
    assert (card.seen, card.advice) == ("the loss oscillates", "")
    assert card.when == "since epoch 2, healed at epoch 5"


def test_symptoms_of_symptoms_and_of_nothing():
    found = [
        made.finding("a"),
        made.finding("b", because="a"),
        made.finding("c", because="b"),
        made.finding("d", because="not there"),
        made.finding("e", because="f"),
        made.finding("f", because="e"),
    ]
    told = groups.told(found)
    assert [g.rule for g in told] == ["a", "d", "e", "f"]
    assert told[0].also_seen == "Also seen: b, c"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([""], ""),
        (["a"], "a"),
        (["a", "b"], "a and b"),
        (["a", "b", "c", "a"], "a, b and c"),
        (["a", "b", "c", "d"], "a, b and 2 more"),
    ],
)
def test_places(names, expected):
    assert groups.where([made.finding(where=name) for name in names]) == expected


@pytest.mark.parametrize(
    ("value", "number", "share"),
    [
        (None, "", ""),
        (0.0, "0", "0 %"),
        (1.0, "1", "100 %"),
        (0.925, "0.925", "92 %"),
        (0.9999, "1", ">99 %"),
        (0.0004, "4e-4", "0.04 %"),
        (12345.0, "12,345", "1234500 %"),
        (1.5e7 + 0.5, "1.5e7", "1500000050 %"),
        (math.nan, "NaN", "NaN"),
        (-math.inf, "-inf", "-inf"),
    ],
)
def test_numbers(value, number, share):
    assert words.number(value) == number
    assert words.share(value) == share


def test_moments():
    assert words.moment(12, 0.2) == "step 12"
    assert words.moment(120, 2.0) == "epoch 2"
    assert words.moment(151, 2.516) == "epoch 2.5"


def test_plain_text(report):
    text = str(report)
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 100
    words = " ".join(text.split())
    assert "1 error, 1 warning, 1 remark" in words
    assert "Also seen: vanishing-gradient (conv2d_0), loss-flat." in words
    assert "Stopped: because" in text
    assert "rolled back" in text
    cost = (
        "Observed 30 of 600 steps. Watching added 1.2 s to this run: 1.1 s once, "
        "0.06 s (1.3 %) while it trained."
    )
    assert cost in words
    row = re.search(r"^ *conv2d_0 .*$", text, re.M).group()
    assert row.split()[:7] == [
        "conv2d_0",
        "Conv2D",
        "relu",
        "584",
        "1e-3",
        "4.24",
        "93",
    ]
    assert "flatten" not in text


def test_of_what_was_not_observed_nothing_good_is_said():
    why = "Not observed: gradients and activations: it calls Python"
    cost = dataclasses.replace(made.COST, unobserved=(why,))
    part = made_report(cost)
    assert "nothing wrong found" in part
    assert why in part
    nothing = made_report(dataclasses.replace(cost, observed=0))
    assert "nothing was observed" in nothing
    assert "nothing wrong found" not in nothing
    assert "Observed 0 of 600 steps" in nothing


def made_report(cost):
    report = make_report(made.history(made.facts(2)), [], cost=cost)
    again = type(report).from_dict(report.to_dict())
    assert str(again) == str(report)
    return " ".join(str(report).split())


def test_many_layers_are_cut_but_not_those_with_findings():
    history = made.history(made.facts(300))
    report = make_report(history, [made.finding(where="conv2d_299")])
    text = str(report)
    assert "conv2d_299 " in text
    assert f"and {301 - MAX_LAYERS} more layers" in text
    assert report._repr_html_().count("<tr") == 1 + MAX_LAYERS


class Balanced(HTMLParser):
    """Fails on tags that do not match, and collects what is there."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.text, self.attributes = [], set(), "", []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data


def test_html(report):
    html = report._repr_html_()
    parsed = Balanced(html)
    assert not parsed.tags & {"script", "link", "img", "iframe"}
    assert "http" not in html
    assert "Also seen: vanishing-gradient (conv2d_0), loss-flat" in parsed.text
    text = " ".join(parsed.text.split())
    assert "If that does not help: use LeakyReLU" in text
    assert "conv2d_4: dead_fraction 0.94" in parsed.text
    assert Balanced(pages.page(report.content(), "a")).text.count("digits") == 1


def test_hostile_names_do_no_harm():
    model = made.facts(1, prefix=HOSTILE)
    found = made.finding(
        rule=HOSTILE,
        where=f"{HOSTILE}0",
        severity="warning",
        seen=HOSTILE,
        cause=HOSTILE,
        action=HOSTILE,
        alternatives=(HOSTILE,),
        evidence={HOSTILE: HOSTILE},
    )
    symptom = made.finding("b", where=HOSTILE, because=HOSTILE)
    history = made.history(model)
    history.append(EpochRecord(11, 660, {HOSTILE: 1.0}))
    report = make_report(history, [found, symptom], None, HOSTILE, [HOSTILE])
    parsed = Balanced(pages.page(report.content(), HOSTILE))
    assert "img" not in parsed.tags
    assert {name for name, _ in parsed.attributes} <= {
        "charset",
        "class",
        "content",
        "lang",
        "name",
    }
    assert "<img src=x onerror=alert(1)>" in parsed.text
    assert "\x1b" not in str(report) + parsed.text
    text = markdown.text(groups.cards(report.findings))
    assert "<" not in text
    assert len(text.splitlines()) == 2
    assert "\\|\\`\\*'\"&amp;" in text
