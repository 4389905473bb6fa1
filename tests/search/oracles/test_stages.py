"""Stages, the space of the next one, and who is the best over all of them."""

import itertools
import math

import keras_tuner
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_babysit.search import Stage, coarse_to_fine, grid_then_random
from keras_babysit.search.oracles import stages
from keras_babysit.search.results import ranking
from keras_babysit.search.space import refinement
from keras_babysit.search.trials import Objective, Outcome, Trial

MIN, MAX = Objective("val_loss", "min"), Objective("val_accuracy", "max")


@pytest.fixture(autouse=True)
def _fresh_keras():
    """Instead of conftest's: nothing here makes a model."""


def trial(
    number, score, stage=0, origin="oracle", source=None, status="completed", **v
):
    outcome = Outcome(status, score, 1, 1) if status != "running" else None
    return Trial(number, stage, v, 1, number, origin, source, outcome=outcome)


def space(low=1e-4, high=1.0, **more):
    hp = keras_tuner.HyperParameters()
    hp.Float("rate", low, high, sampling="log")
    hp.Int("units", 8, 64, step=8)
    for name, values in more.items():
        hp.Choice(name, values)
    return hp


def ranges(hps):
    return {h.name: (h.min_value, h.max_value) for h in hps.space if h.name != "kind"}


class TestParsing:
    def test_one_stage_has_keras_tuners_default(self):
        assert stages.parsed() == (Stage(10, 10),)
        assert stages.parsed(None, 7, 3) == (Stage(7, 3),)

    def test_pairs_and_stages_are_mixed(self):
        given_ = [(20, 1), Stage(10, 5, promoted=2), [5, 30]]
        assert stages.parsed(given_) == (
            Stage(20, 1),
            Stage(10, 5, promoted=2),
            Stage(5, 30),
        )

    def test_a_third_is_taken_over(self):
        assert [Stage(n, 1).taken_over for n in (1, 2, 3, 5, 10)] == [1, 1, 1, 2, 4]
        assert Stage(10, 1, promoted=0).taken_over == 0

    def test_recipes(self):
        assert coarse_to_fine() == (Stage(20, 1), Stage(10, 5), Stage(5, 30))
        assert coarse_to_fine(3, (2, 2, 9), "tpe") == (
            Stage(3, 2, "tpe"),
            Stage(1, 2, "tpe"),
            Stage(1, 9, "tpe"),
        )
        assert coarse_to_fine(4, 6) == (Stage(4, 6),)
        assert grid_then_random((9, 4), (1, 3)) == (
            Stage(9, 1, "grid"),
            Stage(4, 3, "random"),
        )

    @pytest.mark.parametrize(
        ("call", "message"),
        [
            (lambda: stages.parsed(None, 0), "positive.*max_trials=0"),
            (lambda: stages.parsed(None, True), "max_trials=True"),
            (lambda: stages.parsed(None, 2.0), r"max_trials=2\.0"),
            (lambda: stages.parsed(None, 3, 0), "epochs=0"),
            (
                lambda: stages.parsed([(3, 1)], 3),
                "max_trials.*cannot be given together",
            ),
            (lambda: stages.parsed([(3, 1)], None, 3), "epochs.*cannot be given"),
            (lambda: stages.parsed([]), "at least one"),
            (lambda: stages.parsed("abc"), "at least one"),
            (lambda: stages.parsed(5), "at least one"),
            (lambda: stages.parsed([5]), "Received: 5"),
            (lambda: stages.parsed([(1, 2, 3)]), "Received: .1, 2, 3."),
            (lambda: stages.parsed([(0, 2)]), "trials=0"),
            (lambda: stages.parsed([(2, "x")]), "epochs='x'"),
            (lambda: stages.parsed([(9, 5), (4, 1)]), r"fewer epochs.*\[5, 1\]"),
            (lambda: Stage(3, 1, promoted=4), "promoted=4, trials=3"),
            (lambda: Stage(3, 1, promoted=-1), "promoted=-1"),
            (lambda: Stage(3, 1, factor=1.5), "factor=1.5"),
            (lambda: Stage(3, 1, factor=math.nan), "factor=nan"),
            (lambda: coarse_to_fine(0), "trials=0"),
            (lambda: coarse_to_fine(5, ()), "at least one"),
            (lambda: coarse_to_fine(5, (3, 1)), "fewer epochs"),
            (lambda: grid_then_random(5), "two positive integers"),
            (lambda: grid_then_random((5, 0)), "trials=0"),
        ],
    )
    def test_errors(self, call, message):
        with pytest.raises(ValueError, match=message):
            call()


class TestRefining:
    def drawn(self, rates, units=32):
        return [trial(i, i, rate=r, units=units) for i, r in enumerate(rates)]

    def test_half_as_wide_around_the_best_in_the_logarithm(self):
        made = refinement.refined(space(), self.drawn([1e-2]), 1, 0.5, space())
        low, high = ranges(made)["rate"]
        assert (low, high) == pytest.approx((1e-3, 1e-1))

    def test_all_that_are_taken_over_are_inside(self):
        ranked = self.drawn([1e-2, 0.5, 2e-4])
        low, high = ranges(refinement.refined(space(), ranked, 3, 0.1, space()))["rate"]
        assert (low, high) == (2e-4, 0.5)

    def test_nothing_to_go_by(self):
        assert ranges(refinement.refined(space(), [], 0, 0.5, space())) == ranges(
            space()
        )

    def test_an_end_that_was_moved_inwards_goes_back_as_far_as_it_was(self):
        ranked = self.drawn([0.099, 0.0985, 0.098, 0.0975, 0.097] + [0.02] * 15)
        inner = space(1e-2, 1e-1)
        low, high = ranges(refinement.refined(inner, ranked, 1, 0.5, space()))["rate"]
        assert high == pytest.approx(0.1 * 10**0.25)  # A quarter of its width.
        assert low > 1e-2
        own = refinement.refined(inner, ranked, 1, 0.5, inner)
        assert ranges(own)["rate"][1] == 0.1  # Not past the user's.

    @pytest.mark.parametrize("factor", [0, 0.05, 0.5, 1])
    def test_narrowing_does_not_cut_what_was_widened(self, factor):
        ranked = self.drawn([0.99, 0.98, 0.97, 0.96, 0.95] + [0.02] * 15)
        made = refinement.refined(space(), ranked, 1, factor, space(), widen=True)
        assert ranges(made)["rate"][1] == pytest.approx(10.0)
        limits = {"rate": (1e-6, 2.0)}
        made = refinement.refined(space(), ranked, 1, factor, space(), True, limits)
        assert ranges(made)["rate"][1] == 2.0

    def test_promoted_ones_say_nothing_of_borders(self):
        ranked = [
            trial(i, i, origin="promoted", source=9, rate=r, units=32)
            for i, r in enumerate([0.99, 0.98, 0.97, 0.96])
        ]
        ranked += self.drawn([0.3, 0.2, 0.1, 0.05, 0.04, 0.01])
        assert refinement.border_findings(space(), ranked, space()) == []
        made = refinement.refined(space(), ranked, 4, 0.5, space(), widen=True)
        assert ranges(made)["rate"][1] == 1.0

    def test_findings_say_whose_border_it_is(self):
        ranked = self.drawn([0.99, 0.98, 0.97, 0.96, 0.95] + [0.02] * 15)
        (found,) = refinement.border_findings(space(), ranked, space())
        assert found.severity == "warning"
        assert found.where == "rate"
        (found,) = refinement.border_findings(space(), ranked, space(1e-4, 100.0))
        assert found.severity == "info"
        assert "part of 0.0001 to 100" in found.action
        # Points of a step end before the range does: it is the user's own border.
        hp, whole = keras_tuner.HyperParameters(), keras_tuner.HyperParameters()
        hp.Int("n", 10, 49, step=2)
        whole.Int("n", 10, 49, step=2)
        ranked = [trial(i, i, n=48) for i in range(9)]
        (found,) = refinement.border_findings(hp, ranked, whole)
        assert found.severity == "warning"

    def test_random_trials_are_hardly_ever_at_a_border(self):
        rng, found = np.random.default_rng(0), 0
        for _ in range(400):
            count = rng.choice([2, 5, 10, 20])
            ranked = self.drawn(10 ** rng.uniform(-4, 0, count))
            found += len(refinement.border_findings(space(), ranked, space()))
        assert found <= 8

    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(st.floats(-4, 0), min_size=1, max_size=12),
        st.lists(st.integers(1, 8), min_size=12, max_size=12),
        st.floats(0, 1),
        st.integers(0, 4),
    )
    def test_never_past_the_users_range_and_what_is_taken_over_stays(
        self, rates, units, factor, count
    ):
        first = space()
        now = first
        for stage in range(3):
            ranked = [
                trial(i, i, stage, rate=float(10**r), units=8 * u)
                for i, (r, u) in enumerate(zip(rates, units, strict=False))
            ]
            ends = {h.name: h for h in now.space}
            for one in ranked:
                for name, value in one.values.items():
                    hp = ends[name]
                    one.values[name] = min(max(value, hp.min_value), hp.max_value)
            now = refinement.refined(now, ranked, count, factor, first)
            for hp, of_user in zip(now.space, first.space, strict=True):
                assert of_user.min_value <= hp.min_value <= hp.max_value
                assert hp.max_value <= of_user.max_value
                for one in ranked[: max(1, count)]:
                    assert hp.min_value <= one.values[hp.name] <= hp.max_value


class TestRanking:
    def test_best_first_failed_out_ties_by_number(self):
        trials = [
            trial(3, 0.2),
            trial(0, 0.3),
            trial(1, 0.2),
            trial(2, math.nan),
            trial(4, 0.1, status="failed"),
            trial(5, None, status="stopped"),
            trial(6, 0.0, status="running"),
            trial(7, 0.25, status="stopped"),
        ]
        best = ranking.best_trials(trials, MIN)
        assert [t.number for t in best] == [1, 3, 7, 0]
        assert [t.number for t in ranking.best_trials(trials, MAX, 2)] == [0, 7]

    def test_what_was_promoted_is_one_candidate(self):
        trials = [
            trial(0, 0.5),
            trial(1, 0.4),
            trial(2, 0.6),
            trial(3, 0.3, 1, "promoted", 1),
            trial(4, 0.45, 1, "promoted", 0),
            trial(5, 0.35, 2, "promoted", 3),
        ]
        found = ranking.candidates(trials, MIN)
        assert [c.trial.number for c in found] == [3, 4, 2]
        assert [t.number for t in found[0].trials] == [1, 3, 5]
        assert [t.number for t in ranking.of_stage(trials, 1, MIN)] == [3, 4]

    def test_repeats_count_by_their_mean_without_the_lucky_first(self):
        trials = [
            trial(0, 0.10),
            trial(1, 0.12),
            trial(2, 0.13),
            *(trial(n, s, 0, "repeat", 0) for n, s in ((3, 0.3), (4, 0.2))),
            *(trial(n, s, 0, "repeat", 1) for n, s in ((5, 0.14), (6, 0.16))),
        ]
        found = ranking.candidates(trials, MIN)
        assert [c.trial.number for c in found] == [1, 0, 2]
        assert found[0].score == pytest.approx(0.15)
        assert found[0].repeats.error == pytest.approx(0.01)
        assert found[2].score == 0.13
        assert found[2].repeats is None
        assert ranking.kept(trials, MIN, 2) == {0, 1}
        assert ranking.kept(trials, MIN, None) == {0, 1, 2}

    def test_luck_is_welchs_test(self):
        rng = np.random.default_rng(0)
        for sizes in itertools.product((2, 3, 7, 30), repeat=2):
            a, b = (list(rng.normal(0, s, s)) for s in sizes)
            parts = [np.var(v, ddof=1) / len(v) for v in (a, b)]
            freedom = sum(parts) ** 2 / sum(
                part**2 / (len(v) - 1) for part, v in zip(parts, (a, b), strict=True)
            )
            t = (np.mean(a) - np.mean(b)) / math.sqrt(sum(parts))
            expected = 2 * scipy.stats.t.sf(abs(t), freedom)
            assert ranking.chance_of_luck(a, b) == pytest.approx(expected, abs=1e-12)
        assert ranking.chance_of_luck([1, 1], [1, 1]) == 1
        assert ranking.chance_of_luck([1, 1], [2, 2]) == 0

    def test_equals_are_rarely_called_clear(self):
        rng = np.random.default_rng(1)
        runs = rng.normal(0, 1, (2000, 2, 3))
        clear = sum(ranking.chance_of_luck(list(a), list(b)) < 0.05 for a, b in runs)
        assert clear <= 100

    def test_verdict(self):
        def searched(first, second):
            scores = [("repeat", 0, s) for s in first]
            scores += [("repeat", 1, s) for s in second]
            return [
                trial(0, 0.1),
                trial(1, 0.2),
                *(trial(2 + i, s, 0, o, n) for i, (o, n, s) in enumerate(scores)),
            ]

        clear = ranking.verdict(searched([0.1, 0.11, 0.12], [0.5, 0.51, 0.52]), MIN)
        assert "Trial 0 is clearly the best" in clear
        assert "trial 0: 0.11 ± 0.0058 (3 repeats)" in clear
        luck = ranking.verdict(searched([0.1, 0.2, 0.3], [0.15, 0.25, 0.3]), MIN)
        assert "by luck only" in luck
        assert ranking.verdict([trial(0, 0.1)], MIN) == ""
        assert ranking.verdict(searched([0.1], [0.2]), MIN) == ""
