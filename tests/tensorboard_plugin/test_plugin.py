"""The tab's answers: the same document as from the files, and nothing else."""

import shutil

import numpy as np
import pytest
from support import findings as made
from tensorboard.backend.event_processing import data_ingester, data_provider
from tensorboard.backend.event_processing.plugin_event_multiplexer import (
    EventMultiplexer,
)
from tensorboard.plugins.base_plugin import TBContext
from werkzeug.test import Client

from keras_babysit.event_files import summaries
from keras_babysit.event_files.reader import read_report
from keras_babysit.event_files.writer import EventFile
from keras_babysit.records import EpochRecord, Histogram, Image
from keras_babysit.report import make_report, page
from keras_babysit.sinks.tensorboard import TensorBoardSink
from keras_babysit.tensorboard_plugin.plugin import BabysitPlugin

BINS = Histogram(-1.0, 1.0, np.array([1.0, 2.0, 3.0]))


@pytest.fixture(autouse=True)
def _fresh_keras():
    """Instead of conftest's: nothing here makes models."""


def write(folder, steps=30, found=(), name="digits"):
    model = made.facts(2)
    history = made.history(model, steps=())
    sink = TensorBoardSink(folder)
    sink.emit_run(make_report(history, ()), 0)
    for step in range(steps):
        record = made.step_record(model, step, 1e-3 * (1 + step))
        history.append(record)
        sink.emit(record)
    layer = model.layers[0]
    for epoch in (1, 2):
        state = EpochRecord(
            epoch,
            steps,
            logs={"loss": 1 / epoch, "val_loss": 2 / epoch},
            weight_histograms={layer.weights[0].path: BINS},
            images=(Image(f"first_layer/{layer.path}", np.zeros((2, 2, 3), np.uint8)),),
        )
        history.append(state)
        sink.emit(state)
    sink.emit_findings(found, steps)
    sink.emit_run(make_report(history, found), steps)
    sink.close()
    return layer


def client(log_dir, **specification):
    multiplexer = EventMultiplexer(
        size_guidance=data_ingester.DEFAULT_SIZE_GUIDANCE,
        tensor_size_guidance=data_ingester.DEFAULT_TENSOR_SIZE_GUIDANCE,
    )
    for name, path in (specification or {None: log_dir}).items():
        multiplexer.AddRunsFromDirectory(str(path), name)
    multiplexer.Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, str(log_dir))
    apps = BabysitPlugin(TBContext(data_provider=provider)).get_plugin_apps()

    def ask(address, **query):
        key = "/static/*" if address.startswith("/static/") else address
        return Client(apps[key]).get(
            f"/data/plugin/keras_babysit{address}", query_string=query
        )

    return ask


def test_a_run_is_the_one_of_the_files(tmp_path):
    write(tmp_path / "a", found=made.findings())
    answer = client(tmp_path)("/run", run="a")
    assert answer.status_code == 200
    expected = page.document(read_report(tmp_path / "a"), "a", states=False)
    assert answer.json == expected
    chart = answer.json["maps"]["update_ratio"]
    assert chart["steps"] == list(range(30))
    assert answer.json["logs"]["loss"]["validation"]["values"] == [2, 1]


def test_long_runs_are_drawn_from_first_to_last(tmp_path):
    # TensorBoard keeps ten moments of a tag: these would be scattered.
    write(tmp_path, steps=400)
    chart = client(tmp_path)("/run", run=".").json["maps"]["update_ratio"]
    gaps = np.diff([*chart["steps"], 399])
    assert chart["steps"][0] == 0
    assert gaps.max() <= 8
    np.testing.assert_allclose(
        chart["values"][0], 1e-3 * (1 + np.array(chart["steps"])), rtol=1e-4
    )


def test_runs_and_their_verdicts(tmp_path):
    write(tmp_path / "deep" / "er", found=made.findings())
    write(tmp_path / "well")
    (tmp_path / "other").mkdir()
    other = EventFile(tmp_path / "other" / "train")
    other.add(lambda: [summaries.scalar("epoch_loss", 1.0)], 0)
    other.close()
    found = client(tmp_path)("/runs").json
    assert [(run["name"], run["tone"]) for run in found] == [
        ("deep/er", "error"),
        ("well", "good"),
    ]
    assert found[0]["verdict"].startswith("1 error")


def test_histograms_and_pictures(tmp_path):
    layer = write(tmp_path)
    ask = client(tmp_path)
    (bins, *_) = ask("/histograms", run=".", layer=layer.path).json
    assert (bins["kind"], bins["path"]) == ("weights", layer.weights[0].path)
    assert [state["epoch"] for state in bins["states"]] == [1, 2]
    assert bins["states"][0]["counts"] == [1, 2, 3]
    assert ask("/histograms", run=".", layer="nonsense").json == []
    (picture,) = ask("/pictures", run=".").json
    assert len(picture["states"]) == 2


def test_what_is_not_there_is_said(tmp_path):
    write(tmp_path / "a")
    ask = client(tmp_path)
    for address in ("/run", "/histograms", "/pictures"):
        for name in ("nonsense", "../a", "a/train", ""):
            answer = ask(address, run=name, layer="x")
            assert (answer.status_code, answer.mimetype) == (404, "text/plain")
    assert ask("/run").status_code == 400
    for name in ("../html_file.py", "%2e%2e/html_file.py", "/etc/passwd", "", "static"):
        assert ask(f"/static/{name}").status_code == 404
    index = ask("/static/index.js")
    assert (index.status_code, index.mimetype) == (200, "text/javascript")


def test_an_empty_directory_has_no_runs(tmp_path):
    assert client(tmp_path)("/runs").json == []


def test_several_directories_under_names(tmp_path):
    write(tmp_path / "a")
    write(tmp_path / "b")
    found = client(tmp_path, one=tmp_path / "a", two=tmp_path / "b")("/runs").json
    assert [run["name"] for run in found] == ["one", "two"]


def test_a_file_that_is_cut_off(tmp_path):
    write(tmp_path / "a", found=made.findings())
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    (file,) = (tmp_path / "b" / "train").iterdir()
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    ask = client(tmp_path)
    assert [run["name"] for run in ask("/runs").json] == ["a", "b"]
    steps = ask("/run", run="b").json["maps"]["update_ratio"]["steps"]
    assert steps == list(range(len(steps)))


def test_what_tensorboard_asks():
    plugin = BabysitPlugin(TBContext())
    assert not plugin.is_active()
    assert list(plugin.data_plugin_names()) == ["keras_babysit"]
    metadata = plugin.frontend_metadata()
    assert metadata.tab_name == "Babysit"
    assert metadata.es_module_path == "/static/index.js"
