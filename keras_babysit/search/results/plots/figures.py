"""Pictures of a search: trials across all axes, and the score along each of them.

Optuna's `plot_parallel_coordinate` and `plot_slice` leave out trials without a score,
of which learning rates that diverge have many, and show neither stages nor the winner;
and they change pyplot's style for the whole program.
"""

from __future__ import annotations

from collections.abc import Sequence

from keras_babysit.document.plots import Figure
from keras_babysit.search.results.dimensions import Dimension
from keras_babysit.search.results.importance import Importance
from keras_babysit.search.results.plots import parallel, slices
from keras_babysit.search.results.plots.axes import View, scores_of
from keras_babysit.search.results.ranking import Candidate
from keras_babysit.search.trials import Objective, Trial

#: Hyperparameters in a picture at most.
_MOST = 16


def figures(
    objective: Objective,
    trials: Sequence[Trial],
    dimensions: Sequence[Dimension],
    best: Sequence[Candidate] = (),
    importance: Importance | None = None,
) -> list[Figure]:
    """Returns the pictures: none before a trial has a score, or if nothing varies.

    Trials that have not ended are left out, and repeats, which would only cover what
    they repeat. Of very many hyperparameters the most important are shown, if known.
    """
    drawn = [t for t in trials if t.outcome is not None and t.origin != "repeat"]
    varied = [d for d in dimensions if not d.is_fixed]
    if len(varied) > _MOST and importance:
        order = [share.names[0] for share in importance.singles]
        varied.sort(key=lambda d: order.index(d.name) if d.name in order else _MOST)
    scores = scores_of(drawn, objective)
    if not varied or scores is None:
        return []
    winner = best[0].trial.number if best else None
    view = View(tuple(drawn), tuple(varied[:_MOST]), scores, winner)
    return [parallel.figure(view), slices.figure(view)]
