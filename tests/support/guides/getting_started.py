"""KerasTuner's guide "Getting started", restated with less data and fewer trials."""

import os

import keras
import keras_tuner
import numpy as np
from keras import layers

# Tune the model architecture.


def build_model(hp):
    model = keras.Sequential()
    model.add(layers.Flatten())
    for i in range(hp.Int("num_layers", 1, 3)):
        model.add(
            layers.Dense(
                units=hp.Int(f"units_{i}", min_value=32, max_value=512, step=32),
                activation=hp.Choice("activation", ["relu", "tanh"]),
            )
        )
    if hp.Boolean("dropout"):
        model.add(layers.Dropout(rate=0.25))
    model.add(layers.Dense(10, activation="softmax"))
    learning_rate = hp.Float("lr", min_value=1e-4, max_value=1e-2, sampling="log")
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate=learning_rate),
        loss="categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


build_model(keras_tuner.HyperParameters())

tuner = keras_tuner.RandomSearch(
    hypermodel=build_model,
    objective="val_accuracy",
    max_trials=2,
    executions_per_trial=2,
    overwrite=True,
    directory="my_dir",
    project_name="helloworld",
)
tuner.search_space_summary()

rng = np.random.default_rng(0)
y_train = rng.integers(10, size=64)
x_train = rng.normal(size=(64, 4, 4)).astype("float32") + y_train[:, None, None]
y_train = keras.utils.to_categorical(y_train, 10)
x_train, x_val, y_train, y_val = x_train[:48], x_train[48:], y_train[:48], y_train[48:]

tuner.search(x_train, y_train, epochs=2, validation_data=(x_val, y_val))
models = tuner.get_best_models(num_models=2)
best_model = models[0]
best_model.summary()
tuner.results_summary()

# Retrain the model.
best_hps = tuner.get_best_hyperparameters(5)
model = build_model(best_hps[0])
x_all = np.concatenate((x_train, x_val))
y_all = np.concatenate((y_train, y_val))
model.fit(x=x_all, y=y_all, epochs=1, verbose=0)

# Tune model training and data preprocessing.


class MyHyperModel(keras_tuner.HyperModel):
    def build(self, hp):
        model = keras.Sequential([layers.Flatten()])
        units = hp.Int("units", min_value=32, max_value=512, step=32)
        model.add(layers.Dense(units=units, activation="relu"))
        model.add(layers.Dense(10, activation="softmax"))
        model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
        return model

    def fit(self, hp, model, x, y, **kwargs):
        if hp.Boolean("normalize"):
            x = layers.Normalization()(x)
        return model.fit(x, y, shuffle=hp.Boolean("shuffle"), **kwargs)


tuner = keras_tuner.RandomSearch(
    MyHyperModel(),
    objective="val_accuracy",
    max_trials=1,
    overwrite=True,
    directory="my_dir",
    project_name="tune_hypermodel",
)
tuner.search(x_train, y_train, epochs=2, validation_data=(x_val, y_val))
hypermodel = MyHyperModel()
best_hp = tuner.get_best_hyperparameters()[0]
model = hypermodel.build(best_hp)
hypermodel.fit(best_hp, model, x_all, y_all, epochs=1, verbose=0)

# Specify the tuning objective.


def build_regressor(hp):
    model = keras.Sequential(
        [
            layers.Dense(units=hp.Int("units", 32, 128, 32), activation="relu"),
            layers.Dense(units=1),
        ]
    )
    model.compile("adam", "mean_squared_error", metrics=["mean_absolute_error"])
    return model


x_regression = rng.normal(size=(32, 5)).astype("float32")
y_regression = x_regression[:, :1]

tuner = keras_tuner.RandomSearch(
    hypermodel=build_regressor,
    objective=keras_tuner.Objective("val_mean_absolute_error", direction="min"),
    max_trials=1,
    overwrite=True,
    directory="my_dir",
    project_name="built_in_metrics",
)
tuner.search(
    x=x_regression,
    y=y_regression,
    epochs=1,
    validation_data=(x_regression, y_regression),
)
tuner.results_summary()


class HyperRegressor(keras_tuner.HyperModel):
    def build(self, hp):
        return build_regressor(hp)

    def fit(self, hp, model, x, y, validation_data, **kwargs):
        model.fit(x, y, **kwargs)
        x_val, y_val = validation_data
        # Return a single float to minimize.
        return np.mean(np.abs(model.predict(x_val, verbose=0) - y_val))


tuner = keras_tuner.RandomSearch(
    hypermodel=HyperRegressor(),
    # No objective to specify: it is the return value of `HyperModel.fit()`.
    max_trials=1,
    overwrite=True,
    directory="my_dir",
    project_name="custom_eval",
)
tuner.search(x_regression, y_regression, validation_data=(x_regression, y_regression))
tuner.results_summary()


class TwoMetrics(HyperRegressor):
    def fit(self, hp, model, x, y, validation_data, **kwargs):
        error = super().fit(hp, model, x, y, validation_data, **kwargs)
        return {"metric_a": -error, "metric_b": error**2}


tuner = keras_tuner.RandomSearch(
    hypermodel=TwoMetrics(),
    objective=keras_tuner.Objective("metric_a", "max"),
    max_trials=1,
    overwrite=True,
    directory="my_dir",
    project_name="custom_eval_dict",
)
tuner.search(x_regression, y_regression, validation_data=(x_regression, y_regression))

# Tune end-to-end workflows.


class Quadratic(keras_tuner.RandomSearch):
    def run_trial(self, trial, *args, **kwargs):
        hp = trial.hyperparameters
        x = hp.Float("x", min_value=-1.0, max_value=1.0)
        return x * x + 1


tuner = Quadratic(
    # No hypermodel or objective specified.
    max_trials=10,
    overwrite=True,
    directory="my_dir",
    project_name="tune_anything",
)
tuner.search()
best_x = tuner.get_best_hyperparameters()[0].get("x")

# Keep Keras code separate.


def keras_code(units, optimizer, saving_path):
    model = keras.Sequential(
        [layers.Dense(units=units, activation="relu"), layers.Dense(units=1)]
    )
    model.compile(optimizer=optimizer, loss="mean_squared_error")
    model.fit(x_regression, y_regression, verbose=0)
    model.save(saving_path)
    y_pred = model.predict(x_regression, verbose=0)
    return np.mean(np.abs(y_pred - y_regression))


class KeptApart(keras_tuner.RandomSearch):
    def run_trial(self, trial, **kwargs):
        hp = trial.hyperparameters
        return keras_code(
            units=hp.Int("units", 32, 128, 32),
            optimizer=hp.Choice("optimizer", ["adam", "adadelta"]),
            saving_path=os.path.join("my_dir", f"{trial.trial_id}.keras"),
        )


tuner = KeptApart(
    max_trials=1,
    overwrite=True,
    directory="my_dir",
    project_name="keep_code_separate",
)
tuner.search()
best_hp = tuner.get_best_hyperparameters()[0]
kept_apart = keras_code(**best_hp.values, saving_path="my_dir/best_model.keras")
