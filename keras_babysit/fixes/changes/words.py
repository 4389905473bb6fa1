"""Changes in words, and as the lines of Keras code that make them."""

from __future__ import annotations

from collections.abc import Sequence

from keras_babysit.document.words import number
from keras_babysit.facts import ModelFacts
from keras_babysit.records import Fix

#: Longer calls have an argument a line.
_WIDTH = 88


def words(fixes: Sequence[Fix]) -> str:
    """`"a learning rate of 1e-3 and scaled inputs"`."""
    parts = [_WORDS[fix.kind](fix) for fix in fixes]
    return " and ".join(parts) or "as it is"


def _places(fix: Fix) -> str:
    first, more = ", ".join(fix.where[:2]), len(fix.where) - 2
    return first + (f" and {more} more" if more > 0 else "")


def _output(fix: Fix) -> str:
    parts = []
    if fix["activation"] == "linear":
        parts.append("no output activation")
    elif fix["activation"]:
        parts.append(f"{fix['activation']} as the output activation")
    if fix["loss"]:
        parts.append(f"the loss {fix['loss']}")
    if fix["from_logits"] is not None:
        parts.append(f"from_logits={fix['from_logits']}")
    return " with ".join([*parts[:1], ", ".join(parts[1:])]) if parts[1:] else parts[0]


_WORDS = {
    "learning_rate": lambda f: f"a learning rate of {number(f['value'])}",
    "clip": lambda f: "clipped gradients",
    "output": _output,
    "activation": lambda f: f"{f['name']} in {_places(f)}",
    "initializer": lambda f: f"{f['name']} kernels",
    "dropout": lambda f: f"a dropout rate of {number(f['rate'])} in {_places(f)}",
    "no_penalty": lambda f: "no penalties on the weights",
    "trainable": lambda f: f"{_places(f) or 'all layers'} trained",
    "adapt": lambda f: f"{_places(f)} adapted to the data",
    "scale_inputs": lambda f: f"{_places(f)} standardized",
    "divide_inputs": lambda f: f"{_places(f)} divided by {number(f['by'])}",
    "scale_targets": lambda f: f"{_places(f)} standardized",
    "labels_from_zero": lambda f: "labels numbered from 0",
    "labels_as_signs": lambda f: "labels of -1 and 1",
    "class_weights": lambda f: "class weights",
    "equal_weights": lambda f: "no sample weights",
    "shuffle": lambda f: "shuffled samples",
    "batch_size": lambda f: f"batches of {f['size']}",
}


def code(fixes: Sequence[Fix], facts: ModelFacts, ranks: dict[str, int]) -> str:
    """Returns the lines of code that make some changes.

    Args:
        fixes: the changes.
        facts: of the model.
        ranks: name of an array of the data to how many axes it has.
    """
    lines = [line for fix in fixes for line in _data(fix, ranks)]
    lines += [line for fix in fixes for line in _layers(fix, facts)]
    if told := _compile(fixes, facts):
        whole = f"model.compile({', '.join(told)})"
        if len(whole) > _WIDTH:
            whole = "model.compile(\n    " + ",\n    ".join(told) + ",\n)"
        lines.append(whole)
    if told := _fit(fixes):
        lines.append(f"model.fit({', '.join(told)})")
    return "\n".join(lines)


def _data(fix: Fix, ranks: dict[str, int]) -> list[str]:
    v = fix.where[0] if fix.where else "y"
    axis = "axis=0" if ranks.get(v, 2) <= 2 else ""
    scaled = f"{v} = ({v} - {v}.mean({axis})) / ({v}.std({axis}) + 1e-7)"
    again = "  # other data by the same numbers"
    found = {
        "scale_inputs": [scaled + again],
        "scale_targets": [f"{scaled}  # and undo it on the predictions"],
        "divide_inputs": [f"{v} = {v}.astype('float32') / {number(fix['by'] or 1)}"],
        "labels_from_zero": [f"{v} = np.unique({v}, return_inverse=True)[1]"],
        "labels_as_signs": [f"{v} = np.where({v} > {v}.min(), 1.0, -1.0)"],
        "class_weights": [
            f"counts = np.bincount({v})",
            f"class_weight = dict(enumerate(len({v}) / (len(counts) * counts)))",
        ],
        "adapt": [f"model.get_layer({v!r}).adapt(x)  # before training"],
        "trainable": [
            f"model.get_layer({_name(where)!r}).trainable = True"
            for where in fix.where or ()
        ]
        or ["model.trainable = True"],
    }
    return found.get(fix.kind, [])


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _layers(fix: Fix, facts: ModelFacts) -> list[str]:
    set_to = {
        "output": ("activation", fix["activation"]),
        "activation": ("activation", fix["name"]),
        "initializer": ("kernel_initializer", fix["name"]),
        "dropout": ("rate", fix["rate"]),
    }
    argument, value = set_to.get(fix.kind, ("", None))
    if value is None:
        return []
    known = {layer.path: layer for layer in facts.layers}
    lines = []
    for path in fix.where:
        layer = known.get(path)
        kind = layer.kind if layer is not None else "Dense"
        if fix.kind == "dropout":
            lines.append(f"keras.layers.{kind}({value:g})  # {path}")
            continue
        rest = "..."
        if kind == "Dense" and layer is not None and layer.units:
            rest = str(layer.units)
        told = None if value == "linear" else value
        lines.append(f"keras.layers.{kind}({rest}, {argument}={told!r})  # {path}")
    return lines or [f"keras.layers.Dense(..., {argument}={value!r})"]


def _compile(fixes: Sequence[Fix], facts: ModelFacts) -> list[str]:
    """Arguments of `compile` if it has to be called again: all of them, to paste."""
    kinds = {fix.kind for fix in fixes}
    outputs = [f for f in fixes if f.kind == "output"]
    losses = [f for f in outputs if f["loss"] or f["from_logits"] is not None]
    if not losses and not kinds & {"learning_rate", "clip", "trainable"}:
        return []
    told = [f"optimizer={_optimizer(fixes, facts)}"]
    told.append(f"loss={_losses(losses, facts)}")
    metrics = [name for output in facts.outputs for name in output.metrics]
    if metrics and len(facts.outputs) == 1:
        told.append(f"metrics={metrics!r}")
    return told


def _optimizer(fixes: Sequence[Fix], facts: ModelFacts) -> str:
    known = facts.optimizer
    if known is None:
        return "model.optimizer"
    settings = {"learning_rate": known.learning_rate, "momentum": known.momentum}
    settings |= {"weight_decay": known.weight_decay}
    for fix in fixes:
        if fix.kind == "learning_rate":
            settings["learning_rate"] = fix["value"]
        elif fix.kind == "clip":
            settings["clipnorm"] = fix["norm"]
        elif fix.kind == "no_penalty":
            settings["weight_decay"] = 0.0
    inside = ", ".join(f"{k}={number(v)}" for k, v in settings.items() if v)
    return f"keras.optimizers.{known.name}({inside})"


def _losses(changed: Sequence[Fix], facts: ModelFacts) -> str:
    if not changed:
        return "model.loss"
    found = {}
    for output in facts.outputs:
        own = [f for f in changed if f.where[0] in (output.layer, output.name)]
        if not own and len(facts.outputs) == 1:
            own = list(changed)
        known = output.loss
        name = (own[0]["loss"] if own else None) or (known.name if known else None)
        logits = own[0]["from_logits"] if own else known and known.from_logits
        found[output.name] = _loss(name, bool(logits))
    if len(found) == 1:
        return next(iter(found.values()))
    return "{" + ", ".join(f"{k!r}: {v}" for k, v in found.items()) + "}"


def _loss(name: str | None, from_logits: bool) -> str:
    if not from_logits or name is None:
        return repr(name)
    kind = "".join(part.capitalize() for part in name.split("_"))
    return f"keras.losses.{kind}(from_logits=True)"


def _fit(fixes: Sequence[Fix]) -> list[str]:
    arguments = {
        "class_weights": "class_weight=class_weight",
        "shuffle": "shuffle=True",
        "equal_weights": "sample_weight=None",
    }
    told = [arguments[fix.kind] for fix in fixes if fix.kind in arguments]
    told += [f"batch_size={fix['size']}" for fix in fixes if fix.kind == "batch_size"]
    return ["x", "y", *told] if told else []
