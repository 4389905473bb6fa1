"""When a change counts as better."""

import numpy as np
import pytest

from keras_babysit.fixes.bench import Run
from keras_babysit.fixes.score import Score
from keras_babysit.fixes.verdict import LEAST, limit, verdict


def runs(*shares, count=250):
    return [
        Run(steps=150, held=Score(s, s, "accuracy", count), losses=(1.0, 0.5))
        for s in shares
    ]


@pytest.mark.parametrize(
    ("base", "other", "told"),
    [
        ((0.1, 0.1, 0.1), (0.8, 0.7, 0.9), "better"),
        ((0.8, 0.7, 0.9), (0.1, 0.1, 0.1), "worse"),
        ((0.8, 0.8, 0.8), (0.85, 0.85, 0.85), "no difference"),
        # Not for every seed.
        ((0.1, 0.1, 0.5), (0.8, 0.8, 0.4), "no difference"),
        # Not with enough seeds.
        ((0.1,), (0.8,), "not finished"),
        ((0.1, 0.1, 0.1), (), "not finished"),
    ],
)
def test_verdicts(base, other, told):
    assert verdict(runs(*base), runs(*other), seeds=3) == told


def test_few_samples_need_a_larger_difference():
    base, other = (0.4, 0.4, 0.4), (0.62, 0.62, 0.62)
    assert verdict(runs(*base), runs(*other), seeds=3) == "better"
    few = [runs(*shares, count=20) for shares in (base, other)]
    assert verdict(*few, seeds=3) == "no difference"
    assert limit(*few) > 0.25 > limit(runs(*base), runs(*other)) == LEAST


def test_what_cannot_be_trained_is_as_good_as_chance():
    broken = [Run(failed="ValueError: no")] * 3
    assert verdict(broken, runs(0.5, 0.5, 0.5), seeds=3) == "better"
    assert verdict(broken, runs(0.05, 0.05, 0.05), seeds=3) == "no difference"


def test_chance_alone_is_hardly_ever_better():
    """Two trainings alike, judged by 128 samples each, which is few, 3,000 times."""
    draw = np.random.default_rng(0)
    wrong = 0
    for _ in range(3000):
        skill = draw.uniform(0.1, 0.95)
        base, other = (
            runs(*(draw.binomial(128, skill, 3) / 128), count=128) for _ in range(2)
        )
        wrong += verdict(base, other, seeds=3) == "better"
    assert wrong <= 3


def test_by_the_loss():
    def falling(to):
        return [Run(steps=20, losses=(*[1.0] * 5, *[to] * 5))] * 3

    assert verdict(falling(0.9), falling(0.2), seeds=3, by_loss=True) == "better"
    assert verdict(falling(0.5), falling(0.45), 3, by_loss=True) == "no difference"
    assert verdict(falling(0.5), falling(np.nan), 3, by_loss=True) == "worse"
