"""Weights & Biases, MLflow and Trackio: the real packages, writing to this machine."""

import copy
import json
import math
import pickle
import struct
import sys
import threading
import time
from collections import deque

import keras
import numpy as np
import pytest
from support import findings as made
from support import models
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import keras_babysit
from keras_babysit import sinks
from keras_babysit.records import EpochRecord
from keras_babysit.report import make_report
from keras_babysit.sinks import sink as base
from keras_babysit.sinks import tracker

#: Where the log of Weights & Biases says what file a table is in.
TABLE = "babysit/findings/path"
TRACKERS = ("wandb", "mlflow", "trackio")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where all three write, without a network."""
    folder = tmp_path_factory.mktemp("trackers")
    settings = {
        "WANDB_MODE": "offline",
        "WANDB_DIR": folder,
        "WANDB_SILENT": "true",
        "WANDB_CONSOLE": "off",
        "MLFLOW_TRACKING_URI": f"file://{folder / 'mlruns'}",
        "MLFLOW_ALLOW_FILE_STORE": "true",  # A database takes seconds to be made.
        "TRACKIO_DIR": folder / "trackio",
        "HF_HUB_OFFLINE": "1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, str(value))
        yield folder


class Logged:
    """What a tracker has of one run: rows of numbers, config, findings."""

    def __init__(self, rows, config, table, verdict):
        self.rows, self.config, self.table, self.verdict = rows, config, table, verdict

    def series(self, tag):
        return [(row["step"], row[tag]) for row in self.rows if tag in row]


def of_wandb(folder, name):
    runs = {}
    for file in folder.glob("wandb/offline-run-*/*.wandb"):
        records = messages(file)
        started = next(r.run for r in records if r.HasField("run"))
        runs[started.display_name] = file, records
    rows, config, summary = [], {}, {}
    file, records = runs[name]
    for record in records:
        row = {
            item.key or "/".join(item.nested_key): json.loads(item.value_json)
            for item in record.history.item
        }
        if row:
            rows.append({**row, "step": row[tracker.STEP]})
        for item in (*record.run.config.update, *record.config.update):
            config[item.key or item.nested_key[0]] = json.loads(item.value_json)
        for item in record.summary.update:
            name = item.key or "/".join(item.nested_key)
            summary[name] = json.loads(item.value_json)
    path = [row[TABLE] for row in rows if TABLE in row][-1]
    table = file.parent / "files" / path
    found = json.loads(table.read_text())["data"]
    return Logged(rows, config, found, summary["babysit/verdict"])


def messages(file):
    """Reads a log, a record of LevelDB for each message, once it is whole.

    W&B's own process writes it.
    """
    from wandb.proto import wandb_internal_pb2

    for _ in range(600):
        read = map(wandb_internal_pb2.Record.FromString, levels(file.read_bytes()))
        records = list(read)
        if any(record.HasField("exit") for record in records):
            return records
        time.sleep(0.1)
    raise TimeoutError(file)


def levels(data, block=1 << 15, head=7):
    at, part = head, b""
    while at < len(data):
        left = block - at % block
        if left < head:
            at += left
            continue
        size, kind = struct.unpack("<4xHB", data[at : at + head])
        part += data[at + head : at + head + size]
        at += head + size
        if kind in (1, 4):
            yield part
            part = b""


def of_mlflow(folder, name):
    import mlflow

    (run,) = mlflow.search_runs(
        filter_string=f"run_name = '{name}'", output_format="list"
    )
    client = mlflow.MlflowClient()
    rows = [
        {"step": point.step, tag: point.value}
        for tag in run.data.metrics
        for point in client.get_metric_history(run.info.run_id, tag)
    ]
    found = mlflow.artifacts.load_dict(f"{run.info.artifact_uri}/babysit/findings.json")
    verdict = run.data.tags["babysit.verdict"]
    return Logged(rows, run.data.params, found["data"], verdict)


def of_trackio(folder, name):
    from trackio.sqlite_storage import SQLiteStorage

    rows = SQLiteStorage.get_logs("keras_babysit", name)
    found = [
        row["babysit/findings"]["_value"] for row in rows if "babysit/findings" in row
    ]
    verdict = [row["babysit/verdict"] for row in rows if "babysit/verdict" in row][-1]
    config = SQLiteStorage.get_run_config("keras_babysit", name)
    table = [list(row.values()) for row in found[-1]]
    return Logged(rows, config, table, verdict)


READ = {"wandb": of_wandb, "mlflow": of_mlflow, "trackio": of_trackio}


@pytest.fixture(scope="module")
def fitted(folder):
    """One training that all of them write, and TensorBoard."""
    every = ["tensorboard", *TRACKERS]
    one = keras_babysit.Babysitter(folder / "fitted", every=2, verbose=0, sinks=every)
    babysitter = pickle.loads(pickle.dumps(copy.deepcopy(one)))
    states = []
    for callbacks in ([], [babysitter]):
        keras.utils.set_random_seed(5)
        model, (x, y) = models.mlp()
        models.compile_model(model, keras.optimizers.SGD(0.25), jit_compile=False)
        options = {"batch_size": 16, "validation_data": (x, y), "callbacks": callbacks}
        model.fit(x, y, epochs=2, verbose=0, **options)
        states.append(models.state(model))
    return babysitter, *states


@pytest.mark.slow
@pytest.mark.parametrize("name", TRACKERS)
def test_a_training_in_each(folder, fitted, name):
    babysitter, plain, watched = fitted
    for ours, theirs in zip(watched, plain, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    logged = READ[name](folder, "fitted")
    assert float(logged.config["learning_rate"]) == 0.25
    assert logged.config["optimizer"] == "SGD"
    assert int(logged.config["batch_size"]) == 16
    assert logged.verdict == babysitter.report.verdict
    rules = [row[0] for row in logged.table]
    assert sorted(rules) == sorted(f.rule for f in babysitter.report.findings)
    assert rules
    # What TensorBoard charts of training, but for the constant lines of the band.
    tensorboard = EventAccumulator(str(folder / "fitted" / "train")).Reload()
    of_steps = {"batch/loss", "batch/gradient_norm", "epoch_loss"}
    for tag in tensorboard.Tags()["tensors"]:
        metadata = tensorboard.SummaryMetadata(tag)
        if metadata.plugin_data.plugin_name == "scalars" and "~" not in tag:
            expected = [e.tensor_proto.float_val[0] for e in tensorboard.Tensors(tag)]
            found = [value for _, value in logged.series(tag)]
            np.testing.assert_allclose(found, expected, rtol=1e-6, err_msg=tag)
            of_steps -= {tag}
    assert not of_steps
    steps, losses = zip(*logged.series("batch/loss"), strict=True)
    recorded = babysitter.history.series("loss")
    assert list(steps) == recorded.steps.tolist()
    np.testing.assert_allclose(losses, recorded.values)
    epochs = babysitter.history.series("epoch.val_loss")
    found = logged.series("validation/epoch_loss")
    assert [step for step, _ in found] == epochs.steps.tolist()
    np.testing.assert_allclose([value for _, value in found], epochs.values)
    assert {epoch for _, epoch in logged.series("babysit/epoch")} >= {1.0, 2.0}


class Joined:
    """Runs of the user's, and how they are ended."""

    @staticmethod
    def wandb():
        import wandb

        run = wandb.init(project="own", name="joined", config={"loss": "mine"})
        return run.finish, lambda: wandb.run is run

    @staticmethod
    def mlflow():
        import mlflow

        run = mlflow.start_run(run_name="joined")
        mlflow.log_param("loss", "mine")
        return mlflow.end_run, lambda: mlflow.active_run() is run

    @staticmethod
    def trackio():
        import trackio
        from trackio import context_vars

        run = trackio.init("keras_babysit", name="joined", config={"loss": "mine"})
        return trackio.finish, lambda: context_vars.current_run.get() is run


@pytest.mark.slow
@pytest.mark.parametrize("name", TRACKERS)
def test_a_run_of_the_users_is_joined(folder, name):
    end, is_active = getattr(Joined, name)()
    settings = {"loss": "ours", "epochs": 2, "a" * 600: "b" * 6000}
    run = base.Run(str(folder / "not this one"), settings=settings)
    (sink,) = sinks.select([name])
    for begin in (0, 600):  # Two trainings in one run.
        writer = sink.open(run)
        record = made.step_record(made.facts(prefix="odd (näme)@2 "), begin)
        writer.emit(record)
        writer.emit(EpochRecord(1, begin + 60, {"loss": math.nan, "val_loss": 1.0}))
        writer.emit_findings(made.findings(), begin + 60)
        writer.emit_run(make_report(made.history(), made.findings()), begin + 60)
        writer.close()
        assert is_active()
    end()
    logged = READ[name](folder, "joined")
    assert logged.config["loss"] == "mine"
    assert int(logged.config["epochs"]) == 2
    assert len(logged.table) == len(made.findings())
    assert [step for step, _ in logged.series("epoch_loss")] == [60, 660]
    assert all(math.isnan(float(v)) for _, v in logged.series("epoch_loss"))
    of_layers = {
        tag for row in logged.rows for tag in row if tag.startswith("layer_update")
    }
    assert len(of_layers) == 11


# What needs no tracker.


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("wandb", r"must be a list.*\[\"tensorboard\", \"wandb\"\].*sinks='wandb'"),
        (None, r"must be a list.*Received: sinks=None"),
        (
            ["wandbee"],
            r"no sink 'wandbee'.*'mlflow', 'tensorboard', 'trackio', 'wandb'",
        ),
        ([sinks.WandB], r"no sink <class.*such as `keras_babysit.sinks.WandB\(\)`"),
        ([3], r"no sink 3.*Received: sinks=\[3\]"),
    ],
)
def test_bad_sinks(tmp_path, given, message):
    with pytest.raises(ValueError, match=message):
        keras_babysit.Babysitter(tmp_path, sinks=given)


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wandb").mkdir()  # What W&B leaves is no package.
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    message = r'"wandb" needs the package wandb.*keras_babysit\[wandb\]'
    with pytest.raises(ImportError, match=message):
        keras_babysit.Babysitter(tmp_path, sinks=["wandb"])


class Spoilt(base.Sink):
    """Fails at one of the calls."""

    name = "spoilt"

    def __init__(self, at):
        self.at = at

    def open(self, run):
        if self.at == "open":
            raise OSError("planted")
        return self

    def __getattr__(self, name):
        def call(*args):
            if name == self.at:
                raise ConnectionError("planted")

        return call


def test_a_sink_that_fails_is_left_out(tmp_path):
    model, (x, y) = models.mlp()
    models.compile_model(model, jit_compile=False)
    places = ("open", "emit", "emit_findings", "emit_run", "flush", "close")
    babysitter = keras_babysit.Babysitter(
        tmp_path, every=1, verbose=0, sinks=[*map(Spoilt, places), "tensorboard"]
    )
    with pytest.warns(UserWarning, match="left out.*planted") as caught:
        model.fit(x, y, epochs=2, verbose=0, callbacks=[babysitter])
    said = [w for w in caught if 'the sink "spoilt" is left out' in str(w.message)]
    assert len(said) == len(places)
    assert babysitter.report.steps == 6
    found = EventAccumulator(str(tmp_path / "train")).Reload()
    assert len(found.Tensors("batch/loss")) == 6


def test_no_sinks_at_all(tmp_path):
    model, (x, y) = models.mlp()
    models.compile_model(model, jit_compile=False)
    babysitter = keras_babysit.Babysitter(tmp_path / "logs", verbose=0, sinks=[])
    model.fit(x, y, verbose=0, callbacks=[babysitter])
    assert babysitter.report.steps == 3
    assert not (tmp_path / "logs").exists()


class Slow(tracker.Client):
    """A tracker that answers late, or not at all."""

    def __init__(self, error=None):
        self.error, self.rows, self.flushed, self.closed = error, [], 0, False

    def log(self, row):
        time.sleep(0.002)
        if self.error is not None:
            raise self.error
        self.rows.append(row)

    def flush(self):
        self.flushed += 1

    def configure(self, settings):
        pass

    findings = conclude = configure

    def close(self):
        self.closed = True


def test_a_slow_tracker_gets_everything(monkeypatch):
    monkeypatch.setattr(tracker, "MAX_QUEUE", 4)
    client = Slow()
    one = tracker.Tracker(client, base.Run("logs"))
    for step in range(50):
        one.emit(EpochRecord(step, step, {"loss": 1.0}))
    one.close()
    assert [row.step for row in client.rows] == list(range(50))
    assert 0 < client.flushed <= 50
    assert client.closed


def test_what_a_tracker_raises_comes_back():
    one = tracker.Tracker(Slow(ConnectionError("gone")), base.Run("logs"))
    one.emit(EpochRecord(0, 0, {"loss": 1.0}))
    with pytest.raises(ConnectionError, match="gone"):
        one.close()
    assert one._client.closed


def test_a_tracker_without_an_answer_is_waited_for_once(monkeypatch):
    monkeypatch.setattr(tracker, "MAX_WAIT_SECONDS", 0.05)
    monkeypatch.setattr(tracker, "MAX_QUEUE", 1)
    client, answer = Slow(), threading.Event()
    monkeypatch.setattr(client, "log", lambda row: answer.wait())
    one = tracker.Tracker(client, base.Run("logs"))
    record = EpochRecord(0, 0, {"loss": 1.0})
    with pytest.raises(TimeoutError, match="did not answer"):
        deque(map(one.emit, [record] * 3), maxlen=0)
    waited = []
    monkeypatch.setattr(one._thread, "join", waited.append)
    with pytest.raises(TimeoutError, match="did not answer"):
        one.close()
    assert (waited, client.closed) == ([], True)
    answer.set()


def test_every_sink_is_documented():
    assert set(sinks.available()) == {"tensorboard", *TRACKERS}
    for sink in sinks.available().values():
        assert "Example:" in sink.__doc__
        assert getattr(sinks, sink.__name__) is sink
    with pytest.raises(AttributeError, match="Nonsense"):
        _ = sinks.Nonsense
