"""`keras-babysit check`."""

import json
import subprocess
import sys
from xml.etree import ElementTree

import keras
import pytest
from click.testing import CliRunner
from support import fresh

from keras_babysit import checks
from keras_babysit.checks.check import Check, CheckResult
from keras_babysit.cli import main

PROJECT = """
import keras
import numpy as np

def compiled(model):
    model.compile("adam", "sparse_categorical_crossentropy")
    return model

def make_model():
    print("making the model")
    return compiled(
        keras.Sequential([keras.Input((6,)), keras.layers.Dense(3, "softmax")])
    )

def make_data():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 90)
    return (rng.normal(size=(90, 6)) + 2 * np.eye(6)[y]).astype("float32"), y

def large():
    x, y = make_data()
    return 100 * x, y, np.ones(len(y))

def wrong_labels():
    x, y = make_data()
    return x, y + 1

def batches():
    x, y = make_data()
    for i in range(0, 90, 10):
        yield x[i : i + 10], y[i : i + 10]

class Project:
    model = make_model()
    data = make_data()

def uncompiled():
    return keras.Sequential([keras.Input((6,)), keras.layers.Dense(3)])

def forgets():
    make_model()

def takes(units):
    return make_model()

def fails():
    return _deeper()

def _deeper():
    return {}["no such key"]

def fails_in_keras():
    return keras.layers.Dense(-1)

def leaves():
    raise SystemExit(3)

def breaks_off():
    yield from list(batches())[:2]
    raise OSError("disk on fire")

def other_shape():
    x, y = make_data()
    return x[:, :4], y

def four():
    return 1, 2, 3, 4

number = 7
"""


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Calls the command in a directory with a project, which has little to check."""
    (tmp_path / "project.py").write_text(PROJECT)
    (tmp_path / "broken.py").write_text("import no_such_package\n")
    (tmp_path / "script.py").write_text("import sys\nsys.exit(4)\n")
    (tmp_path / "typo.py").write_text("def f(:\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "project", raising=False)
    known = checks.available()
    one = Check("one", "one", 1, lambda *_: CheckResult("one", "passed", "fine"))
    few = {"model_and_data": known["model_and_data"], "one": one}
    monkeypatch.setattr(checks, "available", lambda: few)

    def invoke(*arguments):
        result = CliRunner().invoke(main.main, ["check", *arguments])
        assert isinstance(result.exception, SystemExit | None), result.exception
        return result

    yield invoke
    sys.modules.pop("project", None)


@pytest.mark.parametrize("model", ["project:make_model", "project:Project.model"])
@pytest.mark.parametrize("data", ["make_data", "Project.data", "batches"])
def test_all_is_well(call, model, data):
    result = call(model, "--data", f"project:{data}")
    assert result.exit_code == 0, result.output
    assert "✔ Before learning: sequential" in result.stdout
    assert "2 passed." in result.stdout
    assert "\x1b" not in result.output


def test_problems(call):
    result = call("project:make_model", "--data", "project:large")
    assert result.exit_code == 1
    assert "▲ worrying" in result.stdout
    assert "[inputs-not-scaled]" in result.stdout
    result = call("project:make_model", "--data", "project:wrong_labels")
    assert result.exit_code == 1
    assert "[labels-out-of-range]" in result.stdout
    arguments = ("project:make_model", "--data", "project:large", "--ignore")
    assert call(*arguments, "inputs-not-scaled").exit_code == 0
    result = call(*arguments, "model_and_data")
    assert (result.exit_code, "1 passed" in result.stdout) == (0, True)


def test_json(call):
    result = call("project:make_model", "--data", "project:large", "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert found["verdict"] == "worrying"
    assert [r["check"] for r in found["results"]] == ["model_and_data", "one"]
    assert found["findings"][0]["rule"] == "inputs-not-scaled"
    # What the project prints does not get in between.
    assert "making the model" in result.stderr


def test_junit(call, tmp_path):
    def suite(data, *more):
        file = tmp_path / f"{data}.xml"
        arguments = ("project:make_model", "--data", f"project:{data}")
        call(*arguments, "--junit", str(file), *more)
        (found,) = ElementTree.parse(file).getroot()
        return found, [[child.tag for child in case] for case in found]

    found, children = suite("make_data")
    assert (found.get("tests"), found.get("failures"), children) == ("2", "0", [[], []])
    assert [case.get("name") for case in found] == ["model and data", "one"]
    assert found[0].get("classname").startswith("sequential")
    found, children = suite("large", "--json")
    assert (found.get("failures"), children) == ("1", [["failure"], []])
    (failure,) = found[0]
    assert failure.get("type") == "worrying"
    assert "divide by" in failure.text or "Likely" in failure.text
    arguments = ("project:make_model", "--data", "project:make_data", "--junit")
    result = call(*arguments, str(tmp_path / "none" / "file.xml"))
    assert result.exit_code == 2
    assert "cannot be written: No such file or directory" in result.output


def test_saved_model(call, tmp_path):
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3, "softmax")])
    model.save(tmp_path / "plain.keras")
    model.compile("adam", "sparse_categorical_crossentropy")
    model.save(tmp_path / "saved.keras")
    assert call("saved.keras", "--data", "project:make_data").exit_code == 0
    result = call("plain.keras", "--data", "project:make_data")
    assert result.exit_code == 2
    assert "saved without being compiled" in result.output
    assert (
        "no file 'other.keras'" in call("other.keras", "--data", "project:four").stderr
    )
    (tmp_path / "empty.keras").write_bytes(b"")
    result = call("empty.keras", "--data", "project:make_data")
    assert "Keras cannot load 'empty.keras'" in result.stderr
    assert result.exit_code == 2


WRONG_MODELS = {
    "project": "must be a module and a name in it",
    "project:": "must be a module and a name in it",
    "my-project:make_model": "must be a module and a name in it",
    "nowhere.at.all:make_model": "There is no module 'nowhere'",
    "project:make_modle": "'project' has no 'make_modle'. Did you mean make_model",
    "project:Project.modle": "'project' has no 'Project.modle'. Did you mean model?",
    "project:uncompiled": "must be compiled",
    "project:forgets": "Is a `return` missing? Received: NoneType None",
    "project:takes": "without arguments: missing a required argument: 'units'",
    "project:number": "must be a function without arguments",
    "project:make_data": "must be a compiled keras.Model, or a function",
    "project:leaves": "ended the program (exit code 3)",
    "script:make_model": "Importing 'script' ended the program (exit code 4)",
}


@pytest.mark.parametrize("model", WRONG_MODELS)
def test_wrong_models(call, model):
    result = call(model, "--data", "project:make_data")
    assert result.exit_code == 2
    assert WRONG_MODELS[model] in result.stderr
    assert "Traceback" not in result.output
    assert result.stderr.count("Error: ") == 1


WRONG_DATA = {
    "project:forgets": "Is a `return` missing?",
    "project:four": "a tuple of 4",
    "project:other_shape": "`x` must have shape",
    "project:number": "`x` must be an array with one row a sample",
    "project:nothing": "'project' has no 'nothing'",
}


@pytest.mark.parametrize("data", WRONG_DATA)
def test_wrong_data(call, data):
    result = call("project:make_model", "--data", data)
    assert result.exit_code == 2
    assert WRONG_DATA[data] in result.stderr
    assert "Traceback" not in result.output


def test_wrong_names(call):
    arguments = ("project:make_model", "--data", "project:make_data", "--ignore", "on")
    result = call(*arguments)
    assert result.exit_code == 2
    assert "There is no check and no rule of that name" in result.stderr
    assert "Missing option '--data'" in call("project:make_model").stderr


THEIR_ERRORS = {
    ("project:fails", "project:make_data"): [
        "'project:fails' failed.",
        "in fails",
        "in _deeper",
        "KeyError: 'no such key'",
    ],
    ("project:fails_in_keras", "project:make_data"): ["in fails_in_keras", "units=-1"],
    ("broken:make_model", "project:make_data"): [
        "Importing 'broken' failed.",
        "ModuleNotFoundError: No module named 'no_such_package'",
    ],
    ("typo:make_model", "project:make_data"): ["SyntaxError", "def f(:"],
    ("project:make_model", "project:breaks_off"): ["in breaks_off", "disk on fire"],
}


@pytest.mark.parametrize(("model", "data"), THEIR_ERRORS)
def test_their_own_errors_are_shown(call, model, data):
    result = call(model, "--data", data)
    assert result.exit_code == 2
    for words in THEIR_ERRORS[model, data]:
        assert words in result.stderr
    # Not the frames of ours, of Keras, and of the import machinery.
    for words in ("keras_babysit", "site-packages", "importlib"):
        assert words not in result.stderr


def test_help_needs_no_keras():
    code = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from keras_babysit.cli.main import main\n"
        "print(CliRunner().invoke(main, ['check', '--help']).output)\n"
        "print([m for m in ('keras', 'tensorflow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
    assert "--ignore NAME" in done.stdout
    assert "Exits with 0" in done.stdout


@pytest.mark.slow
def test_from_the_current_directory(tmp_path):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "module.py").write_text(PROJECT)
    target = "package.module:make_"
    done = fresh.run(
        "import runpy; runpy.run_module('keras_babysit', run_name='__main__')",
        *("check", f"{target}model"),
        *("--data", f"{target}data", "--ignore", "overfit_subset"),
        cwd=tmp_path,
    )
    assert "gradient" in done.stdout
