"""What a training is set up with: the model, its optimizer, its loss and its data."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from keras_babysit.borrowing import attributes_set, layers_of
from keras_babysit.facts import ModelFacts
from keras_babysit.fixes.split import Split
from keras_babysit.records import Fix

#: What a change does; raises ValueError where it cannot be applied.
Change = Callable[["Setup", Fix], None]


@dataclass
class Setup:
    """One training, before it begins; changes are made to it.

    Attributes:
        model: a model that is borrowed.
        facts: of that model.
        data: the samples.
        stack: undoes what is done to the model.
        rate: a learning rate in place of the optimizer's own.
        optimizer: settings of the optimizer in place of its own.
        losses: index of an output to the loss in place of its own.
        weights: what is done to the weights once they have their first values, with a
            seed.
        structure: the changes for which the training step has to be traced again.
    """

    model: Any
    facts: ModelFacts
    data: Split
    stack: contextlib.ExitStack
    rate: float | None = None
    optimizer: dict[str, Any] = field(default_factory=dict)
    losses: dict[int, Any] = field(default_factory=dict)
    weights: list[Callable[[int], None]] = field(default_factory=list)
    structure: list[Fix] = field(default_factory=list)

    def layers(self, paths: tuple[str, ...]) -> list[Any]:
        """Returns the layers of some paths."""
        known: dict[str, Any] = {}
        for layer in layers_of(self.model):
            known.setdefault(layer.name, layer)
            known[layer.path] = layer
        missing = [path for path in paths if path not in known]
        if missing:
            raise ValueError(f"the model has no layer {missing[0]!r} to change")
        return [known[path] for path in paths]

    def set(self, thing: Any, **values: Any) -> None:
        """Sets attributes of a layer or a variable until the training has ended."""
        self.stack.enter_context(attributes_set(thing, **values))

    def output(self, where: str) -> int:
        """Returns the index of the output of a layer, or of a name."""
        outputs = self.facts.outputs
        for i, one in enumerate(outputs):
            if where in (one.layer, one.name):
                return i
        if len(outputs) == 1:
            return 0
        raise ValueError(f"the model has no output {where!r}")

    def set_losses(self) -> None:
        """Puts the changed losses in place of the compiled ones."""
        known = self.model._compile_loss
        if not self.losses:
            return
        if known is None:
            raise ValueError("the model has no compiled loss")
        given, names = known._user_loss, [one.name for one in self.facts.outputs]
        if len(names) == 1:
            made: Any = self.losses[0]
        elif isinstance(given, Mapping):
            made = {**given, **{names[i]: loss for i, loss in self.losses.items()}}
        else:
            each = (
                list(given) if isinstance(given, list | tuple) else [given] * len(names)
            )
            made = [self.losses.get(i, loss) for i, loss in enumerate(each)]
        compiled = type(known)(
            made, known._user_loss_weights, output_names=known.output_names
        )
        self.set(self.model, _compile_loss=compiled)

    def middles(self) -> list[float]:
        """Returns for each output the value between a "no" and a "yes"."""
        found = []
        for i, output in enumerate(self.facts.outputs):
            loss = self.losses.get(i)
            if loss is None:
                signs = output.loss is not None and "hinge" in output.loss.name
                logits = output.loss is not None and bool(output.loss.from_logits)
            else:
                signs = "hinge" in type(loss).__name__.lower()
                logits = bool(loss.get_config().get("from_logits"))
            found.append(0.0 if signs or logits else 0.5)
        return found


def loss_named(name: str, from_logits: bool | None) -> Any:
    """Returns one of Keras's losses by its name in snake case."""
    kind = "".join(part.capitalize() for part in name.split("_"))
    config = {} if from_logits is None else {"from_logits": from_logits}
    try:
        return getattr(keras.losses, kind)(**config)
    except (AttributeError, TypeError) as e:
        raise ValueError(f"Keras has no loss {name!r} like that") from e


def standardized(values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Returns a function that scales as these values would have to be."""
    axis = 0 if values.ndim <= 2 else None
    mean = np.mean(values.astype("float64"), axis)
    spread = np.std(values.astype("float64"), axis)
    spread = np.where(spread > 0, spread, 1.0)
    return lambda a: ((a.astype("float64") - mean) / spread).astype("float32")
