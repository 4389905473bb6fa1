"""Stochastic weight averaging: the mean of the weights at the ends of epochs."""

from __future__ import annotations

import warnings
from typing import Any

import keras

from keras_babysit.ensemble.averaging.batch_statistics import batch_normalization_in
from keras_babysit.ensemble.averaging.weight_average import RunningMean, finish
from keras_babysit.ensemble.copies import remade
from keras_babysit.errors import whole, whole_or_none


class StochasticWeightAveraging(keras.callbacks.Callback):
    """Averages the weights at the ends of the last epochs, all counted the same.

    Izmailov et al., "Averaging Weights Leads to Wider Optima and Better
    Generalization" (2018): with a constant or cyclic rate that is not too low, the
    weights of the last epochs lie around a valley whose middle generalizes better than
    its rim. (For an exponential moving average Keras has `use_ema=True` in the
    optimizer and `keras.callbacks.SwapEMAWeights`.)

    It only watches. At the end of training `averaged_model` returns the average; with
    `swap=True` the trained model gets it.

    An interrupted run loses the average, with a warning. If that may happen, use
    `SnapshotCheckpoint(directory, every=1)` and average its files with
    `average_weights`, which gives the same mean.

    Args:
        start_epoch: the first epoch that counts, from 0 as `fit` counts them: with 75
            the average is of the weights after 76 epochs and later. Three quarters of
            the training are a good start.
        every: count only one epoch in this many: the cycle's length, if the rate has
            cycles.
        swap: whether to put the average into the model at the end of `fit`. Callbacks
            that put weights there too, as `EarlyStopping(restore_best_weights=True)`
            does, go before this one: the last one wins.
        x: training inputs as for `predict`, for models with batch normalization: what
            `reestimate_batch_normalization` reads. Needed with `swap=True`. A deep copy
            of the callback shares them.
        batch_size: samples in a batch, for `x`.

    Raises:
        ValueError: for arguments out of range; at the start of `fit`, if the training
            ends before `start_epoch`, or with `swap=True`, if there is batch
            normalization and no `x`.

    Attributes:
        count: how many epochs the average is of.

    Example:
    ```python
    swa = keras_babysit.ensemble.StochasticWeightAveraging(start_epoch=75)
    model.fit(x, y, epochs=100, callbacks=[swa])
    swa.averaged_model(x).evaluate(x_test, y_test)
    ```
    """

    def __init__(
        self,
        start_epoch: int,
        every: int = 1,
        swap: bool = False,
        x: Any = None,
        batch_size: int | None = None,
    ):
        super().__init__()
        whole("start_epoch", start_epoch, least=0)
        whole("every", every)
        whole_or_none("batch_size", batch_size)
        self.start_epoch, self.every = int(start_epoch), int(every)
        self.swap, self.batch_size = swap, batch_size
        self.count = 0
        self._data = _Shared(x)
        self._mean: RunningMean | None = None
        self._begun = False

    @property
    def average(self) -> list[Any] | None:
        """Mean of each floating-point weight, in the order of `model.weights`.

        float64 arrays; `None` as long as no epoch has counted.
        """
        return None if self._mean is None else self._mean.values()

    def averaged_model(self, x: Any = None, batch_size: int | None = None) -> Any:
        """Returns a new model with the averaged weights, compiled as the trained one.

        Args:
            x: training inputs, if not given before, for batch normalization.
            batch_size: samples in a batch, likewise.

        Raises:
            ValueError: if no epoch has counted yet, or `batch_size` is out of range.
        """
        whole_or_none("batch_size", batch_size)
        if self._mean is None:
            raise ValueError(
                "There is no average yet: no epoch from "
                f"start_epoch={self.start_epoch} on has ended."
            )
        model = remade(self.model, compiled=True)
        self._mean.assign(model)
        self._finish(model, x, batch_size)
        return model

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Forgets the last `fit`."""
        self._mean, self.count, self._begun = None, 0, False
        epochs = (self.params or {}).get("epochs")
        if epochs is not None and epochs <= self.start_epoch:
            raise ValueError(
                "The training ends before the first epoch that is to be averaged. "
                f"Received: start_epoch={self.start_epoch}, epochs={epochs}"
            )
        needs_data = self.swap and batch_normalization_in(self.model)
        if needs_data and self._data.value is None:
            raise ValueError(
                "The model has batch normalization, whose statistics belong to the "
                "weights they were made with. With swap=True the callback needs "
                "training inputs to estimate them again: `x=x_train`."
            )

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Notices a run that resumes."""
        if not self._begun and epoch > self.start_epoch:
            warnings.warn(
                f"StochasticWeightAveraging: this `fit` begins at epoch {epoch}, and "
                f"earlier ones from start_epoch={self.start_epoch} on are not in the "
                "average. SnapshotCheckpoint(every=1) and `average_weights` survive an "
                "interruption.",
                stacklevel=2,
            )
        self._begun = True

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Takes the weights in."""
        since = epoch - self.start_epoch
        if since < 0 or since % self.every:
            return
        if self._mean is None:
            self._mean = RunningMean(self.model)
        self._mean.add(self.model)
        self.count += 1

    def on_train_end(self, logs: dict | None = None) -> None:
        """Puts the average into the model, with `swap=True`."""
        if not self.swap:
            return
        if self._mean is None:
            warnings.warn(
                "StochasticWeightAveraging: the training ended before an epoch from "
                f"start_epoch={self.start_epoch} on, so that there is no average: the "
                "model keeps its last weights.",
                stacklevel=2,
            )
            return
        self._mean.assign(self.model)
        self._finish(self.model, None, None)

    def _finish(self, model: Any, x: Any, batch_size: int | None) -> None:
        data = self._data.value if x is None else x
        finish(model, data, batch_size or self.batch_size, type(self).__name__)


class _Shared:
    """Holds what copies share: KerasTuner copies callbacks for each trial."""

    def __init__(self, value: Any):
        self.value = value

    def __deepcopy__(self, memo: dict) -> _Shared:
        return self
