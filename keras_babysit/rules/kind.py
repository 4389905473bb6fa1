"""The kinds of rules, and which kinds explain which.

A finding silences those that it explains, and the kind of its rule decides which: NaN
in the data explains a flat loss, and a loss that is NaN explains nearly everything.
What holds for a single rule only is named at that rule, `@rule(also=...)`.
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
#: What is cut off is so whatever else is wrong; it has its own line in a report.
_CUT_OFF = "symptom: disconnected"
#: A fault that training cannot work with shows in all of them, and in the first loss.
_EVERYTHING = frozenset((*_SYMPTOMS, "initial-loss-off-chance"))

#: Kind to the kinds, and names of single rules, whose findings it explains.
KINDS: dict[str, frozenset[str]] = {
    "cause in the task": _EVERYTHING
    | {"cause in the output", "metric-mismatch", _CUT_OFF},
    "cause in the output": _EVERYTHING | {"metric-mismatch"},
    "cause in the data": _EVERYTHING,
    "cause in the model": _EVERYTHING | {_CUT_OFF},
    # No setting changes the loss before the first update.
    "cause in the settings": frozenset(_SYMPTOMS),
    # Training works, but does not get as far as it should.
    "limit": frozenset(_SYMPTOMS[4:]),
    # These hardly touch the training, so they explain only what they name.
    "note": frozenset(),
    "symptom: breaks down": frozenset(_SYMPTOMS[1:]),
    "symptom: unstable": frozenset(_SYMPTOMS[4:]),
    "symptom: no signal": frozenset(_SYMPTOMS[3:]),
    _CUT_OFF: frozenset(_SYMPTOMS[3:]),
    "symptom: too slow": frozenset(_SYMPTOMS[4:]),
    "symptom: does not learn": frozenset(_SYMPTOMS[5:]),
    "symptom: generalises badly": frozenset(_SYMPTOMS[5:]),
    "remark": frozenset(),
}
#: What each kind stands for.
MEANING = {
    "cause in the task": "the loss is meant for other targets than these",
    "cause in the output": "the output, the loss and the targets do not fit each other",
    "cause in the data": "values that training cannot work with",
    "cause in the model": "layers or weights that cannot be trained",
    "cause in the settings": "a setting that no training works with",
    "limit": "it limits how far the training can get",
    "note": "worth knowing; it barely affects the training itself",
    "symptom: breaks down": "what was learned is destroyed",
    "symptom: unstable": "the steps are too large",
    "symptom: no signal": "inputs or gradients do not get through",
    "symptom: disconnected": "a part of the model gets no gradient",
    "symptom: too slow": "the steps are too small",
    "symptom: does not learn": "the model is no better than at the start",
    "symptom: generalises badly": "the validation does not follow the training",
    "remark": "it matters only if nothing else was found",
}
