"""What is in the wheel: everything that runs, and nothing else."""

import re
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import keras_babysit

ROOT = Path(__file__).parent.parent
DATA = ("*.html", "*.css", "*.js", "*.json", "*.typed", "echarts.*")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy, as pip builds it, without a network."""
    copy = tmp_path_factory.mktemp("clone")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for name in ("keras_babysit", "tests"):
        ignored = shutil.ignore_patterns("__pycache__", "test_*")
        shutil.copytree(ROOT / name, copy / name, ignore=ignored)
    build = "from setuptools import build_meta; build_meta.build_wheel('dist')"
    subprocess.run(
        [sys.executable, "-c", build], cwd=copy, check=True, capture_output=True
    )
    (file,) = (copy / "dist").glob("*.whl")
    with zipfile.ZipFile(file) as found:
        yield found


@pytest.mark.slow
def test_the_wheel_has_all_of_the_package_and_nothing_else(wheel):
    found = {name for name in wheel.namelist() if ".dist-info/" not in name}
    package = ROOT / "keras_babysit"
    expected = {
        path.relative_to(ROOT).as_posix()
        for pattern in ("*.py", *DATA)
        for path in package.rglob(pattern)
    }
    assert found == expected
    for name in ("py.typed", "report/schema.json", "document/templates/page.html"):
        assert f"keras_babysit/{name}" in found
    assert any(name.startswith("keras_babysit/page/static/") for name in found)


@pytest.mark.slow
def test_what_the_wheel_says_of_itself(wheel):
    (file,) = (n for n in wheel.namelist() if n.endswith(".dist-info/METADATA"))
    said = Parser().parsestr(wheel.read(file).decode())
    assert said["Version"] == keras_babysit.__version__ == "0.1.0"
    assert "Typing :: Typed" in said.get_all("Classifier")
    assert said["License"] == "Apache-2.0"
    assert any(n.endswith("LICENSE") for n in wheel.namelist())
    # The lowest versions that are tested are the lowest that are allowed.
    lowest = dict(
        re.findall(
            r"^([\w-]+)==(\S+)", (ROOT / "constraints-lowest.txt").read_text(), re.M
        )
    )
    bounds = {
        name: version
        for name, version in re.findall(
            r"^([\w-]+)>=([\w.]+)", "\n".join(said.get_all("Requires-Dist")), re.M
        )
        if name in lowest
    }
    for name, version in bounds.items():
        assert lowest[name].startswith(version), name
    assert len(bounds) > 12
