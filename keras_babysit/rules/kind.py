"""The kinds of rules, and which kinds explain which.

A finding silences those that it explains. What a rule is decides that: a fault of the
data explains that the loss is flat, and a loss that is NaN explains nearly everything.
Only what is true of a single rule is named there (`rule(also=...)`).
"""

from __future__ import annotations

#: What a training shows while something is wrong, from the most drastic to remarks,
#: which matter only where nothing else was found.
_SYMPTOMS = (
    "symptom: breaks down",
    "symptom: unstable",
    "symptom: no signal",
    "symptom: too slow",
    "symptom: does not learn",
    "remark",
)
#: What training cannot do well with shows in all of them, and in the very first loss.
_EVERYTHING = frozenset((*_SYMPTOMS, "initial-loss-off-chance"))

#: Kind to the kinds, and names of single rules, whose findings it explains.
KINDS: dict[str, frozenset[str]] = {
    "cause in the task": _EVERYTHING | {"cause in the output", "metric-mismatch"},
    "cause in the output": _EVERYTHING | {"metric-mismatch"},
    "cause in the data": _EVERYTHING,
    "cause in the model": _EVERYTHING,
    "cause in the settings": _EVERYTHING,
    # It can train, but not to where it should get.
    "limit": frozenset(_SYMPTOMS[4:]),
    # It explains only what it names, as it hardly touches the training.
    "note": frozenset(),
    "symptom: breaks down": frozenset(_SYMPTOMS[1:]),
    "symptom: unstable": frozenset(_SYMPTOMS[4:]),
    "symptom: no signal": frozenset(_SYMPTOMS[3:]),
    "symptom: too slow": frozenset(_SYMPTOMS[4:]),
    "symptom: does not learn": frozenset(_SYMPTOMS[5:]),
    "symptom: generalises badly": frozenset(_SYMPTOMS[5:]),
    "remark": frozenset(),
}
#: What each kind stands for.
MEANING = {
    "cause in the task": "the loss is one for another task than the targets'",
    "cause in the output": "the output, the loss and the targets do not fit each other",
    "cause in the data": "values that training cannot work with",
    "cause in the model": "layers or weights that cannot be trained",
    "cause in the settings": "a setting that no training works with",
    "limit": "it limits how far the training can get",
    "note": "worth knowing; it hardly touches the training itself",
    "symptom: breaks down": "what was learned is destroyed",
    "symptom: unstable": "the steps are too large",
    "symptom: no signal": "inputs or gradients do not get through",
    "symptom: too slow": "the steps are too small",
    "symptom: does not learn": "the model is no better than at the start",
    "symptom: generalises badly": "the validation does not follow the training",
    "remark": "it matters only where nothing else was found",
}
