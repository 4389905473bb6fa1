"""`preflight`: all checks in one call, and their table."""

import json
import math
import sys
import types

import keras
import numpy as np
import pytest
import rich.console
from keras import layers as L
from rich.console import Console
from support import models, untouched
from support.batched import dataset

import keras_babysit
from keras_babysit import checks, rules
from keras_babysit.checks.check import Check, CheckResult
from keras_babysit.checks.data import gathered
from keras_babysit.checks.model_and_data import RulesResult, check_model_and_data
from keras_babysit.checks.preflight_result import Preflight
from keras_babysit.checks.root_causes import root_causes
from keras_babysit.document import console as renderer
from keras_babysit.records import Finding


def points(n=200, classes=3):
    rng = np.random.default_rng(0)
    y = rng.integers(0, classes, n)
    x = rng.normal(size=(n, 6)) + 2 * np.eye(6)[y]
    return x.astype("float32"), y


def network(*layers, loss="sparse_categorical_crossentropy"):
    layers = layers or (L.Dense(8, activation="relu"), L.Dense(3, activation="softmax"))
    model = keras.Sequential([keras.Input((6,)), *layers], name="small")
    model.compile("adam", loss, metrics=["accuracy"])
    return model


def only(*names):
    """Made-up checks beside the real one, by what they return or raise."""

    def made(name, order, outcome):
        def run(model, sample, progress):
            progress(0.5, "half of it")
            if isinstance(outcome, BaseException):
                raise outcome
            return CheckResult(name, *outcome)

        return Check(name, name.replace("_", " "), order, run)

    own = checks.available()["model_and_data"]
    found = [made(name, 10 + i, out) for i, (name, out) in enumerate(names)]
    return {"model_and_data": own, **{check.name: check for check in found}}


@pytest.fixture
def with_checks(monkeypatch):
    def replace(*names):
        made = only(*names)
        monkeypatch.setattr(checks, "available", lambda: made)

    return replace


PASSED = ("passed", "fine")


# What is made of which arguments.


def test_all_of_them(with_checks, capsys):
    with_checks(("one", PASSED), ("two", PASSED))
    found = keras_babysit.preflight(network(), *points())
    assert isinstance(found, keras_babysit.Preflight)
    assert [r.check for r in found.results] == ["model_and_data", "one", "two"]
    assert found.ok
    assert found.verdict == "passed"
    assert found["two"].summary == "fine"
    assert (found.model, found.samples, found.rows) == ("small", 200, 200)
    assert 0 < found.seconds < 60
    assert repr(found) == "<Preflight: 3 passed>"
    out, err = capsys.readouterr()
    assert out.splitlines()[0].startswith("✔ Before learning: small, 200 samples, ")
    assert err == ""
    with pytest.raises(KeyError, match=r"No such check was made.*'three'"):
        found["three"]


def test_verbose(with_checks, capsys):
    with_checks(("one", PASSED))
    keras_babysit.preflight(network(), *points(), verbose=0)
    assert capsys.readouterr().out == ""
    with pytest.raises(ValueError, match="`verbose` must be"):
        keras_babysit.preflight(network(), *points(), verbose=2)


def test_some_of_them(with_checks):
    with_checks(("one", PASSED), ("two", PASSED))
    run = keras_babysit.preflight
    of = {"model": network(), "x": points()[0], "y": points()[1], "verbose": 0}
    assert [r.check for r in run(**of, checks=["two", "one"]).results] == ["one", "two"]
    found = run(**of, ignore=["one", "inputs-not-scaled"])
    assert [r.check for r in found.results] == ["model_and_data", "two"]
    for wrong in ({"checks": ["three"]}, {"ignore": ["three"]}):
        with pytest.raises(
            ValueError, match=r"There is no check.*model_and_data.*three"
        ):
            run(**of, **wrong)
    for wrong in ({"checks": "one"}, {"ignore": "one"}):
        with pytest.raises(ValueError, match="must be a list of names"):
            run(**of, **wrong)
    with pytest.raises(ValueError, match="must be a check left"):
        run(**of, checks=["one"], ignore=["one"])


def test_rules_can_be_ignored():
    x, y = points()
    chosen = {"checks": ["model_and_data"], "verbose": 0}
    found = keras_babysit.preflight(network(), 100 * x, y, **chosen)
    assert [f.rule for f in found.findings] == ["inputs-not-scaled"]
    assert found.verdict == "worrying"
    assert not found.ok
    found = keras_babysit.preflight(
        network(), 100 * x, y, **chosen, ignore=["inputs-not-scaled"]
    )
    assert found.ok
    assert found.findings == ()


def test_a_check_that_breaks(with_checks):
    error = ValueError(
        "Exception encountered when calling Dense.call().\n\n"
        "\x1b[1m{{function_node __wrapped__X}} no such thing [Op:X] name: \x1b[0m"
        "\n\nmore"
    )
    with_checks(("one", error), ("two", RuntimeError()), ("three", PASSED))
    found = keras_babysit.preflight(network(), *points(), verbose=0)
    assert [r.verdict for r in found.results] == [
        "passed",
        "skipped",
        "skipped",
        "passed",
    ]
    assert found["one"].summary == (
        "could not be made: ValueError: Exception encountered when calling "
        "Dense.call(). no such thing"
    )
    assert found["one"].evidence["exception"] == "ValueError"
    assert "Traceback" in found["one"].evidence["traceback"]
    assert found["two"].summary == "could not be made: RuntimeError"
    assert found.verdict == "passed"


def test_time_is_given_to_the_checks_that_take_it(monkeypatch):
    given = []

    def run(model, sample, progress, seconds):
        given.append(seconds)
        return CheckResult("slow", "not finished", "too slow", action="wait")

    monkeypatch.setattr(
        checks, "available", lambda: {"slow": Check("slow", "slow", 1, run, timed=True)}
    )
    found = keras_babysit.preflight(network(), *points(), seconds=7.5, verbose=0)
    assert given == [7.5]
    assert (found.verdict, found.ok) == ("not finished", False)
    assert "1 not finished." in str(found)
    assert "• not finished  slow   too slow." in str(found)
    with pytest.raises(ValueError, match="`seconds` must be a positive number"):
        keras_babysit.preflight(network(), *points(), seconds=0)


def test_an_interrupt_is_no_result(with_checks):
    with_checks(("one", KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        keras_babysit.preflight(network(), *points(), verbose=0)


# What it is fed with.


def generator(x, y):
    while True:
        for i in range(0, len(x), 16):
            yield x[i : i + 16], y[i : i + 16]


class Batches(keras.utils.PyDataset):
    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x) // 16

    def __getitem__(self, i):
        return self.x[16 * i : 16 * (i + 1)], self.y[16 * i : 16 * (i + 1)]


@pytest.mark.parametrize("make", [dataset, generator, Batches])
def test_batches(make):
    sample, facts = gathered(make(*points(2000)))
    # As many batches as the Babysitter looks at.
    assert facts.targets[0].seen == facts.inputs[0].seen == 800
    assert (facts.source, facts.batch_size) == ("batches", 16)
    assert (sample.size, sample.whole) == (512, False)
    known = {row.tobytes(): label for row, label in zip(*points(2000), strict=True)}
    for row, label in zip(sample.x, sample.y, strict=True):
        assert known[row.tobytes()] == label


def test_arrays():
    x, y = points(5000)
    sample, facts = gathered(x, y, np.linspace(1, 2, 5000))
    assert facts.inputs[0].seen == 2000
    assert facts.targets[0].seen == 5000
    assert (facts.source, facts.rows, facts.weighted) == ("arrays", 5000, True)
    assert sample.size == 512
    assert not gathered(x, y, np.ones(5000))[1].weighted


def test_large_samples_are_fewer():
    x = np.broadcast_to(np.float32(1), (600, 200, 200, 3))
    assert gathered(x, np.arange(600))[0].size == 66


@pytest.mark.parametrize("n", [20, 64])
def test_first_samples_have_all_classes(n):
    x, y = points(3000, classes=10 // 2)
    order = np.argsort(y)
    sample, _ = gathered(x[order], y[order])
    share = np.bincount(sample.first(n).y, minlength=5) / n
    np.testing.assert_allclose(share, np.bincount(y) / 3000, atol=1.5 / n + 0.01)


def test_structures():
    model, (x, y) = models.shared_and_nested()
    models.compile_model(model)
    found = check_model_and_data(model, x, y)
    assert found.ok, found
    sample, facts = gathered(x, y)
    assert [f.name for f in facts.inputs] == ["x['a']", "x['b']"]
    assert sample.y["two"].shape == (models.N, 1)


def test_the_generator_draws_no_random_numbers():
    def drawn():
        for _ in range(10):
            y = np.random.randint(0, 3, 16)
            yield np.random.normal(size=(16, 6)).astype("float32"), y

    np.random.seed(5)
    expected = np.random.random()
    np.random.seed(5)
    keras_babysit.preflight(network(), drawn(), checks=["model_and_data"], verbose=0)
    assert np.random.random() == expected


def test_validation_data():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(500, 6)), rng.integers(0, 3, 500)
    data = {"x": x, "y": y, "ignore": ["unrelated-inputs"]}
    found = check_model_and_data(network(), **data, validation_data=(x[:100], y[:100]))
    assert [f.rule for f in found.findings] == ["leaking-validation"]
    assert check_model_and_data(network(), **data).findings == ()
    ready = dataset(x, y)
    assert check_model_and_data(network(), **data, validation_data=ready).ok


@pytest.mark.parametrize("more", [1, 3])
def test_what_rules_explain_is_no_exception(more):
    # With the first labels out of range, nothing can be computed.
    x, y = points()
    checks = ["model_and_data", "regularization"]
    model = network(L.Dense(3, "softmax", kernel_regularizer="l2"))
    found = keras_babysit.preflight(model, x, y + more, checks=checks, verbose=0)
    assert [f.rule for f in found.findings] == ["labels-out-of-range"]
    assert [r.verdict for r in found.results] == ["failed", "skipped"]
    assert found.because == {"regularization": ("labels-out-of-range",)}
    assert check_model_and_data(model, x, y + more).verdict == "failed"
    with pytest.raises(ValueError, match="loss cannot be computed"):
        keras_babysit.preflight(model, x, np.zeros((200, 5, 2)), verbose=0)


def test_more_of_the_data_than_the_sample_is_looked_at():
    x, y = points(5000)
    model = network()
    sample, _ = gathered(x, y)
    used = {row.tobytes() for row in sample.x}
    at = next(i for i, row in enumerate(x) if row.tobytes() not in used)
    x[at, 0] = np.nan
    found = keras_babysit.preflight(model, x, y, checks=["model_and_data"], verbose=0)
    assert [f.rule for f in found.findings] == ["nan-in-data"]
    assert found.verdict == "failed"


# Causes.


def finding(rule, severity="error", because="", **more):
    values = {"seen": f"{rule} was seen", "cause": "Likely this", "action": "do that"}
    return Finding(
        rule, severity, "", 0, 0.0, 0, 0.0, because=because, **{**values, **more}
    )


def rules_found(*findings):
    verdict = "failed" if any(f.severity == "error" for f in findings) else "worrying"
    return RulesResult("model_and_data", verdict, "seen", findings=findings)


def failed(check, **more):
    return CheckResult(check, "failed", f"{check} is off", action="try this", **more)


def test_causes():
    softmax = rules_found(finding("softmax-on-one-unit"))
    later = [failed("initial_loss"), failed("overfit_subset"), failed("gradient")]
    assert root_causes([softmax, *later]) == {
        "initial_loss": ("softmax-on-one-unit",),
        "overfit_subset": ("softmax-on-one-unit", "gradient"),
    }
    # What is only half a cause, or none.
    strong = rules_found(finding("regularization-too-strong", "warning"))
    assert root_causes([strong, failed("overfit_subset")]) == {}
    assert root_causes([strong, failed("regularization")]) == {
        "regularization": ("regularization-too-strong",)
    }
    remark = rules_found(finding("constant-features", "info"))
    assert root_causes([remark, *later]) == {"overfit_subset": ("gradient",)}
    both = rules_found(finding("inputs-not-scaled", "warning"), finding("output-range"))
    assert root_causes([both, *later])["initial_loss"] == (
        "output-range",
        "inputs-not-scaled",
    )
    passed = CheckResult("initial_loss", "passed", "fine")
    assert root_causes([softmax, passed]) == {}
    rate = rules_found(finding("learning-rate-extreme"))
    assert root_causes([rate, failed("initial_loss")]) == {}
    assert root_causes([failed("gradient"), failed("initial_loss")]) == {}


def test_what_broke_because_of_an_error():
    broken = CheckResult(
        "anything", "skipped", "could not be made", evidence={"exception": "E"}
    )
    assert root_causes([broken]) == {}
    assert root_causes([rules_found(finding("labels-out-of-range")), broken]) == {
        "anything": ("labels-out-of-range",)
    }
    warned = rules_found(finding("inputs-not-scaled", "warning"))
    assert root_causes([warned, broken]) == {}


# The table.


def preflight_of(*results, **more):
    results = tuple(results)
    return Preflight(results, root_causes(results), "small", 512, 4000, 12.3, **more)


def test_worst_first_and_causes_before_symptoms():
    found = preflight_of(
        CheckResult("passed_one", "passed", "fine"),
        CheckResult("skipped_one", "skipped", "not for this model"),
        failed("initial_loss"),
        CheckResult("regularization", "worrying", "much", action="less of it"),
        rules_found(finding("softmax-on-one-unit")),
    )
    assert [result.check for result in found.worst_first] == [
        "model_and_data",
        "regularization",
        "initial_loss",
        "passed_one",
        "skipped_one",
    ]
    text = str(found)
    assert text.splitlines()[0] == (
        "✖ Before learning: small, 512 of 4,000 samples, 12 s: 2 failed, 1 worrying, "
        "1 passed, 1 skipped."
    )
    assert "softmax-on-one-unit was seen. [softmax-on-one-unit]" in text
    assert "→ Likely this: do that." in text
    assert "initial_loss is off. Likely for the same reason: softmax-on-one-unit." in (
        " ".join(text.split())
    )
    assert "try this" not in text
    assert "→ less of it." in text


NINE = [name for name, r in rules.available().items() if "start" in r.when][:9]


@pytest.mark.parametrize("width", [45, 80, 100, 140])
def test_width(width):
    found = preflight_of(
        failed("overfit_subset", alternatives=("this",), rows=({"a": "b" * 300},)),
        rules_found(*(finding(rule, seen="word " * 40) for rule in NINE)),
    )
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(found)
    text = console.export_text()
    lines = [line.rstrip() for line in text.splitlines()]
    assert max(map(len, lines)) <= min(width, 100)
    words = " ".join(text.split())
    assert all(f"[{rule}]" in words for rule in NINE[:6])
    assert "And 3 more findings." in text
    assert 'print(found["overfit_subset"])' in text


def test_table():
    found = preflight_of(
        rules_found(finding("output-range")),
        failed("gradient"),
        CheckResult("regularization", "skipped", "nothing to check"),
    )
    assert str(found).splitlines()[2:] == [
        " verdict    check           what was seen, and what to do",
        " " + 64 * "─",
        " ✖ failed   model and data  output-range was seen. [output-range]",
        "                            → Likely this: do that.",
        " ✖ failed   gradient        gradient is off.",
        "                            → try this.",
        " – skipped  regularization  nothing to check.",
    ]
    assert renderer.text(found.content(), 45).splitlines()[3:] == [
        "✖ failed",
        "  check: model and data",
        "  output-range was seen. [output-range]",
        "  → Likely this: do that.",
        "✖ failed",
        "  check: gradient",
        "  gradient is off.",
        "  → try this.",
        "– skipped",
        "  check: regularization",
        "  nothing to check.",
    ]


def test_code_is_code_in_html():
    html = preflight_of(failed("gradient", alternatives=("call `fit(x)`",)))
    assert "<li>call <code>fit(x)</code></li>" in html._repr_html_()
    assert "call `fit(x)`" in str(html["gradient"])


class Kernel:
    """An IPython that shows HTML, with a cell that runs."""

    execution_count = 1
    kernel = object()

    def __init__(self):
        self.seen = []

    def shows(self, result):
        self.seen.append(result._repr_html_() or repr(result))


def test_a_notebook_shows_it_once(with_checks, capsys, monkeypatch):
    with_checks(("one", PASSED))
    kernel = Kernel()
    ipython = types.SimpleNamespace(
        get_ipython=lambda: kernel,
        display=types.SimpleNamespace(display=kernel.shows),
    )
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    found = keras_babysit.preflight(network(), *points())
    kernel.shows(found)  # The value of the same cell.
    assert ["<table>" in shown for shown in kernel.seen] == [True, False]
    assert kernel.seen[1] == "<Preflight: 2 passed>"
    kernel.execution_count = 2
    kernel.shows(found)
    kernel.shows(found)
    assert ["<table>" in shown for shown in kernel.seen[2:]] == [True, True]
    quiet = keras_babysit.preflight(network(), *points(), verbose=0)
    kernel.shows(quiet)
    assert "<table>" in kernel.seen[4]
    assert capsys.readouterr().out == ""
    kernel.kernel = None  # IPython in a terminal.
    keras_babysit.preflight(network(), *points())
    assert capsys.readouterr().out.startswith("✔ Before learning: small")


def test_json():
    odd = {"a": np.float32(1.5), "b": math.nan, "c": np.arange(3), "d": object()}
    found = preflight_of(
        rules_found(finding("labels-out-of-range", evidence={"n": np.int64(3)})),
        failed("initial_loss", evidence=odd, rows=({"layer": "dense"},)),
    )
    values = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert values["verdict"] == "failed"
    assert values["ok"] is False
    assert values["results"][1]["evidence"]["a"] == 1.5
    assert values["results"][1]["evidence"]["b"] == "nan"
    assert values["results"][1]["evidence"]["c"] == [0, 1, 2]
    assert values["results"][1]["because"] == ["labels-out-of-range"]
    assert values["findings"][0]["evidence"] == {"n": 3}
    assert set(values["results"][0]) == set(values["results"][1])


def test_html_escapes_everything():
    bad = "<script>alert('x')</script>"
    found = Preflight(
        (
            failed(
                bad,
                alternatives=(bad,),
                notes=(bad,),
                rows=({bad: bad, "b": "fine"},),
            ),
            rules_found(finding("output-range", seen=bad, action=bad)),
        ),
        model=bad,
    )
    html = found._repr_html_()
    assert "<script" not in html
    assert html.count("&lt;script&gt;") >= 8
    assert "<table>" in html
    assert html.count("<div") == html.count("</div>")


def test_nothing_at_all():
    assert Preflight().verdict == "passed"
    assert "no checks" in str(Preflight())
    skipped = Preflight((CheckResult("a", "skipped", "why"),))
    assert (skipped.verdict, skipped.ok) == ("skipped", True)


# Progress.


def test_progress_on_a_terminal(with_checks, monkeypatch, capsys):
    with_checks(("the_one", PASSED), ("broken", ValueError("no")))
    seen = []

    class Terminal(rich.console.Console):
        def __init__(self, **options):
            assert options.pop("stderr")
            super().__init__(force_terminal=True, file=Tape(seen), width=99, **options)

    monkeypatch.setattr(rich.console, "Console", Terminal)
    keras_babysit.preflight(network(), *points(), verbose=1)
    text = "".join(seen)
    assert "the one" in text
    assert "half of it" in text
    # It is wiped out at the end.
    assert text.rstrip().endswith(("\x1b[2K", "\x1b[?25h", "\x1b[1A"))
    seen.clear()
    keras_babysit.preflight(network(), *points(), verbose=0)
    assert seen == []


class Tape:
    encoding = "utf-8"

    def __init__(self, seen):
        self.seen = seen

    def write(self, text):
        self.seen.append(text)

    def flush(self):
        pass

    def isatty(self):
        return True


# With all real checks.


@pytest.mark.slow
def test_healthy_model_passes_and_nothing_is_changed(capsys):
    def run(checked):
        keras.utils.set_random_seed(1)
        model, (_, y) = models.cnn()
        x = np.random.default_rng(0).normal(size=(len(y), 8, 8, 3)).astype("float32")
        models.compile_model(model, metrics=["accuracy"])
        if checked:
            before = untouched.everything(model)
            found = keras_babysit.preflight(model, x, y, verbose=0)
            assert untouched.differences(before, untouched.everything(model)) == []
            assert found.ok, str(found)
            json.dumps(found.to_dict(), allow_nan=False)
        history = model.fit(x, y, epochs=2, batch_size=16, shuffle=True, verbose=0)
        return history.history, models.state(model)

    (history, state), (plain_history, plain_state) = run(True), run(False)
    assert history == plain_history
    for a, b in zip(state, plain_state, strict=True):
        np.testing.assert_array_equal(a, b)
    assert capsys.readouterr().out == ""


@pytest.mark.tensorflow  # Elsewhere the loss reads the constant, not the logits.
def test_a_wrong_output_explains_the_loss():
    x, y = points(classes=2)
    model = network(
        L.Dense(8, activation="relu"),
        L.Dense(1, activation="softmax"),
        loss="binary_crossentropy",
    )
    found = keras_babysit.preflight(
        model,
        1000 * x,
        y.astype("float32"),
        checks=["model_and_data", "initial_loss"],
        verbose=0,
    )
    assert found["model_and_data"].verdict == "failed"
    assert found["initial_loss"].verdict == "failed"
    assert found.because == {
        "initial_loss": ("softmax-on-one-unit", "inputs-not-scaled")
    }


@pytest.mark.slow
def test_unbuilt_model_fits_as_without_it():
    def run(checked):
        keras.utils.set_random_seed(1)
        model, (x, y) = models.subclassed()
        models.compile_model(model)
        if checked:
            keras_babysit.preflight(model, x, y, ignore=["overfit_subset"], verbose=0)
        history = model.fit(x, y, epochs=2, verbose=0)
        return history.history, models.state(model)

    (history, state), (plain_history, plain_state) = run(True), run(False)
    assert history == plain_history
    for a, b in zip(state, plain_state, strict=True):
        np.testing.assert_array_equal(a, b)


def test_own_train_step_without_a_call():
    model, (x, _) = models.Gan_and_data()
    model.compile()
    found = keras_babysit.preflight(model, x, ignore=["overfit_subset"], verbose=0)
    assert found.ok
    assert found["gradient"].verdict == "skipped"
