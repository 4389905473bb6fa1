"""Rules about what a model can represent."""

from __future__ import annotations

from collections.abc import Iterator

from keras_babysit.facts import ModelFacts
from keras_babysit.history import RunHistory
from keras_babysit.rules.evidence.graph import LINEAR, WEIGHING, family, kernel
from keras_babysit.rules.evidence.phrases import number
from keras_babysit.rules.evidence.progress import accuracy_name, progress
from keras_babysit.rules.rule import Sign, rule


@rule(
    kind="limit",
    severity="warning",
    when=("epoch", "end"),
    since="Minsky and Papert, Perceptrons (1969)",
    also=(
        "learning-rate-too-high",
        "learning-rate-too-low",
        "loss-oscillating",
        "update-ratio-too-high",
    ),
)
def linear_model(
    history: RunHistory, *, margin: float = 0.1, limit: float = 0.7, patience: int = 5
) -> Iterator[Sign]:
    """The model is linear, and the problem is not.

    What it sees:
        A single layer with weights, and a skill below `limit` after `patience` epochs;
        while in up to 1,000 of the samples the nearest neighbours predict the targets
        better than a linear fit by least squares does, by more than `margin`, and the
        model is no better than that fit.

    Why it matters:
        No learning rate and no number of epochs can make a linear model bend.

    What to do:
        Add a hidden layer with ReLU.

    When it is wrong:
        The features suit a linear model, and least squares weighs them badly.

    References:
        Minsky, Papert, Perceptrons (1969).
        Goodfellow et al., Deep Learning, 6.1: XOR.
    """
    model, data = history.model, history.data
    if model is None or data is None or not _is_linear(model):
        return
    found, p = data.dependence, progress(history)
    if p.epochs < patience or not p.judged or not p.skill < limit:
        return
    reached = _reached(history, p.skill)
    if not found.neighbours > max(found.linear, reached) + margin:
        return
    what = "accuracy" if accuracy_name(history) else "explained variance"
    yield Sign(
        where="",
        seen=f"{what} {number(reached)}; a linear fit has {number(found.linear)}, the "
        f"nearest neighbours {number(found.neighbours)}",
        cause="The model is linear, and the problem is not",
        action='put a hidden layer before the output: `Dense(32, activation="relu")`',
        alternatives=("features that make it linear: products, squares",),
        evidence={"linear": found.linear, "neighbours": found.neighbours},
        since=(0.0, 0.0),
    )


def _is_linear(model: ModelFacts) -> bool:
    weighing = [x for x in model.layers if kernel(x) is not None]
    if any(family(x) not in WEIGHING for x in weighing):
        return False
    families = {family(x) for x in model.layers if x not in weighing}
    return model.graph_known and len(weighing) == 1 and families <= LINEAR


def _reached(history: RunHistory, skill: float) -> float:
    name = accuracy_name(history)
    values = history.values(f"epoch.{name}")[-3:] if name else ()
    return float(max(values)) if len(values) else skill
