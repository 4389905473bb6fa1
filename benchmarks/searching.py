"""Ways to search, and to stop early, on real data at equal cost.

python benchmarks/searching.py run [methods | stopping | cost] [--seeds 5]
python benchmarks/searching.py table

Scikit-learn's digits, a network with one hidden layer, and a space with the trouble
that real ones have: rates from 1e-5 to 10, of which the large ones diverge and the
small ones get nowhere, and penalties and dropout up to what leaves nothing to learn
with. 400 samples train, 500 validate, 897 test; each seed splits anew. What is compared
is the test error of the trial with the best validation accuracy: what a user gets.

- `methods`: 96 epochs for each of random search, random search from coarse to fine,
  KerasTuner's Bayesian oracle and Optuna's TPE; nothing is stopped.
- `stopping`: random search, 16 trials of 8 epochs: all of them to their end, and
  stopped by diagnosis and pruner. The trials are the same for one seed, but for where
  they end. `table` adds what each pruner alone would have done, had the trials of the
  full searches come in other orders (100 of them).
- `cost`: processor time of a trial, by KerasTuner's `RandomSearch` and by `Search` with
  its defaults and without babysitting, 4 trials of 4 and of 8 epochs that nothing ends.

Each finished run (but of `cost`) is a line in `--out`, and a run that is there already
is not made again, so it can be interrupted and run in pieces. One thread.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import keras
import keras_tuner
import numpy as np
import optuna
from sklearn.datasets import load_digits

from keras_babysit import search
from keras_babysit.search.oracles.pruners import Stopper
from keras_babysit.search.store import Store
from keras_babysit.search.trials import EpochResult, Objective, Outcome, Trial

OUT = Path("logs/searching.jsonl")
ACCURACY = Objective("val_accuracy", "max")

#: 96 epochs each.
METHODS = {
    "random": {"method": "random", "stages": [(24, 4)]},
    "coarse to fine": {"method": "random", "stages": [(24, 1), (8, 4), (4, 10)]},
    "bayesian": {"method": "bayesian", "stages": [(24, 4)]},
    "tpe": {"method": "tpe", "stages": [(24, 4)]},
}
#: 16 trials of 8 epochs each, less what is saved.
STOPPING = {
    "none": {"babysit": False, "pruner": None},
    "diagnosis, median": {"pruner": "median"},
    "diagnosis, halving": {"pruner": "halving"},
}
#: As for the defaults, but that all trials train to their ends.
COST = {
    "KerasTuner": None,
    "Search": {"stop_on_error": False},
    "Search, babysit=False": {"babysit": False},
}


def data(seed):
    """Returns (x, y) to train, to validate and to test with."""
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(x))
    x, y = (x[order] / 16).astype("float32"), y[order]
    return [(x[part], y[part]) for part in np.split(np.arange(len(x)), [400, 900])]


def make_model(hp):
    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(
                hp.Int("units", 8, 256, sampling="log"),
                activation="relu",
                kernel_regularizer=keras.regularizers.L2(search.l2(hp)),
            ),
            keras.layers.Dropout(search.dropout(hp)),
            keras.layers.Dense(10),
        ]
    )
    model.compile(
        keras.optimizers.SGD(search.learning_rate(hp, min_value=1e-5), momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def one_run(experiment, name, seed):
    """Searches once, and returns what came of it."""
    if experiment == "methods":
        settings = {"babysit": False, "pruner": None, **METHODS[name]}
    else:
        settings = {"stages": [(16, 8)], **STOPPING[name]}
    train, validation, test = data(seed)
    with tempfile.TemporaryDirectory() as folder:
        searching = search.Search(
            make_model,
            objective="val_accuracy",
            directory=folder,
            project_name="run",
            seed=seed,
            keep_top=1,
            verbose=0,
            **settings,
        )
        start, cpu = time.perf_counter(), time.process_time()
        searching.search(
            *train, validation_data=validation, batch_size=16, validation_batch_size=500
        )
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        (best,) = searching.best_models(1)
        accuracy = best.evaluate(*test, 897, verbose=0, return_dict=True)["accuracy"]
        store = Store(Path(folder) / "run")
        trials = store.trials()
        curves = {
            t.number: [e.logs["val_accuracy"] for e in store.epochs(t)] for t in trials
        }
    return {
        "experiment": experiment,
        "name": name,
        "seed": seed,
        "validation": ACCURACY.best(t.score for t in trials),
        "test_error": 1 - accuracy,
        "epochs": sum(t.outcome.epochs for t in trials),
        "seconds": seconds,
        "cpu": cpu,
        "statuses": dict(Counter(t.status for t in trials)),
        "reasons": [t.outcome.reason for t in trials if t.outcome.reason],
        "curves": list(curves.values()) if settings["pruner"] is None else [],
    }


def cost(name, epochs, seed, trials=4):
    """Returns the processor seconds of a trial."""
    train, validation, _ = data(seed)
    given = {"batch_size": 16, "validation_batch_size": 500, "epochs": epochs}
    own = {} if name == "KerasTuner" else {"epochs": given.pop("epochs"), "verbose": 0}
    with tempfile.TemporaryDirectory() as folder:
        make = keras_tuner.RandomSearch if name == "KerasTuner" else search.Search
        searching = make(
            make_model,
            objective="val_accuracy",
            max_trials=trials,
            seed=seed,
            directory=folder,
            project_name="run",
            **own,
            **({"pruner": None, **COST[name]} if own else {}),
        )
        start = time.process_time()
        if not own:
            given["verbose"] = 0
        searching.search(*train, validation_data=validation, **given)
        return (time.process_time() - start) / trials


def costs(seeds):
    """Prints what a trial costs, by what it costs in KerasTuner."""
    for name in COST:  # Whatever is done once only.
        cost(name, 1, 99, trials=1)
    print("| epochs | | processor s a trial | by KerasTuner's |")
    print("|---|---|---|---|")
    for epochs in (4, 8):
        found = [{n: cost(n, epochs, seed) for n in COST} for seed in range(seeds)]
        for name in COST:
            ratios = [one[name] / one["KerasTuner"] for one in found]
            seconds = spread([one[name] for one in found], 2)
            print(
                f"| {epochs} | {name} | {seconds} | {spread(ratios, 2)} |", flush=True
            )


def finished(path):
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def run(args):
    args.out.parent.mkdir(parents=True, exist_ok=True)
    if args.experiment == ["cost"]:
        costs(args.seeds)
        return
    # Seeds outside, so that an interrupted run has as many of each.
    keys = [
        (experiment, name, seed)
        for seed in range(args.seeds)
        for experiment in args.experiment
        for name in (METHODS if experiment == "methods" else STOPPING)
    ]
    for key in keys:
        made = {(r["experiment"], r["name"], r["seed"]) for r in finished(args.out)}
        if key in made:
            continue
        result = one_run(*key)
        keras.backend.clear_session()
        with args.out.open("a") as file:
            file.write(json.dumps(result) + "\n")
        print({k: v for k, v in result.items() if k != "curves"}, flush=True)


def replayed(curves, planned, stopper):
    """Goes through recorded trials; returns the best score, and the epochs trained."""
    ended = []
    for number, curve in enumerate(curves):
        trial = Trial(number, 0, {}, planned, seed=0)
        epochs = [EpochResult(i, {ACCURACY.name: v}) for i, v in enumerate(curve, 1)]
        # A loss that became NaN ended some of them.
        status = "completed" if len(curve) == planned else "stopped"
        for i in range(1, len(curve) + 1):
            if stopper.should_stop(trial, epochs[:i], ended):
                status, epochs = "stopped", epochs[:i]
                break
        score = ACCURACY.best(e.logs[ACCURACY.name] for e in epochs)
        ended.append((replace(trial, outcome=Outcome(status, score)), epochs))
    best = ACCURACY.best(trial.score for trial, _ in ended)
    return best, sum(len(epochs) for _, epochs in ended)


def pruners(epochs):
    """The defaults, and what they might have been."""
    of = optuna.pruners
    return {
        "median": "median",
        "median, no warm-up": of.MedianPruner(5, n_warmup_steps=1),
        "median, half to warm up": of.MedianPruner(5, n_warmup_steps=epochs // 2),
        "median of one or more": of.MedianPruner(1, n_warmup_steps=epochs // 4),
        "halving": "halving",
        "halving from the first epoch": of.SuccessiveHalvingPruner(1, 3),
        "hyperband": of.HyperbandPruner(1, epochs, 3),
    }


def table(args):
    runs = finished(args.out)
    print("| | seeds | epochs | validation error of the best | its test error | s |")
    print("|---|---|---|---|---|---|")
    for experiment, names in (("methods", METHODS), ("stopping", STOPPING)):
        for name in names:
            these = [
                r for r in runs if (r["experiment"], r["name"]) == (experiment, name)
            ]
            if not these:
                continue
            errors = [100 * (1 - r["validation"]) for r in these]
            tests = [100 * r["test_error"] for r in these]
            cells = [name, str(len(these)), spread([r["epochs"] for r in these], 0)]
            cells += [spread(errors), spread(tests)]
            cells += [spread([r["cpu"] for r in these], 0)]
            print("| " + " | ".join(cells) + " |")
    full = [r for r in runs if (r["experiment"], r["name"]) == ("stopping", "none")]
    if not full:
        return
    print("\n| pruner | epochs saved | best lost, in points | lost nothing |")
    print("|---|---|---|---|")
    rng = np.random.default_rng(0)
    orders = [
        [r["curves"][i] for i in rng.permutation(len(r["curves"]))]
        for r in full
        for _ in range(100 // len(full))
    ]
    planned = max(map(len, full[0]["curves"]))
    for name, pruner in pruners(planned).items():
        stopper = Stopper(pruner, ACCURACY)
        saved, lost = [], []
        for curves in orders:
            best, epochs = replayed(curves, planned, stopper)
            saved.append(100 * (1 - epochs / sum(map(len, curves))))
            lost.append(100 * (max(map(max, curves)) - best))
        none = f"{100 * np.mean(np.array(lost) < 1e-9):.0f} %"
        cells = [
            name,
            spread(saved, 0),
            f"{np.mean(lost):.2f}, at most {max(lost):.2f}",
        ]
        print("| " + " | ".join([*cells, none]) + " |")


def spread(values, digits=1):
    low, middle, high = np.percentile(values, [0, 50, 100])
    return f"{middle:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["run", "table"])
    parser.add_argument("experiment", nargs="*", default=["methods", "stopping"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    {"run": run, "table": table}[args.command](args)


if __name__ == "__main__":
    main()
