"""Constant rate, and the three decays of CS231n's notes, in their parametrisation."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import Any

import keras

from keras_babysit.schedules import lengths
from keras_babysit.schedules.schedule import Schedule, Timed, real

_register = keras.saving.register_keras_serializable(package="keras_babysit")


@_register
@dataclass(frozen=True, repr=False)
class Constant(Schedule):
    """The same rate at every step: a part of a `Chain`, or what a `WarmUp` leads to.

    Args:
        learning_rate: the rate, not negative.
        steps_per_epoch: see `Schedule`; not needed.

    Example:
    ```python
    Chain([Constant(0.1), Constant(0.01)], epochs=[20], steps_per_epoch=500)
    ```
    """

    learning_rate: float

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("learning_rate", self.learning_rate, lengths.rate, True)

    def _rate(self, step: Any, xp: Any) -> Any:
        return xp.full_like(real(step, xp), self.learning_rate)


@_register
@dataclass(frozen=True, repr=False)
class StepDecay(Timed):
    """Multiplies the rate by a factor every so many epochs: α₀ · factor^⌊t/length⌋.

    CS231n, Annealing the learning rate: half every 5 epochs or a tenth every 20, and
    better by hand, where the validation error stops improving. In Keras the same curve
    is `ExponentialDecay(..., staircase=True)`.

    Args:
        initial_learning_rate: α₀.
        factor: greater than 0 and at most 1.
        epochs: length of a stair in epochs (rounded to whole steps),
        steps: or in steps.
        steps_per_epoch: see `Schedule`.

    Raises:
        ValueError: for arguments out of range, or not exactly one length.

    Example:
    ```python
    StepDecay(0.1, factor=0.5, epochs=30, steps_per_epoch=500)
    ```
    """

    initial_learning_rate: float
    factor: float

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("initial_learning_rate", self.initial_learning_rate, lengths.rate)
        self._set("factor", self.factor, lengths.number, *lengths.FACTOR)

    def _rate(self, step: Any, xp: Any) -> Any:
        stair = real(step // self.length, xp)
        return self.initial_learning_rate * self.factor**stair

    def to_keras(self) -> Any:
        """Returns Keras's `ExponentialDecay(..., staircase=True)`."""
        return keras.optimizers.schedules.ExponentialDecay(
            self.initial_learning_rate, self.length, self.factor, staircase=True
        )


@dataclass(frozen=True, repr=False)
class _Decay(Timed):
    initial_learning_rate: float
    _: KW_ONLY
    k: float

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("initial_learning_rate", self.initial_learning_rate, lengths.rate)
        self._set("k", self.k, lengths.rate)


@_register
@dataclass(frozen=True, repr=False)
class ExponentialDecay(_Decay):
    """α₀ e^(−kt), where t counts in units of the length given.

    CS231n, Annealing the learning rate. The curve is that of Keras's class of the same
    name, whose `decay_rate` is e^(−k): `k=0.1, epochs=1` falls by a factor
    e^−0.1 = 0.905 an epoch. So that neither is taken for the other, `k` has to be
    named. `to_keras` returns Keras's object, which computes in float32, whatever
    floatx is.

    Args:
        initial_learning_rate: α₀.
        k: how fast it falls, greater than 0, by keyword.
        epochs: what t counts, in epochs: 1 for the notes' "units of epochs";
        steps: or in steps: 1 for the notes' "iteration number".
        steps_per_epoch: see `Schedule`.

    Raises:
        ValueError: for arguments out of range, or not exactly one length.

    Example:
    ```python
    ExponentialDecay(0.1, k=0.1, epochs=1, steps_per_epoch=500)
    ```
    """

    def _rate(self, step: Any, xp: Any) -> Any:
        time = real(step, xp) / self.length
        return self.initial_learning_rate * xp.exp(-self.k * time)

    def to_keras(self) -> Any:
        """Returns Keras's `ExponentialDecay`."""
        # Not decay_rate=e^-k with the length as it is: in float32 that is rounded
        # near 1, and raised to the number of steps the error grows without bound.
        return keras.optimizers.schedules.ExponentialDecay(
            self.initial_learning_rate, self.length / self.k, math.exp(-1.0)
        )


@_register
@dataclass(frozen=True, repr=False)
class InverseTimeDecay(_Decay):
    """α₀ / (1 + kt), where t counts in units of the length given.

    CS231n, Annealing the learning rate: the "1/t decay". The curve is that of Keras's
    class of the same name, whose `decay_rate` is `k`.

    Args:
        initial_learning_rate: as for `ExponentialDecay`, like the others.
        k: likewise.
        epochs: likewise.
        steps: likewise.
        steps_per_epoch: likewise.

    Raises:
        ValueError: for arguments out of range, or not exactly one length.

    Example:
    ```python
    InverseTimeDecay(0.1, k=0.5, epochs=1, steps_per_epoch=500)
    ```
    """

    def _rate(self, step: Any, xp: Any) -> Any:
        time = real(step, xp) / self.length
        return self.initial_learning_rate / (1.0 + self.k * time)

    def to_keras(self) -> Any:
        """Returns Keras's `InverseTimeDecay`."""
        return keras.optimizers.schedules.InverseTimeDecay(
            self.initial_learning_rate, self.length, self.k
        )
