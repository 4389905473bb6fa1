"""The examples of public docstrings run, as they stand on the pages of the API."""

import inspect
import re
from types import SimpleNamespace

import keras
import keras_tuner
import numpy as np
import pytest
import test_api_pages as api

import keras_babysit

BLOCK = re.compile(r"```python\n(.*?)```", re.S)
#: What takes long, in less. Patterns to what stands in their place.
SMALLER = (
    (r"epochs=\d{2,}", "epochs=2"),
    (r"epochs=[3-9]\b", "epochs=1"),
    (r"steps_per_epoch=\d+", "steps_per_epoch=1"),
    (r"cycles=5", "cycles=1"),
    (r"start_epoch=75", "start_epoch=1"),
    (r"n=5, epochs=2", "n=2, epochs=1"),
    (r"max_trials=60", "max_trials=2"),
    (r"stages=\[\(20, 1\), .*?\]", "stages=[(1, 1)], babysit=False, verbose=0"),
    (r"make_model, x, y, epochs", 'make_model, x, y, optimizers=["sgd"], epochs'),
    (r"fit\(x, y, callbacks", "fit(x, y, verbose=0, callbacks"),
)


def make_model(hp=None):
    inputs = keras.Input((64,))
    hidden = keras.layers.Dense(8, activation="relu", name="dense")(inputs)
    hidden = keras.layers.BatchNormalization()(hidden)
    outputs = keras.layers.Dense(10, activation="softmax", name="classes")(hidden)
    model = keras.Model(inputs, outputs)
    rate = hp.Float("rate", 1e-3, 0.1) if hp else 0.01
    loss = "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.SGD(rate), loss, metrics=["accuracy"])
    return model


class Tuner(keras_tuner.RandomSearch):
    """Tries, without training anything."""

    def run_trial(self, trial, *args, **kwargs):
        return trial.hyperparameters.get("rate")


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """What readers of an example have: data, models, and what was made before."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, (32, 64)).astype("float32")
    y = np.arange(32) % 10
    names = {f"x{part}": x for part in ("", "_train", "_val", "_test")}
    names |= {f"y{part}": y for part in ("", "_train", "_val", "_test")}
    members = [make_model(), make_model()]
    (tmp_path / "snapshots").mkdir()
    for i, member in enumerate(members):
        member.save(f"snapshots/{i}.keras")
    saved = SimpleNamespace(paths=sorted((tmp_path / "snapshots").glob("*.keras")))
    names |= {"members": members, "best": saved, "snapshots": saved}
    names |= {"model": make_model(), "student": make_model(), "make_model": make_model}
    names |= {"loss": "sparse_categorical_crossentropy", "keras": keras}
    names |= {"keras_babysit": keras_babysit, "keras_tuner": keras_tuner}
    return names


def with_a_search(names):
    aim = keras_tuner.Objective("default_objective", "min")
    names["tuner"] = Tuner(make_model, aim, max_trials=3, seed=1, directory="tuner")
    names["tuner"].search()
    search = keras_babysit.search
    names |= {name: getattr(search, name) for name in search.__all__}
    names["search"] = search


def with_a_run(names):
    names["babysitter"] = keras_babysit.Babysitter("logs/before", verbose=0)
    names["model"].fit(
        names["x"], names["y"], verbose=0, callbacks=[names["babysitter"]]
    )
    names["result"] = names["babysitter"].report


def with_schedules(names):
    names |= vars(keras_babysit.schedules)
    names["schedules"] = keras_babysit.schedules
    names["decay"] = keras_babysit.schedules.StepDecay(0.1, factor=0.5, epochs=3)
    names["cycle"] = keras_babysit.schedules.OneCycle(0.1, epochs=90)


BEFORE = {
    "results.md": with_a_run,
    "rules.md": lambda names: names.update(rules=keras_babysit.rules),
    "records.md": with_a_run,
    "schedules.md": with_schedules,
    "search.md": with_a_search,
}


def with_methods(value):
    yield value
    if inspect.isclass(value):
        own = (v for name, v in vars(value).items() if not name.startswith("_"))
        yield from filter(inspect.isfunction, own)


EXAMPLES = {
    page.name: [
        (value.__qualname__, found)
        for shown in api.on_pages(page.name)
        for value in with_methods(shown)
        for found in BLOCK.findall(inspect.getdoc(value) or "")
    ]
    for page in api.PAGES.glob("*.md")
}


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted(page for page in EXAMPLES if EXAMPLES[page]))
def test_examples_run(page, reader):
    BEFORE.get(page, lambda names: None)(reader)
    for name, written in EXAMPLES[page]:
        for long, short in SMALLER:
            written = re.sub(long, short, written)
        exec(compile(written, f"example of {name}", "exec"), reader)
