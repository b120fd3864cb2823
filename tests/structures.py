"""Small models, each of which uses an ability of the core that a plain VAE does not: nothing private is used."""

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

import keras_vae as kv
from keras_vae.networks import by_rows
from keras_vae.noise import fold
from keras_vae.sampling import iteration

tfd = tfp.distributions
RNG = np.random.default_rng(0)


def dense(inputs: int, units: int, **options) -> keras.Model:
    return keras.Sequential([keras.Input((inputs,)), keras.layers.Dense(units, activation="tanh", **options)])


class Objects(kv.LatentVariableModel):
    """Up to two objects: each is there or not, and has a place if it is there; a second needs a first."""

    SIZE, STEPS = 6, 2

    def __init__(self, seed: int = 0, **kwargs):
        super().__init__(seed=seed, **kwargs)
        self.presence = [kv.Bernoulli(1, dense(self.SIZE, 8)) for _ in range(self.STEPS)]
        self.what = [kv.Normal(2, dense(self.SIZE, 8)) for _ in range(self.STEPS)]
        self.presence_prior, self.what_prior = kv.Bernoulli(1), kv.StandardNormal(2)
        self.drawing = keras.Sequential([dense(2, 8), keras.layers.Dense(self.SIZE)])
        self.likelihood = kv.FixedScaleNormal(self.SIZE, scale=0.3)

    def call(self, inputs, training=None) -> kv.Trace:
        x = inputs
        canvas, before, latents = 0.0, None, {}
        for step in range(self.STEPS):
            first = step == 0
            here = self.draw(self.presence[step](x), self.presence_prior(), present=before)
            before = here.value[..., 0] if first else before * here.value[..., 0]
            what = self.draw(self.what[step](x), self.what_prior(), present=before)
            canvas += before[..., None] * by_rows(self.drawing, what.value)
            latents |= {f"presence_{step}": here, f"what_{step}": what}
        return kv.Trace(x, self.likelihood(canvas), latents)

    def reconstruct(self, inputs) -> tf.Tensor:
        return tf.reduce_mean(self(inputs).likelihood.mean(), axis=0)


class StateSpace(kv.LatentVariableModel):
    """z[t] ~ N(f(z[t - 1]), 0.5^2), x[t] ~ N(g(z[t]), 1): posteriors and priors of all steps are those of one loop."""

    TIME, SIZE, LATENT = 5, 2, 3

    def __init__(self, seed: int = 0, **kwargs):
        super().__init__(seed=seed, **kwargs)
        self.transition = dense(self.LATENT, self.LATENT)
        self.inference = kv.Normal(self.LATENT, dense(self.LATENT + self.SIZE, 8))
        self.likelihood = kv.FixedScaleNormal((self.TIME, self.SIZE))
        self.emission = keras.layers.Dense(self.SIZE)

    def build(self, input_shape):
        self.inference.build((None, self.LATENT + self.SIZE))
        self.emission.build((None, self.LATENT))
        self.likelihood.build((None, self.TIME, self.SIZE))

    def call(self, inputs, training=None) -> kv.Trace:
        x = self.open_samples(inputs)  # [samples, batch, time, size]
        frames = tf.unstack(x, axis=-2)
        frames = tf.stack(frames)  # [time, samples, batch, size]

        def step(state, given):
            number, frame = given
            z, *_ = state
            predicted = by_rows(self.transition, z)
            q = self.inference(tf.concat([predicted, frame], axis=-1))
            p = tfd.Independent(tfd.Normal(predicted, 0.5), 1)
            with iteration(number):
                drawn = self.draw(q, p, opens=False).value
            return drawn, q.distribution.loc, q.distribution.scale, predicted

        start = tf.zeros(tf.concat([tf.shape(frames)[1:-1], [self.LATENT]], axis=0))
        start = tf.ensure_shape(start, [*frames.shape[1:-1], self.LATENT])
        steps = tf.scan(step, (tf.range(self.TIME), frames), (start, start, start, start))
        z, loc, scale, predicted = (tf.stack(tf.unstack(part), axis=-2) for part in steps)  # [..., time, latent]
        posterior = tfd.Independent(tfd.Normal(loc, scale), 2)
        prior = tfd.Independent(tfd.Normal(predicted, 0.5), 2)
        return kv.Trace(inputs, self.likelihood(self.emission(z)), {"z": kv.Latent(z, posterior, prior)})

    def reconstruct(self, inputs) -> tf.Tensor:
        return tf.reduce_mean(self(inputs).likelihood.mean(), axis=0)


class _Layers(tfd.Distribution):
    """Each value is of one of several layers, summed out: log p(x) = sum over values of log sum_k m_k N(x | mean_k)."""

    def __init__(self, log_masks, means, scale):
        super().__init__(tf.float32, tfd.FULLY_REPARAMETERIZED, validate_args=False, allow_nan_stats=True)
        self.log_masks, self.means, self.scale = log_masks, means, scale  # [..., size, layers]

    def _batch_shape(self):
        return self.means.shape[:-2]

    def _event_shape(self):
        return self.means.shape[-2:-1]

    def _log_prob(self, value):
        densities = tfd.Normal(self.means, self.scale).log_prob(value[..., None])
        return tf.reduce_sum(tf.reduce_logsumexp(self.log_masks + densities, axis=-1), axis=-1)

    def _mean(self):
        return tf.reduce_sum(tf.exp(self.log_masks) * self.means, axis=-1)


class Masks(kv.LatentVariableModel):
    """Two layers of values; which value is of which layer is a latent variable that is summed out."""

    SIZE, LAYERS = 6, 2

    def __init__(self, seed: int = 0, **kwargs):
        super().__init__(seed=seed, **kwargs)
        self.posterior = kv.Normal(2, dense(self.SIZE, 8))
        self.prior = kv.StandardNormal(2)
        self.attention = keras.layers.Dense(self.SIZE * self.LAYERS)
        self.decoder = keras.Sequential(
            [
                dense(2, 8),
                keras.layers.Dense(self.SIZE * self.LAYERS * 2),
                keras.layers.Reshape((self.SIZE, self.LAYERS, 2)),
            ]
        )

    @property
    def takes(self) -> kv.Inputs:
        return kv.Inputs(kv.Field((self.SIZE,)))

    def call(self, inputs, training=None) -> kv.Trace:
        z = self.draw(self.posterior(inputs), self.prior())
        logits, means = tf.unstack(by_rows(self.decoder, z.value), axis=-1)  # [samples, batch, size, layers]
        given_x = tf.reshape(self.attention(inputs), [-1, self.SIZE, self.LAYERS])
        of_x, of_z = (tfd.Independent(tfd.Categorical(logits=part), 1) for part in (given_x, logits))
        mask = kv.Latent(None, of_x, of_z)
        return kv.Trace(inputs, _Layers(tf.nn.log_softmax(logits), means, 0.5), {"z": z, "mask": mask})

    def reconstruct(self, inputs) -> tf.Tensor:
        return tf.reduce_mean(self(inputs).likelihood.mean(), axis=0)


class _Tokens(tfd.Distribution):
    """p(tokens | z) = product over the tokens of p(token | tokens before, z), up to a length; a network runs in it."""

    def __init__(self, network, z, training):
        super().__init__(tf.float32, tfd.NOT_REPARAMETERIZED, validate_args=False, allow_nan_stats=True)
        self.network, self.z, self.training = network, z, training

    def _batch_shape(self):
        return self.z.shape[:-1]

    def _event_shape(self):
        return tf.TensorShape([None])

    def log_prob(self, value):
        tokens, length = value["tokens"], value["length"]
        time = tf.shape(tokens)[1]
        before = tf.pad(tokens[:, :-1], [[0, 0], [1, 0]])
        context = tf.repeat(self.z[..., None, :], time, axis=-2)  # [samples, batch, time, latent]
        words = tf.one_hot(before, SENTENCE_WORDS)
        words = tf.broadcast_to(words, tf.concat([tf.shape(context)[:-1], [SENTENCE_WORDS]], axis=0))
        logits = self.network(tf.concat([words, context], axis=-1), training=self.training)
        chosen = tf.nn.log_softmax(logits) * tf.one_hot(tokens, SENTENCE_WORDS)
        there = tf.sequence_mask(length, time, tf.float32)
        return tf.reduce_sum(tf.reduce_sum(chosen, axis=-1) * there, axis=-1)


SENTENCE_WORDS = 5


class Sentences(kv.LatentVariableModel):
    """Sequences of tokens of different lengths; each token is given the one before and a latent vector."""

    def __init__(self, seed: int = 0, **kwargs):
        super().__init__(seed=seed, **kwargs)
        self.posterior = kv.Normal(2, dense(SENTENCE_WORDS, 8))
        self.prior = kv.StandardNormal(2)
        size = SENTENCE_WORDS + 2
        self.network = keras.Sequential(
            [keras.layers.Dense(8, "tanh"), kv.networks.MaskingNoise(0.3), keras.layers.Dense(SENTENCE_WORDS)]
        )
        self.network.build((None, None, None, size))

    @property
    def takes(self) -> kv.Inputs:
        tokens = kv.Field((None,), "tokens", "int32", words="tokens")
        return kv.Inputs({"tokens": tokens, "length": kv.Field((), "length", "int32", words="lengths")})

    def _posterior(self, inputs):
        there = tf.sequence_mask(inputs["length"], tf.shape(inputs["tokens"])[1], tf.float32)
        counts = tf.reduce_sum(tf.one_hot(inputs["tokens"], SENTENCE_WORDS) * there[..., None], axis=1)
        return self.posterior(counts)

    def call(self, inputs, training=None) -> kv.Trace:
        z = self.draw(self._posterior(inputs), self.prior())
        likelihood = _Tokens(self.network, z.value, training)
        return kv.Trace(inputs, likelihood, {"z": z}, units={"token": inputs["length"]})

    def reconstruct(self, inputs) -> tf.Tensor:
        return self._posterior(inputs).mean()


class PartlyLabelled(kv.LatentVariableModel):
    """A VAE whose code also tells a label, which some examples have."""

    SIZE, CLASSES = 6, 3

    def __init__(self, seed: int = 0, **kwargs):
        super().__init__(seed=seed, **kwargs)
        self.posterior = kv.Normal(2, dense(self.SIZE, 8))
        self.prior = kv.StandardNormal(2)
        self.likelihood = kv.Bernoulli(self.SIZE, dense(2, 8))
        self.classifier = keras.layers.Dense(self.CLASSES)

    @property
    def takes(self) -> kv.Inputs:
        observed = kv.Field((self.SIZE,), observed=self.likelihood)
        return kv.Inputs(observed, y=kv.Field((self.CLASSES,), "label", words="labels", optional=True))

    def call(self, inputs, training=None) -> kv.Trace:
        x, label = inputs
        posterior = self.posterior(x)
        z = self.draw(posterior, self.prior())
        log_probs = tf.nn.log_softmax(self.classifier(posterior.mean()))
        wrong = -tf.reduce_sum(label.value * log_probs, axis=-1)
        terms = {"supervised": tf.where(label.known, wrong, 0.0)}
        return kv.Trace(x, self.likelihood(z.value), {"z": z}, terms, context=x)

    def reconstruct(self, inputs) -> tf.Tensor:
        x, _ = inputs
        return tf.nn.softmax(self.classifier(self.posterior(x).mean()))


class Adversarial(kv.Objective):
    """-log p(x | z), and a critic that is to tell draws of q(z | x) from draws of the prior, and can not."""

    def __init__(self, critic: keras.layers.Layer):
        self.critic = critic

    @property
    def groups(self):
        return {"critic": [self.critic]}

    def _real_and_drawn(self, trace):
        (z,) = trace.latents.values()
        prior = z.prior.sample(tf.shape(z.value)[:2], seed=fold(7))
        return self.critic(prior[0])[:, 0], self.critic(z.value[0])[:, 0]

    def __call__(self, trace):
        _, drawn = self._real_and_drawn(trace)
        return tf.math.softplus(-drawn) - tf.reduce_mean(trace.log_likelihood, axis=0)

    def losses(self, trace):
        real, drawn = self._real_and_drawn(trace)
        return {"critic": tf.math.softplus(-real) + tf.math.softplus(drawn)}


def adversarial_autoencoder() -> kv.VAE:
    return kv.VAE(kv.Normal(2, dense(6, 8)), kv.Bernoulli(6, dense(2, 8)), kv.StandardNormal(2))


def tokens(count=12, time=5) -> dict:
    length = RNG.integers(1, time + 1, count).astype("int32")
    words = RNG.integers(0, SENTENCE_WORDS, (count, time)).astype("int32")
    return {"tokens": np.where(np.arange(time) < length[:, None], words, 0), "length": length}


BINARY = RNG.integers(0, 2, (12, 6)).astype("float32")
LABELS = np.where(np.arange(12)[:, None] % 2, np.eye(3)[np.arange(12) % 3], np.nan)

# name: model, objective, x, y, optimizer
STRUCTURES = {
    "variable number of objects": (
        Objects,
        lambda: kv.ScoreFunction(4, kv.LearnedBaseline(dense(6, 4))),
        RNG.normal(size=(12, 6)).astype("float32"),
        None,
        {"model": "adam", "baseline": keras.optimizers.SGD},
    ),
    "scan over time": (
        StateSpace,
        lambda: kv.ELBO(samples=3),
        RNG.normal(size=(12, 5, 2)).astype("float32"),
        None,
        None,
    ),
    "mask summed out": (
        Masks,
        lambda: kv.ELBO(beta={"z": 0.5, "mask": 0.5}),
        RNG.normal(size=(12, 6)).astype("float32"),
        None,
        None,
    ),
    "tokens with lengths": (Sentences, lambda: kv.IWAE(3), tokens(), None, None),
    "partly labelled": (PartlyLabelled, lambda: kv.Weighted(kv.ELBO(), {"supervised": 2.0}), BINARY, LABELS, None),
    "two optimizers": (
        adversarial_autoencoder,
        lambda: Adversarial(keras.Sequential([dense(2, 8), keras.layers.Dense(1)])),
        BINARY,
        None,
        {"model": "adam", "critic": keras.optimizers.SGD},
    ),
}


def compiled(name: str, **options) -> kv.LatentVariableModel:
    """One of the models, with seeded weights, compiled as users compile."""
    model, objective, _, _, optimizer = STRUCTURES[name]
    keras.utils.set_random_seed(0)
    made = model()
    optimizers = {group: kind if isinstance(kind, str) else kind(0.01) for group, kind in (optimizer or {}).items()}
    made.compile(optimizers or "adam", objective(), **options)
    return made
