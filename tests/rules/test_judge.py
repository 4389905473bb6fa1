"""The judge: findings are told once, updated, healed, and explained by their cause."""

import numpy as np
import pytest

from keras_babysit import rules
from keras_babysit.history import RunHistory
from keras_babysit.records import EpochRecord, StepRecord
from keras_babysit.rules.judge import CALM, Judge
from keras_babysit.rules.rule import Sign, rule


def sign(where="", **kwargs):
    return Sign(where, "something was seen", "Likely a cause", "do this", **kwargs)


@rule(severity="warning", when="step", since="a test")
def loss_above(history, *, limit=1.0):
    """Loss above a limit."""
    if history.last_step.loss > limit:
        yield sign(evidence={"loss": history.last_step.loss})


@rule(severity="error", when="step", since="a test", also=("loss-above",))
def loss_far_above(history, *, limit=10.0):
    """Loss far above."""
    if history.last_step.loss > limit:
        yield sign("dense")


def run(judge, losses):
    history, told = RunHistory(), []
    for i, loss in enumerate(losses):
        history.append(StepRecord(step=i, epoch=i / 10, loss=loss))
        told.append(judge.judge(history, "step"))
    return told


def test_told_once_updated_and_healed():
    judge = Judge([loss_above])
    told = run(judge, [0.0, 2.0, 3.0])
    assert [len(t) for t in told] == [0, 1, 0]
    (finding,) = judge.findings
    assert finding.rule == "loss-above"
    assert (finding.since_step, finding.step) == (1, 2)
    assert finding.since_epoch == pytest.approx(0.1)
    assert finding.evidence == {"loss": 3.0}
    assert not finding.healed
    calm = CALM["step"]
    told = run(Judge([loss_above]), [2.0] + [0.0] * calm)
    (healed,) = told[-1]
    assert healed.healed
    assert healed.healed_step == calm
    assert [len(t) for t in told[1:-1]] == [0] * (calm - 1)


def test_a_healed_finding_that_comes_back_is_told_again():
    judge = Judge([loss_above])
    told = run(judge, [2.0] + [0.0] * CALM["step"] + [5.0])
    assert len(told[-1]) == 1
    (finding,) = judge.findings
    assert not finding.healed
    assert finding.since_step == CALM["step"] + 1


def test_a_cause_silences_its_symptoms():
    judge = Judge([loss_above, loss_far_above])
    (told,) = run(judge, [20.0])
    assert [f.rule for f in told] == ["loss-far-above"]
    cause, symptom = judge.findings
    assert cause.because == ""
    assert symptom.because == "loss-far-above"


def test_a_symptom_is_told_when_its_cause_has_healed():
    judge = Judge([loss_above, loss_far_above])
    told = run(judge, [20.0] + [2.0] * CALM["step"])
    assert [f.rule for f in told[-1]] == ["loss-above", "loss-far-above"]
    assert told[-1][1].healed


def test_a_cause_can_be_a_symptom_itself():
    @rule(severity="error", when="step", since="a test", also=("loss-far-above",))
    def root(history):
        """Root."""
        yield sign()

    judge = Judge([loss_above, loss_far_above, root])
    (told,) = run(judge, [20.0])
    assert [f.rule for f in told] == ["root"]


def test_a_cause_is_as_bad_as_what_it_explains():
    @rule(severity="warning", when="step", since="a test", also=("loss-far-above",))
    def cause(history):
        """Cause."""
        yield sign()

    judge = Judge([cause, loss_far_above])
    told = run(judge, [0.0, 20.0, 20.0])
    assert [[f.severity for f in t] for t in told] == [["warning"], ["error"], []]
    assert [f.rule for f in told[1]] == ["cause"]


def test_two_rules_that_name_each_other_leave_one():
    @rule(severity="error", when="step", since="a test", also=("loss-far-above",))
    def mutual(history):
        """Mutual."""
        yield sign()

    @rule(severity="error", when="step", since="a test", also=("mutual",))
    def loss_far_above(history):
        """Mutual, too."""
        yield sign()

    (told,) = run(Judge([mutual, loss_far_above]), [20.0])
    assert len(told) == 1


def test_a_circle_of_causes_leaves_one():
    @rule(severity="error", when="step", since="a test", also=("second",))
    def first(history):
        """First."""
        yield sign()

    @rule(severity="error", when="step", since="a test", also=("third",))
    def second(history):
        """Second."""
        yield sign()

    @rule(severity="error", when="step", since="a test", also=("first",))
    def third(history):
        """Third."""
        yield sign()

    (told,) = run(Judge([first, second, third]), [20.0])
    assert [f.rule for f in told] == ["first"]


def test_a_kind_silences_kinds():
    def made(name, kind):
        def function(history):
            """Made up."""
            yield sign()

        function.__name__ = name
        return rule(severity="warning", when="step", since="a test", kind=kind)(
            function
        )

    cause = made("cause", "cause in the data")
    symptom = made("symptom", "symptom: unstable")
    note, remark = made("a_note", "note"), made("a_remark", "remark")

    def told(*rules):
        (found,) = run(Judge(rules), [20.0])
        return [f.rule for f in found]

    assert told(remark, symptom, cause) == ["cause"]
    assert told(remark, symptom) == ["symptom"]
    assert told(remark, note) == ["a-remark", "a-note"]
    assert told(symptom, note) == ["symptom", "a-note"]


def test_thresholds():
    assert run(Judge([loss_above(limit=5)]), [2.0]) == [[]]
    with pytest.raises(ValueError, match=r"no threshold 'most'.*\['limit'\]"):
        loss_above(most=5)
    with pytest.raises(ValueError, match="Received: limit='5'"):
        loss_above(limit="5")


def test_selecting():
    names = list(rules.available())
    assert [r.name for r in rules.select()] == names
    assert len(rules.select(ignore=names[:2])) == len(names) - 2
    assert [r.name for r in rules.select(names[:1])] == names[:1]
    (own,) = rules.select([loss_above(limit=7)])
    assert own.thresholds == {"limit": 7}
    with pytest.raises(ValueError, match=r"Expected one of.*Received: 'nonsense'"):
        rules.select(ignore=["nonsense"])
    with pytest.raises(ValueError, match="must be a list"):
        rules.select("dead-relu")
    with pytest.raises(ValueError, match="must be a list"):
        rules.select(ignore="dead-relu")
    with pytest.raises(ValueError, match="must map rule names"):
        rules.select(thresholds=[1])
    with pytest.raises(ValueError, match="has no threshold"):
        rules.select(thresholds={names[0]: {"nonsense": 1}})


def test_position_is_that_of_the_latest_record():
    history = RunHistory()
    assert history.position == (0, 0.0)
    history.append(StepRecord(step=4, epoch=0.5))
    assert history.position == (4, 0.5)
    history.append(EpochRecord(epoch=1, step=10))
    assert history.position == (10, 1.0)


def test_same_history_same_findings():
    losses = list(np.random.default_rng(0).normal(5, 5, 50))
    first, second = Judge([loss_above]), Judge([loss_above])
    assert run(first, losses) == run(second, losses)
    assert first.findings == second.findings


@rule(severity="warning", when="start", since="a test", refutable=True)
def static(history):
    """Seen before training."""
    yield sign()


def good(history, epochs=6):
    from support import histories as H

    other = H.run(H.learning(epochs), accuracy=[0.97] * epochs)
    history.model, history.data = other.model, other.data
    for epoch in range(epochs):
        logs = {"loss": 0.1, "accuracy": 0.97, "val_accuracy": 0.96}
        history.append(EpochRecord(epoch + 1, 20 * (epoch + 1), logs=logs))


def test_what_a_good_run_refutes_is_withdrawn_once():
    judge, history = Judge([static]), RunHistory()
    assert len(judge.judge(history, "start")) == 1
    good(history)
    (told,) = judge.judge(history, "epoch")
    assert told.healed
    assert told.severity == "info"
    assert "val_accuracy 0.96" in told.seen
    assert judge.judge(history, "epoch") == judge.judge(history, "start") == []
    (finding,) = judge.findings
    assert finding.healed


def test_a_bad_run_does_not_refute():
    judge, history = Judge([static]), RunHistory()
    judge.judge(history, "start")
    for epoch in range(6):
        logs = {"loss": 2.3, "accuracy": 0.1}
        history.append(EpochRecord(epoch + 1, 20 * (epoch + 1), logs=logs))
    judge.judge(history, "epoch")
    assert not judge.findings[0].healed


def test_a_cause_says_what_it_has_led_to():
    @rule(severity="warning", when="step", since="a test", also=("loss-far-above",))
    def root(history):
        """A cause."""
        yield sign("data")

    judge = Judge([root, loss_far_above])
    told = run(judge, [1.0, 20.0, 20.0])
    assert [len(t) for t in told] == [1, 1, 0]
    assert told[1][0].severity == "error"
    assert "led to loss-far-above" in told[1][0].seen
    assert "led to" not in told[0][0].seen
