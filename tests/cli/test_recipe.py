"""The recipe for pytest in docs/integrations.md, as a project would run it."""

import re
from pathlib import Path

import pytest

from keras_babysit import checks

PAGE = Path(__file__).parents[2] / "docs" / "integrations.md"
PROJECT = """
import keras
import numpy as np

def make_model():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    return model

def make_data():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 90)
    return (rng.normal(size=(90, 6)) + 2 * np.eye(6)[y]).astype("float32"), y + WRONG

"""


@pytest.mark.slow
@pytest.mark.parametrize(("wrong", "code"), [(0, 0), (1, 1)])
def test_the_recipe_runs(tmp_path, capsys, monkeypatch, wrong, code):
    known = checks.available()
    few = {name: known[name] for name in ("model_and_data", "regularization")}
    monkeypatch.setattr(checks, "available", lambda: few)
    (recipe,) = re.findall(
        r"```python\n(import pytest\n.*?)```", PAGE.read_text("utf-8"), re.DOTALL
    )
    file = tmp_path / f"test_project_{wrong}.py"
    file.write_text(PROJECT.replace("WRONG", str(wrong)) + recipe)
    options = ["-q", "-c", "/dev/null", "-p", "no:cacheprovider", "-p", "no:timeout"]
    assert pytest.main([*options, f"--rootdir={tmp_path}", str(file)]) == code
    said = capsys.readouterr().out
    assert "2 passed" in said or (
        "2 failed" in said and "[labels-out-of-range]" in said
    )
