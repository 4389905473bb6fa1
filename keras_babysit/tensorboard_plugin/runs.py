"""The runs that TensorBoard knows, read by way of its data provider.

Nothing here opens an event file: TensorBoard may have read it from far away, and keeps
of a long one what is worth keeping.
"""

from __future__ import annotations

import functools
import json
import posixpath
from collections.abc import Container, Iterable
from typing import Any

import numpy as np
from tensorboard.data.provider import DataProvider, RunTagFilter, TensorDatum
from tensorboard.plugins.histogram import metadata as histograms
from tensorboard.plugins.image import metadata as images
from tensorboard.plugins.scalar import metadata as scalars

from keras_babysit.event_files import summaries
from keras_babysit.event_files.run_data import RunData
from keras_babysit.event_files.tables import KINDS, PER_TAG, Table, is_spread, kind_of
from keras_babysit.event_files.tags import FINDINGS, LOGS, PLUGIN, RUN, kind_and_path
from keras_babysit.history import MAX_STATES
from keras_babysit.report import Report
from keras_babysit.report.layers import layer_of

#: Where a Babysitter writes, below the directory of a run.
TRAIN, VALIDATION = "train", "validation"
#: So many epochs of Keras's logs are asked for.
MAX_EPOCHS = 1000


class Runs:
    """The runs of one experiment.

    Args:
        provider: TensorBoard's data provider.
        context: of the request.
        experiment: id of the experiment; `""` for the only one.
    """

    def __init__(self, provider: DataProvider, context: Any, experiment: str):
        self._provider = provider
        self._of = {"ctx": context, "experiment_id": experiment}

    def names(self) -> list[str]:
        """Returns the names of all runs that a Babysitter watched, sorted."""
        found = self._provider.list_tensors(
            **self._of,
            plugin_name=PLUGIN,
            run_tag_filter=RunTagFilter(tags=[RUN, FINDINGS]),
        )
        return sorted(posixpath.dirname(run) or "." for run in found if _is_train(run))

    def outlines(self) -> list[tuple[str, Report]]:
        """Returns what is written of each run but its numbers over time."""
        found = self._tensors([RUN, FINDINGS], None, downsample=1)
        outlines = []
        for run in sorted(found):
            if _is_train(run):
                data = RunData()
                _add_texts(data, found[run])
                outlines.append((posixpath.dirname(run) or ".", data.report()))
        return outlines

    def report(self, name: str) -> Report | None:
        """Returns the report of a run with its course; `None` if it is unknown."""
        data = self._data(name)
        return data.report() if data else None

    def histograms(self, name: str, layer: str) -> Report | None:
        """Returns the report of a run with the histograms of a layer, too."""
        # Of the numbers only when a step was.
        data = self._data(name, kinds={"step"})
        if data is None:
            return None
        if not data.report().layers:  # The model was not seen: its tables tell.
            data = self._data(name) or data
        layers = data.report().layers
        own = next((v.variables for v in layers if v.path == layer), ())
        train = _below(name, TRAIN)
        of = {**self._of, "plugin_name": histograms.PLUGIN_NAME}
        known = self._provider.list_tensors(
            **of, run_tag_filter=RunTagFilter(runs=[train])
        ).get(train, {})
        found = {t: kind_and_path(t, series.description) for t, series in known.items()}
        wanted = {
            tag: place
            for tag, place in found.items()
            if place and layer_of(place[1]) in {layer, *own}
        }
        read = self._provider.read_tensors(
            **of,
            downsample=MAX_STATES,
            run_tag_filter=RunTagFilter(runs=[train], tags=list(wanted)),
        )
        for tag, points in read.get(train, {}).items():
            for point in points:
                bins = summaries.bins(np.asarray(point.numpy, float))
                data.add_histogram(*wanted[tag], point.step, bins)
        return data.report()

    def pictures(self, name: str) -> Report:
        """Returns a report of the pictures of a run alone."""
        train = _below(name, TRAIN)
        found = self._provider.read_blob_sequences(
            **self._of,
            plugin_name=images.PLUGIN_NAME,
            downsample=MAX_STATES,
            run_tag_filter=RunTagFilter(runs=[train]),
        )
        about = self._provider.list_blob_sequences(
            **self._of,
            plugin_name=images.PLUGIN_NAME,
            run_tag_filter=RunTagFilter(runs=[train]),
        )
        data = RunData()
        for tag, sequence in found.get(train, {}).items():
            for point in sequence:
                # The first two are the sizes, as texts.
                png = self._provider.read_blob(
                    ctx=self._of["ctx"], blob_key=point.values[2].blob_key
                )
                description = about[train][tag].description
                picture = summaries.picture(tag, png, description)
                data.add_picture(point.step, picture)
        return data.report()

    def _data(self, name: str, kinds: Container[str] = KINDS) -> RunData | None:
        """What is known of a run, with some kinds of tables."""
        train = _below(name, TRAIN)
        known = self._provider.list_tensors(
            **self._of, plugin_name=PLUGIN, run_tag_filter=RunTagFilter(runs=[train])
        ).get(train)
        if not known:
            return None
        data = RunData()
        tags = [t for t in known if t in (RUN, FINDINGS) or kind_of(t) in kinds]
        found = self._tensors(tags, [train], downsample=PER_TAG).get(train, {})
        _add_texts(data, found)
        for tag, points in found.items():
            if tag not in (RUN, FINDINGS):
                _add_tables(data, tag, json.loads(known[tag].plugin_content), points)
        self._add_logs(data, name)
        return data

    def _tensors(
        self, tags: Iterable[str], runs: list[str] | None, downsample: int
    ) -> dict[str, dict[str, list[TensorDatum]]]:
        return self._provider.read_tensors(
            **self._of,
            plugin_name=PLUGIN,
            downsample=downsample,
            run_tag_filter=RunTagFilter(runs=runs, tags=list(tags)),
        )

    def _add_logs(self, data: RunData, name: str) -> None:
        sides = {_below(name, TRAIN): "", _below(name, VALIDATION): "val_"}
        found = self._provider.read_scalars(
            **self._of,
            plugin_name=scalars.PLUGIN_NAME,
            downsample=MAX_EPOCHS,
            run_tag_filter=RunTagFilter(runs=list(sides)),
        )
        for run, series in found.items():
            for tag, points in series.items():
                if tag.startswith(LOGS):
                    log = sides[run] + tag.removeprefix(LOGS)
                    for point in points:
                        # Keras numbers the finished epoch from zero.
                        data.logs.setdefault(point.step + 1, {})[log] = point.value


def _is_train(run: str) -> bool:
    return posixpath.basename(run) == TRAIN


def _below(name: str, side: str) -> str:
    return side if name == "." else f"{name}/{side}"


def _add_texts(data: RunData, found: dict[str, list[TensorDatum]]) -> None:
    for tag, name in ((RUN, "run"), (FINDINGS, "findings")):
        if found.get(tag):
            setattr(data, name, json.loads(found[tag][-1].numpy.item()))


def _add_tables(
    data: RunData, tag: str, names: dict[str, Any], points: list[TensorDatum]
) -> None:
    for point in points:
        table = Table(names["rows"], names["columns"], point.numpy)
        # What is of another make than the first of its tag cannot be told apart.
        if table.values.shape == (len(table.rows), len(table.columns)):
            found = functools.partial(_same, table)
            data.add_table(point.step, kind_of(tag), found, is_spread(tag))


def _same(table: Table) -> Table:
    return table
