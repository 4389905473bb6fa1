"""A model's compiled loss, in parts that add up from batches to the whole set."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops
from keras.src.trainers.compile_utils import CompileLoss

from keras_babysit.borrowing import attributes_set

#: A loss reduced so divides by nothing.
_SUM = "sum"
#: It divides by the sum of the weights; all others by a number of elements.
_WEIGHTED = "mean_with_sample_weight"


class SummedLoss(CompileLoss):
    """The compiled loss of a batch, as its share of the loss of the whole set.

    A loss of Keras is a sum over a batch, divided by a count: of elements, of those
    that a mask leaves, or of the sample weights. The mean over batches of such means
    is that of the whole set only where all counts are equal. So each sum is divided by
    the count of the whole set instead, which has to be known: `counting` finds it.

    Args:
        known: the model's own compiled loss; it is left alone.
    """

    def __init__(self, known: CompileLoss):
        super().__init__(
            known._user_loss, known._user_loss_weights, output_names=known.output_names
        )
        self._flat_losses: list[Any] | None = None
        self.totals: list[float] | None = None
        self.samples: Any = None
        self.share: Any = 1.0
        self.counted: dict[int, Any] = {}

    @property
    def parts(self) -> int:
        """Number of losses it is the sum of."""
        return len(self._flat_losses or [])

    @property
    def metrics(self) -> list:
        """None: the loss of each output is not tracked."""
        return [None] * max(self.parts, 1)

    def build(self, y_true: Any, y_pred: Any) -> None:
        """Finds the loss of each output, and takes its place."""
        super().build(y_true, y_pred)
        found = self._flat_losses or []
        for flat in found:
            if getattr(flat.loss, "reduction", None) in (None, "none"):
                raise ValueError(
                    "The loss must be one number: use a reduction such as "
                    '"sum_over_batch_size". Received: '
                    f"{flat.loss.name} with reduction={flat.loss.reduction!r}"
                )
        self._flat_losses = [
            flat._replace(loss=_Part(self, i, flat.loss))
            for i, flat in enumerate(found)
        ]

    @contextlib.contextmanager
    def of_batch(self, samples: Any, share: Any) -> Iterator[None]:
        """Says what batch comes next: how many samples, and which share of all."""
        self.samples, self.share = samples, share
        try:
            yield
        finally:
            self.samples, self.share = None, 1.0


class _Part:
    """Stands for the loss of one output."""

    def __init__(self, whole: SummedLoss, index: int, loss: Any):
        self.whole, self.index, self.loss = whole, index, loss
        self.name = loss.name

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        whole, loss = self.whole, self.loss
        if whole.totals is None:
            whole.counted[self.index] = self._count(y_true, y_pred, sample_weight)
            return loss(y_true, y_pred, sample_weight)
        value = self._sum(y_true, y_pred, sample_weight)
        # What is made of a batch's loss later is multiplied by the batch's share.
        if loss.reduction != _SUM:
            total = ops.cast(whole.totals[self.index], value.dtype)
            value = ops.divide_no_nan(value, total)
        return value / ops.cast(whole.share, value.dtype)

    def _sum(self, y_true: Any, y_pred: Any, sample_weight: Any) -> Any:
        value, shape = self._summed(y_true, y_pred, sample_weight, ones=False)
        if sample_weight is None and shape == ():
            # A function that returns a mean, not a loss for each sample.
            return value * ops.cast(self.whole.samples, value.dtype)
        return value

    def _count(self, y_true: Any, y_pred: Any, sample_weight: Any) -> Any:
        """By what the loss divides its sum over this batch."""
        weight = sample_weight if self.loss.reduction == _WEIGHTED else None
        count, shape = self._summed(y_true, y_pred, weight, ones=True)
        if weight is None and shape == ():
            return self.whole.samples
        return count

    def _summed(
        self, y_true: Any, y_pred: Any, sample_weight: Any, ones: bool
    ) -> tuple[Any, Any]:
        """The weighted, masked sum of the loss or, to count, of ones in its place."""
        loss, call, shapes = self.loss, self.loss.call, []

        def watched(y_true: Any, y_pred: Any) -> Any:
            values = call(y_true, y_pred)
            shapes.append(tuple(values.shape))
            return ops.ones_like(values) if ones else values

        with attributes_set(loss, call=watched, reduction=_SUM):
            # A loss with its own `__call__` is taken for a mean over the samples.
            return loss(y_true, y_pred, sample_weight), (shapes or [()])[0]


def samples_in(x: Any) -> Any:
    """Returns the number of samples of a batch, an integer tensor."""
    return ops.shape(next(i for i in keras.tree.flatten(x) if i is not None))[0]
