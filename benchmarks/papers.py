"""The models of the published table: networks and data as their papers have them."""

import os
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

import keras_vae as kv
from keras_vae.files import replacing

SHAPE = (28, 28, 1)
PIXELS, LABELS = 784, 10
LATENTS = 50  # of Burda et al. 2016, arXiv:1509.00519
VAMP_LATENTS, PSEUDO_INPUTS = 40, 500  # of Tomczak & Welling 2018, arXiv:1705.07120


def tanh_encoder(inputs=SHAPE, units=(200, 200)) -> keras.Model:
    return kv.dense_encoder(inputs, units, "tanh")


def tanh_decoder(inputs=LATENTS, units=(200, 200)) -> keras.Model:
    return kv.dense_decoder(inputs, units, "tanh")


def one_layer(seed: int) -> kv.VAE:
    """784-200-200-50 and back, tanh, of Burda et al."""
    return kv.VAE(
        posterior=kv.Normal(LATENTS, tanh_encoder()),
        likelihood=kv.Bernoulli(SHAPE, tanh_decoder()),
        prior=kv.StandardNormal(LATENTS),
        seed=seed,
    )


def two_layers(seed: int) -> kv.HierarchicalVAE:
    """784-200-200-100-100-100-50 and back, tanh, of Burda et al."""
    first, second = 100, 50
    return kv.HierarchicalVAE(
        posteriors=[
            kv.Normal(first, tanh_encoder()),
            kv.Normal(second, tanh_encoder(first, (100, 100))),
        ],
        likelihood=kv.Bernoulli(SHAPE, tanh_decoder(first)),
        priors=[kv.Normal(first, tanh_decoder(second, (100, 100))), kv.StandardNormal(second)],
        seed=seed,
    )


def conditional(seed: int) -> kv.ConditionalVAE:
    """`one_layer` with the label beside the image, beside the code, and in the prior."""
    return kv.ConditionalVAE(
        posterior=kv.Normal(LATENTS, kv.Concatenated(tanh_encoder(PIXELS + LABELS))),
        likelihood=kv.Bernoulli(SHAPE, kv.Concatenated(tanh_decoder(LATENTS + LABELS))),
        prior=kv.Normal(LATENTS),
        condition_shape=LABELS,
        seed=seed,
    )


def flow(seed: int) -> kv.VAE:
    """`one_layer` with an inverse autoregressive flow of two steps, Kingma et al. 2016, arXiv:1606.04934."""
    return kv.VAE(
        posterior=kv.InverseAutoregressiveFlow(LATENTS, tanh_encoder()),
        likelihood=kv.Bernoulli(SHAPE, tanh_decoder()),
        prior=kv.StandardNormal(LATENTS),
        seed=seed,
    )


def gated(x, *units: int):
    """Gated dense layers of Dauphin et al. 2017, (W x + b) sigmoid(V x + c), of these widths."""
    for width in units:
        x = keras.ops.glu(keras.layers.Dense(2 * width, kernel_initializer="he_normal")(x))
    return x


def gated_network(inputs, *units: int) -> keras.Model:
    x = keras.Input(inputs if isinstance(inputs, tuple) else (inputs,))
    return keras.Model(x, gated(keras.layers.Flatten()(x), *units))


def gated_pair(first: int, second: int) -> keras.Model:
    """Two vectors side by side, each through a gated layer of its own, then one for both."""
    both = keras.Input((first + second,))
    parts = gated(both[:, :first], 300), gated(both[:, first:], 300)
    return keras.Model(both, gated(keras.layers.Concatenate()(parts), 300))


def vamp_prior() -> kv.VampPrior:
    return kv.VampPrior(VAMP_LATENTS, PSEUDO_INPUTS, mean=0.05, stddev=0.01)


def gated_vae(seed: int) -> kv.VAE:
    """784-300-300-40 and back, gated, of Tomczak & Welling."""
    return _gated_vae(kv.StandardNormal(VAMP_LATENTS), seed)


def vamp(seed: int) -> kv.VAE:
    """`gated_vae` with their prior."""
    return _gated_vae(vamp_prior(), seed)


def _gated_vae(prior: kv.DistributionLayer, seed: int) -> kv.VAE:
    return kv.VAE(
        posterior=kv.Normal(VAMP_LATENTS, gated_network(SHAPE, 300, 300)),
        likelihood=kv.Bernoulli(SHAPE, gated_network(VAMP_LATENTS, 300, 300)),
        prior=prior,
        seed=seed,
    )


@keras.saving.register_keras_serializable("papers")
class TwoLevels(kv.LatentVariableModel):
    """The "HVAE" of Tomczak & Welling: q(z2 | x) q(z1 | x, z2), p(z2) p(z1 | z2) p(x | z1, z2), with their prior."""

    def __init__(self, seed: int = 0, **kwargs):
        super().__init__(seed=seed, **kwargs)
        latents = VAMP_LATENTS
        self.top = kv.Normal(latents, gated_network(SHAPE, 300, 300))
        self.seen = gated_network(SHAPE, 300)
        joint = keras.Input((latents + 300,))  # z2, and what was seen of x
        below = gated(keras.layers.Concatenate()([gated(joint[:, :latents], 300), joint[:, latents:]]), 300)
        self.bottom = kv.Normal(latents, kv.Concatenated(keras.Model(joint, below)))
        self.prior_of_top = vamp_prior()
        self.prior_of_bottom = kv.Normal(latents, gated_network(latents, 300, 300))
        self.likelihood = kv.Bernoulli(SHAPE, gated_pair(latents, latents))

    def build(self, input_shape):
        latent = (None, VAMP_LATENTS)
        self.top.build((None, *SHAPE))
        self.bottom.build([latent, (None, 300)])
        self.prior_of_top.relate(self.top, self.likelihood)
        self.prior_of_top.build()
        self.prior_of_bottom.build(latent)
        self.likelihood.build((None, 2 * VAMP_LATENTS))

    def call(self, inputs, training=None) -> kv.Trace:
        return self.tracer(inputs)()

    def tracer(self, x):
        x = self._as_batch(x)
        top, prior_of_top, seen = self.top(x), self.prior_of_top(), self.seen(x)

        def draw_trace():
            z2 = self.draw(top, prior_of_top)
            z1 = self.draw(self.bottom((z2.value, seen)), self.prior_of_bottom(z2.value), opens=False)
            likelihood = self.likelihood(tf.concat([z1.value, z2.value], axis=-1))
            return kv.Trace(x, likelihood, {"z1": z1, "z2": z2})

        return draw_trace


def images(folder: Path, train: int) -> Path:
    """MNIST in one file, bytes and labels; the training images beyond the first `train` are for validation."""
    path = folder / f"mnist-{train}.npz"
    if not path.exists():
        splits = tfds.load("mnist", batch_size=-1, data_dir=os.environ.get("TFDS_DATA_DIR"))
        x, y = ({name: np.asarray(part[key]) for name, part in splits.items()} for key in ("image", "label"))
        with replacing(path) as partial:
            np.savez(
                partial,
                x_train=x["train"][:train],
                y_train=y["train"][:train],
                x_validation=x["train"][train:],
                y_validation=y["train"][train:],
                x_test=x["test"],
                y_test=y["test"],
            )
    return path


def dynamic(folder: Path, batch: int, seed: int, train: int = 59_600, labels: bool = False) -> kv.datasets.Data:
    """Pixels are ones with the probability of their grey level, drawn anew in each batch of training."""
    return kv.datasets.load(images(folder, train), batch, kv.Bernoulli, seed=seed, labels=labels)


def static(batch: int, seed: int) -> kv.datasets.Data:
    """The fixed draw of Larochelle & Murray 2011: 50,000 images to train on."""
    return kv.datasets.load("binarized_mnist", batch, kv.Bernoulli, seed=seed)
