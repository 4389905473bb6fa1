"""Three mistakes, and for each the advice that was tried out; about half a minute.

```sh
python examples/try_fixes.py
```
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
from sklearn.datasets import load_digits, load_wine

import keras_babysit


def network(features, classes, rate=1e-3, activation="softmax"):
    """Two hidden layers, compiled."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((features,)),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(classes, activation=activation),
        ]
    )
    model.compile(
        keras.optimizers.Adam(rate),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def main():
    """Tries fixes for each mistake."""
    x, y = load_digits(return_X_y=True)
    x = x.astype("float32") / 16
    wine, cultivar = load_wine(return_X_y=True)
    mistakes = {
        "A learning rate 300 times too high": (network(64, 10, rate=0.3), x, y),
        "No softmax": (network(64, 10, activation=None), x, y),
        "Columns from 0.1 to 1,700": (network(13, 3), wine, cultivar),
    }
    for title, (model, inputs, targets) in mistakes.items():
        print(f"\n{title}\n{'=' * len(title)}")
        print(keras_babysit.try_fixes(model, inputs, targets))


if __name__ == "__main__":
    main()
