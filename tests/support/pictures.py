"""What the rules read, from small Keras models and arrays. Nothing is trained."""

import numpy as np

from keras_babysit.facts import ArrayFacts, DataFacts
from keras_babysit.history import RunHistory
from keras_babysit.inspection.model import model_facts
from keras_babysit.rules import available
from keras_babysit.rules.judge import Judge

MODULES = ("keras_babysit.rules.model", "keras_babysit.rules.outputs")


def own_rules():
    return [r for r in available().values() if r.function.__module__ in MODULES]


def array_facts(array, name="y"):
    array = np.asarray(array)
    shape = array.shape[1:]
    values, counts = np.unique(array, return_counts=True)
    rows = array.reshape(-1, array.shape[-1]) if shape else array[:, None]
    bits = set(values.tolist()) <= {0, 1}
    wide = rows.shape[1] > 1
    one_hot = wide and bits and bool((rows.sum(1) == 1).all())
    if one_hot:
        values, counts = np.arange(rows.shape[1]), rows.sum(0).astype(int)
    few = len(values) <= 1000
    total = rows.astype(float).sum(1)
    return ArrayFacts(
        name=name,
        shape=shape,
        dtype=str(array.dtype),
        seen=len(array),
        min=float(array.min()),
        max=float(array.max()),
        mean=float(array.mean()),
        std=float(array.std()),
        whole=bool((array == np.round(array)).all()),
        features=rows.shape[1],
        counts=dict(zip(values.tolist(), counts.tolist(), strict=True)) if few else {},
        one_hot=one_hot,
        multi_hot=wide and bits and not one_hot,
        distribution=bool((rows >= 0).all() and np.allclose(total, 1, atol=1e-3)),
    )


def history_of(model, x=None, y=None, batch_size=32, **kwargs):
    history = RunHistory()
    history.model = model_facts(model, **kwargs)
    if y is not None:
        inputs = () if x is None else (array_facts(x, "x"),)
        named = isinstance(y, dict)
        targets = (
            tuple(array_facts(v, f"y['{k}']") for k, v in y.items())
            if named
            else (array_facts(y),)
        )
        rows = len(next(iter(y.values())) if named else y)
        history.data = DataFacts(inputs, targets, rows, batch_size, "arrays")
    return history


def findings(model, x=None, y=None, **kwargs):
    """Findings that are told: those that no other one explains."""
    judge = Judge(own_rules())
    return judge.judge(history_of(model, x, y, **kwargs), "start")


def told(model, x=None, y=None, **kwargs):
    """Rule to severity of what is told."""
    return {f.rule: f.severity for f in findings(model, x, y, **kwargs)}
