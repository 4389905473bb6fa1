"""What goes into an event file: one function for each tab of TensorBoard."""

from __future__ import annotations

import io
import json
from typing import Any, TypeAlias

import numpy as np
from PIL import Image as PillowImage
from tensorboard.compat.proto import summary_pb2, tensor_pb2, types_pb2
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import metadata as custom_scalar
from tensorboard.plugins.histogram import metadata as histograms
from tensorboard.plugins.image import metadata as images
from tensorboard.plugins.scalar import metadata as scalars
from tensorboard.plugins.text import metadata as texts
from tensorboard.util.tensor_util import make_tensor_proto

from keras_babysit.event_files.tables import Table
from keras_babysit.event_files.tags import PLUGIN
from keras_babysit.records import Histogram, Image

#: A `Summary.Value` protocol buffer.
Value: TypeAlias = Any
_new_value = summary_pb2.Summary.Value


def _float_tensor(array: Any) -> tensor_pb2.TensorProto:
    # TensorBoard's make_tensor_proto takes three times as long.
    array = np.asarray(array)
    double = array.dtype == np.float64
    array = array.astype(np.float64 if double else np.float32)
    return tensor_pb2.TensorProto(
        dtype=types_pb2.DT_DOUBLE if double else types_pb2.DT_FLOAT,
        tensor_shape=TensorShapeProto(
            dim=[TensorShapeProto.Dim(size=n) for n in array.shape]
        ),
        tensor_content=array.tobytes(),
    )


# Made once: a training has a great many points.
_SCALAR = scalars.create_summary_metadata("", "")
_HISTOGRAM = histograms.create_summary_metadata("", "")
_NO_AXES = TensorShapeProto()


def scalar(tag: str, value: float, description: str = "") -> Value:
    """A point of a chart in the Time Series and Scalars tabs."""
    metadata = _SCALAR
    if description:
        metadata = scalars.create_summary_metadata("", description)
    tensor = tensor_pb2.TensorProto(
        dtype=types_pb2.DT_FLOAT, tensor_shape=_NO_AXES, float_val=(value,)
    )
    return _new_value(tag=tag, metadata=metadata, tensor=tensor)


def histogram(tag: str, value: Histogram, description: str = "") -> Value:
    """A histogram as its tab wants it: `[left, right, count]` for each bin."""
    counts = value.counts
    if value.right > value.left:
        edges = np.linspace(value.left, value.right, len(counts) + 1)
        table = np.empty((len(counts), 3))
        table[:, 0], table[:, 1], table[:, 2] = edges[:-1], edges[1:], counts
    else:
        # All values are equal: one bin around them, as wide as they are large.
        half = 0.5 * (abs(value.left) or 1.0)
        total = counts.sum()
        table = np.array([[value.left - half, value.right + half, total]])
    if value.sampled_from is not None:
        sample = f"A sample of {counts.sum():,.0f} of {value.sampled_from:,} values."
        description = f"{sample} {description}".strip()
    metadata = _HISTOGRAM
    if description:
        metadata = histograms.create_summary_metadata("", description)
    return _new_value(tag=tag, metadata=metadata, tensor=_float_tensor(table))


def bins(table: np.ndarray) -> Histogram:
    """Returns the histogram that `histogram` has made a float array `(bins, 3)` of."""
    return Histogram(float(table[0, 0]), float(table[-1, 1]), table[:, 2])


def image(value: Image) -> Value:
    """A picture in the Images tab."""
    height, width = value.pixels.shape[:2]
    png = io.BytesIO()
    PillowImage.fromarray(value.pixels).save(png, format="png")
    metadata = images.create_summary_metadata("", value.description)
    parts = [str(width).encode(), str(height).encode(), png.getvalue()]
    return _new_value(tag=value.tag, metadata=metadata, tensor=make_tensor_proto(parts))


def picture(tag: str, png: bytes, description: str) -> Image:
    """Returns the picture that `image` has made a file of."""
    pixels = np.asarray(PillowImage.open(io.BytesIO(png)).convert("RGB"))
    return Image(tag, pixels, description)


def text(tag: str, markdown: str) -> Value:
    """A paragraph in the Text tab."""
    metadata = texts.create_summary_metadata("", "")
    tensor = make_tensor_proto([markdown.encode()])
    return _new_value(tag=tag, metadata=metadata, tensor=tensor)


def table(tag: str, value: Table) -> Value:
    """A table of numbers in our own plugin's tag."""
    metadata = _our_metadata({"rows": value.rows, "columns": value.columns})
    tensor = _float_tensor(np.asarray(value.values, np.float32))
    return _new_value(tag=tag, metadata=metadata, tensor=tensor)


def json_text(tag: str, value: Any) -> Value:
    """A JSON document in our own plugin's tag, as one string."""
    document = json.dumps(value, allow_nan=False).encode()
    metadata = _our_metadata({"type": "json"})
    tensor = make_tensor_proto(document)
    return _new_value(tag=tag, metadata=metadata, tensor=tensor)


def _our_metadata(content: dict[str, Any]) -> Any:
    return summary_pb2.SummaryMetadata(
        plugin_data=summary_pb2.SummaryMetadata.PluginData(
            plugin_name=PLUGIN, content=json.dumps(content).encode()
        ),
        data_class=summary_pb2.DATA_CLASS_TENSOR,
    )


def layout(categories: dict[str, dict[str, list[str]]]) -> Value:
    """The layout of the Custom Scalars tab.

    Args:
        categories: title of a group to its charts, each a title and the regular
            expressions of the tags in it.
    """
    proto = layout_pb2.Layout(
        category=[
            layout_pb2.Category(
                title=title,
                chart=[
                    layout_pb2.Chart(
                        title=name,
                        multiline=layout_pb2.MultilineChartContent(tag=tags),
                    )
                    for name, tags in charts.items()
                ],
            )
            for title, charts in categories.items()
        ]
    )
    return _new_value(
        tag=custom_scalar.CONFIG_SUMMARY_TAG,
        metadata=custom_scalar.create_summary_metadata(),
        tensor=make_tensor_proto(proto.SerializeToString()),
    )
