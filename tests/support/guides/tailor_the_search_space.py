"""KerasTuner's guide "Tailor the search space", restated with less data."""

import keras
import keras_tuner
import numpy as np
from keras import layers


def build_model(hp):
    model = keras.Sequential()
    model.add(layers.Flatten())
    for i in range(hp.Int("num_layers", 1, 3)):
        units = hp.Int(f"units_{i}", min_value=32, max_value=512, step=32)
        model.add(layers.Dense(units=units, activation="relu"))
    model.add(layers.Dense(10, activation="softmax"))
    learning_rate = hp.Choice("learning_rate", [1e-2, 1e-3, 1e-4])
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


x_train = np.random.rand(40, 4, 4, 1)
y_train = np.random.randint(0, 10, (40, 1))
x_val = np.random.rand(20, 4, 4, 1)
y_val = np.random.randint(0, 10, (20, 1))

# Tune a few hyperparameters only.
hp = keras_tuner.HyperParameters()
# This overrides the "learning_rate" of the model, and is all that is tuned.
hp.Float("learning_rate", min_value=1e-4, max_value=1e-2, sampling="log")
tuner = keras_tuner.RandomSearch(
    hypermodel=build_model,
    hyperparameters=hp,
    # Prevent unlisted parameters from being tuned.
    tune_new_entries=False,
    objective="val_accuracy",
    max_trials=2,
    overwrite=True,
    directory="my_dir",
    project_name="search_a_few",
)
tuner.search(x_train, y_train, epochs=1, validation_data=(x_val, y_val))
tuner.search_space_summary()
a_few = tuner

# Fix a few hyperparameters.
hp = keras_tuner.HyperParameters()
hp.Fixed("learning_rate", value=1e-4)
tuner = keras_tuner.RandomSearch(
    build_model,
    hyperparameters=hp,
    tune_new_entries=True,
    objective="val_accuracy",
    max_trials=2,
    overwrite=True,
    directory="my_dir",
    project_name="fix_a_few",
)
tuner.search(x_train, y_train, epochs=1, validation_data=(x_val, y_val))
tuner.search_space_summary()
fixed = tuner

# Override compilation arguments.
tuner = keras_tuner.RandomSearch(
    build_model,
    optimizer=keras.optimizers.Adam(1e-3),
    loss="mse",
    metrics=["sparse_categorical_crossentropy"],
    objective="val_loss",
    max_trials=2,
    overwrite=True,
    directory="my_dir",
    project_name="overriding_compile",
)
tuner.search(x_train, y_train, epochs=1, validation_data=(x_val, y_val))
overridden = tuner
