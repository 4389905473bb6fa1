"""Models that hold all of Keras's layers and losses between them, as small as can be.

Each layer has weights before it, so that its gradient matters.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers as L
from keras import losses as K

N = 6
ACTIVATIONS = (
    "celu",
    "elu",
    "exponential",
    "gelu",
    "hard_shrink",
    "hard_sigmoid",
    "hard_silu",
    "hard_tanh",
    "leaky_relu",
    "linear",
    "log_sigmoid",
    "log_softmax",
    "mish",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "soft_shrink",
    "softmax",
    "softplus",
    "softsign",
    "sparse_plus",
    "sparse_sigmoid",
    "sparsemax",
    "squareplus",
    "tanh",
    "tanh_shrink",
)


def _rng():
    return np.random.default_rng(7)


def _joined(inputs, branches):
    joined = L.Concatenate()([L.Flatten()(branch) for branch in branches])
    model = keras.Model(inputs, L.Dense(3, activation="softmax")(joined))
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def _chain(x, *layers):
    for layer in layers:
        x = layer(x)
    return x


def _data(*shape):
    rng = _rng()
    return rng.normal(size=(N, *shape)).astype("float32"), rng.integers(0, 3, N)


def images():
    inputs = keras.Input((6, 6, 2))
    x = L.Conv2D(3, 3, padding="same", activation="relu")(inputs)
    branches = [
        _chain(x, L.MaxPooling2D(), L.Conv2DTranspose(2, 2), L.LeakyReLU()),
        _chain(x, L.AveragePooling2D(2), L.DepthwiseConv2D(2), L.ELU()),
        _chain(x, L.SeparableConv2D(2, 2), L.GlobalMaxPooling2D()),
        _chain(x, L.BatchNormalization(), L.PReLU(), L.GlobalAveragePooling2D()),
        _chain(x, L.GroupNormalization(3), L.ZeroPadding2D(), L.Cropping2D(2)),
        _chain(x, L.SpatialDropout2D(0.3), L.UpSampling2D(), L.Permute((2, 3, 1))),
        _chain(x, L.AdaptiveMaxPooling2D(2)),
        _chain(x, L.AdaptiveAveragePooling2D(2)),
        _chain(x, L.SpectralNormalization(L.Conv2D(2, 2)), L.Activation("swish")),
    ]
    return _joined(inputs, branches), *_data(6, 6, 2)


def augmented_images():
    inputs = keras.Input((8, 8, 3))
    x = _chain(
        inputs,
        L.RandomFlip(),
        L.RandomRotation(0.1),
        L.RandomZoom(0.1),
        L.RandomTranslation(0.1, 0.1),
        L.RandomContrast(0.1, value_range=(-3, 3)),
        L.RandomBrightness(0.1, value_range=(-3, 3)),
        L.RandomCrop(6, 6),
        L.Resizing(7, 7),
        L.CenterCrop(6, 6),
        L.Rescaling(0.5, offset=0.1),
        L.Normalization(mean=0.1, variance=1.5),
        L.GaussianNoise(0.1),
        L.Conv2D(3, 3, activation="relu"),
    )
    return _joined(inputs, [x, L.ReLU()(x)]), *_data(8, 8, 3)


def sequences():
    inputs = keras.Input((6, 3))
    x = L.Conv1D(4, 2, padding="causal", activation="gelu")(inputs)
    branches = [
        _chain(x, L.MaxPooling1D(), L.Conv1DTranspose(2, 2)),
        _chain(x, L.AveragePooling1D(2), L.DepthwiseConv1D(2)),
        _chain(x, L.SeparableConv1D(2, 2), L.GlobalMaxPooling1D()),
        _chain(x, L.LayerNormalization(), L.GlobalAveragePooling1D()),
        _chain(x, L.RMSNormalization(), L.ZeroPadding1D(), L.Cropping1D()),
        _chain(x, L.UnitNormalization(), L.SpatialDropout1D(0.2), L.UpSampling1D()),
        _chain(x, L.EinsumDense("abc,cd->abd", output_shape=(6, 2))),
        _chain(x, L.Masking(), L.LSTM(3), L.RepeatVector(2)),
        _chain(x, L.TimeDistributed(L.Dense(2, activation="tanh"))),
    ]
    return _joined(inputs, branches), *_data(6, 3)


def recurrent():
    inputs = keras.Input((4, 3))
    branches = [
        _chain(inputs, L.LSTM(3, dropout=0.2, recurrent_dropout=0.2)),
        _chain(inputs, L.Bidirectional(L.GRU(2))),
        _chain(inputs, L.RNN([L.SimpleRNNCell(2), L.LSTMCell(2)])),
        _chain(inputs, L.SimpleRNN(2, return_sequences=True)),
        _chain(inputs, L.Reshape((4, 3, 1)), L.ConvLSTM1D(2, 2)),
    ]
    return _joined(inputs, branches), *_data(4, 3)


def volumes():
    inputs = keras.Input((4, 4, 4, 1))
    x = L.Conv3D(2, 2, padding="same", activation="tanh")(inputs)
    branches = [
        _chain(x, L.MaxPooling3D(), L.Conv3DTranspose(1, 2)),
        _chain(x, L.AveragePooling3D(2), L.SpatialDropout3D(0.2)),
        _chain(x, L.GlobalMaxPooling3D()),
        _chain(x, L.GlobalAveragePooling3D()),
        _chain(x, L.ZeroPadding3D(), L.Cropping3D(2), L.UpSampling3D()),
    ]
    return _joined(inputs, branches), *_data(4, 4, 4, 1)


def dense():
    inputs = keras.Input((4,))
    x = L.Dense(4)(inputs)
    y = L.Dense(4, activation="softplus")(inputs)
    branches = [
        L.Add()([x, y]),
        L.Subtract()([x, y]),
        L.Multiply()([x, y]),
        L.Average()([x, y]),
        L.Maximum()([x, y]),
        L.Minimum()([x, y]),
        L.Dot(1)([x, y]),
        L.Bilinear(2)([x, y]) if hasattr(L, "Bilinear") else x,
        _chain(x, L.ReLU(), L.Dropout(0.3), L.Softmax()),
        _chain(
            x,
            L.AlphaDropout(0.2),
            L.GaussianDropout(0.2),
            L.ActivityRegularization(0.1, 0.1),
        ),
        _chain(x, L.Identity(), L.Lambda(keras.ops.sin)),
        *(L.Activation(name)(x) for name in ACTIVATIONS),
    ]
    return _joined(inputs, branches), *_data(4)


def attention():
    inputs = keras.Input((5, 4))
    x = L.Dense(4)(inputs)
    y = L.Dense(4)(inputs)
    branches = [
        L.MultiHeadAttention(2, 2, dropout=0.1)(x, y),
        L.MultiHeadAttention(2, 2)(x, x, use_causal_mask=True),
        L.GroupQueryAttention(2, 2, 1)(x, y),
        L.Attention(use_scale=True, dropout=0.1)([x, y]),
        L.AdditiveAttention()([x, y]),
    ]
    return _joined(inputs, branches), *_data(5, 4)


def tokens():
    inputs = keras.Input((5,), dtype="int32")
    x = L.Embedding(9, 3, mask_zero=True)(inputs)
    branches = [
        _chain(x, L.LSTM(2)),
        _chain(x, L.GlobalAveragePooling1D()),
        _chain(inputs, L.Embedding(9, 2), L.Flatten()),
        _chain(inputs, L.CategoryEncoding(9, output_mode="count"), L.Dense(2)),
        _chain(
            inputs, L.Rescaling(0.1), L.Discretization([0.2, 0.5]), L.Embedding(3, 2)
        ),
    ]
    rng = _rng()
    return _joined(inputs, branches), rng.integers(0, 9, (N, 5)), rng.integers(0, 3, N)


MODELS = (
    images,
    augmented_images,
    sequences,
    recurrent,
    volumes,
    dense,
    attention,
    tokens,
)

#: Loss, activation of the output, kind of target.
LOSSES = (
    (K.MeanSquaredError(), None, "real"),
    (K.MeanAbsoluteError(), None, "real"),
    (K.MeanAbsolutePercentageError(), None, "real"),
    (K.MeanSquaredLogarithmicError(), "softplus", "positive"),
    (K.LogCosh(), None, "real"),
    (K.Huber(0.3), None, "real"),
    (K.CosineSimilarity(), None, "real"),
    (K.Poisson(), "softplus", "positive"),
    (K.Hinge(), None, "sign"),
    (K.SquaredHinge(), None, "sign"),
    (K.CategoricalHinge(), None, "one hot"),
    (K.BinaryCrossentropy(), "sigmoid", "binary"),
    (K.BinaryCrossentropy(from_logits=True, label_smoothing=0.1), None, "binary"),
    (K.BinaryFocalCrossentropy(), "sigmoid", "binary"),
    (K.CategoricalCrossentropy(), "softmax", "one hot"),
    (K.CategoricalCrossentropy(from_logits=True), None, "one hot"),
    (K.CategoricalFocalCrossentropy(), "softmax", "one hot"),
    (K.CategoricalGeneralizedCrossEntropy(), "softmax", "class"),
    (K.SparseCategoricalCrossentropy(), "softmax", "class"),
    (K.SparseCategoricalCrossentropy(from_logits=True), None, "class"),
    (K.KLDivergence(), "softmax", "distribution"),
    (K.Dice(), "sigmoid", "binary"),
    (K.Tversky(), "sigmoid", "binary"),
    (K.Circle(), None, "class"),
)


def losses():
    """One output for each loss."""
    inputs = keras.Input((4,))
    x = L.Dense(5, activation="tanh")(inputs)
    rng = _rng()
    real = rng.normal(size=(N, 3)).astype("float32")
    classes = rng.integers(0, 3, N)
    targets = {
        "real": real,
        "positive": np.abs(real),
        "sign": np.sign(real),
        "binary": (real > 0).astype("float32"),
        "one hot": np.eye(3, dtype="float32")[classes],
        "class": classes,
        "distribution": np.exp(real) / np.exp(real).sum(1, keepdims=True),
    }
    outputs, y, kinds = {}, {}, {}
    for k, (loss, activation, kind) in enumerate(LOSSES):
        name = f"{k}_{loss.name}"
        outputs[name] = L.Dense(3, activation=activation, name=name)(x)
        y[name] = targets[kind]
        kinds[name] = loss
    model = keras.Model(inputs, outputs)
    model.compile("adam", kinds)
    return model, rng.normal(size=(N, 4)).astype("float32"), y
