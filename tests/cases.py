"""One table of every public class; the conformance suite builds, trains, saves, serves and compiles each of them."""

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np

import keras_vae as kv


@dataclass(frozen=True)
class Case:
    """A model that contains the class, and data for it."""

    model: Callable[[], kv.LatentVariableModel]
    data: Callable[[], np.ndarray]
    objective: Callable[[], kv.Objective] = kv.ELBO

    def compiled(self, **kwargs) -> kv.LatentVariableModel:
        """The model with seeded weights, compiled; without XLA, whose compilation takes seconds, unless asked for."""
        keras.utils.set_random_seed(0)
        model = self.model()
        options = {"jit_compile": False} | kwargs
        model.compile(keras.optimizers.Adam(1e-2), loss=self.objective(), **options)
        return model


def binary_images(shape=(8, 8, 1), count=12) -> np.ndarray:
    """Random binary images."""
    return np.random.default_rng(0).integers(0, 2, (count, *shape)).astype("float32")


def vectors(size=5, count=12) -> np.ndarray:
    """Random real vectors."""
    return np.random.default_rng(0).normal(size=(count, size)).astype("float32")


def encoder(shape) -> keras.Model:
    return kv.dense_encoder(shape, units=[8], activation="tanh")


def decoder(size) -> keras.Model:
    return kv.dense_decoder(size, units=[8], activation="tanh")


def image_vae() -> kv.VAE:
    shape = (8, 8, 1)
    return kv.VAE(kv.Normal(3, encoder(shape)), kv.Bernoulli(shape, decoder(3)), kv.StandardNormal(3))


def convolutional_vae() -> kv.VAE:
    shape = (7, 5, 2)  # neither even nor square
    return kv.VAE(
        posterior=kv.Normal(3, kv.convolutional_encoder(shape, filters=[4, 4])),
        likelihood=kv.Bernoulli(shape, kv.convolutional_decoder(3, shape, filters=[4, 4])),
        prior=kv.StandardNormal(3),
    )


def vector_vae(likelihood, prior=kv.StandardNormal, posterior=kv.Normal) -> Callable[[], kv.VAE]:
    def build():
        return kv.VAE(posterior(2, encoder(5)), likelihood(5, decoder(2)), prior(2))

    return build


CASES = {
    "Bernoulli": Case(image_vae, binary_images),
    "convolutional, beta, samples": Case(
        convolutional_vae, lambda: binary_images((7, 5, 2)), lambda: kv.ELBO(beta=0.5, samples=3)
    ),
    "Normal prior and likelihood": Case(vector_vae(kv.Normal, prior=kv.Normal, posterior=kv.FixedScaleNormal), vectors),
    "LearnedScaleNormal prior and likelihood": Case(
        vector_vae(kv.LearnedScaleNormal, prior=kv.LearnedScaleNormal), vectors
    ),
    "FixedScaleNormal likelihood": Case(vector_vae(kv.FixedScaleNormal), vectors),
}


def vectors_with_noise(shape, latent_size: int, count=40) -> np.ndarray:
    """Random real observations that are linear in a few latent variables, but for noise."""
    rng = np.random.default_rng(0)
    size = int(np.prod(shape))
    x = rng.normal(size=(count, latent_size)) @ rng.normal(size=(latent_size, size)) + rng.normal(size=size)
    return (x + rng.normal(size=x.shape) * rng.uniform(0.2, 1, size)).reshape(count, *shape).astype("float32")


def autoencoder(shape, likelihood, corruption) -> Callable[[], kv.Autoencoder]:
    def build():
        code = keras.Sequential([encoder(shape), keras.layers.Dense(2)])
        return kv.Autoencoder(code, likelihood(shape, decoder(2)), corruption(0.4))

    return build


# Models that have no trainable weights, or no posterior: tests/test_linear.py and tests/test_autoencoder.py make the
# checks of the conformance suite on all cases of these tables.
LINEAR = {
    "ProbabilisticPCA": Case(lambda: kv.ProbabilisticPCA(2), lambda: vectors_with_noise((5,), 2)),
    "FactorAnalysis of images": Case(lambda: kv.FactorAnalysis(2), lambda: vectors_with_noise((4, 2, 1), 2)),
}
AUTOENCODERS = {
    "MaskingNoise": Case(autoencoder((8, 8, 1), kv.Bernoulli, kv.MaskingNoise), binary_images),
    "GaussianNoise": Case(autoencoder(5, kv.LearnedScaleNormal, kv.GaussianNoise), vectors, lambda: kv.ELBO(samples=3)),
}
