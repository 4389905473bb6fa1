"""Which names Keras made up, and which layers and weights have no charts."""

import keras
from keras import layers as L

from keras_babysit.inspection.layers import outline


def everything():
    tokens = keras.Input((6,))
    x = L.Embedding(10, 4)(tokens)
    x = L.LayerNormalization()(x)
    x = L.MultiHeadAttention(2, 2, name="attention")(x, x)
    x = L.GRU(3, return_sequences=True)(x)
    x = L.PReLU()(x)
    x = L.Add()([x, L.Activation("tanh")(x)])
    x = L.Bidirectional(L.LSTM(2))(L.BatchNormalization()(x))
    return keras.Model(tokens, L.Dense(2, name="dense_9")(x))


def test_minor():
    found = outline(everything())
    weights = {p for p in found.minor if p.split("/")[-1] not in found.made_up}
    assert weights == {
        "layer_normalization/gamma",
        "layer_normalization/beta",
        *(
            f"attention/{part}/bias"
            for part in ("query", "key", "value", "attention_output")
        ),
        "gru/gru_cell/bias",
        "p_re_lu/alpha",
        "batch_normalization/gamma",
        "batch_normalization/beta",
        "bidirectional/forward_lstm/lstm_cell/bias",
        "bidirectional/backward_lstm/lstm_cell/bias",
        "dense_9/bias",
        "attention",
    }
    layers = found.minor - weights
    assert {"input_layer", "layer_normalization", "add"} <= layers
    assert not layers & {"embedding", "gru", "p_re_lu", "activation", "dense_9"}


def test_names_of_later_models():
    first = outline(everything())
    assert first.made_up["forward_lstm"] == "forward_lstm"
    later = outline(everything())
    assert later.made_up["forward_lstm_1"] == "forward_lstm"
    assert later.made_up["gru_1"] == "gru"
    assert later.made_up[later.model] == "functional"
    assert sorted(first.made_up.values()) == sorted(later.made_up.values())


def test_a_name_like_keras_that_somebody_has_chosen():
    L.Dense(1)
    model = keras.Sequential(
        [keras.Input((3,)), L.Dense(2, name="dense_1"), L.Dense(2, name="dense_2")],
        name="net",
    )
    found = outline(model)
    assert {"dense_1", "dense_2", "net"} <= found.chosen
    assert not {"dense_1", "dense_2", "net"} & set(found.made_up)
