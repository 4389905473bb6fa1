"""`keras-babysit compare`."""

import pytest
from click.testing import CliRunner

from keras_babysit.cli import main

PROGRAM = """
import keras
import numpy as np

x = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")
data = x, x.sum(1, keepdims=True), np.ones(40, "float32")

def make_data():
    return data

def make_model():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(loss="mse", jit_compile=False)
    return model

def broken():
    raise RuntimeError("my own mistake")
"""


@pytest.fixture
def call(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "my_program.py").write_text(PROGRAM)
    monkeypatch.delenv("FORCE_COLOR", raising=False)

    def invoke(model, *arguments):
        given = ["compare", f"my_program:{model}", "--data", "my_program:make_data"]
        return CliRunner().invoke(main.main, [*given, *map(str, arguments)])

    return invoke


def test_compares(call, tmp_path):
    picture = tmp_path / "a.png"
    arguments = ["--epochs", 2, "--validation-split", 0.25, "--log-dir", "logs"]
    result = call(
        "make_model", "-o", "sgd=0.1", "-o", "adam", "--plot", picture, *arguments
    )
    assert result.exit_code == 0, result.output
    assert "sgd=0.1: loss " in result.output
    assert "Lowest val_loss: sgd=0.1, " in result.output
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in (tmp_path / "logs").iterdir()} == {"sgd=0.1", "adam"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["make_model", "-o", "addam"], "Did you mean 'adam'?"),
        (["make_model", "-o", "adam=fast"], "the rate must be a positive number"),
        (["make_model", "-o", "adam=-1"], "the rate must be a positive number"),
        (["make_model", "--epochs", 0], "--epochs"),
        (["missing"], "missing"),
        (["x"], "`make_model` must be a function without arguments"),
        (["make_data"], "must return a compiled keras.Model"),
        (["broken"], "my own mistake"),
    ],
)
def test_says_what_is_wrong(call, arguments, says):
    result = call(*arguments)
    assert result.exit_code == 2, result.output
    assert says in " ".join(result.output.split())
    assert "keras_babysit/comparison" not in result.output
