import numpy as np

from keras_babysit.probes import activations


def row(size, mean, zeros):
    return [size, 0, 0, 1.0, 0.0, 1.0, mean, 0.0, zeros, 0.0]


def test_a_replica_without_samples_does_not_count():
    nothing = [0, 0, 0, 0.0, *[np.nan] * 6]
    arrays = {
        "layer": np.array([[row(6, 1.0, 0.5)], [nothing], [row(2, 3.0, 0.1)]]),
        "histogram": np.array([[[0.0, 1.0, 6.0]], [[np.nan] * 2 + [0]], [[0, 1, 2]]]),
    }
    context = activations.LayerContext("dense", 0, False, None)
    fields = activations.read(arrays, (context,)).layers["dense"]
    assert fields["zero_fraction"] == (6 * 0.5 + 2 * 0.1) / 8
    assert fields["activation"].mean == (6 * 1.0 + 2 * 3.0) / 8
    assert fields["histogram"].counts.tolist() == [8.0]
    alone = {name: array[1:2] for name, array in arrays.items()}
    fields = activations.read(alone, (context,)).layers["dense"]
    assert np.isnan(fields["zero_fraction"])
