"""Rules about what recurrent layers keep over long sequences."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from keras_babysit.facts import ModelFacts
from keras_babysit.history import RunHistory
from keras_babysit.rules.evidence.phrases import number
from keras_babysit.rules.evidence.progress import progress
from keras_babysit.rules.rule import Sign, rule


@rule(
    kind="symptom: no signal",
    severity="warning",
    when=("epoch", "end"),
    since="Bengio, Simard, Frasconi, Learning long-term dependencies (1994)",
    also=("overfitting",),
)
def long_memory(
    history: RunHistory, *, plain: int = 40, gated: int = 200, p: float = 1e-4
) -> Iterator[Sign]:
    """A recurrent layer does not remember far enough back.

    What it sees:
        A recurrent layer over `plain` steps or more (`gated` for LSTM and GRU), whose
        validation loss was never better than that of a constant, in five epochs and
        100 updates; while a look at some samples shows that the targets go along with
        the inputs (p-value below `p`).

    Why it matters:
        Gradients shrink at each step back in time: what came early is not learned; at
        best the training samples are memorized.

    What to do:
        LSTM or GRU in place of SimpleRNN; shorter sequences; attention or
        convolutions for long ones.

    When it is wrong:
        The relation is too weak for this number of samples.

    References:
        Bengio, Simard, Frasconi (1994). Hochreiter, Schmidhuber, Long Short-Term
        Memory (1997).
    """
    model, data, state = history.model, history.data, progress(history)
    if model is None or data is None or state.epochs < 5 or state.updates < 100:
        return
    steps = max((x.shape[0] for x in data.inputs if len(x.shape) == 2), default=0)
    place, is_gated = _recurrent(model)
    losses = history.values("epoch.val_loss")
    if not place or steps < (gated if is_gated else plain) or not len(losses):
        return
    if not data.dependence.linear_p < p or not state.reference > 0:
        return
    if not np.nanmin(losses) > 0.97 * state.reference:
        return
    yield Sign(
        where=place,
        seen=f"val_loss was never better than {number(np.nanmin(losses))} (a constant "
        f"prediction has {number(state.reference)}), although the targets depend on "
        f"the inputs; the layer reads {steps} steps",
        cause="Likely its gradients vanish over so many steps",
        action="cut or pool the sequence to fewer steps"
        if is_gated
        else "use LSTM or GRU instead",
        alternatives=("attention or convolutions over the sequence",),
        evidence={"steps": steps, "val_loss": float(np.nanmin(losses))},
        since=(0.0, 0.0),
    )


def _recurrent(model: ModelFacts) -> tuple[str, bool]:
    """The first recurrent layer, and whether it has gates."""
    for layer in model.layers:
        if layer.kind in ("SimpleRNN", "LSTM", "GRU"):
            return layer.path, layer.kind != "SimpleRNN"
    return "", False
