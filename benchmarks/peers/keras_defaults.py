"""A VAE as it is commonly written for Keras: a subclass with a `train_step`, a sampling layer, Keras's defaults."""

import math
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
    def __init__(self, encoder, decoder, samples):
        super().__init__()
        self.encoder, self.decoder, self.samples = encoder, decoder, samples
        self.sampling = Sampling()
        self.means = [keras.metrics.Mean(name=name) for name in ("loss", "reconstruction", "kl")]

    @property
    def metrics(self):
        return self.means

    def bound(self, x):
        if self.samples > 1:
            return self.importance_weighted_bound(x)
        mean, log_variance, z = self.encoder(x)
        reconstruction = tf.reduce_mean(self.cross_entropy(x, self.decoder(z)))
        kl = -0.5 * (1 + log_variance - tf.square(mean) - tf.exp(log_variance))
        kl = tf.reduce_mean(tf.reduce_sum(kl, axis=1))
        return reconstruction + kl, reconstruction, kl

    def importance_weighted_bound(self, x):
        mean, log_variance, _ = self.encoder(x)
        mean, log_variance = (tf.repeat(value, self.samples, axis=0) for value in (mean, log_variance))
        z = self.sampling([mean, log_variance])
        cross_entropy = self.cross_entropy(tf.repeat(x, self.samples, axis=0), self.decoder(z))
        log_ratio = 0.5 * (tf.square(z) - tf.square(z - mean) / tf.exp(log_variance) - log_variance)
        log_ratio = tf.reduce_sum(log_ratio, axis=1)  # log q(z | x) - log p(z)
        log_weight = tf.reshape(-cross_entropy - log_ratio, [-1, self.samples])
        bound = tf.reduce_logsumexp(log_weight, axis=1) - math.log(self.samples)
        return -tf.reduce_mean(bound), tf.reduce_mean(cross_entropy), tf.reduce_mean(log_ratio)

    def cross_entropy(self, x, probabilities):
        pixels = tf.reshape(keras.losses.binary_crossentropy(x, probabilities), [tf.shape(x)[0], -1])
        values = PIXELS // pixels.shape[1]  # binary_crossentropy is a mean over the last axis
        return tf.reduce_sum(pixels, axis=1) * values

    def train_step(self, x):
        with tf.GradientTape() as tape:
            loss, reconstruction, kl = self.bound(x)
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
    return SubclassedVAE(encoder, keras.Model(z, g), workload.samples), shape


def epochs(workload: Workload):
    model, shape = build(workload)
    model.compile(keras.optimizers.Adam(LEARNING_RATE))
    yield from fit_by_epoch(model, workload.images().reshape(-1, *shape), batch_size=workload.batch)


if __name__ == "__main__":
    measure(epochs, sys.argv[1:])
