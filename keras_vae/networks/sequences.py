"""Networks over a sequence whose features at a place see the places up to it."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_vae.arguments import fraction, whole_number
from keras_vae.networks.attention import MaskedAttention
from keras_vae.networks.dropout import Dropout
from keras_vae.serializable import Serializable


class CausalSequence(Serializable, keras.layers.Layer):
    """Features at each place of a sequence, functions of the inputs at that place and before it.

    One network used in two ways: `call` takes a whole sequence, for a density; `start` and `step` go from place to
    place, for draws, and keep what they have computed. What a step needs of the context is made once, by `prepare`.

    A context is a vector for each sequence, shape (batch, size), which all places see, or a memory to look at, the
    features of another sequence, shape (batch, places, size): the last of them says how far the place is there, from
    0 to 1, as `TokenMemory` gives it.

    Args:
        units: of the features.
        dropout: rate, in training, of the inputs and the features.
        **kwargs: `name`, `trainable` and `dtype` of a Keras layer.
    """

    def __init__(self, units: int = 128, dropout: float = 0.0, **kwargs):
        super().__init__(**kwargs)
        self.units = whole_number(self, "units", units)
        self.dropout = fraction(self, "dropout", dropout)
        self.drop = Dropout(self.dropout, dtype=self.dtype_policy)

    def call(self, inputs, context=None, training=False) -> tf.Tensor:
        """The features of sequences, shape (batch, length, units).

        Args:
            inputs: shape (batch, length, width).
            context: what the layer was built for.
            training: whether features are dropped.
        """
        raise NotImplementedError(f"{type(self).__name__} needs a method call(self, inputs, context, training).")

    def prepare(self, context=None) -> Any:
        """What `start` and `step` take of a context, or of none."""
        raise NotImplementedError(f"{type(self).__name__} needs a method prepare(self, context).")

    def start(self, number, prepared) -> Any:
        """What `step` keeps before the first place: tensors whose first axis has `number` sequences."""
        raise NotImplementedError(f"{type(self).__name__} needs a method start(self, number, prepared).")

    def step(self, inputs, state, place, prepared) -> tuple[tf.Tensor, Any]:
        """The features of one place, shape (batch, units), and what is kept for the next one.

        Args:
            inputs: shape (batch, width).
            state: what the place before has kept.
            place: its number, an integer or an integer scalar tensor.
            prepared: see `prepare`.
        """
        raise NotImplementedError(f"{type(self).__name__} needs a method step(self, inputs, state, place, prepared).")

    def compute_output_shape(self, inputs_shape, context_shape=None) -> tuple:
        """(batch, length, units)."""
        return (*inputs_shape[:-1], self.units)


class CausalLSTM(CausalSequence):
    """A long short-term memory (Hochreiter & Schmidhuber 1997), Keras's.

    A vector as the context is one more input of each place, and what the states begin with. Of a memory to look at,
    they begin with the mean; each place then looks at it by its features (Luong et al. 2015, arXiv:1508.04025).
    """

    def build(self, inputs_shape, context_shape=None):
        """Creates the weights for inputs of shape (batch, length, width)."""
        options = {"dtype": self.dtype_policy}
        self.lstm = keras.layers.LSTM(self.units, return_sequences=True, **options)
        width = inputs_shape[-1]
        if context_shape is not None:
            self.looks = len(context_shape) == 3
            size = context_shape[-1] - self.looks
            self.begin = keras.layers.Dense(2 * self.units, "tanh", **options)
            self.begin.build((None, size))
            if self.looks:
                self.attention = MaskedAttention(self.units, **options)
                self.attention.build((None, None, self.units), (None, None, size))
                self.merge = keras.layers.Dense(self.units, "tanh", **options)
                self.merge.build((None, None, 2 * self.units))
            else:
                width += size
        self.lstm.build((None, inputs_shape[1], width))

    def call(self, inputs, context=None, training=False):
        inputs = self.drop(inputs, training=training)
        if context is not None and not self.looks:
            every = tf.repeat(context[:, tf.newaxis], inputs.shape[1], axis=1)
            inputs = tf.concat([inputs, tf.cast(every, inputs.dtype)], axis=-1)
        start = self.start(tf.shape(inputs)[0], context if context is None else {"begin": self._begin(context)})
        features = self.lstm(inputs, initial_state=start)
        if context is not None and self.looks:
            memory, presence = split_presence(context)
            features = self._merged(features, self.attention(features, memory, presence))
        return self.drop(features, training=training)

    def _begin(self, context) -> list[tf.Tensor]:
        """What the states begin with."""
        if not self.looks:
            return tf.split(self.begin(context), 2, axis=-1)
        memory, presence = split_presence(context)
        there = tf.cast(presence[:, 0, :, tf.newaxis], memory.dtype)
        mean = tf.math.divide_no_nan(tf.reduce_sum(there * memory, axis=1), tf.reduce_sum(there, axis=1))
        return tf.split(self.begin(mean), 2, axis=-1)

    def prepare(self, context=None):
        if context is None:
            return None
        prepared = {"begin": self._begin(context)}
        if not self.looks:
            return prepared | {"every": tf.cast(context, self.compute_dtype)}
        memory, presence = split_presence(context)
        return prepared | {"memory": self.attention.keys_and_values(memory), "presence": presence}

    def start(self, number, prepared):
        return [tf.zeros([number, self.units], self.compute_dtype)] * 2 if prepared is None else prepared["begin"]

    def step(self, inputs, state, place, prepared):
        inputs = tf.cast(inputs, self.compute_dtype)
        if prepared is not None and not self.looks:
            inputs = tf.concat([inputs, prepared["every"]], axis=-1)
        features, state = self.lstm.cell(inputs, state)
        if prepared is not None and self.looks:
            one = features[:, tf.newaxis]
            found = self.attention.found(one, prepared["memory"], prepared["presence"])
            features = self._merged(one, found)[:, 0]
        return features, list(state)

    def _merged(self, features, found):
        return self.merge(tf.concat([features, found], axis=-1))


class CausalTransformer(CausalSequence):
    """Blocks of attention to the places up to each one, and of two dense layers, each with a norm before it.

    A vector as the context is added to all places; at a memory each block looks by an attention of its own.

    Args:
        units: of the features; `heads` divide them.
        blocks: number of blocks.
        heads: of each attention.
        dropout: rate, in training, of what each part of a block adds.
        **kwargs: `name`, `trainable` and `dtype` of a Keras layer.

    Reference: Vaswani et al. 2017, arXiv:1706.03762; norms first: Xiong et al. 2020, arXiv:2002.04745.
    """

    def __init__(self, units: int = 128, blocks: int = 2, heads: int = 4, dropout: float = 0.0, **kwargs):
        super().__init__(units, dropout, **kwargs)
        self.blocks = whole_number(self, "blocks", blocks)
        self.heads = whole_number(self, "heads", heads)

    def build(self, inputs_shape, context_shape=None):
        """Creates the weights for inputs of shape (batch, length, width), of a fixed length."""
        options = {"dtype": self.dtype_policy}
        self.length, places = inputs_shape[1], (None, inputs_shape[1], self.units)
        self.looks = context_shape is not None and len(context_shape) == 3
        self.first = _built(keras.layers.Dense(self.units, **options), inputs_shape)
        self.positions = self.add_weight(
            shape=(self.length, self.units), initializer=keras.initializers.RandomNormal(stddev=0.02), name="positions"
        )
        if context_shape is not None and not self.looks:
            self.given = _built(keras.layers.Dense(self.units, use_bias=False, **options), tuple(context_shape))
        self.parts = []
        for _ in range(self.blocks):
            block = {"itself": MaskedAttention(self.units, self.heads, **options)}
            block["itself"].build(places, places)
            if self.looks:
                block["memory"] = MaskedAttention(self.units, self.heads, **options)
                block["memory"].build(places, (None, None, context_shape[-1] - 1))
            block |= {f"norm_{name}": _built(keras.layers.LayerNormalization(**options), places) for name in block}
            block["norm"] = _built(keras.layers.LayerNormalization(**options), places)
            block["wide"] = _built(keras.layers.Dense(4 * self.units, "gelu", **options), places)
            block["narrow"] = _built(keras.layers.Dense(self.units, **options), (*places[:2], 4 * self.units))
            self.parts.append(block)
        self.last = _built(keras.layers.LayerNormalization(**options), places)

    def call(self, inputs, context=None, training=False):
        features = self.first(inputs) + tf.cast(tf.convert_to_tensor(self.positions), self.compute_dtype)
        memory = presence = None
        if self.looks:
            memory, presence = split_presence(context)
        elif context is not None:
            features += self.given(context)[:, tf.newaxis]
        places = tf.range(self.length)
        before = (places <= places[:, tf.newaxis])[tf.newaxis]
        for block in self.parts:
            normed = block["norm_itself"](features)
            features += self.drop(block["itself"](normed, normed, before), training=training)
            if memory is not None:
                normed = block["norm_memory"](features)
                features += self.drop(block["memory"](normed, memory, presence), training=training)
            features += self.drop(self._dense(block, features), training=training)
        return self.last(features)

    def _dense(self, block, features):
        return block["narrow"](block["wide"](block["norm"](features)))

    def prepare(self, context=None):
        if context is None:
            return None
        if not self.looks:
            return self.given(context)[:, tf.newaxis]
        memory, presence = split_presence(context)
        return [block["memory"].keys_and_values(memory) for block in self.parts], presence

    def start(self, number, prepared):
        shape = [number, self.heads, self.length, self.units // self.heads]
        return [[tf.zeros(shape, self.compute_dtype)] * 2 for _ in range(self.blocks)]

    def step(self, inputs, state, place, prepared):
        now = tf.cast(inputs, self.compute_dtype)[:, tf.newaxis]
        features = self.first(now) + tf.cast(tf.gather(tf.convert_to_tensor(self.positions), place), self.compute_dtype)
        if prepared is not None and not self.looks:
            features += prepared
        places, kept = tf.range(self.length), []
        before, here = (places <= place)[tf.newaxis, tf.newaxis], (places == place)[:, tf.newaxis]
        for number, block in enumerate(self.parts):
            normed = block["norm_itself"](features)
            new = block["itself"].keys_and_values(normed)
            kept.append([tf.where(here, one, other) for one, other in zip(new, state[number], strict=True)])
            features += block["itself"].found(normed, kept[-1], before)
            if self.looks:
                memories, presence = prepared
                features += block["memory"].found(block["norm_memory"](features), memories[number], presence)
            features += self._dense(block, features)
        return self.last(features)[:, 0], kept


def split_presence(memory: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Features of a memory, shape (batch, places, size), and how far its places are there, (batch, 1, places)."""
    return memory[..., :-1], memory[:, tf.newaxis, :, -1]


class Presence(Serializable, keras.layers.Layer):
    """What says how far each token is there: 1 for tokens up to the first 0, and 0 after it.

    `call(tokens)`, shape (batch, length), gives float32 of shape (batch, length, 1): whole numbers are tokens; rows of
    probabilities, shape (batch, length, tokens), are there as far as the sequence has not ended before: the product of
    1 - p(0) up to the place.

    Args:
        **kwargs: `name` and `dtype` of a Keras layer.
    """

    def call(self, tokens):
        if len(tokens.shape) == 2:
            return tf.cast(present(tokens), self.compute_dtype)[..., tf.newaxis]
        return tf.math.cumprod(1 - tokens[..., :1], axis=1)

    def compute_output_shape(self, tokens_shape) -> tuple:
        """(batch, length, 1)."""
        return (*tokens_shape[:2], 1)


def present(tokens: tf.Tensor) -> tf.Tensor:
    """Which places of sequences, shape (..., length), stand before the first 0: bool."""
    return tf.math.cumprod(tf.cast(tokens != 0, tf.int32), axis=-1) > 0


class MaskedLSTM(Serializable, keras.layers.Layer):
    """A long short-term memory that leaves its state as it is where a place is not there.

    `call(inputs, presence)`, shapes (batch, length, width) and (batch, length, 1), gives (batch, length, units). A
    place that is there in part, as an end that is not certain has it, changes the state in part.

    Args:
        units: of the state.
        backwards: whether it goes from the last place to the first; its features stand where their inputs do.
        **kwargs: `name`, `trainable` and `dtype` of a Keras layer.
    """

    def __init__(self, units: int, backwards: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.units, self.backwards = whole_number(self, "units", units), bool(backwards)
        self.layer = keras.layers.RNN(
            _MaskedCell(self.units, dtype=self.dtype_policy),
            return_sequences=True,
            go_backwards=self.backwards,
            dtype=self.dtype_policy,
        )

    def build(self, inputs_shape, presence_shape=None):
        """Creates the weights."""
        self.layer.build((*inputs_shape[:-1], inputs_shape[-1] + 1))

    def call(self, inputs, presence):
        features = self.layer(tf.concat([inputs, tf.cast(presence, inputs.dtype)], axis=-1))
        return tf.reverse(features, [1]) if self.backwards else features

    def compute_output_shape(self, inputs_shape, presence_shape=None) -> tuple:
        """(batch, length, units)."""
        return (*inputs_shape[:-1], self.units)


class _MaskedCell(keras.layers.LSTMCell):
    """Keras's cell, whose last input says how far the place is there."""

    def build(self, input_shape):
        super().build((*input_shape[:-1], input_shape[-1] - 1))

    def call(self, inputs, states, training=False):
        there = inputs[..., -1:]
        _, new = super().call(inputs[..., :-1], states, training=training)
        kept = [there * one + (1 - there) * other for one, other in zip(new, states, strict=True)]
        return kept[0], kept


class TokenEmbedding(Serializable, keras.layers.Layer):
    """A vector for each token; of rows of probabilities, shape (batch, length, tokens), the expected one.

    Args:
        tokens: how many there are; 0 is the end.
        size: of the vectors.
        **kwargs: `name`, `trainable` and `dtype` of a Keras layer.
    """

    def __init__(self, tokens: int, size: int = 64, **kwargs):
        super().__init__(**kwargs)
        self.tokens = whole_number(self, "tokens", tokens, least=2)
        self.size = whole_number(self, "size", size)

    def build(self, inputs_shape=None):
        """Creates the table."""
        start = keras.initializers.RandomUniform(-0.1, 0.1)
        self.table = self.add_weight(shape=(self.tokens, self.size), initializer=start, name="table")

    def call(self, inputs):
        table = tf.convert_to_tensor(self.table)
        if len(inputs.shape) == 3:
            return tf.matmul(tf.cast(inputs, table.dtype), table)
        return tf.gather(table, tf.cast(inputs, tf.int32))

    def compute_output_shape(self, inputs_shape) -> tuple:
        """(batch, length, size)."""
        return (*inputs_shape[:2], self.size)


class TokenMemory(Serializable, keras.layers.Layer):
    """Tokens to a memory to look at, by `MaskedLSTM` that go forwards and backwards.

    `call(tokens)`, shape (batch, length), or rows of probabilities, (batch, length, tokens), gives features of shape
    (batch, length, 2 units + 1), whose last one says how far the place is there, as `CausalSequence` takes them. What
    stands after the first 0 changes nothing before it.

    Args:
        tokens: how many there are; 0 is the end.
        units: of each direction.
        embedding_size: of the vector of a token.
        dropout: rate, in training, of vectors and features.
        **kwargs: `name`, `trainable` and `dtype` of a Keras layer.
    """

    def __init__(self, tokens: int, units: int = 128, embedding_size: int = 64, dropout: float = 0.0, **kwargs):
        super().__init__(**kwargs)
        options = {"dtype": self.dtype_policy}
        self.embedding = TokenEmbedding(tokens, embedding_size, **options)
        self.directions = [MaskedLSTM(units, backwards, **options) for backwards in (False, True)]
        self.tokens, self.units, self.embedding_size = self.embedding.tokens, units, self.embedding.size
        self.dropout = fraction(self, "dropout", dropout)
        self.drop, self.presence = Dropout(self.dropout, **options), Presence(dtype="float32")

    def build(self, tokens_shape):
        """Creates the weights."""
        self.embedding.build(tokens_shape)
        for direction in self.directions:
            direction.build((*tokens_shape[:2], self.embedding_size))

    def call(self, tokens, training=False):
        presence = self.presence(tokens)
        inputs = self.drop(self.embedding(tokens), training=training)
        features = [direction(inputs, presence) for direction in self.directions]
        return self._of(features, presence, training)

    def _of(self, features, presence, training) -> tf.Tensor:
        features = self.drop(tf.concat(features, axis=-1), training=training)
        return tf.concat([features, tf.cast(presence, features.dtype)], axis=-1)

    def compute_output_shape(self, tokens_shape) -> tuple:
        """(batch, length, 2 units + 1)."""
        return (*tokens_shape[:2], 2 * self.units + 1)


class TokenEncoder(TokenMemory):
    """Tokens to one vector, the last states of `MaskedLSTM` that go forwards and backwards, shape (batch, 2 units).

    The arguments are those of `TokenMemory`. Padding by zeros changes nothing.

    Example:

    >>> posterior = Normal(16, TokenEncoder(tokens=1000))
    """

    def _of(self, features, presence, training) -> tf.Tensor:
        forwards, backwards = features
        return self.drop(tf.concat([forwards[:, -1], backwards[:, 0]], axis=-1), training=training)

    def compute_output_shape(self, tokens_shape) -> tuple:
        """(batch, 2 units)."""
        return (tokens_shape[0], 2 * self.units)


def _built(layer: keras.layers.Layer, shape: Sequence) -> keras.layers.Layer:
    layer.build(tuple(shape))
    return layer
