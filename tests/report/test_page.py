"""The document that the page draws: the report's numbers, as JSON can hold them."""

import dataclasses
import json
import math

import numpy as np
import pytest
from support import findings as made
from support.histories import variable

from keras_babysit.history import RunHistory
from keras_babysit.records import EpochRecord, Histogram, Image, StepRecord
from keras_babysit.report import make_report, page
from keras_babysit.report.course import MAX_MOMENTS, course_of

HOSTILE = "</script><img src=x onerror=alert(1)>\n\x1b[31m" + "x" * 10_000


@pytest.fixture(autouse=True)
def _fresh_keras():
    """Instead of conftest's: nothing here makes models."""


def history(steps=5, ratio=1e-3, path="dense/kernel"):
    found = RunHistory()
    for step in range(steps):
        parts = (variable(path, ratio * (step + 1)),)
        found.append(StepRecord(step, step / 2, loss=1.0 + step, variables=parts))
    return found


def strict(document):
    """As a browser reads it: neither NaN nor Infinity is JSON."""
    return json.loads(json.dumps(document, allow_nan=False))


def test_maps_hold_the_numbers_of_the_history():
    found = strict(page.document(make_report(history(), ()), "run"))
    chart = found["maps"]["update_ratio"]
    assert chart["places"] == ["dense/kernel"]
    assert chart["steps"] == [0, 1, 2, 3, 4]
    assert chart["epochs"] == [0, 0.5, 1, 1.5, 2]
    np.testing.assert_allclose(chart["values"], [[1e-3 * (i + 1) for i in range(5)]])
    assert found["curves"]["loss"]["values"] == [1, 2, 3, 4, 5]


def test_what_is_not_finite_is_a_string():
    values = (math.nan, math.inf, -math.inf, 0.0)
    found = RunHistory()
    for step, value in enumerate(values):
        found.append(StepRecord(step, step, loss=value))
    curve = strict(page.document(make_report(found, ()), "run"))["curves"]["loss"]
    assert curve["values"] == ["NaN", "Infinity", "-Infinity", 0]


def test_long_runs_are_thinned_and_keep_both_ends():
    found = history(steps=700)
    chart = course_of(found).maps["update_ratio"]
    assert len(chart.steps) == MAX_MOMENTS
    assert (chart.steps[0], chart.steps[-1]) == (0, 699)


def test_logs_of_training_and_validation_are_side_by_side():
    found = RunHistory()
    for epoch in (1, 2):
        logs = {"loss": 1 / epoch, "val_loss": 2 / epoch, "accuracy": 0.5}
        found.append(EpochRecord(epoch, 10 * epoch, logs=logs))
    logs = strict(page.document(make_report(found, ()), "run"))["logs"]
    assert list(logs) == ["loss", "accuracy"]
    assert logs["loss"]["train"] == {"epochs": [1, 2], "values": [1, 0.5]}
    assert logs["loss"]["validation"]["values"] == [2, 1]
    assert "validation" not in logs["accuracy"]


def test_findings_say_where_they_began_and_what_their_rule_means():
    report = make_report(made.history(), made.findings(), made.COST, "", ())
    found = strict(page.document(report, "run"))["findings"]
    assert [f["rule"] for f in found] == [g.rule for g in report.groups]
    dead = found[0]
    assert dead["advice"] == report.groups[0].advice
    assert dead["alternatives"] == ["use LeakyReLU"]
    assert len(dead["evidence"]) == 5
    assert {"where": "conv2d_3", "epoch": 2, "step": 120} in dead["places"]
    # What it explains is marked as well.
    assert "conv2d_0" in [place["where"] for place in dead["places"]]
    titles = [title for title, _ in dead["explanation"]]
    assert "Why it matters" in titles
    assert found[-1]["status"] == "healed"
    assert found[-1]["alternatives"] == []


def test_a_rule_of_the_users_own_has_no_documentation():
    report = make_report(made.history(), [made.finding("my-own-rule")])
    (found,) = strict(page.document(report, "run"))["findings"]
    assert found["explanation"] == []


def test_kernels_are_trained_weights_with_two_axes():
    layers = strict(page.document(make_report(made.history(), ()), "run"))["layers"]
    for layer, facts in zip(layers, made.facts().layers, strict=True):
        expected = [w.path for w in facts.weights if w.trainable and len(w.shape) > 1]
        assert layer["kernels"] == expected
    guessed = page.document(make_report(history(), ()), "run")["layers"]
    assert guessed[0]["kernels"] == ["dense/kernel"]


def test_histograms_and_pictures_over_the_run():
    found = RunHistory()
    pixels = np.zeros((2, 3, 3), np.uint8)
    for epoch in range(40):
        bins = Histogram(-1.0, 1.0, np.array([epoch, 1.0]))
        record = EpochRecord(
            epoch,
            epoch,
            weight_histograms={"dense/kernel": bins},
            images=(Image("first_layer/dense", pixels),),
        )
        found.append(record)
    document = strict(page.document(make_report(found, ()), "run"))
    (one,) = document["histograms"]
    assert (one["kind"], one["path"]) == ("weights", "dense/kernel")
    epochs = [state["epoch"] for state in one["states"]]
    assert len(epochs) <= 16
    assert (epochs[0], epochs[-1]) == (0, 39)
    assert one["states"][-1]["counts"] == [39, 1]
    (picture,) = document["pictures"]
    assert picture["states"][0]["source"].startswith("data:image/png;base64,")
    assert (
        page.document(make_report(found, ()), "run", states=False)["pictures"] is None
    )


def test_nothing_observed():
    document = strict(page.document(make_report(RunHistory(), ()), "run"))
    assert document["maps"] == document["logs"] == document["curves"] == {}


def test_a_saved_page_needs_no_network_and_holds_its_documents(tmp_path):
    parts = history(path=f"{HOSTILE}/kernel")
    report = make_report(parts, [made.finding(where=HOSTILE, seen=HOSTILE)])
    report = dataclasses.replace(report, model=HOSTILE)
    text = report.save(tmp_path / "report.html").read_text()
    start = text.index('id="babysit-documents">') + len('id="babysit-documents">')
    documents = json.loads(text[start : text.index("</script>", start)])
    assert documents[0]["maps"]["update_ratio"]["places"] == [f"{HOSTILE}/kernel"]
    assert "<img src=x" not in text
    assert not [w for w in ('src="http', 'href="http', "@import") if w in text]
