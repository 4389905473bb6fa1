"""A search of three small trials, for this process, another one, and workers."""

import resource
import sys

import keras
import numpy as np

from keras_babysit.search import dropout, learning_rate
from keras_babysit.search.ray.executor import RayExecutor
from keras_babysit.search.search import Search
from keras_babysit.search.trial.runner import run_trial

TRIALS, EPOCHS = 3, 12


def make_model(hp):
    model = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(hp.Int("units", 4, 16), activation="relu"),
            keras.layers.Dropout(dropout(hp)),
            keras.layers.Dense(1),
        ]
    )
    rate = learning_rate(hp, min_value=1e-4, max_value=1e-1)
    model.compile(keras.optimizers.Adam(rate), "mse", jit_compile=False)
    return model


def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1200, 6)).astype("float32")
    y = x[:, :1] * x[:, 1:2] + 0.1 * rng.normal(size=(1200, 1)).astype("float32")
    return {"x": x[:800], "y": y[:800], "validation_data": (x[800:], y[800:])}


def search(directory, **options):
    """Returns the search, and runs it."""
    made = Search(
        make_model,
        "val_loss",
        TRIALS,
        EPOCHS,
        directory=directory,
        project_name="tiny",
        seed=3,
        pruner=None,
        babysit=False,
        verbose=0,
        **options,
    )
    return made, made.search(**data(), batch_size=8)


def run_without_disk(work, trial, space, report):
    """Runs a trial; the system lets trial 1 write nothing into any file."""
    if trial.number == 1:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    return run_trial(work, trial, space, report)


if __name__ == "__main__":
    search(sys.argv[1], executor=RayExecutor(workers=2, address="local"))
