"""Finds where a step broadcasts targets of shape (n,) against outputs of (n, 1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from keras_babysit.backend.tensorflow import pruning

Tensor = Any

#: Operations that losses are written with and that broadcast.
_ELEMENTWISE = frozenset({"AddV2", "Div", "Mul", "RealDiv", "SquaredDifference", "Sub"})


def expansions(
    graph: Any, gradients: Sequence[Any]
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yields targets, outputs and the result where these are broadcast.

    Targets depend on arguments of the step and on no variable, outputs on variables and
    on other arguments. Gradients depend on the result.

    Args:
        graph: of a traced step.
        gradients: those that its optimizers get.
    """
    found = [op for op in graph.get_operations() if _expands(op)]
    if not found:
        return
    dense = [getattr(g, "values", g) for g in gradients]
    needed = pruning.closure([g for g in dense if getattr(g, "graph", None) is graph])
    captured = {id(tensor) for tensor in graph.internal_captures}
    arguments = {x.op.name for x in graph.inputs if id(x) not in captured}
    seen = set()
    for op in found:
        a, b = op.inputs
        if op.name not in needed.kept or (id(a), id(b)) in seen:
            continue
        seen.add((id(a), id(b)))
        for targets, outputs in ((a, b), (b, a)):
            given, reads = _sources(targets, arguments)
            others, trained = _sources(outputs, arguments)
            if given and not reads and trained and others - given == others:
                yield targets, outputs, op.outputs[0]


def _expands(op: Any) -> bool:
    """Whether it makes (n, n) out of (n,) and (n, 1)."""
    if op.type not in _ELEMENTWISE:
        return False
    row, column = sorted((x.shape for x in op.inputs), key=lambda s: s.rank or 0)
    if row.rank != 1 or column.rank != 2 or column[1] != 1:
        return False
    return row[0] != 1 and column[0] != 1


def _sources(tensor: Tensor, arguments: set[str]) -> tuple[set[str], bool]:
    """The arguments that a tensor depends on, and whether on variables."""
    kept = pruning.closure([tensor]).kept
    reads = any(op.type in pruning.READS for op in kept.values())
    return arguments & set(kept), reads
