"""One table of every public class; the conformance suite builds, trains, saves, serves and compiles each of them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

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
    "InverseAutoregressiveFlow posterior": Case(
        vector_vae(kv.FixedScaleNormal, posterior=partial(kv.InverseAutoregressiveFlow, units=[8], context_size=3)),
        vectors,
    ),
    "PlanarFlow posterior, CouplingFlow prior": Case(
        vector_vae(
            kv.FixedScaleNormal,
            prior=partial(kv.CouplingFlow, steps=2, units=[8]),
            posterior=partial(kv.PlanarFlow, steps=2),
        ),
        vectors,
    ),
    "HouseholderFlow posterior, AutoregressiveFlow prior": Case(
        vector_vae(
            kv.FixedScaleNormal,
            prior=partial(kv.AutoregressiveFlow, units=[8]),
            posterior=partial(kv.HouseholderFlow, steps=2),
        ),
        vectors,
    ),
}
