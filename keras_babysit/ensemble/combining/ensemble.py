"""Several models as one: the mean of what they predict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras.src.models.functional import Functional

from keras_babysit.ensemble import arguments as checks
from keras_babysit.ensemble.combining.compilation import compile_arguments
from keras_babysit.ensemble.combining.graph import build
from keras_babysit.ensemble.combining.spread import spreads
from keras_babysit.ensemble.outputs.combination import Combination, check_average
from keras_babysit.ensemble.outputs.forms import OutputForm
from keras_babysit.ensemble.scoring.evaluation import report
from keras_babysit.ensemble.scoring.report import EnsembleReport
from keras_babysit.errors import whole_or_none


class Ensemble(Functional):
    """A model whose output is the average of its members' outputs.

    A functional `keras.Model` of Keras's own layers: `predict`, `evaluate`, `compile`,
    `fit`, `summary` and `save` are Keras's. Its `.keras` file contains a plain
    functional model, which loads where keras_babysit is not installed (if the members'
    own layers are).

    It contains copies: it does not change, rename or train the members, and does not
    change with them. Members whose weight is 0 are left out. Penalties on weights and
    activations are left out too, as they would add up over the members.

    The kind of a member's output is known from its last activation (softmax, sigmoid,
    log_softmax) or by the loss that they were compiled with and its `from_logits`.
    Logits are converted to probabilities: **an ensemble of classifiers outputs
    probabilities**, even if its members output logits.

    If a member is compiled, the ensemble is compiled with the losses and metrics of the
    first that is, `from_logits` (and thresholds of binary metrics) as they must be for
    what the ensemble puts out: `ensemble.evaluate(x, y)` gives what members' `evaluate`
    gives, without penalties. Call `compile` yourself for another loss, or if a custom
    loss takes logits: then the ensemble is not compiled.

    A subclassed member is copied by its `get_config`. If that fails, the ensemble uses
    the member itself, with a warning, and cannot be saved. A file with subclassed
    members loads only where their classes are registered
    (`keras.saving.register_keras_serializable`) or can be imported. Members that cannot
    be in one file can stay in separate files: `LazyEnsemble`.

    Args:
        members: built `keras.Model`s with the same inputs, outputs and order of
            classes. The same model may be given twice. That the orders of classes are
            the same is checked where members have an attribute `class_names`;
            otherwise only data tell, see `report`.
        weights: of each member, 0 or above, summing to one; `None` for equal ones. See
            `greedy_weights` and `simplex_weights`.
        average: `None`: the mean of the probabilities, or of the values for regression.
            `"probabilities"`: the same, and refuses what is not known to be
            probabilities or logits. `"geometric"`: the normalised geometric mean of the
            probabilities (those below 1e-7 count as 1e-7). `"logits"`: the mean of the
            logits, which is what the ensemble then puts out; of members that put out
            probabilities, of their logarithms. `"mean"`: the mean of whatever the
            members put out. In a model with several outputs, those that are values are
            averaged as they are.
        from_logits: whether outputs of unknown kind are logits. Without it they are
            treated as values. `True` also goes before the losses; outputs behind a
            softmax or sigmoid are always probabilities.
        name: the model's name.

    Attributes:
        members: the models that count, copies.
        member_weights: float64 array, their weights.

    Raises:
        ValueError: for no members, something that is not a built model, inputs, outputs
            or class names that differ, outputs that are not floating-point, wrong
            weights or `average`.

    Example:
    ```python
    ensemble = keras_babysit.ensemble.Ensemble(members)
    ensemble.evaluate(x_test, y_test)
    ensemble.save("ensemble.keras")
    ```

    References:
        CS231n, "Model ensembles"; Dietterich: Ensemble Methods in Machine Learning
        (2000); Lakshminarayanan, Pritzel and Blundell (2017) average probabilities.
    """

    def __init__(
        self,
        members: Any,
        weights: Any = None,
        *,
        average: str | None = None,
        from_logits: bool | None = None,
        name: str = "ensemble",
    ):
        check_average(average)
        models = checks.models_of(members)
        shares = checks.weights_of(weights, len(models))
        graph = build(models, shares, average, from_logits)
        super().__init__(graph.inputs, graph.outputs, name=name)
        # A value that Keras does not track or save.
        self._graph = graph
        self._compile_as([models[n - 1] for n in self.combination.numbers])

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        # Keras writes an object's `__class__` into files and asks it how to be copied.
        # There an ensemble is a plain functional model, which anybody can load.
        return Functional

    @property
    def members(self) -> tuple[keras.Model, ...]:
        """The models that count, copies; one that was given twice is there twice."""
        return self._graph.members

    @property
    def combination(self) -> Combination:
        """Which members count, what they put out, and how that is averaged."""
        return self._graph.combination

    @property
    def output_forms(self) -> list[OutputForm]:
        """What its outputs are: an `OutputForm` for each, flat."""
        return self.combination.output_forms

    @property
    def member_weights(self) -> np.ndarray:
        """Their weights: float64 array of shape `(members,)` that sums to one."""
        return self.combination.weights.copy()

    def spread(
        self, x: Any, batch_size: int | None = None, verbose: int | str = 0
    ) -> Any:
        """Returns how far the members disagree about each sample.

        Args:
            x: what `predict` takes.
            batch_size: of prediction.
            verbose: as of `predict`.

        Returns:
            A `Spread`; for several outputs, a list or dict of them as `predict` gives.
            Of logits, the spread is that of the probabilities that they mean.

        Example:
        ```python
        unsure = ensemble.spread(x).mutual_information > 0.3
        ```
        """
        whole_or_none("batch_size", batch_size)
        checks.check_inputs(x)
        apart = self._graph.apart
        made = apart.predict(x, batch_size=batch_size, verbose=verbose)
        found = spreads(made, self.combination)
        return keras.tree.pack_sequence_as(self._graph.outputs, found)

    def report(self, x: Any, y: Any, **arguments: Any) -> EnsembleReport:
        """Returns what the members and their ensembles are worth: see `report`.

        Args:
            x: inputs that no member was trained on and no weights were chosen on.
            y: their labels or targets.
            **arguments: of `report`.
        """
        return report(self, x, y, **arguments)

    def _compile_as(self, models: Sequence[keras.Model]) -> None:
        """Compiles it with the losses and metrics of the first member that has any."""
        logits = [form.logits for form in self.output_forms]
        for model, forms in zip(models, self.combination.forms, strict=True):
            if model.compiled and getattr(model, "loss", None) is not None:
                arguments = compile_arguments(model, forms, logits)
                if arguments is not None:
                    self.compile(**arguments)
                return

    def __repr__(self) -> str:
        return f"<Ensemble name={self.name}, members={len(self.members)}>"
