"""What a user's own code does beside Keras is done once, as without us."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as L
from support import models

from keras_babysit import Babysitter
from keras_babysit.backend.tensorflow import derivation, pruning

X, Y = models.images((6,))


class OwnState(L.Layer):
    """Keeps state that Keras does not know of."""

    def __init__(self):
        super().__init__()
        self.calls = tf.Variable(0.0, trainable=False)
        self.generator = tf.random.Generator.from_seed(3)
        self.normalize = L.BatchNormalization()
        self.drop = L.Dropout(0.5)
        self.scale = 1.0

    def build(self, shape):
        self.normalize.build(shape)

    # Traced once, for whoever calls it first.
    @tf.function
    def regularized(self, x, training):
        return self.drop(self.normalize(x, training=training), training=training)

    def call(self, x, training=False):
        self.calls.assign_add(1.0)
        noise = self.generator.normal(tf.shape(x))
        x = self.regularized(x, training) + 0.1 * noise
        return self.scale * x * (1 + 0.01 * self.calls)


class NoiseOfNumPy(L.Layer):
    def call(self, x):
        return x + np.random.default_rng(self.seed()).normal()

    def seed(self):
        return np.random.randint(1000)


class TFNoise(L.Layer):
    def call(self, x):
        return x + tf.random.normal(tf.shape(x))


class UnknownRank(L.Layer):
    def call(self, x):
        return tf.numpy_function(lambda a: a + np.random.normal(), [x], tf.float32)


class WithUnknownRank(keras.Model):
    def __init__(self):
        super().__init__()
        self.first, self.second = UnknownRank(), models.head()

    def build(self, shape):
        self.second.build(shape)

    def call(self, x):
        return self.second(tf.ensure_shape(self.first(x), x.shape))


def small(*middle):
    layers = [keras.Input((6,)), L.Dense(4, activation="relu"), *middle]
    return keras.Sequential([*layers, models.head()])


def check(tmp_path, make, change=lambda *_: None, batch_size=36, epochs=3, **kwargs):
    """Compares a run with the plain one; returns the callback and its warnings."""

    def run(callbacks):
        keras.utils.set_random_seed(5)
        model = make()
        models.compile_model(model, **{"jit_compile": False, **kwargs})
        changing = keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: change(model, epoch)
        )
        history = model.fit(
            X,
            Y,
            batch_size=batch_size,
            epochs=epochs,
            verbose=0,
            callbacks=[*callbacks, changing],
        )
        return models.state(model), history.history

    expected, expected_history = run([])
    callback = Babysitter(tmp_path, every=2, verbose=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found, history = run([callback])
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)
    assert history == expected_history
    ours = [str(w.message) for w in caught if "Babysitter" in str(w.message)]
    return callback, ours


def test_state_that_keras_does_not_know_of(tmp_path):
    callback, warned = check(tmp_path, lambda: small(OwnState()))
    # What depends on the tf.random.Generator cannot be measured without changing it.
    (warning,) = warned
    assert "gradients and activations (2 of 3): it assigns to a variable" in warning
    last = callback.history.last_step
    assert len(last.layers) == 1
    assert all(v.update is not None for v in last.variables)


def test_eager_code_runs_once(tmp_path):
    callback, warned = check(
        tmp_path,
        lambda: small(NoiseOfNumPy()),
        run_eagerly=True,
        batch_size=72,
        epochs=2,
    )
    assert not warned
    assert len(callback.history.last_step.layers) == 3


def test_outputs_of_unknown_rank_are_left_out(tmp_path):
    callback, warned = check(tmp_path, WithUnknownRank, run_eagerly=True)
    assert not warned
    assert len(callback.history.last_step.layers) == 2


def test_what_python_computes_in_the_step_is_not_computed_again(tmp_path):
    callback, warned = check(tmp_path, WithUnknownRank)
    (warning,) = warned
    assert "gradients and activations: it calls Python (tf.numpy_function" in warning
    record = callback.history.last_step
    assert not record.layers
    assert record.loss is not None
    assert all(v.update_ratio is not None for v in record.variables)


def test_too_little_memory_to_measure(tmp_path, monkeypatch):
    def fail(*_):
        raise tf.errors.ResourceExhaustedError(None, None, "out of memory")

    monkeypatch.setattr(derivation.Measuring, "__call__", fail)
    callback, warned = check(tmp_path, small)
    (warning,) = warned
    assert "measuring them failed: ResourceExhaustedError" in warning
    assert callback.history.last_step.loss is not None


def test_seeded_random_numbers_of_tensorflow(tmp_path):
    callback, warned = check(tmp_path, lambda: small(TFNoise()))
    assert not warned
    # Measured with numbers of their own, and it is said so.
    (note,) = callback.observation.unobserved
    assert "other random numbers" in note
    assert "keras.random.SeedGenerator" in note
    assert len(callback.history.last_step.layers) == 3
    assert "other random numbers" in str(callback.report)
    # The loss is that of the training step: with one step an epoch, the epoch's.
    assert callback.history.last_step.gradient_norm > 0


def test_what_is_set_after_the_train_function_was_traced_has_no_effect(tmp_path):
    def change(model, epoch):
        model.layers[0].trainable = epoch < 1
        model.layers[1].scale = 1.0 + epoch

    # One step an epoch: the plain function first runs when all has been changed.
    callback, _ = check(tmp_path, lambda: small(OwnState()), change, batch_size=72)
    assert len(callback.history.last_step.variables) == 6


def test_a_function_that_was_traced_before_is_traced_by_us(tmp_path):
    def run(callbacks):
        keras.utils.set_random_seed(5)
        model = small(L.Dropout(0.1))
        models.compile_model(model, jit_compile=False)
        for each in callbacks:
            model.fit(X, Y, batch_size=18, verbose=0, callbacks=each)
        return models.state(model)

    ours = Babysitter(tmp_path, every=1, verbose=0)
    expected, found = run([[], []]), run([[], [ours]])
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not ours.observation.unobserved
    assert len(ours.history.last_step.layers) == 2
    assert all(v.gradient is not None for v in ours.history.last_step.variables)


def test_a_function_of_another_model_than_there_is_now_is_not_looked_into(tmp_path):
    model = small(L.Dropout(0.1))
    models.compile_model(model, jit_compile=False)
    model.fit(X, Y, batch_size=18, verbose=0)
    model.layers[0].trainable = False
    ours = Babysitter(tmp_path, every=1, verbose=0)
    with pytest.warns(UserWarning, match="compiled before the model was changed"):
        model.fit(X, Y, batch_size=18, verbose=0, callbacks=[ours])
    assert ours.history.last_step.loss is not None
    assert not ours.history.last_step.layers


def test_a_step_that_cannot_be_traced_again(tmp_path):
    model, (x, y) = small(), (np.ones((8, 6)), np.ones((8, 5)))
    frozen = model.layers[0]
    frozen.trainable = False
    model.compile("adam", "mse")
    model.fit(x, y, verbose=0)
    frozen.trainable = True  # Keras's optimizer does not know its weights.
    callback = Babysitter(tmp_path, verbose=0)
    with pytest.warns(UserWarning, match="tracing the step once more failed"):
        model.fit(x, y, epochs=2, verbose=0, callbacks=[callback])
    assert callback.history.last_step.loss is not None
    assert "unfrozen-without-compile" in [f.rule for f in callback.report.findings]


def test_a_new_train_function_is_observed_anew(tmp_path):
    def change(model, epoch):
        if epoch == 1:
            model.layers[1].rate = 0.9
            model.make_train_function(force=True)

            model.layers[0].trainable = False

    callback, warned = check(tmp_path, lambda: small(L.Dropout(0.1)), change, epochs=2)
    assert not warned
    assert len(callback.history.last_step.variables) == 2


def test_quantized_layers_have_outputs(tmp_path):
    def make():
        model = small()
        model.layers[0].quantize("int8")
        return model

    callback, warned = check(tmp_path, make)
    assert not warned
    assert len(callback.history.last_step.layers) == 2


class AroundTrainFunction(keras.callbacks.Callback):
    """Puts a function around the train function once: before a step, or all of them."""

    def __init__(self, when):
        self.calls = 0
        setattr(self, when, self.put)

    def put(self, *_, **__):
        inner = self.model.train_function
        if self.calls == 0:

            def counting(iterator):
                self.calls += 1
                return inner(iterator)

            self.model.train_function = counting


@pytest.mark.parametrize("when", ["on_train_begin", "on_train_batch_begin"])
def test_a_train_function_of_another_callbacks_is_called(tmp_path, when):
    model = small()
    models.compile_model(model, jit_compile=False)
    other = AroundTrainFunction(when)
    ours = Babysitter(tmp_path, every=2, verbose=0)
    with pytest.warns(UserWarning, match="not the one that Keras made"):
        model.fit(X, Y, batch_size=18, verbose=0, callbacks=[ours, other])
    assert other.calls == 4
    # Around whatever stands there, updates and the loss are seen.
    assert ours.history.observed == 2
    record = ours.history.last_step
    assert record.loss is not None
    assert all(v.update_ratio is not None for v in record.variables)
    assert not record.layers
    assert "Not observed" in str(ours.report)
    # Before it came, there was more to see.
    assert bool(ours.history.first_step.layers) == (when == "on_train_batch_begin")


def test_train_on_batch_is_not_observed(tmp_path):
    model = small()
    models.compile_model(model, jit_compile=False)
    ours = Babysitter(tmp_path, every=1, verbose=0)
    callbacks = keras.callbacks.CallbackList([ours], model=model)
    callbacks.on_train_begin()
    callbacks.on_epoch_begin(0)
    for batch in range(2):
        callbacks.on_train_batch_begin(batch)
        model.train_on_batch(X[:8], Y[:8])
    with pytest.warns(UserWarning, match="only those of fit"):
        callbacks.on_train_end()
    assert model.optimizer.iterations == 2

    def another_batch(batch, logs):
        model.train_on_batch(X[:8], Y[:8])

    other = keras.callbacks.LambdaCallback(on_train_batch_begin=another_batch)
    model.fit(X, Y, batch_size=36, verbose=0, callbacks=[ours, other])
    assert model.optimizer.iterations == 2 + 4
    assert ours.history.observed == 2


# What comes with computing a tensor of a traced function.


def effects(function):
    made = tf.function(function).get_concrete_function(
        tf.TensorSpec([None], tf.float32)
    )
    graph = made.graph
    return pruning.effects([t for t in graph.outputs if t.graph is graph])[0]


def test_reading_has_no_side_effect():
    variable = tf.Variable([1.0, 2.0])
    table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer([1], [2.0]), 0.0
    )

    def read(x):
        found = table.lookup(tf.cast(x, tf.int32)) + tf.gather(variable, [0])
        found += tf.map_fn(lambda y: y * variable[1], x)
        return tf.cond(x[0] > 0, lambda: found, lambda: found + variable[0])

    assert effects(read) == pruning.Effects()


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("assign", "assigns to a variable"),
        ("draw", "tf.random.Generator"),
        ("python", "calls Python"),
    ],
)
def test_side_effects_are_found_in_functions_that_are_called(what, reason):
    variable = tf.Variable(1.0)
    generator = tf.random.Generator.from_seed(1)
    do = {
        "assign": lambda: variable.assign_add(1.0),
        "draw": lambda: generator.normal([1]),
        "python": lambda: tf.numpy_function(lambda: np.float32(1), [], tf.float32),
    }[what]
    inner = tf.function(do)
    assert reason in effects(lambda x: x + inner()).reason


def test_what_only_happens_beside_it_does_not_count():
    variable = tf.Variable(1.0)

    def beside(x):
        tf.print("seen")
        variable.assign_add(1.0)
        return x * 2.0

    assert effects(beside) == pruning.Effects()


def test_what_was_written_is_taken_from_where_it_comes():
    variable = tf.Variable(1.0)

    def reads_its_own(x):
        variable.assign_add(x[0])
        return variable.read_value() + x

    assert effects(reads_its_own) == pruning.Effects()


def test_random_numbers():
    assert effects(lambda x: x + tf.random.uniform([1], seed=1)).draws
    stateless = effects(lambda x: x + tf.random.stateless_uniform([1], [1, 2]))
    assert stateless == pruning.Effects(random=True)


def test_an_error_while_the_step_is_traced_is_the_users_own(tmp_path):
    inputs = keras.Input((4,))
    outputs = L.Lambda(keras.ops.stop_gradient)(L.Dense(1)(inputs))
    model = keras.Model(inputs, outputs)
    model.compile("sgd", "mse")
    # Keras's function fails with something else when it is traced again.
    with pytest.raises(ValueError, match="No gradients provided"):
        model.fit(
            np.ones((8, 4)),
            np.ones((8, 1)),
            verbose=0,
            callbacks=[Babysitter(tmp_path, verbose=0)],
        )


def test_a_schedule_that_draws_and_counts_is_left_as_it_is(tmp_path):
    class Drawing(keras.optimizers.schedules.LearningRateSchedule):
        calls = 0

        def __call__(self, step):
            self.calls += 1
            return 0.1 * float(np.random.random()) + 0.0 * keras.ops.cast(
                step, "float32"
            )

    def fit(*callbacks):
        keras.utils.set_random_seed(0)
        model, schedule = models.mlp()[0], Drawing()
        model.compile(keras.optimizers.SGD(schedule), "mse")
        x, y = np.ones((8, 12)), np.ones((8, 5))
        model.fit(x, y, batch_size=4, verbose=0, callbacks=callbacks)
        return models.state(model), np.random.random()

    plain, watched = fit(), fit(Babysitter(tmp_path, every=1, verbose=0))
    assert watched[1] == plain[1]
    for a, b in zip(watched[0], plain[0], strict=True):
        np.testing.assert_array_equal(a, b)
