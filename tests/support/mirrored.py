"""A run on two devices of a processor, watched and not: a program of its own.

TensorFlow numbers what devices tell each other in a process; strategies of other tests
would count too.
"""

import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import keras
import numpy as np
import tensorflow as tf

import keras_babysit
from support import models

# Devices wait for each other: with fewer threads than devices for good.
tf.config.threading.set_inter_op_parallelism_threads(4)
_CPU = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(
    _CPU, [tf.config.LogicalDeviceConfiguration() for _ in range(2)]
)


def run(strategy, callbacks):
    keras.backend.clear_session()
    keras.utils.set_random_seed(7)
    with strategy.scope():
        model, (x, y) = models.cnn()
        models.compile_model(model, jit_compile=False)
    history = model.fit(x, y, batch_size=16, epochs=2, verbose=0, callbacks=callbacks)
    return models.state(model), history.history


if __name__ == "__main__":
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    expected, expected_history = run(strategy, [])
    warnings.filterwarnings("error", message=".*stopped watching.*")
    warnings.filterwarnings("error", message=".*cannot be observed.*")
    callback = keras_babysit.Babysitter(sys.argv[1], every=2)
    found, history = run(strategy, [callback])
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)
    assert history == expected_history
    record = callback.history.last_step
    assert record.variables[0].gradient.norm > 0
    # The last batch has 8 images, 4 on each device.
    conv = record.layers[0].activation
    assert conv.size in (8 * 6 * 6 * 6, 16 * 6 * 6 * 6)
