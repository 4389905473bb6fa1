"""Rules about tokens."""

from __future__ import annotations

import math
from collections.abc import Iterator

from keras_babysit.history import RunHistory
from keras_babysit.rules.evidence.connections import met
from keras_babysit.rules.evidence.phrases import number
from keras_babysit.rules.rule import Sign, rule


@rule(
    kind="cause in the data",
    severity="error",
    when="start",
    since="Keras: `input_dim` of Embedding is the largest index plus one",
)
def tokens_out_of_range(history: RunHistory) -> Iterator[Sign]:
    """Tokens go beyond the rows of their Embedding.

    What it sees:
        An input that an Embedding is the first to see, with values below 0 or as large
        as its number of rows, or larger.

    Why it matters:
        On a CPU it is an error in the middle of training; on a GPU such tokens
        silently become zeros.

    What to do:
        `Embedding(input_dim=largest token + 1, ...)`, or a tokenizer that is limited to
        as many words.

    When it is wrong:
        Never: such a token has no row.

    References:
        Keras: `keras.layers.Embedding`.
    """
    model, data = history.model, history.data
    if model is None or data is None or not model.graph_known:
        return
    for x in data.inputs:
        for layer in met(model, x.name):
            rows = next((w.shape[0] for w in layer.weights if "embed" in w.role), 0)
            if layer.kind != "Embedding" or not rows or 0 <= x.min <= x.max < rows:
                continue
            if x.dtype == "string" or math.isnan(x.max):
                continue
            yield Sign(
                where=layer.path,
                seen=f"tokens of `{x.name}` from {number(x.min)} to {number(x.max)}, "
                f"and {rows:,} rows",
                cause="The Embedding has no row for some of the tokens",
                action=f"use `Embedding({int(x.max) + 1}, ...)`"
                if x.min >= 0
                else "number the tokens from 0 on",
                alternatives=("limit the tokenizer: `max_tokens`",),
                evidence={"rows": rows, "max": x.max, "min": x.min},
            )
