"""The `keras-babysit` command."""

import json
import subprocess
import sys
from importlib import resources

import jsonschema
import pytest
from click.testing import CliRunner
from support import findings as made

from keras_babysit import rules
from keras_babysit.cli.main import main
from keras_babysit.report import make_report
from keras_babysit.sinks.tensorboard import TensorBoardSink


@pytest.fixture(autouse=True)
def _fresh_keras():
    """Instead of conftest's: nothing here makes models."""


@pytest.fixture
def call(monkeypatch):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.delenv("COLUMNS", raising=False)

    def invoke(*arguments):
        result = CliRunner().invoke(main, list(map(str, arguments)))
        assert not isinstance(result.exception, Exception), result.exception
        return result

    return invoke


def write(log_dir, findings=()):
    sink = TensorBoardSink(log_dir)
    sink.emit_run(make_report(made.history(), findings, made.COST), 600)
    sink.close()


@pytest.fixture
def logs(tmp_path):
    write(tmp_path / "bad", made.findings())
    write(tmp_path / "good")
    return tmp_path


def test_rules_lists_all(call):
    result = call("rules")
    assert result.exit_code == 0
    assert "\x1b" not in result.output
    for name, rule in rules.available().items():
        assert name in result.output
        assert rule.severity in result.output


def test_explain(call):
    for name, rule in rules.available().items():
        result = call("explain", name)
        assert result.exit_code == 0
        assert result.output.startswith(f"{name}\n")
        assert "What to do" in result.output
        assert "](" not in result.output
        assert not [t for t in rule.thresholds if f"{t}=" not in result.output]


def test_explain_takes_the_name_in_python(call):
    name = next(iter(rules.available()))
    written = name.replace("-", "_").upper()
    assert call("explain", written).output == call("explain", name).output


def test_explain_of_an_unknown_rule_names_close_ones(call):
    name = next(iter(rules.available()))
    result = call("explain", f"{name}x")
    assert result.exit_code == 2
    assert f"there is no rule '{name}x'. Did you mean {name}" in result.output
    assert "keras-babysit rules" in call("explain", "§").output


def test_report_of_one_run(call, logs):
    result = call("report", logs / "bad")
    assert result.exit_code == 0
    first, second, *_ = result.output.splitlines()
    assert first.startswith("✖ digits: 10 epochs, 600 steps")
    assert second.startswith("✖ error   conv2d_0, conv2d_1 and 3 more")
    assert "\x1b" not in result.output


def test_report_of_several_runs(call, logs):
    lines = call("report", logs).output.splitlines()
    assert str(logs / "bad") in lines
    assert str(logs / "good") in lines


def test_report_as_json(call, logs):
    one = json.loads(call("report", logs / "bad", "--json").output)
    assert one["run"] == str(logs / "bad")
    assert len(one["findings"]) == len(made.findings())
    several = json.loads(call("report", logs, "--json").output)
    schema = resources.files("keras_babysit.report") / "schema.json"
    for printed in (one, several):
        jsonschema.validate(printed, json.loads(schema.read_text("utf-8")))
    assert [each["run"] for each in several] == [str(logs / "bad"), str(logs / "good")]


def test_report_as_a_page(call, logs, tmp_path):
    file = tmp_path / "page.html"
    result = call("report", logs, "--html", file)
    assert (result.exit_code, result.output) == (0, "")
    html = file.read_text(encoding="utf-8")
    assert html.startswith("<!doctype html>")
    assert html.count("<h2>") == 2


def test_a_page_that_cannot_be_written(call, logs, tmp_path):
    result = call("report", logs, "--html", tmp_path / "none" / "page.html")
    assert result.exit_code == 2
    assert "cannot be written: No such file or directory" in result.output


@pytest.mark.parametrize(
    ("run", "code"), [("bad", 1), ("good", 0), (".", 1), ("none", 2)]
)
def test_check(call, logs, run, code):
    (logs / "none").mkdir()
    assert call("report", logs / run, "--check").exit_code == code


def test_nothing_to_read(call, tmp_path):
    result = call("report", tmp_path)
    assert result.exit_code == 2
    assert "there are no findings of a Babysitter in" in result.output
    assert call("report", tmp_path / "missing").exit_code == 2


def test_no_framework_is_imported(logs):
    code = f"""
import sys
from keras_babysit.cli.main import main
for arguments in (["rules"], ["rules", "--markdown"], ["report", {str(logs)!r}]):
    main(arguments, standalone_mode=False)
heavy = ("tensorflow", "keras", "matplotlib", "torch", "jax")
print([m for m in heavy if m in sys.modules])
"""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert run.stdout.splitlines()[-1] == "[]"


def test_as_a_module():
    run = subprocess.run(
        [sys.executable, "-m", "keras_babysit", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Usage: keras-babysit" in run.stdout
