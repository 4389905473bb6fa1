"""An ensemble of files: one member in memory at a time."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from keras_babysit.ensemble import arguments as checks
from keras_babysit.ensemble import files
from keras_babysit.ensemble.combining.inputs import input_names
from keras_babysit.ensemble.combining.spread import spreads
from keras_babysit.ensemble.outputs.averages import from_average, to_average
from keras_babysit.ensemble.outputs.combination import Combination, check_average
from keras_babysit.ensemble.outputs.forms import OutputForm, forms_of
from keras_babysit.ensemble.outputs.predictions import of_each
from keras_babysit.ensemble.scoring.evaluation import report
from keras_babysit.ensemble.scoring.report import EnsembleReport
from keras_babysit.errors import whole_or_none
from keras_babysit.inspection.layers import graph_of
from keras_babysit.inspection.model import output_names


class LazyEnsemble:
    """The average of the predictions of models in files, loaded one at a time.

    For ensembles that do not fit into memory, and for members that cannot be in one
    file. It predicts the same as an `Ensemble` of these models. It is not a
    `keras.Model`, and cannot be trained or saved. Every call loads each file.

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
        combination: their numbers and weights, what they put out, and how that is
            averaged.

    Raises:
        ValueError: for no paths, a file that is missing or no model, or whatever
            `Ensemble` refuses.

    Example:
    ```python
    ensemble = keras_babysit.ensemble.LazyEnsemble("snapshots")
    probabilities = ensemble.predict(x)
    ```
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
        check_average(average)
        given = files.listed("paths", paths, models=False)
        shares = checks.weights_of(weights, len(given))
        self._custom_objects = custom_objects
        forms = self._look_at(given, from_logits)
        self.combination = Combination.of(forms, shares, average)
        self.paths = tuple(given[n - 1] for n in self.combination.numbers)

    def __len__(self) -> int:
        return len(self.paths)

    def __repr__(self) -> str:
        return f"<LazyEnsemble members={len(self)}>"

    @property
    def member_weights(self) -> np.ndarray:
        """Their weights: float64 array of shape `(members,)` that sums to one."""
        return self.combination.weights.copy()

    @property
    def output_forms(self) -> list[OutputForm]:
        """What its outputs are: an `OutputForm` for each, flat."""
        return self.combination.output_forms

    @property
    def members(self) -> Iterator[keras.Model]:
        """Loads one member after the other, not compiled.

        Whoever keeps one keeps it in memory.
        """
        for path in self.paths:
            yield files.load(path, self._custom_objects, compile=False)
            # A model is a cycle of references, which stays until Python looks for such.
            gc.collect()

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
        how, weights = self.combination, iter(self.combination.weights)
        totals: list[Any] = [0.0] * len(how.averages)
        made: Any = None
        for made, forms in zip(self._each(x, batch_size), how.forms, strict=True):
            weight = next(weights)
            for at, one in enumerate(keras.tree.flatten(made)):
                totals[at] += weight * to_average(one, forms[at], how.averages[at])
        found = [
            from_average(total, form.kind, average).astype(
                np.result_type(one.dtype, "float32")
            )
            for total, form, average, one in zip(
                totals,
                how.forms[0],
                how.averages,
                keras.tree.flatten(made),
                strict=True,
            )
        ]
        return keras.tree.pack_sequence_as(made, found)

    def spread(self, x: Any, batch_size: int | None = None) -> Any:
        """Returns how far the members disagree, as `Ensemble.spread` does.

        All members' predictions are in memory together.

        Args:
            x: what `predict` of a member takes.
            batch_size: of prediction.

        Returns:
            A `Spread`; for several outputs, a list or dict of them.
        """
        made = list(self._each(x, batch_size))
        return keras.tree.pack_sequence_as(made[0], spreads(made, self.combination))

    def report(self, x: Any, y: Any, **arguments: Any) -> EnsembleReport:
        """Returns what the members and their ensembles are worth: see `report`.

        Args:
            x: inputs that no member was trained on and no weights were chosen on.
            y: their labels or targets.
            **arguments: of `report`.
        """
        return report(self, x, y, **arguments)

    def _each(self, x: Any, batch_size: int | None) -> Iterator[Any]:
        """What each member predicts."""
        whole_or_none("batch_size", batch_size)
        checks.check_inputs(x, again="for each member")
        return of_each(self.members, x, batch_size)

    def _look_at(
        self, paths: Sequence[str | os.PathLike], from_logits: bool | None
    ) -> list[list[OutputForm]]:
        """Loads each file once; returns what the members put out."""
        forms, specs, names = [], [], []
        for path in paths:
            model = self._compiled(path)
            forms.append(forms_of(model, from_logits))
            specs.append(_specs(model))
            if specs[-1] is not None:
                names.append((input_names(model), output_names(model)))
            del model
            gc.collect()
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
        return forms

    def _compiled(self, path: str | os.PathLike) -> keras.Model:
        try:
            return files.load(path, self._custom_objects)
        except ValueError:
            # A loss of the user's that is not known here is no reason not to predict.
            return files.load(path, self._custom_objects, compile=False)


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
