"""The layout of the Custom Scalars tab."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from keras_babysit.event_files import summaries
from keras_babysit.sinks.charts import BAND
from keras_babysit.sinks.scalars import BATCH, RATIO, RATIOS

#: Lines of kernels in one chart. TensorBoard scales a chart by its points without the
#: outermost 5 %: among so few lines a single one is more, with two runs as well.
KERNELS = 8
_UNIT = "(log10; healthy from -4 to -2)"


def layout(kernels: Sequence[str], model: str) -> summaries.Value:
    """Returns the layout.

    TensorBoard shows the charts of all runs, and equal ones once. So charts of single
    kernels say which ones these are, and of which model.

    Args:
        kernels: names of the kernels with update ratios, in the model's order.
        model: the model's name.
    """
    training = {
        "Loss: train and validation": [r"^epoch_loss$"],
        "Metrics: train and validation": [r"^epoch_(?!loss$|learning_rate$).*$"],
        "Loss of single batches": [rf"^{BATCH}/loss$"],
        "Learning rate": [rf"^{BATCH}/learning_rate$"],
        "Gradient norm over all weights": [rf"^{BATCH}/gradient_norm$"],
    }
    if not kernels:
        return summaries.layout({"Training": training})
    of_all = [rf"^{RATIOS}/", _one_of(RATIO, BAND)]
    training[f"Update ratios of kernels {_UNIT}"] = of_all
    parts = [kernels[i : i + KERNELS] for i in range(0, len(kernels), KERNELS)]
    single = {_title(part): [_one_of(RATIO, [*BAND, *part])] for part in parts}
    count = f"{len(kernels)} kernels" if len(kernels) > 1 else "one kernel"
    title = f"Update ratio of each kernel {_UNIT}: {model}, {count}"
    return summaries.layout({"Training": training, title: single})


def _title(kernels: Sequence[str]) -> str:
    return " to ".join(dict.fromkeys((kernels[0], kernels[-1])))


def _one_of(group: str, names: Iterable[str]) -> str:
    # A request for each expression: one for many names.
    return rf"^{group}/({'|'.join(map(re.escape, names))})$"
