"""When to believe a log p(x): three estimates of one number, on a model whose log p(x) is known and on one of digits.

    python examples/believing.py

1. Probabilistic PCA has log p(x) in closed form. As a VAE with an encoder of our own that is too narrow, importance
   sampling is wrong by more than its error bar, and its verdict says so; annealed importance sampling finds the number.
2. A VAE of digits, where nobody knows the number: both estimates on data drawn from the model, with an upper bound.
"""

import argparse

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

import keras_vae as kv


class Narrow(kv.LatentVariableModel):
    """The model of a fitted `ProbabilisticPCA`, with posteriors whose standard deviations are a fourth of the exact."""

    def __init__(self, exact: kv.ProbabilisticPCA, **kwargs):
        super().__init__(**kwargs)
        self.exact = exact

    @property
    def takes(self) -> kv.Inputs:
        return self.exact.takes

    def call(self, inputs, training=None) -> kv.Trace:
        posterior = self.exact.encode(inputs)
        narrow = tfd.MultivariateNormalDiag(posterior.mean(), tf.sqrt(posterior.variance()) / 4)
        z = self.draw(narrow, self.exact.prior_distribution())
        return kv.Trace(inputs, self.exact.decode(z.value), {"z": z})

    def sample_prior(self, count, seed=None):
        return self.exact.sample_prior(count, seed)

    def sample(self, count, seed=None, temperature=1.0):
        return self.exact.sample(count, seed, temperature)


def main(epochs: int, temperatures: int) -> None:
    evaluation, options = kv.evaluation, {"verbose": 0}
    data = kv.datasets.load("digits", batch_size=100)

    print("1. A model whose log p(x) is known")
    x = np.concatenate([batch.numpy().reshape(len(batch), -1) for batch in data.train])
    exact = kv.ProbabilisticPCA(latent_size=4)
    exact.fit(x + np.random.default_rng(0).normal(scale=0.1, size=x.shape), verbose=0)
    narrow = Narrow(exact)
    drawn = evaluation.simulate(narrow, 50, seed=1)
    narrow.build(drawn.inputs.shape)
    print(f"closed form: {np.mean(exact.log_prob(drawn.inputs)):.3f}")
    print("importance sampling:", evaluation.log_likelihood(narrow, drawn.inputs, samples=1000, **options))
    print("annealed:", evaluation.annealed_importance_sampling(narrow, drawn, temperatures, **options))

    print("\n2. A VAE of digits")
    vae = kv.VAE(
        posterior=kv.Normal(16, kv.dense_encoder(data.shape)),
        likelihood=kv.Bernoulli(data.shape, kv.dense_decoder(16)),
        prior=kv.StandardNormal(16),
    )
    vae.compile("adam")
    vae.fit(data.train, epochs=epochs, validation_data=data.validation, verbose=0)
    drawn = evaluation.simulate(vae, 50, seed=1)
    for samples in (50, 5000):
        print("importance sampling:", evaluation.log_likelihood(vae, drawn.inputs, samples=samples, **options))
    print("annealed:", evaluation.annealed_importance_sampling(vae, drawn, temperatures, **options))
    print("\nOn the test images, which nobody drew from the model:")
    print(evaluation.log_likelihood(vae, data.test, samples=5000, **options))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--temperatures", type=int, default=500)
    main(**vars(parser.parse_args()))
