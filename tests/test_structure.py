"""Imports go downward only, and importing the package costs next to nothing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "keras_babysit"

#: Module or folder to what of ours it may import.
ALLOWED = {
    "__init__": set(),
    "records": set(),
    "facts": set(),
    "statistics": set(),
    "errors": set(),
    "seam": {"errors"},
    "pictures": {"errors"},
    "autodiff": set(),
    "borrowing": {"seam"},
    "history": {"records", "facts"},
    "probes": {"probes", "statistics", "records"},
    "step": {"step", "records", "probes.interface"},
    "inspection": {"inspection", "facts", "records"},
    "rules": {"rules", "history", "records", "facts"},
    "report": {"report", "history", "records", "facts"},
    "sinks": {"sinks", "report", "records"},
    "reading": {"sinks", "report", "history", "records", "facts"},
    "diagnosis": {"inspection", "rules", "history", "records", "facts"},
    "watch": {"seam", "step", "probes.interface", "records"},
    "repair": {"watch"},
    "babysitter": {
        "diagnosis",
        "history",
        "probes",
        "records",
        "report",
        "rules",
        "seam",
        "sinks",
        "step",
        "watch",
    },
    "loggers": {"babysitter"},
    "schedules": {"pictures", "schedules"},
    "schedule_callback": {"schedules"},
    "before_learning": {
        "borrowing",
        "checks",
        "errors",
        "facts",
        "inspection",
        "rules",
        "sinks.console",
    },
    "checks": {
        "autodiff",
        "babysitter",
        "borrowing",
        "checks",
        "errors",
        "facts",
        "history",
        "inspection",
        "records",
        "report",
        "rules",
        "seam",
    },
    "comparison": {
        "babysitter",
        "borrowing",
        "checks.feeding",
        "comparison",
        "errors",
        "history",
        "pictures",
        "report",
        "rules",
    },
    "optimizers": {
        "autodiff",
        "borrowing",
        "checks.feeding",
        "errors",
        "optimizers",
        "seam",
    },
    "loading": set(),
    "search": {
        "babysitter",
        "borrowing",
        "errors",
        "pictures",
        "records",
        "report",
        "seam",
        "search",
        "sinks",
    },
    "ensemble": {
        "borrowing",
        "ensemble",
        "errors",
        "facts",
        "inspection",
        "loading",
        "pictures",
        "records",
        "report",
        "schedule_callback",
        "schedules",
        "search",
    },
    "lr_range": {"borrowing", "checks", "inspection", "lr_range", "pictures", "rules"},
    "cli_check": {"before_learning", "errors", "loading"},
    "cli_compare": {"comparison", "errors", "loading"},
    "cli_search": {"errors", "loading", "report", "search"},
    "cli": {"cli_check", "cli_compare", "cli_search", "reading", "report", "rules"},
    "__main__": {"cli"},
}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_imports_go_downward(path):
    part = path.relative_to(PACKAGE).with_suffix("").parts[0]
    allowed = ALLOWED[part]
    for name in imports(path):
        if name.startswith("keras_babysit."):
            ours = name.removeprefix("keras_babysit.")
            assert any(f"{ours}.".startswith(f"{a}.") for a in allowed), name
    if path.name != "tensorflow.py":
        assert not [n for n in imports(path) if n.split(".")[0] == "tensorflow"]


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout


def test_importing_is_lazy():
    out = run(
        "import sys, keras_babysit; print([m for m in "
        "('tensorflow', 'matplotlib', 'keras_tuner', 'optuna', 'keras', 'tensorboard') "
        "if m in sys.modules])"
    )
    assert out.strip() == "[]"


def test_rules_need_no_keras():
    out = run(
        "import sys\n"
        "from keras_babysit import rules\n"
        "assert rules.available()\n"
        "print([m for m in ('tensorflow', 'keras', 'tensorboard', 'rich', 'click') "
        "if m in sys.modules])"
    )
    assert out.strip() == "[]"


def test_event_files_need_no_tensorflow(tmp_path):
    code = f"""
import sys
import numpy as np
from keras_babysit.sinks.tensorboard import TensorBoardSink
from keras_babysit.records import EpochRecord, Image
from keras_babysit.report import Report
sink = TensorBoardSink({str(tmp_path)!r})
picture = Image("a", np.zeros((4, 4, 3), np.uint8))
sink.emit(EpochRecord(1, 1, logs={{"loss": 1.0}}, images=(picture,)))
sink.emit_findings([], 1)
sink.emit_run(Report(), 1)
sink.close()
print([m for m in ("tensorflow", "keras", "torch", "jax") if m in sys.modules])
"""
    assert run(code).strip() == "[]"


def test_public_names():
    import keras_babysit

    for name in keras_babysit.__all__:
        assert getattr(keras_babysit, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        _ = keras_babysit.nonsense
