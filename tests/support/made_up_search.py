"""A made-up search of three stages, with all that can happen in one: no training."""

import json
import math

import numpy as np

from keras_babysit.search.store import EVENTS, Store, append_line
from keras_babysit.search.trials import (
    EpochResult,
    Objective,
    Outcome,
    Trial,
    plain,
    to_json,
)

LOSS, ACCURACY = Objective("val_loss", "min"), Objective("val_accuracy", "max")
OUT_OF_MEMORY = "ResourceExhaustedError: OOM when allocating (model.py, line 12)"


def hp(kind, name, **config):
    conditions = config.pop("conditions", [])
    config = {"name": name, "conditions": conditions, **config}
    return {"class_name": kind, "config": config}


def number(kind, name, low, high, sampling="linear", step=None, **more):
    values = {"min_value": low, "max_value": high, "sampling": sampling, "step": step}
    return hp(kind, name, **values, **more)


IF_SGD = {"class_name": "Parent", "config": {"name": "optimizer", "values": ["sgd"]}}
SPACE = {
    "space": [
        number("Float", "learning_rate", 1e-6, 10.0, "log"),
        number("Float", "dropout", 0.0, 0.9),
        number("Int", "units", 16, 512, "log"),
        number("Int", "layers", 1, 4, step=1),
        hp("Choice", "optimizer", values=["adam", "sgd"], ordered=False),
        hp(
            "Choice",
            "momentum",
            values=[0.5, 0.9, 0.99],
            ordered=True,
            conditions=[IF_SGD],
        ),
        hp("Boolean", "batch_norm"),
        hp("Fixed", "task", value="digits"),
    ],
    "values": {},
}
STAGES = ((24, 2), (8, 4), (4, 8))
BORDER = {
    "rule": "best-at-border",
    "severity": "warning",
    "where": "learning_rate",
    "step": 0,
    "epoch": 0.0,
    "since_step": 0,
    "since_epoch": 0.0,
    "seen": "4 of the best 5 trials are at the lower end",
    "cause": "Better values likely lie below 1e-4",
    "action": 'try hp.Float("learning_rate", 1.8e-05, 0.1, sampling="log")',
}


def trial(index, score=None, status="completed", **more):
    """A trial that has ended, or runs if its status says so."""
    fields = {"stage": 0, "values": {}, "epochs": 2, "seed": index}
    names = set(Trial.__dataclass_fields__)
    fields |= {k: v for k, v in more.items() if k in names}
    outcome = {k: v for k, v in more.items() if k not in names}
    if status == "running":
        return Trial(index, **fields)
    outcome = {"epochs": fields["epochs"], "seconds": 1.0, **outcome}
    return Trial(index, **fields, outcome=Outcome(status, score, **outcome))


def values(rng, low, high):
    found = {
        "learning_rate": float(10 ** rng.uniform(low, high)),
        "dropout": float(rng.uniform(0, 0.9)),
        "units": int(np.exp(rng.uniform(np.log(16), np.log(512)))),
        "layers": int(rng.integers(1, 5)),
        "optimizer": str(rng.choice(["adam", "sgd"])),
        "batch_norm": bool(rng.integers(2)),
        "task": "digits",
    }
    if found["optimizer"] == "sgd":
        found["momentum"] = float(rng.choice([0.5, 0.9, 0.99]))
    return found


def curve(rng, tried, epochs):
    """Epochs whose loss depends on the rate, and is NaN above 0.5."""
    rate = math.log10(tried["learning_rate"])
    lowest = 0.1 + 0.05 * (rate + 2.7) ** 2 + 0.05 * (tried["dropout"] - 0.3) ** 2
    for epoch in range(1, epochs + 1):
        loss = lowest + math.exp(-epoch / 3) + 0.01 * rng.normal()
        loss = math.nan if rate > -0.3 else loss
        logs = {"loss": 0.9 * loss, "val_loss": loss, "val_accuracy": 1 - loss / 3}
        yield EpochResult(epoch, logs, 0.5)


def ended(index, stage, tried, epochs, results, **more):
    """The trial that these epochs are of, with its outcome."""
    losses = [r.logs["val_loss"] for r in results]
    finite = [v for v in losses if not math.isnan(v)]
    at = losses.index(min(finite)) if finite else None
    status, reason = "completed", ""
    if not results:
        status, reason = "failed", OUT_OF_MEMORY
    elif not finite:
        status, reason = "stopped", f"loss-not-finite: NaN since step {index}"
    outcome = Outcome(
        status,
        None if at is None else losses[at],
        None if at is None else at + 1,
        len(results),
        reason,
        {} if at is None else dict(results[at].logs),
        parameters=650 * tried["layers"] if results else None,
        seconds=1.0 + len(results),
    )
    return Trial(index, stage, tried, epochs, 100 + index, **more, outcome=outcome)


def made_up(seed=0, finished=True):
    """Returns settings, events, trials, and the epochs of each trial by its number."""
    rng = np.random.default_rng(seed)
    trials, events, curves = [], [], {}

    def add(one, results):
        trials.append(one)
        curves[one.number] = results
        start = {k: v for k, v in plain(one).items() if k != "outcome"}
        time = 1.7e9 + 10 * one.number
        events.append({"event": "started", "time": time, **start})
        outcome = plain(one.outcome)
        events.append(
            {
                "event": "ended",
                "time": time + 9,
                "number": one.number,
                "outcome": outcome,
            }
        )

    for stage, (count, epochs) in enumerate(STAGES):
        low, high = [(-6, 1), (-4, -1), (-3.5, -2)][stage]
        told = {"stage": stage, "trials": count, "epochs": epochs, "method": "random"}
        space = {"space": [number("Float", "learning_rate", 10.0**low, 10.0**high)]}
        space["space"][0]["config"]["sampling"] = "log"
        found = {"space": space, "promoted": [], "findings": []}
        time = 1.7e9 + 10 * len(trials)
        events.append({"event": "stage", "time": time, **told, **found})
        scored = [t for t in trials if t.score is not None]
        best = sorted(scored, key=lambda t: t.score)[: 2 if stage else 0]
        for index in range(count):
            taken = best[index] if index < len(best) else None
            tried = dict(taken.values) if taken else values(rng, low, high)
            more = {"origin": "promoted", "source": taken.number} if taken else {}
            results = list(curve(rng, tried, epochs))
            if math.isnan(results[0].logs["val_loss"]):
                results = results[:1]
            if len(trials) in (5, 11):
                results = []
            add(ended(len(trials), stage, tried, epochs, results, **more), results)
    last = [t for t in trials if t.stage == 2 and t.score is not None]
    for one in sorted(last, key=lambda t: t.score)[:2]:
        for _ in range(3):
            results = list(curve(rng, one.values, 8))
            more = {"origin": "repeat", "source": one.number}
            add(ended(len(trials), 2, one.values, 8, results, **more), results)
    if finished:
        end = {"findings": [BORDER], "verdict": ""}
        events.append({"event": "finished", "time": 1.7e9 + 1000, **end})
    settings = {
        "version": 1,
        "objective": {"name": "val_loss", "direction": "min"},
        "seed": seed,
        "stages": [{"trials": t, "epochs": e, "method": "random"} for t, e in STAGES],
        "method": "random",
        "folds": None,
        "repeat_top": 2,
        "repeats": 3,
        "space": SPACE,
        "project_name": "mlp",
    }
    return settings, events, trials, curves


def stored(directory, seed=0, events=None):
    """Writes such a search to a folder; the events can be others."""
    settings, all_events, _, curves = made_up(seed)
    store = Store(directory)
    store.begin(settings)
    write_events(store, all_events if events is None else events)
    for index, results in curves.items():
        store.folder(index).mkdir(parents=True, exist_ok=True)
        for result in results:
            append_line(store.folder(index) / "epochs.jsonl", result)
    return store


def write_events(store, events):
    lines = "".join(json.dumps(to_json(event)) + "\n" for event in events)
    (store.directory / EVENTS).write_text(lines)
