"""The table of losses: what each got in the last observed step."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from keras_babysit.document.blocks import Column, Row, Table
from keras_babysit.document.words import clean, number
from keras_babysit.history import RunHistory
from keras_babysit.records import LossTensor

COLUMNS = (
    Column("what the loss gets", wide=True),
    Column("targets", number=True),
    Column("outputs", number=True),
    Column("targets differ by", number=True, rank=1),
    Column("outputs differ by", number=True, rank=1),
)


@dataclass(frozen=True)
class LossSummary:
    """What a loss got in the last observed step.

    Attributes:
        path: the name of the loss.
        layer: path of the layer whose output it gets; `""` if that is not known.
        targets: the smallest and the largest target; empty if there are none.
        outputs: likewise of the outputs.
        targets_differ: standard deviation of targets between samples; `None` if there
            are none.
        outputs_differ: likewise of the outputs.
    """

    path: str
    layer: str = ""
    targets: tuple[float, ...] = ()
    outputs: tuple[float, ...] = ()
    targets_differ: float | None = None
    outputs_differ: float | None = None

    @property
    def cells(self) -> tuple[str, ...]:
        """Its row of the table, a cell for each of `COLUMNS`."""
        of = f" of {self.layer}" if self.layer else ""
        return (
            clean(f"{self.path}{of}"),
            " to ".join(map(number, self.targets)),
            " to ".join(map(number, self.outputs)),
            number(self.targets_differ),
            number(self.outputs_differ),
        )


def tables(losses: Iterable[LossSummary]) -> list[Table]:
    """Returns the table of the losses; none without losses."""
    rows = tuple(Row(loss.cells) for loss in losses)
    return [Table(COLUMNS, rows)] if rows else []


def known_losses(history: RunHistory) -> tuple[LossSummary, ...]:
    """Returns what each loss got last.

    What own code compares is shown where no loss was seen: a loss of yours that
    compares all with all is one of them already.
    """
    latest = {path: calls[-1] for path, calls in history.losses.items()}
    seen = {p: c for p, c in latest.items() if not c.expanded} or latest
    return tuple(
        LossSummary(
            path=path,
            layer=call.layer,
            targets=_range(call.targets),
            outputs=_range(call.outputs),
            targets_differ=_spread(call.targets),
            outputs_differ=_spread(call.outputs),
        )
        for path, call in seen.items()
    )


def _range(tensor: LossTensor | None) -> tuple[float, ...]:
    return () if tensor is None else (tensor.min, tensor.max)


def _spread(tensor: LossTensor | None) -> float | None:
    return None if tensor is None else tensor.spread
