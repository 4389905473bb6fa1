import keras
import numpy as np

from keras_babysit.probes import activations, rows
from keras_babysit.probes.probe import Described, View

VIEW = View("dense", (None, 4), keras.layers.Dense(4))


def row(size, mean, zeros, counts):
    stats = [size, 0, 0, 1.0, 0.0, 1.0, mean, 0.0]
    return [*stats, zeros, *counts, *[0.0] * (rows.COUNTS.stop - 9 - len(counts))]


def test_a_replica_without_samples_does_not_count():
    nothing = [0, 0, 0, 0.0, *[np.nan] * 5, *[np.nan] * 2]
    nothing += [0.0] * (rows.COUNTS.stop - len(nothing))
    first, last = row(6, 1.0, 0.5, [0, 1, 6]), row(2, 3.0, 0.1, [0, 1, 2])
    table = np.array([first, nothing, last])
    fields = activations.read([Described(VIEW, table)]).layers["dense"]
    assert fields["zero_fraction"] == (6 * 0.5 + 2 * 0.1) / 8
    assert fields["activation"].mean == (6 * 1.0 + 2 * 3.0) / 8
    assert fields["histogram"].counts.sum() == 8.0
    assert fields["saturation_fraction"] is None
    fields = activations.read([Described(VIEW, table[1:2])]).layers["dense"]
    assert np.isnan(fields["zero_fraction"])
