"""A network of sixty layers, one of them faulty: the page's document says which."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_babysit import Babysitter
from keras_babysit.report import page

pytestmark = pytest.mark.slow

DEPTH, WIDTH = 60, 16
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def network(at=None, activation=None):
    """A residual network, of which one block may have another activation."""
    x = inputs = keras.Input((WIDTH,))
    for i in range(DEPTH):
        kind = activation if i == at else ("relu", "tanh")[i % 2]
        start = keras.initializers.VarianceScaling(0.05)
        block = layers.Dense(WIDTH, kind, kernel_initializer=start, name=f"block_{i}")
        x = layers.Add()([x, block(x)])
    model = keras.Model(inputs, layers.Dense(4)(x))
    model.compile("adam", LOSS, jit_compile=False)
    return model


@pytest.fixture(scope="module")
def sound():
    """One network for all faults of weights: it is built once."""
    keras.utils.set_random_seed(0)
    model = network()
    return model, model.get_weights()


def cut_off(y):
    return keras.ops.stop_gradient(keras.ops.relu(y))


#: The faulty block, and what its kernel is multiplied by and its bias set to.
PLANTED = {
    "dead": (6, 1.0, -50.0),
    "far too large": (12, 300.0, 0.0),
    "far too small": (18, 1e-4, 0.0),
    "zeros": (24, 0.0, 0.0),
    "not a number": (30, np.nan, 0.0),
    "saturated": (37, 1.0, 30.0),
    "infinite": (43, 1.0, np.inf),
    "too large": (48, 30.0, 0.0),
}


def conspicuous(document):
    """The row of each map that lies furthest from the others: of layers and kernels."""
    found = []
    kernels = [path for layer in document["layers"] for path in layer["kernels"]]
    for quantity, chart in document["maps"].items():
        shown = [i for i, p in enumerate(chart["places"]) if p in kernels]
        shown = shown or list(range(len(chart["places"])))
        rows = np.array([chart["values"][i] for i in shown], float)
        if "fraction" not in quantity:
            rows = np.log10(np.maximum(rows, 1e-12))
        typical = np.median(np.where(np.isfinite(rows), rows, 12.0), axis=1)
        off = np.abs(typical - np.median(typical))
        # A row that is hardly off is not conspicuous.
        if off.max() > 10 * np.median(off) + 0.1:
            found.append(chart["places"][shown[int(off.argmax())]])
    return found


def check(model, at, log_dir):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(256, WIDTH)).astype("float32")
    y = (x[:, :4] + 0.1 * rng.normal(size=(256, 4))).argmax(1)
    babysitter = Babysitter(log_dir, verbose=0)
    model.fit(x, y, batch_size=32, epochs=2, verbose=0, callbacks=[babysitter])
    document = page.document(babysitter.report, "run")
    name = f"block_{at}"
    first = [f for f in document["findings"] if f["tone"] != "info"][:1]
    places = [place["where"] for finding in first for place in finding["places"]]
    seen = places or conspicuous(document)
    assert any(name in place.split("/") for place in seen), (first, seen)


@pytest.mark.parametrize("fault", PLANTED)
def test_a_layer_with_odd_weights_is_found(fault, sound, tmp_path):
    model, weights = sound
    at, factor, bias = PLANTED[fault]
    model.set_weights(weights)
    for variable in model.optimizer.variables:
        variable.assign(keras.ops.zeros_like(variable))
    model.optimizer.learning_rate = 1e-3
    block = model.get_layer(f"block_{at}")
    block.kernel.assign(block.kernel * factor)
    block.bias.assign(keras.ops.full_like(block.bias, bias))
    check(model, at, tmp_path)


def test_a_layer_that_gets_no_gradient_is_found(tmp_path):
    check(network(53, cut_off), 53, tmp_path)


def test_a_frozen_layer_is_found(tmp_path):
    model = network()
    model.get_layer("block_58").trainable = False
    model.compile("adam", LOSS, jit_compile=False)
    check(model, 58, tmp_path)
