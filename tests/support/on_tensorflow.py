"""How TensorFlow is set up for the tests: two devices, and what saves time."""

import tensorflow as tf

# Two devices for the tests of distribution; it has to come before any other use.
_CPU = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(
    _CPU, [tf.config.LogicalDeviceConfiguration() for _ in range(2)]
)


def _without_autotune(dataset):
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


# Each iterator over data has a thread that tunes it, and waits for it when it is freed:
# under load for up to a minute and a half, with the GIL held (TensorFlow 2.21). Tests
# have none. This is the one place through which all datasets go on their way.
tf.data.Dataset._apply_debug_options = _without_autotune
# A fifth of the time of most tests went into making graphs fast that run ten times.
# What is exact to the last bit has to be so with it: see `optimized_graphs`.
GRAPHS = {"disable_meta_optimizer": True}
tf.config.optimizer.set_experimental_options(GRAPHS)


def optimize_graphs(*, optimize: bool) -> None:
    """Has TensorFlow optimize graphs before it runs them, as it does for users."""
    chosen = dict.fromkeys(GRAPHS, False) if optimize else GRAPHS
    tf.config.optimizer.set_experimental_options(chosen)
