"""The bars of the diagnosis, over a part of the zoo; `make zoo` runs all of it.

`ZOO_EVERY=1` in the environment runs every pair and every healthy run instead of one
in so many.
"""

import gc
import os

import pytest
import tensorflow as tf

from keras_babysit import rules
from zoo.cases import load
from zoo.run import chosen, processes, row, run_named

ROOT_CAUSES_NAMED = 0.95
HEALTHY_RUNS_ALARMED = 0.02

CASES = load()
NAMES = chosen(int(os.environ.get("ZOO_EVERY", "8")))


def test_the_zoo_is_large_enough():
    faulty = [name for name, case in CASES.items() if case.faulty]
    assert len(faulty) >= 40
    assert all(f"{name}/mended" in CASES for name in faulty)
    assert len(CASES) - 2 * len(faulty) >= 30


def test_expected_rules_exist():
    expected = {one for case in CASES.values() for one in case.expected | case.symptoms}
    assert {one.partition(": ")[0] for one in expected} <= set(rules.available())


def set_up():
    """Saves a quarter of the time: no graph is optimized, no module is looked at anew.

    The latter each time that Keras collects garbage, which it does before each run.
    """
    gc.freeze()
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_bars():
    with processes(os.cpu_count(), set_up) as pool:
        runs = {name: pool.apply_async(run_named, (name,)) for name in NAMES}
        outcomes = {name: run.get() for name, run in runs.items()}
    faulty = {n: o for n, o in outcomes.items() if CASES[n].faulty}
    healthy = {n: o for n, o in outcomes.items() if not CASES[n].faulty}
    missed = [row(o) for o in faulty.values() if not o.cause_named]
    alarmed = [row(o) for o in healthy.values() if o.alarms]
    print(*missed, *alarmed, sep="\n")
    assert not [n for n, o in outcomes.items() if o.stepped_aside]
    assert not [n for n, o in faulty.items() if bool(o.raised) != CASES[n].raises]
    assert not [n for n, o in healthy.items() if o.raised or not o.well_trained]
    assert len(missed) <= (1 - ROOT_CAUSES_NAMED) * len(faulty)
    assert len(alarmed) <= HEALTHY_RUNS_ALARMED * len(healthy)
