"""The display of a search: lines, a live picture, and that it never ends a search."""

import dataclasses
import io
import warnings

import pytest
from rich.console import Console
from support import made_up_search as made

from keras_babysit.search.progress import Progress
from keras_babysit.search.trials import EpochResult


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class Shown:
    """A display that writes to a string."""

    def __init__(self, plan=((4, 2),), live=False, **options):
        self.file, self.clock = io.StringIO(), Clock()
        console = Console(
            file=self.file,
            width=120,
            force_terminal=live,
            force_interactive=live,
            color_system=None,
            highlight=False,
            _environ={"TERM": "xterm"},
        )
        self.progress = Progress(
            made.LOSS, plan, console=console, clock=self.clock, **options
        )

    def train(self, trial, seconds=1.0):
        self.begin(trial)
        for epoch in range(trial.outcome.epochs):
            self.epoch(trial, epoch + 1, seconds)
        self.progress.ended(trial)

    def begin(self, trial):
        self.progress.began(dataclasses.replace(trial, outcome=None))

    def epoch(self, trial, epoch, seconds=1.0, loss=0.5):
        self.clock.now += seconds
        self.progress.epoch(trial, EpochResult(epoch, {"val_loss": loss}))

    @property
    def text(self):
        return self.file.getvalue()

    @property
    def lines(self):
        return self.text.splitlines()


def test_a_line_for_each_trial_where_there_is_no_terminal():
    shown = Shown()
    shown.progress.stage(0, 4, 2, "random")
    shown.train(made.trial(0, 0.5, values={"rate": 0.1}))
    shown.train(made.trial(1, 0.25, values={"rate": 0.2}))
    shown.train(made.trial(2, 0.75, "stopped", reason="too slow", epochs=2))
    shown.train(made.trial(3, None, "failed", epochs=2, reason="ValueError: no"))
    shown.progress.close()
    assert shown.lines == [
        "Stage 1: 4 trials of 2 epochs, random",
        "[1/4] trial 0: val_loss 0.5 (2 epochs, 1.0 s; rate 0.1); best so far; about "
        "10 s left",
        "[2/4] trial 1: val_loss 0.25 (2 epochs, 1.0 s; rate 0.2); best so far; about "
        "10 s left",
        "[3/4] trial 2: val_loss 0.75, stopped: too slow (2 epochs, 1.0 s); best so "
        "far: trial 1, 0.25; about 10 s left",
        "[4/4] trial 3: failed: ValueError: no (2 epochs, 1.0 s); best so far: trial "
        "1, 0.25",
    ]


def test_promoted_trials_and_repeats_say_so():
    shown = Shown([(2, 1), (1, 2), (1, 2)])
    shown.train(made.trial(0, 0.5, epochs=1))
    shown.train(made.trial(1, 0.4, origin="promoted", source=0, stage=1))
    shown.progress.stage(2, 1, 2, "repeats")
    shown.train(made.trial(2, 0.6, origin="repeat", source=1, stage=1))
    assert "trial 1 (promoted from 0): val_loss 0.4" in shown.lines[1]
    assert shown.lines[2] == "The best again, with other seeds: 1 trial"
    assert "trial 2 (repeats 1): val_loss 0.6" in shown.lines[3]
    # The lucky score that it was chosen for is not what counts any more.
    assert "best so far: trial 1, 0.6 (mean of 1 repeat)" in shown.lines[3]


@pytest.mark.parametrize("live", [True, False])
def test_silence(live):
    shown = Shown(live=live, verbose=0)
    shown.progress.stage(0, 4, 2)
    shown.train(made.trial(0, 0.5))
    shown.progress.say("a finding")
    shown.progress.close()
    assert shown.text == ""


def test_live_on_a_terminal():
    shown = Shown(live=True)
    shown.progress.stage(0, 4, 2, "tpe")
    shown.train(made.trial(0, 0.5, values={"rate": 0.1}))
    shown.train(made.trial(1, None, "failed", reason="ValueError: no"))
    shown.begin(made.trial(2, values={"rate": 0.3}))
    shown.epoch(made.trial(2, values={"rate": 0.3}), 1, loss=0.125)
    shown.progress.say("the rate is at a border")
    shown.progress.close()
    shown.progress.close()
    last = shown.text[shown.text.rindex("2/4 trials") :]
    assert "about 10 s left" in last
    assert "1 failed" in last
    assert "stage 1: 4 trials of 2 epochs, tpe" in last
    assert "best val_loss 0.5 trial 0: rate 0.1" in last
    assert "trial 2" in last
    assert "1/2 epochs 0.125 rate 0.3" in last
    assert "the rate is at a border" in shown.text
    assert shown.text.endswith("\x1b[?25h")  # The cursor is there again.


def test_nothing_is_left_at_the_end():
    shown = Shown([(1, 2)], live=True)
    shown.train(made.trial(0, 0.5))
    shown.progress.close()
    assert "left" not in shown.text[shown.text.rindex("1/1 trials") :]


def test_time_left():
    shown = Shown([(4, 2), (2, 5)])
    assert shown.progress.seconds_left() is None
    first = made.trial(0, 0.5)
    shown.begin(first)
    shown.epoch(first, 1, 5.0)
    # An epoch of 5 s each: one more, six of this stage, ten of the next.
    assert shown.progress.seconds_left() == pytest.approx(5 * (1 + 6 + 10))
    shown.epoch(first, 2, 5.0)
    shown.progress.ended(first)
    assert shown.progress.seconds_left() == pytest.approx(5 * 16)


def test_time_left_counts_on_stopping_and_on_workers():
    shown = Shown([(4, 4)])
    a, b = made.trial(0, 0.5, "stopped", epochs=4), made.trial(1, epochs=4)
    a = dataclasses.replace(a, outcome=dataclasses.replace(a.outcome, epochs=2))
    shown.begin(a)
    shown.begin(b)
    for epoch in (1, 2):  # Side by side: two epochs in 3 s.
        shown.epoch(a, epoch, 1.5)
        shown.epoch(b, epoch, 1.5)
    shown.progress.ended(a)
    # Half of all epochs are left out, it seems: `b` is as far, and two to come.
    assert shown.progress.seconds_left() == pytest.approx(6 / 4 * (0 + 2 * 2))


def test_time_left_of_folds():
    shown = Shown([(2, 4)], folds=3)
    one = made.trial(0, 0.5, epochs=4)
    shown.begin(one)
    shown.clock.now += 8
    shown.progress.epoch(one, EpochResult(2, {"val_loss": 1.0}, fold=1))
    # Six of twelve are done, as the second fold is half-way.
    assert shown.progress.seconds_left() == pytest.approx(8 * (6 + 12))


def test_what_there_was_before_counts_as_done():
    before = [made.trial(0, 0.5), made.trial(1, 0.25)]
    shown = Shown(trials=before)
    shown.train(made.trial(2, 0.75))
    assert shown.lines[0].startswith("[3/4] trial 2")
    assert "best so far: trial 1, 0.25" in shown.lines[0]


@pytest.mark.parametrize("live", [True, False])
def test_an_error_ends_the_display_and_nothing_else(live, monkeypatch):
    shown = Shown(live=live)
    shown.train(made.trial(0, 0.5))
    monkeypatch.setattr(shown.progress, "_picture", lambda: 1 / 0)
    monkeypatch.setattr(shown.progress, "_line", lambda trial: 1 / 0)
    with pytest.warns(UserWarning, match="display failed and is off: ZeroDivision"):
        shown.train(made.trial(1, 0.25))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shown.train(made.trial(2, 0.25))
    shown.progress.close()


def test_not_even_where_warnings_are_errors(monkeypatch):
    shown = Shown()
    monkeypatch.setattr(shown.progress, "_line", lambda trial: 1 / 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shown.train(made.trial(0, 0.5))


def test_a_closed_output():
    shown = Shown()
    shown.file.close()
    with pytest.warns(UserWarning, match="closed file"):
        shown.train(made.trial(0, 0.5))
