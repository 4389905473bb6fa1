"""Advice, tried out: the same short training with a change and without.

`bench.py` trains a borrowed model, `changes/` holds what each kind of `Fix` does,
`rounds.py` decides what is trained how long, `verdict.py`
compares, and `result.py` is what came out.
"""

from keras_babysit.fixes.result import FixTrial, FixTrials

__all__ = ["FixTrial", "FixTrials"]
