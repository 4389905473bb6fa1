"""Faults of the output, the loss and the metrics."""

import keras
from keras import layers as L

from zoo import data
from zoo.cases import fitting, net, pair
from zoo.causes import FLAT

BCE = "binary_crossentropy"
SPARSE = "sparse_categorical_crossentropy"
ONE_HOT = "categorical_crossentropy"


@pair("mlp binary", "softmax-on-one-unit", FLAT, reaches="val_accuracy > 0.93")
def softmax_on_one_unit(bad):
    model = net(
        (30,),
        L.Dense(16, activation="relu"),
        L.Dense(8, activation="relu"),
        L.Dense(1, activation="softmax" if bad else "sigmoid"),
    )
    model.compile("adam", BCE, metrics=["accuracy"])
    return model, fitting(data.breast_cancer(), 18)


@pair("cnn binary", "softmax-on-one-unit", FLAT, reaches="val_accuracy > 0.93")
def softmax_layer_on_one_unit(bad):
    model = net(
        (8, 8, 1),
        L.Conv2D(16, 3, activation="relu"),
        L.MaxPooling2D(),
        L.Flatten(),
        L.Dense(32, activation="relu"),
        L.Dense(1),
        L.Activation("softmax" if bad else "sigmoid"),
    )
    model.compile(keras.optimizers.Adam(3e-3), BCE, metrics=["accuracy"])
    return model, fitting(data.even(image=True), 10, 64)


@pair(
    "mlp regression",
    {"softmax-on-one-unit", "output-range"},
    FLAT,
    reaches="val_mae < 4",
)
def softmax_for_prices(bad):
    model = net(
        (13,),
        L.Dense(64, activation="relu"),
        L.Dense(64, activation="relu"),
        L.Dense(1, activation="softmax" if bad else None),
    )
    model.compile(keras.optimizers.RMSprop(3e-3), "mse", metrics=["mae"])
    return model, fitting(data.housing(), 16, 16)


@pair(
    "mlp multi-class",
    {"wrong-output-activation", "sigmoid-for-classes"},
    reaches="val_accuracy > 0.93",
)
def sigmoid_for_classes(bad):
    model = net(
        (64,),
        L.Dense(48, activation="relu"),
        L.Dropout(0.1),
        L.Dense(10, activation="sigmoid" if bad else "softmax"),
    )
    model.compile(keras.optimizers.Adam(3e-3), SPARSE, metrics=["accuracy"])
    return model, fitting(data.digits(), 8)


@pair(
    "cnn multi-class",
    {"wrong-output-activation", "sigmoid-for-classes"},
    reaches="val_accuracy > 0.9",
)
def sigmoid_for_one_hot(bad):
    model = net(
        (28, 28, 1),
        L.Conv2D(8, 3, strides=2, activation="relu"),
        L.MaxPooling2D(),
        L.Flatten(),
        L.Dense(64, activation="relu"),
        L.Dense(10, activation="sigmoid" if bad else "softmax"),
    )
    model.compile(keras.optimizers.Adam(5e-3), ONE_HOT, metrics=["accuracy"])
    return model, fitting(data.mnist_images().one_hot(10), 8, 64)


@pair("rnn multi-class", "sigmoid-for-classes", reaches="val_accuracy > 0.9")
def sigmoids_and_binary_loss_for_one_hot(bad):
    model = net(
        (8, 8),
        L.GRU(32),
        L.Dense(10, activation="sigmoid" if bad else "softmax"),
    )
    loss = BCE if bad else ONE_HOT
    model.compile(keras.optimizers.Adam(1e-2), loss, metrics=["accuracy"])
    return model, fitting(data.sequences().one_hot(10), 10, 64)


@pair(
    "mlp multi-class",
    "missing-output-activation",
    FLAT,
    reaches="val_accuracy > 0.93",
)
def linear_output_for_classes(bad):
    model = net((64,), L.Dense(64, activation="gelu"), L.Dense(10))
    loss = SPARSE if bad else keras.losses.SparseCategoricalCrossentropy(True)
    model.compile(keras.optimizers.Adam(3e-3), loss, metrics=["accuracy"])
    return model, fitting(data.digits(), 8)


@pair(
    "mlp binary",
    "missing-output-activation",
    reaches="val_accuracy > 0.93",
)
def linear_output_for_binary(bad):
    inputs = keras.Input((30,))
    x = L.Dense(32, activation="relu")(inputs)
    x = L.Dropout(0.2)(x)
    outputs = L.Dense(1, activation=None if bad else "sigmoid")(x)
    model = keras.Model(inputs, outputs)
    model.compile("adam", BCE, metrics=["accuracy"])
    return model, fitting(data.breast_cancer(), 18)


@pair(
    "transformer multi-class",
    "missing-output-activation",
    FLAT,
    reaches="val_accuracy > 0.85",
)
def linear_output_for_one_hot(bad):
    inputs = keras.Input((8, 8))
    x = L.Dense(32)(inputs)
    x = L.LayerNormalization()(x + L.MultiHeadAttention(2, 16)(x, x))
    x = L.Flatten()(x)
    outputs = L.Dense(10, activation=None if bad else "softmax")(x)
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.Adam(3e-3), ONE_HOT, metrics=["accuracy"])
    return model, fitting(data.sequences().one_hot(10), 10, 64)


@pair("cnn multi-class", "wrong-output-activation", FLAT, reaches="val_accuracy > 0.93")
def relu_output_for_classes(bad):
    model = net(
        (8, 8, 1),
        L.Conv2D(16, 3, activation="relu", padding="same"),
        L.MaxPooling2D(),
        L.Conv2D(32, 3, activation="relu"),
        L.Flatten(),
        L.Dense(10, activation="relu" if bad else "softmax"),
    )
    model.compile(keras.optimizers.Adam(3e-3), ONE_HOT, metrics=["accuracy"])
    return model, fitting(data.images().one_hot(10), 8)


@pair("mlp binary", "wrong-output-activation", FLAT, reaches="val_accuracy > 0.93")
def relu_output_for_binary(bad):
    model = net(
        (2,),
        L.Dense(32, activation="relu"),
        L.Dense(32, activation="relu"),
        L.Dense(1, activation="relu" if bad else "sigmoid"),
    )
    model.compile(keras.optimizers.Adam(1e-2), BCE, metrics=["accuracy"])
    return model, fitting(data.moons(), 12)


@pair("rnn binary", "wrong-output-activation", FLAT, reaches="val_accuracy > 0.8")
def tanh_output_for_binary(bad):
    model = net(
        (16,),
        L.Embedding(data.VOCABULARY, 16),
        L.LSTM(16),
        L.Dense(1, activation="tanh" if bad else "sigmoid"),
    )
    model.compile(keras.optimizers.Adam(1e-2), BCE, metrics=["accuracy"])
    return model, fitting(data.reviews(), 6)


@pair("cnn multi-class", "logits-after-activation", reaches="val_accuracy > 0.93")
def softmax_taken_for_logits(bad):
    model = net(
        (8, 8, 1),
        L.Conv2D(16, 3, activation="relu"),
        L.Conv2D(16, 3, activation="relu"),
        L.Flatten(),
        L.Dense(10, activation="softmax"),
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=bad)
    model.compile(keras.optimizers.Adam(3e-3), loss, metrics=["accuracy"])
    return model, fitting(data.images(), 8)


@pair("embedding binary", "logits-after-activation", reaches="val_accuracy > 0.85")
def sigmoid_taken_for_logits(bad):
    model = net(
        (16,),
        L.Embedding(data.VOCABULARY, 16),
        L.GlobalAveragePooling1D(),
        L.Dense(16, activation="relu"),
        L.Dense(1, activation="sigmoid"),
    )
    loss = keras.losses.BinaryCrossentropy(from_logits=bad)
    model.compile(keras.optimizers.Adam(1e-2), loss, metrics=["accuracy"])
    return model, fitting(data.reviews(), 7)


@pair("mlp regression", "output-range", FLAT, reaches="val_mae < 3.5")
def sigmoid_for_prices(bad):
    model = net(
        (13,),
        L.Dense(64, activation="relu"),
        L.Dense(1, activation="sigmoid" if bad else "linear"),
    )
    model.compile(keras.optimizers.Adam(1e-2), "mse", metrics=["mae"])
    return model, fitting(data.housing(), 20)


@pair("rnn regression", "output-range", FLAT, reaches="val_loss < 0.1")
def tanh_for_waves(bad):
    split = data.waves().map_y(lambda y: 3 * y)
    model = net((16, 1), L.GRU(16), L.Dense(1, activation="tanh" if bad else None))
    model.compile(keras.optimizers.Adam(1e-2), "mse")
    return model, fitting(split, 10)


@pair("mlp regression", "output-range", FLAT, reaches="val_loss < 0.7")
def relu_for_negative_targets(bad):
    model = net(
        (10,),
        L.Dense(8, activation="relu"),
        L.Dense(1, activation="relu" if bad else None),
    )
    model.compile(keras.optimizers.Adam(5e-3), "mse", metrics=["mae"])
    return model, fitting(data.diabetes(), 12)


@pair("mlp multi-label", "softmax-for-multi-label", reaches="val_binary_accuracy > 0.9")
def softmax_for_several_labels(bad):
    model = net(
        (64,),
        L.Dense(64, activation="relu"),
        L.Dense(3, activation="softmax" if bad else "sigmoid"),
    )
    model.compile(keras.optimizers.Adam(3e-3), BCE, metrics=["binary_accuracy"])
    return model, fitting(data.multi_label(), 8)


@pair("cnn multi-label", "softmax-for-multi-label", reaches="val_binary_accuracy > 0.9")
def classes_loss_for_several_labels(bad):
    model = net(
        (8, 8, 1),
        L.Conv2D(16, 3, activation="relu"),
        L.Flatten(),
        L.Dense(32, activation="relu"),
        L.Dense(3, activation="softmax" if bad else "sigmoid"),
    )
    loss = ONE_HOT if bad else BCE
    model.compile(keras.optimizers.Adam(3e-3), loss, metrics=["binary_accuracy"])
    return model, fitting(data.multi_label(image=True), 8)


@pair(
    "mlp multi-class",
    {"output-units", "labels-out-of-range"},
    FLAT,
    reaches="val_accuracy > 0.9",
)
def one_unit_for_three_classes(bad):
    last = L.Dense(1, activation="sigmoid") if bad else L.Dense(3, activation="softmax")
    model = net((4,), L.Dense(16, activation="relu"), last)
    loss = BCE if bad else SPARSE
    model.compile(keras.optimizers.Adam(1e-2), loss, metrics=["accuracy"])
    return model, fitting(data.iris(), 40, 16)


@pair(
    "mlp binary",
    {"output-units", "labels-out-of-range"},
    FLAT,
    reaches="val_accuracy > 0.93",
    raises=True,
)
def classes_loss_on_one_unit(bad):
    model = net((30,), L.Dense(16, activation="relu"), L.Dense(1, activation="sigmoid"))
    loss = SPARSE if bad else BCE
    model.compile("adam", loss, metrics=["accuracy"])
    return model, fitting(data.breast_cancer(), 18)


@pair(
    "cnn multi-class",
    {"output-units", "labels-out-of-range"},
    FLAT,
    reaches="val_accuracy > 0.9",
    raises=True,
)
def a_unit_too_few(bad):
    model = net(
        (8, 8, 1),
        L.Conv2D(32, 3, activation="relu"),
        L.Conv2D(32, 3, activation="relu"),
        L.GlobalMaxPooling2D(),
        L.Dense(32, activation="relu"),
        L.Dense(9 if bad else 10, activation="softmax"),
    )
    model.compile(keras.optimizers.Adam(5e-3), SPARSE, metrics=["accuracy"])
    return model, fitting(data.images(), 8)


@pair(
    "mlp multi-class",
    "labels-for-other-loss",
    reaches="val_accuracy > 0.9",
    raises=True,
)
def integers_for_one_hot_loss(bad):
    model = net((13,), L.Dense(16, activation="relu"), L.Dense(3, activation="softmax"))
    model.compile(keras.optimizers.Adam(1e-2), ONE_HOT, metrics=["accuracy"])
    split = data.wine() if bad else data.wine().one_hot(3)
    return model, fitting(split, 20, 16)


@pair(
    "cnn multi-class",
    "labels-for-other-loss",
    reaches="val_accuracy > 0.9",
    raises=True,
)
def one_hot_for_integer_loss(bad):
    model = net(
        (8, 8, 1),
        L.Conv2D(16, 3, activation="relu"),
        L.Flatten(),
        L.Dense(10, activation="softmax"),
    )
    model.compile(keras.optimizers.Adam(3e-3), SPARSE, metrics=["accuracy"])
    split = data.images().one_hot(10) if bad else data.images()
    return model, fitting(split, 8)


@pair(
    "mlp multi-class",
    "regression-loss-for-classes",
    FLAT,
    reaches="val_accuracy > 0.93",
)
def mse_for_one_hot(bad):
    model = net(
        (64,), L.Dense(64, activation="relu"), L.Dense(10, activation="softmax")
    )
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    model.compile(optimizer, "mse" if bad else ONE_HOT, metrics=["accuracy"])
    return model, fitting(data.digits().one_hot(10), 8)


@pair("cnn binary", "regression-loss-for-classes", reaches="val_accuracy > 0.93")
def mse_for_binary(bad):
    model = net(
        (8, 8, 1),
        L.Conv2D(16, 3, activation="relu"),
        L.MaxPooling2D(),
        L.Flatten(),
        L.Dense(1, activation="sigmoid"),
    )
    loss = keras.losses.MeanSquaredError() if bad else keras.losses.BinaryCrossentropy()
    model.compile(keras.optimizers.Adam(1e-2), loss, metrics=["accuracy"])
    return model, fitting(data.even(image=True), 10, 64)


@pair(
    "mlp multi-class",
    {"regression-loss-for-classes", "output-units"},
    {"metric-mismatch"},
    reaches="val_accuracy > 0.9",
)
def class_numbers_as_a_quantity(bad):
    last = L.Dense(1) if bad else L.Dense(3, activation="softmax")
    model = net((13,), L.Dense(16, activation="relu"), last)
    loss = "mse" if bad else SPARSE
    model.compile(keras.optimizers.Adam(1e-2), loss, metrics=["accuracy"])
    return model, fitting(data.wine(), 20, 16)


@pair(
    "mlp regression",
    "classification-loss-for-regression",
    {"wrong-output-activation", "labels-out-of-range", *FLAT},
    reaches="val_mae < 3.5",
)
def binary_loss_for_prices(bad):
    model = net(
        (13,),
        L.Dense(64, activation="relu"),
        L.Dense(1, activation="sigmoid" if bad else None),
    )
    model.compile(keras.optimizers.Adam(1e-2), BCE if bad else "mse", metrics=["mae"])
    return model, fitting(data.housing(), 20)


@pair(
    "mlp regression",
    "classification-loss-for-regression",
    {
        "missing-output-activation",
        "softmax-on-one-unit",
        "labels-out-of-range",
        "metric-mismatch",
        *FLAT,
    },
    reaches="val_mae < 3",
)
def classes_loss_for_mileage(bad):
    model = net((7,), L.Dense(32, activation="relu"), L.Dense(1))
    loss, metric = (ONE_HOT, "accuracy") if bad else ("mse", "mae")
    model.compile(keras.optimizers.Adam(1e-2), loss, metrics=[metric])
    return model, fitting(data.cars(), 25)


@pair("mlp regression", "metric-mismatch", reaches="val_mae < 3")
def accuracy_for_regression(bad):
    model = net(
        (7,),
        L.Dense(32, activation="relu"),
        L.Dense(32, activation="relu"),
        L.Dense(1),
    )
    metric = "accuracy" if bad else "mae"
    model.compile(keras.optimizers.Adam(1e-2), "mse", metrics=[metric])
    return model, fitting(data.cars(), 25)


@pair("mlp multi-class", "metric-mismatch", reaches="val_categorical_accuracy > 0.93")
def binary_accuracy_for_classes(bad):
    model = net(
        (64,), L.Dense(64, activation="tanh"), L.Dense(10, activation="softmax")
    )
    metric = "binary_accuracy" if bad else "categorical_accuracy"
    model.compile(keras.optimizers.Adam(3e-3), ONE_HOT, metrics=[metric])
    return model, fitting(data.digits().one_hot(10), 8)


@pair("rnn regression", "output-units", FLAT, reaches="val_loss < 0.02")
def sequences_left_on(bad):
    model = net((16, 1), L.GRU(16, return_sequences=bad), L.Dense(1))
    model.compile(keras.optimizers.Adam(1e-2), "mse")
    return model, fitting(data.waves(), 10)
