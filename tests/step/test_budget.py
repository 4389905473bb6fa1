from dataclasses import replace

import numpy as np
import pytest

from keras_babysit.step import budget


def simulate(overhead, plain, extra, epochs, batches, noise=0.0, known=True):
    """Plays a training by its durations; returns the times and who was observed."""
    rng = np.random.default_rng(0)
    times, observed = budget.StepTimes(), []
    step = 0
    for _ in range(epochs):
        in_epoch = 0
        for batch in range(batches):
            position = budget.Position(
                step, batch, batches if known else None, in_epoch, 1
            )
            due = budget.within_budget(overhead, position, times)
            built = due and step == 0
            seconds = plain * (1 + noise * rng.random()) + extra * due + 5.0 * built
            times.add(seconds, 1, due, built)
            if due:
                observed.append(step)
                in_epoch += 1
            step += 1
    return times, observed


@pytest.mark.parametrize("overhead", [0.01, 0.02, 0.1])
@pytest.mark.parametrize("extra", [0.0005, 0.005, 0.05])
def test_stays_within_the_budget(overhead, extra):
    times, observed = simulate(overhead, 0.01, extra, epochs=2, batches=20_000)
    spent = (len(observed) - 1) * extra
    assert spent <= overhead * 40_000 * 0.01 + 2 * extra
    # And uses it: what is allowed, an observation or two less.
    most = min(overhead * 40_000 * 0.01, 40_000 * extra)
    assert spent >= 0.9 * most - 3 * extra
    assert times.cost(1).overhead <= overhead * 1.1


def test_noise_does_not_break_the_budget():
    _, observed = simulate(0.02, 0.01, 0.02, 3, 5000, noise=0.5)
    assert (len(observed) - 1) * 0.02 <= 0.03 * 15_000 * 0.01


@pytest.mark.parametrize("known", [True, False])
def test_first_step_and_one_an_epoch(known):
    _, observed = simulate(1e-6, 0.01, 0.5, epochs=7, batches=9, known=known)
    assert observed[0] == 0
    assert {step // 9 for step in observed} == set(range(7))


def test_last_step_of_an_epoch_is_spared():
    _, observed = simulate(0.5, 0.01, 0.001, epochs=20, batches=50)
    assert not [step for step in observed if step % 50 == 49]


@pytest.mark.parametrize(("every", "per"), [(1, 1), (3, 1), (50, 1), (5, 2), (2, 4)])
def test_every(every, per):
    at = budget.Position(0, 0, None, 0, per)
    times = budget.StepTimes()
    due = [
        step
        for step in range(0, 200, per)
        if budget.every_steps(every, replace(at, step=step), times)
    ]
    expected = sorted({step // per * per for step in range(0, 200, every)})
    assert due == expected


def test_cost_before_anything_is_known():
    cost = budget.StepTimes().cost(0)
    assert (cost.steps, cost.observed, cost.extra_seconds) == (0, 0, 0)
