"""A VAE that knows the label of each image against its twin that does not, on MNIST with dynamic binarization.

Sohn, Lee & Yan 2015 (NeurIPS); the network of Burda et al. 2016, arXiv:1509.00519, with the label beside the image.

    python examples/conditional.py
"""

from compare import arguments, compare, train

import keras_vae as kv

LATENTS, LABELS, PIXELS = 50, 10, 784


def unconditional(data: kv.datasets.Data, seed: int) -> kv.VAE:
    """784 - 200 - 200 - 50 and back; it ignores the labels."""
    return kv.VAE(
        posterior=kv.Normal(LATENTS, kv.dense_encoder(data.shape, units=[200, 200], activation="tanh")),
        likelihood=data.likelihood(kv.dense_decoder(LATENTS, units=[200, 200], activation="tanh")),
        prior=kv.StandardNormal(LATENTS),
        seed=seed,
    )


def conditional(data: kv.datasets.Data, seed: int) -> kv.ConditionalVAE:
    """The same with the label in posterior, likelihood and prior."""
    encoder = kv.dense_encoder(PIXELS + LABELS, units=[200, 200], activation="tanh")
    decoder = kv.dense_decoder(LATENTS + LABELS, units=[200, 200], activation="tanh")
    return kv.ConditionalVAE(
        posterior=kv.Normal(LATENTS, kv.Concatenated(encoder)),
        likelihood=data.likelihood(kv.Concatenated(decoder)),
        prior=kv.Normal(LATENTS),
        condition_shape=LABELS,
        seed=seed,
    )


def main() -> None:
    """Trains and scores both."""
    options = arguments(__doc__, epochs=30)
    data = kv.datasets.load("mnist", options.batch_size, labels=True)  # pairs of images and one-hot labels

    def trained(build, seed):
        return train(build(data, seed), data, options)

    compare(trained, {"unconditional": unconditional, "conditional": conditional}, data.test, options)


if __name__ == "__main__":
    main()
