"""The page as one file: every module that it imports is in it."""

import base64
import json
import re
from pathlib import Path

import pytest

import keras_babysit.page
from keras_babysit.page import html_file

STATIC = Path(keras_babysit.page.__file__).parent / "static"


@pytest.fixture(autouse=True)
def _fresh_keras():
    """Instead of conftest's: nothing here makes models."""


def modules():
    text = html_file.page([], [], "empty")
    found = re.search(r'<script type="importmap">(.*?)</script>', text, re.S)
    return json.loads(found.group(1))["imports"]


def test_all_imports_are_in_the_file():
    known = modules()
    for name, address in known.items():
        kind, _, data = address.partition(",")
        assert kind == "data:text/javascript;base64"
        code = base64.b64decode(data).decode()
        wanted = re.findall(r'^import .*?from "([^"]+)";', code, re.M)
        assert set(wanted) <= set(known), name


def test_only_the_tab_itself_is_left_out():
    names = {f"babysit/{file.name}" for file in STATIC.glob("*.js")}
    assert names - set(modules()) == {"babysit/index.js"}


def test_no_own_module_makes_elements_of_text():
    # Names are the user's: they go in as text.
    for file in STATIC.glob("*.js"):
        if file.name != "echarts.js":
            code = file.read_text()
            assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|eval\(", code)


def test_the_licence_of_what_is_not_ours_is_there():
    assert "Apache License" in (STATIC / "echarts.LICENSE").read_text()
    assert "ECharts" in (STATIC / "echarts.NOTICE").read_text()
