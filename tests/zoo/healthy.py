"""Runs with nothing wrong, of the kinds that people really have."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers as L
from keras import ops
from keras.optimizers import SGD, Adam, AdamW, RMSprop

from zoo import data
from zoo.cases import fitting, healthy, net

BCE = "binary_crossentropy"
SPARSE = "sparse_categorical_crossentropy"


def classifier(model, optimizer, loss=SPARSE, **more):
    model.compile(optimizer, loss, metrics=["accuracy"], **more)
    return model


def backbone():
    return net(
        (8, 8, 1),
        L.Conv2D(16, 3, padding="same"),
        L.BatchNormalization(momentum=0.9),
        L.ReLU(),
        L.MaxPooling2D(),
        L.Conv2D(32, 3, activation="relu"),
        L.Flatten(),
    )


def pretrained():
    """A backbone that has learned the digits below five."""
    split = data.images()
    known = split.y < 5
    base = backbone()
    model = net((8, 8, 1), base, L.Dense(5, activation="softmax"))
    model.compile(Adam(1e-2), SPARSE)
    model.fit(split.x[known], split.y[known], epochs=10, verbose=0)
    return base


def digits_above_four():
    split = data.images()
    train, val = split.y >= 5, split.val_y >= 5
    return data.Split(
        split.x[train], split.y[train] - 5, split.val_x[val], split.val_y[val] - 5
    )


@healthy("cnn transfer", reaches="val_accuracy > 0.9")
def frozen_pretrained_backbone():
    base = pretrained()
    base.trainable = False
    inputs = keras.Input((8, 8, 1))
    x = base(inputs, training=False)
    outputs = L.Dense(5, activation="softmax")(L.Dense(32, activation="relu")(x))
    model = keras.Model(inputs, outputs)
    return classifier(model, Adam(5e-3)), fitting(digits_above_four(), 12)


@healthy("cnn transfer", reaches="val_accuracy > 0.93")
def fine_tuning_at_a_low_rate():
    base = pretrained()
    base.trainable = False
    model = net((8, 8, 1), base, L.Dense(5, activation="softmax"))
    split = digits_above_four()
    classifier(model, Adam(1e-2)).fit(split.x, split.y, epochs=6, verbose=0)
    base.trainable = True
    return classifier(model, Adam(1e-3)), fitting(split, 10)


@healthy("embedding binary", reaches="val_accuracy > 0.85")
def frozen_word_vectors():
    rng = np.random.default_rng(0)
    vectors = rng.normal(scale=0.4, size=(data.VOCABULARY, 24))
    vectors[2:22] += 0.25  # What pretraining knows: alike words are close.
    vectors[22:42] -= 0.25
    embedding = L.Embedding(data.VOCABULARY, 24, trainable=False)
    model = net(
        (16,),
        embedding,
        L.GlobalAveragePooling1D(),
        L.Dense(16, activation="relu"),
        L.Dense(1, activation="sigmoid"),
    )
    embedding.set_weights([vectors])
    return classifier(model, Adam(5e-3), BCE), fitting(data.reviews(), 8)


@healthy("cnn multi-class", reaches="val_accuracy > 0.95")
def batchnorm_cnn():
    model = net(
        (8, 8, 1),
        L.Conv2D(16, 3, padding="same", use_bias=False),
        L.BatchNormalization(momentum=0.9),
        L.ReLU(),
        L.MaxPooling2D(),
        L.Conv2D(32, 3, padding="same", use_bias=False),
        L.BatchNormalization(momentum=0.9),
        L.ReLU(),
        L.GlobalAveragePooling2D(),
        L.Dense(10, activation="softmax"),
    )
    return classifier(model, Adam(1e-2)), fitting(data.images(), 8)


@healthy("cnn multi-class", reaches="val_accuracy > 0.9")
def residual_network():
    inputs = keras.Input((8, 8, 1))
    x = L.Conv2D(16, 3, padding="same", activation="relu")(inputs)
    for _ in range(2):
        y = L.Conv2D(16, 3, padding="same", use_bias=False)(x)
        y = L.ReLU()(L.BatchNormalization(momentum=0.9)(y))
        y = L.Conv2D(16, 3, padding="same", use_bias=False)(y)
        x = L.ReLU()(L.Add()([x, L.BatchNormalization(momentum=0.9)(y)]))
    outputs = L.Dense(10)(L.GlobalAveragePooling2D()(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model = classifier(keras.Model(inputs, outputs), Adam(1e-2), loss)
    return model, fitting(data.images(), 7, 64)


@healthy("transformer multi-class", reaches="val_accuracy > 0.93")
def prenorm_transformer():
    inputs = keras.Input((12,))
    x = L.Embedding(data.VOCABULARY, 16)(inputs)
    y = L.LayerNormalization()(x)
    x = x + L.MultiHeadAttention(2, 8, dropout=0.1)(y, y)
    y = L.Dense(32, activation="gelu")(L.LayerNormalization()(x))
    x = L.LayerNormalization()(x + L.Dense(16)(y))
    outputs = L.Dense(4)(L.GlobalAveragePooling1D()(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model = keras.Model(inputs, outputs)
    return classifier(model, AdamW(3e-3), loss), fitting(data.topics(), 8, 64)


@healthy("transformer sequence", reaches="val_accuracy > 0.9")
def next_token_model():
    rng = np.random.default_rng(0)
    start, stride = rng.integers(0, 20, 700), rng.integers(1, 4, 700)
    tokens = (start[:, None] + stride[:, None] * np.arange(11)) % 20
    inputs = keras.Input((9,))
    x = L.Embedding(20, 32)(inputs)
    x = x + L.Embedding(9, 32)(ops.arange(9))
    y = L.LayerNormalization()(x)
    x = x + L.MultiHeadAttention(2, 16)(y, y, use_causal_mask=True)
    y = L.Dense(64, activation="relu")(L.LayerNormalization()(x))
    x = L.LayerNormalization()(x + L.Dense(32)(y))
    model = keras.Model(inputs, L.Dense(20, activation="softmax")(x))
    # The first token's successor cannot be known: it isn't asked for.
    model = keras.Model(inputs, model.output[:, 1:])
    x, y = tokens[:, :9], tokens[:, 2:10]
    split = data.Split(x[:600], y[:600], x[600:], y[600:])
    return classifier(model, Adam(5e-3)), fitting(split, 14, 32)


@healthy("rnn binary", reaches="val_accuracy > 0.8")
def bidirectional_lstm_with_mask():
    model = net(
        (16,),
        L.Embedding(data.VOCABULARY, 16, mask_zero=True),
        L.Bidirectional(L.LSTM(8)),
        L.Dropout(0.3),
        L.Dense(1, activation="sigmoid"),
    )
    return classifier(model, Adam(8e-3), BCE), fitting(data.reviews(), 4, 64)


@healthy("rnn multi-class", reaches="val_accuracy > 0.9")
def stacked_gru():
    model = net(
        (8, 8),
        L.GRU(24, return_sequences=True),
        L.GRU(24),
        L.Dense(10, activation="softmax"),
    )
    return classifier(model, Adam(1e-2, clipnorm=1.0)), fitting(data.sequences(), 9, 64)


@healthy("rnn regression", reaches="val_loss < 0.02")
def lstm_forecast():
    model = net((16, 1), L.LSTM(24), L.Dense(1))
    model.compile(Adam(1e-2), "mse", metrics=["mae"])
    return model, fitting(data.waves(), 10)


@healthy("embedding multi-class", reaches="val_accuracy > 0.93")
def bag_of_embeddings():
    model = net(
        (12,),
        L.Embedding(data.VOCABULARY, 16),
        L.GlobalAveragePooling1D(),
        L.Dense(4, activation="softmax"),
    )
    return classifier(model, Adam(1e-2)), fitting(data.topics(), 10)


@healthy("mlp multi-class", reaches="val_accuracy > 0.85")
def one_hot_bag_of_words():
    def bag(x):
        return (x[:, :, None] == np.arange(data.VOCABULARY)).any(1).astype("float32")

    model = net(
        (data.VOCABULARY,),
        L.Dense(16, activation="relu"),
        L.Dropout(0.2),
        L.Dense(4, activation="softmax"),
    )
    return classifier(model, Adam(5e-3)), fitting(data.topics().map_x(bag), 7)


@healthy("autoencoder", reaches="val_loss < 0.42")
def autoencoder_with_binary_loss():
    x = data.digits()
    split = data.Split(x.x, x.x, x.val_x, x.val_x)
    model = net(
        (64,),
        L.Dense(32, activation="relu"),
        L.Dense(12, activation="relu"),
        L.Dense(32, activation="relu"),
        L.Dense(64, activation="sigmoid"),
    )
    model.compile(Adam(5e-3), BCE)
    return model, fitting(split, 10)


@healthy("autoencoder", reaches="val_loss < 0.05")
def convolutional_autoencoder_with_mse():
    x = data.images()
    split = data.Split(x.x, x.x, x.val_x, x.val_x)
    model = net(
        (8, 8, 1),
        L.Conv2D(16, 3, strides=2, padding="same", activation="relu"),
        L.Conv2D(8, 3, padding="same", activation="relu"),
        L.Conv2DTranspose(16, 3, strides=2, padding="same", activation="relu"),
        L.Conv2D(1, 3, padding="same", activation="sigmoid"),
    )
    model.compile(Adam(5e-3), "mse")
    return model, fitting(split, 8)


class Variational(keras.Model):
    """A variational autoencoder with a training step of its own."""

    def __init__(self):
        super().__init__()
        self.encoder = net((64,), L.Dense(32, activation="relu"), L.Dense(8))
        self.decoder = net(
            (4,), L.Dense(32, activation="relu"), L.Dense(64, activation="sigmoid")
        )
        self.seed = keras.random.SeedGenerator(1)
        self.tracker = keras.metrics.Mean("loss")

    def call(self, x):
        return self.decoder(self.encoder(x)[:, :4])

    def train_step(self, inputs):
        with tf.GradientTape() as tape:
            mean, log_var = tf.split(self.encoder(inputs), 2, axis=1)
            noise = keras.random.normal(tf.shape(mean), seed=self.seed)
            decoded = self.decoder(mean + tf.exp(0.5 * log_var) * noise)
            fit = 64 * tf.reduce_mean(keras.losses.binary_crossentropy(inputs, decoded))
            divergence = tf.square(mean) + tf.exp(log_var) - log_var - 1
            loss = fit + 0.5 * tf.reduce_mean(tf.reduce_sum(divergence, axis=1))
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply(gradients, self.trainable_variables)
        self.tracker.update_state(loss)
        return {"loss": self.tracker.result()}

    @property
    def metrics(self):
        return [self.tracker]


@healthy("custom variational", reaches="loss < 35")
def variational_autoencoder():
    model = Variational()
    model.compile(Adam(5e-3))
    return model, {"x": data.digits().x, "epochs": 8}


class Distilled(keras.Model):
    """Overrides `train_step` to learn from its own inputs with noise."""

    def __init__(self):
        super().__init__()
        self.hidden = L.Dense(64, activation="relu")
        self.out = L.Dense(10)

    def call(self, x):
        return self.out(self.hidden(x))

    def train_step(self, batch):
        x, y = batch
        with tf.GradientTape() as tape:
            logits = self(x, training=True)
            loss = self.compute_loss(x, y, logits)
            noisy = self(x + 0.1 * tf.random.stateless_normal(tf.shape(x), (1, 2)))
            loss += 0.1 * tf.reduce_mean(tf.square(noisy - logits))
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply(gradients, self.trainable_variables)
        return self.compute_metrics(x, y, logits)


@healthy("custom multi-class", reaches="val_accuracy > 0.93")
def custom_step_with_consistency():
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return classifier(Distilled(), Adam(3e-3), loss), fitting(data.digits(), 8)


class Attention(keras.Model):
    def __init__(self):
        super().__init__()
        self.embedding = L.Embedding(data.VOCABULARY, 16)
        self.score = L.Dense(1)
        self.drop = L.Dropout(0.3)
        self.out = L.Dense(4)

    def call(self, x, training=False):
        x = self.embedding(x)
        weights = ops.softmax(self.score(x), axis=1)
        return self.out(self.drop(ops.sum(weights * x, axis=1), training=training))


@healthy("subclassed multi-class", reaches="val_accuracy > 0.9")
def subclassed_attention_pooling():
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return classifier(Attention(), Adam(1e-2), loss), fitting(data.topics(), 8)


@healthy("mlp multi-output", reaches="val_digit_accuracy > 0.93")
def two_outputs():
    split = data.digits()
    inputs = keras.Input((64,))
    x = L.Dense(64, activation="relu")(inputs)
    outputs = {
        "digit": L.Dense(10, activation="softmax", name="digit")(x),
        "ink": L.Dense(1, name="ink")(x),
    }
    model = keras.Model(inputs, outputs)
    model.compile(
        Adam(3e-3),
        {"digit": SPARSE, "ink": "mse"},
        loss_weights={"digit": 1.0, "ink": 0.5},
        metrics={"digit": ["accuracy"], "ink": ["mae"]},
    )

    def targets(x, y):
        return {"digit": y, "ink": 10 * x.mean(1, keepdims=True) - 3}

    return model, {
        "x": split.x,
        "y": targets(split.x, split.y),
        "validation_data": (split.val_x, targets(split.val_x, split.val_y)),
        "epochs": 10,
    }


@healthy("mlp two inputs", reaches="val_mae < 3.2")
def wide_and_deep():
    split = data.cars()
    inputs = {"wide": keras.Input((3,)), "deep": keras.Input((4,))}
    x = L.Dense(16, activation="relu")(inputs["deep"])
    x = L.Concatenate()([inputs["wide"], L.Dense(16, activation="relu")(x)])
    model = keras.Model(inputs, L.Dense(1)(x))
    model.compile(Adam(1e-2), "mse", metrics=["mae"])

    def halves(x):
        return {"wide": x[:, 4:], "deep": x[:, :4]}

    return model, {
        "x": halves(split.x),
        "y": split.y,
        "validation_data": (halves(split.val_x), split.val_y),
        "epochs": 25,
    }


@healthy("cnn multi-label", reaches="val_binary_accuracy > 0.93")
def several_labels():
    model = net(
        (8, 8, 1),
        L.Conv2D(16, 3, activation="relu"),
        L.Flatten(),
        L.Dropout(0.2),
        L.Dense(3, activation="sigmoid"),
    )
    auc = keras.metrics.AUC(multi_label=True)
    model.compile(Adam(1e-2), BCE, metrics=["binary_accuracy", auc])
    return model, fitting(data.multi_label(image=True), 9)


def pinball(y_true, y_pred):
    error = y_true - y_pred
    quantiles = ops.convert_to_tensor([[0.1, 0.5, 0.9]])
    return ops.maximum(quantiles * error, (quantiles - 1) * error)


@healthy("mlp quantiles", reaches="val_loss < 1.2")
def quantile_regression():
    model = net((7,), L.Dense(32, activation="relu"), L.Dense(3))
    model.compile(Adam(1e-2), pinball)
    return model, fitting(data.cars().map_y(lambda y: y[:, None]), 30)


@healthy("mlp ordinal", reaches="val_binary_accuracy > 0.85")
def ordinal_regression():
    split = data.cars().map_y(
        lambda y: (y[:, None] > [16, 20, 25, 30]).astype("float32")
    )
    model = net((7,), L.Dense(16, activation="relu"), L.Dense(4, activation="sigmoid"))
    model.compile(Adam(1e-2), BCE, metrics=["binary_accuracy"])
    return model, fitting(split, 20)


@healthy("mlp regression", reaches="val_mae < 3.2")
def huber_on_house_prices():
    model = net((13,), L.Dense(32, "relu"), L.Dense(32, "relu"), L.Dense(1))
    model.compile(Adam(5e-3), keras.losses.Huber(), metrics=["mae"])
    return model, fitting(data.housing(), 20)


@healthy("mlp regression", reaches="val_mae < 3.2")
def mae_on_mileage():
    normalizer = L.Normalization()
    normalizer.adapt(data.cars(raw=True).x)
    model = net((7,), normalizer, L.Dense(64, "relu"), L.Dense(64, "relu"), L.Dense(1))
    model.compile(Adam(5e-3), "mean_absolute_error", metrics=["mae"])
    return model, fitting(data.cars(raw=True), 20)


@healthy("mlp counts", reaches="val_loss < 0.2")
def poisson_counts():
    model = net(
        (4,), L.Dense(16, activation="relu"), L.Dense(1, activation="exponential")
    )
    model.compile(Adam(5e-3), "poisson")
    return model, fitting(data.counts(), 10)


@healthy("mlp binary", reaches="val_auc > 0.75")
def weighted_rare_class():
    model = net((12,), L.Dense(32, activation="relu"), L.Dense(1, activation="sigmoid"))
    metrics = [keras.metrics.AUC(name="auc"), keras.metrics.Recall(name="recall")]
    model.compile(Adam(3e-3), BCE, metrics=metrics)
    weights = {0: 0.55, 1: 5.5}
    return model, fitting(data.rare(0.09), 7, 64, class_weight=weights)


@healthy("mlp binary", reaches="val_accuracy > 0.93")
def fraud_like_shares():
    """One class in five, told apart well, with plain accuracy."""
    split = data.digits().map_y(lambda y: (y < 2).astype("float32"))
    model = net((64,), L.Dense(32, activation="relu"), L.Dense(1, activation="sigmoid"))
    return classifier(model, Adam(2e-3), BCE), fitting(split, 7)


@healthy("mlp multi-class", reaches="val_accuracy > 0.9")
def batches_of_four():
    model = net((4,), L.Dense(16, activation="relu"), L.Dense(3, activation="softmax"))
    return classifier(model, SGD(0.02, momentum=0.9)), fitting(data.iris(), 10, 4)


@healthy("mlp multi-class", reaches="val_accuracy > 0.9")
def full_batch():
    model = net((13,), L.Dense(16, activation="tanh"), L.Dense(3, activation="softmax"))
    return classifier(model, Adam(2e-2)), fitting(data.wine(), 60, 133)


class WarmUpCosine(keras.optimizers.schedules.LearningRateSchedule):
    def __init__(self, peak, warm_up, total):
        self.cosine = keras.optimizers.schedules.CosineDecay(
            0.0, total - warm_up, warmup_target=peak, warmup_steps=warm_up
        )

    def __call__(self, step):
        return self.cosine(step)


@healthy("cnn multi-class", reaches="val_accuracy > 0.93")
def warm_up_and_cosine():
    model = net(
        (8, 8, 1),
        L.Conv2D(16, 3, activation="relu"),
        L.MaxPooling2D(),
        L.Flatten(),
        L.Dense(32, activation="relu"),
        L.Dense(10, activation="softmax"),
    )
    optimizer = SGD(WarmUpCosine(0.1, 40, 344), momentum=0.9, nesterov=True)
    return classifier(model, optimizer), fitting(data.images(), 8)


@healthy("mlp regression", reaches="val_loss < 0.7")
def stops_early():
    model = net((10,), L.Dense(32, activation="relu"), L.Dense(1))
    model.compile(Adam(5e-3), "mse")
    stop = keras.callbacks.EarlyStopping(patience=4, restore_best_weights=True)
    return model, fitting(data.diabetes(), 40, callbacks=[stop])


@healthy("mlp multi-class", reaches="val_accuracy > 0.93")
def rate_reduced_on_plateau():
    model = net(
        (64,), L.Dense(64, activation="relu"), L.Dense(10, activation="softmax")
    )
    reduce = keras.callbacks.ReduceLROnPlateau(factor=0.3, patience=2, min_lr=1e-5)
    arguments = fitting(data.digits(), 12, 64, callbacks=[reduce])
    return classifier(model, Adam(1e-2)), arguments


@healthy("cnn multi-class", reaches="val_accuracy > 0.93")
def mixed_precision():
    def policy(layer, *args, dtype="mixed_float16", **kwargs):
        return layer(*args, dtype=dtype, **kwargs)

    model = net(
        (8, 8, 1),
        policy(L.Conv2D, 16, 3, activation="relu"),
        policy(L.Flatten),
        policy(L.Dense, 32, activation="relu"),
        policy(L.Dense, 10, activation="softmax", dtype="float32"),
    )
    optimizer = keras.optimizers.LossScaleOptimizer(Adam(3e-3), initial_scale=2.0**12)
    return classifier(model, optimizer), fitting(data.images(), 6)


@healthy("mlp multi-class", reaches="val_accuracy > 0.93")
def compiled_with_xla():
    model = net(
        (64,), L.Dense(32, activation="relu"), L.Dense(10, activation="softmax")
    )
    model = classifier(model, Adam(5e-3), jit_compile=True)
    split = data.digits()
    return model, fitting(split.head(1344), 8)


@healthy("mlp multi-class", reaches="val_accuracy > 0.93")
def several_steps_per_execution():
    model = net(
        (64,), L.Dense(64, activation="relu"), L.Dense(10, activation="softmax")
    )
    model = classifier(model, Adam(5e-3), steps_per_execution=7)
    return model, fitting(data.digits(), 8)


@healthy("mlp multi-class", reaches="val_accuracy > 0.93")
def accumulated_gradients():
    model = net(
        (64,), L.Dense(64, activation="relu"), L.Dense(10, activation="softmax")
    )
    optimizer = Adam(1e-2, gradient_accumulation_steps=4)
    return classifier(model, optimizer), fitting(data.digits(), 9, 16)


@healthy("cnn multi-class", reaches="val_accuracy > 0.85")
def augmented_images():
    model = net(
        (8, 8, 1),
        L.RandomTranslation(0.1, 0.1, fill_mode="constant"),
        L.RandomRotation(0.05),
        L.Conv2D(24, 3, activation="relu"),
        L.Conv2D(24, 3, activation="relu"),
        L.MaxPooling2D(),
        L.Flatten(),
        L.Dense(10, activation="softmax"),
    )
    return classifier(model, Adam(5e-3)), fitting(data.images(), 10, 64)


@healthy("mlp multi-class", reaches="val_accuracy > 0.9")
def dropout_of_one_half():
    model = net(
        (64,),
        L.Dropout(0.2),
        L.Dense(128, activation="relu"),
        L.Dropout(0.5),
        L.Dense(128, activation="relu"),
        L.Dropout(0.5),
        L.Dense(10, activation="softmax"),
    )
    return classifier(model, Adam(3e-3)), fitting(data.digits(), 10)


@healthy("mlp multi-class", reaches="val_accuracy > 0.93")
def smoothed_labels():
    model = net(
        (64,), L.Dense(64, activation="relu"), L.Dense(10, activation="softmax")
    )
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=0.1)
    model = classifier(model, Adam(3e-3), loss)
    return model, fitting(data.digits().one_hot(10), 9)


@healthy("mlp binary", reaches="val_loss < 0.25")
def hinge_with_tanh():
    split = data.moons().map_y(lambda y: 2.0 * y - 1)
    model = net((2,), L.Dense(32, activation="relu"), L.Dense(1, activation="tanh"))
    model.compile(Adam(1e-2), "hinge")
    return model, fitting(split, 14)


@healthy("linear binary", reaches="val_loss < 0.25")
def support_vector_machine():
    split = data.breast_cancer().map_y(lambda y: 2.0 * y - 1)
    l2 = keras.regularizers.L2(1e-3)
    model = net((30,), L.Dense(1, kernel_regularizer=l2))
    model.compile(SGD(0.02), "squared_hinge")
    return model, fitting(split, 20)


@healthy("mlp embedding", reaches="val_loss < -0.85")
def cosine_similarity():
    split = data.digits()
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(10, 16)).astype("float32")
    model = net((64,), L.Dense(64, activation="relu"), L.Dense(16))
    model.compile(Adam(5e-3), keras.losses.CosineSimilarity())
    return model, fitting(split.map_y(lambda y: vectors[y]), 8)


@healthy("linear binary", reaches="val_accuracy > 0.93")
def logistic_regression():
    model = net((30,), L.Dense(1, activation="sigmoid"))
    return classifier(model, Adam(1e-2), BCE), fitting(data.breast_cancer(), 20)


@healthy("linear regression", reaches="val_loss < 0.7")
def linear_regression():
    model = net((10,), L.Dense(1))
    model.compile(SGD(0.02), "mse", metrics=["mae"])
    return model, fitting(data.diabetes(), 18)


@healthy("cnn multi-class", reaches="val_accuracy > 0.93")
def tf_data_pipeline():
    split = data.images(raw=True)
    train = tf.data.Dataset.from_tensor_slices((split.x, split.y))
    train = train.shuffle(1500, seed=0).batch(32)
    train = train.map(lambda x, y: (x / 16.0, y)).prefetch(2)
    val = tf.data.Dataset.from_tensor_slices((split.val_x / 16, split.val_y)).batch(64)
    model = net(
        (8, 8, 1),
        L.Conv2D(16, 3, activation="relu"),
        L.Flatten(),
        L.Dense(10, activation="softmax"),
    )
    model = classifier(model, Adam(5e-3))
    return model, {"x": train, "validation_data": val, "epochs": 8}


@healthy("mlp binary", reaches="val_accuracy > 0.93")
def endless_generator():
    split = data.moons()

    def batches():
        rng = np.random.default_rng(0)
        while True:
            rows = rng.integers(0, len(split.x), 32)
            yield split.x[rows], split.y[rows]

    model = net((2,), L.Dense(32, activation="relu"), L.Dense(1, activation="sigmoid"))
    model = classifier(model, Adam(1e-2), BCE)
    arguments = {"x": batches(), "validation_data": split.val, "epochs": 10}
    return model, {**arguments, "steps_per_epoch": 25}


class Batches(keras.utils.PyDataset):
    def __init__(self, split, size):
        super().__init__()
        self.split, self.size = split, size

    def __len__(self):
        return len(self.split.x) // self.size

    def __getitem__(self, index):
        rows = slice(index * self.size, (index + 1) * self.size)
        return self.split.x[rows], self.split.y[rows]


@healthy("rnn multi-class", reaches="val_accuracy > 0.85")
def py_dataset_of_sequences():
    split = data.sequences()
    model = net((8, 8), L.LSTM(32), L.Dense(10, activation="softmax"))
    model = classifier(model, Adam(1e-2))
    return model, {
        "x": Batches(split, 48),
        "validation_data": split.val,
        "epochs": 9,
    }


@healthy("cnn multi-class", reaches="val_accuracy > 0.9")
def global_pooling_without_dense():
    model = net(
        (8, 8, 1),
        L.Conv2D(32, 3, padding="same", activation="relu"),
        L.MaxPooling2D(),
        L.Conv2D(32, 3, padding="same", activation="relu"),
        L.Conv2D(10, 1),
        L.GlobalAveragePooling2D(),
        L.Softmax(),
    )
    return classifier(model, Adam(1e-2)), fitting(data.images(), 9, 64)


@healthy("cnn multi-class", reaches="val_accuracy > 0.88")
def rescaling_layer():
    model = net(
        (28, 28, 1),
        L.Rescaling(1 / 255),
        L.Conv2D(8, 3, strides=2, activation="relu"),
        L.MaxPooling2D(),
        L.Flatten(),
        L.Dense(32, activation="relu"),
        L.Dropout(0.2),
        L.Dense(10, activation="softmax"),
    )
    arguments = fitting(data.mnist_images(raw=True), 8, 64)
    return classifier(model, Adam(5e-3)), arguments


@healthy("mlp binary", reaches="val_accuracy > 0.93")
def batchnorm_for_raw_inputs():
    """Raw columns, but the first layer normalizes them."""
    model = net(
        (30,),
        L.BatchNormalization(momentum=0.9),
        L.Dense(16, activation="relu"),
        L.Dense(1, activation="sigmoid"),
    )
    return classifier(model, Adam(5e-3), BCE), fitting(data.breast_cancer(raw=True), 25)


@healthy("mlp multi-class", reaches="val_accuracy > 0.9")
def self_normalizing():
    hidden = [
        L.Dense(48, activation="selu", kernel_initializer="lecun_normal")
        for _ in range(5)
    ]
    model = net((64,), *hidden, L.AlphaDropout(0.05), L.Dense(10, "softmax"))
    return classifier(model, SGD(0.02, momentum=0.9)), fitting(data.digits(), 8)


@healthy("mlp multi-class", reaches="val_accuracy > 0.9")
def elu_and_gelu():
    model = net(
        (2,),
        L.Dense(64, activation="elu"),
        L.Dense(64, activation="gelu"),
        L.Dense(3, activation="softmax"),
    )
    return classifier(model, Adam(1e-2)), fitting(data.spirals(), 15)


@healthy("cnn multi-class", reaches="val_accuracy > 0.93")
def parametric_relus():
    model = net(
        (8, 8, 1),
        L.Conv2D(16, 3),
        L.PReLU(shared_axes=[1, 2]),
        L.Flatten(),
        L.Dense(32),
        L.LeakyReLU(negative_slope=0.1),
        L.Dense(10, activation="softmax"),
    )
    return classifier(model, RMSprop(3e-3)), fitting(data.images(), 8)


@healthy("mlp multi-class", reaches="val_accuracy > 0.9")
def two_sigmoid_layers():
    """Old-fashioned, shallow, and works."""
    model = net(
        (64,),
        L.Dense(64, activation="sigmoid"),
        L.Dense(32, activation="sigmoid"),
        L.Dense(10, activation="softmax"),
    )
    return classifier(model, Adam(1e-2)), fitting(data.digits(), 9)


@healthy("mlp binary", reaches="val_accuracy > 0.93")
def two_classes_by_softmax():
    model = net((2,), L.Dense(32, activation="relu"), L.Dense(2, activation="softmax"))
    return classifier(model, Adam(1e-2)), fitting(data.moons(), 14)


@healthy("mlp regression", reaches="val_loss < 0.02")
def sigmoid_output_for_scaled_targets():
    """Targets scaled to 0..1, as `MinMaxScaler` does."""
    split = data.housing().map_y(lambda y: (y - 5) / 45)
    model = net((13,), L.Dense(32, activation="relu"), L.Dense(1, activation="sigmoid"))
    model.compile(Adam(5e-3), "mse", metrics=["mae"])
    return model, fitting(split, 18)


@healthy("mlp regression", reaches="val_mae < 3.5")
def softplus_output_for_prices():
    model = net((13,), L.Dense(32, "relu"), L.Dense(1, activation="softplus"))
    model.compile(Adam(1e-2), "mse", metrics=["mae"])
    return model, fitting(data.housing(), 20)


@healthy("mlp binary", reaches="val_accuracy > 0.8")
def noisy_labels():
    """The best possible accuracy is about 0.86."""
    model = net((2,), L.Dense(16, activation="relu"), L.Dense(1, activation="sigmoid"))
    return classifier(model, Adam(1e-2), BCE), fitting(data.moons(noise=0.4), 10)


@healthy("cnn sequence", reaches="val_accuracy > 0.93")
def convolutions_over_text():
    model = net(
        (12,),
        L.Embedding(data.VOCABULARY, 16),
        L.Conv1D(32, 3, padding="same", activation="relu"),
        L.GlobalMaxPooling1D(),
        L.Dropout(0.2),
        L.Dense(4, activation="softmax"),
    )
    return classifier(model, Adam(5e-3)), fitting(data.topics(), 7)


@healthy("cnn separable", reaches="val_accuracy > 0.9")
def depthwise_and_squeeze():
    inputs = keras.Input((8, 8, 1))
    x = L.Conv2D(16, 3, padding="same", activation="swish")(inputs)
    x = L.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    x = L.Activation("swish")(L.BatchNormalization(momentum=0.9)(x))
    s = L.Dense(4, activation="relu")(L.GlobalAveragePooling2D()(x))
    s = L.Reshape((1, 1, 16))(L.Dense(16, activation="sigmoid")(s))
    x = L.SeparableConv2D(32, 3, activation="swish")(L.Multiply()([x, s]))
    outputs = L.Dense(10, activation="softmax")(L.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, outputs)
    return classifier(model, Adam(1e-2)), fitting(data.images(), 8, 64)


@healthy("mlp contrastive", reaches="val_accuracy > 0.85")
def siamese_pairs():
    split = data.digits()
    rng = np.random.default_rng(0)

    def pairs(x, y, count):
        first = rng.integers(0, len(x), count)
        second = rng.integers(0, len(x), count)
        alike = [rng.choice(np.flatnonzero(y == y[i])) for i in first[: count // 2]]
        second[: count // 2] = alike
        same = (y[first] == y[second]).astype("float32")
        return [x[first], x[second]], same

    shared = net((64,), L.Dense(64, activation="relu"), L.Dense(16))
    a, b = keras.Input((64,)), keras.Input((64,))
    gap = ops.square(shared(a) - shared(b))
    model = keras.Model([a, b], L.Dense(1, activation="sigmoid")(gap))
    x, y = pairs(split.x, split.y, 1600)
    validation = pairs(split.val_x, split.val_y, 400)
    model = classifier(model, Adam(5e-3), BCE)
    arguments = {"x": x, "y": y, "validation_data": validation}
    return model, {**arguments, "epochs": 7}


@healthy("mlp multi-class", reaches="accuracy > 0.95")
def without_validation_data():
    split = data.digits()
    model = net(
        (64,), L.Dense(64, activation="relu"), L.Dense(10, activation="softmax")
    )
    model = classifier(model, Adam(3e-3))
    return model, {"x": split.x, "y": split.y, "epochs": 9}


@healthy("mlp multi-class", reaches="val_accuracy > 0.93")
def lion_and_weight_average():
    model = net(
        (64,), L.Dense(64, activation="relu"), L.Dense(10, activation="softmax")
    )
    optimizer = keras.optimizers.Lion(1e-3, weight_decay=0.01, use_ema=True)
    return classifier(model, optimizer), fitting(data.digits(), 9)
