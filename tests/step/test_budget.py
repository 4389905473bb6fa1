from dataclasses import replace

import numpy as np
import pytest

from keras_babysit.step import budget

FULL, LIGHT = budget.FULL, budget.LIGHT


def simulate(
    overhead, plain, full, epochs, batches, *, noise=0.0, known=True, strict=False
):
    """Plays a training by its durations; returns the times and who was observed how."""
    rng = np.random.default_rng(0)
    times, observed = budget.StepTimes(), {}
    costs = {FULL: full, LIGHT: full / 10}
    step = 0
    for _ in range(epochs):
        in_epoch = 0
        for batch in range(batches):
            position = budget.Position(
                step, batch, batches if known else None, in_epoch, 1
            )
            kind = budget.within_budget(overhead, position, times, strict)
            seconds = plain * (1 + noise * rng.random())
            own = costs[kind] * (1 + noise * rng.random()) if kind else 0.0
            if kind:
                times.add_observation(kind, own + 5.0 * (step == 0), step == 0)
                observed[step] = kind
            times.add(seconds + own, 1, own)
            in_epoch += kind == FULL
            step += 1
    return times, observed


def spent(times):
    return sum(times.spent.values())


@pytest.mark.parametrize("overhead", [0.01, 0.02, 0.1])
@pytest.mark.parametrize("full", [0.0005, 0.005, 0.05])
@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_stays_within_the_budget_and_uses_it(overhead, full, noise):
    times, observed = simulate(overhead, 0.01, full, 2, 20_000, noise=noise)
    earned = overhead * times.training_seconds
    advance = min(budget.ADVANCE_STEPS * 1.5 * full, budget.ADVANCE_SECONDS)
    assert spent(times) <= earned + advance + 3 * full
    # Where there is more than could be spent, every step is observed.
    fulls = sum(kind == FULL for kind in observed.values())
    assert fulls >= 0.9 * min(0.75 * earned / (1 + noise) / full, 39_000) - 3


def test_early_steps_are_dense():
    _, observed = simulate(0.01, 0.004, 0.008, epochs=5, batches=125)
    early = [step for step, kind in observed.items() if kind == FULL and step < 100]
    assert early == [0, 1, 2, 4, 8, 16, 32, 64]
    assert all(step in observed for step in range(33))
    # Still one in two, then one in four: the advance pays for it.
    assert len([s for s in observed if 32 <= s < 64]) >= 16
    assert len([s for s in observed if 128 <= s < 256]) >= 16


def test_the_advance_is_bounded_in_seconds():
    times, _ = simulate(1e-9, 10.0, 0.9, epochs=1, batches=5000)
    assert spent(times) <= budget.ADVANCE_SECONDS + 2 * 0.9
    times, _ = simulate(1e-9, 0.01, 0.001, epochs=1, batches=5000)
    assert spent(times) <= (budget.ADVANCE_STEPS + 2) * 0.001


@pytest.mark.parametrize("known", [True, False])
def test_first_step_and_one_an_epoch(known):
    _, observed = simulate(1e-6, 0.01, 0.5, epochs=30, batches=9, known=known)
    assert observed[0] == FULL
    fulls = {step // 9 for step, kind in observed.items() if kind == FULL}
    assert fulls == set(range(30))


@pytest.mark.parametrize("full", [0.0005, 0.05])
def test_strictly_means_never_more_than_is_allowed(full):
    times, observed = simulate(0.05, 0.01, full, 40, 500, strict=True)
    assert observed[0] == FULL
    # What was built in the first step takes 100 s to earn.
    assert min(step for step in observed if step) >= 9900
    assert spent(times) + times.build_seconds <= 0.05 * times.training_seconds
    assert {FULL, LIGHT} <= set(observed.values())


def test_last_step_of_an_epoch_is_spared():
    _, observed = simulate(0.5, 0.01, 0.001, epochs=20, batches=50)
    assert not [step for step in observed if step % 50 == 49]


@pytest.mark.parametrize(("every", "per"), [(1, 1), (3, 1), (50, 1), (5, 2), (2, 4)])
def test_every(every, per):
    at = budget.Position(0, 0, None, 0, per)
    due = [
        step
        for step in range(0, 200, per)
        if budget.every_steps(every, replace(at, step=step)) == FULL
    ]
    expected = sorted({step // per * per for step in range(0, 200, every)})
    assert due == expected


def test_what_is_built_comes_once():
    times = budget.StepTimes()
    times.add_once(0.5)
    times.add_observation(FULL, 2.0, built=True)
    times.add(2.5, 1, 2.0)
    times.add_observation(FULL, 0.25, built=False)
    times.add(0.5, 1, 0.25)
    times.add(0.125, 1)
    cost = times.cost(1, ("why",))
    assert (cost.steps, cost.observed, cost.full) == (3, 2, 2)
    assert (cost.build_seconds, cost.extra_seconds) == (2.5, 0.25)
    assert cost.total_seconds == 2.75
    assert cost.overhead == pytest.approx(0.25 / (0.25 + 0.125))
    assert cost.unobserved == ("why",)


def test_cost_before_anything_is_known():
    cost = budget.StepTimes().cost(0)
    assert (cost.steps, cost.observed, cost.extra_seconds) == (0, 0, 0)
    assert np.isnan(cost.overhead)


def test_strictly_epochs_are_described_only_when_that_is_paid_for():
    times = budget.StepTimes()
    assert budget.pays_between_epochs(0.01, times, strict=False)
    times.add_once(0.5)
    assert not budget.pays_between_epochs(0.01, times, strict=True)
    for _ in range(101):
        times.add(1.0, 1)
    assert budget.pays_between_epochs(0.01, times, strict=True)
    times.add_extra(1.0)
    assert not budget.pays_between_epochs(0.01, times, strict=True)
    assert budget.pays_between_epochs(0.01, times, strict=False)
