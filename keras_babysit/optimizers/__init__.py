"""Optimizers of the whole training set at once: `LBFGS` and `Newton`."""

from __future__ import annotations

from keras_babysit import _lazy

_PUBLIC = {
    "FitResult": "full_batch",
    "LBFGS": "lbfgs",
    "Newton": "newton",
}

__all__ = sorted(_PUBLIC)


__getattr__, __dir__ = _lazy(__name__, _PUBLIC, __all__)
