"""Folders are data: records come back as they were, and nothing in them is code."""

import ast
import dataclasses
import math
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

import keras_babysit
from keras_babysit.records import (
    EpochRecord,
    Histogram,
    LayerStats,
    StepRecord,
    TensorStats,
    VariableStats,
)
from keras_babysit.search.trial import record_file

STATS = TensorStats(4.0, 0.0, 1.0, math.inf, -1.5, 2.0, 1 / 3, math.nan)
HISTOGRAM = Histogram(-1.0, 1.0, np.array([1.0, 2.0], "float32"), 7)
RECORDS = [
    EpochRecord(0, 0),
    StepRecord(
        3,
        0.25,
        loss=0.1,
        gradient_norm=math.nan,
        variables=(VariableStats("dense/kernel", STATS, gradient=STATS),),
        layers=(LayerStats("dense", STATS, dead_window=2, histogram=HISTOGRAM),),
    ),
    EpochRecord(
        1,
        4,
        logs={"loss": 0.1, "val_loss": math.inf},
        weight_histograms={"dense/kernel": HISTOGRAM},
        notes={"dense": "ünïcode\nof two lines"},
    ),
]


def flat(value):
    """Nested values that can be compared, NaN with NaN and types with types."""
    if dataclasses.is_dataclass(value):
        names = [f.name for f in dataclasses.fields(value)]
        return type(value), [(n, flat(getattr(value, n))) for n in names]
    if isinstance(value, np.ndarray):
        return value.dtype, value.tolist()
    if isinstance(value, dict):
        return {k: flat(v) for k, v in value.items()}
    if isinstance(value, tuple):
        return tuple(map(flat, value))
    return type(value), repr(value)


def test_records_come_back_as_they_were(tmp_path):
    path = tmp_path / "seen.jsonl"
    record_file.append(path, RECORDS[:1])
    record_file.append(path, RECORDS[1:])
    found, damaged = record_file.read(path)
    assert list(map(flat, found)) == list(map(flat, RECORDS))
    assert damaged == 0


def test_numbers_of_numpy_become_pythons(tmp_path):
    path = tmp_path / "seen.jsonl"
    record_file.append(path, [StepRecord(np.int64(3), np.float32(0.25))])
    (found,), _ = record_file.read(path)
    assert (type(found.step), type(found.epoch)) == (int, float)
    assert found == StepRecord(3, 0.25)


def test_what_is_damaged_is_left_out_and_counted(tmp_path):
    path = tmp_path / "seen.jsonl"
    assert record_file.read(path) == ([], 0)
    record_file.append(path, RECORDS)
    lines = path.read_bytes().splitlines(keepends=True)
    wrong = [
        b"\x80\x04\x95\n",
        b"[]\n",
        b'{"__kind__": "Popen", "args": "true"}\n',
        b'{"__kind__": "StepRecord"}\n',
        b'{"__array__": "object", "values": {}}\n',
        b"[" * 100_000 + b"\n",
    ]
    path.write_bytes(b"".join([lines[0], *wrong, *lines[1:], lines[0][:20]]))
    found, damaged = record_file.read(path)
    assert list(map(flat, found)) == list(map(flat, RECORDS))
    assert damaged == len(wrong)


class Evil:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


def test_no_foreign_code_runs(tmp_path):
    path, mark = tmp_path / "seen.jsonl", tmp_path / "mark"
    path.write_bytes(pickle.dumps(Evil(mark)) + b"\n")
    assert record_file.read(path)[0] == []
    assert not mark.exists()


#: What runs code that is in a file, by the name that it is called by.
UNSAFE = {
    "pickle": {"load", "loads", "Unpickler"},
    "cloudpickle": {"load", "loads"},
    "dill": {"load", "loads"},
    "joblib": {"load"},
    "marshal": {"load", "loads"},
    "shelve": {"open"},
    "torch": {"load"},
    "yaml": {"load", "unsafe_load", "full_load"},
    "": {"eval", "exec", "enable_unsafe_deserialization"},
}


def unsafe(tree):
    """Calls that could run code from a file, and modules that are there for it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [getattr(node, "module", None) or ""]
            names += [alias.name for alias in node.names]
            for name in {n.split(".")[0] for n in names} & {"pickle", "dill", "shelve"}:
                yield node.lineno, f"import {name}"
        if not isinstance(node, ast.Call):
            continue
        for word in node.keywords:
            given = getattr(word.value, "value", None)
            if (word.arg, given) in (("allow_pickle", True), ("safe_mode", False)):
                yield node.lineno, f"{word.arg}={given}"
        function = node.func
        name = getattr(function, "attr", getattr(function, "id", ""))
        owner = getattr(getattr(function, "value", None), "id", "")
        if name in UNSAFE.get(owner, ()) or (
            name in UNSAFE[""] and isinstance(function, ast.Name)
        ):
            yield node.lineno, name


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from pickle import load",
        "torch.load(path)",
        "np.load(path, allow_pickle=True)",
        "keras.models.load_model(path, safe_mode=False)",
        "eval(text)",
    ],
)
def test_unsafe_loading_is_seen(code):
    assert list(unsafe(ast.parse(code)))


def test_nothing_in_the_package_loads_code():
    root = Path(keras_babysit.__file__).parent
    found = {
        str(path.relative_to(root)): list(unsafe(ast.parse(path.read_text("utf-8"))))
        for path in root.rglob("*.py")
    }
    assert {name: calls for name, calls in found.items() if calls} == {}
