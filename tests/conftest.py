import gc
import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pytest
import tensorflow as tf

# Two devices for the tests of distribution; it has to come before any other use.
_CPU = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(
    _CPU, [tf.config.LogicalDeviceConfiguration() for _ in range(2)]
)


@pytest.fixture(autouse=True)
def _fresh_keras():
    yield
    # Without collecting garbage: with TensorFlow loaded that takes 0.2 s each time, and
    # once in a while it waits for a minute for old graphs to go. They may stay.
    keras.backend.clear_session(free_memory=False)
    keras.config.set_dtype_policy("float32")
    gc.freeze()


@pytest.fixture
def rng():
    return np.random.default_rng(0)
