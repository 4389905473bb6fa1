"""Keras's names for losses, metrics, functions and optimizers, by what they are."""

from __future__ import annotations

import math
import re


def words(text: str) -> frozenset[str]:
    """Returns the words of a text, as names are listed here."""
    return frozenset(text.split())


BINARY = frozenset(("binary_crossentropy", "binary_focal_crossentropy"))
ONE_HOT = frozenset(("categorical_crossentropy", "categorical_focal_crossentropy"))
SPARSE = frozenset(("sparse_categorical_crossentropy",))
CLASSES = ONE_HOT | SPARSE | {"crossentropy"}
#: Losses that take the logarithm of the outputs as probabilities.
CROSS_ENTROPIES = BINARY | CLASSES
#: Those whose loss at chance is known.
CLASS_LOSSES = words(
    "sparse_categorical_crossentropy categorical_crossentropy binary_crossentropy"
)
REGRESSION = words(
    "mean_squared_error mean_absolute_error mean_absolute_percentage_error "
    "mean_squared_logarithmic_error huber log_cosh"
)
#: Losses that no prediction brings below zero, and a perfect one to zero.
FROM_ZERO = CLASS_LOSSES | REGRESSION | words("hinge squared_hinge categorical_hinge")
ACCURACIES = words(
    "accuracy exact_accuracy binary_accuracy categorical_accuracy "
    "sparse_categorical_accuracy"
)

#: How a loss is written in advice.
BINARY_LOSS = 'loss="binary_crossentropy"'
SPARSE_LOSS = 'loss="sparse_categorical_crossentropy"'
ONE_HOT_LOSS = 'loss="categorical_crossentropy"'

#: Smallest and largest value that an activation function can put out.
RANGES: dict[str, tuple[float, float]] = {
    "sigmoid": (0.0, 1.0),
    "hard_sigmoid": (0.0, 1.0),
    "softmax": (0.0, 1.0),
    "sparsemax": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "hard_tanh": (-1.0, 1.0),
    "softsign": (-1.0, 1.0),
    "relu": (0.0, math.inf),
    "relu6": (0.0, 6.0),
    "softplus": (0.0, math.inf),
    "squareplus": (0.0, math.inf),
    "exponential": (0.0, math.inf),
    "elu": (-1.0, math.inf),
    "celu": (-1.0, math.inf),
    "selu": (-1.7581, math.inf),
    "gelu": (-0.17, math.inf),
    "silu": (-0.2785, math.inf),
    "mish": (-0.3088, math.inf),
    "log_softmax": (-math.inf, 0.0),
    "log_sigmoid": (-math.inf, 0.0),
}

#: Optimizers that divide by the size of the gradient: each weight moves by about the
#: learning rate, however large or small its gradient is.
ADAPTIVE = words("Adam AdamW Adamax Nadam RMSprop Lion")

#: Initializers that go by the layer's size: there is nothing to say about those.
SCALING = words(
    "GlorotUniform GlorotNormal HeUniform HeNormal LecunUniform LecunNormal Orthogonal"
)
#: Words in the names of metrics that are better when they are larger, or smaller.
_LARGER = words(
    "accuracy acc auc precision recall f1 fbeta iou miou jaccard dice r2 ap map "
    "sensitivity specificity psnr ssim bleu kappa mcc ndcg mrr"
)
_SMALLER = words(
    "loss error mse mae rmse mape msle crossentropy entropy perplexity divergence "
    "hinge wer cer fid huber logcosh brier"
)


def direction(metric: str) -> str:
    """Returns `"max"` or `"min"`, for which way a log is better; `""` if unknown."""
    found = frozenset(re.split(r"[^a-z0-9]+", metric.lower()))
    if found & _SMALLER:
        return "min"
    return "max" if found & _LARGER else ""
