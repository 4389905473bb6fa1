"""The table of layers: what each is and what was last measured of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_babysit.document.blocks import Column, Row, Table
from keras_babysit.document.words import clean, count, number, share
from keras_babysit.history import RunHistory
from keras_babysit.records import Finding

#: A table has at most so many layers, those with findings first.
MAX_LAYERS = 40
#: The columns of the table; a narrow one does without those of a high rank first.
COLUMNS = (
    Column("layer"),
    Column("kind", rank=1),
    Column("weights", number=True, rank=2),
    Column("update ratio", number=True),
    Column("gradient norm", number=True, rank=3),
    Column("dead", number=True),
    Column("saturated", number=True),
    Column("findings", wide=True),
)
#: Numbers that jump from step to step are medians over so many observed steps.
RECENT = 20


@dataclass(frozen=True)
class LayerSummary:
    """One layer of the table.

    Attributes:
        path: the layer's path.
        kind: name of its class; `""` if it is not known.
        activation: name of its activation; `None` if it has none.
        parameters: number of its weights; `None` if it is not known.
        variables: paths of its weights.
        kernels: those of them that are trained and have two axes or more.
        update_ratio: of its largest variable, median over the last observed steps.
        gradient_norm: over all of its variables, of their medians.
        dead_fraction: the last one; the largest of a layer that is called often.
        saturation_fraction: likewise.
        findings: names of the rules that have open findings in it.
    """

    path: str
    kind: str = ""
    activation: str | None = None
    parameters: int | None = None
    variables: tuple[str, ...] = ()
    kernels: tuple[str, ...] = ()
    update_ratio: float | None = None
    gradient_norm: float | None = None
    dead_fraction: float | None = None
    saturation_fraction: float | None = None
    findings: tuple[str, ...] = ()

    def holds(self, place: str) -> bool:
        """Whether a finding's place is this layer or one of its variables."""
        return place in self.variables or layer_of(place) == self.path

    @property
    def is_measured(self) -> bool:
        """Whether anything was measured of it."""
        numbers = (self.dead_fraction, self.saturation_fraction, self.update_ratio)
        return any(value is not None for value in numbers)

    @property
    def cells(self) -> tuple[str, ...]:
        """Its row of the table, a cell for each of `COLUMNS`."""
        return (
            clean(self.path),
            clean(f"{self.kind} {self.activation or ''}".strip()),
            number(self.parameters),
            number(self.update_ratio),
            number(self.gradient_norm),
            share(self.dead_fraction),
            share(self.saturation_fraction),
            ", ".join(map(clean, self.findings)),
        )


def table(layers: Iterable[LayerSummary]) -> Table:
    """Returns the table of the layers of which there is something to say.

    If not all have room, those with findings come first; the order stays. Columns that
    would be empty are left out.
    """
    useful = [v for v in layers if v.findings or v.parameters or v.is_measured]
    first = sorted(useful, key=lambda layer: not layer.findings)[:MAX_LAYERS]
    kept = {layer.path for layer in first}
    shown = [layer for layer in useful if layer.path in kept][:MAX_LAYERS]
    more = len(useful) - len(first)
    rows = [(layer.cells, "warning" if layer.findings else "") for layer in shown]
    filled = [i for i in range(len(COLUMNS)) if any(cells[i] for cells, _ in rows)]
    return Table(
        tuple(COLUMNS[i] for i in filled),
        tuple(Row(tuple(cells[i] for i in filled), tone) for cells, tone in rows),
        f"and {count(more, 'more layer')}" if more else "",
    )


def layer_of(place: str) -> str:
    """The path of a layer without the count of its calls, `"@2"`."""
    path, at, call = place.rpartition("@")
    return path if at and call.isdigit() else place


def known_layers(history: RunHistory) -> tuple[LayerSummary, ...]:
    """Returns what is known of each layer, without measurements."""
    if history.model is None:
        return _guessed(history)
    return tuple(
        LayerSummary(
            path=layer.path,
            kind=layer.kind,
            activation=layer.activation,
            parameters=sum(math.prod(w.shape) for w in layer.weights),
            variables=tuple(w.path for w in layer.weights),
            kernels=tuple(
                w.path for w in layer.weights if w.trainable and len(w.shape) > 1
            ),
        )
        for layer in history.model.layers
    )


def measured(
    layers: Iterable[LayerSummary], history: RunHistory, findings: Iterable[Finding]
) -> tuple[LayerSummary, ...]:
    """Returns the layers with what was last measured and found in them."""
    numbers = {
        "ratios": _recent(history, "update_ratio"),
        "gradients": _recent(history, "gradient.norm"),
        "sizes": _last(history, "weight.size"),
        "dead": _by_layer(_last(history, "dead_fraction")),
        "saturated": _by_layer(_last(history, "saturation_fraction")),
    }
    still = [f for f in findings if not f.healed and f.where]
    return tuple(
        dataclasses.replace(
            layer, **_numbers(layer, **numbers), findings=_rules(layer, still)
        )
        for layer in layers
    )


def _numbers(
    layer: LayerSummary,
    ratios: Mapping[str, float],
    gradients: Mapping[str, float],
    sizes: Mapping[str, float],
    dead: Mapping[str, float],
    saturated: Mapping[str, float],
) -> dict[str, Any]:
    with_ratio = [v for v in layer.variables if v in ratios]
    largest = max(with_ratio, key=lambda v: sizes.get(v, 0.0), default=None)
    norms = [gradients[v] for v in layer.variables if v in gradients]
    return {
        "update_ratio": ratios[largest] if largest else layer.update_ratio,
        "gradient_norm": math.hypot(*norms) if norms else layer.gradient_norm,
        "dead_fraction": dead.get(layer.path, layer.dead_fraction),
        "saturation_fraction": saturated.get(layer.path, layer.saturation_fraction),
    }


def _rules(layer: LayerSummary, findings: list[Finding]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(f.rule for f in findings if layer.holds(f.where)))


def _guessed(history: RunHistory) -> tuple[LayerSummary, ...]:
    """The layers as far as their measurements tell."""
    layers: dict[str, list[str]] = {}
    for place in history.window("activation.norm", 1).places:
        layers.setdefault(layer_of(place), [])
    for field in ("weight.size", "update_ratio", "gradient.norm"):
        for path in history.window(field, 1).places:
            layer = _owner(path, layers)
            if path not in layers.setdefault(layer, []):
                layers[layer].append(path)
    return tuple(LayerSummary(path, variables=tuple(v)) for path, v in layers.items())


def _owner(variable: str, layers: Iterable[str]) -> str:
    """The layer that a variable's path lies below."""
    above = [path for path in layers if variable.startswith(f"{path}/")]
    return max(above, key=len, default=variable.rpartition("/")[0] or variable)


def _last(history: RunHistory, quantity: str) -> dict[str, float]:
    window = history.window(quantity, 1)
    if not len(window.values):
        return {}
    return dict(zip(window.places, window.values[-1].tolist(), strict=True))


def _recent(history: RunHistory, quantity: str) -> dict[str, float]:
    """The median of the last steps, but a last value that is not finite as it is."""
    window = history.window(quantity, RECENT)
    if not len(window.values):
        return {}
    last = window.values[-1]
    finite = np.where(np.isfinite(window.values), window.values, np.nan)
    # Where there is no finite value, none is asked for.
    finite[:, ~np.isfinite(last)] = 0.0
    typical = np.where(np.isfinite(last), np.nanmedian(finite, axis=0), last)
    return dict(zip(window.places, typical.tolist(), strict=True))


def _by_layer(calls: Mapping[str, float]) -> dict[str, float]:
    """The largest value of each layer's calls."""
    largest: dict[str, float] = {}
    for place, value in calls.items():
        layer = layer_of(place)
        largest[layer] = max(value, largest.get(layer, value))
    return largest
