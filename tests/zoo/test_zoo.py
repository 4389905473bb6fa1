"""The bars of the diagnosis, case by case.

A root cause that is not named and a false alarm are failures of their own case, so
that they are seen; the bars over the whole zoo are `test_bars`. `ZOO_EVERY=1` in the
environment runs every pair and every healthy run instead of one in so many.
"""

import os

import pytest

from keras_babysit import rules
from zoo.cases import load
from zoo.run import chosen, processes, row, run_named

ROOT_CAUSES_NAMED = 0.95
HEALTHY_RUNS_ALARMED = 0.02

CASES = load()
NAMES = chosen(int(os.environ.get("ZOO_EVERY", "2")))
FAULTY = [name for name in NAMES if CASES[name].faulty]
HEALTHY = [name for name in NAMES if not CASES[name].faulty]


@pytest.fixture(scope="session")
def outcome(request):
    """Runs the selected cases in processes of their own; waits for one by name."""
    names = []
    for item in request.session.items:
        if "outcome" in item.fixturenames:
            name = getattr(item, "callspec", None) and item.callspec.params["name"]
            names += [name] if name else NAMES
    names = list(dict.fromkeys(names))
    with processes(os.cpu_count()) as pool:
        runs = {name: pool.apply_async(run_named, (name,)) for name in names}
        yield lambda name: runs[name].get()


def test_the_zoo_is_large_enough():
    faulty = [name for name, case in CASES.items() if case.faulty]
    assert len(faulty) >= 40
    assert all(f"{name}/mended" in CASES for name in faulty)
    assert len(CASES) - 2 * len(faulty) >= 30


def test_expected_rules_exist():
    expected = {one for case in CASES.values() for one in case.expected | case.symptoms}
    assert {one.partition(": ")[0] for one in expected} <= set(rules.available())


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTY)
def test_root_cause_is_named(outcome, name):
    o = outcome(name)
    print(row(o))
    assert not o.stepped_aside
    assert bool(o.raised) == CASES[name].raises, o.raised
    assert o.cause_named, [f"{f.rule}: {f}" for f in o.told]


@pytest.mark.slow
@pytest.mark.parametrize("name", HEALTHY)
def test_healthy_run_is_left_alone(outcome, name):
    o = outcome(name)
    print(row(o))
    assert not o.stepped_aside
    assert not o.raised
    assert o.well_trained, (CASES[name].reaches, o.logs)
    assert not o.alarms, [f"{f.rule}: {f}" for f in o.alarms]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_bars(outcome):
    named = [outcome(name).cause_named for name in FAULTY]
    alarmed = [bool(outcome(name).alarms) for name in HEALTHY]
    assert sum(named) >= ROOT_CAUSES_NAMED * len(named)
    assert sum(alarmed) <= HEALTHY_RUNS_ALARMED * len(alarmed)
