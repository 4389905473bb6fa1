"""An ensemble of files: one member in memory at a time."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_babysit.ensemble import arguments as checks
from keras_babysit.ensemble import files
from keras_babysit.ensemble.combining import outputs
from keras_babysit.ensemble.combining.graph import AVERAGES, chosen_average, input_names
from keras_babysit.ensemble.combining.outputs import OutputForm
from keras_babysit.ensemble.combining.uncertainty import spreads
from keras_babysit.inspection.layers import graph_of

if TYPE_CHECKING:
    from keras_babysit.ensemble.scoring.report import EnsembleReport

#: Bytes of models that may wait to be collected.
_GARBAGE = 2**25


class LazyEnsemble:
    """The average of what models in files predict, loaded one after the other.

    For ensembles that do not fit into memory, and for members that cannot be in one
    file. Predicts what an `Ensemble` of the same models does; it is no `keras.Model`,
    and cannot be trained or saved. Every call loads each file.

    On creation each file is loaded once, to see that it is a model and that they fit
    together.

    Args:
        paths: `.keras` files, as `model.save` writes them, or a directory of them.
        weights: of each member, as for `Ensemble`. Files whose weight is 0 are not
            read again.
        average: as for `Ensemble`.
        from_logits: as for `Ensemble`.
        custom_objects: as for `keras.saving.load_model`.

    Attributes:
        paths: the files of the members that count.
        numbers: their numbers among those given, from 1.
        member_weights: float64 array, their weights.

    Raises:
        ValueError: for no paths, a file that is missing or no model, or whatever
            `Ensemble` refuses.

    Example:
        >>> ensemble = LazyEnsemble("members")  # doctest: +SKIP
        >>> probabilities = ensemble.predict(x)  # doctest: +SKIP
    """

    def __init__(
        self,
        paths: str | os.PathLike | Sequence[str | os.PathLike],
        weights: Any = None,
        *,
        average: str | None = None,
        from_logits: bool | None = None,
        custom_objects: dict[str, Any] | None = None,
    ):
        if average is not None and average not in AVERAGES:
            raise ValueError(
                f"`average` must be one of {list(AVERAGES)}. Received: "
                f"average={average!r}"
            )
        given = _paths(paths)
        member_weights = checks.weights_of(weights, len(given))
        self._custom_objects = custom_objects
        forms = self._look_at(given, from_logits)
        self._averages = tuple(
            chosen_average(average, column) for column in zip(*forms, strict=True)
        )
        counting = np.flatnonzero(member_weights)
        self.paths = tuple(given[i] for i in counting)
        self.member_weights = member_weights[counting]
        self.numbers = tuple(int(i) + 1 for i in counting)
        self._forms = [forms[i] for i in counting]

    def __len__(self) -> int:
        return len(self.paths)

    def __repr__(self) -> str:
        return f"<LazyEnsemble members={len(self)}>"

    @property
    def forms(self) -> list[list[OutputForm]]:
        """What each member's outputs are."""
        return self._forms

    @property
    def output_forms(self) -> list[OutputForm]:
        """What its outputs are: an `OutputForm` for each, flat."""
        return outputs.averaged_forms(self._averages, self._forms[0])

    @property
    def averages(self) -> tuple[str, ...]:
        """How each output is averaged."""
        return self._averages

    def models(self) -> Iterator[tuple[keras.Model, list[OutputForm]]]:
        """Yields each member, not compiled, and what its outputs are.

        Whoever keeps one keeps it in memory.
        """
        free = _Freeing()
        for path, forms in zip(self.paths, self._forms, strict=True):
            yield free.after(files.load(path, self._custom_objects, False)), forms
            free()

    def predict(self, x: Any, batch_size: int | None = None) -> Any:
        """Returns what `Ensemble.predict` returns: the average, as NumPy arrays.

        Args:
            x: what `predict` of a member takes, to be read once for each member, each
                time in the same order.
            batch_size: of prediction.

        Raises:
            ValueError: for no samples, a generator (which can be read only once) or a
                batch size that is not a positive integer.
        """
        _check(x, batch_size)
        totals: list[Any] = [0.0] * len(self._averages)
        structure: Any = None
        dtypes: list[np.dtype] = []
        weights = iter(self.member_weights)
        for model, forms in self.models():
            structure = outputs.predict(model, x, batch_size)
            # Nothing may refer to it while the next one is loaded; `zip` would.
            del model
            weight = next(weights)
            flat = keras.tree.flatten(structure)
            dtypes = [np.result_type(one.dtype, "float32") for one in flat]
            for at, (one, form) in enumerate(zip(flat, forms, strict=True)):
                part = outputs.to_average(one, form, self._averages[at])
                totals[at] = totals[at] + weight * part
        kinds = [form.kind for form in self._forms[0]]
        found = [
            outputs.from_average(total, kind, average).astype(dtype)
            for total, kind, average, dtype in zip(
                totals, kinds, self._averages, dtypes, strict=True
            )
        ]
        return keras.tree.pack_sequence_as(structure, found)

    def spread(self, x: Any, batch_size: int | None = None) -> Any:
        """Returns how far the members disagree, as `Ensemble.spread` does.

        All members' predictions are in memory together.

        Args:
            x: what `predict` of a member takes.
            batch_size: of prediction.

        Returns:
            A `Spread`; for several outputs, a list or dict of them.
        """
        _check(x, batch_size)
        flat: list[np.ndarray] = []
        structure: Any = None
        for model, _ in self.models():
            structure = outputs.predict(model, x, batch_size)
            del model
            flat += [np.asarray(one) for one in keras.tree.flatten(structure)]
        found = spreads(flat, self._forms, self.member_weights)
        return keras.tree.pack_sequence_as(structure, found)

    def report(self, x: Any, y: Any, **arguments: Any) -> EnsembleReport:
        """Returns what the members and their ensembles are worth: see `report`.

        Args:
            x: inputs that no member was trained on and no weights were chosen on.
            y: their labels or targets.
            **arguments: of `report`.
        """
        from keras_babysit.ensemble.scoring.evaluation import report

        return report(self, x, y, **arguments)

    def _look_at(
        self, paths: Sequence[str | os.PathLike], from_logits: bool | None
    ) -> list[list[OutputForm]]:
        """Loads each file once; returns what the members put out."""
        forms, specs, names, free = [], [], [], _Freeing()
        for path in paths:
            model = free.after(self._compiled(path))
            forms.append(outputs.forms_of(model, from_logits))
            specs.append(_specs(model))
            if specs[-1] is not None:
                names.append((input_names(model), outputs.output_names(model)))
            del model
            free()
        # Of a subclassed model neither is known before it is called.
        known = [spec for spec in specs if spec is not None]
        for at, what in enumerate(("inputs", "outputs")):
            if known:
                checks.shapes_agree([spec[at] for spec in known], what)
                checks.names_agree([of[at] for of in names], what)
        checks.can_be_averaged([spec[1] for spec in known[:1]])
        counts = {len(own) for own in forms}
        if len(counts) > 1:
            raise ValueError(
                "Members must have the same number of outputs. Received: "
                f"{[len(own) for own in forms]}"
            )
        return outputs.agreed(forms)

    def _compiled(self, path: str | os.PathLike) -> keras.Model:
        try:
            return files.load(path, self._custom_objects)
        except ValueError:
            # A loss of the user's that is not known here is no reason not to predict.
            return files.load(path, self._custom_objects, compile=False)


class _Freeing:
    """Collects models that nothing refers to, once there is much of them.

    A model is a cycle of references: without this it stays until Python looks for such
    cycles. Looking takes about as long as loading a small model.
    """

    def __init__(self) -> None:
        self._bytes = 0

    def after(self, model: keras.Model) -> keras.Model:
        self._bytes += outputs.size_of(model)
        return model

    def __call__(self) -> None:
        if self._bytes > _GARBAGE:
            gc.collect()
            self._bytes = 0


def _check(x: Any, batch_size: Any) -> None:
    checks.check_batch_size(batch_size)
    checks.check_inputs(x, again="for each member")


def _paths(paths: Any) -> list[str | os.PathLike]:
    if files.is_path(paths):
        return list(files.models_in(paths))
    if isinstance(paths, keras.Model) or not isinstance(paths, Iterable):
        raise ValueError(
            "`paths` must be a directory or a list of paths of `.keras` files. "
            f"Received: {paths!r} of type {type(paths).__name__}"
        )
    found = list(paths)
    if not found:
        raise ValueError("`paths` must name at least one file. Received: none")
    for number, path in enumerate(found, start=1):
        if not files.is_path(path):
            raise ValueError(
                f"Path {number} must be a string or a Path. Received: {path!r} of type "
                f"{type(path).__name__}"
            )
    return found


def _specs(model: keras.Model) -> tuple[Any, Any] | None:
    """Shapes and dtypes of inputs and outputs, which keep no layer alive."""
    graph = graph_of(model)
    if graph is None:
        return None
    made = [
        keras.tree.map_structure(
            lambda t: keras.KerasTensor(t.shape, t.dtype), structure
        )
        for structure in (graph.input, graph.output)
    ]
    return made[0], made[1]
