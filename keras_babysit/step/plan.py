"""What of a traced step is measured: its tensors, each with the probe that reads it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

import keras
import numpy as np

from keras_babysit.backend.packing import Target
from keras_babysit.probes.probe import Described, Probe, View, unique
from keras_babysit.records import LOSS_ROLES
from keras_babysit.step.loss_calls import LossCall
from keras_babysit.step.recorder import Recorded

#: How the kinds of tensors are called where something is not observed.
WORDS = {
    "updates": "updates",
    "gradients": "gradients",
    "layers": "activations",
    "losses": "what the loss gets",
    "loss": "the batch's loss",
}
#: How a note begins that says what is missing, and not only what is different.
MISSING = "Not observed: "
#: A sample with as many values as this is not handed out.
MANY = 1_000
_REDRAWN = "Gradients and activations use other random numbers than the training step: "
_TF_RANDOM = (
    "it draws with tf.random; draw with keras.random and a "
    "keras.random.SeedGenerator to see its own"
)
_XLA_RANDOM = "XLA draws others than TensorFlow, for activations"


@dataclass(frozen=True)
class Slot:
    """One measured tensor of a step.

    Attributes:
        kind: `"gradients"`, `"layers"`, `"losses"`, `"loss"`, or `"raw"` for values of
            what the loss gets as they are.
        view: what it is; `None` for the loss.
        probe: who reads it; `None` for the loss.
        replica: the number of the replica that it is of.
        optimizer: that gets it, for gradients.
    """

    kind: str
    view: View | None = None
    probe: Probe | None = None
    replica: int = 0
    optimizer: Any = None


@dataclass
class Plan:
    """Functions that measure a batch, and what their results mean.

    Attributes:
        measuring: each with the slots of its targets.
        notes: what is not observed, or not as it was, with the reason.
        weights_unread: whether nothing depends on the weights that the step is given.
    """

    measuring: list[tuple[Any, list[Slot]]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    weights_unread: bool = False

    def run(self, leaves: Sequence[Any]) -> list[list[Any]]:
        """Measures a batch, given by the tensors that it consists of."""
        return [function(leaves) for function, _ in self.measuring]

    def read(self, results: Iterable[list[Any]]) -> list[tuple[Slot, Any, Any]]:
        """Fetches what `run` has returned: slots with rows, and values of units."""
        found = []
        for (function, slots), outputs in zip(self.measuring, results, strict=True):
            for i, (row, units) in function.read(outputs).items():
                found.append((slots[i], row, units))
        return found


def make_plan(
    backend: ModuleType,
    concrete: Any,
    recorded: Recorded,
    probes: Sequence[Probe],
    paths: dict[int, str],
    raw: bool = False,
) -> Plan:
    """Derives what measures a step from its trace.

    Args:
        backend: the backend's module.
        concrete: the traced function of one step.
        recorded: what was noted while it was traced.
        probes: those that look at gradients or layers.
        paths: id of a variable to its path.
        raw: whether to hand out targets and outputs of losses too, where they are few.
    """
    found, slots = targets(backend, concrete.graph, recorded, probes, paths, raw)
    plan = Plan(notes=missing(slots, recorded, probes))
    effects = backend.effects(found)
    good = [
        i
        for i, e in enumerate(effects)
        # A loss of other numbers is not the step's; its tracker has that one.
        if not e.reason and not (slots[i].kind == "loss" and e.draws)
    ]
    plan.notes += _with_effects(slots, effects)
    if any(effects[i].draws for i in good):
        plan.notes.append(_REDRAWN + _TF_RANDOM)
    xla = backend.is_xla(concrete) and any(effects[i].random for i in good)
    outputs = [i for i in good if slots[i].kind in ("layers", "losses", "raw")]
    others = [i for i in good if i not in outputs]
    if xla and any(effects[i].random for i in outputs):
        plan.notes.append(_REDRAWN + _XLA_RANDOM)
    for chosen, with_xla in (
        ((others, True), (outputs, False)) if xla else ((good, False),)
    ):
        if chosen:
            function = backend.Measuring(concrete, [found[i] for i in chosen], with_xla)
            plan.measuring.append((function, [slots[i] for i in chosen]))
    return plan


def missing(
    slots: Sequence[Slot], recorded: Recorded, probes: Sequence[Probe]
) -> list[str]:
    """Says of which kinds of tensors there are none.

    Args:
        slots: of all that there are.
        recorded: what was noted.
        probes: those that look at gradients, layers or losses.
    """
    return [
        f"{MISSING}{WORDS[kind]}: {_nothing(kind, recorded)}"
        for kind in dict.fromkeys(p.of for p in probes)
        # A custom step need not call any loss of Keras's.
        if kind != "losses" and not any(slot.kind == kind for slot in slots)
    ]


def _nothing(kind: str, recorded: Recorded) -> str:
    if not (recorded.gradients if kind == "gradients" else recorded.outputs):
        return {
            "gradients": "no optimizer of the model was given any",
            "layers": "the step calls no layer of the model",
        }[kind]
    return "they are computed where they cannot be read, such as in a compiled function"


def _with_effects(slots: Sequence[Slot], effects: Sequence[Any]) -> list[str]:
    """Says which tensors come with a side effect."""
    by_reason: dict[str, list[str]] = {}
    for kind in ("gradients", "layers"):
        reasons = [
            e.reason
            for slot, e in zip(slots, effects, strict=True)
            if slot.kind == kind
        ]
        bad = [reason for reason in reasons if reason]
        if bad:
            some = (
                "" if len(bad) == len(reasons) else f" ({len(bad)} of {len(reasons)})"
            )
            by_reason.setdefault(bad[0], []).append(WORDS[kind] + some)
    return [f"{MISSING}{' and '.join(w)}: {r}" for r, w in by_reason.items()]


def targets(
    backend: ModuleType,
    graph: Any,
    recorded: Recorded,
    probes: Sequence[Probe],
    paths: dict[int, str],
    raw: bool = False,
) -> tuple[list[Any], list[Slot]]:
    """Returns what of a step is measured, and what each is.

    Args:
        backend: the backend's module.
        graph: the graph, or the trace, that tensors have to be of.
        recorded: what was noted while it was traced.
        probes: those that look at gradients, layers or losses.
        paths: id of a variable to its path.
        raw: whether to hand out targets and outputs of losses too, where they are few.
    """
    found: list[Any] = []
    slots: list[Slot] = []

    def add(tensors: Sequence[Any], slot: Slot) -> None:
        describer, units = None, 0
        if slot.probe is not None and slot.view is not None:
            assert slot.probe.describer is not None
            describer = slot.probe.describer(slot.view)
            units = slot.probe.units(slot.view)
        # A gradient has its variable's shape, also where its own graph forgot it.
        shape = slot.view.shape if slot.view and slot.kind == "gradients" else None
        found.append(Target(tuple(tensors), describer, units, shape))
        slots.append(slot)

    for probe in probes:
        if probe.of == "gradients":
            for view, optimizer, tensors in _gradients(backend, graph, recorded, paths):
                add(tensors, Slot("gradients", view, probe, optimizer=optimizer))
        elif probe.of == "layers":
            for replica, view, tensor in outputs_of(backend, graph, recorded):
                add([tensor], Slot("layers", view, probe, replica))
        elif probe.of == "losses":
            for replica, view, tensor in losses_of(backend, graph, recorded):
                add([tensor], Slot("losses", view, probe, replica))
    last = {replica: v for replica, v in recorded.losses if backend.is_value(v, graph)}
    for replica, value in last.items():
        if np.prod(value.shape) == 1:
            add([value], Slot("loss", replica=replica))
    if raw:
        for number, view, tensor in losses_of(backend, graph, recorded):
            if is_small(view):
                add([tensor], Slot("raw", view, replica=number))
    return found, slots


def _gradients(
    backend: ModuleType, graph: Any, recorded: Recorded, paths: dict[int, str]
) -> list[tuple[View, Any, list[Any]]]:
    """View, optimizer, and the gradient on each replica; in the model's order."""
    found: dict[int, dict[int, tuple[Any, Any]]] = {}
    shapes = {id(v): tuple(v.shape) for _, _, v, _ in recorded.gradients}
    for replica, optimizer, variable, gradient in recorded.gradients:
        if id(variable) in paths and backend.is_of(graph, gradient):
            # Of several updates in a step the first one's: it is of these weights.
            found.setdefault(id(variable), {}).setdefault(
                replica, (optimizer, gradient)
            )
    return [
        (View(path, shapes[key]), optimizers[0], [g for _, g in found[key].values()])
        for key, path in paths.items()
        if key in found
        for optimizers in [[optimizer for optimizer, _ in found[key].values()]]
    ]


def outputs_of(
    backend: ModuleType, graph: Any, recorded: Recorded
) -> list[tuple[int, View, Any]]:
    """The replica, the name and the tensor of each output that can be described."""
    by_replica: dict[int, list[tuple[Any, Any]]] = {}
    for replica, layer, output in recorded.outputs:
        for tensor in keras.tree.flatten(output):
            if backend.is_value(tensor, graph) and is_describable(tensor):
                by_replica.setdefault(replica, []).append((layer, tensor))
    found = []
    for replica, calls in by_replica.items():
        names = unique([layer.path or layer.name for layer, _ in calls])
        for path, (layer, tensor) in zip(names, calls, strict=True):
            found.append((replica, View(path, tuple(tensor.shape), layer), tensor))
    return found


def losses_of(
    backend: ModuleType, graph: Any, recorded: Recorded
) -> list[tuple[int, View, Any]]:
    """The replica, the name and the tensor of all that losses get and give back."""
    layers = {
        id(tensor): layer.path or layer.name
        for _, layer, output in recorded.outputs
        for tensor in keras.tree.flatten(output)
    }
    calls = [
        *((r, c, t) for r, c, t in recorded.calls if _known(backend, t, graph)),
        *_expansions(backend, graph, recorded),
    ]
    found = []
    for number in dict.fromkeys(replica for replica, _, _ in calls):
        mine = [
            (call, tensors) for replica, call, tensors in calls if replica == number
        ]
        names = unique([call.loss for call, _ in mine])
        for name, (call, tensors) in zip(names, mine, strict=True):
            layer = layers.get(id(tensors["outputs"]), "")
            call = replace(call, layer=layer)
            for role in LOSS_ROLES:
                tensor: Any = tensors.get(role)
                if is_number(backend, tensor, graph):
                    view = View(f"{name}/{role}", tuple(tensor.shape), call=call)
                    found.append((number, view, tensor))
    return found


def _expansions(
    backend: ModuleType, graph: Any, recorded: Recorded
) -> Iterator[tuple[int, LossCall, dict[str, Any]]]:
    gradients = [gradient for *_, gradient in recorded.gradients]
    for tensors in backend.expansions(graph, gradients):
        call = LossCall("own code", expanded=True)
        yield 0, call, dict(zip(("targets", "outputs", "values"), tensors, strict=True))


def _known(backend: ModuleType, tensors: dict[str, Any], graph: Any) -> bool:
    return is_number(backend, tensors["outputs"], graph)


def of_probes(probes: Iterable[Probe]) -> str:
    """What probes look at, in words."""
    return " and ".join(WORDS[kind] for kind in dict.fromkeys(p.of for p in probes))


def explain(error: BaseException) -> str:
    """The first line of an error, with its kind."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"


def is_number(backend: ModuleType, tensor: Any, graph: Any) -> bool:
    """Whether a loss's tensor can be described: integers and booleans too."""
    if not backend.is_in(tensor, graph):
        return False
    return bool(rank_of(tensor)) and backend.is_number(tensor)


def rank_of(tensor: Any) -> int | None:
    """The rank of a tensor, as far as it is known."""
    # A shape of TensorFlow's need not have a length.
    shape = tensor.shape
    return shape.rank if hasattr(shape, "rank") else len(shape)


def is_small(view: View) -> bool:
    """Whether the values themselves are few: a row of classes for each sample."""
    few = len(view.shape) < 3 and (view.shape[-1] or MANY if view.shape[1:] else 1)
    return view.path.endswith(("/targets", "/outputs")) and 0 < few < MANY


def is_describable(tensor: Any) -> bool:
    """Whether a tensor has a known rank and a floating dtype."""
    if rank_of(tensor) is None:
        return False
    return "float" in keras.backend.standardize_dtype(tensor.dtype)


def described(
    found: Iterable[tuple[Slot, Any, Any]], scales: dict[int, float]
) -> dict[str, list[Described]]:
    """Returns what each probe gets to read, by its name; replicas side by side."""
    rows: dict[tuple[str, str], list[tuple[Slot, Any, Any]]] = {}
    for slot, row, units in found:
        if slot.probe is not None and slot.view is not None:
            key = (slot.probe.name, slot.view.path)
            rows.setdefault(key, []).append((slot, row, units))
    results: dict[str, list[Described]] = {}
    for (name, _), parts in rows.items():
        parts.sort(key=lambda part: part[0].replica)
        slot, _, units = parts[0]
        assert slot.view is not None
        one = Described(
            slot.view,
            np.stack([row for _, row, _ in parts]),
            None if units is None else np.stack([u for _, _, u in parts]),
            scales.get(id(slot.optimizer), 1.0),
        )
        results.setdefault(name, []).append(one)
    return results
