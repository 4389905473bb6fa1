"""What losses compare, and which function of scores makes what they compare."""

from __future__ import annotations

from collections.abc import Mapping

#: Loss, named as in `LossFacts`, to what it compares.
KINDS: Mapping[str, str] = {
    "binary_crossentropy": "binary",
    "binary_focal_crossentropy": "binary",
    "categorical_crossentropy": "classes",
    "categorical_focal_crossentropy": "classes",
    "categorical_generalized_cross_entropy": "classes",
    "categorical_hinge": "margins",
    "circle": "embeddings",
    "cosine_similarity": "directions",
    "ctc": "paths",
    "dice": "overlap",
    "hinge": "margins",
    "huber": "numbers",
    "kl_divergence": "classes",
    "log_cosh": "numbers",
    "mean_absolute_error": "numbers",
    "mean_absolute_percentage_error": "numbers",
    "mean_squared_error": "numbers",
    "mean_squared_logarithmic_error": "numbers",
    "poisson": "counts",
    "sparse_categorical_crossentropy": "classes",
    "squared_hinge": "margins",
    "tversky": "overlap",
}
#: Losses of classes whose targets are labels, not rows.
SPARSE = ("sparse_categorical_crossentropy", "categorical_generalized_cross_entropy")
#: Kinds that only some outputs suit: the usual activation first.
_SUITED: Mapping[str, tuple[str, ...]] = {
    "classes": ("softmax", "sigmoid"),
    "binary": ("sigmoid", "softmax", "hard_sigmoid"),
    "overlap": ("sigmoid", "softmax", "hard_sigmoid"),
    "counts": ("exponential", "softplus", "relu", "sigmoid", "softmax"),
    "embeddings": ("unit",),
}


def link_of(name: str, activation: str | None, from_logits: bool = False) -> str:
    """Returns the function that makes a loss's prediction of scores around zero.

    It is the output's own activation, unless that gives nothing the loss could work
    with: a cross-entropy of probabilities behind a linear output.

    Args:
        name: the loss, as in `KINDS`.
        activation: the output's activation; `None` if it is not known.
        from_logits: whether the loss takes logits.

    Returns:
        Name of an activation function, or `"unit"`: scaled to unit length.
    """
    suited = () if from_logits else _SUITED.get(KINDS[name], ())
    if not suited:
        return activation or "linear"
    return activation if activation in suited else suited[0]


def formula(name: str, classes: int | None = None) -> str:
    """Returns how the loss of equal scores is reckoned, `"log 10"`; empty if long."""
    if name in ("sparse_categorical_crossentropy", "categorical_crossentropy"):
        return f"log {classes}" if classes else ""
    if name == "binary_crossentropy":
        return "log 2"
    if KINDS.get(name) == "margins":
        return "a margin of 1"
    return ""
