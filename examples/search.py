"""Searches the rate, the size and the regularization of a network, coarse to fine.

Run it with `python examples/search.py [directory]`. Run it again, or after you have
stopped it with Ctrl-C or worse, and it goes on where it was.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from sklearn.datasets import load_digits

from keras_babysit import search


def make_model(hp):
    """Returns a compiled network with the values that `hp` has for this trial."""
    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(
                hp.Int("units", 16, 256, sampling="log"),
                activation="relu",
                kernel_regularizer=keras.regularizers.L2(search.l2(hp)),
            ),
            keras.layers.Dropout(search.dropout(hp)),
            keras.layers.Dense(10),
        ]
    )
    # 1e-6 to 10, as the notes have it: most of these rates are hopeless.
    rate = search.learning_rate(hp)
    model.compile(
        keras.optimizers.SGD(rate, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def main(directory):
    """Searches in three stages, and shows what came of it."""
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = (x[order] / 16).astype("float32"), y[order]

    searching = search.Search(
        make_model,
        objective="val_accuracy",
        stages=[(16, 1), (8, 4), (4, 12)],  # (trials, epochs)
        directory=directory,
        project_name="digits",
        seed=1,
    )
    report = searching.search(
        x[:1000], y[:1000], validation_data=(x[1000:1400], y[1000:1400])
    )
    print(report)
    report.plot(directory / "search.png")
    report.save(directory / "search.html")

    (best,) = searching.best_models(1)
    found = best.evaluate(x[1400:], y[1400:], verbose=0, return_dict=True)
    print(
        f"\nThe best one, on digits it has not seen: {found['accuracy']:.1%} right.\n"
    )
    print(f"""Where to look:

    {directory / "search.html"}
    {directory / "search.png"}
    keras-babysit search status {directory / "digits"}
    tensorboard --logdir {directory / "digits"}    # the tab HParams
""")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "logs/search").resolve())
