"""A diagonal normal posterior against an inverse autoregressive flow, on MNIST with dynamic binarization.

Both models have dense networks of 300-300 units and 32 latent variables; the flow has two steps, each with a MADE of
320 hidden units (Kingma et al. 2016, arXiv:1606.04934).

    python examples/inverse_autoregressive_flow.py
"""

from compare import arguments, compare, train

import keras_vae as kv

LATENTS = 32


def build_model(data: kv.datasets.Data, posterior: type[kv.DistributionLayer], seed: int) -> kv.VAE:
    """The same networks for each family of posteriors."""
    return kv.VAE(
        posterior=posterior(LATENTS, kv.dense_encoder(data.shape, units=[300, 300], activation="elu")),
        likelihood=data.likelihood(kv.dense_decoder(LATENTS, units=[300, 300], activation="elu")),
        prior=kv.StandardNormal(LATENTS),
        seed=seed,
    )


def main() -> None:
    """Trains and scores a model with each posterior."""
    options = arguments(__doc__, epochs=30)
    data = kv.datasets.load("mnist", batch_size=options.batch_size, likelihood=kv.Bernoulli)

    def trained(posterior, seed):
        return train(build_model(data, posterior, seed), data, options)

    posteriors = {cls.__name__: cls for cls in (kv.Normal, kv.InverseAutoregressiveFlow)}
    compare(trained, posteriors, data.test, options)


if __name__ == "__main__":
    main()
