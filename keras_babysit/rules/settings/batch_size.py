"""Rules about the batch size."""

from __future__ import annotations

import math
from collections.abc import Iterator

from keras_babysit.facts import LayerFacts
from keras_babysit.history import RunHistory
from keras_babysit.rules import fixes
from keras_babysit.rules.evidence.phrases import count
from keras_babysit.rules.rule import Sign, rule


@rule(
    kind="limit",
    severity="warning",
    when="start",
    since="Wu and He, Group normalization, ECCV 2018",
    also=("activations-collapsing", "loss-oscillating", "vanishing-gradients"),
    refutable=True,
)
def batchnorm_small_batch(history: RunHistory, *, enough: int = 64) -> Iterator[Sign]:
    """Batch normalization takes its statistics over one or two samples.

    What it sees:
        A trained BatchNormalization layer and batches of one or two samples. Over
        images and sequences all positions count: `enough` of them make it only
        information.

    Why it matters:
        Over one value the mean is the value, so the output is 0 for every input. Over
        two values it is plus or minus one. Inference uses other statistics, so
        validation differs from training.

    What to do:
        Batches of 16 or more, or `LayerNormalization`, which looks at one sample.

    When it is wrong:
        Large images with small batches often train well.

    References:
        Wu and He, Group normalization, ECCV 2018, figure 1.
    """
    model, data = history.model, history.data
    size = data.batch_size if data is not None else None
    if model is None or not size or not 0 < size <= 2:
        return
    kind = "BatchNormalization"
    layers = [x for x in model.layers if x.kind == kind and x.trainable]
    if not layers:
        return
    layer = min(layers, key=lambda x: _positions(x))
    seen = size * _positions(layer)
    yield Sign(
        where=layer.path,
        seen=f"batch normalization over {count(int(seen), 'value')} a channel: "
        f"batches have {count(size, 'sample')}",
        cause="Its output is 0 for every input"
        if seen == 1
        else "Mean and variance of so few values are mostly noise",
        action="use `batch_size=32`",
        alternatives=("`LayerNormalization()` in its place",),
        evidence={"batch_size": size, "values": seen},
        severity="error" if seen == 1 else "info" if seen >= enough else None,
        fixes=(fixes.batch_size(32),),
    )


def _positions(layer: LayerFacts) -> float:
    """Returns over how many positions of a sample a channel's statistics go."""
    shape = layer.output_shape
    if shape is None:
        return 1
    return math.prod(64 if n is None else n for n in shape[:-1])
