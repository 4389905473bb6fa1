"""Which changes are trained, how long, and what ends it: with made-up trainings."""

import pytest

from keras_babysit.fixes.bench import Run
from keras_babysit.fixes.rounds import Entrant, Rounds
from keras_babysit.fixes.score import Score
from keras_babysit.rules import fixes


class MadeUp:
    """A bench whose trainings come to what `shares` says, by the kinds of changes."""

    def __init__(self, shares, steps_in_time=10_000, interrupt_at=None):
        self.shares, self.calls = shares, []
        self.steps_in_time, self.interrupt_at = steps_in_time, interrupt_at

    def train(self, changes, seed, steps, until):
        kinds = tuple(fix.kind for fix in changes)
        self.calls.append((kinds, seed, steps))
        if len(self.calls) == self.interrupt_at:
            raise KeyboardInterrupt
        share = self.shares.get(kinds, 0.1)
        if isinstance(share, str):
            return Run(failed=share)
        made = min(steps, self.steps_in_time)
        score = Score(share, share, "accuracy", 250)
        losses = (1.0,) * made
        return Run(made, score, score, losses, score, late=made < steps)


SHUFFLE, CLIP, WEIGHTS = fixes.shuffle(), fixes.clip(), fixes.class_weights()
MANY = [fixes.batch_size(n) for n in range(1, 9)]


def rounds(bench, *candidates, steps=150, seeds=3):
    made = Rounds(
        bench,
        [Entrant((fix,), (fix.kind,)) for fix in candidates],
        steps,
        seeds,
        60.0,
        lambda share, what: None,
    )
    made.make()
    return made


def test_only_what_helps_is_trained_with_further_seeds():
    bench = MadeUp({("shuffle",): 0.97})
    rounds(bench, SHUFFLE, CLIP)
    assert bench.calls == [
        ((), 0, 150),
        (("shuffle",), 0, 150),
        (("clip",), 0, 150),
        ((), 1, 150),
        (("shuffle",), 1, 150),
        ((), 2, 150),
        (("shuffle",), 2, 150),
    ]


def test_nothing_helps():
    bench = MadeUp({})
    rounds(bench, SHUFFLE, CLIP)
    assert len(bench.calls) == 3


def test_two_changes_together_where_that_helps_more():
    bench = MadeUp({("shuffle",): 0.5, ("shuffle", "clip"): 0.9})
    made = rounds(bench, SHUFFLE, CLIP, WEIGHTS)
    pair = made.entrants[-1]
    assert [fix.kind for fix in pair.fixes] == ["shuffle", "clip"]
    assert pair.rules == ("shuffle", "clip")
    assert len(pair.runs) == 3
    assert (("shuffle", "class_weights"), 0, 150) in bench.calls


def test_no_pair_where_one_is_enough():
    bench = MadeUp({("shuffle",): 0.96, ("shuffle", "clip"): 1.0})
    made = rounds(bench, SHUFFLE, CLIP)
    assert len(made.entrants) == 2


def test_many_changes_are_first_trained_for_a_third():
    bench = MadeUp({("clip",): 0.9})
    made = rounds(bench, *MANY, CLIP)
    brief = [call for call in bench.calls if call[2] == 50]
    assert len(brief) == 9
    whole = [kinds for kinds, *rest in bench.calls if rest == [0, 150]]
    assert len([kinds for kinds in whole if len(kinds) == 1]) == 6
    assert len(made.entrants[-1].runs) == 3


def test_those_left_behind_come_again_if_none_of_the_first_helps():
    bench = MadeUp({})
    rounds(bench, *MANY, CLIP)
    assert len([call for call in bench.calls if call[1:] == (0, 150)]) == 1 + 9


def test_ctrl_c_keeps_what_is_known():
    bench = MadeUp({("shuffle",): 0.9}, interrupt_at=3)
    made = rounds(bench, SHUFFLE, CLIP)
    assert made.interrupted
    assert made.entrants[0].runs[0].held.share == 0.9
    assert made.entrants[1].last is None


def test_all_are_as_long_as_the_first_has_time_for():
    bench = MadeUp({("shuffle",): 0.9}, steps_in_time=40)
    made = rounds(bench, SHUFFLE)
    assert made.steps == 40
    assert (("shuffle",), 0, 40) in bench.calls
    assert len(made.entrants[0].runs) == 3


def test_a_change_that_cannot_be_made():
    made = rounds(MadeUp({("shuffle",): "ValueError: no"}), SHUFFLE, CLIP)
    assert made.entrants[0].failed == "ValueError: no"
    assert made.entrants[1].failed == ""


@pytest.mark.parametrize("broken", [True, False])
def test_a_model_that_cannot_be_trained_as_it_is(broken):
    made = rounds(
        MadeUp({(): "ValueError" if broken else 0.0, ("shuffle",): 0.9}), SHUFFLE
    )
    assert len(made.entrants[0].runs) == 3
