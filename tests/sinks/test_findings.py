"""Findings in event files: what TensorBoard sees, and what is read back."""

import dataclasses
import json
import subprocess
import sys

import pytest
from support import findings as made
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from keras_babysit.event_files import reader, summaries
from keras_babysit.records import EpochRecord
from keras_babysit.report import make_report
from keras_babysit.sinks.tensorboard import TensorBoardSink


@pytest.fixture(autouse=True)
def _fresh_keras():
    """Instead of conftest's: nothing here makes models."""


def tensors(directory, tag, **guidance):
    found = EventAccumulator(str(directory / "train"), size_guidance=guidance)
    found.Reload()
    plugin = found.SummaryMetadata(tag).plugin_data.plugin_name
    values = [(e.step, e.tensor_proto.string_val[0]) for e in found.Tensors(tag)]
    return plugin, values


@pytest.fixture
def report():
    return make_report(
        made.history(), made.findings(), made.COST, "because", ("rolled back",)
    )


def test_findings_as_text_and_as_json(tmp_path):
    sink = TensorBoardSink(tmp_path)
    sink.emit_findings([], 0)
    sink.emit_findings(made.findings(), 120)
    sink.close()
    plugin, ((_, empty), (step, text)) = tensors(tmp_path, "babysit/findings")
    assert plugin == "text"
    assert step == 120
    assert empty == b"Nothing wrong found so far."
    assert len([v for v in text.decode().splitlines() if v.startswith("* ")]) == 4
    plugin, (_, (_, document)) = tensors(tmp_path, "babysit/findings_json")
    assert plugin == summaries.PLUGIN
    assert json.loads(document) == json.loads(
        json.dumps([f.to_dict() for f in made.findings()])
    )


def test_the_last_findings_outlive_sampling(tmp_path):
    sink = TensorBoardSink(tmp_path)
    for step in range(100):
        sink.emit_findings([made.finding(seen=f"seen {step}")], step)
    sink.close()
    tag = "babysit/findings_json"
    _, everything = tensors(tmp_path, tag, tensors=0)
    assert [step for step, _ in everything] == list(range(100))
    _, sampled = tensors(tmp_path, tag, tensors=10)
    assert sampled[-1][0] == 99
    assert reading_after_run(tmp_path, sink).findings[0].seen == "seen 99"


def reading_after_run(path, _):
    """A second sink in the same directory writes the run; both are read."""
    sink = TensorBoardSink(path)
    sink.emit_run(make_report(made.history(), ()), 0)
    sink.emit_findings([made.finding(seen="seen 99")], 99)
    sink.close()
    return reader.read_report(path)


def test_finished_run(tmp_path, report):
    sink = TensorBoardSink(tmp_path)
    sink.emit_run(report, 600)
    sink.close()
    assert reader.read_report(tmp_path) == report


def test_running_run_is_as_far_as_its_last_event(tmp_path):
    history = made.history(steps=())
    sink = TensorBoardSink(tmp_path)
    sink.emit_run(make_report(history, ()), 0)
    for step in range(0, 900, 20):
        sink.emit(made.step_record(history.model, step, 1.0 if step < 200 else 2e-3))
    sink.emit(EpochRecord(12, 720, {"loss": 0.125, "val_loss": 0.75}))
    sink.emit_findings(made.findings()[:1], 880)
    sink.flush(wait=True)
    report = reader.read_report(tmp_path)
    sink.close()
    assert (report.steps, report.epochs) == (881, 12.0)
    assert report.logs == {"loss": 0.125, "val_loss": 0.75}
    assert report.findings == made.findings()[:1]
    conv = report.layers[0]
    assert conv.update_ratio == pytest.approx(2e-3)
    assert conv.gradient_norm == pytest.approx(18**0.5)
    assert conv.dead_fraction == pytest.approx(0.93)
    assert conv.saturation_fraction is None
    assert conv.findings == ("dead-relu",)
    assert report.layers[-1].saturation_fraction == 0.5


def test_healed_since_the_run_was_written(tmp_path, report):
    sink = TensorBoardSink(tmp_path)
    sink.emit_run(report, 0)
    healed = [
        dataclasses.replace(f, healed=True, healed_step=9, healed_epoch=1.0)
        for f in report.findings
    ]
    sink.emit_findings(healed, 9)
    sink.close()
    read = reader.read_report(tmp_path)
    assert not read.problems
    assert not any(layer.findings for layer in read.layers)


def test_the_last_training_in_a_directory(tmp_path, report):
    first = TensorBoardSink(tmp_path)
    first.emit_run(report, 0)
    first.close()
    second = TensorBoardSink(tmp_path)
    second.emit_run(dataclasses.replace(report, model="second", logs={}), 0)
    second.close()
    assert reader.read_report(tmp_path).model == "second"


def test_cut_off_in_the_middle_of_a_record(tmp_path, report):
    sink = TensorBoardSink(tmp_path)
    sink.emit_run(report, 0)
    sink.emit_findings([made.finding(seen="late")], 10)
    sink.close()
    (file,) = (tmp_path / "train").iterdir()
    whole = file.read_bytes()
    for missing in (1, 10, 400):
        file.write_bytes(whole[:-missing])
        assert reader.read_report(tmp_path) == report
    file.write_bytes(whole + b"\xff" * 40)
    assert reader.read_report(tmp_path).findings[0].seen == "late"


def test_find_runs(tmp_path, report):
    for name in ("b", "a/deep", "not judged"):
        sink = TensorBoardSink(tmp_path / name)
        if name != "not judged":
            sink.emit_run(report, 0)
        sink.emit(EpochRecord(1, 1, {"loss": 1.0}))
        sink.close()
    (tmp_path / "c" / "train").mkdir(parents=True)
    (tmp_path / "c" / "train" / "events.out.tfevents.1.x.1.0.babysit").touch()
    expected = [tmp_path / "a" / "deep", tmp_path / "b"]
    assert reader.find_runs(tmp_path) == expected
    assert reader.find_runs(tmp_path / "b") == [tmp_path / "b"]
    for name in ("not judged", "c", "missing"):
        with pytest.raises(ValueError, match="log_dir"):
            reader.read_report(tmp_path / name)


def test_reading_needs_no_framework(tmp_path, report):
    sink = TensorBoardSink(tmp_path)
    sink.emit_run(report, 0)
    sink.close()
    code = f"""
import sys
from keras_babysit.event_files import reader
report = reader.read_report({str(tmp_path)!r})
str(report), report._repr_html_()
print([m for m in ("tensorflow", "keras", "torch", "jax") if m in sys.modules])
"""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"
