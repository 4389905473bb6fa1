"""Rates set by the callback: each epoch, each step, and after every kind of restart."""

import copy
import functools

import keras
import numpy as np
import pytest
from support import fresh

import keras_babysit
from keras_babysit import ScheduleLearningRate
from keras_babysit.schedules import (
    Chain,
    CosineCycles,
    OneCycle,
    StepDecay,
    WarmUp,
)

K = keras.optimizers.schedules
X, Y = np.ones((12, 2), "float32"), np.full((12, 1), 3.0, "float32")
BATCHES = 3


@pytest.fixture(autouse=True)
def _fresh_keras():
    """Instead of conftest's: the names of these models do not matter."""


#: Keras warns of data that end, which is what these are for.
unlimited = pytest.mark.filterwarnings("ignore::UserWarning")


class Seen(keras.callbacks.Callback):
    """The rate that each batch is about to use, and in which epoch it is."""

    def __init__(self, interrupt=None):
        super().__init__()
        self.rates, self.epochs, self.interrupt = [], [], interrupt

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if self.interrupt == (self.epoch, batch):
            raise KeyboardInterrupt
        self.rates.append(float(self.model.optimizer.learning_rate))
        self.epochs.append(self.epoch)


def linear(optimizer=None, **kwargs):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(optimizer or keras.optimizers.SGD(0.5), "mse", **kwargs)
    return model


def fit(model, callbacks, epochs=4, seen=None, **kwargs):
    """Returns the rates of the batches, and Keras's history."""
    seen = seen or Seen()
    if not isinstance(callbacks, list):
        callbacks = [callbacks]
    history = model.fit(
        X,
        Y,
        **{"batch_size": 4, **kwargs},
        epochs=epochs,
        callbacks=[*callbacks, seen],
        verbose=0,
    )
    return seen.rates, history.history


def close(rates):
    return pytest.approx(list(map(float, rates)), rel=1e-6)


def by_epoch(schedule, epochs):
    return np.repeat(schedule(np.arange(epochs)), BATCHES)


# What is set.


def test_each_epoch():
    halving = StepDecay(0.1, 0.5, epochs=2)
    rates, history = fit(linear(), ScheduleLearningRate(halving))
    assert rates == close([0.1] * 6 + [0.05] * 6)
    assert history["learning_rate"] == close([0.1, 0.1, 0.05, 0.05])


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (lambda epoch: 1 / (1 + epoch), [1, 1 / 2, 1 / 3, 1 / 4]),
        (np.vectorize(lambda epoch: 0.1), [0.1] * 4),
        (K.ExponentialDecay(0.1, 2, 0.5, staircase=True), [0.1, 0.1, 0.05, 0.05]),
        (OneCycle(1.0, epochs=4, up=0.5, down=0.25), [0.1, 0.55, 1.0, 0.1]),
        (WarmUp(StepDecay(0.3, 0.1, epochs=1), epochs=2), [0.1, 0.2, 0.3, 0.03]),
        # Epochs of another size do not matter: the rate is set once an epoch.
        (StepDecay(0.1, 0.5, epochs=1, steps_per_epoch=99), [0.1, 0.05, 0.025, 0.0125]),
    ],
)
def test_each_epoch_by_all_kinds(schedule, expected):
    rates, history = fit(linear(), ScheduleLearningRate(schedule))
    assert rates == close(np.repeat(expected, BATCHES))
    assert history["learning_rate"] == close(expected)


def test_each_step():
    cycle = OneCycle(1.0, epochs=3)
    rates, history = fit(linear(), ScheduleLearningRate(cycle, unit="step"))
    by_step = cycle.with_steps_per_epoch(BATCHES)(np.arange(12))
    assert rates == close(by_step)
    assert history["learning_rate"] == close(by_step[2::3])


@pytest.mark.parametrize(
    "schedule",
    [
        WarmUp(StepDecay(0.1, 0.5, epochs=1), steps=2),
        K.CosineDecay(0.1, 10, warmup_target=0.3, warmup_steps=3),
        Chain([0.1, K.ExponentialDecay(0.1, 2, 0.5)], steps=[4]),
    ],
)
def test_each_step_is_as_a_schedule_in_the_optimizer(schedule):
    rates, _ = fit(linear(), ScheduleLearningRate(schedule, unit="step"))
    inside = schedule
    if getattr(schedule, "steps_per_epoch", 0) is None:
        inside = schedule.with_steps_per_epoch(BATCHES)
    assert rates == close(fit(linear(keras.optimizers.SGD(inside)), [])[0])


def test_each_step_by_a_function():
    rates, _ = fit(linear(), ScheduleLearningRate(lambda t: 1 / (1 + t), unit="step"))
    assert rates == close(1 / (1 + np.arange(12)))


def test_the_rate_is_the_one_that_is_used():
    """Not only set: three steps of gradient descent by hand."""
    model = linear()
    kernel, bias = (np.array(w) for w in model.get_weights())
    decay = StepDecay(0.1, 0.5, steps=1)
    fit(model, ScheduleLearningRate(decay, unit="step"), epochs=1)
    for rate in (0.1, 0.05, 0.025):
        error = X[:4] @ kernel + bias - Y[:4]
        kernel = kernel - rate * 2 * X[:4].T @ error / 4
        bias = bias - rate * 2 * error.mean(0)
    np.testing.assert_allclose(model.get_weights()[0], kernel, rtol=1e-5)


def test_gradient_accumulation_counts_batches_as_keras_does():
    decay = StepDecay(0.1, 0.5, epochs=1)
    optimizer = keras.optimizers.SGD(0.5, gradient_accumulation_steps=2)
    rates, _ = fit(linear(optimizer), ScheduleLearningRate(decay, unit="step"))
    assert rates == close(np.repeat([0.1, 0.05, 0.025, 0.0125], BATCHES))


def test_steps_per_execution_share_a_rate():
    decay = StepDecay(0.1, 0.5, steps=1)
    model = linear(steps_per_execution=2)
    rates, _ = fit(
        model, ScheduleLearningRate(decay, unit="step"), batch_size=3, epochs=2
    )
    assert rates == close(decay(np.array([0, 2, 4, 6])))


class Overflow(keras.callbacks.Callback):
    """Makes the loss scale overflow in the second batch."""

    def on_train_batch_begin(self, batch, logs=None):
        optimizer = self.model.optimizer
        if batch == 1:
            optimizer.dynamic_scale.assign(float("inf"))
        elif batch == 2:
            optimizer.dynamic_scale.assign(2.0)


@pytest.mark.parametrize("unit", ["epoch", "step"])
def test_loss_scaling(unit):
    """Batches that are skipped do not count, as for a schedule in the optimizer."""
    decay = StepDecay(0.1, 0.5, **{f"{unit}s": 1})
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.5))
    callbacks = [ScheduleLearningRate(decay, unit=unit), Overflow()]
    rates, history = fit(linear(optimizer), callbacks, epochs=2)
    expected = {
        "epoch": [0.1, 0.1, 0.1, 0.05, 0.05, 0.05],
        "step": [0.1, 0.05, 0.05, 0.025, 0.0125, 0.0125],
    }[unit]
    assert rates == close(expected)
    assert history["learning_rate"] == close(expected[2::3])
    assert float(optimizer.inner_optimizer.learning_rate) == pytest.approx(rates[-1])


@unlimited
def test_unknown_number_of_batches():
    def batches():
        for _ in range(20):
            yield X[:4], Y[:4]

    def run(callback, model):
        seen = Seen()
        model.fit(batches(), epochs=1, callbacks=[callback, seen], verbose=0)
        return seen.rates[:20]  # Keras asks for one more, and finds that it is over.

    decay = StepDecay(0.1, 0.5, epochs=1)
    with pytest.raises(ValueError, match="does not know how many batches"):
        run(ScheduleLearningRate(decay, unit="step"), linear())
    told = ScheduleLearningRate(decay, unit="step", steps_per_epoch=10)
    assert run(told, linear()) == close([0.1] * 10 + [0.05] * 10)
    # Not needed where the lengths are in steps, or the rate stays for the epoch.
    in_steps = ScheduleLearningRate(StepDecay(0.1, 0.5, steps=12), unit="step")
    assert run(in_steps, linear()) == close([0.1] * 12 + [0.05] * 8)
    assert run(ScheduleLearningRate(decay), linear()) == close([0.1] * 20)


def test_one_callback_in_fits_of_different_batches():
    callback = ScheduleLearningRate(StepDecay(0.1, 0.5, epochs=1), unit="step")
    for size, batches in ((4, 3), (6, 2)):
        rates, _ = fit(linear(), callback, epochs=2, batch_size=size)
        assert rates == close(np.repeat([0.1, 0.05], batches))


def test_verbose(capsys):
    fit(linear(), ScheduleLearningRate(StepDecay(0.1, 0.5, epochs=1), verbose=1), 2)
    out = capsys.readouterr().out
    assert "Epoch 1: ScheduleLearningRate: rate 0.1\n" in out
    assert "Epoch 2: ScheduleLearningRate: rate 0.05\n" in out


def test_can_be_copied_before_and_after_use():
    callback = ScheduleLearningRate(WarmUp(0.1, epochs=1), unit="step")
    first = fit(linear(), copy.deepcopy(callback))[0]
    used = callback
    fit(linear(), used)
    used.set_model(None)
    assert fit(linear(), copy.deepcopy(used))[0] == first


# Going on.

EPOCHS = 6
RESUMED = [
    ("epoch", WarmUp(CosineCycles(0.1, epochs=4), epochs=2)),
    ("step", WarmUp(CosineCycles(0.1, epochs=4), epochs=2)),
    ("step", K.CosineDecay(0.1, 15)),
]
resumed = pytest.mark.parametrize(("unit", "schedule"), RESUMED)


@functools.cache
def unbroken_rates(unit, schedule):
    return fit(linear(), ScheduleLearningRate(schedule, unit), EPOCHS)[0]


@resumed
def test_initial_epoch(unit, schedule):
    """The same model, a loaded one, and new ones with and without their weights."""
    unbroken = unbroken_rates(unit, schedule)
    model = linear()
    first = fit(model, ScheduleLearningRate(schedule, unit), 3)[0]
    assert first == unbroken[:9]
    again = ScheduleLearningRate(schedule, unit)
    assert fit(model, again, 4, initial_epoch=3)[0] == unbroken[9:12]
    # The same callback once more.
    assert fit(model, again, 6, initial_epoch=4)[0] == unbroken[12:]


@resumed
def test_loaded_model(unit, schedule, tmp_path):
    unbroken = unbroken_rates(unit, schedule)
    model = linear()
    fit(model, ScheduleLearningRate(schedule, unit), 3)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    last = fit(loaded, ScheduleLearningRate(schedule, unit), EPOCHS, initial_epoch=3)
    assert last[0] == unbroken[9:]


@resumed
def test_new_optimizer(unit, schedule):
    """It has seen nothing, and `initial_epoch` says that three epochs are done."""
    unbroken = unbroken_rates(unit, schedule)
    model, again = linear(), ScheduleLearningRate(schedule, unit)
    assert fit(model, again, 5, initial_epoch=3)[0] == unbroken[9:15]
    assert fit(model, again, 6, initial_epoch=5)[0] == unbroken[15:]


@unlimited
def test_new_optimizer_of_unknown_epochs():
    def batches():
        for _ in range(3):
            yield X[:4], Y[:4]

    def run(**kwargs):
        seen = Seen()
        callback = ScheduleLearningRate(OneCycle(0.1, steps=16), unit="step", **kwargs)
        linear().fit(
            batches(), initial_epoch=2, epochs=3, callbacks=[callback, seen], verbose=0
        )
        return seen.rates[:3]

    with pytest.raises(ValueError, match=r"The optimizer is new.*initial_epoch=2"):
        run()
    assert run(steps_per_epoch=3) == close(OneCycle(0.1, steps=16)(np.arange(6, 9)))


def test_a_second_fit_goes_on_by_steps_and_begins_anew_by_epochs():
    decay = StepDecay(0.1, 0.5, epochs=1)
    model = linear()
    fit(model, [], 2)
    assert fit(model, ScheduleLearningRate(decay, "step"), 1)[0] == close([0.025] * 3)
    assert fit(model, ScheduleLearningRate(decay, "epoch"), 1)[0] == close([0.1] * 3)


@pytest.mark.parametrize(
    ("unit", "schedule", "first"),
    [(*RESUMED[0], True), (*RESUMED[1], True), (*RESUMED[1], False)],
)
def test_backup_and_restore(unit, schedule, first, tmp_path):
    """Interrupted in the fourth epoch, with BackupAndRestore before and after ours."""
    unbroken = unbroken_rates(unit, schedule)

    def callbacks():
        both = [
            keras.callbacks.BackupAndRestore(tmp_path / "backup"),
            ScheduleLearningRate(schedule, unit),
        ]
        return both if first else both[::-1]

    seen = Seen(interrupt=(3, 1))
    with pytest.raises(KeyboardInterrupt):
        fit(linear(), callbacks(), EPOCHS, seen=seen)
    assert seen.rates == unbroken[:10]
    seen = Seen()
    fit(linear(), callbacks(), EPOCHS, seen=seen)
    assert seen.rates == unbroken[9:]
    assert seen.epochs[0] == 3


def test_backup_within_an_epoch(tmp_path):
    """Keras repeats the epoch from its start, but does not take updates back."""
    cycle = OneCycle(0.1, steps=30)

    def callbacks():
        return [
            keras.callbacks.BackupAndRestore(tmp_path / "backup", save_freq=1),
            ScheduleLearningRate(cycle, "step"),
        ]

    with pytest.raises(KeyboardInterrupt):
        fit(linear(), callbacks(), EPOCHS, seen=Seen(interrupt=(2, 2)))
    seen = Seen()
    fit(linear(), callbacks(), EPOCHS, seen=seen)
    assert seen.epochs[0] == 2
    assert seen.rates == close(cycle(np.arange(8, 8 + 12)))


SCRIPT = """
import os, sys
import keras, numpy as np
from keras_babysit import ScheduleLearningRate
from keras_babysit.schedules import CosineCycles, WarmUp

what, folder = sys.argv[1:]
X, Y = np.ones((12, 2), "float32"), np.full((12, 1), 3.0, "float32")
schedule = WarmUp(CosineCycles(0.1, epochs=3), epochs=2)

class Tell(keras.callbacks.Callback):
    def __init__(self, name, kill=None):
        super().__init__()
        self.file, self.kill = open(f"{folder}/{name}", "a"), kill
    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch
    def on_train_batch_begin(self, batch, logs=None):
        if (self.epoch, batch) == self.kill:
            os._exit(9)  # As if killed: nothing is closed or written at the end.
        print(self.epoch, batch, float(self.model.optimizer.learning_rate),
              file=self.file, flush=True)

def model():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.5), "mse")
    return model

def fit(unit, model, *callbacks, epochs=6, **kwargs):
    own = ScheduleLearningRate(schedule, unit)
    model.fit(X, Y, batch_size=4, epochs=epochs, verbose=0,
              callbacks=[own, *callbacks], **kwargs)

backup = keras.callbacks.BackupAndRestore(f"{folder}/backup")
for unit in ("epoch", "step"):
    if what == "start":
        fit(unit, model(), Tell(f"unbroken-{unit}"))
        half = model()
        fit(unit, half, Tell(f"saved-{unit}"), epochs=2)
        half.save(f"{folder}/half-{unit}.keras")
    else:
        half = keras.saving.load_model(f"{folder}/half-{unit}.keras")
        fit(unit, half, Tell(f"saved-{unit}"), initial_epoch=2)
fit("step", model(), backup, Tell("killed", (3, 1) if what == "start" else None))
"""


@pytest.mark.slow
def test_a_new_process_goes_on_where_a_killed_one_was(tmp_path):
    def run(what):
        return fresh.run(SCRIPT, what, tmp_path, check=False).returncode

    def rates(name):
        return (tmp_path / name).read_text().splitlines()

    assert run("start") == 9
    assert run("go on") == 0
    for unit in ("epoch", "step"):
        assert len(rates(f"unbroken-{unit}")) == 18
        assert rates(f"saved-{unit}") == rates(f"unbroken-{unit}")
    # One batch of the fourth epoch was done twice.
    unbroken = rates("unbroken-step")
    assert rates("killed") == unbroken[:10] + unbroken[9:]


# With the Babysitter, whoever sets the rate.


def watched(tmp_path, callbacks, model=None, epochs=4, **kwargs):
    watcher = keras_babysit.Babysitter(
        tmp_path, every=1, probes=["update_ratio"], rules=[], verbose=0
    )
    rates, _ = fit(model or linear(), [*callbacks, watcher], epochs, **kwargs)
    steps, _, logged = watcher.history.series("learning_rate")
    assert list(steps) == list(range(len(rates)))
    return list(logged), rates


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("unit", ["epoch", "step"])
def test_the_babysitter_logs_the_rate_that_is_set(unit, first, tmp_path):
    """Of each step, wherever in the list of callbacks it is."""
    schedule = OneCycle(0.1, epochs=4)
    setter = ScheduleLearningRate(schedule, unit)
    watcher = keras_babysit.Babysitter(
        tmp_path, every=1, probes=["update_ratio"], rules=[], verbose=0
    )
    fit(linear(), [setter, watcher] if first else [watcher, setter])
    _, _, logged = watcher.history.series("learning_rate")
    if unit == "epoch":
        assert list(logged) == close(by_epoch(schedule.with_steps_per_epoch(1), 4))
    else:
        assert list(logged) == close(
            schedule.with_steps_per_epoch(BATCHES)(np.arange(12))
        )


def test_the_babysitter_logs_what_a_plateau_makes_of_it(tmp_path):
    plateau = keras.callbacks.ReduceLROnPlateau(
        monitor="val_loss", factor=0.5, patience=1, min_delta=100.0
    )
    logged, rates = watched(tmp_path, [plateau], validation_data=(X, Y))
    assert logged == close(rates)
    assert logged == close(np.repeat([0.5, 0.5, 0.25, 0.125], BATCHES))


# Bad input.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"schedule": 0.1}, "must be a LearningRateSchedule or a function.*0.1"),
        ({"schedule": None}, "must be a LearningRateSchedule"),
        ({"schedule": lambda: 0.1}, "function of one number"),
        ({"schedule": lambda epoch, rate: rate}, "LearningRateScheduler"),
        ({"unit": "epochs"}, r"`unit` must be one of .*unit='epochs'"),
        ({"unit": None}, "`unit`"),
        ({"steps_per_epoch": 10}, r'only for unit="step"'),
        ({"unit": "step", "steps_per_epoch": 0}, "`steps_per_epoch` must"),
        (
            {
                "schedule": StepDecay(0.1, 0.5, epochs=1, steps_per_epoch=9),
                "unit": "step",
                "steps_per_epoch": 10,
            },
            "has steps_per_epoch=9 already",
        ),
        (
            {"schedule": StepDecay(0.1, 0.5, steps=30)},
            'Use unit="step".*a length of 30 steps',
        ),
        (
            {"schedule": WarmUp(StepDecay(0.1, 0.5, epochs=3), epochs=0.5)},
            r"whole epochs.*0\.5 epochs",
        ),
        ({"schedule": WarmUp(K.CosineDecay(0.1, 9), epochs=1)}, "in whole epochs"),
        ({"schedule": Chain([0.1, 0.2], steps=[3])}, "a length of 3 steps"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        ScheduleLearningRate(**{"schedule": StepDecay(0.1, 0.5, epochs=1), **arguments})


@pytest.mark.parametrize("wrap", [False, True])
@pytest.mark.parametrize("rate", [K.CosineDecay(0.1, 9), lambda: 0.1])
def test_the_optimizer_has_a_schedule_already(rate, wrap):
    optimizer = keras.optimizers.SGD(rate)
    if wrap:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    callback = ScheduleLearningRate(StepDecay(0.1, 0.5, epochs=1))
    with pytest.raises(
        ValueError, match=r"schedule in the optimizer.*SGD\(learning_ra"
    ):
        fit(linear(optimizer), callback)


def test_no_optimizer():
    callback = ScheduleLearningRate(StepDecay(0.1, 0.5, epochs=1))
    callback.set_model(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]))
    with pytest.raises(ValueError, match="this model has none"):
        callback.on_train_begin()


@pytest.mark.parametrize(
    ("unit", "warm_up"),
    [("epoch", {"epochs": 5}), ("step", {"epochs": 5}), ("step", {"steps": 13})],
)
def test_warm_up_longer_than_the_training(unit, warm_up):
    callback = ScheduleLearningRate(WarmUp(0.1, **warm_up), unit)
    with pytest.raises(ValueError, match="longer than the training, which is of"):
        fit(linear(), callback, epochs=4)
    callback.set_params({"epochs": 5, "steps": BATCHES})
    callback.on_train_begin()


@pytest.mark.parametrize(
    ("unit", "rate"),
    [("epoch", -0.1), ("step", float("nan")), ("epoch", float("inf"))],
)
def test_function_of_impossible_rates(unit, rate):
    callback = ScheduleLearningRate(lambda t: rate if t == 2 else 0.1, unit)
    with pytest.raises(ValueError, match=f"finite and not negative.* at {unit} 2"):
        fit(linear(), callback)


@pytest.mark.parametrize("where", ["schedule", "callback"])
def test_epochs_of_another_size_than_told(where):
    decay = StepDecay(0.1, 0.5, epochs=1)
    if where == "schedule":
        callback = ScheduleLearningRate(decay.with_steps_per_epoch(2), "step")
    else:
        callback = ScheduleLearningRate(decay, "step", steps_per_epoch=2)
    with pytest.warns(UserWarning, match="epochs of 2 batches, and `fit` has 3"):
        rates, _ = fit(linear(), callback, epochs=2)
    assert rates == close([0.1, 0.1, 0.05, 0.05, 0.025, 0.025])
