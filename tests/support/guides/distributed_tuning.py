"""KerasTuner's guide "Distributed tuning", restated with less data."""

import keras
import keras_tuner
import numpy as np
import tensorflow as tf

rng = np.random.default_rng(0)
y = rng.integers(10, size=64)
x = (rng.normal(size=(64, 8, 8, 1)) + y[:, None, None, None]).astype("float32")
x_train, y_train, x_val, y_val = x[:48], y[:48], x[48:], y[48:]


def build_model(hp):
    """Builds a convolutional model."""
    inputs = keras.Input(shape=(8, 8, 1))
    x = inputs
    for i in range(hp.Int("conv_layers", 1, 3, default=3)):
        x = keras.layers.Conv2D(
            filters=hp.Int(f"filters_{i}", 4, 32, step=4, default=8),
            kernel_size=hp.Int(f"kernel_size_{i}", 3, 5),
            activation="relu",
            padding="same",
        )(x)
        if hp.Choice(f"pooling{i}", ["max", "avg"]) == "max":
            x = keras.layers.MaxPooling2D(2)(x)
        else:
            x = keras.layers.AveragePooling2D(2)(x)
        x = keras.layers.BatchNormalization()(x)
        x = keras.layers.ReLU()(x)
    if hp.Choice("global_pooling", ["max", "avg"]) == "max":
        x = keras.layers.GlobalMaxPooling2D()(x)
    else:
        x = keras.layers.GlobalAveragePooling2D()(x)
    outputs = keras.layers.Dense(10, activation="softmax")(x)
    model = keras.Model(inputs, outputs)
    optimizer = hp.Choice("optimizer", ["adam", "sgd"])
    model.compile(
        optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    return model


tuner = keras_tuner.Hyperband(
    hypermodel=build_model,
    objective="val_accuracy",
    max_epochs=2,
    factor=3,
    hyperband_iterations=1,
    distribution_strategy=tf.distribute.MirroredStrategy(),
    directory="results_dir",
    project_name="mnist",
    overwrite=True,
)
tuner.search(
    x_train,
    y_train,
    steps_per_epoch=2,
    validation_data=(x_val, y_val),
    validation_steps=1,
    callbacks=[keras.callbacks.EarlyStopping("val_accuracy")],
)
