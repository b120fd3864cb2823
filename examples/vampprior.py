"""VampPrior against the standard normal prior, on MNIST with dynamic binarization, at equal epochs.

Tomczak & Welling 2018, arXiv:1705.07120, with fewer pseudo-inputs, which start from training images, and fewer epochs;
without their warm-up: a first epoch at a beta of 0 makes the posteriors so narrow that the mixture is behind for long.

    python examples/vampprior.py
"""

import functools

import numpy as np
from compare import arguments, compare, train

import keras_vae as kv

LATENTS = 40
COMPONENTS = 100


def build_model(data: kv.datasets.Data, prior: kv.DistributionLayer, seed: int) -> kv.VAE:
    """300-300 units on both sides."""
    return kv.VAE(
        posterior=kv.Normal(LATENTS, kv.dense_encoder(data.shape, units=[300, 300])),
        likelihood=data.likelihood(kv.dense_decoder(LATENTS, units=[300, 300])),
        prior=prior,
        seed=seed,
    )


def trained(data, options, prior_class, seed) -> kv.VAE:
    """With pseudo-inputs that start from training images."""
    model = build_model(data, prior_class(LATENTS), seed)
    model.build((None, *data.shape))
    if isinstance(model.prior, kv.VampPrior):
        images = np.concatenate(list(data.train.take(-(-COMPONENTS // options.batch_size))))
        model.prior.set_pseudo_inputs(images[:COMPONENTS])
    return train(model, data, options)


def main() -> None:
    """Trains and scores both."""
    options = arguments(__doc__, epochs=30)
    data = kv.datasets.load("mnist", batch_size=options.batch_size, likelihood=kv.Bernoulli)
    priors = {"StandardNormal": kv.StandardNormal, "VampPrior": functools.partial(kv.VampPrior, components=COMPONENTS)}
    compare(functools.partial(trained, data, options), priors, data.test, options)


if __name__ == "__main__":
    main()
