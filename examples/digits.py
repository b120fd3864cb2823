"""Handwritten digits in 30 lines: data in scikit-learn, a VAE, its score on held-out images, and its samples.

python examples/digits.py
"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_vae as kv


def load_data() -> tuple[np.ndarray, np.ndarray]:
    """Binary 8x8 images, drawn once from the grey levels."""
    grey = load_digits().images[..., None] / 16
    binary = (np.random.default_rng(0).random(grey.shape) < grey).astype("float32")
    return train_test_split(binary, test_size=0.1, random_state=0)


def main() -> None:
    """Trains for 100 epochs, a few seconds."""
    train, test = load_data()
    vae = kv.VAE(
        posterior=kv.Normal(8, kv.dense_encoder((8, 8, 1))),
        likelihood=kv.Bernoulli((8, 8, 1), kv.dense_decoder(8)),
        prior=kv.StandardNormal(8),
    )
    vae.compile(optimizer="adam", loss=kv.ELBO())
    vae.fit(train, epochs=100, batch_size=64, validation_data=test, verbose=2)
    print(kv.evaluation.log_likelihood(vae, test, samples=500))
    kv.plotting.samples(vae, seed=0).savefig("digits.png")


if __name__ == "__main__":
    main()
