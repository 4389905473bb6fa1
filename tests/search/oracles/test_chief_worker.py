"""KerasTuner's own chief and workers, with `OptunaOracle`."""

import json
import socket

import keras_tuner
import pytest
from support import fresh

from keras_babysit import search

PROGRAM = """
import sys
import time

import keras
import keras_tuner
import numpy as np
from keras_tuner.src.distribute import oracle_chief

from keras_babysit import search


class Clock:
    # The chief looks only every 20 s whether the last worker has ended.
    sleep = staticmethod(lambda seconds: time.sleep(min(seconds, 0.3)))


oracle_chief.time = Clock


def make_model(hp):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    rate = search.learning_rate(hp, min_value=1e-4, max_value=1e-1)
    if hp.Boolean("momentum"):
        with hp.conditional_scope("momentum", True):
            momentum = search.momentum(hp, name="how_much")
    else:
        momentum = 0.0
    model.compile(keras.optimizers.SGD(rate, momentum), "mse")
    time.sleep(0.3)  # Both workers are to get some.
    return model


x = np.random.default_rng(0).normal(size=(64, 3)).astype("float32")
y = x.sum(1, keepdims=True)
oracle = search.OptunaOracle("val_loss", max_trials=6, seed=1)
tuner = keras_tuner.Tuner(
    oracle, make_model, directory=sys.argv[1], project_name="chief"
)
tuner.search(x, y, validation_data=(x, y), epochs=1, verbose=0)
print("done", len(tuner.oracle.get_best_trials(6)))
"""


@pytest.mark.slow
def test_a_chief_and_two_workers(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = {}
    for name in ("chief", "tuner0", "tuner1"):
        processes[name] = fresh.start(
            PROGRAM,
            tmp_path,
            env={
                "KERASTUNER_TUNER_ID": name,
                "KERASTUNER_ORACLE_IP": "127.0.0.1",
                "KERASTUNER_ORACLE_PORT": str(port),
                "CUDA_VISIBLE_DEVICES": "",
            },
        )
    try:
        codes = {name: process.wait() for name, process in processes.items()}
    finally:
        for process in processes.values():
            process.kill()
    said = {name: process.said() for name, process in processes.items()}
    assert codes == dict.fromkeys(processes, 0), said
    project = tmp_path / "chief"
    trials = [json.loads(p.read_text()) for p in project.glob("trial_*/trial.json")]
    assert [trial["status"] for trial in trials] == ["COMPLETED"] * 6
    rates = {t["hyperparameters"]["values"]["learning_rate"] for t in trials}
    assert len(rates) == 6
    assert all(1e-4 <= rate <= 1e-1 for rate in rates)
    # What it has left can be gone on with, by one process and without a chief.
    again = search.OptunaOracle("val_loss", max_trials=6, seed=1)
    tuner = keras_tuner.Tuner(
        again, lambda hp: None, directory=str(tmp_path), project_name="chief"
    )
    assert tuner.oracle.ongoing_trials == {}
    best = tuner.oracle.get_best_trials(6)
    assert [t.score for t in best] == sorted(t["score"] for t in trials)
