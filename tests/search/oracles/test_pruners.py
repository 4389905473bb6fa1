"""Which trials end early: against Optuna used directly, and what must always hold."""

import copy
import math

import optuna
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from keras_babysit.search.oracles.pruners import Stopper
from keras_babysit.search.trials import EpochResult, Objective, Outcome, Trial

EPOCHS = 9
LOSS, ACCURACY = Objective("val_loss", "min"), Objective("val_accuracy", "max")

# Of Optuna used directly.
pytestmark = [
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
    pytest.mark.filterwarnings("ignore:All-NaN:RuntimeWarning"),
]
quick = settings(max_examples=20, deadline=None)
NAMES = st.sampled_from(["median", "halving"])


@pytest.fixture(autouse=True)
def _fresh_keras():
    """Instead of conftest's: nothing here makes models."""


@pytest.fixture(autouse=True, scope="module")
def _quiet_optuna():
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(verbosity)


def trial(number, status="running", score=None, **fields):
    fields = {"stage": 0, "values": {}, "epochs": EPOCHS, "seed": 0, **fields}
    outcome = None if status == "running" else Outcome(status, score=score)
    return Trial(number, outcome=outcome, **fields)


def epochs_of(values, objective=LOSS, fold=0):
    return [
        EpochResult(epoch, {objective.name: value}, fold=fold)
        for epoch, value in enumerate(values, 1)
    ]


def completed(number, values, objective=LOSS, **fields):
    score = objective.best(values)
    return trial(number, "completed", score, **fields), epochs_of(values, objective)


def searched(stopper, curves, objective=LOSS):
    """Goes through a search, and returns how many epochs each trial trained."""
    ended = []
    for number, curve in enumerate(curves):
        status, seen = "completed", epochs_of(curve, objective)
        for epoch in range(1, len(curve) + 1):
            if stopper.should_stop(trial(number), seen[:epoch], ended):
                status, seen = "stopped", seen[:epoch]
                break
        values = [e.logs[objective.name] for e in seen]
        ended.append((trial(number, status, objective.best(values)), seen))
    return [len(epochs) for _, epochs in ended]


def searched_by_optuna(pruner, curves, direction):
    study = optuna.create_study(study_name="search", pruner=pruner, direction=direction)
    lengths = []
    for curve in curves:
        running = study.ask()
        for epoch, value in enumerate(curve, 1):
            running.report(value, epoch)
            if running.should_prune() and epoch < len(curve):
                study.tell(running, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            best = Objective("", direction[:3]).best(curve)
            failed = optuna.trial.TrialState.FAIL
            study.tell(running, best, failed if best is None else None)
        lengths.append(epoch)
    return lengths


values = st.one_of(st.floats(-5, 5), st.integers(0, 3).map(float), st.just(math.nan))
curves = st.lists(
    st.lists(values, min_size=EPOCHS, max_size=EPOCHS), min_size=1, max_size=12
)
falling = st.lists(
    st.lists(st.floats(0, 5), min_size=EPOCHS, max_size=EPOCHS).map(
        lambda curve: sorted(curve, reverse=True)
    ),
    min_size=1,
    max_size=12,
)
PRUNERS = {
    "median": lambda: optuna.pruners.MedianPruner(2, n_warmup_steps=2),
    "percentile": lambda: optuna.pruners.PercentilePruner(25.0, 1, interval_steps=2),
    "halving": lambda: optuna.pruners.SuccessiveHalvingPruner(2, 2),
    "automatic halving": lambda: optuna.pruners.SuccessiveHalvingPruner(),
    "hyperband": lambda: optuna.pruners.HyperbandPruner(1, EPOCHS, 3),
    "automatic hyperband": lambda: optuna.pruners.HyperbandPruner(),
    "threshold": lambda: optuna.pruners.ThresholdPruner(lower=-4, upper=4.5),
    "patient": lambda: optuna.pruners.PatientPruner(
        optuna.pruners.MedianPruner(1), patience=2
    ),
    "nothing": lambda: optuna.pruners.NopPruner(),
}


@pytest.mark.parametrize("name", PRUNERS)
@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@settings(max_examples=8, deadline=None)
@given(curves=curves)
@example(curves=[[math.nan] * EPOCHS, *[[0.0] * EPOCHS] * 4, [1.0] * EPOCHS])
def test_agrees_with_optuna_used_directly(name, direction, curves):
    objective = Objective("score", direction[:3])
    theirs = searched_by_optuna(PRUNERS[name](), curves, direction)
    assert searched(Stopper(PRUNERS[name](), objective), curves, objective) == theirs


@quick
@given(curves=curves)
def test_names_stand_for_what_is_documented(curves):
    median = optuna.pruners.MedianPruner(5, n_warmup_steps=3)
    assert searched(Stopper("median", LOSS), curves) == searched_by_optuna(
        median, curves, "minimize"
    )
    halving = optuna.pruners.SuccessiveHalvingPruner(3, 3)
    assert searched(Stopper("halving", LOSS), curves) == searched_by_optuna(
        halving, curves, "minimize"
    )


@quick
@given(name=NAMES, curves=falling)
def test_never_stops_the_best_so_far(name, curves):
    best = [min(column) for column in zip(*curves, strict=True)]
    lengths = searched(Stopper(name, LOSS), [*curves, best])
    assert lengths[-1] == lengths[0] == EPOCHS


@quick
@given(name=NAMES, curves=curves, data=st.data())
def test_order_in_which_the_others_are_given_is_all_one(name, curves, data):
    stopper = Stopper(name, LOSS)
    others = [completed(i, curve) for i, curve in enumerate(curves)]
    own = epochs_of(data.draw(st.lists(values, min_size=3, max_size=8)))
    shuffled = data.draw(st.permutations(others))
    number = len(curves)
    said = stopper.should_stop(trial(number), own, others)
    assert said == stopper.should_stop(trial(number), own, shuffled)
    if name == "median":
        renumbered = [completed(i, curve) for i, curve in enumerate(reversed(curves))]
        assert said == stopper.should_stop(trial(number), own, renumbered)


@quick
@given(name=NAMES, curves=curves)
def test_directions_mirror_each_other(name, curves):
    mirrored = [[-value for value in curve] for curve in curves]
    assert searched(Stopper(name, LOSS), curves) == searched(
        Stopper(name, ACCURACY), mirrored, ACCURACY
    )


@pytest.mark.parametrize("name", PRUNERS)
def test_keeps_no_state(name):
    pruner = PRUNERS[name]()
    before = copy.deepcopy(pruner)
    rates = [[i + 1 / epoch for epoch in range(1, EPOCHS + 1)] for i in range(8)]
    stopper = Stopper(pruner, LOSS)
    first = searched(stopper, rates)
    assert searched(stopper, rates) == first  # Nothing left from the first search.
    assert searched(Stopper(before, LOSS), rates) == first
    if name != "patient":  # It holds another pruner, which has no `==`.
        assert vars(pruner) == vars(before)


def others(count=8, **fields):
    """Trials that completed, with final losses of 0.1, 0.2, 0.3, ..."""
    return [completed(i, [0.1 * (i + 1)] * EPOCHS, **fields) for i in range(count)]


HOPELESS = epochs_of([0.9, 0.8, 0.7123])


def says(number=8, own=HOPELESS, them=None, pruner="median", **fields):
    them = others() if them is None else them
    return Stopper(pruner, LOSS).should_stop(trial(number, **fields), own, them)


def test_says_why():
    expected = "val_loss 0.712 after 3 epochs; the median of 8 trials is 0.45"
    assert says() == expected
    rising = epochs_of([0.9, 0.8, 0.95])
    assert says(own=rising) == (
        "val_loss 0.8 at best after 3 epochs; the median of 8 trials is 0.45"
    )
    assert (
        says(own=epochs_of([math.nan] * 3)) == "val_loss is not finite after 3 epochs"
    )
    assert (
        says(own=epochs_of([math.inf] * 3)) == "val_loss is not finite after 3 epochs"
    )
    close = epochs_of([0.9, 0.8, 0.4500001])
    assert "0.4500001 after 3 epochs; the median of 8 trials is 0.45" in says(own=close)
    assert says(pruner="halving") == (
        "val_loss 0.712 after 3 epochs; rank 8 of 9 trials (SuccessiveHalvingPruner)"
    )
    nan = epochs_of([0.9, 0.8, math.nan])
    assert says(own=nan, pruner="halving") == "val_loss is not finite after 3 epochs"


@pytest.mark.parametrize("origin", ["promoted", "repeat"])
def test_promoted_ones_and_repeats_are_left_alone(origin):
    assert says(origin=origin) == ""
    assert says(them=others(origin=origin)) == ""  # Nor compared with.


@pytest.mark.parametrize("pruner", ["median", "halving"])
def test_compares_within_a_stage(pruner):
    assert says(them=others(stage=1), pruner=pruner) == ""
    assert says(them=others(epochs=EPOCHS + 1), pruner=pruner) == ""
    assert says(them=others(stage=1), stage=1, pruner=pruner) != ""
    mixed = [*others(stage=1), *others(4)]
    assert says(them=others(4), pruner="median") == says(them=mixed) == ""


def test_waits_for_enough_trials_and_epochs():
    assert says(them=others(4)) == ""
    assert says(them=others(5)) != ""
    assert says(own=HOPELESS[:2]) == ""
    assert says(own=HOPELESS[:1], epochs=4, them=others(epochs=4)) != ""  # A quarter.
    assert says(own=[]) == ""


def test_last_epoch_is_not_stopped():
    assert says(own=epochs_of([0.9] * EPOCHS)) == ""
    assert says(own=epochs_of([0.9] * (EPOCHS - 1))) != ""


def test_first_fold_decides():
    later = [*epochs_of([0.1] * EPOCHS), *epochs_of([0.9] * 3, fold=1)]
    assert says(own=later) == ""
    # Of the others, too: their second folds were bad, which does not help this one.
    them = [(t, [*e, *epochs_of([9.0] * EPOCHS, fold=1)]) for t, e in others()]
    assert says(them=them) == says()


def test_epochs_without_a_validation_are_passed_over():
    unseen = [*HOPELESS, EpochResult(4, {"loss": 0.1})]
    assert says(own=unseen) == ""
    assert says(own=[*unseen, EpochResult(5, {"val_loss": 0.7})]) != ""


def test_which_of_the_others_count():
    for status in ("stopped", "failed", "running"):
        them = [(trial(t.number, status, t.score), e) for t, e in others()]
        assert says(them=them) == ""  # For the median only those that completed do.
        # For halving all that got as far do.
        assert says(them=them, pruner="halving") != ""
    assert says(them=[*others(), (trial(9), epochs_of([9.0] * 3))]) == says()
    assert says(them=[*others(), (trial(8), epochs_of([9.0] * 3))]) == says()  # Itself.
    failed = [(trial(9, "failed"), []), (trial(10, "stopped"), [])]
    assert says(them=[*others(), *failed]) == says()
    nowhere = [completed(i, [math.nan] * EPOCHS) for i in range(9, 20)]
    assert says(them=nowhere) == ""
    assert says(them=[*others(), *nowhere]) == says()


def test_no_pruner_stops_nothing():
    assert says(pruner=None) == ""


@pytest.mark.parametrize("pruner", ["mean", 3, True, optuna.pruners.MedianPruner, []])
def test_refuses_what_is_no_pruner(pruner):
    with pytest.raises(ValueError, match="`pruner` must be 'median', 'halving', None"):
        Stopper(pruner, LOSS)
