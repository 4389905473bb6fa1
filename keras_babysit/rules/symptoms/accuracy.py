"""Rules about the accuracy."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from keras_babysit.history import RunHistory
from keras_babysit.rules.evidence.chance import majority, of_classes
from keras_babysit.rules.evidence.phrases import percent
from keras_babysit.rules.evidence.progress import Progress, accuracy_name, progress
from keras_babysit.rules.rule import Sign, rule

_PART_3 = "CS231n, Neural Networks Part 3"


@rule(
    kind="symptom: does not learn",
    severity="warning",
    when=("epoch", "end"),
    since=f"{_PART_3}: Train/val accuracy",
    also=("underfitting",),
)
def accuracy_at_majority(
    history: RunHistory,
    *,
    margin: float = 0.01,
    patience: int = 10,
    patience_at_end: int = 5,
) -> Iterator[Sign]:
    """The accuracy is that of always saying the commonest class.

    What it sees:
        For `patience` epochs and 200 updates (`patience_at_end` epochs and 50 updates
        when the training has ended, or when the loss falls meanwhile) the training
        accuracy was within `margin` of the commonest class's share of the targets. It
        is a warning if the loss agrees, or if it contradicts: half of the way to a
        perfect loss is made. It is information where the commonest class has more than
        70 %: a useful model may look like this for some time.

    Why it matters:
        The model ignores its inputs. If the loss still falls, loss and accuracy do not
        measure the same thing: check the output activation, `from_logits`, and the
        shape of the targets.

    What to do:
        Look at the predictions: are they all the same class?

    When it is wrong:
        With rare classes the accuracy says little: use the AUC.

    References:
        CS231n, Neural Networks Part 3, "Train/Val accuracy".
        He, Garcia, Learning from Imbalanced Data (2009).
    """
    name, share = accuracy_name(history), majority(history)
    if name is None or not share < 1 or history.data is None:
        return
    p = progress(history)
    falls = _loss_skill(p) > 0.5
    early = history.ended or falls
    n = int(max(patience_at_end if early else patience, 2))
    recent = history.values(f"epoch.{name}")[-n:]
    if len(recent) < n or p.updates < (50 if early else 200):
        return
    if not of_classes(history) or not np.abs(recent - share).max() <= margin:
        return
    if falls and share <= 0.7:
        cause = "Likely loss and accuracy do not measure the same thing"
        action = "compare output activation, from_logits and the targets' shape"
    else:
        cause = "Likely the model predicts the same class for every input"
        action = "count the predicted classes"
    yield Sign(
        where=name,
        seen=f"{percent(recent[-1])} for {n} epochs; the commonest class is "
        f"{percent(share)} of the targets",
        cause=cause,
        action=action,
        alternatives=("class_weight in fit", "metrics=['auc']"),
        evidence={"accuracy": recent[-1], "majority": share, "loss_skill": falls},
        severity="info" if share > 0.7 else None,
    )


def _loss_skill(p: Progress) -> float:
    if not len(p.losses) or not p.reference > 0:
        return math.nan
    return 1 - float(p.losses[-1]) / p.reference
