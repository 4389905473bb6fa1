"""The same training under several optimizers, side by side.

`choices.py` makes optimizers of what is given, `training.py` trains under each, and
`result.py` holds what came out.
"""

from keras_babysit.comparison.result import OptimizerComparison
from keras_babysit.comparison.run import OptimizerRun
from keras_babysit.comparison.training import compare_optimizers

__all__ = ["OptimizerComparison", "OptimizerRun", "compare_optimizers"]
