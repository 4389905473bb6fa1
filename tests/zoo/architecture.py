"""Faults of the layers and of their weights before training."""

import keras
from keras import layers as L
from keras.initializers import Constant, RandomNormal

from zoo import data
from zoo.cases import fitting, net, pair
from zoo.causes import BLOWN, FLAT

SPARSE = "sparse_categorical_crossentropy"


@pair("mlp multi-class", "no-nonlinearity", FLAT, reaches="val_accuracy > 0.9")
def no_activation_in_mlp(bad):
    act = None if bad else "relu"
    model = net(
        (2,),
        L.Dense(64, activation=act),
        L.Dense(64, activation=act),
        L.Dense(3, activation="softmax"),
    )
    model.compile(keras.optimizers.Adam(1e-2), SPARSE, metrics=["accuracy"])
    return model, fitting(data.spirals(), 15)


@pair("cnn multi-class", "no-nonlinearity", reaches="val_accuracy > 0.93")
def no_activation_in_cnn(bad):
    act = None if bad else "relu"
    model = net(
        (8, 8, 1),
        L.Conv2D(16, 3, activation=act),
        L.Conv2D(32, 3, activation=act),
        L.Flatten(),
        L.Dense(64, activation=act),
        L.Dense(10, activation="softmax"),
    )
    model.compile(keras.optimizers.Adam(2e-3), SPARSE, metrics=["accuracy"])
    return model, fitting(data.images(), 7)


@pair("mlp multi-class", "dropout-too-high", FLAT, reaches="val_accuracy > 0.93")
def dropout_of_95_percent(bad):
    rate = 0.95 if bad else 0.2
    model = net(
        (64,),
        L.Dense(64, activation="relu"),
        L.Dropout(rate),
        L.Dense(64, activation="relu"),
        L.Dropout(rate),
        L.Dense(10, activation="softmax"),
    )
    model.compile(keras.optimizers.Adam(3e-3), SPARSE, metrics=["accuracy"])
    return model, fitting(data.digits(), 9)


@pair("cnn multi-class", "dropout-too-high", FLAT, reaches="val_accuracy > 0.93")
def share_to_keep_as_dropout(bad):
    rate = 0.9 if bad else 0.1
    model = net(
        (8, 8, 1),
        L.Conv2D(16, 3, activation="relu"),
        L.Dropout(rate),
        L.Conv2D(32, 3, activation="relu"),
        L.Dropout(rate),
        L.Flatten(),
        L.Dense(10, activation="softmax"),
    )
    model.compile(keras.optimizers.Adam(3e-3), SPARSE, metrics=["accuracy"])
    return model, fitting(data.images(), 8)


@pair("mlp regression", "regularization-too-strong", FLAT, reaches="val_loss < 0.75")
def l2_of_one(bad):
    l2 = keras.regularizers.L2(1.0 if bad else 1e-4)
    model = net(
        (10,),
        L.Dense(16, activation="relu", kernel_regularizer=l2),
        L.Dense(16, activation="relu", kernel_regularizer=l2),
        L.Dense(1, kernel_regularizer=l2),
    )
    model.compile(keras.optimizers.Adam(5e-3), "mse", metrics=["mae"])
    return model, fitting(data.diabetes(), 12)


@pair(
    "cnn multi-class", "regularization-too-strong", FLAT, reaches="val_accuracy > 0.93"
)
def l2_of_ten(bad):
    l2 = keras.regularizers.L2(10.0 if bad else 1e-4)
    model = net(
        (8, 8, 1),
        L.Conv2D(16, 3, activation="relu", kernel_regularizer=l2),
        L.Flatten(),
        L.Dense(32, activation="relu", kernel_regularizer=l2),
        L.Dense(10, activation="softmax"),
    )
    model.compile(keras.optimizers.Adam(3e-3), SPARSE, metrics=["accuracy"])
    return model, fitting(data.images(), 8)


@pair("rnn binary", "regularization-too-strong", FLAT, reaches="val_accuracy > 0.8")
def l1_in_lstm(bad):
    strength = 10.0 if bad else 1e-5
    model = net(
        (16,),
        L.Embedding(data.VOCABULARY, 16),
        L.LSTM(16, kernel_regularizer=keras.regularizers.L1(strength)),
        L.Dense(1, activation="sigmoid"),
    )
    model.compile(
        keras.optimizers.Adam(1e-2), "binary_crossentropy", metrics=["accuracy"]
    )
    return model, fitting(data.reviews(), 6)


@pair(
    "mlp multi-class",
    "bad-initialization",
    FLAT,
    reaches="val_accuracy > 0.93",
)
def zero_weights(bad):
    init = "zeros" if bad else "glorot_uniform"
    model = net(
        (64,),
        L.Dense(32, activation="relu", kernel_initializer=init),
        L.Dense(32, activation="relu", kernel_initializer=init),
        L.Dense(10, activation="softmax", kernel_initializer=init),
    )
    model.compile(keras.optimizers.Adam(3e-3), SPARSE, metrics=["accuracy"])
    return model, fitting(data.digits(), 9)


@pair(
    "cnn multi-class",
    "bad-initialization",
    FLAT,
    reaches="val_accuracy > 0.93",
)
def constant_weights(bad):
    init = Constant(0.1) if bad else "he_normal"
    model = net(
        (8, 8, 1),
        L.Conv2D(16, 3, activation="relu", kernel_initializer=init),
        L.Conv2D(16, 3, activation="relu", kernel_initializer=init),
        L.Flatten(),
        L.Dense(10, activation="softmax"),
    )
    model.compile(keras.optimizers.Adam(2e-3), SPARSE, metrics=["accuracy"])
    return model, fitting(data.images(), 8)


@pair("mlp multi-class", "bad-initialization", BLOWN, reaches="val_accuracy > 0.9")
def normal_of_ten(bad):
    init = RandomNormal(stddev=10.0 if bad else 0.05)
    model = net(
        (784,),
        L.Dense(64, activation="relu", kernel_initializer=init),
        L.Dense(10, activation="softmax", kernel_initializer=init),
    )
    model.compile(keras.optimizers.Adam(2e-3), SPARSE, metrics=["accuracy"])
    return model, fitting(data.mnist(), 8, 64)


@pair("mlp multi-class", "bad-initialization", FLAT, reaches="val_accuracy > 0.9")
def tiny_weights_in_deep_tanh(bad):
    init = RandomNormal(stddev=1e-4) if bad else "glorot_normal"
    hidden = [L.Dense(48, "tanh", kernel_initializer=init) for _ in range(6)]
    last = L.Dense(10, activation="softmax", kernel_initializer=init)
    model = net((64,), *hidden, last)
    model.compile(
        keras.optimizers.SGD(0.05, momentum=0.9), SPARSE, metrics=["accuracy"]
    )
    return model, fitting(data.digits(), 8)


@pair(
    "mlp multi-class",
    {"bad-initialization", "saturated-activation"},
    BLOWN | FLAT,
    reaches="val_accuracy > 0.93",
)
def saturated_tanh(bad):
    init = RandomNormal(stddev=2.0) if bad else "glorot_uniform"
    model = net(
        (64,),
        L.Dense(128, activation="tanh", kernel_initializer=init),
        L.Dense(128, activation="tanh", kernel_initializer=init),
        L.Dense(10, activation="softmax"),
    )
    model.compile(keras.optimizers.Adam(1e-3), SPARSE, metrics=["accuracy"])
    return model, fitting(data.digits(), 8)


@pair(
    "mlp multi-class",
    {"bad-initialization", "exploding-gradients", "activations-exploding"},
    BLOWN | FLAT,
    reaches="val_accuracy > 0.9",
)
def exploding_relu_tower(bad):
    init = RandomNormal(stddev=0.6) if bad else "he_normal"
    model = net(
        (64,),
        *[L.Dense(48, "relu", kernel_initializer=init) for _ in range(10)],
        L.Dense(10, activation="softmax"),
    )
    model.compile(keras.optimizers.Adam(1e-3), SPARSE, metrics=["accuracy"])
    return model, fitting(data.digits(), 8)


@pair(
    "rnn regression",
    {"bad-initialization", "exploding-gradients", "activations-exploding"},
    BLOWN,
    reaches="val_loss < 0.02",
)
def exploding_relu_rnn(bad):
    recurrent = RandomNormal(stddev=0.5) if bad else "orthogonal"
    model = net(
        (16, 1),
        L.SimpleRNN(
            32, activation="relu" if bad else "tanh", recurrent_initializer=recurrent
        ),
        L.Dense(1),
    )
    model.compile(keras.optimizers.Adam(3e-3), "mse")
    return model, fitting(data.waves(), 10)


@pair(
    "mlp multi-class",
    "vanishing-gradients",
    FLAT,
    reaches="val_accuracy > 0.9",
)
def deep_sigmoid(bad):
    act = "sigmoid" if bad else "relu"
    he = "he_normal"
    hidden = [L.Dense(32, activation=act, kernel_initializer=he) for _ in range(7)]
    model = net((64,), *hidden, L.Dense(10, activation="softmax"))
    model.compile(keras.optimizers.Adam(2e-3), SPARSE, metrics=["accuracy"])
    return model, fitting(data.digits(), 8)


@pair(
    "cnn multi-class",
    "vanishing-gradients",
    FLAT,
    reaches="val_accuracy > 0.9",
)
def sigmoid_cnn(bad):
    act = "sigmoid" if bad else "relu"
    conv = [L.Conv2D(8, 3, padding="same", activation=act) for _ in range(5)]
    model = net(
        (8, 8, 1),
        *conv,
        L.Flatten(),
        L.Dense(32, activation=act),
        L.Dense(10, activation="softmax"),
    )
    model.compile(
        keras.optimizers.SGD(0.03, momentum=0.9), SPARSE, metrics=["accuracy"]
    )
    return model, fitting(data.images(), 8)


@pair("mlp binary", "dead-relu", FLAT, reaches="val_accuracy > 0.93")
def dead_by_bias(bad):
    bias = Constant(-10.0) if bad else "zeros"
    model = net(
        (30,),
        L.Dense(32, activation="relu", bias_initializer=bias),
        L.Dense(16, activation="relu", bias_initializer=bias),
        L.Dense(1, activation="sigmoid"),
    )
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return model, fitting(data.breast_cancer(), 18)


@pair("mlp multi-class", "softmax-in-hidden-layer", FLAT, reaches="val_accuracy > 0.93")
def softmax_in_hidden_layers(bad):
    act = "softmax" if bad else "relu"
    model = net(
        (64,),
        L.Dense(64, activation=act),
        L.Dense(32, activation=act),
        L.Dense(10, activation="softmax"),
    )
    model.compile(keras.optimizers.Adam(3e-3), SPARSE, metrics=["accuracy"])
    return model, fitting(data.digits(), 9)


@pair("cnn multi-class", "softmax-in-hidden-layer", FLAT, reaches="val_accuracy > 0.93")
def softmax_in_convolution(bad):
    model = net(
        (8, 8, 1),
        L.Conv2D(16, 3, activation="softmax" if bad else "relu"),
        L.MaxPooling2D(),
        L.Flatten(),
        L.Dense(64, activation="relu"),
        L.Dense(10, activation="softmax"),
    )
    model.compile(keras.optimizers.Adam(3e-3), SPARSE, metrics=["accuracy"])
    return model, fitting(data.images(), 9)


@pair("cnn multi-class", "frozen-untrained-layer", FLAT, reaches="val_accuracy > 0.9")
def backbone_frozen_before_training(bad):
    backbone = net(
        (8, 8, 1),
        L.Conv2D(8, 3, activation="relu"),
        L.MaxPooling2D(),
        L.Conv2D(32, 3, activation="relu"),
        L.GlobalAveragePooling2D(),
    )
    backbone.trainable = not bad
    model = net((8, 8, 1), backbone, L.Dense(10, activation="softmax"))
    model.compile(keras.optimizers.Adam(1e-2), SPARSE, metrics=["accuracy"])
    return model, fitting(data.images(), 10)


@pair(
    "mlp binary",
    {"no-trainable-weights", "frozen-untrained-layer"},
    FLAT,
    reaches="val_accuracy > 0.93",
)
def everything_frozen(bad):
    model = net((30,), L.Dense(16, activation="relu"), L.Dense(1, activation="sigmoid"))
    model.trainable = not bad
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return model, fitting(data.breast_cancer(), 18)


class Stop(L.Layer):
    def call(self, x):
        return keras.ops.stop_gradient(x)


@pair("cnn multi-class", "disconnected-layer", FLAT, reaches="val_accuracy > 0.93")
def gradient_stopped_below_the_head(bad):
    model = net(
        (8, 8, 1),
        L.Conv2D(8, 3, activation="relu"),
        L.Conv2D(8, 3, activation="relu"),
        L.Flatten(),
        *([Stop()] if bad else []),
        L.Dense(32, activation="relu"),
        L.Dense(10, activation="softmax"),
    )
    model.compile(keras.optimizers.Adam(3e-3), SPARSE, metrics=["accuracy"])
    return model, fitting(data.images(), 8)


@pair(
    "mlp binary",
    {"disconnected-layer", "vanishing-gradients"},
    FLAT,
    reaches="val_accuracy > 0.93",
)
def step_function_inside(bad):
    act = keras.ops.sign if bad else keras.ops.tanh
    model = net(
        (2,),
        L.Dense(16, activation="relu"),
        L.Dense(16, activation=act),
        L.Dense(1, activation="sigmoid"),
    )
    optimizer = keras.optimizers.Adam(1e-2)
    model.compile(optimizer, "binary_crossentropy", metrics=["accuracy"])
    return model, fitting(data.moons(), 12)


class TwoBlocks(keras.Model):
    def __init__(self, forgotten):
        super().__init__()
        self.forgotten = forgotten
        self.first = L.Dense(32, activation="relu")
        self.second = L.Dense(32, activation="relu")
        self.head = L.Dense(3, activation="softmax")

    def call(self, inputs):
        x = self.first(inputs)
        y = self.second(x)
        return self.head(x if self.forgotten else y)


@pair("subclassed multi-class", "disconnected-layer", reaches="val_accuracy > 0.9")
def output_of_a_block_not_used(bad):
    model = TwoBlocks(bad)
    model.compile(keras.optimizers.Adam(1e-2), SPARSE, metrics=["accuracy"])
    return model, fitting(data.spirals(), 12)


@pair("mlp multi-class", "batchnorm-small-batch", FLAT, reaches="val_accuracy > 0.8")
def batchnorm_of_single_samples(bad):
    model = net(
        (64,),
        L.Dense(32),
        L.BatchNormalization(),
        L.ReLU(),
        L.Dense(10, activation="softmax"),
    )
    model.compile(keras.optimizers.Adam(5e-3), SPARSE, metrics=["accuracy"])
    split = data.digits()
    if bad:
        return model, fitting(split.head(300), 2, 1)
    return model, fitting(split, 6, 32)


@pair("cnn multi-class", "underfitting", FLAT, reaches="val_accuracy > 0.9")
def a_single_filter(bad):
    model = net(
        (8, 8, 1),
        L.Conv2D(1 if bad else 32, 3, activation="relu"),
        L.Conv2D(1 if bad else 32, 3, activation="relu"),
        L.GlobalMaxPooling2D(),
        L.Dense(10, activation="softmax"),
    )
    model.compile(keras.optimizers.Adam(1e-2), SPARSE, metrics=["accuracy"])
    return model, fitting(data.images(), 12)
