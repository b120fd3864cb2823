"""Log-odds of pixels that begin at 0, and at the mean of the data: MNIST with dynamic binarization, equal epochs.

`Data.likelihood` adapts a `Bernoulli` to the data, as Burda et al. 2016, arXiv:1509.00519, do; the network is theirs.

    python examples/adapt.py
"""

from compare import arguments, compare, train

import keras_vae as kv

LATENTS = 50


def build_model(data: kv.datasets.Data, adapted: bool, seed: int) -> kv.VAE:
    """One stochastic layer between two networks of 200-200 tanh units."""
    decoder = kv.dense_decoder(LATENTS, units=[200, 200], activation="tanh")
    return kv.VAE(
        posterior=kv.Normal(LATENTS, kv.dense_encoder(data.shape, units=[200, 200], activation="tanh")),
        likelihood=data.likelihood(decoder) if adapted else kv.Bernoulli(data.shape, decoder),
        prior=kv.StandardNormal(LATENTS),
        seed=seed,
    )


def main() -> None:
    """Trains and scores both."""
    options = arguments(__doc__, epochs=30, learning_rate=3e-3)
    data = kv.datasets.load("mnist", batch_size=options.batch_size, likelihood=kv.Bernoulli)

    def trained(adapted, seed):
        return train(build_model(data, adapted, seed), data, options)

    compare(trained, {"from 0": False, "from the mean of the data": True}, data.test, options)


if __name__ == "__main__":
    main()
