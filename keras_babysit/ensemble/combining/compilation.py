"""What an ensemble is compiled with: a member's losses and metrics, corrected."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from keras_babysit.ensemble.outputs.forms import OutputForm
from keras_babysit.inspection import compiled
from keras_babysit.inspection.layers import graph_of
from keras_babysit.inspection.model import output_names

#: Settings of metrics that are compared with outputs.
_THRESHOLDS = ("threshold", "thresholds")
#: What `compile` takes for each output.
_FIELDS = ("loss", "loss_weights", "metrics", "weighted_metrics")


def compile_arguments(
    member: keras.Model, forms: Sequence[OutputForm], logits: Sequence[bool]
) -> dict[str, Any] | None:
    """Returns what to compile an ensemble with, to be evaluated as a member is.

    Args:
        member: a compiled member; its losses and metrics are copied.
        forms: what its outputs are.
        logits: of each output, whether the ensemble puts out logits.

    Returns:
        Arguments of `compile`, for an optimizer that has no state; `None` if a loss is
        not Keras's own and the ensemble does not put out what it was made for.
    """
    names = _names(member, len(forms))
    found: dict[str, list] = {name: [] for name in _FIELDS}
    for at, form in enumerate(forms):
        loss, weight = compiled.loss_of(member, names, at)
        corrected = _loss(loss, form.logits, logits[at])
        if loss is not None and corrected is None:
            return None
        found["loss"].append(corrected)
        found["loss_weights"].append(weight)
        for field in ("metrics", "weighted_metrics"):
            given = _metrics_of(member, f"_user_{field}", names, at)
            copies = [_metric(metric, form, logits[at]) for metric in given]
            found[field].append([metric for metric in copies if metric is not None])
    # The state of another one would be missing in files, which Keras warns of.
    arguments: dict[str, Any] = {"optimizer": "sgd"}
    if len(forms) == 1:
        found.pop("loss_weights")
        return arguments | {field: values[0] for field, values in found.items()}
    if isinstance(getattr(graph_of(member), "output", None), Mapping):
        return arguments | {f: _by_name(names, v) for f, v in found.items()}
    return arguments | found


def _names(member: keras.Model, count: int) -> list[str]:
    if graph_of(member) is not None:
        return output_names(member)
    given = getattr(member, "loss", None)
    if isinstance(given, Mapping) and len(given) == count:
        return [str(name) for name in given]
    return [f"output_{i + 1}" for i in range(count)]


def _by_name(names: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in zip(names, values, strict=True)
        if value is not None and value != []
    }


def _loss(loss: Any, was: bool, becomes: bool) -> Any:
    """A loss for logits or probabilities; `None` if it cannot be corrected."""
    facts = compiled.loss_facts(loss, None)
    if facts is None:
        return None
    if isinstance(loss, type):
        loss = loss()
    # One without the option takes what it is given: right if that is what it was.
    if becomes == (was if facts.from_logits is None else facts.from_logits):
        return loss
    if facts.from_logits is None or not facts.standard:
        return None
    option = {"from_logits": becomes}
    if isinstance(loss, keras.losses.Loss):
        return type(loss).from_config(loss.get_config() | option)
    # An object in place of a name or a function: partial ones cannot be saved.
    given = loss.keywords if isinstance(loss, functools.partial) else {}
    name = "".join(part.capitalize() for part in facts.name.split("_"))
    kind = getattr(keras.losses, name, None)
    return None if kind is None else kind(**given | option)


def _metrics_of(
    member: keras.Model, field: str, names: Sequence[str], index: int
) -> list[Any]:
    given = getattr(getattr(member, "_compile_metrics", None), field, None)
    if len(names) > 1 or isinstance(given, Mapping):
        given = compiled.pick(given, list(names), index)
    if given is None:
        return []
    return list(given) if isinstance(given, list | tuple) else [given]


def _metric(metric: Any, form: OutputForm, logits: bool) -> Any:
    """A metric of its own, for logits or probabilities."""
    if not isinstance(metric, keras.metrics.Metric):
        return metric
    try:
        config = dict(metric.get_config())
        if "from_logits" in config:
            config["from_logits"] = logits
        if form.kind == "binary" and form.logits and not logits:
            for name in _THRESHOLDS:
                if config.get(name) is not None:
                    config[name] = keras.tree.map_structure(_sigmoid, config[name])
        return type(metric).from_config(config)
    except (TypeError, ValueError, NotImplementedError) as e:
        warnings.warn(
            f"The metric {metric.name!r} cannot be made again from its `get_config`, "
            f"and is left out of the ensemble's: {e}",
            stacklevel=5,
        )
        return None


def _sigmoid(value: Any) -> Any:
    return 1 / (1 + math.exp(-float(value)))
