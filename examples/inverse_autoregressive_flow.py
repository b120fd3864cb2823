"""A diagonal normal posterior against an inverse autoregressive flow, on MNIST with dynamic binarization.

Both models have dense networks of 300-300 units and 32 latent variables, and see the same data for as many epochs; the
flow has two steps, each with a MADE of 320 hidden units (Kingma et al. 2016, arXiv:1606.04934).

    python examples/inverse_autoregressive_flow.py --epochs 50
"""

import argparse
import math

import keras

import keras_vae as kv

LATENTS = 32


def load_data(batch_size: int) -> kv.datasets.Data:
    """MNIST from TensorFlow Datasets: 50,000 images to train on, 10,000 to watch, 10,000 to test."""
    return kv.datasets.load("mnist", batch_size=batch_size, likelihood=kv.Bernoulli)


def build_model(posterior: type[kv.DistributionLayer], shape: tuple[int, ...]) -> kv.VAE:
    """The same networks for each family of posteriors."""
    return kv.VAE(
        posterior=posterior(LATENTS, kv.dense_encoder(shape, units=[300, 300], activation="elu")),
        likelihood=kv.Bernoulli(shape, kv.dense_decoder(LATENTS, units=[300, 300], activation="elu")),
        prior=kv.StandardNormal(LATENTS),
    )


def main(options: argparse.Namespace) -> None:
    """Trains and scores a model with each posterior."""
    data = load_data(options.batch_size)
    print(data)
    steps = options.epochs * math.ceil(data.sizes["train"] / options.batch_size)
    rows = []
    for posterior in (kv.Normal, kv.InverseAutoregressiveFlow):
        keras.utils.set_random_seed(0)
        vae = build_model(posterior, data.shape)
        rate = keras.optimizers.schedules.CosineDecay(options.learning_rate, steps, alpha=0.01)
        vae.compile(keras.optimizers.Adam(rate), loss=kv.ELBO())
        vae.fit(data.train, epochs=options.epochs, verbose=2, validation_data=data.validation, validation_freq=10)
        elbo = -vae.evaluate(data.test, verbose=0, return_dict=True)["loss"]
        score = kv.evaluation.log_likelihood(vae, data.test, samples=options.samples)
        rows.append(f"{posterior.__name__:>25}  {elbo:9.2f}  {score.mean:9.2f} +- {score.standard_error:.2f}")
    print(f"Test images, nats, {options.epochs} epochs, log p(x) from {options.samples} importance samples")
    print("\n".join([f"{'posterior':>25}  {'ELBO':>9}  {'log p(x)':>9}", *rows]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--batch-size", type=int, default=200)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--samples", type=int, default=128, help="importance samples per test image (default: 128)")
    main(parser.parse_args())
