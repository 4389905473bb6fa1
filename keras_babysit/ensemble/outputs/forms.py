"""What the outputs of members are: probabilities, logits, or plain values."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from keras_babysit.errors import wrong
from keras_babysit.facts import LossFacts
from keras_babysit.inspection import compiled
from keras_babysit.inspection.layers import activation_of, graph_of, inner, kind_of
from keras_babysit.inspection.model import AFFINE, MOVING, output_names

#: Losses of one class out of several.
CATEGORICAL = frozenset(
    {
        "categorical_crossentropy",
        "categorical_focal_crossentropy",
        "categorical_generalized_cross_entropy",
        "crossentropy",
        "kl_divergence",
        "sparse_categorical_crossentropy",
    }
)
#: Losses of yes or no.
BINARY = frozenset({"binary_crossentropy", "binary_focal_crossentropy"})
#: Losses of values: a sigmoid below one of them may make pixels, say.
REGRESSION = frozenset(
    {
        "cosine_similarity",
        "huber",
        "log_cosh",
        "mean_absolute_error",
        "mean_absolute_percentage_error",
        "mean_squared_error",
        "mean_squared_logarithmic_error",
        "poisson",
    }
)


@dataclass(frozen=True)
class OutputForm:
    """What one output of a model is.

    Attributes:
        name: the output's name; `""` if the model has only one.
        kind: `"categorical"` (one of several classes), `"binary"` (each value by
            itself, yes or no), or `"values"`.
        logits: whether it is logits (or log-probabilities), not probabilities.
        known: whether model and loss tell so; values are also what nothing is known of.
        doubtful: whether only the loss tells so, and a layer without an activation
            function makes it: `from_logits=True` may be missing in the loss.
    """

    name: str = ""
    kind: str = "values"
    logits: bool = False
    known: bool = True
    doubtful: bool = False

    @property
    def words(self) -> str:
        """For messages: `"categorical logits"`."""
        if self.kind == "values":
            return "values"
        return f"{self.kind} {'logits' if self.logits else 'probabilities'}"


def forms_of(model: keras.Model, from_logits: bool | None = None) -> list[OutputForm]:
    """Returns what each output of a model is, flat.

    The last activation function tells it (softmax, sigmoid, log_softmax), or else the
    loss that the model was compiled with and its `from_logits`.

    Args:
        model: a built model. Where Keras does not know its graph, only the losses
            tell.
        from_logits: whether outputs are logits, where that is not known. `True` makes
            outputs without softmax or sigmoid logits, of one class out of several if
            there is more than one unit (and no binary loss); `False` makes none.
    """
    if not (from_logits is None or isinstance(from_logits, bool)):
        raise wrong("from_logits", "True, False or None", from_logits)
    # An ensemble's own: what its weighted sum comes to, no graph tells.
    own = getattr(model, "output_forms", None)
    if own is not None:
        return list(own)
    graph = graph_of(model)
    if graph is None:
        given = getattr(model, "loss", None)
        names = [str(n) for n in given] if isinstance(given, Mapping) else [""]
        last: list[tuple[str | None, int | None]] = [(None, None)] * len(names)
    else:
        names = output_names(model)
        last = [(last_activation(t), t.shape[-1]) for t in graph.outputs]
    forms = []
    for index, (activation, units) in enumerate(last):
        loss = compiled.loss_facts(compiled.loss_of(model, names, index)[0], units)
        name = names[index] if len(names) > 1 else ""
        forms.append(_form(name, activation, units, loss, from_logits))
    return forms


def last_activation(tensor: Any) -> str | None:
    """Returns the name of the last function of a symbolic tensor's graph.

    Layers that only move values about are passed. `"linear"` if there is none, `None`
    if that is not known.
    """
    operation, node, index = tensor._keras_history
    graph = graph_of(operation)
    if graph is not None:
        return last_activation(graph.outputs[index])
    layer = inner(operation)
    kind = kind_of(layer)
    found = activation_of(layer)
    if found is not None:
        # What a custom layer does with its `activation`, it alone knows.
        is_known = hasattr(keras.layers, kind) or not getattr(layer, "weights", None)
        return found if is_known else None
    family = re.sub(r"\dD", "", kind)
    sources = operation._inbound_nodes[node].input_tensors
    # The mean of probabilities is one.
    if family in (*MOVING, "Average") and sources:
        below = {last_activation(source) for source in sources}
        return below.pop() if len(below) == 1 else None
    return "linear" if family in AFFINE else None


def _form(
    name: str,
    activation: str | None,
    units: int | None,
    loss: LossFacts | None,
    from_logits: bool | None,
) -> OutputForm:
    loss_name = loss.name if loss is not None else ""
    if activation == "softmax":
        return OutputForm(name, "categorical")
    if activation == "sigmoid" and loss_name not in REGRESSION:
        return OutputForm(name, "binary")
    if activation == "log_softmax":
        return OutputForm(name, "categorical", logits=True)
    told = loss.from_logits if loss is not None else None
    logits = bool(told if from_logits is None else from_logits)
    if loss_name in BINARY | CATEGORICAL:
        kind = "binary" if loss_name in BINARY else "categorical"
        doubtful = activation == "linear" and not logits and from_logits is None
        return OutputForm(name, kind, logits, doubtful=doubtful)
    if from_logits and loss_name not in REGRESSION:
        return OutputForm(name, "binary" if units == 1 else "categorical", logits=True)
    return OutputForm(name, known=loss_name in REGRESSION)


def agreed(forms: Sequence[Sequence[OutputForm]]) -> list[list[OutputForm]]:
    """Returns the forms of all members' outputs, alike in kind.

    What nothing is known of, as of a model that was loaded without being compiled,
    counts as what the other members put out.
    """
    columns = [_agreed(column) for column in zip(*forms, strict=True)]
    return [list(row) for row in zip(*columns, strict=True)]


def _agreed(column: Sequence[OutputForm]) -> list[OutputForm]:
    known = [form for form in column if form.known]
    if not known:
        return list(column)
    filled = [
        form
        if form.known
        else dataclasses.replace(known[0], name=form.name, known=False)
        for form in column
    ]
    for number, form in enumerate(filled, start=1):
        if form.kind != filled[0].kind:
            at = f" in output {filled[0].name!r}" if filled[0].name else ""
            raise ValueError(
                "Members must put out the same kind of thing: judged by the last "
                "activation and the loss, these do not. Received: "
                f"{filled[0].words} of member 1, {form.words} of member {number}{at}"
            )
    return filled
