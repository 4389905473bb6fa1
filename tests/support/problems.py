"""Problems whose minimum is known, as compiled Keras models."""

import keras
import numpy as np
from keras import layers as L
from sklearn import datasets
from sklearn.linear_model import LogisticRegression


class Residuals(L.Layer):
    """Two weights; the squares of its outputs add up to Rosenbrock's function."""

    def build(self, shape):
        self.at = self.add_weight(shape=(2,), name="at", initializer="zeros")

    def call(self, x):
        a, b = self.at[0], self.at[1]
        return x * keras.ops.stack([10.0 * (b - a**2), 1.0 - a])


def rosenbrock(start=(-1.2, 1.0), dtype="float64"):
    model = keras.Sequential([keras.Input((1,)), Residuals(dtype=dtype)])
    model.compile(None, keras.losses.MeanSquaredError(reduction="sum", dtype=dtype))
    model.set_weights([np.array(start)])
    # The mean over the two residuals is half their sum: two samples make it whole.
    return model, np.ones((2, 1)), np.zeros((2, 2))


def quadratic(seed=0, n=6):
    """Linear regression; returns also the least squares solution."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(40, n)).astype("float32")
    y = (x @ rng.normal(size=(n, 2)) + 0.3).astype("float32")
    y += rng.normal(size=y.shape).astype("float32")
    model = keras.Sequential([keras.Input((n,)), L.Dense(2)])
    model.compile(None, "mse")
    ones = np.column_stack([x, np.ones(len(x))]).astype(float)
    return model, x, y, np.linalg.lstsq(ones, y.astype(float))[0]


class Logistic:
    """Regularized logistic regression, and scikit-learn's solution of it."""

    def __init__(self, name):
        x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
        self.x = ((x - x.mean(0)) / x.std(0)).astype("float32")
        self.y, self.n = y, len(y)
        self.classes = int(y.max()) + 1
        # Keras has the factor in float32.
        self.l2 = float(np.float32(1 / (2 * self.n)))
        c = 1 / (2 * self.n * self.l2)
        self.known = LogisticRegression(C=c, tol=1e-14, solver="newton-cholesky")
        self.known.fit(self.x.astype(float), y)
        self.least = self.loss(self.known.coef_.T, self.known.intercept_)

    def model(self):
        keras.utils.set_random_seed(0)
        binary = self.classes == 2
        model = keras.Sequential(
            [
                keras.Input(self.x.shape[1:]),
                L.Dense(
                    1 if binary else self.classes,
                    kernel_regularizer=keras.regularizers.L2(self.l2),
                ),
            ]
        )
        kinds = keras.losses
        kind = (
            kinds.BinaryCrossentropy if binary else kinds.SparseCategoricalCrossentropy
        )
        model.compile(None, kind(from_logits=True))
        return model

    def loss(self, kernel, bias):
        z = self.x.astype(float) @ kernel + bias
        z = np.column_stack([np.zeros(self.n), z]) if self.classes == 2 else z
        top = z.max(1)
        log_sum = np.log(np.exp(z - top[:, None]).sum(1)) + top
        data = np.mean(log_sum - z[np.arange(self.n), self.y])
        return data + self.l2 * np.sum(kernel**2)

    def distance(self, model):
        """Largest difference of a weight from scikit-learn's."""
        kernel, bias = (w.astype(float) for w in model.get_weights())
        if self.classes > 2:  # Those of all classes may be shifted together.
            bias = bias - bias.mean()
        known = self.known.intercept_ - (
            self.known.intercept_.mean() if self.classes > 2 else 0
        )
        return max(
            np.abs(kernel.T - self.known.coef_).max(), np.abs(bias - known).max()
        )
