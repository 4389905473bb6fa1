"""Tags that a report is read back from."""

from __future__ import annotations

import re

#: Name of our own plugin, under which the full tables are kept.
PLUGIN = "keras_babysit"
RUN = "babysit/run"
FINDINGS = "babysit/findings_json"
#: Before the name of a kind of tensor: the tag of its table.
TABLE = "babysit/"
#: Before the names of Keras's logs.
LOGS = "epoch_"
#: Before what a histogram is of, and its path.
HISTOGRAM = re.compile(r"layer_(weights|gradients|activations)/(.+)", re.DOTALL)
_PATH = re.compile("Keras's path: `(.+?)`")


def described(path: str) -> str:
    """Returns how a tag whose name is not Keras's path is described."""
    return f"Keras's path: `{path}`"


def kind_and_path(tag: str, description: str) -> tuple[str, str] | None:
    """Returns what a histogram is of, by its tag and its description.

    Returns:
        The kind, such as `"weights"`, and Keras's path; `None` for a tag that is not
        one of ours.
    """
    found = HISTOGRAM.fullmatch(tag)
    if found is None:
        return None
    path = _PATH.search(description)
    return found.group(1), path.group(1) if path else found.group(2)
