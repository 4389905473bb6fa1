"""Rules about what the outputs say: the same for all inputs, never some class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from keras_babysit.history import RunHistory
from keras_babysit.records import LossInputs
from keras_babysit.rules.evidence.losses import calls, outputs, targets, units
from keras_babysit.rules.evidence.phrases import names, number, percent
from keras_babysit.rules.evidence.progress import progress
from keras_babysit.rules.rule import Sign, rule


@rule(
    kind="cause in the settings",
    severity="warning",
    when="end",
    since="Bowman et al. (2016): a code that the decoder has learned to ignore",
)
def added_loss_too_heavy(
    history: RunHistory, *, limit: float = 0.1, least: int = 8, elements: int = 8
) -> Iterator[Sign]:
    """An added loss outweighs the other: outputs are the same for all inputs.

    What it sees:
        What `outputs-alike` sees (outputs that differ less than `limit` of what the
        targets do, over `least` observed steps, for targets of `elements` numbers or
        more), in a model with one output and a loss that was added with `add_loss`,
        penalties of regularizers aside.

    Why it matters:
        In a variational autoencoder that is the collapse of its code: the divergence
        outweighs the reconstruction, and the model puts out the mean of the targets.
        Units that die meanwhile are a consequence.

    What to do:
        Give the added loss less weight: sum the reconstruction over the elements where
        the divergence is summed, or average both.

    When it is wrong:
        The inputs say nothing about the targets.

    References:
        Bowman et al., Generating Sentences from a Continuous Space (2016).
        Higgins et al., beta-VAE (2017): the weight of the divergence.
    """
    for call, ratio, before in _alike(history, limit, int(least), elements):
        added, size = _added(history, call.path), _elements(call)
        if not added:
            continue
        yield Sign(
            where=call.layer,
            seen=_differ(ratio, before),
            cause=f"Likely the added loss, {number(added)} at first, outweighs "
            f"{call.loss}, so the code carries nothing of the inputs",
            action=f"give the added loss less weight: multiply it by 1/{size}, as "
            f"{call.loss} is a mean over {size} elements",
            alternatives=("raise the weight from 0 over the first epochs",),
            evidence={"ratio": ratio, "before": before, "added": added},
        )


@rule(
    kind="symptom: does not learn",
    severity="warning",
    when="end",
    since="Bowman et al. (2016): a code that the decoder has learned to ignore",
    also=("loss-flat", "underfitting"),
)
def outputs_alike(
    history: RunHistory, *, limit: float = 0.1, least: int = 8, elements: int = 8
) -> Iterator[Sign]:
    """Outputs are nearly the same for all inputs, though the targets differ.

    What it sees:
        At the end of a training long enough to judge, in the last `least` fully
        observed steps: outputs differ between samples less than the share `limit` of
        what the targets do, and less than half as much as at some time before. Twice
        that share will do, at any time, where the targets can only be made of the
        inputs: a twentieth of their variance is explained then at most. Only for
        targets of `elements` numbers or more, as of an autoencoder: a single number
        with much noise looks the same. Classes have rules of their own, and so has a
        loss that was added.

    Why it matters:
        The model puts out the mean of the targets for every input.

    What to do:
        Find the first layer whose outputs are the same for all inputs. In a variational
        autoencoder with a custom training step, weigh the divergence less.

    When it is wrong:
        The inputs say nothing about the targets.

    References:
        Bowman et al., Generating Sentences from a Continuous Space (2016).
    """
    for call, ratio, before in _alike(history, limit, int(least), elements):
        if _added(history, call.path):
            continue
        own = history.model is not None and history.model.custom_train_step
        yield Sign(
            where=call.layer,
            seen=_differ(ratio, before),
            cause="Likely no information from the inputs reaches the outputs",
            action="look for the first layer whose outputs are the same for all inputs",
            alternatives=(
                "give other terms of the loss less weight, such as a divergence",
            )
            if own
            else (),
            evidence={"ratio": ratio, "before": before, "added": 0.0},
        )


def _alike(
    history: RunHistory, limit: float, least: int, elements: int
) -> Iterator[tuple[LossInputs, float, float]]:
    """Yields losses whose outputs are alike: latest call, ratio, largest ratio."""
    if not progress(history).judged:
        return
    for known in calls(history, least):
        ratios, rebuilt = _ratios(known[-least:]), _are_rebuilt(history)
        before = _largest_ratio(history, known[-1].path)
        bar = 2 * limit if rebuilt else limit
        if _elements(known[-1]) < elements or not len(ratios) or max(ratios) >= bar:
            continue
        if before > 2 * max(ratios) or rebuilt:
            yield known[-1], ratios[-1], before


def _are_rebuilt(history: RunHistory) -> bool:
    """Whether targets can only be made of the inputs: there are no others."""
    data = history.data
    return data is not None and bool(data.inputs) and not data.targets


def _differ(ratio: float, before: float) -> str:
    return (
        f"outputs differ between samples by {percent(ratio)} of what the targets do "
        f"(at most {percent(before)} in the training)"
    )


def _elements(call: LossInputs) -> int:
    """Numbers in the targets of a sample."""
    tensor = call.targets
    if tensor is None or not tensor.samples:
        return 0
    return round(tensor.size / tensor.samples)


def _ratios(known: Sequence[LossInputs]) -> list[float]:
    """How much outputs differ between samples, as a share of what targets do."""
    wanted, found = targets(known), outputs(known)
    if len(wanted) < len(found) or _are_classes(known[-1]):
        return []
    pairs = list(zip(wanted, found, strict=True))
    if any(t.size != x.size for t, x in pairs):
        return []
    return [x.spread / t.spread for t, x in pairs if t.spread > 0]


def _are_classes(call: LossInputs) -> bool:
    """Whether targets are classes or labels of which few are one."""
    t = call.targets
    if t is None or (units(t) != 1 and t.unit_sums[0] > 0.99):
        return True
    return t.whole == 1 and t.positive < 0.1


def _largest_ratio(history: RunHistory, path: str) -> float:
    """The largest such share in the whole training."""
    found = history.values("outputs.spread", path)
    wanted = history.values("targets.spread", path)
    if len(found) != len(wanted):
        return 0.0
    ratios = found / np.where(wanted > 0, wanted, np.inf)
    return float(np.nan_to_num(ratios).max(initial=0.0))


def _added(history: RunHistory, path: str) -> float:
    """What was added to the only loss in the first step, penalties left out."""
    first = history.first_step
    if first is None or first.loss is None or len(first.losses) != 1:
        return 0.0
    if history.model is None or history.model.custom_train_step:
        return 0.0  # It may scale the loss.
    values = first.losses[0].values
    if values is None or first.losses[0].weights is not None:
        return 0.0
    added = first.loss - values.mean - history.model.regularization_loss
    return added if added > 0.01 * abs(values.mean) else 0.0


@rule(
    kind="symptom: does not learn",
    severity="warning",
    when="end",
    since="Milletari et al., V-Net (2016): foreground that is often missing",
    also=("accuracy-at-majority", "underfitting"),
)
def class_never_predicted(
    history: RunHistory, *, least: int = 5, places: int = 50, rare: float = 0.02
) -> Iterator[Sign]:
    """A class of a segmentation is never predicted.

    What it sees:
        At the end of a training long enough to judge: a class that `places` places or
        more had as their target in the last `least` fully observed steps, and none of
        all places as its prediction. Only for images, whose outputs have four axes. It
        is information if there are more classes than two and this one is rarer than
        `rare`.

    Why it matters:
        Where nearly everything is background, a model that predicts nothing else has
        a small loss and a high accuracy, and is of no use.

    What to do:
        A Dice or focal loss, or a larger weight for the rare class.

    When it is wrong:
        You use the outputs with a threshold of your own.

    References:
        Milletari et al., V-Net (2016).
        Lin et al., Focal Loss for Dense Object Detection (2017).
    """
    if not progress(history).judged:
        return
    for known in calls(history, int(least)):
        latest = known[-int(least) :]
        wanted = targets(latest)
        if len(wanted) < len(latest) or not all(t.whole == 1 for t in wanted):
            continue
        if len(outputs(latest)[-1].shape) < 4:
            continue
        expected = np.sum([t.classes for t in wanted], 0)[:-1]
        found = _predicted(latest)
        if found is None or expected.sum() == 0:
            continue
        missing = np.flatnonzero((expected >= places) & (found == 0))
        if not len(missing) or (expected > 0).sum() < 2:
            continue
        share = float(expected[missing].sum() / expected.sum())
        which = names([str(i) for i in missing])
        yield Sign(
            where=known[-1].layer,
            seen=f"class {which} is never predicted, though {percent(share)} of the "
            "places have it as their target",
            cause="Likely it is too rare to matter to the loss: predicting the other "
            "classes everywhere is nearly as good"
            if share < 0.2
            else "Likely the model has learned no more than the commonest class",
            action="add a Dice or focal loss, such as `keras.losses.Dice()`",
            alternatives=("larger weights for the places of the rare class",),
            evidence={"classes": missing.tolist(), "share": share},
            severity="info" if (expected > 0).sum() > 2 and share < rare else None,
        )


def _predicted(known: Sequence[LossInputs]) -> np.ndarray | None:
    """How often each class was the prediction; `None` if that is not known."""
    found = outputs(known)
    if units(found[-1]) != 1:
        return np.sum([x.classes for x in found], 0)[:-1]
    logits = known[-1].takes == "logits"
    if not logits and any(x.outside > 0 for x in found):
        return None
    if not logits:
        return np.sum([x.classes for x in found], 0)[:-1]
    total = sum(x.size for x in found)
    positive = sum(round(x.positive * x.size) for x in found)
    counts = np.zeros(len(found[-1].classes) - 1)
    counts[:2] = total - positive, positive
    return counts
