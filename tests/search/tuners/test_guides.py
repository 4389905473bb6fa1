"""KerasTuner's own guides, restated, run here with one line of them changed.

The programs in `tests/support/guides` are KerasTuner's: they run with it as they are.
"""

from pathlib import Path

import pytest
from support import fresh, guides

from keras_babysit import search
from keras_babysit.search.trial import isolation

GUIDES = Path(guides.__file__).parent


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(isolation.gc, "collect", lambda: 0)


def run(name):
    program = (GUIDES / f"{name}.py").read_text()
    assert program.count("import keras_tuner\n") == 1
    changed = program.replace(
        "import keras_tuner\n", "import keras_babysit.search as keras_tuner\n"
    )
    found = {"__name__": name}
    exec(compile(changed, f"{name}.py", "exec"), found)
    return found


def trials(tuner):
    return tuner._store.trials()


def trials_of(project):
    return search.make_report(f"my_dir/{project}", importance=False).trials


def test_getting_started(monkeypatch, capsys):
    # Nothing here is about watching, which takes most of the time.
    watch = property(lambda self: (False, True), lambda self, value: None)
    monkeypatch.setattr(search.Search, "_watch", watch, raising=False)
    found = run("getting_started")
    assert len(found["models"]) == len(found["best_hps"]) == 2
    best = search.make_report("my_dir/helloworld").best[0].trial
    assert best.values == found["best_hps"][0].values
    assert len(best.outcome.fold_scores) == 2  # Executions.
    assert best.outcome.epochs == 4
    assert set(trials_of("tune_hypermodel")[0].values) == {
        "units",
        "normalize",
        "shuffle",
    }
    assert set(found["best_hp"].values) == {"units", "optimizer"}
    assert abs(found["best_x"]) < 0.3
    assert Path("my_dir/0000.keras").exists()
    said = capsys.readouterr().out
    assert said.count("Results summary") == 3
    assert "Default search space size: 5" in said


DISTRIBUTED = """
tuner = run("distributed_tuning")["tuner"]
assert [t.status for t in trials(tuner)] == ["completed"] * 2
(model,) = tuner.get_best_models()
x, y = model.input_shape, model.output_shape
assert (x, y) == ((None, 8, 8, 1), (None, 10))
"""


def test_distributed_tuning():
    # TensorFlow uses the keys of collective operations again within a process.
    here = [str(Path(__file__).parent), str(GUIDES.parents[1])]
    imports = f"import sys; sys.path += {here}; from test_guides import run, trials"
    fresh.run(f"{imports}{DISTRIBUTED}")


def test_custom_training_loop():
    found = run("custom_training_loop")
    values = found["best_hps"].values
    assert set(values) == {"units", "batch_size", "learning_rate"}
    best = found["tuner"].oracle.get_best_trials()[0]
    assert best.metrics.get_best_value("my_metric") == best.score
    assert found["best_model"].layers[2].units == values["units"]


def test_tailor_the_search_space():
    found = run("tailor_the_search_space")
    few = trials(found["a_few"])
    assert all(t.values["num_layers"] == 1 for t in few)  # Its default.
    assert len({t.values["learning_rate"] for t in few}) == 2
    assert all(1e-4 <= t.values["learning_rate"] <= 1e-2 for t in few)
    assert {t.values["learning_rate"] for t in trials(found["fixed"])} == {1e-4}
    # The guide's loss does not fit its labels: KerasTuner trains all the same.
    reasons = [t.outcome.reason for t in trials(found["overridden"])]
    assert all(r.startswith("regression-loss-for-classes") for r in reasons)
