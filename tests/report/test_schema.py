"""The schema of `keras-babysit report --json`, which programs rely on."""

import dataclasses
import json
import math
from importlib import resources

import jsonschema
import pytest
from support import findings as made

from keras_babysit.records import Finding, ObservationCost
from keras_babysit.report import Report, make_report
from keras_babysit.report.layers import LayerSummary
from keras_babysit.report.losses import LossSummary

SCHEMA = json.loads(
    (resources.files("keras_babysit.report") / "schema.json").read_text("utf-8")
)
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


@pytest.fixture(autouse=True)
def _fresh_keras():
    """Instead of conftest's: nothing here makes models."""


@pytest.fixture
def document():
    cost = dataclasses.replace(made.COST, overhead=math.inf, unobserved=("nothing",))
    found = make_report(made.history(), made.findings(), cost, "because", ("a note",))
    return json.loads(json.dumps(found.to_dict(), allow_nan=False))


def test_it_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(
    ("name", "cls"),
    [
        ("report", Report),
        ("finding", Finding),
        ("layer", LayerSummary),
        ("loss", LossSummary),
        ("cost", ObservationCost),
    ],
)
def test_every_field_is_described(name, cls):
    fields = {field.name for field in dataclasses.fields(cls)} - {"course", "trained"}
    described = SCHEMA["$defs"][name]
    assert set(described["properties"]) - {"run"} == fields == {*described["required"]}
    assert all("description" in value for value in described["properties"].values())


def test_reports_are_valid(document):
    assert document["findings"]
    assert document["layers"]
    assert document["cost"]["overhead"] == "inf"
    VALIDATOR.validate(document)
    VALIDATOR.validate([{**document, "run": "logs/run1"}, Report().to_dict()])


@pytest.mark.parametrize(
    "wrong",
    [
        {"findings": [{}]},
        {"steps": -1},
        {"epochs": "many"},
        {"logs": {"loss": None}},
        {"model": None},
    ],
)
def test_others_are_not(document, wrong):
    assert not VALIDATOR.is_valid({**document, **wrong})
