"""A run that Keras distributes over two devices with JAX, watched and not."""

import os
import sys

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"

import keras
import numpy as np

from keras_babysit import Babysitter

D = keras.distribution


def distribution(kind):
    devices = D.list_devices()
    if kind == "data":
        return D.DataParallel(device_mesh=D.DeviceMesh((2,), ["batch"], devices))
    layout = D.LayoutMap(D.DeviceMesh((1, 2), ["batch", "model"], devices))
    layout["dense.*kernel"] = (None, "model")
    return D.ModelParallel(layout_map=layout, batch_dim_name="batch")


def run(kind, callbacks):
    keras.backend.clear_session()
    keras.utils.set_random_seed(1)
    D.set_distribution(distribution(kind))
    x = np.random.default_rng(0).normal(size=(64, 12))
    y = np.random.default_rng(1).integers(0, 5, 64)
    layers = [keras.layers.Dense(16, "relu"), keras.layers.Dropout(0.3)]
    model = keras.Sequential([keras.Input((12,)), *layers, keras.layers.Dense(6)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss)
    history = model.fit(
        x, y, batch_size=16, epochs=3, verbose=0, callbacks=callbacks
    ).history
    D.set_distribution(None)
    return model.get_weights(), history


if __name__ == "__main__":
    _, kind, place = sys.argv
    assert len(D.list_devices()) == 2
    babysitter = Babysitter(place, every=1, verbose=0)
    (plain, history), (watched, again) = run(kind, []), run(kind, [babysitter])
    assert history == again
    for a, b in zip(plain, watched, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not babysitter.observation.unobserved
    record = babysitter.history.last_step
    assert record.layers[0].activation.size == 16 * 16
    assert all(v.gradient.norm > 0 for v in record.variables)
