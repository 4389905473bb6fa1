"""Tags that a report is read back from."""

from __future__ import annotations

#: Name of our own plugin, under which the full tables are kept.
PLUGIN = "keras_babysit"
RUN = "babysit/run"
FINDINGS = "babysit/findings_json"
#: Before the name of a kind of tensor: the tag of its table.
TABLE = "babysit/"
#: Before the names of Keras's logs.
LOGS = "epoch_"
