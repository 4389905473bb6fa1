"""The notebook: it is what the tutorials say, its cells run, and its claims hold."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PATH = ROOT / "examples" / "tutorial.ipynb"
CELLS = json.loads(PATH.read_text(encoding="utf-8"))["cells"]
INSTALL, *CODE = ["".join(c["source"]) for c in CELLS if c["cell_type"] == "code"]
#: What takes long, in less.
SMALLER = {
    "preflight(model, images[train], labels[train])": (
        'preflight(model, images[train], labels[train], checks=["model_and_data"])'
    ),
    "epochs=8,": "epochs=4,",
    "stages=[(6, 2), (3, 8)]": "stages=[(2, 1), (1, 2)]",
}


def test_is_up_to_date():
    spec = importlib.util.spec_from_file_location("notebook", ROOT / "docs/notebook.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert PATH.read_text(encoding="utf-8") == module.notebook(), "run `make docs`"


def test_is_a_notebook():
    """What nbformat 4.5 asks of cells."""
    assert len({cell["id"] for cell in CELLS}) == len(CELLS)
    for cell in CELLS:
        keys = {"cell_type", "id", "metadata", "source"}
        if cell["cell_type"] == "code":
            keys |= {"execution_count", "outputs"}
        assert set(cell) == keys
    text = "".join("".join(cell["source"]) for cell in CELLS)
    assert not re.search(r"\]\(|OUTPUT\d", text)  # No relative link leads anywhere.


@pytest.mark.slow
def test_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "%pip install" in INSTALL
    names, found, reports = {}, [], []
    code = "\0".join(CODE)
    for long, short in SMALLER.items():
        assert long in code
        code = code.replace(long, short)
    for i, cell in enumerate(code.split("\0")):
        exec(compile(cell, f"cell {i}", "exec"), names)
        found += [names["found"]] if "found = " in cell else []
        reports += [names["babysitter"].report] if "babysitter = " in cell else []
    mistakes, none, rate = found
    text = str(mistakes)
    assert "inputs-not-scaled" in text
    assert "wrong-output-activation" in text
    assert none.ok
    assert rate.suggestion == pytest.approx(3e-3, rel=0.5)
    too_fast, fixed = reports
    assert [f.rule for f in too_fast.problems] == ["learning-rate-too-high"]
    assert fixed.problems == ()
    assert names["accuracy"] > 0.8
    assert (tmp_path / "digits.keras").is_file()
