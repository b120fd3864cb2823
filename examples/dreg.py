"""Doubly reparameterized gradients against those of the importance-weighted bound, on MNIST with dynamic binarization.

Tucker et al. 2019, arXiv:1810.04152; the network of Burda et al. 2016, arXiv:1509.00519, with 5 draws for each image.

    python examples/dreg.py
"""

from compare import arguments, compare, train

import keras_vae as kv

LATENTS = 50


def build_model(data: kv.datasets.Data, seed: int) -> kv.VAE:
    """One stochastic layer between two networks of 200-200 tanh units."""
    return kv.VAE(
        posterior=kv.Normal(LATENTS, kv.dense_encoder(data.shape, units=[200, 200], activation="tanh")),
        likelihood=data.likelihood(kv.dense_decoder(LATENTS, units=[200, 200], activation="tanh")),
        prior=kv.StandardNormal(LATENTS),
        seed=seed,
    )


def main() -> None:
    """Trains and scores a model with each estimator."""
    options = arguments(__doc__, epochs=30, draws=5)
    data = kv.datasets.load("mnist", batch_size=options.batch_size, likelihood=kv.Bernoulli)
    objectives = {
        "IWAE": kv.IWAE(options.draws),
        "DoublyReparameterized": kv.DoublyReparameterized(options.draws),
        "ELBO": kv.ELBO(samples=options.draws),
    }

    def trained(objective, seed):
        return train(build_model(data, seed), data, options, objective)

    compare(trained, objectives, data.test, options)


if __name__ == "__main__":
    main()
