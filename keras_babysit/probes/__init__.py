"""One quantity a file; every module here with a `PROBE` is one."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Sequence

from keras_babysit.probes.probe import Probe


@functools.cache
def available() -> dict[str, Probe]:
    """Returns all probes by name."""
    modules = [
        importlib.import_module(f"{__name__}.{info.name}")
        for info in pkgutil.iter_modules(__path__)
    ]
    found = [m.PROBE for m in modules if hasattr(m, "PROBE")]
    return {probe.name: probe for probe in found}


def select(names: Sequence[str] | None) -> tuple[Probe, ...]:
    """Returns the probes of these names, all of them for `None`.

    Raises:
        ValueError: for a name that no probe has.
    """
    known = available()
    if names is None:
        return tuple(known.values())
    if isinstance(names, str) or not all(isinstance(n, str) for n in names):
        raise ValueError(
            "`probes` must be a list of probe names, or None for all of them. "
            f"Received: probes={names!r}"
        )
    unknown = [n for n in names if n not in known]
    if unknown:
        raise ValueError(
            f"Unknown names in `probes`: {unknown}. Expected some of "
            f"{sorted(known)}. Received: probes={list(names)!r}"
        )
    return tuple(known[n] for n in dict.fromkeys(names))
