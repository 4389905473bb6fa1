"""What JAX keeps of models that are gone: nothing."""

from __future__ import annotations

import contextlib


def gradients_forgotten() -> contextlib.AbstractContextManager[None]:
    """Lets the backend forget the training steps that were compiled in the meantime."""
    return contextlib.nullcontext()
