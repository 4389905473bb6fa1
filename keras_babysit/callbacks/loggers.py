"""Callbacks for one quantity each: presets of `Babysitter`."""

from __future__ import annotations

import os
from typing import Any

from keras_babysit.callbacks.babysitter import Babysitter

#: They log and judge nothing, unless asked to.
_QUIET: dict[str, Any] = {"rules": [], "verbose": 0}


class UpdateRatioLogger(Babysitter):
    """Logs each kernel's update ratio, about 1e-3 when healthy, to TensorBoard.

    CS231n, Neural Networks Part 3, "Ratio of weights:updates".

    Args:
        log_dir: directory of the TensorBoard files.
        **kwargs: as for `Babysitter`, `probes` apart.

    Example:
    ```python
    model.fit(x, y, callbacks=[keras_babysit.UpdateRatioLogger("logs/ratios")])
    ```
    """

    def __init__(self, log_dir: str | os.PathLike, **kwargs: Any):
        super().__init__(log_dir, probes=["update_ratio"], **{**_QUIET, **kwargs})


class GradientHistogramLogger(Babysitter):
    """Logs histograms of the kernels' gradients, and their norm, to TensorBoard.

    CS231n, Neural Networks Part 3, "Activation/Gradient distributions per layer".

    Args:
        log_dir: directory of the TensorBoard files.
        **kwargs: as for `Babysitter`, `probes` apart.

    Example:
    ```python
    logger = keras_babysit.GradientHistogramLogger("logs/gradients")
    model.fit(x, y, callbacks=[logger])
    ```
    """

    def __init__(self, log_dir: str | os.PathLike, **kwargs: Any):
        super().__init__(log_dir, probes=["gradients"], **{**_QUIET, **kwargs})


class ActivationHistogramLogger(Babysitter):
    """Logs histograms of activations, and the share of dead units, to TensorBoard.

    CS231n, Neural Networks Part 3, "Activation/Gradient distributions per layer".

    Args:
        log_dir: directory of the TensorBoard files.
        **kwargs: as for `Babysitter`, `probes` apart.

    Example:
    ```python
    logger = keras_babysit.ActivationHistogramLogger("logs/activations")
    model.fit(x, y, callbacks=[logger])
    ```
    """

    def __init__(self, log_dir: str | os.PathLike, **kwargs: Any):
        super().__init__(log_dir, probes=["activations"], **{**_QUIET, **kwargs})


class FirstLayerImageLogger(Babysitter):
    """Draws the first layer's weights, before training and after each epoch.

    CS231n, Neural Networks Part 3, "First-layer Visualizations".

    Args:
        log_dir: directory of the TensorBoard files.
        **kwargs: as for `Babysitter`, `probes` apart.

    Example:
    ```python
    logger = keras_babysit.FirstLayerImageLogger("logs/filters", image_shape=(8, 8))
    model.fit(x, y, callbacks=[logger])
    ```
    """

    def __init__(self, log_dir: str | os.PathLike, **kwargs: Any):
        super().__init__(log_dir, probes=["first_layer"], **{**_QUIET, **kwargs})
