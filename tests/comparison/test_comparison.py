"""The same training under several optimizers."""

import dataclasses
import json
import math
import random
import types
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import optimizers as O
from keras.src.backend.common import global_state
from support import findings as found_in
from support import models

from keras_babysit import Babysitter, OptimizerComparison, backend, compare_optimizers
from keras_babysit.borrowing import names_kept
from keras_babysit.comparison import OptimizerRun, choices, clock, training
from keras_babysit.comparison.result import shown_metric, usual_target
from keras_babysit.document import console
from keras_babysit.event_files.reader import find_runs, read_report

X, Y = models.images((12,))
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def made(*layers, inputs=(12,), **compiled):
    model = keras.Sequential([keras.Input(inputs), *layers], name="small")
    return finished(model, **compiled)


def finished(model, **compiled):
    wanted = {"loss": LOSS, "metrics": ["accuracy"], "jit_compile": False}
    model.compile(**{**wanted, **compiled})
    return model


def make_model(**compiled):
    layers = keras.layers
    return made(
        layers.Dense(8, activation="relu"),
        layers.BatchNormalization(),
        layers.Dropout(0.3),
        layers.Dense(models.CLASSES),
        **compiled,
    )


def compare(make=make_model, x=X, y=Y, **arguments):
    usual = {"optimizers": ["sgd"], "epochs": 2, "batch_size": 16, "verbose": 0}
    return compare_optimizers(make, x, y, **{**usual, **arguments})


class Unseeing(Babysitter):
    """Observes no step: to trace what is measured takes most of the time here."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs, probes=["update_ratio"], rules=[])

    def is_due(self, position, times):
        return None


@pytest.fixture(autouse=True)
def _measure_nothing(monkeypatch):
    monkeypatch.setattr(training, "Babysitter", Unseeing)


@keras.saving.register_keras_serializable("tests")
class Breaks(O.SGD):
    """Fails in its first step."""

    def update_step(self, gradient, variable, learning_rate):
        raise RuntimeError("this optimizer is broken\nand has more to say")


OPTIMIZERS = {
    "SGD": O.SGD(0.05),
    "Adam": O.Adam(0.01),
    "far too fast": O.SGD(1e30),
    "broken": Breaks(),
}


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """One with everything measured: made before `_measure_nothing` is."""
    log_dir = tmp_path_factory.mktemp("compared")
    return compare(
        optimizers=OPTIMIZERS,
        epochs=4,
        validation_data=(X, Y),
        log_dir=log_dir,
        every=2,
    )


def test_runs(compared):
    assert [run.name for run in compared.runs] == list(OPTIMIZERS)
    for name in ("SGD", "Adam"):
        run = compared[name]
        assert set(run.history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
        assert {len(values) for values in run.history.values()} == {4}
        assert len(run.epoch_seconds) == 4
        assert run.seconds_per_epoch > 0
        assert run.error == ""
        assert not run.diverged
        assert run.report.epochs == 4
        assert 1e-5 < run.update_ratio < 1
        ratios = run.update_ratios
        assert len(ratios.values) == len(ratios.epochs) == run.recorded.observed
    assert compared["SGD"].optimizer == "SGD(learning_rate=0.05)"
    assert compared["Adam"].optimizer == "Adam(learning_rate=0.01)"
    assert compared.metric == "val_accuracy"
    assert compared.monitor == "val_loss"


def test_update_ratio_is_the_median_of_the_kernels(compared):
    run = compared["SGD"]
    paths = run.recorded.quantities()["update_ratio"]
    kernels = [
        run.recorded.series("update_ratio", path).values
        for path in paths
        if path.endswith("/kernel")
    ]
    assert len(kernels) == 2
    np.testing.assert_array_equal(run.update_ratios.values, np.median(kernels, axis=0))
    assert run.update_ratio == np.median(np.median(kernels, axis=0))


def test_one_that_diverges_ends_itself_alone(compared):
    run = compared["far too fast"]
    assert run.diverged
    assert len(run.history["loss"]) < 4
    assert not math.isfinite(run.final())
    assert run.problems
    assert run.diagnosis.startswith(run.problems[0].rule)
    assert compared.best.name in ("SGD", "Adam")


def test_one_that_fails_says_so(compared):
    run = compared["broken"]
    assert run.error == "RuntimeError: this optimizer is broken"
    assert run.history == {}
    assert math.isnan(run.final())
    assert math.isnan(run.seconds_per_epoch)
    assert run.diagnosis == "failed: RuntimeError: this optimizer is broken"
    assert not run.diverged


def test_table(compared):
    lines = str(compared).splitlines()
    rows = {line.strip().split("  ")[0]: line for line in lines}
    for name in OPTIMIZERS:
        assert name in rows
    assert f"{compared['Adam'].final():.3g}" in rows["Adam"]
    assert "–" in rows["broken"]
    assert "failed: RuntimeError" in rows["broken"]
    assert lines[-1].startswith(f"Lowest val_loss: {compared.best.name}, ")
    assert max(map(len, lines)) <= 100
    assert "\x1b" not in str(compared)


def test_80_columns_are_a_table_of_what_matters(compared):
    """A row for each run, however long the name of what was found in it."""
    too_high = found_in.finding("learning-rate-too-high")
    diagnosed = dataclasses.replace(compared["Adam"].report, findings=(too_high,))
    runs = [
        dataclasses.replace(run, report=diagnosed, error="") for run in compared.runs
    ]
    shown = dataclasses.replace(compared, runs=tuple(runs))
    lines = console.text(shown.content(), 80).splitlines()
    assert max(map(len, lines)) <= 80
    (adam,) = [line for line in lines if line.lstrip().startswith("Adam ")]
    assert adam.rstrip().endswith("learning-rate-too-high")
    assert f"{compared['Adam'].final():.3g}" in adam


def test_narrow(compared):
    lines = console.text(compared.content(), 45).splitlines()
    assert max(map(len, lines)) <= 45
    words = " ".join(line.strip() for line in lines)
    assert f" loss: {compared['Adam'].final():.3g}, " in words


def test_json(compared, tmp_path):
    path = compared.save(tmp_path / "compared.json")
    found = json.loads(path.read_text())
    assert found["best"] == compared.best.name
    assert [run["name"] for run in found["runs"]] == list(OPTIMIZERS)
    assert found["runs"][0]["history"] == compared["SGD"].history
    assert found["runs"][0]["report"]["ended"]


def test_html(compared):
    bad = OptimizerRun("<b>&", error="ValueError: <script>")
    html = OptimizerComparison((bad, *compared.runs))._repr_html_()
    assert "&lt;b&gt;&amp;" in html
    assert "<script>" not in html
    assert html.count("<tr") == 6
    assert html.count("<img") == 1


def test_plot(compared, tmp_path):
    path = tmp_path / "figure.png"
    figure = compared.plot(path)
    assert path.read_bytes().startswith(b"\x89PNG")
    against_epochs, against_time, ratios = figure.axes
    lines = {line.get_label(): line for line in against_epochs.lines}
    assert {"SGD", "Adam", "far too fast (diverged)", "broken (failed)"} <= set(lines)
    np.testing.assert_array_equal(lines["Adam"].get_xdata(), [1, 2, 3, 4])
    np.testing.assert_array_equal(
        lines["Adam"].get_ydata(), compared["Adam"].history["loss"]
    )
    np.testing.assert_allclose(
        against_time.lines[1].get_xdata(),
        compared["Adam"].seconds_per_epoch * np.arange(1, 5),
    )
    np.testing.assert_array_equal(
        ratios.lines[0].get_ydata(), compared["SGD"].update_ratios.values
    )
    assert against_epochs.get_yscale() == ratios.get_yscale() == "log"
    looks = {(line.get_color(), line.get_linestyle()) for line in lines.values()}
    assert len(looks) >= 4


def test_plot_of_nothing():
    figure = OptimizerComparison((OptimizerRun("a", error="ValueError: b"),)).plot()
    assert len(figure.axes) == 3


def test_tensorboard_shows_them_side_by_side(compared):
    runs = {
        str(path).removeprefix(compared.log_dir).strip("/")
        for path in find_runs(compared.log_dir)
    }
    assert runs == set(OPTIMIZERS)
    for name in ("SGD", "Adam"):
        report = read_report(f"{compared.log_dir}/{name}")
        assert report.ended
        # Named alike, so that TensorBoard puts them in one chart.
        assert [layer.path for layer in report.layers] == [
            layer.path for layer in compared["SGD"].report.layers
        ]


# The same start and the same data.


def test_is_what_fit_does_by_itself():
    run = compare(optimizers={"SGD": "sgd"}, seed=7)["SGD"]
    keras.utils.set_random_seed(7)
    model = make_model(optimizer="sgd")
    keras.utils.set_random_seed(7)
    alone = model.fit(X, Y, batch_size=16, epochs=2, verbose=0)
    assert run.history == alone.history


def test_order_and_dropout_do_not_depend_on_the_optimizer():
    # At a rate of zero all that changes is what is shown to the model.
    frozen = {"SGD": O.SGD(0.0), "Adam": O.Adam(0.0), "again": O.SGD(0.0)}
    found = compare(optimizers=frozen, epochs=3)
    first, *others = [run.history for run in found.runs]
    assert len(set(first["loss"])) == 3
    for other in others:
        assert other == first
    assert compare(optimizers={"SGD": O.SGD(0.0)}, seed=1)["SGD"].history != first


def test_weights_are_the_first_models_even_if_the_function_seeds_otherwise():
    count = iter(range(10))

    def make():
        initializer = keras.initializers.RandomNormal(seed=next(count))
        return made(keras.layers.Dense(models.CLASSES, kernel_initializer=initializer))

    found = compare(make, optimizers=[O.SGD(0.1), O.SGD(0.1)])
    assert found.runs[0].history == found.runs[1].history


def test_nothing_global_is_changed():
    keras.utils.set_random_seed(3)
    keras.random.uniform((2,))
    keras.layers.Dense(1)
    mine = O.Adam(0.01)
    before = state()

    def make():
        keras.utils.set_random_seed(11)
        return make_model()

    compare(make, optimizers=[mine, "sgd"], epochs=1)
    assert state() == before
    assert not mine.built
    assert keras.layers.Dense(1).name == "dense_1"


def state():
    generator = global_state.get_global_attribute("global_seed_generator")
    return (
        random.getstate(),
        np.random.get_state()[1].tobytes(),
        backend.load("autodiff").random_state(),
        global_state.get_global_attribute("global_random_seed"),
        id(generator),
        np.array(generator.state.value).tobytes(),
        dict(global_state.get_global_attribute("object_name_uids")),
        keras.config.floatx(),
    )


# What models, data and options there are.


def test_models_that_fit_builds():
    def make():
        return finished(models.Subclassed())

    found = compare(make, optimizers=[O.SGD(0.1), O.SGD(0.1)])
    assert found.runs[0].history == found.runs[1].history


@pytest.mark.slow
def test_several_inputs_and_outputs():
    x, y = models.shared_and_nested()[1]

    def make():
        model = models.shared_and_nested()[0]
        losses = {"one": LOSS, "two": "mse"}
        model.compile(loss=losses, metrics={"two": "mae"}, jit_compile=False)
        return model

    found = compare(make, x, y, optimizers=["sgd", "adam"], validation_split=0.2)
    assert found.metric == "val_two_mae"
    assert all(run.error == "" for run in found.runs)


@pytest.mark.slow
def test_datasets_and_custom_steps():
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(16)

    def make():
        model, _ = models.custom_step()
        model.compile(loss=LOSS, jit_compile=False)
        return model

    found = compare(make, data, None, optimizers=["sgd", "adam"], batch_size=None)
    assert all(run.error == "" for run in found.runs)
    assert found.metric == ""
    assert found.monitor == "loss"


def test_mixed_precision_scales_the_loss():
    def make():
        policy = keras.DTypePolicy("mixed_float16")
        output = keras.layers.Dense(models.CLASSES, dtype=policy)
        model = keras.Sequential([keras.Input((12,)), output])
        model.dtype_policy = policy
        return finished(model)

    seen = []
    callback = keras.callbacks.LambdaCallback(
        on_train_begin=lambda logs: seen.append(callback.model.optimizer)
    )
    compare(make, callbacks=lambda: [callback], epochs=1)
    assert isinstance(seen[0], O.LossScaleOptimizer)
    assert isinstance(seen[0].inner_optimizer, O.SGD)


def test_callbacks_are_copied_for_each_run():
    stop = keras.callbacks.EarlyStopping("loss", min_delta=100.0, patience=0)
    found = compare(optimizers=["sgd", "adam"], callbacks=[stop], epochs=5)
    assert [len(run.history["loss"]) for run in found.runs] == [2, 2]
    assert not stop.stopped_epoch


def test_one_epoch_has_a_time():
    run = compare(epochs=1, batch_size=8).runs[0]
    assert 0 < run.seconds_per_epoch < math.inf


def test_says_what_it_does(capsys):
    compare(optimizers={"mine": "sgd"}, epochs=1, verbose="auto")
    assert capsys.readouterr().out.startswith("mine: loss ")


def test_if_all_fail_so_does_the_comparison():
    with pytest.raises(RuntimeError, match="this optimizer is broken"):
        compare(optimizers=[Breaks(), Breaks()])


# Optimizers by name.


def settings(makers):
    return {
        name: (type(make()).__name__, make().get_config())
        for name, make in makers.items()
    }


def test_usual_optimizers():
    found = settings(choices.chosen(None))
    assert list(found) == ["SGD", "momentum", "Nesterov", "Adagrad", "RMSprop", "Adam"]
    assert found["Nesterov"][1]["nesterov"]
    assert found["momentum"][1]["momentum"] == 0.9
    assert found["Adagrad"][1]["learning_rate"] == pytest.approx(0.01)


def test_lists_get_names_that_tell_them_apart():
    given = [
        "adam",
        O.SGD(0.1),
        O.SGD(0.1, momentum=0.9),
        O.RMSprop,
        lambda: O.Lion(1e-4),
        {"class_name": "Adagrad", "config": {"learning_rate": 0.5}},
        O.Ftrl(O.schedules.ExponentialDecay(0.1, 10, 0.5)),
        O.Nadam(0.1),
        O.Nadam(0.1),
    ]
    found = settings(choices.chosen(given))
    assert list(found) == [
        "Adam",
        "SGD(momentum=0)",
        "SGD(momentum=0.9)",
        "RMSprop",
        "Lion",
        "Adagrad",
        "Ftrl",
        "Nadam 1",
        "Nadam 2",
    ]
    assert found["Adagrad"][1]["learning_rate"] == 0.5
    assert isinstance(found["Ftrl"][1]["learning_rate"], dict)


def test_an_optimizer_is_copied_as_it_is_now():
    mine = O.SGD(0.25, momentum=0.5, clipnorm=1.0)
    mine.build([keras.Variable([1.0])])
    make = choices.chosen({"mine": mine})["mine"]
    mine.learning_rate = 9.0
    first, second = make(), make()
    assert first is not second
    assert not first.built
    assert first.get_config()["clipnorm"] == 1.0
    assert first.get_config()["learning_rate"] == 0.25


class NoConfig(O.SGD):
    def __init__(self, needed):
        super().__init__(needed)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([], "at least one optimizer"),
        ({}, "at least one optimizer"),
        ("adam", "must be a dictionary"),
        (O.SGD(0.1), "must be a dictionary"),
        (["addam"], "Did you mean 'adam'"),
        (["§"], "Keras has no optimizer of this name. Received: '§'"),
        ([3], "Received: 3"),
        ({"a": None}, "Received: None"),
        ({"": "sgd"}, "must be strings that are not empty"),
        ({1: "sgd"}, "must be strings that are not empty"),
        ([{"class_name": "nothing", "config": {}}], "not the configuration of"),
        ([{}], "not the configuration of"),
        ([lambda: 3], "which returned 3"),
        ([NoConfig(0.1)], "give a function that returns a new one"),
    ],
)
def test_bad_optimizers(given, says):
    with pytest.raises(ValueError, match=says):
        choices.chosen(given)


def test_a_function_must_return_new_optimizers():
    one = O.SGD(0.1)
    one.build([keras.Variable([1.0])])
    with pytest.raises(ValueError, match="a new one each time"):
        choices.chosen({"one": lambda: one})


# Bad input.


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"make": 3}, TypeError, "must be a function without arguments"),
        ({"make": lambda: 3}, TypeError, "a function that returned 3"),
        ({"make": lambda: keras.Sequential()}, ValueError, "a compiled model"),
        ({"epochs": 0}, ValueError, "Received: epochs=0"),
        ({"epochs": 1.5}, ValueError, "Received: epochs=1.5"),
        ({"epochs": True}, ValueError, "Received: epochs=True"),
        ({"seed": "a"}, ValueError, "`seed` must be an integer"),
        ({"verbose": 3}, ValueError, "Received: verbose=3"),
        ({"target_loss": "low"}, ValueError, "Received: target_loss='low'"),
        ({"x": (b for b in [X])}, ValueError, "`x` must be data that can be read"),
        ({"validation_data": iter([X])}, ValueError, "`validation_data` must be data"),
        ({"callbacks": [3]}, ValueError, "Received: 3 among them"),
        ({"every": 0}, ValueError, "`every` must be"),
        ({"log_dir": "gs://a"}, ValueError, "`log_dir` must be a directory"),
        ({"log_dir": 3}, ValueError, "`log_dir` must be the path"),
        ({"no_such": 3}, TypeError, "no_such"),
    ],
)
def test_bad_arguments(arguments, error, says):
    with pytest.raises(error, match=says):
        compare(**arguments)


def test_a_model_is_no_function():
    model = make_model()
    with pytest.raises(TypeError, match="that returns a new compiled model"):
        compare(model)
    before = model.get_weights()
    with pytest.raises(ValueError, match="a function that returned the same one twice"):
        compare(lambda: model)
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_models_must_be_alike():
    sizes = iter([5, 6])
    with pytest.raises(ValueError, match="the same model each time"):
        compare(lambda: made(keras.layers.Dense(next(sizes))))


# Numbers.


def ran(name="a", **history):
    return OptimizerRun(name, history=history)


def test_epochs_to():
    run = ran(loss=[3.0, math.nan, 2.0, 1.0])
    assert [run.epochs_to(v) for v in (3.0, 2.5, 1.0, 0.9)] == [1, 3, 4, None]
    assert run.lowest() == 1.0
    assert run.diverged


def test_target_is_what_half_of_them_reach():
    runs = [ran(loss=[9.0, low]) for low in (0.0123, 0.2, 0.0345, 0.9, math.nan)]
    assert usual_target(runs) == 0.2
    assert usual_target(runs[:3]) == 0.035
    reached = [run for run in runs if run.epochs_to(usual_target(runs))]
    assert len(reached) == 3
    assert math.isnan(usual_target([ran()]))
    assert usual_target([ran(loss=[0.0])]) == 0.0
    assert usual_target([ran(loss=[-1.23])]) == -1.2


@pytest.mark.parametrize("low", [1e-9, 0.1, 0.7, 1.0, 123.4, 2.3e30])
def test_target_is_reached_in_spite_of_rounding(low):
    run = ran(loss=[low])
    target = usual_target([run])
    assert run.epochs_to(target) == 1
    assert target <= 1.11 * low


@pytest.mark.parametrize(
    ("logs", "metric"),
    [
        (["loss"], ""),
        (["loss", "val_loss"], "val_loss"),
        (["accuracy", "loss"], "accuracy"),
        (["accuracy", "loss", "val_accuracy", "val_loss"], "val_accuracy"),
        (["learning_rate", "loss", "one_loss", "two_mae"], "two_mae"),
    ],
)
def test_shown_metric(logs, metric):
    assert shown_metric([ran(), ran(**{log: [1.0] for log in logs})]) == metric


def test_best_is_the_lowest_in_any_epoch():
    runs = (
        ran("a", loss=[1.0, 0.1], val_loss=[0.5, 0.6]),
        ran("b", loss=[1.0, 0.9], val_loss=[0.4, 0.9]),
        ran("c", loss=[math.nan], val_loss=[math.nan]),
    )
    found = OptimizerComparison(runs)
    assert found.best.name == "b"
    assert str(found).endswith("Lowest val_loss: b, 0.4 after epoch 1.")
    assert OptimizerComparison(runs[2:]).best is None
    with pytest.raises(KeyError, match="only \\['a', 'b', 'c'\\]"):
        found["d"]


class Cost:
    extra_seconds = build_seconds = 0.0
    plain_seconds = 0.25


class Watching:
    observation = Cost()


def test_clock(monkeypatch):
    """Epochs of 10 s with compiling, then 2, 4 and 3 s less half a second each."""
    at = iter([0.0, 10.0, 20.0, 22.5, 30.0, 34.5, 40.0, 43.5])
    monkeypatch.setattr(clock.time, "perf_counter", lambda: next(at))
    Watching.observation = cost = Cost()
    found = clock.Clock(Watching())
    found.set_model(types.SimpleNamespace(stop_training=False))
    for epoch in range(4):
        found.on_epoch_begin(epoch)
        for batch in range(3):
            found.on_train_batch_begin(batch)
        cost.extra_seconds += 0.2
        cost.build_seconds += 0.3
        found.on_epoch_end(epoch, {"loss": 1.0, "accuracy": 0.5})
        if not epoch:
            assert found.epoch_seconds() == (0.75,)
        cost.extra_seconds += 100  # Between epochs, as the clock stands still.
    assert found.epoch_seconds() == pytest.approx((3.0, 2.0, 4.0, 3.0))
    assert found.logs == {"loss": [1.0] * 4, "accuracy": [0.5] * 4}
    assert not found.model.stop_training
    monkeypatch.setattr(clock.time, "perf_counter", lambda: 50.0)
    found.on_epoch_end(4, {"loss": math.nan})
    assert found.model.stop_training


def test_directories_have_names_that_files_can_have(tmp_path):
    names = ["SGD(learning_rate=0.1, momentum=0)", "a/b", "a:b", "..", " ", "é"]
    found = [Path(path) for path in training._paths(tmp_path, names).values()]
    assert [path.name for path in found] == [
        names[0],
        "a_b",
        "a_b_2",
        "optimizer",
        "optimizer_2",
        "é",
    ]
    assert all(path.parent == tmp_path for path in found)


def test_names_start_anew_within():
    keras.layers.Dense(1)
    for _ in range(2):
        with names_kept():
            assert keras.layers.Dense(1).name == "dense_1"
