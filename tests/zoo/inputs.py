"""Faults of the data: inputs, targets, splits, batches."""

import keras
import numpy as np
from keras import layers as L

from zoo import data
from zoo.cases import fitting, net, pair
from zoo.causes import BLOWN, FLAT, WORSE

BCE = "binary_crossentropy"
SPARSE = "sparse_categorical_crossentropy"
SCALES = frozenset({"inputs-not-scaled", "feature-scales-differ"})


def classifier(inputs, classes, hidden=64, activation="relu"):
    return net(
        (inputs,),
        L.Dense(hidden, activation=activation),
        L.Dense(classes, activation="softmax"),
    )


@pair("mlp multi-class", SCALES, BLOWN | FLAT, reaches="val_accuracy > 0.88")
def pixels_to_255_in_mlp(bad):
    model = net(
        (784,),
        L.Dense(64, activation="relu"),
        L.Dense(32, activation="relu"),
        L.Dense(10, activation="softmax"),
    )
    optimizer = keras.optimizers.SGD(0.05, momentum=0.9)
    model.compile(optimizer, SPARSE, metrics=["accuracy"])
    return model, fitting(data.mnist(raw=bad), 8, 64)


@pair("cnn multi-class", SCALES, BLOWN | FLAT, reaches="val_accuracy > 0.88")
def pixels_to_255_in_cnn(bad):
    model = net(
        (28, 28, 1),
        L.Conv2D(8, 3, strides=2, activation="relu"),
        L.MaxPooling2D(),
        L.Flatten(),
        L.Dense(32, activation="relu"),
        L.Dense(10, activation="softmax"),
    )
    model.compile(keras.optimizers.Adam(5e-3), SPARSE, metrics=["accuracy"])
    return model, fitting(data.mnist_images(raw=bad), 8, 64)


@pair("mlp binary", SCALES, BLOWN | FLAT, reaches="val_accuracy > 0.93")
def raw_measurements(bad):
    model = net(
        (30,),
        L.Dense(16, activation="relu"),
        L.Dense(16, activation="relu"),
        L.Dense(1, activation="sigmoid"),
    )
    model.compile("adam", BCE, metrics=["accuracy"])
    return model, fitting(data.breast_cancer(raw=bad), 18)


@pair("mlp multi-class", SCALES, BLOWN | FLAT, reaches="val_accuracy > 0.9")
def raw_wines(bad):
    model = classifier(13, 3, 16)
    model.compile("rmsprop", SPARSE, metrics=["accuracy"])
    return model, fitting(data.wine(raw=bad), 40, 16)


@pair("mlp regression", SCALES, BLOWN | FLAT, reaches="val_mae < 3.5")
def raw_districts_with_sgd(bad):
    model = net((13,), L.Dense(32, activation="relu"), L.Dense(1))
    model.compile(keras.optimizers.SGD(5e-3), "mse", metrics=["mae"])
    return model, fitting(data.housing(raw=bad), 20)


@pair("mlp regression", SCALES, BLOWN | FLAT, reaches="val_loss < 0.7")
def one_column_in_dollars(bad):
    def with_income(x):
        income = 40_000 + 15_000 * x[:, 2:3]
        return np.concatenate([x[:, :9], income if bad else x[:, 2:3]], axis=1)

    model = net((10,), L.Dense(16, activation="tanh"), L.Dense(1))
    model.compile(keras.optimizers.Adam(5e-3), "mse")
    return model, fitting(data.diabetes().map_x(with_income), 12)


@pair(
    "mlp multi-class",
    {"constant-features"},
    FLAT,
    reaches="val_accuracy > 0.88",
)
def pixels_rounded_to_zero(bad):
    split = data.mnist(raw=True)
    split = split.map_x(lambda x: x // 256 if bad else x / 255)
    model = classifier(784, 10)
    model.compile(keras.optimizers.Adam(2e-3), SPARSE, metrics=["accuracy"])
    return model, fitting(split, 8, 64)


@pair("mlp multi-class", "constant-features", reaches="val_accuracy > 0.9")
def half_of_the_columns_constant(bad):
    def joined(x):
        return np.concatenate([x[:, :6], np.zeros_like(x[:, 6:])], 1) if bad else x

    model = classifier(13, 3, 16)
    model.compile(keras.optimizers.Adam(1e-2), SPARSE, metrics=["accuracy"])
    return model, fitting(data.wine().map_x(joined), 20, 16)


@pair("mlp binary", "single-class-targets", WORSE, reaches="val_accuracy > 0.93")
def text_compared_with_a_number(bad):
    names = np.array(["no", "yes"])
    split = data.breast_cancer().map_y(lambda y: names[y])
    yes = "1" if bad else "yes"
    split = split.map_y(lambda y: (y == yes).astype("float32"))
    model = net((30,), L.Dense(16, activation="relu"), L.Dense(1, activation="sigmoid"))
    model.compile("adam", BCE, metrics=["accuracy"])
    return model, fitting(split, 18)


@pair("mlp binary", "nan-in-data", BLOWN | FLAT, reaches="val_accuracy > 0.93")
def missing_measurements(bad):
    def holes(x):
        mask = np.random.default_rng(3).random(x.shape) < 0.01
        return np.where(mask, np.nan if bad else 0.0, x).astype("float32")

    model = net((30,), L.Dense(16, activation="relu"), L.Dense(1, activation="sigmoid"))
    model.compile("adam", BCE, metrics=["accuracy"])
    return model, fitting(data.breast_cancer().map_x(holes), 18)


@pair(
    "mlp regression",
    "nan-in-data",
    BLOWN | FLAT,
    reaches="val_mae < 3.5",
)
def logarithm_of_zero(bad):
    log = np.log if bad else np.log1p
    with np.errstate(divide="ignore"):
        raw = data.housing(raw=True).map_x(log)
    finite = np.where(np.isfinite(raw.x), raw.x, np.nan)
    mean, std = np.nanmean(finite, 0), np.nanstd(finite, 0) + 1e-6
    split = raw.map_x(lambda x: ((x - mean) / std).astype("float32"))
    model = net((13,), L.Dense(64, activation="relu"), L.Dense(1))
    model.compile(keras.optimizers.Adam(1e-2), "mse", metrics=["mae"])
    return model, fitting(split, 20)


@pair("mlp regression", "nan-in-data", BLOWN, reaches="val_mae < 3")
def missing_targets(bad):
    split = data.cars()
    missing = np.random.default_rng(3).random(len(split.y)) < 0.03
    if bad:
        split = split._replace(y=np.where(missing, np.nan, split.y).astype("float32"))
    else:
        split = split._replace(x=split.x[~missing], y=split.y[~missing])
    model = net((7,), L.Dense(32, activation="relu"), L.Dense(1))
    model.compile(keras.optimizers.Adam(1e-2), "mse", metrics=["mae"])
    return model, fitting(split, 25)


@pair("mlp regression", "targets-not-scaled", BLOWN | FLAT, reaches="val_loss < 0.4")
def prices_in_dollars(bad):
    split = data.housing().map_y(lambda y: y * 1000 if bad else (y - 22.5) / 9.2)
    model = net(
        (13,),
        L.Dense(32, activation="relu"),
        L.Dense(32, activation="relu"),
        L.Dense(1),
    )
    model.compile("adam", "mse", metrics=["mae"])
    return model, fitting(split, 25)


@pair("mlp regression", "targets-not-scaled", BLOWN | FLAT, reaches="val_loss < 0.7")
def large_targets_with_sgd(bad):
    split = data.diabetes(raw=True)
    split = split.map_y(lambda y: y * 40 if bad else (y - 152) / 77)
    model = net((10,), L.Dense(16, activation="relu"), L.Dense(1))
    model.compile(keras.optimizers.SGD(0.01), "mse", metrics=["mae"])
    return model, fitting(split, 20)


@pair("rnn regression", "targets-not-scaled", FLAT | BLOWN, reaches="val_loss < 0.02")
def share_price_in_lstm(bad):
    split = data.waves()
    if bad:
        split = split.map_y(lambda y: 2800 + 400 * y)
    model = net((16, 1), L.LSTM(24), L.Dense(1))
    model.compile(keras.optimizers.Adam(1e-2), "mse")
    return model, fitting(split, 10)


@pair(
    "mlp multi-class",
    {"labels-out-of-range", "output-units"},
    FLAT,
    reaches="val_accuracy > 0.9",
    raises=True,
)
def classes_counted_from_one(bad):
    split = data.wine().map_y(lambda y: y + 1 if bad else y)
    model = classifier(13, 3, 16)
    model.compile(keras.optimizers.Adam(1e-2), SPARSE, metrics=["accuracy"])
    return model, fitting(split, 20, 16)


@pair("mlp binary", "labels-out-of-range", FLAT | BLOWN, reaches="val_accuracy > 0.93")
def labels_minus_one_and_one(bad):
    split = data.moons().map_y(lambda y: 2 * y - 1 if bad else y)
    model = net(
        (2,),
        L.Dense(32, activation="relu"),
        L.Dense(32, activation="relu"),
        L.Dense(1, activation="sigmoid"),
    )
    model.compile(keras.optimizers.Adam(1e-2), BCE, metrics=["accuracy"])
    return model, fitting(split, 12)


@pair("mlp binary", "labels-out-of-range", FLAT | BLOWN, reaches="val_accuracy > 0.93")
def labels_one_and_two(bad):
    split = data.breast_cancer().map_y(lambda y: y + 1 if bad else y)
    model = net((30,), L.Dense(16, activation="relu"), L.Dense(1, activation="sigmoid"))
    model.compile("adam", BCE, metrics=["accuracy"])
    return model, fitting(split, 18)


@pair(
    "cnn segmentation",
    {"labels-out-of-range", "targets-not-scaled"},
    FLAT | BLOWN,
    reaches="val_binary_accuracy > 0.93",
)
def mask_to_255(bad):
    images = data.images()
    noise = np.random.default_rng(0)

    def noisy(x):
        return x + noise.normal(scale=0.1, size=x.shape).astype("float32")

    def mask(x):
        return (x > 0.5).astype("float32") * (255 if bad else 1)

    split = data.Split(
        noisy(images.x), mask(images.x), noisy(images.val_x), mask(images.val_x)
    )
    model = net(
        (8, 8, 1),
        L.Conv2D(16, 3, padding="same", activation="relu"),
        L.Conv2D(1, 1, activation="sigmoid"),
    )
    model.compile(keras.optimizers.Adam(1e-2), BCE, metrics=["binary_accuracy"])
    return model, fitting(split, 7)


@pair(
    "mlp binary",
    {"class-imbalance", "accuracy-at-majority"},
    FLAT,
    reaches="val_auc > 0.8",
)
def rare_class(bad):
    model = net((12,), L.Dense(32, activation="relu"), L.Dense(1, activation="sigmoid"))
    metric = "accuracy" if bad else keras.metrics.AUC(name="auc")
    model.compile(keras.optimizers.Adam(3e-3), BCE, metrics=[metric])
    weights = None if bad else {0: 0.52, 1: 12.0}
    return model, fitting(data.rare(), 8, 64, class_weight=weights)


@pair(
    "mlp multi-class",
    "unrelated-inputs",
    FLAT | WORSE,
    reaches="val_accuracy > 0.93",
)
def labels_in_another_order(bad):
    split = data.digits()
    if bad:
        order = np.random.default_rng(0)
        split = split.map_y(order.permutation)
    model = classifier(64, 10, 32)
    model.compile(keras.optimizers.Adam(5e-3), SPARSE, metrics=["accuracy"])
    return model, fitting(split, 9)


@pair(
    "mlp regression",
    "unrelated-inputs",
    FLAT | WORSE,
    reaches="val_mae < 0.45",
)
def only_inputs_shuffled(bad):
    split = data.housing().map_y(lambda y: (y - 22.5) / 9.2)
    if bad:
        order = np.random.default_rng(0)
        split = split.map_x(order.permutation)
    model = net((13,), L.Dense(64, activation="tanh"), L.Dense(1))
    model.compile(keras.optimizers.Adam(5e-3), "mse", metrics=["mae"])
    return model, fitting(split, 14)


@pair(
    "cnn multi-class",
    "unrelated-inputs",
    FLAT | WORSE,
    reaches="val_accuracy > 0.93",
)
def images_in_another_order(bad):
    split = data.images()
    if bad:
        order = np.random.default_rng(1)
        split = split.map_y(order.permutation)
    model = net(
        (8, 8, 1),
        L.Conv2D(16, 3, activation="relu"),
        L.MaxPooling2D(),
        L.Flatten(),
        L.Dense(10, activation="softmax"),
    )
    model.compile(keras.optimizers.Adam(1e-2), SPARSE, metrics=["accuracy"])
    return model, fitting(split, 8)


@pair("mlp multi-class", "leaking-validation", reaches="val_accuracy > 0.93")
def validated_on_training_data(bad):
    split = data.digits()
    if bad:
        split = split._replace(val_x=split.x[:300], val_y=split.y[:300])
    model = classifier(64, 10, 96)
    model.compile(keras.optimizers.RMSprop(2e-3), SPARSE, metrics=["accuracy"])
    return model, fitting(split, 9)


def oversampled(x, y, times=15):
    rare = np.flatnonzero(y == 1)
    rows = np.concatenate([np.arange(len(y)), np.repeat(rare, times)])
    rows = np.random.default_rng(0).permutation(rows)
    return x[rows], y[rows]


@pair("mlp binary", "leaking-validation", reaches="val_auc > 0.7")
def oversampled_before_the_split(bad):
    split = data.rare()
    if bad:
        x = np.concatenate([split.x, split.val_x])
        y = np.concatenate([split.y, split.val_y])
        x, y = oversampled(x, y)
        split = data.Split(x[:2200], y[:2200], x[2200:], y[2200:])
    else:
        x, y = oversampled(split.x, split.y)
        split = split._replace(x=x, y=y)
    model = net(
        (12,),
        L.Dense(16, activation="relu"),
        L.Dropout(0.3),
        L.Dense(1, activation="sigmoid"),
    )
    model.compile("adam", BCE, metrics=[keras.metrics.AUC(name="auc")])
    return model, fitting(split, 7, 64)


@pair(
    "mlp multi-class",
    {"sorted-validation-split"},
    WORSE,
    reaches="val_accuracy > 0.85",
)
def last_flowers_for_validation(bad):
    split = data.iris()
    x = np.concatenate([split.x, split.val_x])
    y = np.concatenate([split.y, split.val_y])
    order = np.argsort(y, kind="stable") if bad else slice(None)
    model = classifier(4, 3, 16)
    model.compile(keras.optimizers.Adam(1e-2), SPARSE, metrics=["accuracy"])
    arguments = {"x": x[order], "y": y[order], "validation_split": 0.2}
    return model, {**arguments, "epochs": 30, "batch_size": 16}


@pair(
    "cnn multi-class",
    {"sorted-validation-split"},
    WORSE,
    reaches="val_accuracy > 0.9",
)
def last_digits_for_validation(bad):
    split = data.images()
    order = np.argsort(split.y, kind="stable") if bad else slice(None)
    model = net(
        (8, 8, 1),
        L.Conv2D(16, 3, activation="relu"),
        L.MaxPooling2D(),
        L.Flatten(),
        L.Dense(10, activation="softmax"),
    )
    model.compile(keras.optimizers.Adam(1e-2), SPARSE, metrics=["accuracy"])
    arguments = {"x": split.x[order], "y": split.y[order], "validation_split": 0.2}
    return model, {**arguments, "epochs": 8}


@pair(
    "mlp multi-class",
    {"unshuffled-sorted-data"},
    FLAT | BLOWN | WORSE,
    reaches="val_accuracy > 0.93",
)
def class_after_class(bad):
    split = data.digits()
    if bad:
        order = np.argsort(split.y, kind="stable")
        split = split._replace(x=split.x[order], y=split.y[order])
    model = classifier(64, 10)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), SPARSE, metrics=["accuracy"])
    return model, fitting(split, 9, shuffle=not bad)


@pair(
    "mlp multi-class",
    {"too-few-samples", "stopped-too-early"},
    FLAT,
    reaches="val_accuracy > 0.9",
)
def one_batch_an_epoch(bad):
    model = classifier(4, 3, 16)
    model.compile(keras.optimizers.Adam(5e-3), SPARSE, metrics=["accuracy"])
    return model, fitting(data.iris(), 30, 1024 if bad else 8)


@pair("mlp binary", "validation-differs", WORSE, reaches="val_accuracy > 0.93")
def only_training_inputs_scaled(bad):
    split = data.breast_cancer()
    if bad:
        split = split._replace(val_x=data.breast_cancer(raw=True).val_x)
    model = net((30,), L.Dense(24, activation="relu"), L.Dense(1, activation="sigmoid"))
    model.compile("adam", BCE, metrics=["accuracy"])
    return model, fitting(split, 18)
