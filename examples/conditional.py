"""A VAE that knows the label of each image against its twin that does not, on MNIST with dynamic binarization.

Sohn, Lee & Yan 2015 (NeurIPS); the network of Burda et al. 2016, arXiv:1509.00519, with the label beside the image.

    python examples/conditional.py
"""

from types import SimpleNamespace

import keras
import tensorflow as tf
import tensorflow_datasets as tfds
from compare import arguments, compare, train

import keras_vae as kv

LATENTS, LABELS, PIXELS = 50, 10, 784


def load_data(batch_size: int) -> SimpleNamespace:
    """Pairs of images, binarized anew in each training batch, and one-hot labels."""
    splits = tfds.load("mnist", split=["train[:50000]", "test"], batch_size=-1, download=False)

    def pairs(split, name, seed):
        images = tf.cast(split["image"], tf.float32) / 255
        labels = keras.utils.to_categorical(split["label"], LABELS)
        dataset = tf.data.Dataset.from_tensor_slices((images, labels))
        if name == "train":
            dataset = dataset.shuffle(len(labels), seed=0)

        def binarize(number, pair):
            image, label = pair
            uniform = tf.random.uniform(tf.shape(image)) if seed is None else draws(number, image)
            return tf.cast(uniform < image, tf.float32), label

        def draws(number, image):  # the test images are drawn once
            return tf.random.stateless_uniform(tf.shape(image), tf.stack([seed, number]))

        dataset = dataset.batch(batch_size).enumerate().map(binarize, num_parallel_calls=2).prefetch(20)
        options = tf.data.Options()
        options.autotune.enabled = False  # its thread may hold up the end of an epoch
        return dataset.with_options(options)

    train_split, test_split = splits
    return SimpleNamespace(
        train=pairs(train_split, "train", None),
        test=pairs(test_split, "test", tf.constant(1, tf.int64)),
        sizes={"train": 50_000},
    )


def unconditional() -> kv.VAE:
    """784 - 200 - 200 - 50 and back; it ignores the labels."""
    shape = (28, 28, 1)
    return kv.VAE(
        posterior=kv.Normal(LATENTS, kv.dense_encoder(shape, units=[200, 200], activation="tanh")),
        likelihood=kv.Bernoulli(shape, kv.dense_decoder(LATENTS, units=[200, 200], activation="tanh")),
        prior=kv.StandardNormal(LATENTS),
    )


def conditional() -> kv.ConditionalVAE:
    """The same with the label in posterior, likelihood and prior."""
    encoder = kv.dense_encoder(PIXELS + LABELS, units=[200, 200], activation="tanh")
    decoder = kv.dense_decoder(LATENTS + LABELS, units=[200, 200], activation="tanh")
    return kv.ConditionalVAE(
        posterior=kv.Normal(LATENTS, kv.Concatenated(encoder)),
        likelihood=kv.Bernoulli((28, 28, 1), kv.Concatenated(decoder)),
        prior=kv.Normal(LATENTS),
        condition_shape=LABELS,
    )


def main() -> None:
    """Trains and scores both."""
    options = arguments(__doc__, epochs=30)
    data = load_data(options.batch_size)

    def trained(build):
        return train(build(), data, options)

    compare(trained, {"unconditional": unconditional, "conditional": conditional}, data.test, options)


if __name__ == "__main__":
    main()
