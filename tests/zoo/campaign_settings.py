"""Healthy runs with other optimizers, rates, precisions, pipelines and habits."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers as L
from keras import ops, optimizers
from keras.optimizers import SGD, Adam, AdamW

from zoo import data
from zoo.cases import fitting, healthy, net

BCE = "binary_crossentropy"
SPARSE = "sparse_categorical_crossentropy"


def cnn(**more):
    return net(
        (8, 8, 1),
        L.Conv2D(24, 3, activation="relu", **more),
        L.MaxPooling2D(**more),
        L.Flatten(**more),
        L.Dense(48, activation="relu", **more),
        L.Dense(10, activation="softmax", dtype="float32"),
    )


def mlp(units=64, inputs=64, classes=10):
    hidden = L.Dense(units, activation="relu")
    return net((inputs,), hidden, L.Dense(classes, activation="softmax"))


def classifier(model, optimizer, **more):
    model.compile(optimizer, SPARSE, metrics=["accuracy"], **more)
    return model


@healthy("cnn multi-class", reaches="val_accuracy > 0.93")
def mixed_bfloat16():
    model = classifier(cnn(dtype="mixed_bfloat16"), Adam(3e-3))
    return model, fitting(data.images(), 9)


@healthy("cnn multi-class", reaches="val_accuracy > 0.93")
def mixed_float16_by_the_policy():
    """Keras adds the loss scale itself, which begins at 2**15."""
    model = cnn(dtype="mixed_float16")
    model.compile(Adam(3e-3), SPARSE, metrics=["accuracy"], auto_scale_loss=True)
    return model, fitting(data.images(), 9)


@healthy("cnn multi-class", reaches="val_accuracy > 0.9")
def gradients_gathered_over_eight_batches():
    optimizer = Adam(1e-2, gradient_accumulation_steps=8, global_clipnorm=1.0)
    return classifier(cnn(), optimizer), fitting(data.images(), 14, 8)


@healthy("mlp multi-class", reaches="val_accuracy > 0.93")
def averaged_weights():
    """EMA that overwrites the weights at the end, with a callback to swap them."""
    optimizer = Adam(3e-3, use_ema=True, ema_momentum=0.95)
    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=False)
    arguments = fitting(data.digits(), 12, callbacks=[swap])
    return classifier(mlp(), optimizer), arguments


@healthy("cnn multi-class", reaches="val_accuracy > 0.93")
def lion_with_decay():
    optimizer = optimizers.Lion(5e-4, weight_decay=0.1)
    return classifier(cnn(), optimizer), fitting(data.images(), 10)


@healthy("mlp binary", reaches="val_accuracy > 0.9")
def adafactor():
    """Not on pixels that are always 0: it divides by their gradients."""
    optimizer = optimizers.Adafactor(2e-2)
    return classifier(mlp(32, 30, 2), optimizer), fitting(data.breast_cancer(), 15)


@healthy("mlp multi-class", reaches="val_accuracy > 0.93")
def muon():
    optimizer = optimizers.Muon(1e-2, adam_lr_ratio=0.2)
    return classifier(mlp(), optimizer), fitting(data.digits(), 8)


@healthy("mlp multi-class", reaches="val_accuracy > 0.9")
def adagrad_and_ftrl_like():
    return classifier(mlp(), optimizers.Adagrad(0.05)), fitting(data.digits(), 15)


@healthy("mlp multi-class", reaches="val_accuracy > 0.9")
def adadelta_at_one():
    return classifier(mlp(), optimizers.Adadelta(1.0)), fitting(data.digits(), 10)


class Cycles(optimizers.schedules.LearningRateSchedule):
    """Up and down between two rates (Smith, 2017)."""

    def __init__(self, low, high, half):
        self.low, self.high, self.half = low, high, half

    def __call__(self, step):
        at = ops.cast(step, "float32") / self.half
        return self.low + (self.high - self.low) * ops.abs((at + 1) % 2 - 1)


@healthy("cnn multi-class", reaches="val_accuracy > 0.93")
def cyclic_rates():
    optimizer = SGD(Cycles(0.01, 0.1, 86), momentum=0.9)
    return classifier(cnn(), optimizer), fitting(data.images(), 12)


@healthy("cnn multi-class", reaches="val_accuracy > 0.93")
def one_cycle():
    """One cycle by a callback for each batch, down to nearly nothing at the end."""
    total = 10 * 43
    seen = {"step": 0}

    def set_rate(batch, logs=None):
        at = seen["step"] / total
        peak = 0.3
        rate = at / 0.3 if at < peak else max(1 - (at - peak) / (1 - peak), 1e-3)
        model.optimizer.learning_rate.assign(0.15 * max(rate, 0.04))
        seen["step"] += 1

    model = classifier(cnn(), SGD(0.006, momentum=0.9, nesterov=True))
    change = keras.callbacks.LambdaCallback(on_train_batch_begin=set_rate)
    return model, fitting(data.images(), 10, callbacks=[change])


@healthy("cnn multi-class", reaches="val_accuracy > 0.93")
def cosine_with_restarts():
    rate = optimizers.schedules.CosineDecayRestarts(5e-3, 86, t_mul=2.0, m_mul=0.8)
    return classifier(cnn(), Adam(rate)), fitting(data.images(), 14)


@healthy("transformer multi-class", reaches="val_accuracy > 0.9")
def long_warm_up():
    """A third of the run warms up from zero, as large models do."""
    inputs = keras.Input((12,))
    x = L.Embedding(data.VOCABULARY, 32)(inputs)
    x = L.LayerNormalization()(x + L.MultiHeadAttention(4, 8)(x, x))
    x = L.LayerNormalization()(x + L.Dense(32)(L.Dense(64, "gelu")(x)))
    model = keras.Model(inputs, L.Dense(4, "softmax")(L.GlobalMaxPooling1D()(x)))
    rate = optimizers.schedules.CosineDecay(
        0.0, 224, warmup_target=5e-3, warmup_steps=112
    )
    return classifier(model, AdamW(rate)), fitting(data.topics(), 12)


@healthy("mlp regression", reaches="val_mae < 3.5")
def rate_stepped_down_by_epochs():
    def rate(epoch):
        return 1e-2 if epoch < 10 else 2e-3 if epoch < 20 else 4e-4

    model = net((13,), L.Dense(64, "relu"), L.Dense(64, "relu"), L.Dense(1))
    model.compile(Adam(), "mse", metrics=["mae"])
    change = keras.callbacks.LearningRateScheduler(rate)
    return model, fitting(data.housing(), 25, callbacks=[change])


@healthy("cnn multi-class", reaches="val_accuracy > 0.93")
def stopped_and_reduced():
    """All the usual callbacks at once; it is stopped long before the last epoch."""
    callbacks = [
        keras.callbacks.EarlyStopping(
            "val_accuracy", patience=5, restore_best_weights=True
        ),
        keras.callbacks.ReduceLROnPlateau("val_loss", factor=0.5, patience=2),
        keras.callbacks.TerminateOnNaN(),
    ]
    model = classifier(cnn(), Adam(3e-3))
    return model, fitting(data.images(), 30, callbacks=callbacks)


@healthy("mlp multi-class", reaches="val_accuracy > 0.9")
def one_huge_batch():
    split = data.digits()
    return classifier(mlp(), Adam(2e-2)), fitting(split, 60, len(split.x))


@healthy("mlp multi-class", reaches="val_accuracy > 0.85")
def one_sample_a_batch():
    return classifier(mlp(16, 4, 3), SGD(0.01)), fitting(data.iris(), 12, 1)


@healthy("cnn multi-class", reaches="val_accuracy > 0.8")
def two_samples_a_batch():
    arguments = fitting(data.images().head(400), 8, 2)
    return classifier(cnn(), SGD(0.01, momentum=0.5)), arguments


@healthy("mlp multi-class", reaches="val_accuracy > 0.93")
def endless_pipeline():
    """`repeat()` with `steps_per_epoch`, validated for some steps only."""
    split = data.digits()
    train = tf.data.Dataset.from_tensor_slices((split.x, split.y))
    train = train.cache().shuffle(1347, seed=0).repeat().batch(32).prefetch(2)
    val = tf.data.Dataset.from_tensor_slices(split.val).repeat().batch(64)
    return classifier(mlp(), Adam(3e-3)), {
        "x": train,
        "validation_data": val,
        "steps_per_epoch": 40,
        "validation_steps": 6,
        "epochs": 10,
    }


@healthy("mlp regression", reaches="loss < 12")
def generator_with_sample_weights():
    split = data.cars()

    def batches():
        rng = np.random.default_rng(0)
        while True:
            rows = rng.integers(0, len(split.x), 32)
            x, y = split.x[rows], split.y[rows]
            yield x, y[:, None], np.where(y > 25, 1.5, 1.0)

    model = net((7,), L.Dense(32, "relu"), L.Dense(32, "relu"), L.Dense(1))
    model.compile(Adam(5e-3), "mse", weighted_metrics=["mae"])
    return model, {"x": batches(), "steps_per_epoch": 20, "epochs": 15}


@healthy("cnn multi-class", reaches="val_accuracy > 0.95")
def fitted_a_second_time():
    """A second run continues the first, with the optimizer as it was."""
    model = classifier(cnn(), Adam(3e-3))
    split = data.images()
    model.fit(split.x, split.y, epochs=5, verbose=0)
    return model, fitting(split, 10, initial_epoch=5)


@healthy("cnn multi-class", reaches="val_accuracy > 0.95")
def another_optimizer_for_the_end():
    split = data.images()
    model = classifier(cnn(), Adam(3e-3))
    model.fit(split.x, split.y, epochs=6, verbose=0)
    return classifier(model, SGD(0.01, momentum=0.9)), fitting(split, 6)


@healthy("cnn multi-class", reaches="val_accuracy > 0.93")
def easy_samples_first():
    """A curriculum: clear images in the first fit, all of them in the second."""
    split = data.images()
    clear = np.argsort(split.x.std((1, 2, 3)))[len(split.x) // 2 :]
    model = classifier(cnn(), Adam(2e-3))
    model.fit(split.x[clear], split.y[clear], epochs=4, verbose=0)
    return model, fitting(split, 8)


@healthy("mlp multi-class", reaches="val_accuracy > 0.9")
def adapted_with_low_rank():
    """LoRA: the kernels of a trained model are frozen, small ones are added."""
    split = data.digits()
    old, new = split.y < 5, split.y >= 5
    inputs = keras.Input((64,))
    h = inputs
    for i in range(2):
        h = L.Dense(96, activation="relu", name=f"body_{i}")(h)
    trunk = keras.Model(inputs, h)
    before = net((64,), trunk, L.Dense(5, activation="softmax"))
    classifier(before, Adam(3e-3)).fit(split.x[old], split.y[old], epochs=8, verbose=0)
    for layer in trunk.layers[1:]:
        layer.enable_lora(8)
    model = classifier(net((64,), trunk, L.Dense(5, "softmax")), Adam(5e-3))
    val = split.val_y >= 5
    part = data.Split(
        split.x[new], split.y[new] - 5, split.val_x[val], split.val_y[val] - 5
    )
    return model, fitting(part, 12)


@healthy("cnn multi-class", reaches="val_accuracy > 0.93")
def several_steps_at_once_in_a_schedule():
    rate = optimizers.schedules.PolynomialDecay(5e-3, 420, 1e-4)
    model = classifier(cnn(), Adam(rate), steps_per_execution=10)
    return model, fitting(data.images().head(1340), 10)


@healthy("mlp multi-class", reaches="val_accuracy > 0.93")
def run_eagerly():
    model = classifier(mlp(), Adam(3e-3), run_eagerly=True)
    return model, fitting(data.digits(), 8, 64)


@healthy("mlp multi-class", reaches="val_accuracy > 0.9")
def much_regularized():
    """Decay, dropout, noise, and a penalty on activations, all of them mild."""
    l2 = keras.regularizers.L2(1e-4)
    model = net(
        (64,),
        L.GaussianNoise(0.1),
        L.Dense(96, kernel_regularizer=l2, use_bias=False),
        L.BatchNormalization(),
        L.ReLU(),
        L.Dropout(0.3),
        L.Dense(
            96, activation="relu", activity_regularizer=keras.regularizers.L1(1e-6)
        ),
        L.Dropout(0.3),
        L.Dense(
            10, activation="softmax", kernel_constraint=keras.constraints.MaxNorm(3)
        ),
    )
    return classifier(model, Adam(3e-3)), fitting(data.digits(), 14)


@healthy("mlp binary", reaches="val_accuracy > 0.9")
def validated_on_a_split():
    """`validation_split` of shuffled arrays, with class weights near one."""
    split = data.breast_cancer()
    model = net((30,), L.Dense(16, "relu"), L.Dropout(0.2), L.Dense(1, "sigmoid"))
    model.compile(Adam(3e-3), BCE, metrics=["accuracy"])
    return model, {
        "x": split.x,
        "y": split.y,
        "validation_split": 0.2,
        "epochs": 20,
        "class_weight": {0: 1.3, 1: 0.8},
    }


@healthy("mlp multi-class", reaches="val_accuracy > 0.93")
def orthogonal_and_deep_residual():
    """Ten blocks, each begun at nothing by a scale that is learned (ReZero)."""

    class Scale(L.Layer):
        def build(self, shape):
            self.alpha = self.add_weight(shape=(), initializer="zeros")

        def call(self, x):
            return self.alpha * x

    inputs = keras.Input((64,))
    x = L.Dense(48)(inputs)
    for _ in range(10):
        y = L.Dense(48, activation="relu", kernel_initializer="orthogonal")(x)
        x = x + Scale()(y)
    model = keras.Model(inputs, L.Dense(10, activation="softmax")(x))
    return classifier(model, Adam(2e-3)), fitting(data.digits(), 12)
