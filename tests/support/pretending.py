"""An executor that trains nothing: the scores of its trials are known."""

import math

import keras
import numpy as np

from keras_babysit import search
from keras_babysit.search.store import CHECKPOINTS, EPOCHS, Store, append_line
from keras_babysit.search.trial.executors import InPlace, Lost
from keras_babysit.search.trials import EpochResult, Outcome

X, Y = np.zeros((8, 2), "float32"), np.zeros((8, 1), "float32")


def tiny():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


def make_model(hp):
    search.learning_rate(hp, min_value=1e-6, max_value=1.0)
    hp.Int("units", 4, 64, sampling="log", default=16)
    return tiny()


def loss(values, epoch, seed=0):
    """Lowest at a rate of 1e-2 and 20 units, and lower with every epoch."""
    away = (math.log10(values.get("learning_rate", 1e-2)) + 2) ** 2 / 16
    away += math.log(values.get("units", 20) / 20) ** 2 / 10
    noise = np.random.default_rng(seed).normal(0, 0.01)
    return 0.1 + away + 0.5 / epoch + noise


class Pretend(InPlace):
    """Ends the trials that are open in an order of its own.

    Args:
        capacity: how many may be open.
        loss: from the values, the epoch and the seed.
        outcome: from a trial and what came of it, what else may have come.
        before: is called with each trial before it is trained.
    """

    def __init__(self, capacity=1, loss=loss, outcome=None, before=None, logs=None):
        self.capacity, self.loss = capacity, loss
        self.outcome, self.before = outcome, before
        self.logs = logs or (lambda value: {"loss": value, "val_loss": value})
        self.trained, self.most_open, self.spaces = [], 0, {}

    def open(self, work, on_epoch):
        self.work, self.on_epoch = work, on_epoch
        self.store, self.waiting = Store(work.directory), []

    def submit(self, trial, space):
        assert len(self.waiting) < self.capacity
        self.waiting.append(trial)
        self.spaces[trial.stage] = space
        self.most_open = max(self.most_open, len(self.waiting))

    def wait(self):
        # The last one first, to be a nuisance.
        trial = self.waiting.pop()
        self.trained.append(trial)
        if self.before:
            self.before(trial)
        outcome = self.run(trial)
        if self.outcome:
            outcome = self.outcome(trial, outcome) or outcome
        return [(trial.number, outcome)]

    def run(self, trial):
        folder = self.store.folder(trial)
        (folder / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
        scores = []
        for epoch in range(1, trial.epochs + 1):
            scores.append(self.loss(trial.values, epoch, trial.seed))
            result = EpochResult(epoch, self.logs(scores[-1]), 0.01)
            append_line(folder / EPOCHS, result)
            reason = self.on_epoch(trial, result)
            if reason:
                break
        (folder / CHECKPOINTS / "best.keras").write_text("")
        return Outcome(
            "stopped" if reason else "completed",
            score=min(scores),
            best_epoch=1 + scores.index(min(scores)),
            epochs=len(scores),
            reason=reason,
            metrics={"val_loss": min(scores)},
            checkpoint="best.keras",
        )

    def close(self):
        self.waiting = []


def lost(reason="was killed"):
    return Lost(reason)
