"""What can be checked before training: one file a check, see `checks.check`."""

from __future__ import annotations

import functools
import importlib
import pkgutil

from keras_babysit.checks.check import Check


@functools.cache
def available() -> dict[str, Check]:
    """Returns all checks by name, in the order in which `preflight` runs them."""
    modules = [
        importlib.import_module(f"{__name__}.{info.name}")
        for info in pkgutil.iter_modules(__path__)
    ]
    found = [m.CHECK for m in modules if isinstance(getattr(m, "CHECK", None), Check)]
    return {check.name: check for check in sorted(found, key=lambda c: c.order)}
