"""Healthy runs on text and other sequences of symbols."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers as L
from keras import ops
from keras.optimizers import Adam, AdamW, RMSprop

from zoo import data
from zoo.cases import fitting, healthy, net

SPARSE = "sparse_categorical_crossentropy"
LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


class TokensWithPositions(L.Layer):
    """Embeds tokens and their places, as in keras.io's transformer examples."""

    def __init__(self, length, vocabulary, width, **more):
        super().__init__(**more)
        self.tokens = L.Embedding(vocabulary, width)
        self.places = L.Embedding(length, width)

    def call(self, x):
        return self.tokens(x) + self.places(ops.arange(ops.shape(x)[-1]))


class Block(L.Layer):
    """A transformer block, normalized after each half."""

    def __init__(self, width, heads=2, causal=False, rate=0.1, **more):
        super().__init__(**more)
        self.attention = L.MultiHeadAttention(heads, width // heads)
        self.forward = net(
            (None, width), L.Dense(2 * width, activation="relu"), L.Dense(width)
        )
        self.norms = [L.LayerNormalization(epsilon=1e-6) for _ in range(2)]
        self.drops = [L.Dropout(rate) for _ in range(2)]
        self.causal = causal

    def call(self, x, training=None):
        y = self.attention(x, x, use_causal_mask=self.causal)
        x = self.norms[0](x + self.drops[0](y, training=training))
        y = self.drops[1](self.forward(x), training=training)
        return self.norms[1](x + y)


@healthy("transformer binary", reaches="val_accuracy > 0.85")
def text_classified_by_a_transformer():
    inputs = keras.Input((16,))
    x = Block(32)(TokensWithPositions(16, data.VOCABULARY, 32)(inputs))
    x = L.Dropout(0.1)(L.GlobalAveragePooling1D()(x))
    x = L.Dropout(0.1)(L.Dense(20, activation="relu")(x))
    model = keras.Model(inputs, L.Dense(2, activation="softmax")(x))
    model.compile(Adam(1e-3), SPARSE, metrics=["accuracy"])
    return model, fitting(data.reviews(2400), 8)


def grammar(rows, length=16, words=40):
    """Sentences of a language in which each word allows three successors."""
    rng = np.random.default_rng(3)
    after = rng.integers(1, words, (words, 3))
    text = np.zeros((rows, length), "int32")
    text[:, 0] = rng.integers(1, words, rows)
    for i in range(1, length):
        pick = rng.choice(3, rows, p=[0.8, 0.15, 0.05])
        text[:, i] = after[text[:, i - 1], pick]
    return text


@healthy("transformer masked", reaches="val_accuracy > 0.5")
def masked_language_model():
    """Only the masked places count, by sample weights of each token."""
    text = grammar(3000)
    rng = np.random.default_rng(0)
    hidden = rng.random(text.shape) < 0.15
    x, weights = np.where(hidden, 40, text), hidden.astype("float32")
    inputs = keras.Input((16,))
    h = TokensWithPositions(16, 41, 48)(inputs)
    for _ in range(2):
        h = Block(48, rate=0.0)(h)
    model = keras.Model(inputs, L.Dense(40)(h))
    model.compile(AdamW(3e-3), LOGITS, weighted_metrics=["accuracy"])
    return model, {
        "x": x[:2600],
        "y": text[:2600],
        "sample_weight": weights[:2600],
        "validation_data": (x[2600:], text[2600:], weights[2600:]),
        "epochs": 10,
    }


@healthy("transformer sequence", reaches="accuracy > 0.5")
def language_model_in_one_epoch():
    """Each sentence is seen once, as those who train on much text do."""
    text = grammar(12_000, 17)
    inputs = keras.Input((16,), dtype="int32")
    h = TokensWithPositions(16, 40, 48)(inputs)
    for _ in range(2):
        h = Block(48, causal=True, rate=0.0)(h)
    model = keras.Model(inputs, L.Dense(40)(h))
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, 325, warmup_target=3e-3, warmup_steps=50
    )
    optimizer = AdamW(rate, weight_decay=0.1, beta_2=0.95, clipnorm=1.0)
    model.compile(optimizer, LOGITS, metrics=["accuracy"])
    pairs = tf.data.Dataset.from_tensor_slices((text[:, :-1], text[:, 1:]))
    return model, {"x": pairs.batch(32), "epochs": 1}


def sums(rows):
    """`"12+7 "` and `"19 "` as one-hot characters, the question reversed."""
    characters = "0123456789+ "
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 100, (2, rows))
    asked = [f"{i}+{j}".ljust(5)[::-1] for i, j in zip(a, b, strict=True)]
    answered = [str(i + j).ljust(3) for i, j in zip(a, b, strict=True)]

    def coded(texts):
        ids = np.array([[characters.index(c) for c in t] for t in texts])
        return keras.utils.to_categorical(ids, len(characters))

    return coded(asked), coded(answered)


@healthy("rnn sequence", reaches="val_accuracy > 0.7")
def sums_read_and_written():
    """keras.io's addition example, of two digits."""
    x, y = sums(6000)
    model = net(
        (5, 12),
        L.LSTM(96),
        L.RepeatVector(3),
        L.LSTM(96, return_sequences=True),
        L.Dense(12, activation="softmax"),
    )
    model.compile(Adam(5e-3), "categorical_crossentropy", metrics=["accuracy"])
    split = data.Split(x[:5400], y[:5400], x[5400:], y[5400:])
    return model, fitting(split, 18, 64)


class CTC(L.Layer):
    """Adds the loss itself, as keras.io's captcha example does."""

    def call(self, labels, outputs):
        batch = tf.shape(labels)[0]
        frames = tf.fill([batch], tf.shape(outputs)[1])
        lengths = tf.fill([batch], tf.shape(labels)[1])
        loss = keras.ops.ctc_loss(labels, outputs, lengths, frames, mask_index=0)
        self.add_loss(ops.mean(loss))
        return outputs


@healthy("rnn ctc", reaches="loss < 3")
def written_numbers_read_by_ctc():
    """Four digits beside each other; the loss is added by a layer."""
    split = data.images()
    rng = np.random.default_rng(0)
    rows = rng.integers(0, len(split.x), (1500, 4))
    x = np.concatenate([split.x[rows[:, i]] for i in range(4)], axis=2)
    y = (split.y[rows] + 1).astype("int32")
    image, labels = keras.Input((8, 32, 1)), keras.Input((4,), dtype="int32")
    h = L.Conv2D(16, 3, padding="same", activation="relu")(image)
    h = L.Conv2D(32, 3, padding="same", activation="relu")(h)
    h = L.MaxPooling2D((2, 2))(h)
    h = L.Reshape((16, 128))(L.Permute((2, 1, 3))(h))
    h = L.Dense(48, activation="relu")(h)
    h = L.Bidirectional(L.LSTM(32, return_sequences=True))(h)
    model = keras.Model([image, labels], CTC()(labels, L.Dense(11)(h)))
    model.compile(Adam(5e-3))
    return model, {"x": [x, y], "epochs": 12, "batch_size": 32}


@healthy("rnn tagging", reaches="val_accuracy > 0.9")
def tags_of_padded_sentences():
    """A tag for each word; padding is masked in the loss and in the metric."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(4, 17, 1500)
    x = rng.integers(1, 100, (1500, 16)) * (np.arange(16) < lengths[:, None])
    # The tag depends on the word and on the one before it.
    before = np.concatenate([np.zeros((1500, 1), int), x[:, :-1]], axis=1)
    y = (x % 5 + 2 * (before % 2)) * (x > 0)
    model = net(
        (16,),
        L.Embedding(100, 24, mask_zero=True),
        L.Bidirectional(L.GRU(24, return_sequences=True)),
        L.Dense(7, activation="softmax"),
    )
    model.compile(Adam(1e-2), SPARSE, weighted_metrics=["accuracy"])
    split = data.Split(x[:1200], y[:1200], x[1200:], y[1200:])
    return model, fitting(split, 12)


@healthy("rnn attention", reaches="val_accuracy > 0.85")
def sequences_reversed_with_attention():
    """An encoder and a decoder that is fed with what it should have said."""
    rng = np.random.default_rng(0)
    x = rng.integers(2, 20, (3000, 6))
    y = x[:, ::-1]
    fed = np.concatenate([np.ones((3000, 1), int), y[:, :-1]], axis=1)
    source, target = keras.Input((6,)), keras.Input((6,))
    read, state = L.GRU(48, return_sequences=True, return_state=True)(
        L.Embedding(20, 24)(source)
    )
    said = L.GRU(48, return_sequences=True)(
        L.Embedding(20, 24)(target), initial_state=state
    )
    h = L.Concatenate()([said, L.Attention()([said, read])])
    model = keras.Model([source, target], L.Dense(20, activation="softmax")(h))
    model.compile(Adam(5e-3), SPARSE, metrics=["accuracy"])
    return model, {
        "x": [x[:2600], fed[:2600]],
        "y": y[:2600],
        "validation_data": ([x[2600:], fed[2600:]], y[2600:]),
        "epochs": 12,
        "batch_size": 64,
    }


@healthy("rnn sequence", reaches="loss < 1.2")
def characters_one_by_one():
    """The next character of a text after forty others, as in keras.io's oldest."""
    text = ("the quick brown fox jumps over the lazy dog and runs away . " * 40)[:1800]
    known = sorted(set(text))
    ids = np.array([known.index(c) for c in text])
    windows = np.lib.stride_tricks.sliding_window_view(ids, 41)[::3]
    x = keras.utils.to_categorical(windows[:, :40], len(known))
    y = keras.utils.to_categorical(windows[:, 40], len(known))
    model = net((40, len(known)), L.LSTM(64), L.Dense(len(known), activation="softmax"))
    model.compile(RMSprop(1e-2), "categorical_crossentropy")
    return model, {"x": x, "y": y, "epochs": 12, "batch_size": 64}


@healthy("rnn attention", reaches="val_accuracy > 0.85")
def questions_answered_from_a_memory():
    """A memory network: which place did the person that is asked for go to last?"""
    rng = np.random.default_rng(0)
    people, places = rng.integers(1, 5, (3000, 6)), rng.integers(5, 11, (3000, 6))
    asked = people[np.arange(3000), rng.integers(0, 6, 3000)][:, None]
    last = 5 - np.argmax((people == asked)[:, ::-1], axis=1)
    y = places[np.arange(3000), last] - 5
    story = np.stack([people, places], axis=2).reshape(-1, 12)
    facts, question = keras.Input((12,)), keras.Input((1,))
    embed = L.Embedding(11, 32)
    memory = L.Reshape((6, 64))(embed(facts)) + L.Embedding(6, 64)(ops.arange(6))
    query = L.Dense(64)(embed(question))
    score = L.Dot(axes=2)([L.Dense(64)(memory), query])
    match = L.Softmax(axis=1)(score)
    found = L.Flatten()(L.Dot(axes=1)([match, memory]))
    h = L.Dense(64, activation="relu")(L.Concatenate()([found, L.Flatten()(query)]))
    model = keras.Model([facts, question], L.Dense(6, activation="softmax")(h))
    model.compile(Adam(5e-3), SPARSE, metrics=["accuracy"])
    return model, {
        "x": [story[:2600], asked[:2600]],
        "y": y[:2600],
        "validation_data": ([story[2600:], asked[2600:]], y[2600:]),
        "epochs": 15,
    }


@healthy("embedding multi-class", reaches="val_accuracy > 0.9")
def raw_strings_vectorized():
    """Texts of many lengths, cut and counted by the model's own first layer."""
    rng = np.random.default_rng(0)
    words = np.array([f"word{i}" for i in range(120)])
    y = rng.integers(0, 3, 1500)
    texts = [
        " ".join(
            np.where(
                rng.random(n) < 0.4,
                words[rng.integers(0, 12, n) + 12 * c],
                words[rng.integers(36, 120, n)],
            )
        )
        for n, c in zip(rng.integers(5, 30, 1500), y, strict=True)
    ]
    x = tf.constant(texts)
    vectorize = L.TextVectorization(100, output_mode="tf_idf")
    vectorize.adapt(x[:1200])
    pairs = tf.data.Dataset.from_tensor_slices((x, y)).batch(32)
    pairs = pairs.map(lambda text, label: (vectorize(text), label)).cache()
    model = net((100,), L.Dropout(0.3), L.Dense(16, "relu"), L.Dense(3, "softmax"))
    model.compile(Adam(1e-2), SPARSE, metrics=["accuracy"])
    return model, {
        "x": pairs.take(37).shuffle(37, seed=0),
        "validation_data": pairs.skip(37),
        "epochs": 8,
    }


@healthy("embedding multi-class", reaches="val_accuracy > 0.9")
def ragged_sentences():
    """Ragged tensors become dense in the pipeline, each batch of its own length."""
    split = data.topics()
    rng = np.random.default_rng(0)

    def pipeline(x, y):
        rows = [row[: rng.integers(8, 13)] for row in x]
        pairs = tf.data.Dataset.from_tensor_slices((tf.ragged.constant(rows), y))
        pairs = pairs.shuffle(len(y), seed=1).batch(32)
        return pairs.map(lambda x, y: (x.to_tensor(), y))

    model = net(
        (None,),
        L.Embedding(data.VOCABULARY, 24, mask_zero=True),
        L.GRU(24),
        L.Dense(4, activation="softmax"),
    )
    model.compile(Adam(1e-2), SPARSE, metrics=["accuracy"])
    return model, {
        "x": pipeline(split.x, split.y),
        "validation_data": pipeline(split.val_x, split.val_y),
        "epochs": 9,
    }


@healthy("embedding binary", reaches="loss < 0.45")
def skip_grams():
    """word2vec: whether two words are neighbours, with four that are not."""
    rng = np.random.default_rng(0)
    topic = rng.integers(0, 10, 2500)
    word, near = (12 * topic + rng.integers(0, 12, 2500) for _ in range(2))
    far = rng.integers(0, 120, (2500, 4))
    target = np.repeat(word, 5)
    context = np.concatenate([near[:, None], far], axis=1).reshape(-1)
    labels = np.tile([1.0, 0, 0, 0, 0], 2500)
    a, b = keras.Input((), dtype="int32"), keras.Input((), dtype="int32")
    dot = L.Dot(axes=1)([L.Embedding(120, 16)(a), L.Embedding(120, 16)(b)])
    model = keras.Model([a, b], dot)
    model.compile(Adam(1e-2), keras.losses.BinaryCrossentropy(from_logits=True))
    arguments = {"x": [target, context], "y": labels, "epochs": 10}
    return model, {**arguments, "batch_size": 128}
