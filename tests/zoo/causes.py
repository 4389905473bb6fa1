"""Groups of rules that name the consequences of a fault."""

#: Nothing is learned.
FLAT = frozenset(
    {
        "loss-flat",
        "loss-plateaued",
        "accuracy-at-majority",
        "initial-loss-off-chance",
        "underfitting",
        "update-ratio-too-low",
        "vanishing-gradients",
        "dead-relu",
        "saturated-activation",
        "activations-collapsing",
    }
)

#: Numbers grow until they are none.
BLOWN = frozenset(
    {
        "loss-not-finite",
        "loss-diverging",
        "loss-oscillating",
        "exploding-gradients",
        "update-ratio-too-high",
        "learning-rate-too-high",
        "activations-exploding",
        "initial-loss-off-chance",
        "dead-relu",
        "saturated-activation",
    }
)

#: Something is learned, but not for other data.
WORSE = frozenset({"overfitting", "validation-better"})
