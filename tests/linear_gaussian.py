"""A linear VAE whose posterior and log p(x) are known in closed form."""

import numpy as np
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp

import keras_vae as kv

tfd = tfp.distributions

# p(z) = N(0, I), p(x | z) = N(W z + mean, variance I), with orthogonal columns of W: the exact posterior is diagonal.
RNG = np.random.default_rng(0)
SIZE, LATENT, VARIANCE = 5, 2, 0.3
W = np.linalg.qr(RNG.normal(size=(SIZE, LATENT)))[0] * [2.0, 0.7]
MEAN = RNG.normal(size=SIZE)
PRECISION = np.diag(W.T @ W) / VARIANCE + 1.0  # of z given x
X = (RNG.normal(size=(40, LATENT)) @ W.T + MEAN + np.sqrt(VARIANCE) * RNG.normal(size=(40, SIZE))).astype("float32")
LOG_P = scipy.stats.multivariate_normal(MEAN, W @ W.T + VARIANCE * np.eye(SIZE)).logpdf(X)


def linear_vae(shift=0.0):
    """The linear-Gaussian model; `shift` moves its posterior away from the exact one."""
    posterior = kv.FixedScaleNormal(LATENT)
    likelihood = kv.FixedScaleNormal(SIZE, scale=float(np.sqrt(VARIANCE)))
    model = kv.VAE(posterior, likelihood, kv.StandardNormal(LATENT))
    model.compile("adam", kv.ELBO())
    model.build((None, SIZE))
    gain = (W / VARIANCE) / PRECISION
    posterior.head.set_weights([gain, -MEAN @ gain + shift])
    likelihood.head.set_weights([W.T, MEAN])
    return model


class ExactPosterior(kv.DistributionLayer):
    """Linear location, one given standard deviation for each dimension."""

    def __init__(self, event_shape, stddev, **kwargs):
        super().__init__(event_shape, **kwargs)
        self.stddev = stddev

    def distribution(self, params):
        return tfd.Independent(tfd.Normal(params[..., 0], tf.constant(self.stddev, tf.float32)), 1)


def exact_vae(shift=0.0):
    """The linear-Gaussian model with its exact posterior."""
    model = linear_vae(shift)
    posterior = ExactPosterior(LATENT, list(PRECISION**-0.5))
    exact = kv.VAE(posterior, model.likelihood, model.prior)
    exact.compile("adam", kv.ELBO())
    exact.build((None, SIZE))
    posterior.head.set_weights(model.posterior.head.get_weights())
    return exact
