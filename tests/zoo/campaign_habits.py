"""Healthy runs with targets and streams that users meet and zoos lack."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers as L
from keras import ops
from keras.optimizers import Adam

from zoo import data
from zoo.cases import fitting, healthy, net

BCE = "binary_crossentropy"
SPARSE = "sparse_categorical_crossentropy"


@healthy("mlp multi-class", reaches="val_accuracy > 0.9")
def a_loss_for_wrong_labels():
    """A third of the labels are wrong; the generalized cross-entropy bears that."""
    split = data.digits()
    rng = np.random.default_rng(0)
    wrong = rng.random(len(split.y)) < 0.33
    y = np.where(wrong, rng.integers(0, 10, len(split.y)), split.y)

    def generalized(y_true, y_pred, q=0.7):
        truth = ops.one_hot(ops.cast(ops.reshape(y_true, (-1,)), "int32"), 10)
        p = ops.sum(truth * y_pred, axis=1)
        return (1 - ops.power(p + 1e-7, q)) / q

    model = net((64,), L.Dense(48, "relu"), L.Dropout(0.3), L.Dense(10, "softmax"))
    model.compile(Adam(2e-3), generalized, metrics=["accuracy"])
    return model, fitting(data.Split(split.x, y, split.val_x, split.val_y), 15)


@healthy("cnn multi-class", reaches="val_accuracy > 0.9")
def augmented_while_loading():
    """The pipeline crops and turns the brightness; validation data stay as they are."""
    split = data.mnist_images()

    def changed(image, label):
        image = tf.image.resize_with_crop_or_pad(image, 32, 32)
        image = tf.image.random_crop(image, (28, 28, 1))
        image = tf.image.random_brightness(image, 0.2)
        return tf.image.random_contrast(image, 0.8, 1.2), label

    rows = tf.data.Dataset.from_tensor_slices((split.x, split.y))
    stream = rows.shuffle(2000).map(changed, tf.data.AUTOTUNE).batch(32).prefetch(1)
    model = net(
        (28, 28, 1),
        L.Conv2D(16, 3, strides=2, activation="relu"),
        L.Conv2D(32, 3, strides=2, activation="relu"),
        L.Flatten(),
        L.Dense(64, activation="relu"),
        L.Dense(10),
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(Adam(2e-3), loss, metrics=["accuracy"])
    val = tf.data.Dataset.from_tensor_slices(split.val).batch(100)
    return model, {"x": stream, "validation_data": val, "epochs": 8}


@healthy("lstm volatility", reaches="val_loss < 1e-5")
def volatility_of_returns():
    """Targets of about 0.01, as they come; the mean squared error is always tiny."""
    rng = np.random.default_rng(0)
    volatility = [0.01]
    for shock in rng.normal(size=2200):
        last = np.log(volatility[-1] / 0.01)
        volatility.append(0.01 * np.exp(0.97 * last + 0.12 * shock))
    volatility = np.array(volatility)
    returns = volatility * rng.normal(size=len(volatility))
    features = np.stack([np.abs(returns), returns, volatility], 1)[:-1]
    windows = np.lib.stride_tricks.sliding_window_view(features, 10, axis=0)
    x = windows.transpose(0, 2, 1)[:-1]
    y = volatility[10 : 10 + len(x)]
    mean, deviation = x[:1600].mean((0, 1)), x[:1600].std((0, 1))
    x = (x - mean) / deviation
    model = net((10, 3), L.LSTM(16), L.Dense(1))
    model.compile(Adam(1e-2), "mse", metrics=["mae"])
    return model, fitting(data.Split(x[:1600], y[:1600], x[1600:], y[1600:]), 20)


@healthy("mlp angles", reaches="val_loss < 0.05")
def direction_of_the_wind():
    """The target is an angle; the loss is one minus the cosine of the difference."""
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * np.pi, 1500)
    speed = rng.uniform(1, 3, 1500)
    x = np.stack([speed * np.cos(angle), speed * np.sin(angle), speed], 1)
    x = x + rng.normal(scale=0.2, size=x.shape)

    def around(y_true, y_pred):
        return 1 - ops.cos(y_true - ops.arctan2(y_pred[:, 1:], y_pred[:, :1]))

    model = net((3,), L.Dense(32, "relu"), L.Dense(2))
    model.compile(Adam(3e-3), around)
    return model, {"x": x, "y": angle[:, None], "validation_split": 0.2, "epochs": 12}


@healthy("cnn coarse and fine", reaches="val_fine_accuracy > 0.9")
def groups_and_classes():
    """Two heads, groups of classes and the classes themselves, weighed by hand."""
    split = data.images()

    def labels(y):
        return {"coarse": y // 4, "fine": y}

    inputs = keras.Input((8, 8, 1))
    h = L.Conv2D(32, 3, activation="relu")(inputs)
    h = L.Dropout(0.25)(L.Flatten()(L.MaxPooling2D()(h)))
    coarse = L.Dense(3, activation="softmax", name="coarse")(h)
    fine = L.Dense(48, activation="relu")(L.Concatenate()([h, coarse]))
    fine = L.Dense(10, activation="softmax", name="fine")(fine)
    model = keras.Model(inputs, {"coarse": coarse, "fine": fine})
    model.compile(
        "nadam",
        {"coarse": SPARSE, "fine": SPARSE},
        loss_weights={"coarse": 0.3, "fine": 1.0},
        metrics={"coarse": "accuracy", "fine": ["accuracy"]},
    )
    return model, {
        "x": split.x,
        "y": labels(split.y),
        "validation_data": (split.val_x, labels(split.val_y)),
        "epochs": 15,
    }


@healthy("cnn multi-class", reaches="val_accuracy > 0.93")
def resumed_at_an_epoch():
    """Weights and optimizer as an earlier program left them, and `initial_epoch`."""
    model = net(
        (8, 8, 1),
        L.Conv2D(24, 3, activation="relu"),
        L.Flatten(),
        L.Dense(48, activation="relu"),
        L.Dense(10, activation="softmax"),
    )
    model.compile(Adam(2e-3), SPARSE, metrics=["accuracy"])
    split = data.images()
    model.fit(split.x, split.y, epochs=6, verbose=0)
    return model, fitting(split, 12, initial_epoch=6)


@healthy("mlp regression", reaches="val_mae < 4.5")
def dropout_at_all_times():
    """Monte Carlo dropout: it stays on when the model is validated."""
    inputs = keras.Input((13,))
    h = inputs
    for _ in range(2):
        h = L.Dropout(0.1)(L.Dense(64, activation="relu")(h), training=True)
    model = keras.Model(inputs, L.Dense(1)(h))
    model.compile(Adam(5e-3), "mse", metrics=["mae"])
    return model, fitting(data.housing(), 30)


@healthy("cnn ages", reaches="val_mean_absolute_error < 1")
def ages_expected_over_classes():
    """A softmax over all values; its expected value is compared with the target."""
    split = data.images().map_y(lambda y: y.astype("float32"))
    values = ops.arange(10, dtype="float32")
    inputs = keras.Input((8, 8, 1))
    h = L.Flatten()(L.Conv2D(32, 3, activation="relu")(inputs))
    shares = L.Dense(10, activation="softmax")(L.Dense(64, activation="relu")(h))
    model = keras.Model(inputs, ops.sum(shares * values, axis=1, keepdims=True))
    model.compile(Adam(2e-3), "huber", metrics=["mean_absolute_error"])
    return model, fitting(split, 15)


@healthy("bag of words multi-class", reaches="val_accuracy > 0.9")
def words_weighed_by_rarity():
    """TF-IDF of raw strings and two dense layers, as for the newswires."""
    split = data.topics()
    names = np.array([f"w{i}" for i in range(data.VOCABULARY)])

    def sentences(x):
        return np.array([" ".join(row) for row in names[x]])

    split = split.map_x(sentences)
    words = L.TextVectorization(280, output_mode="tf_idf")
    words.adapt(split.x)
    model = net((280,), L.Dense(32, "relu"), L.Dropout(0.5), L.Dense(4, "softmax"))
    model.compile("rmsprop", SPARSE, metrics=["accuracy"])

    def batches(x, y):
        return tf.data.Dataset.from_tensor_slices((words(x), y)).batch(32)

    return model, {
        "x": batches(split.x, split.y).cache().shuffle(50, seed=0),
        "validation_data": batches(*split.val),
        "epochs": 12,
    }


@healthy("lstm passengers", reaches="loss < 0.01")
def four_units_and_twelve_years():
    """The airline tutorial: four units, the last value only, one sample a batch."""
    t = np.arange(144)
    rng = np.random.default_rng(0)
    series = 110 * np.exp(t / 110) * (1 + 0.2 * np.sin(2 * np.pi * t / 12))
    series = series + rng.normal(scale=5, size=144)
    series = (series - series.min()) / (series.max() - series.min())
    x, y = series[:-1, None, None], series[1:]
    model = net((1, 1), L.LSTM(4), L.Dense(1))
    model.compile(loss="mean_squared_error", optimizer="adam")
    return model, {"x": x[:95], "y": y[:95], "epochs": 25, "batch_size": 1}


@healthy("mlp poses", reaches="val_loss < 0.1")
def turns_as_quaternions():
    """Outputs of length one, whose sign does not matter."""
    rng = np.random.default_rng(0)
    q = rng.normal(size=(2500, 4))
    q = q / np.linalg.norm(q, axis=1, keepdims=True)
    w, i, j, k = q.T
    seen = np.stack(
        [
            1 - 2 * (j * j + k * k),
            2 * (i * j + k * w),
            2 * (i * k - j * w),
            2 * (i * j - k * w),
            1 - 2 * (i * i + k * k),
            2 * (j * k + i * w),
        ],
        axis=1,
    )

    def turned(y_true, y_pred):
        return 1 - ops.square(ops.sum(y_true * y_pred, axis=-1))

    model = net((6,), L.Dense(64, "swish"), L.Dense(64, "swish"), L.Dense(4))
    model.add(L.UnitNormalization())
    model.compile(Adam(3e-3), turned)
    return model, {
        "x": seen,
        "y": q,
        "validation_split": 0.2,
        "epochs": 20,
        "batch_size": 64,
    }
