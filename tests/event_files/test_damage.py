"""Event files that are cut off or damaged: reported, and the rest is read."""

import os
import random

import pytest
from click.testing import CliRunner
from support import findings as made

from keras_babysit.cli.main import main
from keras_babysit.event_files.frames import Damage, contents, framed
from keras_babysit.event_files.reader import read_report
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
    [(0, [], 1), (9, [], 1), (12, [b"two"], 1), (16, [b"two"], 1), (21, [b"one"], 1)],
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
        try:
            found = read_report(tmp_path)
        except ValueError as error:
            assert "before its first findings" in str(error)  # noqa: PT017
            seen += 1
            continue
        notes = [note for note in found.notes if "damaged record" in note]
        if notes:
            seen += 1
        else:
            assert found == good
    assert seen > 100


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
