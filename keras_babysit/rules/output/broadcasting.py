"""Rules about the shapes of what a loss compares."""

from __future__ import annotations

from collections.abc import Iterator

from keras_babysit.history import RunHistory
from keras_babysit.rules.evidence.losses import in_words
from keras_babysit.rules.rule import Sign, rule


@rule(
    kind="cause in the output",
    severity="error",
    when=("step", "end"),
    since="NumPy, Broadcasting: shapes are compared from the last axis on",
)
def targets_broadcast(history: RunHistory) -> Iterator[Sign]:
    """Every target is compared with every output of the batch.

    What it sees:
        In the traced step, an operation that gradients depend on takes a vector of n
        numbers and a column of (n, 1), one of them from the data and the other from the
        model, and makes a matrix of (n, n) of them.

    Why it matters:
        The mean over the matrix is lowest where every output is the mean of all
        targets: the model learns a constant, and no error is raised.

    What to do:
        Give both the same shape before they meet: `y[:, None]`, or
        `ops.squeeze(y_pred, -1)`.

    When it is wrong:
        All pairs of a batch are compared on purpose, as in some ranking losses.

    References:
        NumPy user guide, "Broadcasting".
    """
    for known in history.losses.values():
        call = known[-1]
        if not call.expanded or call.targets is None or call.outputs is None:
            continue
        one, other = in_words(call.targets.shape), in_words(call.outputs.shape)
        column = len(call.outputs.shape) == 2
        yield Sign(
            where=call.layer,
            seen=f"your own code compares targets of shape {one} with outputs of shape "
            f"{other}, which makes a loss of shape (n, n)",
            cause="Every target is compared with every output of the batch, so the "
            "best output is the mean of all targets",
            action="use `y[:, None]` for the targets"
            if column
            else "use `ops.squeeze(y, -1)` for the targets",
            alternatives=(
                "`ops.squeeze(y_pred, -1)`" if column else "`y_pred[:, None]`",
                "a loss of Keras's, such as `keras.losses.MeanSquaredError()`, which "
                "gives both the same shape",
            ),
            evidence={"targets": one, "outputs": other},
        )
        return
