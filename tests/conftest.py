import gc
import os
import re

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Texts are as wide as where there is no terminal; xdist hands on the width of its own.
os.environ.pop("COLUMNS", None)

import hypothesis
import keras
import numpy as np
import pytest

from keras_babysit.backend import load

BACKEND = keras.backend.backend()
if BACKEND == "tensorflow":
    from support import on_tensorflow

gradients_forgotten = load("memory").gradients_forgotten

# What fails, fails each time and everywhere; `make fuzz` tries other examples.
hypothesis.settings.register_profile("suite", derandomize=True, deadline=None)
hypothesis.settings.register_profile("fuzz", deadline=None, print_blob=True)
hypothesis.settings.load_profile("suite")


#: Modules that need TensorFlow.
OF_TENSORFLOW = re.compile(r"^(import tensorflow|from tensorflow)", re.MULTILINE)


def pytest_ignore_collect(collection_path):
    """With another backend, what needs TensorFlow is left out."""
    if BACKEND != "tensorflow" and collection_path.suffix == ".py":
        return bool(OF_TENSORFLOW.search(collection_path.read_text())) or None
    return None


def pytest_collection_modifyitems(config, items):
    """Likewise single tests."""
    if BACKEND == "tensorflow":
        return
    left_out = [item for item in items if item.get_closest_marker("tensorflow")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


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
    if BACKEND != "tensorflow":
        yield
        return
    on_tensorflow.optimize_graphs(optimize=True)
    yield
    on_tensorflow.optimize_graphs(optimize=False)


@pytest.fixture
def rng():
    return np.random.default_rng(0)
