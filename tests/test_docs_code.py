"""What the documents show runs as it is written, and what they name is there."""

import ast
import importlib
import importlib.metadata
import inspect
import re
import shlex
import textwrap
import warnings
from functools import cache
from pathlib import Path

import click
import keras
import keras_tuner
import numpy as np
import pytest
from click.testing import CliRunner

import keras_babysit
from keras_babysit.cli import main

ROOT = Path(__file__).parent.parent
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *sorted((ROOT / "docs").rglob("*.md")),
    )
}
FENCED = re.compile(r"^( *)```([^`\n]*)\n(.*?)^\1```$", re.M | re.S)
#: Pages whose blocks are the notebook's cells: test_tutorial.py runs those.
IN_NOTEBOOK = (
    "docs/tutorials/failing_model.md",
    "docs/tutorials/search_to_ensemble.md",
)
EVERY_PAGE = pytest.mark.parametrize("page", PAGES)


def blocks(page, language):
    """Yields line number and text of each block of a language."""
    text = PAGES[page]
    for found in FENCED.finditer(text):
        if found[2] == language:
            yield text.count("\n", 0, found.start(3)), textwrap.dedent(found[3])


def prose(page):
    return FENCED.sub("", PAGES[page])


def code_spans(page):
    """Returns what is between backticks, each on one line."""
    return [" ".join(s.split()) for s in re.findall(r"`([^`]+)`", prose(page))]


# Python.

#: What takes long, in numbers that take less: page to what is written to what is run.
SMALLER = {
    "README.md": {
        "stages=[(20, 1), (10, 5), (5, 30)]": "stages=[(1, 1)]",
        "x, y, n=5, epochs=20": "x, y, n=2, epochs=2",
    },
    "docs/ensembles.md": {
        "x, y, n=5, epochs=20": "x, y, n=2, epochs=2",
        "epochs=10, cycles=5, steps_per_epoch=500": "steps=1, cycles=2",
        "start_epoch=75": "start_epoch=2",
        "epochs=50": "epochs=2",
        "epochs=100": "epochs=4",
    },
    "docs/index.md": {"epochs=10": "epochs=2"},
    "docs/hyperparameter_search.md": {
        "stages=[(20, 1), (10, 5), (5, 30)]": "stages=[(1, 1), (1, 1)]"
    },
    "docs/updates.md": {"epochs=10": "epochs=2"},
}
#: Files and folders that a page's code leaves.
LEFT = {
    "README.md": ["logs/run1", "range_test.png", "searches/search", "ensemble.keras"],
    "docs/annealing.md": ["logs/annealing", "rates.png", "model.keras"],
    "docs/before_learning.md": ["range_test.png"],
    "docs/fixes.md": [],
    "docs/ensembles.md": [
        "ensemble.keras",
        "members/member-000.keras",
        "snapshots",
        "student.keras",
    ],
    "docs/index.md": ["logs/run1"],
    "docs/hyperparameter_search.md": ["searches/mlp", "moved"],
    "docs/integrations.md": [],
    "docs/second_order.md": [],
    "docs/tutorials/first_run.md": ["logs/first_run", "report.html"],
    "docs/updates.md": ["logs/compared", "compared.png"],
}


class Tuner(keras_tuner.RandomSearch):
    """Tries, without training anything."""

    def run_trial(self, trial, *args, **kwargs):
        return trial.hyperparameters.get("rate")


def make_model(hp=None):
    """Both a hypermodel and what takes no arguments: pages have them by one name."""
    rate = 0.01 if hp is None else hp.Float("rate", 1e-4, 0.1, sampling="log")
    inputs = keras.Input((64,))
    outputs = keras.layers.Dense(10, activation="softmax", name="dense")(inputs)
    model = keras.Model(inputs, outputs)
    loss = "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.SGD(rate), loss, metrics=["accuracy"])
    return model


def taken_for_granted(page, folder):
    """Returns what a reader has before the page begins."""
    rng = np.random.default_rng(0)

    def some(n):
        return rng.uniform(0, 16, (n, 64)).astype("float32"), rng.integers(0, 10, n)

    (x, y), held_out, (x_test, y_test) = some(32), some(16), some(16)
    names = {"keras": keras, "x": x, "y": y, "make_model": make_model}
    names |= {"x_val": held_out[0], "y_val": held_out[1], "held_out": held_out}
    names |= {"x_test": x_test, "y_test": y_test}
    names |= {"model": make_model(), "loss": "sparse_categorical_crossentropy"}
    if page in ("docs/annealing.md", "docs/second_order.md"):
        names |= {"x": rng.normal(size=(40, 2)), "y": rng.normal(size=(40, 1))}
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        names |= {"model": model, "loss": "mse"}
    if page == "docs/hyperparameter_search.md":
        aim = keras_tuner.Objective("default_objective", "min")
        tuner = Tuner(make_model, aim, max_trials=6, seed=1, directory=folder / "tuner")
        tuner.search()
        names["tuner"] = tuner
    return names


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [p for p in PAGES if any(blocks(p, "python")) and p not in IN_NOTEBOOK],
)
def test_python_runs(page, tmp_path, monkeypatch):
    """A page's blocks, one after the other, by a reader who has data and a model."""
    names = taken_for_granted(page, tmp_path)
    monkeypatch.chdir(tmp_path)
    shrunk = set()
    for line, written in blocks(page, "python"):
        block = written
        for long, short in SMALLER.get(page, {}).items():
            if long in block:
                block = block.replace(long, short)
                shrunk.add(long)
        # Errors have the page's own lines.
        code = compile("\n" * line + block, str(ROOT / page), "exec")
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            exec(code, names)
        for expression, value in re.findall(r"^(.+?)  # (\[[\d, ]+\])$", written, re.M):
            assert list(eval(expression, names)) == ast.literal_eval(value), expression
    assert shrunk == set(SMALLER.get(page, ()))
    assert [path for path in LEFT[page] if not (tmp_path / path).exists()] == []


def test_options_are_options(tmp_path):
    """README's table of options: each with the value that is shown."""
    table = PAGES["README.md"].partition("## Options")[2].partition("\n\nFor one")[0]
    options = re.findall(r"^\| `(\w+=.*?)` \|", table, re.M)
    assert len(options) == 10
    for option in options:
        babysitter = eval(f"keras_babysit.Babysitter({str(tmp_path)!r}, {option})")
        assert isinstance(babysitter, keras_babysit.Babysitter)
    parameters = inspect.signature(keras_babysit.Babysitter).parameters
    assert f"overhead={parameters['overhead'].default}" in options


# Commands.

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([\w-]+):", MAKEFILE, re.M))
EXTRAS = importlib.metadata.metadata("keras_babysit").get_all("Provides-Extra")


def commands(page):
    """Returns the lines of shell blocks, and the commands in the text."""
    lines = [line for _, block in blocks(page, "sh") for line in block.splitlines()]
    tools = ("make ", "python ", "keras-babysit ")
    return lines + [span for span in code_spans(page) if span.startswith(tools)]


def check_script(script, arguments):
    source = (ROOT / script).read_text(encoding="utf-8")
    assert [a for a in arguments if f'"{a}"' not in source] == []


def check_babysit(words):
    """Parses a command line of ours, without doing what it says."""
    command, name = main.main, "keras-babysit"
    while isinstance(command, click.Group):
        name, *words = words
        command = command.get_command(None, name)
        assert command, f"no command {name}"
    for word in words:
        if not word.startswith("-") and ":" not in word and not Path(word).suffix:
            Path(word).mkdir(parents=True, exist_ok=True)
    try:
        command.make_context(name, list(words))
    except click.MissingParameter:
        assert not words  # In the text a command may be spoken of by its name alone.


@EVERY_PAGE
def test_commands_exist(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for line in commands(page):
        match shlex.split(line, comments=True):
            case ["make", target]:
                assert target in TARGETS
            case ["python", script, *arguments]:
                check_script(script, arguments)
            case ["keras-babysit", *words]:
                check_babysit(words)
                if words[0] in ("rules", "explain"):
                    result = CliRunner().invoke(main.main, words)
                    assert result.exit_code == 0, result.output
            case ["tensorboard", "--logdir", _]:
                pass
            case ["pip", "install", package]:
                assert re.fullmatch(r"\.\[[\w-]+\]", package)
            case _:
                pytest.fail(f"what does this do? {line}")


@EVERY_PAGE
def test_extras_exist(page):
    named = re.findall(r"(?:\.|keras.babysit)\[([\w-]+)\]", PAGES[page])
    assert set(named) <= set(EXTRAS)


# Names.

LINK = re.compile(r"\]\(([^)\s]*)\)")


@cache
def anchors(page):
    """Returns what GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.M)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in headings
    }


@EVERY_PAGE
def test_links_and_pictures_lead_somewhere(page):
    for link in LINK.findall(prose(page)):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.is_file(), link
        if anchor:
            assert anchor in anchors(str(target.resolve().relative_to(ROOT))), link


@EVERY_PAGE
def test_modules_named_in_the_text_exist(page):
    ours = [ROOT, ROOT / "keras_babysit", ROOT / "tests", ROOT / "tests" / "search"]
    places = [*ours, Path(keras.__file__).parent / "src"]
    named = re.findall(r"[\w/]+\.py\b", prose(page))
    missing = [n for n in named if not any((at / n).is_file() for at in places)]
    assert missing == []


@EVERY_PAGE
def test_dotted_names_resolve(page):
    roots = r"(?<![\w.\"'])(keras_babysit|keras_tuner|keras|optuna)((?:\.\w+)+)"
    for span in code_spans(page):
        for root, rest in re.findall(roots, span):
            found = importlib.import_module(root)
            for name in rest[1:].split("."):
                if inspect.ismodule(found) and not hasattr(found, name):
                    importlib.import_module(f"{found.__name__}.{name}")
                found = getattr(found, name)
