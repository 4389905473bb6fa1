"""The rules: a folder for each place of a cause, a family of rules a file.

Every `Rule` in a module below is one of them: see `rules.rule`, and `rules.kind` for
which explains which.

```python
from keras_babysit import rules

rules.available()  # all of them, by name
rules.get("update-ratio-too-high")(limit=3e-2)  # one with a threshold of yours
```
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from keras_babysit.rules.rule import Rule


@functools.cache
def available() -> dict[str, Rule]:
    """Returns all rules by name, in the order of their families' files."""
    modules = [
        importlib.import_module(info.name)
        for info in pkgutil.walk_packages(__path__, f"{__name__}.")
    ]
    return {
        found.name: found
        for module in modules
        for found in vars(module).values()
        if isinstance(found, Rule)
    }


def get(name: str) -> Rule:
    """Returns the rule of this name.

    Raises:
        ValueError: if there is none.
    """
    known = available()
    if name not in known:
        raise ValueError(
            f"There is no rule of that name. Expected one of {sorted(known)}. "
            f"Received: {name!r}"
        )
    return known[name]


def select(
    rules: Sequence[str | Rule] | None = None,
    ignore: Iterable[str] = (),
    thresholds: Mapping[str, Mapping[str, Any]] | None = None,
) -> tuple[Rule, ...]:
    """Returns the rules to ask.

    Args:
        rules: names or rules; all of them for `None`.
        ignore: names of rules to leave out.
        thresholds: rule name to thresholds in place of its own.

    Raises:
        ValueError: for names that no rule has, or thresholds that one does not have.

    Example:
    ```python
    rules.select(ignore=["overfitting"], thresholds={"dead-relu": {"limit": 0.9}})
    ```
    """
    if isinstance(rules, str) or not isinstance(rules, Sequence | None):
        raise ValueError(
            "`rules` must be a list of rules or their names, or None for all of "
            f"them. Received: rules={rules!r}"
        )
    if isinstance(ignore, str):
        raise ValueError(
            f"`ignore` must be a list of rule names. Received: ignore={ignore!r}"
        )
    if not isinstance(thresholds, Mapping | None):
        raise ValueError(
            "`thresholds` must map rule names to their thresholds, "
            '{"update-ratio-too-high": {"limit": 3e-2}}. '
            f"Received: thresholds={thresholds!r}"
        )
    chosen = available().values() if rules is None else rules
    found = {}
    for one in chosen:
        one = one if isinstance(one, Rule) else get(one)
        found[one.name] = one
    for name, values in (thresholds or {}).items():
        changed = get(name)(**values)
        if name in found:
            found[name] = changed
    left_out = {get(name).name for name in ignore}
    return tuple(r for r in found.values() if r.name not in left_out)
