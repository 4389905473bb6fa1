"""The range test: which learning rates a model learns with.

Smith, "Cyclical Learning Rates for Training Neural Networks" (2015, WACV 2017),
section 3.3, with the exponential sweep and the smoothed loss of Howard and Gugger,
"fastai: A Layered API for Deep Learning" (2020): train for a few batches while the
rate rises from far too low to far too high, and look at the loss.
"""

from __future__ import annotations

from keras_babysit.lr_range.range_test import find_learning_rate
from keras_babysit.lr_range.result import LearningRateRange

__all__ = ["LearningRateRange", "find_learning_rate"]
