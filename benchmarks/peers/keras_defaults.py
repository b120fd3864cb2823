"""A VAE as it is commonly written for Keras: a subclass with a `train_step`, a sampling layer, Keras's defaults."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import keras
import tensorflow as tf
from ours import fit_by_epoch
from workloads import LEARNING_RATE, PIXELS, SIDE, Workload, measure


class Sampling(keras.layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seeds = keras.random.SeedGenerator(0)

    def call(self, inputs):
        mean, log_variance = inputs
        noise = keras.random.normal(tf.shape(mean), seed=self.seeds)
        return mean + tf.exp(0.5 * log_variance) * noise


class SubclassedVAE(keras.Model):
    def __init__(self, encoder, decoder):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.means = [keras.metrics.Mean(name=name) for name in ("loss", "reconstruction", "kl")]

    @property
    def metrics(self):
        return self.means

    def train_step(self, x):
        with tf.GradientTape() as tape:
            mean, log_variance, z = self.encoder(x)
            probabilities = self.decoder(z)
            pixels = tf.reshape(keras.losses.binary_crossentropy(x, probabilities), [tf.shape(x)[0], -1])
            values = PIXELS // pixels.shape[1]  # binary_crossentropy is a mean over the last axis
            reconstruction = tf.reduce_mean(tf.reduce_sum(pixels, axis=1)) * values
            kl = -0.5 * (1 + log_variance - tf.square(mean) - tf.exp(log_variance))
            kl = tf.reduce_mean(tf.reduce_sum(kl, axis=1))
            loss = reconstruction + kl
        gradients = tape.gradient(loss, self.trainable_weights)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        for tracker, value in zip(self.means, (loss, reconstruction, kl), strict=True):
            tracker.update_state(value)
        return {tracker.name: tracker.result() for tracker in self.means}


def build(workload: Workload):
    shape = (SIDE, SIDE, 1) if workload.convolutional else (PIXELS,)
    dense, layers = keras.layers.Dense, keras.layers
    x = h = keras.Input(shape)
    z = g = keras.Input((workload.latent,))
    if workload.convolutional:
        for filters in workload.units:
            h = layers.Conv2D(filters, 3, strides=2, padding="same", activation="relu")(h)
        h = layers.Flatten()(h)
        g = layers.Reshape((7, 7, 64))(dense(7 * 7 * 64, activation="relu")(g))
        for filters in workload.units[::-1]:
            g = layers.Conv2DTranspose(filters, 3, strides=2, padding="same", activation="relu")(g)
        g = layers.Conv2D(1, 1, activation="sigmoid")(g)
    else:
        for units in workload.units:
            h = dense(units, activation=workload.activation)(h)
        for units in workload.units[::-1]:
            g = dense(units, activation=workload.activation)(g)
        g = dense(PIXELS, activation="sigmoid")(g)
    mean, log_variance = dense(workload.latent)(h), dense(workload.latent)(h)
    encoder = keras.Model(x, [mean, log_variance, Sampling()([mean, log_variance])])
    return SubclassedVAE(encoder, keras.Model(z, g)), shape


def epochs(workload: Workload):
    model, shape = build(workload)
    model.compile(keras.optimizers.Adam(LEARNING_RATE))
    yield from fit_by_epoch(model, workload.images().reshape(-1, *shape), batch_size=workload.batch)


if __name__ == "__main__":
    measure(epochs, sys.argv[1:])
