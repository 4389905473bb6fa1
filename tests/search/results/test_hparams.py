"""TensorBoard's HParams tab, as TensorBoard's own code reads it."""

import shutil
import subprocess
import sys
import warnings

import pytest
from google.protobuf import json_format
from support import made_up_search as made
from tensorboard import context
from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.plugins import base_plugin
from tensorboard.plugins.hparams import (
    api_pb2,
    backend_context,
    get_experiment,
    list_session_groups,
)

from keras_babysit.event_files import summaries
from keras_babysit.event_files.writer import EventFile
from keras_babysit.search.results.hparams import END, EXPERIMENT, METRIC, START, HParams

STATUSES = {
    api_pb2.STATUS_SUCCESS: "success",
    api_pb2.STATUS_FAILURE: "failure",
    api_pb2.STATUS_UNKNOWN: "unknown",
}


class Board:
    """TensorBoard's backend on a folder."""

    def __init__(self, directory):
        self._directory = str(directory)
        self._events = plugin_event_multiplexer.EventMultiplexer()
        provider = data_provider.MultiplexerDataProvider(self._events, self._directory)
        tensorboard = base_plugin.TBContext(data_provider=provider)
        self._context = backend_context.Context(tensorboard)
        self.reload()

    def reload(self):
        self._events.AddRunsFromDirectory(self._directory)
        self._events.Reload()

    def _ask(self, module, request):
        where = context.RequestContext()
        return module.Handler(where, self._context, "", request).run()

    @property
    def experiment(self):
        return self._ask(get_experiment, api_pb2.GetExperimentRequest())

    @property
    def groups(self):
        request = api_pb2.ListSessionGroupsRequest(
            start_index=0, slice_size=1000, allowed_statuses=list(STATUSES)
        )
        request.allowed_statuses.append(api_pb2.STATUS_RUNNING)
        return list(self._ask(list_session_groups, request).session_groups)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = made.stored(tmp_path_factory.mktemp("searches"))
    HParams(store).update()
    return store


@pytest.fixture(scope="module")
def board(store):
    return Board(store.directory)


def contents(directory):
    return {p: p.read_bytes() for p in sorted(directory.rglob("*tfevents*"))}


def test_hyperparameters_and_their_domains(board):
    infos = {info.name: info for info in board.experiment.hparam_infos}
    hps = [hp["config"]["name"] for hp in made.SPACE["space"]]
    assert set(infos) == {*hps, "search/stage", "search/origin"}
    rate = infos["learning_rate"]
    assert rate.type == api_pb2.DATA_TYPE_FLOAT64
    assert rate.domain_interval.min_value == 1e-6
    assert rate.domain_interval.max_value == 10.0
    assert rate.description == "1e-6 to 10, log"
    assert infos["layers"].domain_interval.max_value == 4
    for name, kind, choices in (
        ("optimizer", api_pb2.DATA_TYPE_STRING, ["adam", "sgd"]),
        ("momentum", api_pb2.DATA_TYPE_FLOAT64, [0.5, 0.9, 0.99]),
        ("batch_norm", api_pb2.DATA_TYPE_BOOL, [False, True]),
        ("search/stage", api_pb2.DATA_TYPE_FLOAT64, [1, 2, 3]),
        (
            "search/origin",
            api_pb2.DATA_TYPE_STRING,
            ["oracle", "promoted", "repeat"],
        ),
    ):
        assert infos[name].type == kind
        assert json_format.MessageToDict(infos[name])["domainDiscrete"] == choices
        assert infos[name].differs
    assert not infos["task"].differs


def test_metrics(board):
    infos = board.experiment.metric_infos
    assert [info.display_name for info in infos] == [
        "val_loss",
        "loss",
        "val_accuracy",
        "best_epoch",
        "epochs",
        "seconds",
        "parameters",
    ]
    assert infos[0].name.tag == f"{METRIC}val_loss"
    assert infos[0].dataset_type == api_pb2.DATASET_VALIDATION
    assert infos[1].dataset_type == api_pb2.DATASET_TRAINING


def test_a_session_for_each_trial(store, board):
    groups = {group.name: group for group in board.groups}
    trials = store.trials()
    assert set(groups) == {trial.name for trial in trials}
    for trial in trials:
        group = groups[trial.name]
        assert [s.name for s in group.sessions] == [f"trials/{trial.name}/logs"]
        values = json_format.MessageToDict(group)["hparams"]
        assert values == {
            **trial.values,
            "search/stage": trial.stage + 1,
            "search/origin": trial.origin,
        }
        session, outcome = group.sessions[0], trial.outcome
        expected = {**outcome.metrics, "epochs": outcome.epochs}
        expected |= {"seconds": outcome.seconds}
        expected |= {
            name: getattr(outcome, name)
            for name in ("parameters", "best_epoch")
            if getattr(outcome, name) is not None
        }
        found = {
            v.name.tag.removeprefix(METRIC): v.value for v in session.metric_values
        }
        assert found == pytest.approx(expected, rel=1e-6)
        good = trial.status == "completed"
        assert STATUSES[session.status] == ("success" if good else "failure")
        assert session.end_time_secs == session.start_time_secs + 9


def test_stopped_with_a_score_is_no_failure(tmp_path):
    _, events, _, _ = made.made_up()
    events[2]["outcome"] |= {"status": "stopped", "reason": "not *good* enough"}
    store = made.stored(tmp_path, events=events[:3])
    HParams(store).update()
    board = Board(tmp_path)
    assert STATUSES[board.groups[0].sessions[0].status] == "success"
    texts = board._events.Tensors("trials/0000/logs", f"{METRIC}outcome")
    told = texts[0].tensor_proto.string_val[0].decode()
    assert told == "**stopped**: not \\*good\\* enough"


def test_again_changes_nothing(store):
    before = contents(store.directory)
    HParams(store).update()
    assert contents(store.directory) == before
    assert len(before) == 1 + 2 * len(store.trials())
    assert not list(store.directory.rglob(".partial-*"))


def test_a_search_that_was_killed_and_goes_on(store, tmp_path):
    _, events, _, _ = made.made_up()
    broken = made.stored(tmp_path, events=events[:8])
    HParams(broken).update()
    # Killed between two files, and a worker that begins anew empties its folder.
    (broken.folder(0) / "logs" / END).unlink()
    shutil.rmtree(broken.folder(1) / "logs")
    (tmp_path / EXPERIMENT).unlink()
    made.write_events(broken, events)
    HParams(broken).update()
    names = {p.relative_to(tmp_path): c for p, c in contents(tmp_path).items()}
    whole = contents(store.directory)
    assert names == {p.relative_to(store.directory): c for p, c in whole.items()}


def test_step_by_step_as_the_search_goes_on(store, tmp_path):
    _, events, trials, _ = made.made_up()
    here = made.stored(tmp_path, events=[])
    writer = HParams(here)
    writer.update()
    board = Board(tmp_path)
    assert board.groups == []
    made.write_events(here, events[:2])
    writer.update()
    board.reload()
    # It is running: there is a row already, and the tags of no babysitter as metrics.
    assert [g.sessions[0].status for g in board.groups] == [api_pb2.STATUS_UNKNOWN]
    for count in range(3, len(events) + 1):
        made.write_events(here, events[:count])
        writer.update()
        if count in (3, 20):
            board.reload()
    board.reload()
    assert len(board.groups) == len(trials)
    assert len(board.experiment.metric_infos) == 7
    names = {p.relative_to(tmp_path): c for p, c in contents(tmp_path).items()}
    whole = contents(store.directory)
    assert names == {p.relative_to(store.directory): c for p, c in whole.items()}


def test_half_a_line_is_read_when_it_is_whole(tmp_path):
    _, events, _, _ = made.made_up()
    store = made.stored(tmp_path, events=events[:3])
    path = store.directory / "events.jsonl"
    content = path.read_bytes()
    path.write_bytes(content[:-10])
    writer = HParams(store)
    writer.update()
    assert not (store.folder(0) / "logs" / END).exists()
    path.write_bytes(content)
    writer.update()
    assert (store.folder(0) / "logs" / END).exists()


def test_babysitters_own_files_are_no_metrics(tmp_path):
    _, events, _, _ = made.made_up()
    store = made.stored(tmp_path, events=events[:5])
    own = EventFile(store.folder(0) / "logs" / "train")
    own.add(lambda: [summaries.scalar("update_ratio/dense/kernel", 1e-3)], 1)
    own.close()
    HParams(store).update()
    tags = {info.name.tag for info in Board(tmp_path).experiment.metric_infos}
    assert all(tag.startswith(METRIC) for tag in tags)


def test_an_unwritable_folder_is_no_reason_to_end(tmp_path):
    _, events, _, _ = made.made_up()
    store = made.stored(tmp_path, events=events[:5])
    logs = store.folder(1) / "logs"
    logs.write_text("a file where a folder should be")
    writer = HParams(store)
    with pytest.warns(UserWarning, match="HParams tab is not up to date"):
        writer.update()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        writer.update()
    logs.unlink()
    writer.update()
    assert (logs / START).exists()
    assert (logs / END).exists()


def test_no_search_no_files(tmp_path):
    from keras_babysit.search.store import Store

    HParams(Store(tmp_path)).update()
    assert list(tmp_path.iterdir()) == []


def test_without_tensorflow(tmp_path):
    made.stored(tmp_path)
    code = f"""
import sys
from keras_babysit.search.results.hparams import HParams
from keras_babysit.search.store import Store
HParams(Store({str(tmp_path)!r})).update()
print([m for m in ("tensorflow", "keras", "torch", "jax") if m in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
    assert (tmp_path / EXPERIMENT).exists()
