"""Where records go, one format a file. A sink writes; it computes nothing.

```python
import keras_babysit
from keras_babysit import sinks

tracked = keras_babysit.Babysitter(
    "logs/run1", sinks=["tensorboard", sinks.WandB(project="digits")]
)
```

Every module below with a `SINK` is one: see `sinks.sink`.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keras_babysit.sinks.sink import Sink


@functools.cache
def available() -> dict[str, type[Sink]]:
    """Returns the classes of all sinks by name."""
    modules = [
        importlib.import_module(f"{__name__}.{info.name}")
        for info in pkgutil.iter_modules(__path__)
    ]
    found = [module.SINK for module in modules if hasattr(module, "SINK")]
    return {sink.name: sink for sink in found}


def select(sinks: Sequence[str | Sink]) -> tuple[Sink, ...]:
    """Returns the sinks of these names; sinks are returned as they are.

    Raises:
        ImportError: if a sink needs a package that is not installed.
        ValueError: for anything else.
    """
    from keras_babysit.sinks.sink import Sink

    known = available()
    if isinstance(sinks, str) or not isinstance(sinks, Sequence):
        raise ValueError(
            "`sinks` must be a list of sinks or their names, such as "
            f'["tensorboard", "wandb"]. Received: sinks={sinks!r}'
        )
    wrong = [
        one
        for one in sinks
        if not isinstance(one, Sink) and not (isinstance(one, str) and one in known)
    ]
    if wrong:
        raise ValueError(
            f"There is no sink {wrong[0]!r}. Expected some of {sorted(known)} in "
            "`sinks`, or objects such as `keras_babysit.sinks.WandB()`. "
            f"Received: sinks={list(sinks)!r}"
        )
    chosen = [known[one]() if isinstance(one, str) else one for one in sinks]
    for one in chosen:
        one.check()
    return tuple(chosen)


def __getattr__(name: str) -> Any:
    # Classes only: modules are looked for here while they are being imported.
    if name[:1].isupper():
        for sink in available().values():
            if sink.__name__ == name:
                return sink
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
