"""A semi-supervised autoencoder of sequences whose latent variable is another sequence."""

from collections.abc import Callable, Sequence

import tensorflow as tf

from keras_vae.arguments import whole_number
from keras_vae.distributions import DistributionLayer
from keras_vae.distributions.base import dimensions
from keras_vae.distributions.normal import independent_normal
from keras_vae.distributions.temperature import tempered_draws
from keras_vae.distributions.tokens import AutoregressiveTokens, LogisticNormalTokens, TokenSequence
from keras_vae.models.base import LatentVariableModel
from keras_vae.models.inputs import Field, Inputs
from keras_vae.models.single_latent import build_layers
from keras_vae.noise import DATA, fold
from keras_vae.sampling import current_sampler, iteration
from keras_vae.serving import Rows, Signatures
from keras_vae.trace import Latent, Trace


class SequentialAutoencoder(LatentVariableModel):
    """p(y, x) = p(y | x) p(x) of sequences y, such as logical forms, and x, such as questions, which may be missing.

    What Keras calls x is the sequence that is always there, the logical form; what it calls y is the question, of some
    examples alone: `fit(forms, questions)`. Texts are missing where they are None or NaN, tokens where their row is
    NaN; `fit(forms)` misses them all.

    A question that is missing is a latent variable: softmax(gamma) at each place, gamma normal, of all words in part.
    Its posterior q(x | y), which generates questions, and its likelihood p(y | x), which parses them, are trained by
    what is labelled too. The loss of `ELBO(beta)` is

        -log p(y | x) - log q(x | y)                    for an example with its question, and
        -E log p(y | softmax(gamma)) + beta KL(q || p)   for one without.

    The second is a bound of -log p(y), by the prior over gamma at all places, also those after the end of the question,
    which the parser sees in part: so far as it has not ended before (`TokenMemory`). The term -log q(x | y) is logged
    as `generation`, and is no part of a bound.

    `parse` needs p(y | x) alone. Of y alone the model is an autoencoder, which `reconstruct` goes through.

    Args:
        posterior: q(x | y), a `LogisticNormalTokens` whose network takes tokens of y: TokenMemory(tokens).
        likelihood: p(y | x), a `TokenSequence` whose network takes tokens of x, or rows of their probabilities.
        prior: p(gamma), a layer given nothing, of event shape (length, tokens) of x: StandardNormal((length, tokens)).
        seed: integer, of the noise of training and evaluation.
        **kwargs: `name`, `trainable` and `dtype` of a Keras model.

    Raises:
        TypeError: for other layers.
        ValueError: for a prior of another event shape.

    Reference: Kocisky et al. 2016, "Semantic parsing with semi-supervised sequential autoencoders", arXiv:1609.09315.
    """

    def __init__(
        self,
        posterior: LogisticNormalTokens,
        likelihood: TokenSequence,
        prior: DistributionLayer,
        seed: int = 0,
        **kwargs,
    ):
        super().__init__(seed=seed, **kwargs)
        kinds = {"posterior": LogisticNormalTokens, "likelihood": TokenSequence, "prior": DistributionLayer}
        layers = {"posterior": posterior, "likelihood": likelihood, "prior": prior}
        for role, kind in kinds.items():
            if not isinstance(layers[role], kind):
                raise TypeError(
                    f"{type(self).__name__} needs {role} to be a {kind.__name__}. Received: {layers[role]!r}."
                )
        self.posterior, self.likelihood, self.prior = posterior, likelihood, prior
        if prior.event_shape != self.latent_shape:
            raise ValueError(
                f"{type(self).__name__} needs a prior of event shape {self.latent_shape}, the length and the tokens of "
                f"the posterior. Received: {prior.event_shape}."
            )

    @property
    def takes(self) -> Inputs:
        """Sequences y, and x, which may be missing."""
        x = Field(
            self.posterior.event_shape, "question", "float32", "questions", observed=self.posterior, optional=True
        )
        return Inputs(Field(self.likelihood.event_shape, observed=self.likelihood), x)

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """(length, tokens) of x."""
        return (self.posterior.length, self.posterior.tokens)

    def build(self, input_shape):
        """Creates the weights for sequences y of shape (batch, length), or for the pair of these and of questions."""
        self.check_shape(input_shape[0] if isinstance(input_shape[0], Sequence) else input_shape)
        contexts = {self.posterior: (None, *self.likelihood.event_shape), self.likelihood: (None, *self.latent_shape)}
        build_layers(contexts | {self.prior: None})

    def call(self, inputs, training=None) -> Trace:
        """The trace of sequences, shape (batch, length), and of what is known of their questions."""
        return self.tracer(inputs, training)()

    def tracer(self, inputs, training=None) -> Callable[[], Trace]:
        """A function that draws the questions that are missing and returns the trace; y is encoded here."""
        y, (tokens, known) = self._as_batch(inputs)
        tokens = tf.cast(tokens, tf.int32)
        features, _ = self.posterior.features_of(y)  # [batch, places, features]
        known = tf.cast(known, tf.float32)

        def draw_trace() -> Trace:
            seed = current_sampler().next_seed()  # of the loop

            def draw(number, normal):
                with iteration(number, seed):
                    return self.draw(normal, normal, opens=False).value  # the prior is told to the trace below

            opened = self.open_samples(features)
            leading = dimensions(opened)[: -len(features.shape) + 1]
            rows = tf.reshape(opened, [-1, *features.shape[1:]])
            shape = [*leading, *self.latent_shape]

            def nothing():
                return tf.zeros(shape), tf.zeros(shape), tf.ones(shape)

            def relaxed():
                return self.posterior.relaxed(rows, leading, draw)

            # Of a batch whose questions are all known no step of the loop is taken.
            gamma, loc, scale = tf.cond(tf.reduce_all(known > 0), nothing, relaxed)
            missing = tf.broadcast_to(1 - known, leading)
            x = Latent(gamma, independent_normal(loc, scale, self.latent_shape), self.prior(), present=missing)
            given = tf.one_hot(tokens, self.posterior.tokens)
            question = tf.where(known[:, tf.newaxis, tf.newaxis] > 0, given, tf.nn.softmax(gamma))
            generated = AutoregressiveTokens(self.posterior, features, dimensions(features)[:1], bool(training))
            return Trace(
                y,
                self.likelihood(question, training=bool(training)),
                {"x": x},
                terms={"generation": -known * generated.log_prob(tokens)},
                units=self.likelihood.units_of(y),
            )

        return draw_trace

    # --- the parser, and the generator -------------------------------------------------------------------------------

    def decode(self, x):
        """p(y | x), batch shape (...), of points of the simplex for each place of x, shape (..., length, tokens)."""
        return self.likelihood(tf.cast(x, tf.float32))

    def parser(self, x):
        """p(y | x), batch shape (batch,), of questions: texts, or tokens of shape (batch, any length)."""
        self._require_built("parser")
        field = Field(self.posterior.event_shape, "question", "int32", "questions", observed=self.posterior)
        tokens = self._as_batch(x, Inputs(field))
        return self.decode(tf.one_hot(tokens, self.posterior.tokens))

    def generator(self, y):
        """q(x | y) as a distribution of tokens, batch shape (batch,), of texts or tokens y."""
        self._require_built("generator")
        y = self._as_batch(y, Inputs(self.takes.x))
        features, leading = self.posterior.features_of(y)
        return AutoregressiveTokens(self.posterior, features, leading)

    def parse(self, x, width: int = 1):
        """The sequences y of questions: texts, where there is a vocabulary, or else tokens, shape (batch, length).

        Args:
            x: texts, or tokens of shape (batch, any length).
            width: 1 takes the most probable token at each place, given those before it; more is a beam search.
        """
        width = whole_number(f"{type(self).__name__}.parse", "width", width)
        found = self.parser(x)
        tokens = found.mode() if width == 1 else found.beam_search(width)[0][:, 0]
        return tokens if self.likelihood.vocabulary is None else self.likelihood.written(tokens)

    def reconstruct(self, inputs) -> tf.Tensor:
        """The greedy y of what is known of its question, or of the means of gamma, shape (batch, length)."""
        y, (tokens, known) = self._as_batch(inputs)
        features, leading = self.posterior.features_of(y)
        gamma, *_ = self.posterior.relaxed(features, leading, lambda number, normal: normal.mean())
        given = tf.one_hot(tf.cast(tokens, tf.int32), self.posterior.tokens)
        return self.decode(tf.where(known[:, tf.newaxis, tf.newaxis], given, tf.nn.softmax(gamma))).mode()

    def sample_prior(self, count, seed=None, temperature=1.0) -> tf.Tensor:
        """Draws of gamma from its prior, shape (count, length, tokens); see `VAE.sample_prior`."""
        self._require_built("generate")
        count, seed, temperature = self._checked_count(count), self._as_seed(seed), self._as_temperature(temperature)
        return tempered_draws(self.prior(), [count], seed, temperature)

    def generate(self, count, seed=None, temperature=1.0) -> tf.Tensor:
        """Greedy sequences y for gamma drawn by `sample_prior`, shape (count, length)."""
        return self.decode(tf.nn.softmax(self.sample_prior(count, seed, temperature))).mode()

    def sample(self, count, seed=None, temperature=1.0) -> tf.Tensor:
        """Draws of sequences y for gamma drawn by `sample_prior`, shape (count, length)."""
        seed = self._as_seed(seed)
        x = tf.nn.softmax(self.sample_prior(count, seed, temperature))
        return self.decode(x).sample(seed=fold(seed, DATA))

    def serving_signatures(self, **limits: int) -> dict:
        """What `export` writes: the parser, of tokens, and of texts where both sequences have a vocabulary.

        Args:
            **limits: `max_bytes` and `max_samples`, see `keras_vae.serving.Signatures`.
        """
        make = Signatures(self, None, **limits)

        def parse(question):
            return {"tokens": self.parser(question).mode()}

        def parse_text(question):
            return {"text": self.likelihood.texts(self.parser(question).mode())}

        tokens = Rows("question", self.posterior.event_shape, self.posterior.support, "int32")
        texts = Rows("question", (), None, "string")
        made = {"serving_default": make.by_rows("serving_default", parse, [tokens])}
        if self.likelihood.vocabulary is not None and self.posterior.vocabulary is not None:
            made["parse"] = make.by_rows("parse", parse_text, [texts])
        return made
