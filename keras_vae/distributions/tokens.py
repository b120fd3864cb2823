"""Distributions of sequences of tokens that end: texts, and other lists of symbols."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from keras_vae.arguments import fraction, whole_number
from keras_vae.distributions.autoregressive import features_for
from keras_vae.distributions.base import DistributionLayer, TensorDistribution, dimensions
from keras_vae.distributions.normal import independent_normal
from keras_vae.distributions.supports import Support, TokenSequences
from keras_vae.networks.sequences import CausalLSTM, CausalSequence, TokenEmbedding, present
from keras_vae.noise import categorical, fold, uniform
from keras_vae.sampling import current_sampler

END, UNKNOWN = 0, 1  # tokens, as Keras's TextVectorization has them


class TokenSequence(DistributionLayer):
    """p(tokens) = product over the places of p(token | tokens before it), up to the end of the sequence.

    Tokens are whole numbers from 1; 0 is the end, and pads what comes after it, as Keras's `TextVectorization` writes
    texts: the first 0 counts, later ones have the probability 1, and a sequence of `length` tokens ends of itself. So
    the probabilities of all sequences add up to 1, and padding never counts. The density takes one pass of `network`
    and `causal`; a draw takes a step for each token.

    Data are whole numbers of shape (examples, any length), `tf.RaggedTensor`, lists of lists, or, with a vocabulary,
    texts: arrays, lists or a pandas column of them.

    Tokens have no mean. What models show in its place, `mean()` and `mode()`, is the greedy sequence: each token the
    most probable one, given those before it; `beam_search` finds better ones.

    Args:
        event_shape: length, the most tokens that a sequence has.
        network: from the context to a vector, (batch, features), or to a memory to look at, see `CausalSequence`; None
            uses the context itself.
        tokens: how many there are, the end included; None where a vocabulary says so.
        causal: the network of the sequence, a `CausalLSTM` or `CausalTransformer`; None is CausalLSTM().
        embedding_size: of the vector of a token.
        word_dropout: rate, in training, at which a token is hidden from those after it, an unknown one, 1, in its place
            (Bowman et al. 2016, arXiv:1511.06349).
        vocabulary: None, or a `keras.layers.TextVectorization` that was adapted: `datasets.vocabulary(texts)`.

    Raises:
        ValueError: for neither tokens nor a vocabulary, and for a vocabulary without words or of another size.
        TypeError: for a network of the sequence that is no `CausalSequence`.

    Example:

    >>> layer = TokenSequence(20, tokens=1000)
    """

    value_dtype = "int32"

    def __init__(
        self,
        event_shape: int | Sequence[int],
        network: keras.layers.Layer | None = None,
        tokens: int | None = None,
        causal: CausalSequence | None = None,
        embedding_size: int = 64,
        word_dropout: float = 0.0,
        vocabulary: keras.layers.TextVectorization | None = None,
        **kwargs,
    ):
        super().__init__(event_shape, network, **kwargs)
        if len(self.event_shape) != 1:
            raise ValueError(f"{self._title} needs an event shape of one axis, the length. Received: {event_shape}.")
        words = None if vocabulary is None else [str(word) for word in vocabulary.get_vocabulary()]
        if words is not None and len(words) < 3:
            raise ValueError(f"{self._title} needs a vocabulary that was adapted. Received: one of {words}.")
        self.words = words
        self.vocabulary = vocabulary if words is None else _with_words(vocabulary, words)
        if tokens is None:
            if words is None:
                raise ValueError(f"{self._title} needs a number of tokens or a vocabulary. Received: None of both.")
            tokens = len(words)
        self.tokens = whole_number(self, "tokens", tokens, least=2)
        if words is not None and len(words) != self.tokens:
            raise ValueError(
                f"{self._title} needs as many tokens as the vocabulary has, {len(words)}. Received: tokens={tokens}."
            )
        self.causal = CausalLSTM(dtype=self.dtype_policy) if causal is None else causal
        if not isinstance(self.causal, CausalSequence):
            raise TypeError(
                f"{self._title} needs causal to be a CausalLSTM or CausalTransformer. Received: {causal!r}."
            )
        self.embedding_size = whole_number(self, "embedding_size", embedding_size)
        self.word_dropout = fraction(self, "word_dropout", word_dropout)
        self.embedding = TokenEmbedding(self.tokens, self.embedding_size, dtype=self.dtype_policy)

    @property
    def support(self) -> Support:  # type: ignore[override]
        """Whole numbers, without a token after the end."""
        return TokenSequences(self.tokens)

    @property
    def length(self) -> int:
        """The most tokens of a sequence."""
        return self.event_shape[0]

    def build(self, context_shape=None):
        features = None
        if context_shape is None:
            self.check_no_network()
        else:
            features = self.build_network(context_shape)
            if len(features) not in (2, 3):
                raise ValueError(
                    f"{self._title} needs features of shape (batch, features) or (batch, places, features). "
                    f"Received: {features}."
                )
        self.embedding.build((None, self.length))
        if not self.causal.built:
            self.causal.build((None, self.length, self.embedding_size), features)
        self.head = keras.layers.Dense(self.tokens, dtype="float32", name="logits")
        self.head.build((None, self.causal.units))

    def call(self, context=None, training=False) -> tfd.Distribution:
        if context is None:
            return self._checked(AutoregressiveTokens(self, None, [], training))
        features, leading = self.features_of(context)
        features = tf.reshape(features, [*leading, *features.shape[1:]])
        return self._checked(AutoregressiveTokens(self, features, leading, training))

    def alike(self, leading: Sequence, training=False) -> tfd.Distribution:
        """The distribution of a layer without a context, for each of some leading axes."""
        return AutoregressiveTokens(self, None, leading, training)

    def standardized(self, values) -> tf.Tensor:
        """The tokens themselves, int32."""
        return tf.cast(values, tf.int32)

    def units_of(self, values) -> dict[str, tf.Tensor]:
        """The number of tokens that have a probability, the end included: shape (batch,)."""
        count = tf.reduce_sum(tf.cast(present(values), tf.int32), axis=-1)
        return {"token": tf.minimum(count + 1, self.length)}

    # --- what the data are -------------------------------------------------------------------------------------------

    def rows_of(self, value):
        """Tokens of shape (examples, length), of texts, ragged tensors, lists, and arrays of another length.

        Raises:
            ValueError: for texts without a vocabulary, and for sequences that are too long.
        """
        if isinstance(value, list | tuple) and value and not hasattr(value[0], "shape"):
            value = _listed(self._title, value)
        if _some_missing(value):
            return self._rows_with_missing(value)
        if isinstance(value, tf.RaggedTensor):
            value = value.to_tensor(END)
        dtype = getattr(value, "dtype", None)
        if dtype is None:
            return value
        if dtype == tf.string if tf.is_tensor(value) else getattr(dtype, "kind", "O") in "OUST":
            value = self._tokens_of(value)
        if len(value.shape) != 2 or value.shape[1] == self.length:
            return value
        if tf.is_tensor(value):
            return self._of_length(value)
        longest = int(np.max(np.arange(1, value.shape[1] + 1) * (np.nan_to_num(value) != END), initial=0))
        if longest > self.length:
            raise ValueError(
                f"{self._title} needs sequences of {self.length} tokens at most. Received: one of {longest}."
            )
        return np.pad(value[:, : self.length], [[0, 0], [0, max(self.length - value.shape[1], 0)]])

    def _of_length(self, tokens: tf.Tensor) -> tf.Tensor:
        """Tokens of any length, padded or without what pads them."""
        padded = tf.pad(tokens, [[0, 0], [0, tf.maximum(self.length - tf.shape(tokens)[1], 0)]])
        beyond = padded[:, self.length :]
        count = tf.math.count_nonzero(beyond, dtype=tf.int32)
        message = f"{self._title} needs sequences of {self.length} tokens at most. Received: longer ones."
        with tf.control_dependencies([tf.debugging.Assert(tf.equal(count, 0), [message])]):
            return tf.ensure_shape(tf.identity(padded[:, : self.length]), [None, self.length])

    def _rows_with_missing(self, texts) -> np.ndarray:
        """Tokens, float32, of which the rows of texts that are None or NaN are NaN."""
        texts = np.asarray(texts, object)
        known = ~np.asarray([_is_missing(text) for text in texts])
        rows = np.full((len(texts), self.length), np.nan, np.float32)
        if known.any():
            rows[known] = self.rows_of(texts[known])
        return rows

    def _tokens_of(self, texts) -> Any:
        if self.vocabulary is None:
            raise ValueError(
                f"{self._title} needs whole numbers, or a vocabulary for texts: vocabulary=datasets.vocabulary(texts). "
                "Received: texts."
            )
        if not tf.is_tensor(texts):
            texts = np.asarray(texts, object)
            others = [text for text in texts.ravel() if not isinstance(text, str | bytes)]
            if others:
                raise ValueError(f"{self._title} needs texts. Received: {others[0]!r} among them.")
            texts = tf.constant(texts, tf.string)
        tokens = self.vocabulary(texts)
        return tf.cast(tokens, tf.int32) if not tf.executing_eagerly() else np.asarray(tokens, np.int32)

    def texts(self, tokens) -> tf.Tensor:
        """The words of tokens, shape (..., length), up to the end, with spaces between them: strings, shape (...).

        Raises:
            ValueError: for a layer without a vocabulary.
        """
        if self.vocabulary is None:
            raise ValueError(f"{self._title} needs a vocabulary to write texts. Received: None.")
        tokens = tf.cast(tokens, tf.int32)
        words = tf.gather(tf.constant(self.words), tokens)
        by_character = self.vocabulary.get_config()["split"] == "character"
        separator = "" if by_character else " "
        joined = tf.strings.reduce_join(tf.where(present(tokens), words, ""), axis=-1, separator=separator)
        return joined if by_character else tf.strings.strip(joined)

    def written(self, tokens) -> list[str]:
        """`texts` of tokens, shape (batch, length), as Python has them."""
        return [text.decode() for text in self.texts(tokens).numpy()]

    # --- the density and the draws -----------------------------------------------------------------------------------

    def logits(self, tokens: tf.Tensor, features, training=False) -> tf.Tensor:
        """Of each token given those before it, float32, shape (rows, length, tokens), for tokens (rows, length)."""
        before = tf.pad(tokens[:, :-1], [[0, 0], [1, 0]])
        if training and self.word_dropout:
            hidden = uniform(tf.shape(before), current_sampler().next_seed()) < self.word_dropout
            before = tf.where(hidden & (before != END), UNKNOWN, before)
        return self.head(self.causal(self.embedding(before), features, training=training))

    def next_logits(self, before, state, place, prepared) -> tuple[tf.Tensor, Any]:
        """Logits of the token at a place, shape (rows, tokens), given that before it, and the new state of `causal`."""
        found, state = self.causal.step(self.embedding(before[:, tf.newaxis])[:, 0], state, place, prepared)
        return self.head(tf.cast(found, tf.float32)), state


class AutoregressiveTokens(TensorDistribution):
    """The distribution of a `TokenSequence` given features.

    Args:
        layer: it.
        features: None, or those of the context, shape (*batch, ...).
        leading: the sizes of the batch axes.
        training: whether tokens and features are dropped in log_prob.
    """

    def __init__(self, layer: TokenSequence, features, leading: Sequence, training: bool = False):
        like = tf.zeros([*leading, layer.length], tf.int32)
        parameters = {"layer": layer, "features": features, "leading": leading, "training": training}
        super().__init__(like, 1, reparameterized=False, **parameters)
        self.layer, self.features, self.training = layer, features, training

    def log_prob_by_token(self, value) -> tf.Tensor:
        """log p(token | tokens before it), nats, 0 after the end, shape (..., length)."""
        value = tf.convert_to_tensor(value)
        length = self.layer.length
        leading = tf.broadcast_dynamic_shape(tf.shape(value)[:-1], self.batch_shape_tensor())
        flat = tf.reshape(tf.broadcast_to(value, tf.concat([leading, [length]], axis=0)), [-1, length])
        tokens = tf.clip_by_value(tf.cast(flat, tf.int32), 0, self.layer.tokens - 1)
        logits = self.layer.logits(tokens, features_for(self, leading), self.training)
        found = -tf.nn.sparse_softmax_cross_entropy_with_logits(tokens, logits)
        open_ = tf.pad(present(tokens)[:, :-1], [[0, 0], [1, 0]], constant_values=True)
        possible = tf.cast(tokens, flat.dtype) == flat
        found = tf.where(open_, found, tf.where(tokens == END, 0.0, -float("inf")))
        found = tf.where(possible, found, -float("inf"))
        shape = tf.broadcast_static_shape(value.shape[:-1], self.batch_shape)
        return tf.ensure_shape(tf.reshape(found, tf.concat([leading, [length]], axis=0)), [*shape, length])

    def _log_prob(self, value):
        return tf.reduce_sum(self.log_prob_by_token(value), axis=-1)

    def tempered_sample(self, sample_shape, seed, temperature, nucleus: float = 1.0) -> tf.Tensor:
        """Draws whose noise is multiplied by `temperature`: at 0 the greedy sequence.

        Args:
            sample_shape: leading axes of the draws.
            seed: int32 of shape (2,).
            temperature: 0 or more, a number or scalar tensor.
            nucleus: each token is one of the most probable ones that have this probability together (Holtzman et al.
                2020, arXiv:1904.09751); 1 leaves none out.
        """
        leading = tf.concat([tf.cast(sample_shape, tf.int32), self.batch_shape_tensor()], axis=0)
        number, layer, length = tf.reduce_prod(leading), self.layer, self.layer.length
        prepared = layer.causal.prepare(features_for(self, leading))

        def step(place, before, open_, state, drawn):
            logits, state = layer.next_logits(before, state, place, prepared)
            logits = _within_nucleus(logits, nucleus) if nucleus < 1 else logits
            token = categorical(logits, tf.shape(logits)[:-1], fold(seed, place), temperature)
            token = tf.ensure_shape(tf.where(open_, token, END), before.shape)
            return place + 1, token, open_ & (token != END), state, drawn.write(place, token)

        before, state = tf.zeros([number], tf.int32), layer.causal.start(number, prepared)
        start = tf.constant(0), before, tf.ones_like(before, tf.bool), state, tf.TensorArray(tf.int32, length)
        *_, drawn = tf.while_loop(lambda place, *_: place < length, step, start, maximum_iterations=length)
        tokens = tf.reshape(tf.transpose(drawn.stack()), tf.concat([leading, [length]], axis=0))
        known = tf.TensorShape(tf.get_static_value(tf.cast(sample_shape, tf.int32), partial=True))
        return tf.ensure_shape(tokens, known.concatenate(self.batch_shape).concatenate([length]))

    def _sample_n(self, n, seed=None):
        return self.tempered_sample([n], tfp.random.sanitize_seed(seed), 1.0)

    def _mode(self):
        return self.tempered_sample([], fold(0), 0.0)

    def _mean(self):
        return self._mode()

    def beam_search(self, width: int = 4) -> tuple[tf.Tensor, tf.Tensor]:
        """Sequences of high probability: at each place the `width` best beginnings of those before are gone on with.

        Args:
            width: number of beginnings; 1 is the greedy sequence.

        Returns:
            tokens: int32, shape (*batch, width, length), the best first.
            log_prob: nats, shape (*batch, width).
        """
        width = whole_number("beam_search", "width", width)
        layer, length, tokens = self.layer, self.layer.length, self.layer.tokens
        leading = self.batch_shape_tensor()
        rows = tf.reduce_prod(leading)
        features = features_for(self, leading)
        if features is not None:
            features = tf.repeat(features, width, axis=0)
        prepared = layer.causal.prepare(features)
        ended = tf.where(tf.range(tokens) == END, 0.0, -float("inf"))  # log-probabilities after the end

        def step(place, before, total, open_, state, found):
            logits, state = layer.next_logits(before, state, place, prepared)
            log_prob = tf.where(open_[:, tf.newaxis], tf.nn.log_softmax(logits), ended)
            every = tf.reshape(total[:, tf.newaxis] + log_prob, [-1, width * tokens])
            best, at = tf.math.top_k(every, width)  # [rows, width]
            parent = tf.reshape(at // tokens + width * tf.range(rows)[:, tf.newaxis], [-1])
            token = tf.reshape(at % tokens, [-1])
            state, found, open_ = tf.nest.map_structure(
                lambda each: tf.ensure_shape(tf.gather(each, parent), each.shape), [state, found, open_]
            )
            found = tf.where(tf.range(length) == place, token[:, tf.newaxis], found)
            return place + 1, token, tf.reshape(best, [-1]), open_ & (token != END), state, found

        before, state = tf.zeros([rows * width], tf.int32), layer.causal.start(rows * width, prepared)
        total = tf.reshape(tf.tile([[0.0] + [-float("inf")] * (width - 1)], [rows, 1]), [-1])  # all begin alike
        found = tf.zeros([rows * width, length], tf.int32)
        start = tf.constant(0), before, total, tf.ones_like(before, tf.bool), state, found
        _, _, total, _, _, found = tf.while_loop(
            lambda place, *_: place < length, step, start, maximum_iterations=length
        )
        shape = tf.concat([leading, [width]], axis=0)
        return tf.reshape(found, tf.concat([shape, [length]], axis=0)), tf.reshape(total, shape)


def _within_nucleus(logits: tf.Tensor, share: float) -> tf.Tensor:
    """The logits of the most probable tokens that have `share` of the probability together, and -inf of the others."""
    ordered = tf.sort(tf.nn.softmax(logits), axis=-1, direction="DESCENDING")
    before = tf.cumsum(ordered, axis=-1, exclusive=True)
    least = tf.reduce_min(tf.where(before < share, ordered, 1.0), axis=-1, keepdims=True)
    return tf.where(tf.nn.softmax(logits) >= least, logits, -float("inf"))


def _with_words(vocabulary: keras.layers.TextVectorization, words: list[str]) -> keras.layers.TextVectorization:
    """A vocabulary whose words are in its config: those of an adapted one are not."""
    config = vocabulary.get_config()
    if config["vocabulary"] is not None:
        return vocabulary
    config |= {"vocabulary": words[2:], "max_tokens": None}  # the end and unknown words are Keras's own
    return keras.layers.TextVectorization.from_config(config)


def _is_missing(text) -> bool:
    return text is None or (isinstance(text, float) and np.isnan(text))


def _some_missing(value) -> bool:
    """Whether these are texts of which some are None or NaN."""
    if tf.is_tensor(value) or getattr(getattr(value, "dtype", None), "kind", "O") != "O" or np.ndim(value) != 1:
        return False
    return any(map(_is_missing, value))


def _listed(title: str, value: Sequence):
    """An array of texts, some of them missing, or of lists of tokens, padded by the end."""
    if all(isinstance(each, str | bytes) or _is_missing(each) for each in value):
        return np.asarray(value, object)
    if not all(isinstance(each, list | tuple | np.ndarray) for each in value):
        return np.asarray(value)
    made = np.full((len(value), max(map(len, value))), END, np.int32)
    for row, each in zip(made, value, strict=True):
        numbers = np.asarray(each)
        if numbers.size and (numbers.ndim != 1 or numbers.dtype.kind not in "biu"):
            raise ValueError(f"{title} needs lists of whole numbers. Received: {each!r} among them.")
        row[: len(each)] = each
    return made


class LogisticNormalTokens(TokenSequence):
    """A `TokenSequence` whose tokens may also be drawn as points of the simplex, which carry gradients.

    At each place the logits are normal, gamma ~ N(loc, scale^2), and the relaxed token is softmax(gamma): all tokens at
    once, in part. The next place is given its expected vector. Without noise the sequence is that of the means, softmax
    of loc, and as a `TokenSequence` the layer has just these probabilities: so labelled sequences train it.

    The arguments are those of `TokenSequence`.

    Reference: Kocisky et al. 2016, "Semantic parsing with semi-supervised sequential autoencoders", arXiv:1609.09315.
    """

    def build(self, context_shape=None):
        super().build(context_shape)
        self.spread = keras.layers.Dense(self.tokens, dtype="float32", name="spread")
        self.spread.build((None, self.causal.units))

    def relaxed(self, features: tf.Tensor, leading: Sequence, draw) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Draws of gamma for all places, each given the relaxed tokens before it.

        Args:
            features: those of the context, shape (rows, ...).
            leading: the sizes of the axes that were folded into the rows.
            draw: from the number of a place, and a normal of batch shape `leading` and of as many values as there are
                tokens, to a draw of it.

        Returns:
            gamma, and the locations and scales that it was drawn from, float32, shape (*leading, length, tokens).
        """
        shape, rows = [*leading, self.tokens], dimensions(features)[0]
        prepared = self.causal.prepare(features)

        def step(before, place):
            *_, relaxed, state = before
            found, state = self.causal.step(self.embedding(relaxed[:, tf.newaxis])[:, 0], state, place, prepared)
            found = tf.cast(found, tf.float32)
            loc, scale = self.head(found), 1e-3 + tf.math.softplus(self.spread(found) - 1)
            gamma = draw(place, independent_normal(*(tf.reshape(each, shape) for each in (loc, scale)), [self.tokens]))
            gamma = tf.ensure_shape(tf.reshape(gamma, tf.shape(loc)), loc.shape)
            return gamma, loc, scale, tf.nn.softmax(gamma), state

        nothing = tf.zeros([rows, self.tokens])
        end = nothing + tf.one_hot(END, self.tokens)  # what the first place is given, as in the density of the tokens
        start = nothing, nothing, nothing, end, self.causal.start(rows, prepared)
        gamma, loc, scale, *_ = tf.scan(step, tf.range(self.length), start)
        gamma, loc, scale = (
            tf.reshape(tf.transpose(each, [1, 0, 2]), [*leading, self.length, self.tokens])
            for each in (gamma, loc, scale)
        )
        return gamma, loc, scale
