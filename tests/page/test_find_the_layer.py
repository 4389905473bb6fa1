"""A network of sixty layers, one of them faulty: the page's document says which."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_babysit import Babysitter
from keras_babysit.report import page

pytestmark = pytest.mark.slow

DEPTH, WIDTH = 60, 16


def network(at, activation="relu", after=lambda y: y, **settings):
    """A residual network whose block `at` is made with other settings."""
    x = inputs = keras.Input((WIDTH,))
    for i in range(DEPTH):
        mine = settings if i == at else {}
        kind = activation if i == at else "relu"
        y = layers.Dense(WIDTH, kind, name=f"block_{i}", **mine)(x)
        x = layers.Add()([x, layers.Rescaling(0.1)(after(y) if i == at else y)])
    return keras.Model(inputs, layers.Dense(4)(x))


def scaled(at, factor):
    model = network(at)
    kernel = model.get_layer(f"block_{at}").kernel
    kernel.assign(kernel * factor)
    return model


def frozen(at):
    model = network(at)
    model.get_layer(f"block_{at}").trainable = False
    return model


def cut_off(at):
    return network(at, after=keras.ops.stop_gradient)


def constant(value):
    return keras.initializers.Constant(value)


FAULTS = {
    "dead": (7, lambda at: network(at, bias_initializer=constant(-20.0))),
    "far too large": (13, lambda at: scaled(at, 300.0)),
    "far too small": (19, lambda at: scaled(at, 1e-4)),
    "zeros": (25, lambda at: scaled(at, 0.0)),
    "not a number": (31, lambda at: scaled(at, np.nan)),
    "frozen": (36, frozen),
    "cut off": (42, cut_off),
    "saturated": (
        48,
        lambda at: network(at, "sigmoid", bias_initializer=constant(30.0)),
    ),
    "regularized to nothing": (
        54,
        lambda at: network(at, kernel_regularizer=keras.regularizers.L2(10.0)),
    ),
    "multiplied by nothing": (58, lambda at: network(at, after=lambda y: 0.0 * y)),
}


def conspicuous(document):
    """The layer of the row that lies furthest from the others, over all maps."""
    found = []
    for quantity, chart in document["maps"].items():
        rows = np.array(chart["values"], float)
        if "fraction" not in quantity:
            rows = np.log10(np.maximum(rows, 1e-12))
        typical = np.nanmedian(np.where(np.isfinite(rows), rows, 12.0), axis=1)
        middle = np.median(typical)
        spread = np.median(np.abs(typical - middle)) + 0.05
        off = np.abs(typical - middle) / spread
        found.append((off.max(), chart["places"][int(off.argmax())]))
    return max(found)[1]


@pytest.mark.parametrize("fault", FAULTS)
def test_the_layer_is_found(fault, tmp_path):
    at, make = FAULTS[fault]
    keras.utils.set_random_seed(0)
    model = make(at)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(256, WIDTH)).astype("float32")
    y = (x[:, :4] + 0.1 * rng.normal(size=(256, 4))).argmax(1)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, jit_compile=False)
    babysitter = Babysitter(tmp_path, verbose=0)
    model.fit(x, y, batch_size=32, epochs=3, verbose=0, callbacks=[babysitter])
    document = page.document(babysitter.report, "run")
    name = f"block_{at}"
    first = document["findings"][:1]
    places = [place["where"] for finding in first for place in finding["places"]]
    assert any(name in place.split("/") for place in places) or (
        name in conspicuous(document).split("/")
    ), (first, conspicuous(document))
