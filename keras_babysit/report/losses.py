"""The tables of losses: what each got in the last observed step, and which classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from keras_babysit.document.blocks import Column, Row, Table
from keras_babysit.document.words import clean, number, share
from keras_babysit.history import RunHistory
from keras_babysit.records import LossTensor

COLUMNS = (
    Column("what the loss gets", wide=True),
    Column("targets", number=True),
    Column("outputs", number=True),
    Column("targets differ by", number=True, rank=1),
    Column("outputs differ by", number=True, rank=1),
)
#: A table of classes has at most so many, those that are hit least first.
MAX_CLASSES = 20


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
        samples: number of samples of each class in the last full observations of
            training; empty if the loss does not compare classes.
        hits: how many of them were predicted as such.
    """

    path: str
    layer: str = ""
    targets: tuple[float, ...] = ()
    outputs: tuple[float, ...] = ()
    targets_differ: float | None = None
    outputs_differ: float | None = None
    samples: tuple[float, ...] = ()
    hits: tuple[float, ...] = ()

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


def class_tables(losses: Iterable[LossSummary]) -> list[Table]:
    """Returns a table of the classes of each loss that compares classes."""
    return [_classes(loss) for loss in losses if any(loss.samples)]


def _classes(loss: LossSummary) -> Table:
    pairs = zip(loss.samples, loss.hits, strict=True)
    found = [(h / n, i, n) for i, (n, h) in enumerate(pairs) if n]
    columns = (
        Column(f"class of {clean(loss.path)} in training"),
        Column("samples", number=True),
        Column("hit", number=True),
    )
    rows = [
        Row((str(i), number(n), share(hit)))
        for hit, i, n in sorted(found)[:MAX_CLASSES]
    ]
    more = len(found) - len(rows)
    note = f"Left out, as they are hit more often: {more:,}" if more else ""
    return Table(columns, tuple(rows), note)


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
            samples=_summed(history, path, np.sum, 1),
            hits=_summed(history, path, np.diagonal),
        )
        for path, call in seen.items()
    )


def _range(tensor: LossTensor | None) -> tuple[float, ...]:
    return () if tensor is None else (tensor.min, tensor.max)


def _spread(tensor: LossTensor | None) -> float | None:
    return None if tensor is None else tensor.spread


def _summed(
    history: RunHistory, path: str, of: Callable[..., np.ndarray], *axis: int
) -> tuple[float, ...]:
    tables = history.confusions.get(path)
    return tuple(of(sum(tables), *axis).tolist()) if tables else ()
