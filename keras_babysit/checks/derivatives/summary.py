"""What the gradient check says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from keras_babysit.checks.check import worst
from keras_babysit.checks.derivatives.faulty_layer import LayerGradient
from keras_babysit.checks.derivatives.slopes import Comparison, VariableGradient
from keras_babysit.checks.derivatives.twin import Twin
from keras_babysit.document.words import count
from keras_babysit.inspection.compiled import has_own_step

#: Rows of the table, at most.
_ROWS = 12
#: How to say what is wrong.
_PREDICATES = {"wrong sign": "has the wrong sign"}


def largest(variables: Iterable[VariableGradient]) -> float:
    """The largest relative error of any part of the loss."""
    return max((max(v.error, v.regularization_error) for v in variables), default=0.0)


def all_is_well(variables: Sequence[VariableGradient]) -> str:
    """What to say if nothing is wrong."""
    good = [v for v in variables if v.verdict == "passed"]
    compared = sum(v.compared for v in good)
    return (
        f"the gradients of {count(len(good), 'weight tensor')} agree with centred "
        f"differences: relative error {largest(good):.0e} at most, "
        f"{count(compared, 'number')} compared"
    )


def summary(
    variables: Sequence[VariableGradient], guilty: Sequence[LayerGradient]
) -> str:
    """What to say of what is wrong."""
    bad = [v for v in variables if v.verdict in ("worrying", "failed")]
    seen = (
        f"{len(bad)} of {count(len(variables), 'weight tensor')} "
        f"{'differs' if len(bad) == 1 else 'differ'} from centred differences, "
        f"relative error up to {largest(bad):.0e}"
    )
    if not guilty:
        return f"{seen}; each layer and the loss agree by themselves"
    return f"{'; '.join(map(_told, guilty))} ({seen})"


def _told(layer: LayerGradient) -> str:
    wrong = f"with respect to its {listed(list(layer.wrong))}"
    how = _PREDICATES.get(layer.how, f"is {layer.how}")
    if layer.kind == "loss":
        return f"the gradient of the loss {how} with respect to the predictions"
    if layer.kind == "regularizer":
        return f"the gradient of the regularizer of {layer.path} {how}"
    return f"the gradient of {layer.path} ({layer.kind}) {how} {wrong}"


def action(guilty: Sequence[LayerGradient]) -> str:
    """What to do first."""
    if not guilty:
        return (
            "look at what the layers share: state that one call leaves for another, "
            "or numbers that are taken out of the graph (as NumPy)"
        )
    names = listed([layer.path for layer in guilty])
    return (
        f"correct the gradient in {names}: a custom gradient, or numbers that leave "
        "the graph (NumPy, rounding, comparisons)"
    )


def alternatives(guilty: Sequence[LayerGradient]) -> tuple[str, ...]:
    """What to do after that."""
    layers = [g.path for g in guilty if g.kind not in ("loss", "regularizer")]
    if not layers:
        return ()
    return (
        "if it is meant (straight-through, stop_gradient), pass "
        f"ignore={layers!r} to check the rest",
    )


def evidence(twin: Twin, comparison: Comparison) -> dict[str, Any]:
    """The numbers, by name."""
    variables = comparison.variables
    return {
        "error": largest(variables),
        "compared": sum(v.compared for v in variables),
        "kinks": sum(v.kinks for v in variables),
        "too_small": sum(v.too_small for v in variables),
        "evaluations": comparison.evaluations,
        "samples": twin.sample.size,
        "dtype": twin.dtype,
    }


def notes(twin: Twin, comparison: Comparison) -> list[str]:
    """What else there is to know."""
    variables = comparison.variables
    compared = sum(v.compared for v in variables)
    kinks = sum(v.kinks for v in variables)
    small = sum(v.too_small for v in variables)
    none = [v.path for v in variables if v.zero]
    left = comparison.wanted - compared
    notes = [
        (
            kinks,
            f"{count(kinks, 'comparison')} met a kink (a ReLU or a maximum at its "
            "corner) and agreed nearby",
        ),
        (
            small,
            f"{count(small, 'comparison')} had values too small to distinguish from "
            "rounding",
        ),
        (
            none,
            f"no gradient reaches {listed(none)} from these {twin.sample.size} samples",
        ),
        (
            twin.dtype != "float64",
            "the model cannot compute in float64: all was computed in float32, with "
            "larger steps and wider bands",
        ),
        (
            comparison.coarse and twin.dtype == "float64",
            "a part of the model computes in float32 whatever its dtype policy: steps "
            "were larger and bands wider",
        ),
        (left, f"{left} of {comparison.wanted} comparisons were left out for time"),
        (
            has_own_step(twin.model),
            f"{type(twin.model).__name__} has its own train_step: checked were call() "
            "and compute_loss()",
        ),
    ]
    return [text for applies, text in notes if applies]


def rows(
    variables: Sequence[VariableGradient], excuse: str
) -> tuple[dict[str, str], ...]:
    """The worst weights; the others, if there are more, in one row."""
    penalized = any(v.regularization_error for v in variables)
    order = ("failed", "worrying", "passed", "skipped")
    ranked = sorted(variables, key=lambda v: (order.index(v.verdict), -v.error))
    shown = ranked if len(ranked) <= _ROWS else ranked[: _ROWS - 1]
    rows = [_row(v, penalized, excuse) for v in shown]
    rest = ranked[len(shown) :]
    if rest:
        most = f"≤ {max(v.error for v in rest):.0e}"
        verdict = worst([v.verdict for v in rest])
        rows.append({"weight": f"{len(rest)} others", "error": most, "": verdict})
    return tuple(rows)


def _row(variable: VariableGradient, penalized: bool, excuse: str) -> dict[str, str]:
    row = {"weight": variable.path, "error": f"{variable.error:.0e}"}
    if penalized:
        row["of penalties"] = f"{variable.regularization_error:.0e}"
    row["compared"] = str(variable.compared)
    row["kinks"] = str(variable.kinks or "")
    row["too small"] = str(variable.too_small or "")
    row[""] = variable.how or ("no gradient" if variable.zero else variable.verdict)
    if variable.how and excuse:
        row[""] += f", {excuse}"
    return row


def listed(names: Sequence[str]) -> str:
    """Names as a list in a sentence; some of them if there are many."""
    if len(names) > 4:
        return f"{', '.join(names[:3])} and {len(names) - 3} more"
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)
