"""A run's results for people to read: findings, layers, cost.

`report.py` holds the `Report`, `layers.py` its table of layers, and `groups.py` says
findings in words.
"""

from keras_babysit.report.report import Report, make_report

__all__ = ["Report", "make_report"]
