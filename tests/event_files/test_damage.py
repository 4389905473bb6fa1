"""Event files that are cut off or damaged: reported, and the rest is read."""

import json
import os
import random

import pytest
from click.testing import CliRunner
from support import findings as made

from keras_babysit.cli.main import main
from keras_babysit.event_files.frames import Damage, contents, framed
from keras_babysit.event_files.reader import find_runs, read_report
from keras_babysit.report import make_report
from keras_babysit.sinks.tensorboard import TensorBoardSink


@pytest.fixture(autouse=True)
def _fresh_keras():
    """Instead of conftest's: nothing here makes models."""


def write(folder, name="digits", steps=5):
    model = made.facts(2)
    history = made.history(model, steps=())
    sink = TensorBoardSink(folder)
    sink.emit_run(make_report(history, ()), 0)
    for step in range(steps):
        record = made.step_record(model, step, 1e-3)
        history.append(record)
        sink.emit(record)
    sink.emit_findings(made.findings(), steps)
    sink.emit_run(make_report(history, made.findings()), steps)
    sink.close()
    return next((folder / "train").glob("*.babysit"))


def test_records_come_back(tmp_path):
    file = tmp_path / "a"
    file.write_bytes(framed(b"one") + framed(b"") + framed(b"x" * 5000))
    damage = Damage()
    assert list(contents(file, damage)) == [b"one", b"", b"x" * 5000]
    assert damage.records == 0


@pytest.mark.parametrize(
    ("at", "left", "damaged"),
    [
        (0, [b"two"], 1),
        (9, [b"two"], 1),
        (12, [b"two"], 1),
        (16, [b"two"], 1),
        (21, [b"one"], 1),
    ],
    ids=["length", "its checksum", "contents", "their checksum", "the next length"],
)
def test_a_flipped_bit_is_seen(tmp_path, at, left, damaged):
    data = bytearray(framed(b"one") + framed(b"two"))
    data[at] ^= 4
    file = tmp_path / "a"
    file.write_bytes(data)
    damage = Damage()
    assert list(contents(file, damage)) == left
    assert damage.records == damaged


def test_records_behind_a_block_of_zeros_are_found_again(tmp_path):
    # As after a disk's fault: over the end of one record and the start of another.
    records = [bytes([i]) * 3000 for i in range(4)]
    data = bytearray(b"".join(map(framed, records)))
    data[2000:4096] = bytes(2096)
    file = tmp_path / "a"
    file.write_bytes(data)
    damage = Damage()
    assert list(contents(file, damage)) == records[2:]
    assert damage.records == 2


@pytest.mark.parametrize("size", range(20))
def test_a_record_that_is_cut_off_is_no_damage(tmp_path, size):
    file = tmp_path / "a"
    file.write_bytes(framed(b"one") + framed(b"two")[: min(size, 18)])
    damage = Damage()
    assert list(contents(file, damage)) == [b"one"]
    assert damage.records == 0


def test_any_flipped_bit_is_said_or_does_not_matter(tmp_path):
    file = write(tmp_path)
    good = read_report(tmp_path)
    data = file.read_bytes()
    rng = random.Random(0)
    seen = 0
    for _ in range(150):
        changed = bytearray(data)
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        file.write_bytes(changed)
        found = read_report(tmp_path)
        if found.damaged:
            assert "could not be read" in str(found)
            assert "nothing wrong found." not in str(found)
            seen += 1
        else:
            assert found == good
    assert seen > 100


def test_the_rest_of_a_run_is_reported_without_its_first_record(tmp_path):
    model = made.facts(2)
    sink = TensorBoardSink(tmp_path)
    sink.emit_run(make_report(made.history(model, steps=()), ()), 0)
    sink.emit(made.step_record(model, 7, 1e-3))
    sink.emit_findings(made.findings(), 8)
    sink.close()
    (file,) = (tmp_path / "train").iterdir()
    data = bytearray(file.read_bytes())
    data[data.index(b"babysit/run")] ^= 1
    file.write_bytes(data)
    (run,) = find_runs(tmp_path)
    found = read_report(run)
    assert found.damaged == 1
    assert found.findings == made.findings()
    assert found.steps == 8
    assert [layer.path for layer in found.layers if layer.update_ratio] == [
        "conv2d_0",
        "conv2d_1",
        "dense",
    ]


def test_a_run_of_which_nothing_is_left_is_named(tmp_path):
    write(tmp_path / "good")
    sink = TensorBoardSink(tmp_path / "bad")
    sink.emit_run(make_report(made.history(), ()), 0)
    sink.close()
    (file,) = (tmp_path / "bad" / "train").iterdir()
    data = bytearray(file.read_bytes())
    data[data.index(b"babysit/run")] ^= 1
    file.write_bytes(data)
    result = CliRunner().invoke(main, ["report", str(tmp_path)])
    assert result.exit_code == 0
    assert "conv2d_0" in result.stdout
    assert f"{tmp_path / 'bad'}: " in result.stderr
    assert "damaged before its first findings" in result.stderr


def test_one_run_that_is_cut_off_does_not_hide_the_others(tmp_path):
    write(tmp_path / "good")
    os.truncate(write(tmp_path / "cut"), 300)
    result = CliRunner().invoke(main, ["report", str(tmp_path)])
    assert result.exit_code == 0
    assert "conv2d_0" in result.stdout
    assert "cut off before its first findings" in result.stderr
    checked = CliRunner().invoke(main, ["report", str(tmp_path), "--check"])
    assert checked.exit_code == 1
    alone = CliRunner().invoke(main, ["report", str(tmp_path / "cut")])
    assert alone.exit_code == 2
    assert "cut off" in alone.stderr
    assert "Traceback" not in alone.output


def test_the_report_says_how_much_is_damaged(tmp_path):
    file = write(tmp_path)
    data = bytearray(file.read_bytes())
    data[-1000] ^= 1
    file.write_bytes(data)
    result = CliRunner().invoke(main, ["report", str(tmp_path)])
    assert "1 damaged record of the event files could not be read" in result.output
    as_json = CliRunner().invoke(main, ["report", str(tmp_path), "--json"])
    assert json.loads(as_json.output)["damaged"] == 1


def test_all_well_is_not_said_of_a_damaged_file(tmp_path):
    sink = TensorBoardSink(tmp_path)
    sink.emit_run(make_report(made.history(), ()), 0)
    sink.emit_findings(made.findings(), 1)
    sink.close()
    (file,) = (tmp_path / "train").iterdir()
    data = bytearray(file.read_bytes())
    data[-1000] ^= 1
    file.write_bytes(data)
    result = CliRunner().invoke(main, ["report", str(tmp_path)])
    assert result.output.startswith("▲ digits: ")
    assert "nothing wrong found in what could be read." in result.output
    assert CliRunner().invoke(main, ["report", str(tmp_path), "--check"]).exit_code == 1
