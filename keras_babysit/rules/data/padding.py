"""Rules about padding."""

from __future__ import annotations

from collections.abc import Iterator

from keras_babysit.facts import LayerFacts
from keras_babysit.history import RunHistory
from keras_babysit.rules.evidence.connections import LOOKUPS, kinds
from keras_babysit.rules.evidence.phrases import percent
from keras_babysit.rules.evidence.progress import progress
from keras_babysit.rules.rule import Sign, rule

#: Recurrent layers of one direction.
_RECURRENT = ("LSTM", "GRU", "SimpleRNN", "RNN")


@rule(
    kind="limit",
    severity="info",
    when=("start", "epoch", "end"),
    since="Keras's guide: Understanding masking and padding",
    also=("constant-features", "learning-rate-too-low", "vanishing-gradients"),
)
def padding_unmasked(
    history: RunHistory, *, share: float = 0.5, steps: int = 20
) -> Iterator[Sign]:
    """A recurrent layer reads padding after the text.

    What it sees:
        Sequences that end in zeros for more than the `share` of their length, and
        `steps` steps, on average; a recurrent layer that passes on its last state only;
        and no mask in the model. It is a warning once the model is stuck, or is not
        good when the training ends.

    Why it matters:
        The last state has to survive all the padding: the layer forgets what came
        before, and gradients vanish on the way back.

    What to do:
        `Embedding(mask_zero=True)` or `Masking`; or pad at the front.

    When it is wrong:
        Zero is a value like any other. While the model learns, it is only information.

    References:
        Keras guide, Understanding masking and padding.
        Dwarampudi, Reddy, Effects of padding on LSTMs and CNNs (2019).
    """
    model, data = history.model, history.data
    if model is None or data is None or any(x.masks for x in model.layers):
        return
    last = next((x for x in reversed(model.layers) if _keeps_last(x)), None)
    if last is None or model.custom_train_step:
        return
    p = progress(history)
    bad = p.judged and p.skill < 0.5
    for x in data.inputs:
        tokens = len(x.shape) == 1 and x.whole and kinds(model) & LOOKUPS
        if not (tokens or len(x.shape) == 2) or not x.padded > share:
            continue
        padded = x.padded * x.shape[0]
        if padded < steps:
            continue
        yield Sign(
            where=last.path,
            seen=f"{percent(x.padded)} of the {x.shape[0]} steps of `{x.name}` are "
            f"zeros at the end, and {last.path} reads them without a mask",
            cause="Likely the layer forgets the sequence while it reads the padding",
            action="use `Embedding(..., mask_zero=True)`"
            if tokens
            else "put `keras.layers.Masking()` before it",
            alternatives=("pad at the front", "shorten the sequences"),
            evidence={"padded": x.padded, "steps": x.shape[0]},
            since=(0.0, 0.0),
            severity="warning" if p.stuck(0.5) or (history.ended and bad) else None,
        )
        return


def _keeps_last(layer: LayerFacts) -> bool:
    """Whether a recurrent layer passes on its last state only."""
    shape = layer.output_shape
    return layer.kind in _RECURRENT and shape is not None and len(shape) == 1
