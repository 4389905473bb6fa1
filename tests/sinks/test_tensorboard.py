"""Event files, read back with TensorBoard's own reader."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import hypothesis
import keras
import numpy as np
import pytest
from hypothesis import strategies as st
from support import models
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util import tensor_util

from keras_babysit import Babysitter
from keras_babysit.event_files import summaries, writer
from keras_babysit.event_files.frames import framed
from keras_babysit.records import EpochRecord, Histogram, Image
from keras_babysit.sinks import charts
from keras_babysit.sinks.tensorboard import TensorBoardSink

EVERYTHING = {"tensors": 0}


def read(directory):
    accumulator = EventAccumulator(str(directory), size_guidance=EVERYTHING)
    accumulator.Reload()
    return accumulator


def points(accumulator, tag):
    return [
        (e.step, tensor_util.make_ndarray(e.tensor_proto))
        for e in accumulator.Tensors(tag)
    ]


def plugin(accumulator, tag):
    return accumulator.SummaryMetadata(tag).plugin_data.plugin_name


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("logs")
    keras.utils.set_random_seed(0)
    model, (x, y) = models.cnn()
    models.compile_model(model, jit_compile=False, metrics=["accuracy"])
    babysitter = Babysitter(path, every=2)
    history = model.fit(
        x,
        y,
        epochs=2,
        batch_size=16,
        verbose=0,
        validation_split=0.25,
        callbacks=[babysitter],
    )
    return path, babysitter, history.history, model


def named(variable_or_layer):
    """What tags call something of the model, of which the name is Keras's."""
    return variable_or_layer.path.partition("/")[2]


def kernels(model):
    return [v for v in model.trainable_variables if v.name == "kernel"]


def test_scalars_by_step(run):
    path, babysitter, _, _ = run
    found = read(path / "train")
    for name in ("loss", "learning_rate", "gradient_norm"):
        tag = f"batch/{name}"
        assert plugin(found, tag) == "scalars"
        expected = babysitter.history.series(name)
        steps, values = zip(*points(found, tag), strict=True)
        assert list(steps) == expected.steps.tolist() == [0, 2, 4, 6]
        np.testing.assert_allclose(values, expected.values, rtol=1e-6)


def test_update_ratios_of_kernels(run):
    path, babysitter, _, model = run
    found = read(path / "train")
    ratios = []
    for kernel in kernels(model):
        steps, values = zip(
            *points(found, f"layer_update_ratio_log10/{named(kernel)}"), strict=True
        )
        expected = babysitter.history.series("update_ratio", kernel.path)
        assert list(steps) == expected.steps.tolist() == [0, 2, 4, 6]
        np.testing.assert_allclose(values, np.log10(expected.values), rtol=1e-5)
        ratios.append(values)
    for name, over in (("lowest", np.min), ("median", np.median), ("highest", np.max)):
        values = [v for _, v in points(found, f"batch/update_ratio_log10/{name}")]
        np.testing.assert_allclose(values, over(ratios, axis=0), rtol=1e-6)
    band = [points(found, f"layer_update_ratio_log10/{name}") for name in charts.BAND]
    assert band == [[(s, v) for s in steps] for v in (-2.0, -4.0)]


def test_largest_shares_of_units(run):
    path, babysitter, _, model = run
    dead = [v for _, v in points(read(path / "train"), "batch/worst_dead_fraction")]
    layers = [x.path for x in model.layers if isinstance(x, keras.layers.Conv2D)]
    of_layers = [babysitter.history.series("dead_fraction", x).values for x in layers]
    assert len(of_layers[0])
    np.testing.assert_allclose(dead[-len(of_layers[0]) :], np.max(of_layers, axis=0))


def test_cards(run):
    """All of them: of weights that are no kernels there is none."""
    path, _, _, model = run
    found = read(path / "train")
    cards = {}
    for tag in found.Tags()["tensors"]:
        cards.setdefault(plugin(found, tag), []).append(tag)
    loss = "loss/sparse_categorical_crossentropy"
    inputs = [f"{r}_{n}" for r in ("targets", "outputs") for n in ("mean", "spread")]
    assert set(cards["scalars"]) == {
        *(f"batch/{n}" for n in ("loss", "learning_rate", "gradient_norm")),
        *(f"batch/update_ratio_log10/{n}" for n in ("highest", "lowest", "median")),
        *(f"layer_update_ratio_log10/{n}" for n in charts.BAND),
        "batch/worst_dead_fraction",
        "epoch_accuracy",
        "epoch_loss",
        "loss/std_over_batches",
        *(f"{loss}/{name}" for name in (*inputs, "worst_class_hits")),
        *(f"layer_update_ratio_log10/{named(k)}" for k in kernels(model)),
    }
    shown = [x for x in model.layers if hasattr(x, "kernel")]
    assert set(cards["histograms"]) == {
        *(f"layer_weights/{named(k)}" for k in kernels(model)),
        *(f"layer_gradients/{named(k)}" for k in kernels(model)),
        *(f"layer_activations/{named(x)}" for x in shown),
    }
    assert cards["images"] == [f"first_layer/{named(model.layers[0])}"]
    # What matters is in the groups that the Time Series tab opens.
    groups = dict.fromkeys(sorted(tag.partition("/")[0] for tag in cards["scalars"]))
    assert list(groups)[:2] == ["batch", "epoch_accuracy"]


def test_keras_paths_are_in_descriptions(run):
    path, _, _, model = run
    found = read(path / "train")
    kernel = model.layers[0].kernel
    for group in ("layer_update_ratio_log10", "layer_weights", "layer_gradients"):
        metadata = found.SummaryMetadata(f"{group}/{named(kernel)}")
        assert metadata.summary_description == f"Keras's path: `{kernel.path}`"
    metadata = found.SummaryMetadata(f"first_layer/{named(model.layers[0])}")
    assert f"Keras's path: `{model.layers[0].path}`" in metadata.summary_description


def test_keras_logs_by_epoch_in_runs_of_their_own(run):
    path, _, history, _ = run
    train, validation = read(path / "train"), read(path / "validation")
    for name in ("loss", "accuracy"):
        for accumulator, key in ((train, name), (validation, f"val_{name}")):
            steps, values = zip(*points(accumulator, f"epoch_{name}"), strict=True)
            assert steps == (0, 1)
            np.testing.assert_allclose(values, history[key], rtol=1e-6)


def test_histograms(run):
    path, _, _, model = run
    found = read(path / "train")
    kernel = model.layers[0].kernel
    for tag, steps in (
        (f"layer_gradients/{named(kernel)}", [0, 2, 4, 6]),
        (f"layer_weights/{named(kernel)}", [0, 1, 2]),
        (f"layer_activations/{named(model.layers[0])}", [0, 2, 4, 6]),
    ):
        assert plugin(found, tag) == "histograms"
        series = points(found, tag)
        assert [step for step, _ in series] == steps
        for _, table in series:
            left, right, count = table.T
            np.testing.assert_allclose(left[1:], right[:-1])
            assert (right > left).all()
            assert count.sum() > 0
    _, last = points(found, f"layer_weights/{named(kernel)}")[-1]
    values = np.array(kernel)
    assert last[:, 2].sum() == values.size
    np.testing.assert_allclose([last[0, 0], last[-1, 1]], [values.min(), values.max()])


def test_image(run):
    path, _, _, model = run
    found = read(path / "train")
    tag = f"first_layer/{named(model.layers[0])}"
    assert plugin(found, tag) == "images"
    (_, first), *_ = points(found, tag)
    width, height, png = first
    from io import BytesIO

    from PIL import Image as Pillow

    picture = Pillow.open(BytesIO(png))
    assert picture.size == (int(width), int(height))
    assert min(picture.size) >= 48


def test_custom_scalars_layout(run):
    import re

    path, _, _, model = run
    found = read(path / "train")
    ((_, value),) = points(found, "custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(value.item())
    titles = {c.title: c.multiline.tag for g in layout.category for c in g.chart}
    tags = found.Tags()["tensors"] + read(path / "validation").Tags()["tensors"]
    for title, expressions in titles.items():
        for expression in expressions:
            assert [t for t in tags if re.match(expression, t)], (title, expression)
    (each,) = (g for g in layout.category if g.title.startswith("Update ratio of each"))
    assert each.title.endswith(": sequential, 3 kernels")
    first, *_, last = (named(k) for k in kernels(model))
    ((title, lines),) = ((c.title, c.multiline.tag) for c in each.chart)
    assert title == f"{first} to {last}"
    drawn = {t for t in tags if any(re.match(e, t) for e in lines)}
    assert drawn == {
        *(f"layer_update_ratio_log10/{named(k)}" for k in kernels(model)),
        *(f"layer_update_ratio_log10/{name}" for name in charts.BAND),
    }


def test_tables_hold_everything(run):
    import json

    path, babysitter, _, _ = run
    found = read(path / "train")
    for kind in ("weight", "update", "gradient", "activation"):
        content = found.SummaryMetadata(f"babysit/{kind}/full0").plugin_data.content
        names = json.loads(content)
        steps, tables = zip(*points(found, f"babysit/{kind}/full0"), strict=True)
        assert steps == (0, 2, 4, 6)
        assert {t.shape for t in tables} == {
            (len(names["rows"]), len(names["columns"]))
        }
        for quantity in ("norm", "std"):
            column = np.array(tables)[:, :, names["columns"].index(quantity)]
            for row, values in zip(names["rows"], column.T, strict=True):
                expected = babysitter.history.series(f"{kind}.{quantity}", row).values
                np.testing.assert_allclose(values, expected, rtol=1e-6)


def test_text(run):
    path, *_ = run
    found = read(path / "train")
    assert plugin(found, "babysit/observation") == "text"
    (_, (text,)), *_ = points(found, "babysit/observation")
    assert b"of 4 steps" in text


def test_degenerate_histogram_and_sample(tmp_path):
    sink = TensorBoardSink(tmp_path)
    same = Histogram(2.0, 2.0, np.array([0.0, 5.0]))
    part = Histogram(0.0, 1.0, np.array([10.0, 20.0]), sampled_from=1_000_000)
    sink.emit(EpochRecord(1, 1, weight_histograms={"same": same, "part": part}))
    sink.close()
    found = read(tmp_path / "train")
    (_, table), *_ = points(found, "layer_weights/same")
    np.testing.assert_allclose(table, [[1.0, 3.0, 5.0]])
    metadata = found.SummaryMetadata("layer_weights/part")
    assert "sample of 30 of 1,000,000" in metadata.summary_description


def test_a_killed_run_can_be_read_up_to_the_last_flush(tmp_path):
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
import keras
from support import models
from keras_babysit import Babysitter
model, (x, y) = models.mlp()
models.compile_model(model, jit_compile=False)
ready = keras.callbacks.LambdaCallback(
    on_epoch_end=lambda epoch, logs: print("epoch", epoch, flush=True))
model.fit(x, y, epochs=100000, verbose=0,
          callbacks=[Babysitter({str(tmp_path)!r}), ready])
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as p:
        for line in p.stdout:
            if line == b"epoch 20\n":
                break
        time.sleep(0.5)
        os.kill(p.pid, signal.SIGKILL)
    found = read(tmp_path / "train")
    assert len(points(found, "epoch_loss")) >= 15
    assert points(found, "batch/loss")


def test_closed_at_exit_and_flushed_when_idle(tmp_path):
    code = f"""
from keras_babysit.event_files import summaries, writer
from keras_babysit.event_files.frames import framed
file = writer.EventFile({str(tmp_path)!r})
for i in range(1000):
    file.add(lambda i=i: [summaries.scalar("a", i)], i)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert len(points(read(tmp_path), "a")) == 1000


def test_flush_waits_and_close_ends_the_thread(tmp_path):
    file = writer.EventFile(tmp_path)
    file.add(lambda: [summaries.scalar("a", 1.0)], 0)
    file.flush(wait=True)
    assert len(points(read(tmp_path), "a")) == 1
    file.close()
    file.close()
    assert not file._thread.is_alive()


def test_picture_keeps_its_pixels(tmp_path):
    from io import BytesIO

    from PIL import Image as Pillow

    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    value = summaries.image(Image("a", pixels))
    picture = Pillow.open(BytesIO(value.tensor.string_val[2]))
    np.testing.assert_array_equal(np.asarray(picture), pixels)


@hypothesis.given(st.binary(max_size=300))
def test_records_are_framed_as_tensorboard_frames_them(data):
    file = io.BytesIO()
    RecordWriter(file).write(data)
    assert framed(data) == file.getvalue()


def test_all_files_go_where_the_first_one_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sink = TensorBoardSink("logs")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    sink.emit(EpochRecord(epoch=1, step=1, logs={"loss": 1.0, "val_loss": 2.0}))
    sink.close()
    assert list((tmp_path / "logs" / "validation").iterdir())
    assert not list((tmp_path / "elsewhere").iterdir())
