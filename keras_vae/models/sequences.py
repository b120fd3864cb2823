"""Models of sequences of tokens, such as sentences."""

from collections.abc import Callable

import tensorflow as tf

from keras_vae.arguments import whole_number
from keras_vae.distributions import DistributionLayer, TokenSequence
from keras_vae.distributions.base import dimensions
from keras_vae.models.base import LatentVariableModel
from keras_vae.models.vae import VAE
from keras_vae.noise import DATA, fold
from keras_vae.trace import Trace


class Language:
    """What models of token sequences share: texts in the place of tokens. A subclass has a layer `likelihood`."""

    likelihood: TokenSequence

    def _check_likelihood(self) -> None:
        if not isinstance(self.likelihood, TokenSequence):
            raise TypeError(
                f"{type(self).__name__} needs likelihood to be a TokenSequence layer. Received: {self.likelihood!r}."
            )

    def tokens(self, texts) -> tf.Tensor:
        """Tokens of texts, int32, shape (batch, length); whole numbers as they are, up to padding."""
        return self.as_inputs(texts)  # type: ignore[attr-defined]

    def texts(self, tokens) -> list[str]:
        """Texts of tokens, shape (batch, length), up to their ends.

        Raises:
            ValueError: for a model without a vocabulary.
        """
        return self.likelihood.written(tokens)


class LanguageModel(Language, LatentVariableModel):
    """p(x) of sequences of tokens, without latent variables: what a `SequenceVAE` is to be compared with.

    Its loss is -log p(x), exact, nats for each sequence; exp of `nats_per_token` is its perplexity.

    Args:
        likelihood: p(x), a `TokenSequence` without a context.
        seed: integer, of the noise of training.
        **kwargs: `name`, `trainable` and `dtype` of a Keras model.

    Raises:
        TypeError: for another layer.

    Example:

    >>> model = LanguageModel(TokenSequence(20, tokens=100))
    """

    def __init__(self, likelihood: TokenSequence, seed: int = 0, **kwargs):
        super().__init__(seed=seed, **kwargs)
        self.likelihood = likelihood
        self._check_likelihood()

    def build(self, input_shape):
        """Creates the weights for sequences of shape (batch, length)."""
        self.check_shape(input_shape)
        if not self.likelihood.built:
            self.likelihood.build(None)

    def call(self, inputs, training=None) -> Trace:
        """The trace of sequences, shape (batch, length), without latent variables."""
        return self.tracer(inputs, training)()

    def tracer(self, x, training=False) -> Callable[[], Trace]:
        """A function to the trace of sequences; no two differ, for nothing is drawn."""
        x = self._as_batch(x)

        def trace() -> Trace:
            leading = dimensions(self.open_samples(x))[:-1]
            return Trace(x, self.likelihood.alike(leading, training), units=self.likelihood.units_of(x))

        return trace

    def sample(self, count, seed=None, temperature=1.0, nucleus: float = 1.0) -> tf.Tensor:
        """Draws of sequences, tokens of shape (count, length).

        Args:
            count: number of draws, 0 or more.
            seed: None for fresh noise; an integer, a scalar tensor or int32 of shape (2,) for the same draws each time.
            temperature: 0 gives the greedy sequence.
            nucleus: each token is one of the most probable ones that have this probability together.
        """
        self._require_built("sample")
        seed, temperature = self._as_seed(seed), self._as_temperature(temperature)
        count = self._checked_count(count)
        return self.likelihood().tempered_sample([count], fold(seed, DATA), temperature, nucleus)

    def beam_search(self, width: int = 4) -> tuple[tf.Tensor, tf.Tensor]:
        """Sequences of high probability, shape (width, length), the best first, and their log p(x), nats."""
        self._require_built("beam_search")
        return self.likelihood().beam_search(width)

    def reconstruct(self, x) -> tf.Tensor:
        """The sequences as they are, shape (batch, length): nothing stands between them and their density."""
        return self._as_batch(x)

    def generate(self, count, seed=None, temperature=1.0) -> tf.Tensor:
        """Those of `sample`: there is no latent variable whose means would be shown."""
        return self.sample(count, seed, temperature)

    def _logged(self, losses: dict[str, tf.Tensor], extra, trace: Trace) -> dict[str, tuple]:
        """Without the KL, of which there is none."""
        return {name: figure for name, figure in super()._logged(losses, extra, trace).items() if name != "kl"}


class SequenceVAE(Language, VAE):
    """A `VAE` of sequences of tokens, or of texts: one z for the whole sentence, whose words see those before them.

    `fit`, `evaluate`, `encode`, ... take tokens, shape (batch, any length), ragged tensors, lists, and texts where
    there is a vocabulary. The logs have `nats_per_token`, the bound for each token with the end: exp of it bounds the
    perplexity.

    A decoder that sees all words before each one can do without z. What keeps z in use: `word_dropout` of the
    `TokenSequence`, `ELBO(free_nats=...)`, and `callbacks.LinearSchedule` of beta.

    Args:
        posterior: q(z | x), a layer given tokens: Normal(16, TokenEncoder(tokens)).
        likelihood: p(x | z), a `TokenSequence`.
        prior: p(z), a layer given nothing.
        seed: integer, of the noise of training and evaluation.
        **kwargs: `name`, `trainable` and `dtype` of a Keras model.

    Raises:
        TypeError: for an argument that is not such a layer.
        ValueError: for a prior whose event shape, or whose kind of draws, is not the posterior's.

    Reference: Bowman et al. 2016, "Generating sentences from a continuous space", arXiv:1511.06349.
    """

    def __init__(
        self,
        posterior: DistributionLayer,
        likelihood: TokenSequence,
        prior: DistributionLayer,
        seed: int = 0,
        **kwargs,
    ):
        super().__init__(posterior, likelihood, prior, seed, **kwargs)
        self._check_likelihood()

    def interpolate(self, first, second, steps: int = 5) -> tf.Tensor:
        """The greedy sequences at places between the means of two sequences, shape (batch, steps, length).

        Args:
            first, second: tokens or texts, as many of one as of the other.
            steps: number of places, both ends included, 2 or more.
        """
        steps = whole_number(self, "steps", steps, least=2)
        ends = [self.encode(each).mean()[:, tf.newaxis] for each in (first, second)]
        share = tf.reshape(tf.linspace(0.0, 1.0, steps), [1, steps, *[1] * len(self.latent_shape)])
        return self.decode((1 - share) * ends[0] + share * ends[1]).mode()
