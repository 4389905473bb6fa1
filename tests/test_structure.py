"""The rooms of the package: imports go downward only, without a cycle, and few abreast.

Imports are read from the syntax tree of every module: those at the top, those inside
functions, and those for type checkers.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "keras_babysit"

#: The rooms, from the ground up: each may import those before it.
ROOMS = (
    "errors",
    "document",
    "page",
    "records",
    "facts",
    "statistics",
    "history",
    "backend",
    "borrowing",
    "inspection",
    "probes",
    "step",
    "rules",
    "fixes",
    "report",
    "event_files",
    "tensorboard_plugin",
    "sinks",
    "schedules",
    "callbacks",
    "checks",
    "lr_range",
    "comparison",
    "optimizers",
    "search",
    "ensemble",
    "cli",
    "__main__",
)
#: What some rooms must not know, though it lies below them.
APART = {
    "probes": {"backend", "borrowing", "inspection"},
    "step": {"history", "inspection", "facts"},
    "page": {"errors"},
    "report": {"step", "probes", "backend", "borrowing", "inspection"},
    "event_files": {"step", "probes", "backend", "borrowing", "inspection", "rules"},
    "tensorboard_plugin": {"step", "probes", "backend", "borrowing", "inspection"},
    "sinks": {"step", "probes", "backend", "borrowing", "inspection", "rules"},
    "schedules": {"step", "probes", "rules", "report", "sinks", "event_files"},
}
#: The only files that may import a framework, beside `backend/<name>/`.
FRAMEWORKS = {"tensorflow", "jax", "torch"}
#: Modules beside each other in a folder, and at the top with `__init__`, at most.
ABREAST, AT_THE_TOP = 12, 8


def modules():
    """Dotted name, below the package, of every module: its path."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = path
    return found


MODULES = modules()


def imports(path):
    """Dotted names that a module imports, wherever it does."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ours(path):
    """Our modules that a module imports: the modules themselves, not their packages."""
    for name in imports(path):
        parts = name.split(".")
        if parts[0] != PACKAGE.name:
            continue
        while ".".join(parts[1:]) not in MODULES:
            parts.pop()
        yield ".".join(parts[1:])


GRAPH = {name: set(ours(path)) - {name} for name, path in MODULES.items()}


def cycles(graph):
    """Groups of modules that import each other (Tarjan, SIAM J. Comput. 1972)."""
    index, low, stack, found = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph[node]:
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                found.append(sorted(group))

    for node in graph:
        if node not in index:
            visit(node)
    return found


def test_a_cycle_is_seen():
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [["b", "c"]]


def test_there_are_no_cycles():
    assert cycles(GRAPH) == []


def test_every_room_has_its_place():
    assert {name.split(".")[0] for name in MODULES} - {""} == set(ROOMS)


@pytest.mark.parametrize("name", sorted(set(MODULES) - {""}))
def test_imports_go_downward(name):
    room = name.split(".")[0]
    # The package itself imports nothing of ours.
    lower = {"", *ROOMS[: ROOMS.index(room)], room} - APART.get(room, set())
    upward = {other for other in GRAPH[name] if other.split(".")[0] not in lower}
    assert not upward, f"{name} imports {sorted(upward)}"


@pytest.mark.parametrize("name", sorted(MODULES))
def test_frameworks_are_behind_the_backend(name):
    allowed = {name.split(".")[1]} if name.startswith("backend.") else set()
    found = {other.split(".")[0] for other in imports(MODULES[name])} & FRAMEWORKS
    assert found <= allowed


def test_few_modules_are_abreast():
    crowded = {}
    for folder in {path.parent for path in MODULES.values()} - {PACKAGE}:
        count = len([p for p in folder.glob("*.py") if p.name != "__init__.py"])
        if count > ABREAST:
            crowded[str(folder.relative_to(PACKAGE))] = count
    assert crowded == {}
    assert len(list(PACKAGE.glob("*.py"))) <= AT_THE_TOP


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
