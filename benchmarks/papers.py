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


def mean_of(data: kv.datasets.Data) -> np.ndarray:
    """Of the observations of one epoch of training, shape (784,)."""
    batches = (batch[0] if isinstance(batch, tuple) else batch for batch in data.train)
    total = sum(np.sum(batch, axis=0, dtype=np.float64) for batch in batches)
    return np.reshape(total / data.sizes["train"], PIXELS)


def less(mean: np.ndarray, inputs: int = PIXELS) -> keras.layers.Layer:
    """Takes the mean off, of the first 784 of the inputs: as another bias of the first layer would, which learns slower."""
    mean = np.concatenate([mean, np.zeros(inputs - PIXELS)])
    return keras.layers.Normalization(mean=mean, variance=np.ones(inputs))


def tanh_encoder(mean: np.ndarray, labels: int = 0) -> keras.Model:
    """784-200-200, tanh, of images, or of vectors of images and labels."""
    x = inputs = keras.Input((PIXELS + labels,) if labels else SHAPE)
    x = less(mean, PIXELS + labels)(keras.layers.Flatten()(x))
    for width in (200, 200):
        x = keras.layers.Dense(width, activation="tanh")(x)
    return keras.Model(inputs, x)


def tanh(inputs: int, *units: int) -> keras.Model:
    return kv.dense_decoder(inputs, units, "tanh")


def started(model: kv.LatentVariableModel, mean: np.ndarray) -> kv.LatentVariableModel:
    """The model, built, with the pixels' bias at the logits of their mean, as Burda et al. begin."""
    model.build((None, *SHAPE))
    (bias,) = (weight for weight in model.likelihood.weights if tuple(weight.shape) == (PIXELS,))
    mean = np.clip(mean, 0.001, 0.999)
    bias.assign(np.log(mean / (1 - mean)))
    return model


def one_layer(seed: int, mean: np.ndarray) -> kv.VAE:
    """784-200-200-50 and back, tanh, of Burda et al."""
    return kv.VAE(
        posterior=kv.Normal(LATENTS, tanh_encoder(mean)),
        likelihood=kv.Bernoulli(SHAPE, tanh(LATENTS, 200, 200)),
        prior=kv.StandardNormal(LATENTS),
        seed=seed,
    )


def two_layers(seed: int, mean: np.ndarray) -> kv.HierarchicalVAE:
    """784-200-200-100-100-100-50 and back, tanh, of Burda et al."""
    first, second = 100, 50
    return kv.HierarchicalVAE(
        posteriors=[kv.Normal(first, tanh_encoder(mean)), kv.Normal(second, tanh(first, 100, 100))],
        likelihood=kv.Bernoulli(SHAPE, tanh(first, 200, 200)),
        priors=[kv.Normal(first, tanh(second, 100, 100)), kv.StandardNormal(second)],
        seed=seed,
    )


def conditional(seed: int, mean: np.ndarray) -> kv.ConditionalVAE:
    """`one_layer` with the label beside the image, beside the code, and in the prior."""
    return kv.ConditionalVAE(
        posterior=kv.Normal(LATENTS, kv.Concatenated(tanh_encoder(mean, LABELS))),
        likelihood=kv.Bernoulli(SHAPE, kv.Concatenated(tanh(LATENTS + LABELS, 200, 200))),
        prior=kv.Normal(LATENTS),
        condition_shape=LABELS,
        seed=seed,
    )


def flow(seed: int, mean: np.ndarray) -> kv.VAE:
    """`one_layer` with an inverse autoregressive flow of two steps, Kingma et al. 2016, arXiv:1606.04934."""
    return kv.VAE(
        posterior=kv.InverseAutoregressiveFlow(LATENTS, tanh_encoder(mean)),
        likelihood=kv.Bernoulli(SHAPE, tanh(LATENTS, 200, 200)),
        prior=kv.StandardNormal(LATENTS),
        seed=seed,
    )


def gated(x, *units: int):
    """Gated dense layers of Dauphin et al. 2017, (W x + b) sigmoid(V x + c), of these widths."""
    for width in units:
        x = keras.ops.glu(keras.layers.Dense(2 * width, kernel_initializer="he_normal")(x))
    return x


def gated_network(inputs: int, *units: int) -> keras.Model:
    x = keras.Input((inputs,))
    return keras.Model(x, gated(x, *units))


def gated_encoder(mean: np.ndarray, *units: int) -> keras.Model:
    x = keras.Input(SHAPE)
    return keras.Model(x, gated(less(mean)(keras.layers.Flatten()(x)), *units))


def gated_pair(first: int, second: int) -> keras.Model:
    """Two vectors side by side, each through a gated layer of its own, then one for both."""
    both = keras.Input((first + second,))
    parts = gated(both[:, :first], 300), gated(both[:, first:], 300)
    return keras.Model(both, gated(keras.layers.Concatenate()(parts), 300))


def vamp_prior() -> kv.VampPrior:
    return kv.VampPrior(VAMP_LATENTS, PSEUDO_INPUTS, mean=0.05, stddev=0.01)


def gated_vae(seed: int, mean: np.ndarray) -> kv.VAE:
    """784-300-300-40 and back, gated, of Tomczak & Welling."""
    return _gated_vae(kv.StandardNormal(VAMP_LATENTS), seed, mean)


def vamp(seed: int, mean: np.ndarray) -> kv.VAE:
    """`gated_vae` with their prior."""
    return _gated_vae(vamp_prior(), seed, mean)


def _gated_vae(prior: kv.DistributionLayer, seed: int, mean: np.ndarray) -> kv.VAE:
    return kv.VAE(
        posterior=kv.Normal(VAMP_LATENTS, gated_encoder(mean, 300, 300)),
        likelihood=kv.Bernoulli(SHAPE, gated_network(VAMP_LATENTS, 300, 300)),
        prior=prior,
        seed=seed,
    )


@keras.saving.register_keras_serializable("papers")
class TwoLevels(kv.LatentVariableModel):
    """q(z2 | x) q(z1 | x, z2), p(z2) p(z1 | z2) p(x | z1, z2): the "HVAE" of Tomczak & Welling with their prior of z2."""

    def __init__(self, seed: int, mean, **kwargs):
        super().__init__(seed=seed, **kwargs)
        self.mean = np.asarray(mean).tolist()
        mean, latents = np.asarray(mean), VAMP_LATENTS
        self.top = kv.Normal(latents, gated_encoder(mean, 300, 300))
        self.seen = gated_encoder(mean, 300)
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
    """MNIST in one file, bytes and labels: the first `train` training images, the others for validation, all of test."""
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


def static(folder: Path, batch: int, seed: int) -> kv.datasets.Data:
    """The fixed draw of Larochelle & Murray 2011: 50,000 images to train on."""
    return kv.datasets.load("binarized_mnist", batch, kv.Bernoulli, seed=seed)
