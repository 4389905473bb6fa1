"""Tags that a report is read back from."""

from __future__ import annotations

RUN = "babysit/run"
FINDINGS = "babysit/findings_json"
#: Before the name of a kind of tensor: the tag of its table.
TABLE = "babysit/"
