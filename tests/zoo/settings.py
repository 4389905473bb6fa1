"""Faults of the settings around a training: schedules, callbacks, a leaking target."""

import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers as L
from keras import ops
from keras.callbacks import (
    EarlyStopping,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
)
from keras.optimizers import SGD, Adam
from keras.optimizers import schedules as s

from keras_babysit.schedules import StepDecay, WarmUp
from zoo import data
from zoo.cases import fitting, net, pair
from zoo.causes import FLAT
from zoo.training import BCE, SPARSE, cnn, mlp, transformer


class Noam(s.LearningRateSchedule):
    def __init__(self, warmup):
        self.warmup = warmup

    def __call__(self, step):
        step = ops.cast(step, "float32") + 1
        return 0.1 * ops.minimum(step**-0.5, step * self.warmup**-1.5)


def long_short():
    return net(
        (16,),
        L.Embedding(data.VOCABULARY, 16),
        L.LSTM(16),
        L.Dense(1, activation="sigmoid"),
    )


@pair("mlp multi-class", "warmup-too-long", FLAT, reaches="val_accuracy > 0.9")
def cosine_warms_up_for_too_long(bad):
    warmup = 10_000 if bad else 40
    rate = s.CosineDecay(0.0, 20_000, warmup_target=0.1, warmup_steps=warmup)
    model = mlp()
    model.compile(SGD(rate, momentum=0.9), SPARSE, metrics=["accuracy"])
    return model, fitting(data.digits(), 8)


@pair("transformer multi-class", "warmup-too-long", FLAT, reaches="val_accuracy > 0.9")
def warmup_of_the_paper(bad):
    model = transformer()
    model.compile(Adam(Noam(40_000.0 if bad else 40.0)), SPARSE, metrics=["accuracy"])
    return model, fitting(data.topics(), 8, 64)


@pair("mlp regression", "warmup-too-long", FLAT, reaches="val_mae < 4")
def warmup_in_epochs_of_another_set(bad):
    steps = 2_000 if bad else 12
    rate = WarmUp(
        StepDecay(5e-3, factor=0.5, epochs=30), epochs=2, steps_per_epoch=steps
    )
    model = net((13,), L.Dense(32, activation="relu"), L.Dense(1))
    model.compile(SGD(rate), "mse", metrics=["mae"])
    return model, fitting(data.housing(), 20)


@pair("cnn multi-class", "warmup-too-long", FLAT, reaches="val_accuracy > 0.9")
def callback_warms_up_for_too_long(bad):
    def rate(epoch):
        return 0.1 * min(1.0, (epoch + 1) / (10_000 if bad else 3))

    model = cnn()
    model.compile(SGD(0.1), SPARSE, metrics=["accuracy"])
    callbacks = [LearningRateScheduler(rate)]
    return model, fitting(data.images(), 10, callbacks=callbacks)


@pair("mlp multi-class", "schedule-ends-early", FLAT, reaches="val_accuracy > 0.9")
def cosine_over_epochs(bad):
    model = mlp()
    rate = s.CosineDecay(0.03, 10 if bad else 10 * 43)
    model.compile(SGD(rate, momentum=0.9), SPARSE, metrics=["accuracy"])
    return model, fitting(data.digits(), 10)


@pair("rnn binary", "schedule-ends-early", FLAT, reaches="val_accuracy > 0.8")
def exponential_decay_each_update(bad):
    model = long_short()
    rate = s.ExponentialDecay(5e-3, 1 if bad else 30, 0.9)
    model.compile(Adam(rate), BCE, metrics=["accuracy"])
    return model, fitting(data.reviews(), 8)


@pair("cnn multi-class", "schedule-ends-early", FLAT, reaches="val_accuracy > 0.9")
def second_training_with_a_used_schedule(bad):
    split = data.images()
    model = cnn()
    rate = s.PolynomialDecay(3e-3, 43, 0.0)
    model.compile(Adam(rate), SPARSE, metrics=["accuracy"])
    model.fit(split.x, split.y % 2, epochs=1, verbose=0)
    if not bad:
        rate = s.PolynomialDecay(3e-3, 43 * 8, 0.0)
        model.compile(Adam(rate), SPARSE, metrics=["accuracy"])
    return model, fitting(split, 8)


@pair("mlp multi-class", "monitor-mode-reversed", reaches="val_accuracy > 0.93")
def stopping_at_the_largest_loss(bad):
    model = mlp()
    model.compile(Adam(3e-3), SPARSE, metrics=["accuracy"])
    stop = EarlyStopping(
        "val_loss", mode="max" if bad else "min", patience=4, restore_best_weights=True
    )
    return model, fitting(data.digits(), 15, callbacks=[stop])


@pair("mlp binary", "monitor-mode-reversed", FLAT, reaches="val_auc > 0.95")
def rate_lowered_while_it_learns(bad):
    model = net((30,), L.Dense(16, activation="relu"), L.Dense(1, activation="sigmoid"))
    model.compile(SGD(0.05), BCE, metrics=[keras.metrics.AUC(name="auc")])
    mode = "min" if bad else "max"
    lower = ReduceLROnPlateau("val_auc", factor=0.1, patience=2, mode=mode)
    return model, fitting(data.breast_cancer(), 15, callbacks=[lower])


@pair("cnn multi-class", "monitor-mode-reversed", reaches="val_accuracy > 0.93")
def worst_weights_saved(bad):
    model = cnn()
    model.compile(Adam(3e-3), SPARSE, metrics=["accuracy"])
    folder = Path(tempfile.mkdtemp())
    keep = ModelCheckpoint(
        folder / "best.weights.h5",
        monitor="val_accuracy",
        mode="min" if bad else "max",
        save_best_only=True,
        save_weights_only=True,
    )
    return model, fitting(data.images(), 6, callbacks=[keep])


def overlap(y_true, y_pred):
    return ops.mean(1 - ops.abs(ops.cast(y_true, "float32") - y_pred))


@pair("mlp binary", "monitor-mode-reversed", reaches="val_accuracy > 0.93")
def smallest_overlap_saved(bad):
    model = net((30,), L.Dense(16, activation="relu"), L.Dense(1, activation="sigmoid"))
    model.compile(Adam(3e-3), BCE, metrics=["accuracy", overlap])
    folder = Path(tempfile.mkdtemp())
    keep = ModelCheckpoint(
        folder / "best.keras",
        monitor="val_overlap",
        mode="min" if bad else "max",
        save_best_only=True,
    )
    return model, fitting(data.breast_cancer(), 12, callbacks=[keep])


@pair("mlp multi-class", "monitor-never-logged", reaches="val_accuracy > 0.93")
def monitored_by_another_name(bad):
    model = mlp()
    model.compile(Adam(3e-3), SPARSE, metrics=["accuracy"])
    name = "val_acc" if bad else "val_accuracy"
    stop = EarlyStopping(name, mode="max", patience=3, restore_best_weights=True)
    return model, fitting(data.digits(), 12, callbacks=[stop])


@pair("mlp regression", "monitor-never-logged", reaches="loss < 0.6")
def nothing_to_validate_with(bad):
    split = data.diabetes()
    model = net((10,), L.Dense(32, activation="relu"), L.Dense(1))
    model.compile(Adam(5e-3), "mse")
    lower = ReduceLROnPlateau("val_loss" if bad else "loss", patience=3)
    return model, {"x": split.x, "y": split.y, "epochs": 20, "callbacks": [lower]}


@pair("cnn multi-class", "monitor-never-logged", reaches="val_loss < 0.4")
def metric_of_another_output(bad):
    model = cnn()
    model.compile(Adam(3e-3), SPARSE, metrics=["sparse_categorical_accuracy"])
    name = "val_accuracy" if bad else "val_sparse_categorical_accuracy"
    folder = Path(tempfile.mkdtemp())
    keep = ModelCheckpoint(
        folder / "best.keras", monitor=name, mode="max", save_best_only=True
    )
    split = data.images()
    train = tf.data.Dataset.from_tensor_slices((split.x, split.y)).shuffle(2000)
    return model, {
        "x": train.batch(32),
        "validation_data": split.val,
        "epochs": 6,
        "callbacks": [keep, EarlyStopping("val_loss", patience=5)],
    }


@pair("rnn regression", "target-in-inputs", reaches="val_loss < 0.3")
def windows_off_by_one(bad):
    t = np.arange(1_000)
    rng = np.random.default_rng(0)
    series = np.sin(t / 5) + 0.3 * np.cos(t / 17) + 0.1 * rng.normal(size=1_000)
    steps = np.stack([series[i : i + 12] for i in range(980)])[..., None]
    target = series[11 if bad else 12 :][:980]
    model = net((12, 1), L.GRU(16), L.Dense(1))
    model.compile(Adam(5e-3), "mse")
    x, y = steps.astype("float32"), target.astype("float32")
    split = data.Split(x[:700], y[:700], x[700:], y[700:])
    return model, fitting(split, 12)


@pair("mlp regression", "target-in-inputs", reaches="val_mae < 3.5")
def price_left_among_the_features(bad):
    split = data.housing()

    def with_price(x, y):
        column = 1_000 * y if bad else np.random.default_rng(0).normal(size=len(y))
        column = (column - column.mean()) / column.std()
        return np.column_stack([x, column]).astype("float32")

    model = net((14,), L.Dense(32, activation="relu"), L.Dense(1))
    model.compile(Adam(1e-2), "mse", metrics=["mae"])
    x, val_x = with_price(split.x, split.y), with_price(split.val_x, split.val_y)
    return model, fitting(data.Split(x, split.y, val_x, split.val_y), 20)


@pair("mlp multi-class", "target-in-inputs", reaches="val_accuracy > 0.9")
def species_one_hot_among_the_features(bad):
    split = data.wine()

    def with_class(x, y):
        hot = np.eye(3)[y] if bad else np.random.default_rng(0).normal(size=(len(y), 3))
        return np.column_stack([x, hot]).astype("float32")

    model = net((16,), L.Dense(16, activation="relu"), L.Dense(3, activation="softmax"))
    model.compile(Adam(1e-2), SPARSE, metrics=["accuracy"])
    x, val_x = with_class(split.x, split.y), with_class(split.val_x, split.val_y)
    return model, fitting(data.Split(x, split.y, val_x, split.val_y), 20)
