"""Healthy runs on images: segmentation, boxes, well-known networks, tricks."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers as L
from keras import ops
from keras.optimizers import SGD, Adam, AdamW

from zoo import data
from zoo.cases import fitting, healthy, net

BCE = "binary_crossentropy"
SPARSE = "sparse_categorical_crossentropy"


def shapes(rows, size=24, seed=0):
    """Noisy images of one disc or square; masks; boxes (x, y, w, h); which it is."""
    rng = np.random.default_rng(seed)
    grid = np.arange(size)
    x, y = rng.uniform(6, size - 6, (2, rows, 1, 1))
    radius = rng.uniform(3, 6, (rows, 1, 1))
    dx, dy = np.abs(grid[None, None] - x), np.abs(grid[None, :, None] - y)
    disc = rng.integers(0, 2, rows)
    masks = np.where(
        disc[:, None, None] == 1, dx**2 + dy**2 < radius**2, np.maximum(dx, dy) < radius
    )
    tint = rng.uniform(0.5, 1, (rows, 1, 1, 3))
    images = masks[..., None] * tint + rng.normal(scale=0.15, size=(*masks.shape, 3))
    boxes = np.concatenate([x, y, 2 * radius, 2 * radius], 1)[..., 0] / size
    found = np.clip(images, 0, 1), masks[..., None], boxes, disc
    return [a.astype("float32") for a in found[:3]] + [found[3]]


def convolved(x, filters):
    for _ in range(2):
        x = L.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = L.ReLU()(L.BatchNormalization(momentum=0.9)(x))
    return x


def unet(classes, activation):
    inputs = keras.Input((24, 24, 3))
    a = convolved(inputs, 8)
    b = convolved(L.MaxPooling2D()(a), 16)
    c = convolved(L.MaxPooling2D()(b), 32)
    x = L.Conv2DTranspose(16, 2, strides=2)(c)
    x = convolved(L.Concatenate()([x, b]), 16)
    x = L.Conv2DTranspose(8, 2, strides=2)(x)
    x = convolved(L.Concatenate()([x, a]), 8)
    return keras.Model(inputs, L.Conv2D(classes, 1, activation=activation)(x))


@healthy("unet segmentation", reaches="val_accuracy > 0.96")
def unet_with_a_class_per_pixel():
    """Background, disc, square, with `oxford_pets`-like labels."""
    x, masks, _, disc = shapes(600)
    y = (masks[..., 0] * (1 + disc[:, None, None])).astype("int32")
    model = unet(3, "softmax")
    model.compile(Adam(5e-3), SPARSE, metrics=["accuracy"])
    split = data.Split(x[:500], y[:500], x[500:], y[500:])
    return model, fitting(split, 9, 16)


def dice(y_true, y_pred):
    axes = (1, 2, 3)
    both = ops.sum(y_true * y_pred, axes)
    return 1 - (2 * both + 1) / (ops.sum(y_true, axes) + ops.sum(y_pred, axes) + 1)


@healthy("unet segmentation", reaches="val_loss < 0.15")
def unet_with_a_dice_loss():
    x, y, _, _ = shapes(500)
    model = unet(1, "sigmoid")
    model.compile(Adam(3e-3), dice)
    split = data.Split(x[:420], y[:420], x[420:], y[420:])
    return model, fitting(split, 10, 16)


@healthy("cnn boxes", reaches="val_box_mae < 0.05")
def boxes_and_classes():
    """Where it is and what it is: boxes scaled to the image, two heads."""
    x, _, boxes, disc = shapes(900)
    inputs = keras.Input((24, 24, 3))
    h = inputs
    for filters in (16, 32, 32):
        h = L.Conv2D(filters, 3, padding="same", activation="relu")(h)
        h = L.MaxPooling2D()(h)
    h = L.Dense(64, activation="relu")(L.Flatten()(h))
    outputs = {
        "box": L.Dense(4, activation="sigmoid", name="box")(h),
        "disc": L.Dense(1, activation="sigmoid", name="disc")(h),
    }
    model = keras.Model(inputs, outputs)
    model.compile(
        Adam(2e-3),
        {"box": keras.losses.Huber(0.1), "disc": BCE},
        loss_weights={"box": 20.0, "disc": 1.0},
        metrics={"box": ["mae"], "disc": ["accuracy"]},
    )
    y = {"box": boxes, "disc": disc[:, None].astype("float32")}
    return model, {
        "x": x[:750],
        "y": {k: v[:750] for k, v in y.items()},
        "validation_data": (x[750:], {k: v[750:] for k, v in y.items()}),
        "epochs": 14,
    }


def colours(rows, size=32):
    """Three kinds of coloured patterns, from 0 to 255 as decoded images are."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, rows)
    t = np.arange(size) * rng.uniform(0.5, 1.2, (rows, 1))
    stripes, rows_ = np.sin(t), np.ones(size)
    kinds = np.stack(
        [
            stripes[:, :, None] * rows_,
            stripes[:, None, :] * rows_[:, None],
            stripes[:, :, None] * stripes[:, None, :],
        ]
    )
    x = kinds[y, np.arange(rows)][..., None] * rng.uniform(30, 100, (rows, 1, 1, 3))
    x += 128 + rng.normal(scale=15, size=x.shape)
    return np.clip(x, 0, 255).astype("float32"), y


@healthy("application from scratch", reaches="accuracy > 0.85")
def mobilenet_from_scratch():
    model = keras.applications.MobileNetV3Small(
        (32, 32, 3), weights=None, classes=3, minimalistic=True, dropout_rate=0.1
    )
    model.compile(Adam(2e-3), SPARSE, metrics=["accuracy"])
    x, y = colours(480)
    return model, {"x": x, "y": y, "epochs": 5}


@healthy("application from scratch", reaches="accuracy > 0.8")
def efficientnet_from_scratch():
    base = keras.applications.EfficientNetV2B0(
        include_top=False, weights=None, input_shape=(32, 32, 3), pooling="avg"
    )
    model = net((32, 32, 3), base, L.Dropout(0.2), L.Dense(3, activation="softmax"))
    model.compile(AdamW(1e-3), SPARSE, metrics=["accuracy"])
    x, y = colours(320)
    return model, {"x": x, "y": y, "epochs": 4}


@healthy("cnn mixup", reaches="val_accuracy > 0.93")
def mixed_up_images():
    """Mixup: blended images with blended one-hot labels, in the pipeline."""
    split = data.images().one_hot(10)
    pairs = tf.data.Dataset.from_tensor_slices((split.x, split.y.astype("float32")))
    one = pairs.shuffle(1500, seed=0).batch(32, drop_remainder=True)
    two = pairs.shuffle(1500, seed=1).batch(32, drop_remainder=True)

    def mixed(a, b):
        share = tf.random.uniform((32, 1), 0, 0.4, seed=2)
        x = a[0] * (1 - share[:, :, None, None]) + b[0] * share[:, :, None, None]
        return x, a[1] * (1 - share) + b[1] * share

    model = net(
        (8, 8, 1),
        L.Conv2D(24, 3, activation="relu"),
        L.Flatten(),
        L.Dense(48, activation="relu"),
        L.Dense(10, activation="softmax"),
    )
    model.compile(Adam(3e-3), "categorical_crossentropy", metrics=["accuracy"])
    return model, {
        "x": tf.data.Dataset.zip((one, two)).map(mixed),
        "validation_data": split.val,
        "epochs": 10,
    }


class CutMix(keras.utils.PyDataset):
    """Half of another image, and half of its label."""

    def __init__(self, split, size=32):
        super().__init__()
        self.split, self.size = split, size
        self.rng = np.random.default_rng(0)

    def __len__(self):
        return len(self.split.x) // self.size

    def __getitem__(self, index):
        a, b = self.rng.integers(0, len(self.split.x), (2, self.size))
        x, y = self.split.x[a].copy(), self.split.y[a].copy()
        cut = self.rng.integers(0, 5)
        x[:, :, :cut] = self.split.x[b][:, :, :cut]
        return x, y * (1 - cut / 8) + self.split.y[b] * cut / 8


@healthy("cnn mixup", reaches="val_accuracy > 0.93")
def cut_and_pasted_images():
    split = data.images().one_hot(10)
    model = net(
        (8, 8, 1),
        L.Conv2D(32, 3, activation="relu"),
        L.Conv2D(32, 3, activation="relu"),
        L.Flatten(),
        L.Dense(10, activation="softmax"),
    )
    model.compile(Adam(2e-3), "categorical_crossentropy", metrics=["accuracy"])
    return model, {"x": CutMix(split), "validation_data": split.val, "epochs": 12}


class Warp(L.Layer):
    """Shifts an image by given offsets, with bilinear weights."""

    def call(self, image, shift):
        where = ops.arange(14, dtype="float32")

        def weights(s):
            at = where[None, :, None] + 7 + 7 * s[:, None, None]
            return ops.relu(1 - ops.abs(at - ops.arange(28, dtype="float32")))

        rows, columns = weights(shift[:, 0]), weights(shift[:, 1])
        return ops.einsum("bij,bjkc,blk->bilc", rows, image, columns)


@healthy("cnn transformer", reaches="val_accuracy > 0.8")
def spatial_transformer():
    """Digits somewhere on a larger canvas, which a first network looks for."""
    rng = np.random.default_rng(0)

    def placed(x):
        canvas = np.zeros((len(x), 28, 28, 1), "float32")
        for i, (r, c) in enumerate(rng.integers(6, 15, (len(x), 2))):
            canvas[i, r : r + 8, c : c + 8] = x[i]
        return canvas

    inputs = keras.Input((28, 28, 1))
    h = L.Conv2D(16, 5, strides=2, activation="relu")(inputs)
    h = L.Conv2D(16, 3, strides=2, activation="relu")(h)
    h = L.Dense(32, activation="relu")(L.Flatten()(h))
    # Not zeros: between whole pixels only do bilinear weights have a slope.
    small = keras.initializers.RandomNormal(stddev=0.01)
    shift = L.Dense(2, activation="tanh", kernel_initializer=small)(h)
    x = L.Conv2D(32, 3, activation="relu")(Warp()(inputs, shift))
    x = L.Conv2D(32, 3, activation="relu")(L.MaxPooling2D()(x))
    x = L.Dense(64, activation="relu")(L.Flatten()(x))
    model = keras.Model(inputs, L.Dense(10, activation="softmax")(x))
    model.compile(Adam(2e-3), SPARSE, metrics=["accuracy"])
    return model, fitting(data.images().map_x(placed), 14)


@healthy("transformer images", reaches="val_accuracy > 0.9")
def vision_transformer():
    inputs = keras.Input((8, 8, 1))
    x = L.Reshape((16, 32))(L.Conv2D(32, 2, strides=2)(inputs))
    x = x + L.Embedding(16, 32)(ops.arange(16))
    for _ in range(2):
        y = L.LayerNormalization(epsilon=1e-6)(x)
        x = x + L.MultiHeadAttention(4, 8, dropout=0.1)(y, y)
        y = L.Dense(64, activation="gelu")(L.LayerNormalization(epsilon=1e-6)(x))
        x = x + L.Dense(32)(L.Dropout(0.1)(y))
    x = L.Flatten()(L.LayerNormalization(epsilon=1e-6)(x))
    model = keras.Model(inputs, L.Dense(10)(L.Dropout(0.3)(x)))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(AdamW(2e-3, weight_decay=1e-4), loss, metrics=["accuracy"])
    return model, fitting(data.images(), 12)


@healthy("mlp images", reaches="val_accuracy > 0.9")
def mlp_mixer():
    inputs = keras.Input((8, 8, 1))
    x = L.Reshape((16, 32))(L.Conv2D(32, 2, strides=2)(inputs))
    for _ in range(2):
        y = L.Permute((2, 1))(L.LayerNormalization()(x))
        y = L.Dense(16)(L.Dense(32, activation="gelu")(y))
        x = x + L.Permute((2, 1))(y)
        y = L.Dense(64, activation="gelu")(L.LayerNormalization()(x))
        x = x + L.Dense(32)(y)
    x = L.GlobalAveragePooling1D()(L.LayerNormalization()(x))
    model = keras.Model(inputs, L.Dense(10, activation="softmax")(x))
    model.compile(Adam(3e-3), SPARSE, metrics=["accuracy"])
    return model, fitting(data.images(), 12)


@healthy("cnn regression", reaches="val_loss < 0.02")
def images_in_higher_resolution():
    """Sub-pixel convolution, as keras.io's super-resolution example."""
    split = data.images()

    def small(x):
        return x.reshape(-1, 4, 2, 4, 2, 1).mean((2, 4))

    inputs = keras.Input((4, 4, 1))
    x = L.Conv2D(48, 3, padding="same", activation="relu")(inputs)
    x = L.Conv2D(48, 3, padding="same", activation="relu")(x)
    x = L.Conv2D(4, 3, padding="same")(x)
    x = ops.reshape(x, (-1, 4, 4, 2, 2))
    x = ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4)), (-1, 8, 8, 1))
    model = keras.Model(inputs, x)
    model.compile(Adam(3e-3), "mse")
    pairs = data.Split(small(split.x), split.x, small(split.val_x), split.val_x)
    return model, fitting(pairs, 15)


@healthy("cnn multi-class", reaches="val_accuracy > 0.9")
def weights_standardized_by_groups():
    """Group normalization and SGD with weight decay, for small batches."""
    model = net(
        (8, 8, 1),
        L.Conv2D(16, 3, padding="same", use_bias=False),
        L.GroupNormalization(4),
        L.ReLU(),
        L.MaxPooling2D(),
        L.Conv2D(32, 3, padding="same", use_bias=False),
        L.GroupNormalization(4),
        L.ReLU(),
        L.GlobalAveragePooling2D(),
        L.Dense(10, activation="softmax"),
    )
    optimizer = SGD(0.03, momentum=0.9, nesterov=True, weight_decay=1e-4)
    model.compile(optimizer, SPARSE, metrics=["accuracy"])
    return model, fitting(data.images(), 8, 8)
