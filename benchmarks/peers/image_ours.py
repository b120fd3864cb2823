"""keras_vae: the image models as examples/vqvae.py, top_down.py and vae_and_gan.py have them; `compile` and `fit`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import keras
import numpy as np
from ours import fit_by_epoch
from workloads import (
    CODES,
    FINE,
    GRID,
    LATENT,
    LEARNING_RATE,
    SIDE,
    TOP,
    UNITS,
    VECTOR,
    WEIGHT,
    ImageModel,
    measure,
)

import keras_vae as kv
from keras_vae.models.codes import KeptCodes

IMAGE = (SIDE, SIDE, 1)


def vqvae() -> tuple[kv.VQVAE, kv.Objective]:
    posterior = kv.VectorQuantized((*GRID, 1), kv.residual_encoder(IMAGE, [16, 32]), CODES, VECTOR)
    decode = kv.residual_decoder(posterior.params_shape, IMAGE, [32, 16])
    model = kv.VQVAE(posterior, kv.DiscretizedLogistic(IMAGE, decode), kv.UniformCategorical((*GRID, 1), CODES))
    return model, kv.Weighted(kv.ELBO(), {"commitment": 0.25})


def pixel_cnn() -> tuple[kv.VQVAE, kv.Objective]:
    first, _ = vqvae()
    first.build((None, *IMAGE))
    return first.with_prior(kv.PixelCNN((*GRID, 1), levels=CODES, kernel_size=3)), kv.ELBO()


def top_down() -> tuple[kv.TopDownVAE, kv.Objective]:
    sizes = [sizes for count, *sizes in (TOP, FINE) for _ in range(count)]
    last = keras.Sequential([keras.Input((*GRID, FINE[2])), keras.layers.Activation("relu")])
    for count in (16, 8):
        last.add(keras.layers.Conv2DTranspose(count, 4, strides=2, padding="same", activation="relu"))
    encoder = kv.bottom_up_encoder(IMAGE, [2, 2, 7], [16, 32, 128], blocks=1, activation="relu")
    blocks = [kv.TopDownBlock((side, side), filters, size, activation="relu") for side, filters, size in sizes]
    return kv.TopDownVAE(encoder, blocks, kv.Bernoulli(IMAGE, last)), kv.ELBO()


def vae_gan() -> tuple[kv.VAE, kv.Objective]:
    model = kv.VAE(
        kv.Normal(LATENT, kv.dense_encoder(IMAGE, UNITS)),
        kv.DiscretizedLogistic(IMAGE, kv.dense_decoder(LATENT, UNITS[::-1])),
        kv.StandardNormal(LATENT),
    )
    critic = keras.Sequential([keras.Input(IMAGE), keras.layers.Flatten()])
    for units in UNITS:
        critic.add(keras.layers.Dense(units))
        critic.add(keras.layers.LeakyReLU(0.2))
    critic.add(keras.layers.Dense(1))
    return model, kv.Adversarial(critic, kv.ELBO(), WEIGHT)


MODELS = {function.__name__: function for function in (vqvae, pixel_cnn, top_down, vae_gan)}


def compiled(workload: ImageModel, **options) -> kv.LatentVariableModel:
    """A model, and the optimizers of its groups."""
    model, objective = MODELS[workload.loss]()
    names = ["model", *objective.groups]
    optimizers = {name: keras.optimizers.Adam(LEARNING_RATE, workload.beta_1) for name in names}
    model.compile(optimizers if objective.groups else optimizers["model"], objective, **options)
    return model


def data_of(workload: ImageModel):
    """Images, or codes that are kept of them."""
    data = workload.data()
    if workload.loss == "pixel_cnn":
        return KeptCodes({"z": data[..., None]}, np.zeros(len(data), np.float32))
    return data


def epochs(workload: ImageModel):
    keras.utils.set_random_seed(0)
    yield from fit_by_epoch(compiled(workload), data_of(workload), batch_size=workload.batch)


if __name__ == "__main__":
    measure(epochs, sys.argv[1:])
