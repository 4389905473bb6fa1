"""Rules about the loss that is logged, where it is not the one that is trained."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from keras_babysit.history import RunHistory
from keras_babysit.rules.rule import Sign, rule


@rule(
    kind="note",
    severity="info",
    when=("epoch", "end"),
    since="Keras guide, Customizing what happens in fit(): the loss tracker",
)
def logged_loss_is_zero(history: RunHistory, *, epochs: int = 2) -> Iterator[Sign]:
    """The logged loss is 0, although the model is still changing.

    What it sees:
        A model with a `train_step` of its own whose logged loss was exactly 0 in the
        last `epochs` epochs, while the gradients of the last observed step were not.

    Why it matters:
        What is logged is the model's own loss tracker, which `train_step` has not
        updated: if its result has the same names as the tracker's, Keras logs the
        tracker. Neither you nor callbacks that monitor the loss can see how training
        goes.

    What to do:
        Update the tracker in `train_step`, or compute the loss with
        `self.compute_loss`, and return the metrics' results.

    When it is wrong:
        Never; a loss that is really 0 has no gradients.

    References:
        Keras guide, "Customizing what happens in fit() with TensorFlow".
    """
    model, last = history.model, history.last_epoch
    if model is None or not model.custom_train_step or last is None:
        return
    logged = history.values("epoch.loss")[-int(max(epochs, 1)) :]
    norms = history.values("gradient_norm")
    if len(logged) < epochs or np.any(logged != 0) or not len(norms):
        return
    if not (np.isfinite(norms[-1]) and norms[-1] > 0):
        return
    yield Sign(
        where="",
        seen=f"the logged loss is 0 in each of the last {len(logged)} epochs, while "
        "there are gradients",
        cause="train_step does not update the loss tracker, whose result Keras logs "
        'under the name "loss"',
        action="call `self._loss_tracker.update_state(loss)` in `train_step`, or "
        "return the loss under another name",
        alternatives=("`self.compute_loss(x, y, y_pred)` instead of your own loss",),
        evidence={"loss": 0.0, "gradient_norm": float(norms[-1])},
    )
