"""Two layers of latent variables against one, on MNIST with dynamic binarization, at equal epochs.

The two networks of Burda et al. 2016, arXiv:1509.00519: 50 latents, or 100 and above them 50.

    python examples/two_layers.py
"""

from compare import arguments, compare, train

import keras_vae as kv


def one_layer(shape: tuple[int, ...]) -> kv.VAE:
    """784 - 200 - 200 - 50 and back."""
    return kv.VAE(
        posterior=kv.Normal(50, kv.dense_encoder(shape, units=[200, 200], activation="tanh")),
        likelihood=kv.Bernoulli(shape, kv.dense_decoder(50, units=[200, 200], activation="tanh")),
        prior=kv.StandardNormal(50),
    )


def two_layers(shape: tuple[int, ...]) -> kv.HierarchicalVAE:
    """784 - 200 - 200 - 100 - 100 - 100 - 50 and back."""
    return kv.HierarchicalVAE(
        posteriors=[
            kv.Normal(100, kv.dense_encoder(shape, units=[200, 200], activation="tanh")),
            kv.Normal(50, kv.dense_encoder(100, units=[100, 100], activation="tanh")),
        ],
        likelihood=kv.Bernoulli(shape, kv.dense_decoder(100, units=[200, 200], activation="tanh")),
        priors=[kv.Normal(100, kv.dense_decoder(50, units=[100, 100], activation="tanh")), kv.StandardNormal(50)],
    )


def main() -> None:
    """Trains and scores both."""
    options = arguments(__doc__, epochs=60)
    data = kv.datasets.load("mnist", batch_size=options.batch_size, likelihood=kv.Bernoulli)

    def trained(build):
        return train(build(data.shape), data, options)

    compare(trained, {"one layer": one_layer, "two layers": two_layers}, data.test, options)


if __name__ == "__main__":
    main()
