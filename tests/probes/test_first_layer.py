import keras
import numpy as np
import pytest
from keras import layers as L

from keras_babysit.probes import first_layer
from keras_babysit.probes.probe import EpochView


def pictures(model, image_shape=None):
    view = EpochView(model, (), lambda values, describer: None, image_shape)
    return first_layer.epoch(view)


@pytest.mark.parametrize(
    ("layers", "text"),
    [
        ([keras.Input((9, 9, 1)), L.Conv2D(5, 3)], "5 of 5 filters, 3×3×1"),
        ([keras.Input((9, 9, 3)), L.Conv2D(70, 3)], "64 of 70 filters, 3×3×3"),
        ([keras.Input((9, 9, 20)), L.Conv2D(9, 3)], "8 of 9 filters.*16 of 20"),
        ([keras.Input((9, 9, 3)), L.DepthwiseConv2D(3)], "3 of 3 filters, 3×3×1"),
        ([keras.Input((9, 9, 3)), L.Conv2DTranspose(4, 3)], "4 of 4 filters, 3×3×3"),
        ([keras.Input((8, 8)), L.Flatten(), L.Dense(6)], "6 of 6 filters, 8×8×1"),
        ([keras.Input((784,)), L.Dense(6)], "6 of 6 filters, 28×28×1"),
        ([keras.Input((7,)), L.Embedding(30, 6)], "30 of 30 tokens.*6 of 6"),
    ],
)
def test_draws(layers, text):
    import re

    (picture,) = pictures(keras.Sequential(layers))["images"]
    assert re.search(text, picture.description)
    assert picture.pixels.dtype == np.uint8
    assert picture.pixels.shape[2] == 3
    assert min(picture.pixels.shape[:2]) >= 48
    assert picture.pixels.shape[1] <= first_layer.MAX_WIDTH
    assert picture.pixels.min() == 0
    assert picture.pixels.max() == 255


def test_given_image_shape():
    model = keras.Sequential([keras.Input((30,)), L.Dense(2)])
    assert "images" not in pictures(model)
    assert "pass image_shape" in next(iter(pictures(model)["notes"].values()))
    assert pictures(model, (5, 6))["images"]
    assert pictures(model, (5, 2, 3))["images"]
    assert "do not fill" in next(iter(pictures(model, (5, 7))["notes"].values()))


def test_not_an_image():
    model = keras.Sequential([keras.Input((9, 4)), L.Conv1D(3, 3)])
    (note,) = pictures(model)["notes"].values()
    assert note.startswith("not an image: a Conv1D kernel of shape (3, 4, 3)")


def test_no_weights_no_picture():
    assert pictures(keras.Sequential([keras.Input((3,)), L.ReLU()])) == {}


def test_tiles_are_the_filters_enlarged():
    kernel = np.zeros((3, 3, 1, 2), np.float32)
    kernel[0, 0, 0, 0] = 1.0
    kernel[2, 2, 0, 1] = -1.0
    pixels, _ = first_layer.filters(kernel)
    first, second = pixels[2:50, 2:50, 0], pixels[2:50, 52:100, 0]
    expected = np.zeros((3, 3)).repeat(16, 0).repeat(16, 1)
    expected[:16, :16] = 255
    np.testing.assert_array_equal(first, expected)
    np.testing.assert_array_equal(second, 255 - expected[::-1, ::-1])


def test_normalize():
    np.testing.assert_allclose(first_layer.normalize(np.array([2.0, 4.0])), [0, 1])
    np.testing.assert_allclose(first_layer.normalize(np.full(3, 7.0)), 0.5)
    broken = np.array([np.nan, 0.0, 1.0, np.inf])
    np.testing.assert_allclose(first_layer.normalize(broken), [0.5, 0, 1, 1])


def test_smoothness():
    smooth = np.ones((6, 6, 2, 3))
    assert first_layer.smoothness(smooth) == pytest.approx(1)
    assert first_layer.smoothness(1e30 * smooth) == pytest.approx(1)
    board = (-1.0) ** np.add.outer(np.arange(6), np.arange(6))[..., None, None]
    assert first_layer.smoothness(board) == pytest.approx(-1)
    noise = np.random.default_rng(0).normal(size=(7, 7, 3, 64))
    assert abs(first_layer.smoothness(noise)) < 0.03
    assert np.isnan(first_layer.smoothness(0 * smooth))
    assert np.isnan(first_layer.smoothness(np.nan * smooth))


@pytest.mark.parametrize(
    ("layers", "measured"),
    [
        ([keras.Input((9, 9, 1)), L.Conv2D(5, 5)], True),
        ([keras.Input((9, 9, 1)), L.Conv2D(5, 3)], False),
        ([keras.Input((8, 8)), L.Flatten(), L.Dense(6)], True),
        ([keras.Input((7,)), L.Dense(6)], False),
        ([keras.Input((7,)), L.Embedding(30, 6)], False),
    ],
)
def test_smoothness_only_where_filters_have_a_shape(layers, measured):
    found = pictures(keras.Sequential(layers)).get("first_layer_smoothness", {})
    assert len(found) == measured
    assert all(abs(v) < 0.3 for v in found.values())
