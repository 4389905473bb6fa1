"""How many cards TensorBoard shows of a run, and how large its event files are.

Networks of 5, 60 and 300 layers train for a few epochs under a default Babysitter, and
once more with every tenth step observed. TensorBoard's own reader counts the tags.

    python benchmarks/event_files.py [--layers 5 60 300] [--epochs 3]
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from keras import layers as L
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.util import tensor_util

import keras_babysit

KINDS = ("scalars", "histograms", "images", "text", "custom_scalars", "keras_babysit")
BATCH, STEPS = 32, 100


def residual(n: int) -> keras.Model:
    """Returns a network of `n` layers with kernels: convolutions in blocks of two."""
    inputs = keras.Input((8, 8, 3))
    x = L.Conv2D(8, 3, padding="same", use_bias=False)(inputs)
    for i in range(n - 2):
        if i % 2 == 0:
            block = x
        x = L.Conv2D(8, 3, padding="same", use_bias=False)(x)
        x = L.ReLU()(L.BatchNormalization()(x))
        if i % 2:
            x = L.Add()([block, x])
    return keras.Model(inputs, L.Dense(10)(L.GlobalAveragePooling2D()(x)))


def dense(n: int) -> keras.Model:
    """Returns a network of `n` dense layers."""
    hidden = [L.Dense(16, activation="relu") for _ in range(n - 1)]
    return keras.Sequential([keras.Input((8, 8, 3)), L.Flatten(), *hidden, L.Dense(10)])


def run(n: int, epochs: int, every: int | None, log_dir: str) -> None:
    """Trains a network, watched."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(BATCH * STEPS, 8, 8, 3)).astype("float32")
    y = rng.integers(0, 10, len(x))
    model = dense(n) if n > 100 else residual(n)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    watcher = keras_babysit.Babysitter(log_dir, every=every, verbose=0)
    held_out = (x[:BATCH], y[:BATCH])
    model.fit(
        x,
        y,
        BATCH,
        epochs,
        verbose=0,
        validation_data=held_out,
        callbacks=[watcher],
    )


def measure(log_dir: str) -> tuple[dict[str, int], dict[str, int], int]:
    """Returns the cards and the bytes of values by kind, and the files' bytes."""
    cards: dict[str, set[str]] = {kind: set() for kind in KINDS}
    charts = 0
    sizes = dict.fromkeys(KINDS, 0)
    for folder in ("train", "validation"):
        found = EventAccumulator(f"{log_dir}/{folder}", size_guidance={"tensors": 0})
        found.Reload()
        for tag in found.Tags()["tensors"]:
            kind = found.SummaryMetadata(tag).plugin_data.plugin_name
            cards[kind].add(tag)
            points = found.Tensors(tag)
            sizes[kind] += sum(p.tensor_proto.ByteSize() + len(tag) for p in points)
            if kind == "custom_scalars":
                value = tensor_util.make_ndarray(points[0].tensor_proto).item()
                groups = layout_pb2.Layout.FromString(value).category
                charts += sum(len(group.chart) for group in groups)
    total = sum(p.stat().st_size for p in Path(log_dir).rglob("events*"))
    counts = {kind: len(tags) for kind, tags in cards.items()}
    return {**counts, "custom_scalars": charts}, sizes, total


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, nargs="+", default=[5, 60, 300])
    parser.add_argument("--epochs", type=int, default=3)
    options = parser.parse_args()
    print("| layers | observed | " + " | ".join(KINDS) + " | kB an epoch |")
    print("|---" * (len(KINDS) + 3) + "|")
    for n in options.layers:
        for every in (None, 10):
            keras.backend.clear_session()
            with tempfile.TemporaryDirectory() as log_dir:
                run(n, options.epochs, every, log_dir)
                counts, sizes, total = measure(log_dir)
            cells = [f"{counts[k]} ({sizes[k] // 1000} kB)" for k in KINDS]
            each = f"{total / options.epochs / 1000:,.0f}"
            how = f"every={every}" if every else "default"
            print("| " + " | ".join([str(n), how, *cells, each]) + " |", flush=True)


if __name__ == "__main__":
    main()
