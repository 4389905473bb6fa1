"""Facts of what a model was compiled with: losses, metrics, optimizer."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_babysit.borrowing import learning_rate
from keras_babysit.facts import LossFacts, OptimizerFacts

#: Keras's classes whose snake case is not the name of the function.
LOSS_ALIASES = {"kldivergence": "kl_divergence"}
METRIC_ALIASES = {
    "acc": "accuracy",
    "kldivergence": "kl_divergence",
    "mean_io_u": "mean_iou",
}


def words(text: str) -> frozenset[str]:
    """Returns the words of a text, as names are listed here."""
    return frozenset(text.split())


def snake(name: str) -> str:
    """Returns a class name in snake case: `"LogCosh"`, `"log_cosh"`."""
    name = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name)
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower()


def is_keras(thing: Any) -> bool:
    """Returns whether a class or function is one of Keras's own."""
    module = getattr(thing, "__module__", None) or ""
    return module.split(".")[0] == "keras"


def has_own_step(model: Any) -> bool:
    """Whether a model trains by a `train_step` that is not Keras's."""
    owner = next((c for c in type(model).__mro__ if "train_step" in vars(c)), None)
    return owner is not None and not is_keras(owner)


def name_of(thing: Any) -> str:
    """Returns a function's name, or that of an object's class in snake case."""
    if isinstance(thing, functools.partial):
        return name_of(thing.func)
    return getattr(thing, "__name__", None) or snake(type(thing).__name__)


# ------------------------------------------------------------------------- losses


def loss_of(model: Any, names: list[str], index: int) -> tuple[Any, float]:
    """Returns what `compile` was given as loss and loss weight of one output."""
    compiled = getattr(model, "_compile_loss", None)
    loss = getattr(compiled, "_user_loss", getattr(model, "loss", None))
    weights = getattr(compiled, "_user_loss_weights", None)
    weight = pick(weights, names, index)
    number = isinstance(weight, int | float)
    return pick(loss, names, index), float(weight) if number else 1.0


def pick(value: Any, names: list[str], index: int) -> Any:
    """Returns the part of a compile argument that belongs to one output."""
    if isinstance(value, Mapping):
        return value.get(names[index]) if names[index] in value else None
    if isinstance(value, list | tuple):
        return value[index] if index < len(value) else None
    return value


def loss_facts(loss: Any, units: int | None) -> LossFacts | None:
    """Returns the facts of a loss in any of the forms that `compile` takes."""
    if loss is None:
        return None
    if isinstance(loss, str):
        return _named_loss(loss, units)
    if isinstance(loss, type):
        loss = _instance(loss) or loss
    if isinstance(loss, keras.losses.Loss):
        return _loss_object(loss)
    return _loss_function(loss)


def _instance(cls: type) -> Any:
    try:
        return cls()
    except Exception:
        return None


def _named_loss(name: str, units: int | None) -> LossFacts:
    if name.lower() in ("crossentropy", "ce"):
        # Keras decides by the shapes; between the other two only the labels tell.
        exact = "binary_crossentropy" if units == 1 else "crossentropy"
        return LossFacts(exact, from_logits=False)
    try:
        return loss_facts(keras.losses.get(name), units) or LossFacts(name)
    except Exception:
        return LossFacts(name, standard=False)


def _loss_object(loss: Any) -> LossFacts:
    fields = {**getattr(loss, "_fn_kwargs", {}), **vars(loss)}
    function = fields.get("fn")
    standard = is_keras(type(loss)) and (function is None or is_keras(function))
    wrapper = type(loss).__name__ == "LossFunctionWrapper"
    name = name_of(function) if wrapper else snake(type(loss).__name__)
    return LossFacts(
        name=LOSS_ALIASES.get(name, name),
        standard=standard,
        from_logits=_flag(fields.get("from_logits")),
        label_smoothing=_number(fields.get("label_smoothing")),
        ignore_class=fields.get("ignore_class"),
    )


def _loss_function(loss: Any) -> LossFacts:
    given = loss.keywords if isinstance(loss, functools.partial) else {}
    function = loss.func if isinstance(loss, functools.partial) else loss
    defaults = _defaults(function)
    name = name_of(function)
    return LossFacts(
        name=LOSS_ALIASES.get(name, name),
        standard=is_keras(function),
        from_logits=_flag(given.get("from_logits", defaults.get("from_logits"))),
        label_smoothing=_number(given.get("label_smoothing")),
    )


def _defaults(function: Any) -> dict[str, Any]:
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}
    return {name: p.default for name, p in parameters.items()}


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _number(value: Any) -> float:
    try:
        return float(np.asarray(value)) if value is not None else 0.0
    except (TypeError, ValueError):
        return 0.0


# ------------------------------------------------------------------------ metrics


def metric_names(model: Any, names: list[str], index: int) -> tuple[str, ...]:
    """Returns the names of one output's metrics."""
    compiled = getattr(model, "_compile_metrics", None)
    found: list[str] = []
    for field in ("_user_metrics", "_user_weighted_metrics"):
        value = getattr(compiled, field, None)
        if len(names) > 1 or isinstance(value, Mapping):
            value = pick(value, names, index)
        given = keras.tree.flatten(value)
        found += [metric_name(metric) for metric in given if metric is not None]
    return tuple(dict.fromkeys(found))


def metric_name(metric: Any) -> str:
    """Returns a metric's name in snake case.

    An object of the class `keras.metrics.Accuracy` is `"exact_accuracy"`: unlike the
    string `"accuracy"`, it asks that predictions equal the labels.
    """
    if isinstance(metric, str):
        return _named_metric(metric)
    if isinstance(metric, type):
        name = snake(metric.__name__)
    elif isinstance(metric, keras.metrics.Metric):
        name = _metric_object(metric)
    else:
        name = name_of(metric)
        return METRIC_ALIASES.get(name, name)
    if name == "accuracy" and _is_exact(metric):
        return "exact_accuracy"
    return METRIC_ALIASES.get(name, name)


def _is_exact(metric: Any) -> bool:
    cls = metric if isinstance(metric, type) else type(metric)
    return issubclass(cls, keras.metrics.Accuracy)


def _named_metric(name: str) -> str:
    if name.lower() in ("accuracy", "acc"):
        return "accuracy"
    try:
        return metric_name(keras.metrics.get(name))
    except Exception:
        return name


def _metric_object(metric: Any) -> str:
    function = getattr(metric, "_fn", None)
    if type(metric).__name__ == "MeanMetricWrapper" and function is not None:
        return name_of(function)
    kind = next((c for c in type(metric).__mro__ if is_keras(c)), type(metric))
    own = kind.__name__ in ("Metric", "Mean", "MeanMetricWrapper", "Sum")
    return snake(type(metric).__name__ if own else kind.__name__)


# ---------------------------------------------------------------------- optimizer


def optimizer_facts(model: Any) -> OptimizerFacts | None:
    """Returns the facts of a model's optimizer, of the inner one of a wrapper."""
    optimizer = getattr(model, "optimizer", None)
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        return None
    schedule = getattr(optimizer, "_learning_rate", None)
    clips = ("clipnorm", "clipvalue", "global_clipnorm")
    return OptimizerFacts(
        name=_optimizer_name(optimizer),
        learning_rate=_learning_rate(optimizer),
        scheduled=isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule),
        momentum=_number(getattr(optimizer, "momentum", 0.0)),
        weight_decay=_number(getattr(optimizer, "weight_decay", 0.0)),
        clips=any(getattr(optimizer, name, None) is not None for name in clips),
        accumulates=getattr(optimizer, "gradient_accumulation_steps", None) or 1,
        unknown=_unknown(optimizer, model),
        frozen=_frozen(optimizer, model),
    )


def _unknown(optimizer: Any, model: Any) -> tuple[str, ...]:
    """Trainable weights that an optimizer which has been built does not have."""
    if not optimizer.built:
        return ()
    known = {id(v) for v in optimizer._trainable_variables}
    trained = [id(v) in known for v in model.trainable_variables]
    if not any(trained):
        return ()  # It is of other variables altogether.
    return tuple(
        v.path
        for v, one in zip(model.trainable_variables, trained, strict=True)
        if not one
    )


def _frozen(optimizer: Any, model: Any) -> tuple[str, ...]:
    """Weights that an optimizer was built for, and that are not trainable now."""
    known = {id(v) for v in optimizer._trainable_variables}
    return tuple(v.path for v in model.non_trainable_variables if id(v) in known)


def _optimizer_name(optimizer: Any) -> str:
    kind = next((c for c in type(optimizer).__mro__ if is_keras(c)), type(optimizer))
    bare = kind.__name__ in ("Optimizer", "TFOptimizer", "BaseOptimizer")
    return type(optimizer).__name__ if bare else kind.__name__


def _learning_rate(optimizer: Any) -> float:
    try:
        rate = float(keras.ops.convert_to_numpy(learning_rate(optimizer)))
        return float(f"{rate:.7g}")  # 0.01, not the float32 next to it.
    except Exception:
        return float("nan")
