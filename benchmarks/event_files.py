"""How many cards TensorBoard shows of a run, and how large its event files are.

Networks of 5, 60 and 300 layers are made, not trained: their event files hold made-up
numbers, as if every tenth of 100 steps in an epoch were observed fully. TensorBoard's
own reader counts the tags.

    python benchmarks/event_files.py [--layers 5 60 300] [--epochs 3]
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from keras import layers as L
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.util import tensor_util

from keras_babysit import records, statistics
from keras_babysit.inspection.layers import outline
from keras_babysit.sinks.tensorboard import TensorBoardSink

KINDS = ("scalars", "histograms", "images", "custom_scalars", "keras_babysit")
STEPS, EVERY = 100, 10


def residual(n: int) -> keras.Model:
    """Returns a network of `n` layers with kernels: convolutions in blocks of two."""
    inputs = keras.Input((8, 8, 3))
    x = L.Conv2D(8, 3, padding="same", use_bias=False)(inputs)
    block = x
    for i in range(n - 2):
        block = x if i % 2 == 0 else block
        x = L.Conv2D(8, 3, padding="same", use_bias=False)(x)
        x = L.ReLU()(L.BatchNormalization()(x))
        x = L.Add()([block, x]) if i % 2 else x
    return keras.Model(inputs, L.Dense(10)(L.GlobalAveragePooling2D()(x)))


def dense(n: int) -> keras.Model:
    """Returns a network of `n` dense layers."""
    hidden = [L.Dense(16, activation="relu") for _ in range(n - 1)]
    return keras.Sequential([keras.Input((192,)), *hidden, L.Dense(10)])


def write(model: keras.Model, epochs: int, log_dir: str) -> None:
    """Writes the event files of a training of a model."""
    sink = TensorBoardSink(log_dir, lambda: outline(model))
    sink.emit(_epoch(model, 0))
    for epoch in range(epochs):
        for step in range(epoch * STEPS, (epoch + 1) * STEPS, EVERY):
            sink.emit(_step(model, step))
            sink.flush(wait=True)
        sink.emit(_epoch(model, epoch + 1))
    sink.close()


def _step(model: keras.Model, step: int) -> records.StepRecord:
    tensor = records.TensorStats(100.0, 0.0, 0.0, 1.0, -1.0, 1.0, 0.0, 0.1)
    seen = records.LossTensor((None,), *[1.0] * 10, (), np.ones(10))
    weights = [
        records.VariableStats(v.path, tensor, tensor, tensor, 1e-3, _histogram())
        for v in model.trainable_variables
    ]
    return records.StepRecord(
        step,
        step / STEPS,
        1.0,
        1e-3,
        1.0,
        tuple(weights),
        tuple(_layers(model, tensor)),
        (records.LossInputs("loss", "loss", targets=seen, outputs=seen),),
    )


def _layers(
    model: keras.Model, tensor: records.TensorStats
) -> Iterator[records.LayerStats]:
    for layer in model.layers:
        if not isinstance(layer, L.InputLayer):
            function = getattr(layer, "activation", None)
            is_relu = isinstance(layer, L.ReLU) or function is keras.activations.relu
            dead = 0.0 if is_relu else None
            path = layer.path or layer.name
            yield records.LayerStats(
                path, tensor, 0.5, None, dead, histogram=_histogram()
            )


def _epoch(model: keras.Model, epoch: int) -> records.EpochRecord:
    names = ("accuracy", "loss", "val_accuracy", "val_loss")
    picture = records.Image("first_layer/x", np.zeros((200, 200, 3), np.uint8))
    weights = {v.path: _histogram() for v in model.trainable_variables}
    return records.EpochRecord(
        epoch,
        epoch * STEPS,
        dict.fromkeys(names, 1.0) if epoch else {},
        1.0 if epoch else None,
        0.1 if epoch else None,
        weight_histograms=weights,
        images=(picture,),
    )


def _histogram() -> records.Histogram:
    return records.Histogram(-1.0, 1.0, np.ones(statistics.BINS))


def measure(log_dir: str) -> tuple[dict[str, int], int]:
    """Returns the number of cards of each kind, and the bytes of the files."""
    cards = dict.fromkeys(KINDS, 0)
    files = list(Path(log_dir).rglob("events*"))
    tags = set()
    for file in files:
        found = EventAccumulator(str(file)).Reload()
        for tag in set(found.Tags()["tensors"]) - tags:
            kind = found.SummaryMetadata(tag).plugin_data.plugin_name
            tags.add(tag)
            if kind == "custom_scalars":
                (point,) = found.Tensors(tag)
                value = tensor_util.make_ndarray(point.tensor_proto).item()
                groups = layout_pb2.Layout.FromString(value).category
                cards[kind] = sum(len(group.chart) for group in groups)
            else:
                cards[kind] += 1
    return cards, sum(file.stat().st_size for file in files)


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, nargs="+", default=[5, 60, 300])
    parser.add_argument("--epochs", type=int, default=3)
    options = parser.parse_args()
    print("| layers | " + " | ".join(KINDS) + " | kB an epoch |")
    print("|---" * (len(KINDS) + 2) + "|")
    for n in options.layers:
        with tempfile.TemporaryDirectory() as log_dir:
            model = dense(n) if n > 100 else residual(n)
            write(model, options.epochs, log_dir)
            cards, size = measure(log_dir)
        cells = [str(n), *map(str, cards.values())]
        print("| " + " | ".join(cells) + f" | {size / options.epochs / 1000:,.0f} |")


if __name__ == "__main__":
    main()
