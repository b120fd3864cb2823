"""Two layers of latent variables against one, on MNIST with dynamic binarization, at equal epochs.

The network of Burda et al. 2016, arXiv:1509.00519, with 50 latents and rectified linear units, and the same with 50
more above them: p(z1 | z2) is a normal whose mean depends on z2 and whose scale is 1, that of the one layer's prior.
Beta rises from 0 to 1 in the first third of the epochs (Sonderby et al. 2016, arXiv:1602.02282), or the upper layer
would go unused.

    python examples/two_layers.py
"""

from compare import arguments, compare, train

import keras_vae as kv

LATENTS = 50


def one_layer(data: kv.datasets.Data, seed: int) -> kv.VAE:
    """784 - 200 - 200 - 50 and back."""
    return kv.VAE(
        posterior=kv.Normal(LATENTS, kv.dense_encoder(data.shape, units=[200, 200])),
        likelihood=data.likelihood(kv.dense_decoder(LATENTS, units=[200, 200])),
        prior=kv.StandardNormal(LATENTS),
        seed=seed,
    )


def two_layers(data: kv.datasets.Data, seed: int) -> kv.HierarchicalVAE:
    """784 - 200 - 200 - 50 - 100 - 100 - 50 and back."""
    return kv.HierarchicalVAE(
        posteriors=[
            kv.Normal(LATENTS, kv.dense_encoder(data.shape, units=[200, 200])),
            kv.Normal(LATENTS, kv.dense_encoder(LATENTS, units=[100, 100])),
        ],
        likelihood=data.likelihood(kv.dense_decoder(LATENTS, units=[200, 200])),
        priors=[
            kv.FixedScaleNormal(LATENTS, kv.dense_decoder(LATENTS, units=[100, 100])),
            kv.StandardNormal(LATENTS),
        ],
        seed=seed,
    )


def main() -> None:
    """Trains and scores both."""
    options = arguments(__doc__, epochs=30)
    data = kv.datasets.load("mnist", batch_size=options.batch_size, likelihood=kv.Bernoulli)

    def trained(build, seed):
        warm_up = kv.callbacks.LinearSchedule("beta", 0.0, 1.0, epochs=options.epochs / 3)
        return train(build(data, seed), data, options, callbacks=[warm_up])

    compare(trained, {"one layer": one_layer, "two layers": two_layers}, data.test, options)


if __name__ == "__main__":
    main()
