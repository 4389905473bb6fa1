"""Arguments that are numbers: one way to check them, and one to say what is wrong."""

import json
import subprocess
import sys
from importlib import metadata

import keras
import numpy as np
import pytest

from keras_babysit import errors


@pytest.fixture(autouse=True)
def _fresh_keras():
    """Instead of conftest's: nothing here makes models."""


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3)])
def test_whole_numbers_of_any_kind(value):
    assert errors.whole("n", value, least=3) == 3
    assert type(errors.whole("n", value)) is int


@pytest.mark.parametrize("value", [2, 3.0, True, np.True_, "3", None, np.float32(3)])
def test_what_is_no_whole_number_or_too_small(value):
    with pytest.raises(ValueError, match=r"`n` must be an integer of at least 3\. Rec"):
        errors.whole("n", value, least=3)


@pytest.mark.parametrize("size", [0, -1, 2.5, True])
def test_whole_or_none(size):
    assert errors.whole_or_none("size", None) is None
    with pytest.raises(ValueError, match=r"`size` must be a positive integer\. Rec"):
        errors.whole_or_none("size", size)


def test_zero_may_be_enough():
    assert errors.whole("seed", 0, least=0) == 0
    with pytest.raises(ValueError, match="`seed` must be a non-negative integer"):
        errors.whole("seed", -1, least=0)


@pytest.mark.parametrize("value", [1, 0.5, np.float32(2), np.int8(0)])
def test_numbers(value):
    assert errors.is_number(value)


@pytest.mark.parametrize("value", [True, "1", None, np.nan, -np.inf, np.ones(1)])
def test_no_numbers(value):
    assert not errors.is_number(value)


@pytest.mark.parametrize(
    ("noted", "command"),
    [
        (None, "pip install 'keras_babysit[plot]'"),
        (
            {"url": "file:///home/me/a%20clone", "dir_info": {}},
            "pip install '/home/me/a clone[plot]'",
        ),
        (
            {"url": "file:///clone", "dir_info": {"editable": True}},
            "pip install -e '/clone[plot]'",
        ),
        (
            {"url": "file:///w/k-1-py3-none-any.whl", "archive_info": {}},
            "pip install '/w/k-1-py3-none-any.whl[plot]'",
        ),
        (
            {"url": "https://host/k.git", "vcs_info": {"vcs": "git"}},
            "pip install 'keras_babysit[plot] @ git+https://host/k.git'",
        ),
    ],
)
def test_what_to_install_depends_on_where_it_came_from(monkeypatch, noted, command):
    class Installed:
        def read_text(self, name):
            return name == "direct_url.json" and noted and json.dumps(noted)

    monkeypatch.setattr(metadata, "distribution", lambda name: Installed())
    assert errors.installing("plot") == f"`{command}`"


def test_what_to_install_where_it_is_only_on_the_path(monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    assert errors.installing("plot") == "`pip install 'keras_babysit[plot]'`"


@pytest.mark.parametrize(
    "code",
    ["import keras_babysit.schedules", "from keras_babysit import Babysitter"],
)
def test_without_a_framework(code):
    backend = keras.backend.backend()
    hidden = f"import sys; sys.modules[{backend!r}] = None; {code}"
    done = subprocess.run(
        [sys.executable, "-c", hidden], capture_output=True, text=True
    )
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"ImportError: Keras computes with {backend}, which is not")
    assert f"[{backend}]'" in last
    assert "ModuleNotFoundError" not in done.stderr
