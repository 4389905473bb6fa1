"""Event files that are taken away or cut off, or whose thread has ended: no silence."""

import os
import shutil
import threading
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest
from support import models

from keras_babysit import Babysitter
from keras_babysit.event_files import summaries
from keras_babysit.event_files.frames import Damage, contents
from keras_babysit.event_files.reader import read_report
from keras_babysit.event_files.writer import EventFile


def remove(file):
    file.unlink()


def remove_all(file):
    shutil.rmtree(file.parent)


def empty(file):
    os.truncate(file, 0)


def cut(file):
    os.truncate(file, file.stat().st_size // 2)


TAKEN = pytest.mark.parametrize("take", [remove, remove_all, empty, cut])


def add(file, step):
    file.add(lambda: [summaries.scalar("a", step)], step)
    file.flush(wait=True)


def steps(directory):
    """Steps in the last file, which must be whole."""
    damage = Damage()
    records = list(contents(max(Path(directory).iterdir()), damage))
    assert not damage.records
    return [step for step in range(20) for r in records if step_of(r) == step]


def step_of(record):
    from tensorboard.compat.proto import event_pb2

    event = event_pb2.Event.FromString(record)
    return event.step if event.summary.value else None


@TAKEN
def test_a_new_file_is_begun_and_said_once(tmp_path, take):
    told = []
    file = EventFile(tmp_path / "run", told.append)
    file.add(lambda: [summaries.scalar("kept", 7.0)], 7, "kept")
    add(file, 1)
    first = file.path
    take(first)
    for step in (2, 3):
        add(file, step)
    file.close()
    assert file.path != first
    assert file.path.parent == first.parent
    assert steps(tmp_path / "run") == [2, 3, 7]  # A new file has the latest of each.
    (text,) = told
    assert str(first) in text
    assert "another process" in text


@TAKEN
def test_what_waits_is_written_to_the_new_file(tmp_path, take):
    told = []
    file = EventFile(tmp_path / "run", told.append)
    add(file, 1)
    file.add(lambda: [summaries.scalar("a", 2.0)], 2)
    take(file.path)
    file.close()
    assert len(told) == 1
    assert steps(tmp_path / "run") == [2]


def test_a_directory_that_was_moved_is_where_its_owner_wants_it(tmp_path):
    told = []
    file = EventFile(tmp_path / "run", told.append)
    add(file, 1)
    (tmp_path / "run").rename(tmp_path / "moved")
    add(file, 2)
    file.close()
    assert not told
    assert steps(tmp_path / "moved") == [1, 2]


def test_a_directory_that_is_a_file_now(tmp_path):
    told = []
    file = EventFile(tmp_path / "run", told.append)
    add(file, 1)
    remove_all(file.path)
    (tmp_path / "run").write_text("mine")
    with pytest.raises(OSError, match="Could not write"):
        add(file, 2)
    with pytest.raises(OSError, match="Could not write"):
        file.close()
    assert not told


def dead_thread():
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    return thread


def test_a_thread_that_has_ended_is_begun_anew(tmp_path):
    told = []
    file = EventFile(tmp_path, told.append)
    add(file, 1)
    alive, file._thread = file._thread, dead_thread()
    for step in (2, 3):
        add(file, step)
    file.close()
    assert alive.is_alive()  # It is the daemon of a file that nobody has any more.
    assert len(told) == 1
    assert "thread" in told[0]
    assert steps(tmp_path) == [2, 3]


def test_at_the_end_a_dead_thread_is_not_silent_either(tmp_path):
    told = []
    file = EventFile(tmp_path, told.append)
    file.add(lambda: [summaries.scalar("kept", 7.0)], 7, "kept")
    add(file, 1)
    file._thread = dead_thread()
    file.close()
    assert len(told) == 1
    assert steps(tmp_path) == [7]


@TAKEN
def test_a_training_says_it_once_and_its_report_can_be_read(tmp_path, take):
    """And it trains as if nothing had happened."""

    def fitted(callbacks):
        keras.utils.set_random_seed(3)
        model, (x, y) = models.mlp()
        models.compile_model(model, jit_compile=False)
        model.fit(
            x, y, epochs=4, verbose=0, validation_data=(x, y), callbacks=callbacks
        )
        return models.state(model)

    def taken(epoch, logs):
        if epoch == 1:
            for file in list(tmp_path.rglob("events*")):
                if file.exists():
                    take(file)

    babysitter = Babysitter(tmp_path, every=1, verbose=0)
    thief = keras.callbacks.LambdaCallback(on_epoch_end=taken)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        state = fitted([babysitter, thief])
    told = [str(w.message) for w in caught if str(tmp_path) in str(w.message)]
    assert len(told) == 1
    report = read_report(tmp_path)
    assert report.steps == babysitter.report.steps
    assert report.findings == babysitter.report.findings
    assert {"loss", "val_loss"} <= set(report.logs)
    for a, b in zip(state, fitted([]), strict=True):
        np.testing.assert_array_equal(a, b)
