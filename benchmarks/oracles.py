"""Oracles against each other on functions whose lowest value is known.

python benchmarks/oracles.py run [--oracle bayesian tpe random] [--seeds 10]
python benchmarks/oracles.py table
python benchmarks/oracles.py time [--trials 500]

Every oracle is asked for 40 trials, one after the other, through KerasTuner's own
`create_trial`, `update_trial` and `end_trial`; no network is trained. Each finished run
is a line in `--out`, and a run that is there already is not made again, so it can be
interrupted and run in pieces. The regret of a run is the lowest value that the function
has, without its noise, at the trials, minus the lowest that it has anywhere; for the
noisy one it is that of the trial with the best noisy score, which is what a user gets.

- `branin`: two linear parameters, three minima, no noise.
- `hartmann6`: six linear parameters, six local minima, no noise.
- `error`: a made-up validation error over the logarithms of a learning rate and an L2
  strength, ten dropout rates, one to five layers and four activations, with a cliff
  where the rate diverges (an error of 0.9, as at chance level with ten classes) and
  noise of 0.005.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import tempfile
import time
import warnings
from pathlib import Path
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras_tuner
import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from keras_babysit.search import OptunaOracle
from keras_babysit.search.oracles import bayesian_oracle, methods
from keras_babysit.search.oracles.gaussian.bayesian_oracle import StagedBayesian
from keras_babysit.search.oracles.gaussian.gaussian_process import GaussianProcess
from keras_babysit.search.oracles.pruners import Stopper
from keras_babysit.search.trials import EpochResult, Objective, Outcome, Trial

OUT = Path("logs/oracles.jsonl")
NOISE = 0.005

_A = np.array(
    [
        [10, 3, 17, 3.5, 1.7, 8],
        [0.05, 10, 17, 0.1, 8, 14],
        [3, 3.5, 1.7, 10, 17, 8],
        [17, 8, 0.05, 10, 0.1, 14],
    ]
)
_P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)


def branin(v):
    x, y = v["x"], v["y"]
    bowl = y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6
    return bowl**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10


def hartmann6(v):
    x = np.array([v[f"x{i}"] for i in range(6)])
    return -float([1.0, 1.2, 3.0, 3.2] @ np.exp(-np.sum(_A * (x - _P) ** 2, axis=1)))


#: What an activation costs at best, and where its best rate is, by that of ReLU.
ACTIVATIONS = {
    "sigmoid": (0.2, 1.0),
    "relu": (0.0, 0.0),
    "tanh": (0.05, 0.5),
    "gelu": (0.01, -0.5),
}


def error(v):
    """Lowest, 0.05: ReLU, 2 layers, rate 1e-3, L2 strength 1e-4 and dropout 0.3."""
    cost, shift = ACTIVATIONS[v["activation"]]
    rate, l2 = math.log10(v["learning_rate"]) - shift, math.log10(v["l2"])
    # More dropout stands a higher rate, and diverges later.
    if rate > -1.5 + 0.5 * v["dropout"]:
        return 0.9
    bowl = (rate + 3 + 0.2 * (l2 + 4)) ** 2 / 8
    bowl += (l2 + 4) ** 2 / 60 + (v["dropout"] - 0.3) ** 2
    bowl += (v["layers"] - 2) ** 2 / 40 + cost
    return 0.05 + 0.85 * (1 - math.exp(-bowl))


def space_of(name):
    hp = keras_tuner.HyperParameters()
    if name == "branin":
        hp.Float("x", -5, 10)
        hp.Float("y", 0, 15)
    elif name == "hartmann6":
        for i in range(6):
            hp.Float(f"x{i}", 0, 1)
    else:
        hp.Float("learning_rate", 1e-6, 1, sampling="log")
        hp.Float("l2", 1e-7, 1, sampling="log")
        hp.Float("dropout", 0, 0.9, step=0.1)
        hp.Int("layers", 1, 5)
        hp.Choice("activation", list(ACTIVATIONS))
    return hp


#: Function, its lowest value, and the standard deviation of the noise.
PROBLEMS = {
    "branin": (branin, 0.39788735772973816, 0.0),
    "hartmann6": (hartmann6, -3.32236801141551, 0.0),
    "error": (error, 0.05, NOISE),
}


def make(oracle, **arguments):
    if oracle == "keras-random":
        return keras_tuner.oracles.RandomSearchOracle(**arguments)
    if oracle == "keras-bayesian":
        return keras_tuner.oracles.BayesianOptimizationOracle(**arguments)
    if oracle in ("bayesian", "scikit-learn"):
        return StagedBayesian(**arguments)
    return OptunaOracle(sampler=oracle, **arguments)


def fit_by_scikit_learn(x, y, groups):
    """As `gaussian_process.fit`, but the parameters are scikit-learn's."""
    mean, deviation = np.mean(y), np.std(y) or 1.0
    kernel = ConstantKernel() * Matern(np.ones(x.shape[1]), (1e-2, 1e2), nu=2.5)
    kernel += WhiteKernel(0.01, (1e-6, 1.0))
    process = GaussianProcessRegressor(kernel, random_state=0, n_restarts_optimizer=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of a parameter at its bound.
        process.fit(x, standard := (y - mean) / deviation)
    both, white = process.kernel_.k1, process.kernel_.k2
    scales, amplitude = 1 / both.k2.length_scale, both.k1.constant_value
    noise = white.noise_level
    return GaussianProcess(
        x * scales, standard, scales, amplitude, noise, mean, deviation
    )


def one_run(name, problem, seed, trials):
    if name != "scikit-learn":
        return searched(name, problem, seed, trials)
    with mock.patch.object(bayesian_oracle, "fit", fit_by_scikit_learn):
        return searched(name, problem, seed, trials)


def searched(name, problem, seed, trials):
    function, lowest, noise = PROBLEMS[problem]
    rng = np.random.default_rng(1000 + seed)
    regrets, seconds, scores = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        oracle = make(
            name,
            objective=keras_tuner.Objective("score", "min"),
            max_trials=trials,
            hyperparameters=space_of(problem),
            # KerasTuner draws with seed, seed + 1, seed + 2, ...: of neighbouring seeds
            # one is the other with a value less. These are far apart.
            seed=1000 * (seed + 1),
        )
        oracle._set_project_dir(folder, "run")
        oracle.verbose = 0
        for _ in range(trials):
            start = time.process_time()
            trial = oracle.create_trial("tuner")
            seconds.append(time.process_time() - start)
            if trial.status != "RUNNING":
                break
            value = function(trial.hyperparameters.values)
            scores.append(value + noise * rng.normal())
            regrets.append(value - lowest)
            oracle.update_trial(trial.trial_id, {"score": scores[-1]})
            trial.status = "COMPLETED"
            oracle.end_trial(trial)
    return {
        "oracle": name,
        "problem": problem,
        "seed": seed,
        "trials": len(scores),
        "regret_half": float(regrets[int(np.argmin(scores[: trials // 2]))]),
        "regret": float(regrets[int(np.argmin(scores))]),
        "seconds": float(np.mean(seconds)),
        "seconds_last": float(np.mean(seconds[-5:])),
    }


def finished(path):
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def run(args):
    args.out.parent.mkdir(parents=True, exist_ok=True)
    # Seeds outside, so that an interrupted run has as many of each.
    for seed in range(args.seeds):
        for problem in args.problem:
            for name in args.oracle:
                key = (name, problem, seed)
                if key in {
                    (r["oracle"], r["problem"], r["seed"]) for r in finished(args.out)
                }:
                    continue
                result = one_run(*key, args.trials)
                with args.out.open("a") as file:
                    file.write(json.dumps(result) + "\n")
                print(result, flush=True)


def table(args):
    runs = finished(args.out)
    print(
        "| function | oracle | seeds | regret at half: median (quartiles) "
        "| at the end: median (quartiles) | ms a suggestion | at the end |"
    )
    print("|---|---|---|---|---|---|---|")
    for problem in PROBLEMS:
        for name in sorted({r["oracle"] for r in runs}):
            these = [r for r in runs if (r["oracle"], r["problem"]) == (name, problem)]
            if not these:
                continue
            cells = [problem, name, str(len(these))]
            for key in ("regret_half", "regret"):
                low, middle, high = np.percentile([r[key] for r in these], [25, 50, 75])
                cells.append(f"{middle:.2g} ({low:.2g}–{high:.2g})")
            cells += [
                f"{1000 * np.median([r[key] for r in these]):.2g}"
                for key in ("seconds", "seconds_last")
            ]
            print("| " + " | ".join(cells) + " |")


def time_one(args):
    """Prints what a suggestion takes after so many trials, and of Optuna itself."""
    rng, space = np.random.default_rng(0), space_of("hartmann6")
    points = [{hp.name: float(rng.random()) for hp in space.space} for _ in range(999)]
    goal = Objective("score", "min")
    for name in ("bayesian", "tpe", "random"):
        asker = methods.asker(name, goal, 999, 1, space, Path(tempfile.mkdtemp()))
        took = []
        for number in range(args.trials + 20):
            values = points[number]
            if number < args.trials:
                asker.add(number, values)
            else:
                start = time.process_time()
                values = asker.ask(number)
                took.append(time.process_time() - start)
            told = Outcome("completed", hartmann6(values), best_epoch=1, epochs=1)
            asker.tell(Trial(number, 0, values, 1, 0, outcome=told))
        print(f"{name}: {1000 * np.median(took):.2f} ms")
    for name, sampler in (
        ("tpe", optuna.samplers.TPESampler(multivariate=True, group=True, seed=1)),
        ("random", optuna.samplers.RandomSampler(seed=1)),
    ):
        study, took = optuna.create_study(sampler=sampler), []
        ranges = {n: FloatDistribution(0, 1) for n in points[0]}
        for values in points[: args.trials]:
            score = hartmann6(values)
            study.add_trial(
                optuna.create_trial(params=values, distributions=ranges, value=score)
            )
        for _ in range(20):
            start = time.process_time()
            values = (trial := study.ask(ranges)).params
            took.append(time.process_time() - start)
            study.tell(trial, hartmann6(values))
        print(f"Optuna's {name}: {1000 * np.median(took):.2f} ms")
    time_pruners(args.trials)


def time_pruners(trials, epochs=100):
    def curve():
        values = rng.random(epochs) + 1 / np.arange(1, epochs + 1)
        return [EpochResult(i, {"score": float(v)}) for i, v in enumerate(values, 1)]

    rng = np.random.default_rng(0)
    ended = Outcome("completed", 0.5, best_epoch=1, epochs=epochs)
    known = [
        (Trial(n, 0, {}, epochs, 0, outcome=ended), curve()) for n in range(trials)
    ]
    for name in ("median", "halving"):
        stopper, took = Stopper(name, Objective("score", "min")), []
        own = [EpochResult(i, {"score": 0.0}) for i in range(1, epochs)]
        trial = Trial(trials, 0, {}, epochs, 0)
        for done in range(1, epochs):
            start = time.process_time()
            stopper.should_stop(trial, own[:done], known)
            took.append(time.process_time() - start)
        print(f"{name}: {1000 * np.median(took):.2f} ms, at first {1000 * took[0]:.0f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["run", "table", "time"])
    parser.add_argument("--oracle", nargs="+", default=["bayesian", "tpe", "random"])
    parser.add_argument("--problem", nargs="+", default=list(PROBLEMS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    {"run": run, "table": table, "time": time_one}[args.command](args)


if __name__ == "__main__":
    main()
