"""train_members: apart, reproducible, and only what is missing; load_members."""

import functools
import itertools
import os
import random
import shutil
import warnings
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import layers as L
from support import models as zoo

from keras_babysit.ensemble import SnapshotCheckpoint, load_members, train_members
from keras_babysit.ensemble.members import on_ray, training
from keras_babysit.search import RayExecutor

RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 3)).astype("float32")
Y = X[:, :1] * X[:, 1:2]
FITTING = {"x": X, "y": Y, "epochs": 2, "batch_size": 12}


def make_model():
    model = keras.Sequential(
        [keras.Input((3,)), L.Dense(6, "tanh"), L.Dropout(0.1), L.Dense(1)]
    )
    model.compile("adam", "mse", run_eagerly=True)
    return model


def weights(members):
    return [member.get_weights() for member in members]


def assert_same(one, other, **tolerance):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        for v, w in zip(a, b, strict=True):
            np.testing.assert_allclose(v, w, **{"rtol": 0, **tolerance})


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    folder = tmp_path_factory.mktemp("members")
    return folder, train_members(make_model, n=3, directory=folder, **FITTING)


def test_members_are_apart_and_saved_as_they_are_done(three):
    folder, members = three
    found = [f"member-00{i}.{kind}" for i in range(3) for kind in ("json", "keras")]
    assert sorted(os.listdir(folder)) == [*found, "members.json"]
    assert members.paths == [str(folder / f"member-00{i}.keras") for i in range(3)]
    assert [list(h) for h in members.histories] == [["loss"]] * 3
    assert [len(h["loss"]) for h in members.histories] == [2] * 3
    kernels = [w[0] for w in weights(members)]
    assert min(abs(a - b).max() for a, b in itertools.pairwise(kernels)) > 0.1
    # Layers are named alike, whatever was made before.
    assert [m.layers[0].name for m in members] == ["dense"] * 3
    assert_same(weights(load_members(folder)), weights(members))
    assert members[0].evaluate(X, Y, verbose=0) < 9


def test_in_memory_or_one_at_a_time_they_are_the_same(three):
    _, members = three
    keras.utils.set_random_seed(123)
    L.Dense(1)  # Other random numbers, other numbers in names.
    fewer = train_members(make_model, X, Y, n=2, epochs=2, batch_size=12)
    assert fewer.paths == []
    assert fewer.histories == members.histories[:2]
    assert_same(weights(fewer), weights(members)[:2])


def test_only_what_is_missing_is_trained_after_a_crash(three, tmp_path):
    _, members = three
    made = []

    class Dies(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise KeyboardInterrupt

    def callbacks(number):
        made.append(number)
        return [Dies()] if made == [0, 1] else []

    def train(n=3, **kwargs):
        return train_members(
            make_model,
            n=n,
            directory=tmp_path,
            callbacks=callbacks,
            **FITTING,
            **kwargs,
        )

    with pytest.raises(KeyboardInterrupt):
        train()
    assert sorted(p for p in os.listdir(tmp_path) if p.endswith("keras")) == [
        "member-000.keras"
    ]
    assert_same(weights(train()), weights(members))
    assert made == [0, 1, 1, 2]
    # None again; fewer are the first; a damaged folder is mended.
    paths = train(2, load=False)
    assert paths == members_paths(tmp_path)[:2] == paths.paths
    os.remove(tmp_path / "member-001.json")
    assert_same(weights(train()), weights(members))
    assert made == [0, 1, 1, 2, 1]


def members_paths(folder):
    return sorted(str(p) for p in folder.glob("*.keras"))


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"epochs": 3}, "`epochs` was 2 and is 3"),
        ({"epochs": np.int64(3)}, "`epochs` was 2 and is 3"),
        ({"seed": 1}, "`seed` was 0 and is 1"),
        ({"x": X + 1}, "`x` was other data"),
        ({"y": None, "x": keras.utils.PyDataset()}, "`x` was data"),
        ({"validation_split": 0.5}, "`validation_split` was not given"),
        ({"batch_size": None}, "`batch_size` was 12 and is None"),
        (
            {"make_model": lambda: zoo_compiled(zoo.mlp)},
            "`make_model` returned another",
        ),
    ],
)
def test_a_folder_of_other_settings(other, words, three):
    folder, _ = three
    given = {"make_model": make_model, "directory": folder, **FITTING, **other}
    with pytest.raises(ValueError, match=f"has members of other settings: {words}"):
        train_members(n=3, **given)


def zoo_compiled(builder):
    model, _ = builder()
    model.compile("adam", "mse")
    return model


def test_a_folder_without_settings(three, tmp_path):
    _, members = three
    members[0].save(tmp_path / "member-000.keras")
    with pytest.raises(ValueError, match="has members but not their settings"):
        train_members(make_model, directory=tmp_path, **FITTING)


def test_the_callers_random_numbers_go_on():
    def draw():
        return [random.random(), np.random.rand(), float(keras.random.uniform(()))]

    drawn = []
    for train in (False, True):
        keras.utils.set_random_seed(7)
        first, name = draw(), L.Dense(1).name
        if train:
            train_members(make_model, n=1, **{**FITTING, "epochs": 1})
        drawn.append([*first, *draw(), int(L.Dense(1).name[6:]) - int(name[6:] or 0)])
    assert drawn[0] == drawn[1]


def test_callbacks_are_copied_or_made_for_each():
    class Counts(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.epochs = 0

        def on_epoch_end(self, epoch, logs=None):
            self.epochs += 1
            seen.append((id(self), self.epochs))

    seen, one = [], Counts()
    train_members(make_model, n=2, callbacks=[one], **FITTING)
    assert [count for _, count in seen] == [1, 2, 1, 2]
    assert one.epochs == 0
    one.lock = (i for i in ())
    with pytest.raises(ValueError, match=r"Counts cannot be copied .*=a function"):
        train_members(make_model, n=2, callbacks=one, **FITTING)


def test_members_that_begin_alike_are_told_of(three):
    def seeded():
        keras.utils.set_random_seed(1)
        return make_model()

    with pytest.warns(UserWarning, match="Members begin with the same weights"):
        train_members(seeded, n=2, **{**FITTING, "epochs": 1})
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        train_members(make_model, n=3, directory=three[0], load=False, **FITTING)


@pytest.mark.slow
def test_by_ray_they_are_the_same(three, tmp_path):
    folder, members = three
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    os.remove(tmp_path / "member-001.keras")
    executor = RayExecutor(workers=1, cpus_per_trial=0.5)
    found = train_members(
        make_model, n=3, directory=tmp_path, executor=executor, **FITTING
    )
    # Other threads add in another order.
    assert_same(weights(found), weights(members), atol=1e-5)
    assert len(found.histories) == 3
    again = train_members(make_model, n=3, directory=tmp_path, **FITTING)
    assert_same(weights(again), weights(found))


def test_on_ray_so_many_at_a_time_and_each_as_it_is_done(monkeypatch):
    class Ray:
        """What is used of Ray: the task that began last is done first."""

        running, most, cancelled = [], 0, []
        put = staticmethod(lambda value: value)
        exceptions = SimpleNamespace(
            WorkerCrashedError=OSError, OutOfMemoryError=OSError, NodeDiedError=OSError
        )

        def remote(self, **options):
            return lambda run: SimpleNamespace(remote=self.begin)

        def begin(self, setup, shared, number, seed):
            self.running.append(f"task {number} of seed {seed}")
            self.most = max(self.most, len(self.running))
            return self.running[-1]

        def wait(self, tasks, num_returns):
            assert tasks == self.running
            return [self.running.pop()], self.running

        def get(self, task):
            if "seed 7" in task:
                raise OSError
            return task

        def cancel(self, task, force):
            self.cancelled.append(task)

    ray = Ray()
    cluster = on_ray.cluster
    monkeypatch.setattr(cluster, "import_ray", lambda: ray)
    monkeypatch.setattr(cluster, "connect", lambda address, cpus: "")
    monkeypatch.setattr(cluster, "capacity", lambda workers, *rest: workers)
    monkeypatch.setattr(on_ray, "_packed", lambda job: job)
    jobs = [training.Job(i, i + 4, make_model, None, {}) for i in range(4)]
    results = on_ray.results_on_ray(jobs, RayExecutor(workers=2))
    assert [next(results) for _ in range(2)] == [
        (1, "task 1 of seed 5"),
        (2, "task 2 of seed 6"),
    ]
    with pytest.raises(RuntimeError, match=r"was lost three times .*OSError"):
        next(results)
    assert ray.most == 2
    assert ray.cancelled == ["task 0 of seed 4"]


BAD = {
    "no function": ({"make_model": make_model()}, ValueError, "must be a function"),
    "nothing": ({"make_model": lambda: None}, ValueError, "Does it lack a `return`"),
    "not compiled": (
        {"make_model": lambda: keras.Sequential([L.Dense(1)])},
        ValueError,
        "must return a compiled model",
    ),
    "the same": (
        {"make_model": functools.cache(make_model), "epochs": 1},
        ValueError,
        "must return a new model each time",
    ),
    "n": ({"n": 0}, ValueError, "`n` must be a positive integer"),
    "seed": ({"seed": -1}, ValueError, "`seed` must be a non-negative integer"),
    "argument": ({"epoch": 3}, TypeError, "`fit` has no argument 'epoch'"),
    "x": ({"x": None}, ValueError, "nothing to train on"),
    "generator": ({"x": (i for i in ())}, ValueError, "can be read by one member only"),
    "callbacks": ({"callbacks": ["early"]}, ValueError, "list of callbacks"),
    "callback": ({"callbacks": 3}, ValueError, "list of callbacks.*Received: 3"),
    "returned": (
        {"callbacks": lambda number: None},
        ValueError,
        "that returns one. Received: None",
    ),
    "callbacks of one directory": (
        {"callbacks": [SnapshotCheckpoint("snapshots", every=1)]},
        ValueError,
        "Copies of SnapshotCheckpoint would.*a function of the member's number",
    ),
    "executor": ({"executor": "dask"}, ValueError, "`executor` must be None"),
    "directory": ({"directory": __file__}, ValueError, "is a file"),
    "load": ({"load": False}, ValueError, "needs a `directory`"),
}


@pytest.mark.parametrize("case", BAD, ids=str)
def test_bad_input(case):
    given, error, words = BAD[case]
    with pytest.raises(error, match=words):
        train_members(**{"make_model": make_model, "n": 2, **FITTING, **given})


def test_a_model_that_cannot_be_saved(tmp_path):
    class Odd(keras.Model):
        def __init__(self, layer):
            super().__init__()
            self.layer = layer

        def get_config(self):
            raise NotImplementedError("No configuration.")

        def call(self, x):
            return self.layer(x)

    def odd():
        model = Odd(L.Dense(1))
        model.compile("sgd", "mse")
        return model

    with pytest.raises(ValueError, match=r"cannot be saved: No configuration\."):
        train_members(odd, n=1, directory=tmp_path, **FITTING)


def test_loading_from_whatever_has_members(three):
    _, members = three
    assert load_members(members) == list(members)
    mixed = load_members([members[0], members.paths[1]], compile=False)
    assert mixed[0] is members[0]
    assert not mixed[1].compiled
    assert len(load_members(members.paths[0])) == 1

    class Search:
        def best_models(self, count=1):
            return list(members)[:count]

    assert load_members(Search(), 2) == list(members)[:2]
    with pytest.raises(ValueError, match="`n` must be a positive integer"):
        load_members(Search(), 0)


def test_what_is_not_a_model(tmp_path, three):
    _, members = three
    text = tmp_path / "notes.keras"
    text.write_text("no model")
    whole = tmp_path / "cut.keras"
    whole.write_bytes(Path(members.paths[0]).read_bytes()[:-40])
    members[0].save_weights(tmp_path / "some.weights.h5")
    search = tmp_path / "searched" / "search"
    search.mkdir(parents=True)
    (search / "events.jsonl").touch()
    for bad, words in (
        (search, r"There is no `.keras` file.*give the `Search` itself"),
        (search.parent, r"There is no `.keras` file.*give the `Search` itself"),
        (tmp_path / "missing", r"must be a `.keras` file\. .*missing' does not exist"),
        ([tmp_path], "is a directory"),
        ([text], "as `model.save` writes it.*notes.keras', which is none"),
        ([whole], "cut.keras', which is none"),
        ([tmp_path / "some.weights.h5"], "Load its weights into a model"),
        ([], "at least one member"),
        ([7], "member 0 is 7"),
        (7, "`source` must be a directory or a list"),
        (members[0], "`source` must be a directory or a list"),
    ):
        with pytest.raises(ValueError, match=words):
            load_members(bad)


def test_a_class_that_keras_does_not_know(tmp_path):
    class Mine(L.Dense):
        pass

    model = keras.Sequential([keras.Input((2,)), Mine(1)])
    model.save(tmp_path / "mine.keras")
    with pytest.raises(ValueError, match=r"Could not locate class 'Mine'\.") as raised:
        load_members(tmp_path)
    assert "object config" not in str(raised.value)
    (loaded,) = load_members(tmp_path, custom_objects={"Mine": Mine})
    assert type(loaded.layers[0]) is Mine
