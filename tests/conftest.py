import gc
import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Texts are as wide as where there is no terminal; xdist hands on the width of its own.
os.environ.pop("COLUMNS", None)

import hypothesis
import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_babysit.backend.tensorflow.memory import gradients_forgotten

# What fails, fails each time and everywhere; `make fuzz` tries other examples.
hypothesis.settings.register_profile("suite", derandomize=True, deadline=None)
hypothesis.settings.register_profile("fuzz", deadline=None, print_blob=True)
hypothesis.settings.load_profile("suite")

# Two devices for the tests of distribution; it has to come before any other use.
_CPU = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(
    _CPU, [tf.config.LogicalDeviceConfiguration() for _ in range(2)]
)


def _without_autotune(dataset):
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


# Each iterator over data has a thread that tunes it, and waits for it when it is freed:
# under load for up to a minute and a half, with the GIL held (TensorFlow 2.21). Tests
# have none. This is the one place through which all datasets go on their way.
tf.data.Dataset._apply_debug_options = _without_autotune
# A fifth of the time of most tests went into making graphs fast that run ten times.
# What is exact to the last bit has to be so with it: see `optimized_graphs`.
GRAPHS = {"disable_meta_optimizer": True}
tf.config.optimizer.set_experimental_options(GRAPHS)


@pytest.fixture(scope="session", autouse=True)
def _modules_stay():
    """What is imported is no garbage; to look at it takes 0.3 s each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def _models_go():
    """Frees the models of a module; else a process grows by 20 MB with each of them."""
    with gradients_forgotten():
        yield
    gc.collect()


@pytest.fixture(autouse=True)
def _fresh_keras():
    with gradients_forgotten():
        yield
    keras.backend.clear_session(free_memory=False)  # The cycles go with the module.
    keras.config.set_dtype_policy("float32")


@pytest.fixture(scope="module")
def optimized_graphs():
    """TensorFlow optimizes graphs before it runs them, as it does for users."""
    tf.config.optimizer.set_experimental_options(dict.fromkeys(GRAPHS, False))
    yield
    tf.config.optimizer.set_experimental_options(GRAPHS)


@pytest.fixture
def rng():
    return np.random.default_rng(0)
