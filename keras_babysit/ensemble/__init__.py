"""Ensembles: many models, or many weights of one, and one model out.

CS231n, "Model ensembles": one reliable approach to improving by a few percent.

The rooms, from the ground up; each imports only from those before it:

* `arguments`, `files`, `copies`: what ensembles are given, and models in files.
* `outputs`: what members put out, and how that is averaged.
* `scoring`: what members and ensembles are worth, and the weights that follow from it.
* `combining`: several models as one, in memory or in files.
* `averaging`: the weights of several models as those of one.
* `members`: where members come from.
* `distilling`: back to one model.
"""

from __future__ import annotations

from keras_babysit import _lazy

# Loaded when asked for: importing the package costs next to nothing.
_PUBLIC = {
    "BestCheckpoints": "members.checkpoints",
    "Ensemble": "combining.ensemble",
    "EnsembleReport": "scoring.report",
    "LazyEnsemble": "combining.lazy",
    "SnapshotCheckpoint": "members.snapshots",
    "StochasticWeightAveraging": "members.swa",
    "average_weights": "averaging.weight_average",
    "distill": "distilling.distillation",
    "greedy_weights": "scoring.member_weights",
    "load_members": "members.members",
    "report": "scoring.evaluation",
    "reestimate_batch_normalization": "averaging.batch_statistics",
    "simplex_weights": "scoring.member_weights",
    "train_members": "members.members",
}

__all__ = sorted(_PUBLIC)


__getattr__, __dir__ = _lazy(__name__, _PUBLIC, __all__)
