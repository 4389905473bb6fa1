"""The same training under several optimizers, side by side.

`choices.py` makes optimizers of what is given, `run.py` trains under each, `result.py`
holds what came out, `text.py` and `drawing.py` are how it looks.
"""

from keras_babysit.comparison.result import OptimizerComparison, OptimizerRun
from keras_babysit.comparison.run import compare_optimizers

__all__ = ["OptimizerComparison", "OptimizerRun", "compare_optimizers"]
