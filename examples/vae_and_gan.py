"""What a VAE, VAE-GAN, GAN, VQ-VAE with its prior and a deep hierarchy are good at: one table, on MNIST or digits.

All have one likelihood, a discretized logistic over the grey levels, so that their bounds compare; VAE, VAE-GAN and GAN
have one decoder, and VAE-GAN and GAN one critic, but for the spectral normalization that the GAN needs. The columns:

- -ELBO of test images; log p(x): importance-sampled, 100 draws for each of 500 test images, where the bound is not
  all there is;
- probe: accuracy on test images of a logistic regression on the codes, means of q(z | x), of all layers, or vectors of
  a codebook, of 10,000 training images at most;
- sharpness, over that of the data, Frechet distance, precision and recall of 2,000 means of p(x | z) at draws of the
  prior, in the features of a small classifier (examples/classifier.py).

    python examples/vae_and_gan.py --data digits --epochs 100
    python examples/vae_and_gan.py --only VAE VAE-GAN GAN --output runs/vae_and_gan
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from classifier import digit_features, frechet
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from top_down import build as top_down
from vqvae import DRAWS, commitment, likelihood, one_grid, with_pixel_cnn

import keras_vae as kv

LATENTS = 32
PROBED, SCORED = 10_000, 500  # examples, at most
GAN_RATE = 3e-4


def units(shape) -> list[int]:
    """Of the layers of encoder and critic, those of the decoder in the other order."""
    return [400, 200] if shape[0] == 28 else [128, 64]


def decoder(shape) -> kv.DiscretizedLogistic:
    """p(x | z) of all models with normal latents."""
    return likelihood(shape, kv.dense_decoder(LATENTS, units(shape)[::-1]))


def critic(shape, bound: Callable = lambda layer: layer) -> keras.Model:
    """From an image to one logit.

    Args:
        shape: of an image.
        bound: what each dense layer is put into.
    """
    network = keras.Sequential([keras.Input(shape), keras.layers.Flatten()])
    for size in units(shape):
        network.add(bound(keras.layers.Dense(size)))
        network.add(keras.layers.LeakyReLU(0.2))
    network.add(bound(keras.layers.Dense(1)))
    return network


def fit(model, data, options, objective: kv.Objective, epochs: int, rate: float, callbacks=(), clip=None) -> float:
    """Trains a model, and its critic where it has one, at rates that fall along a cosine; returns minutes.

    Args:
        model, data, options: of this script.
        objective: what is minimised.
        epochs: of training.
        rate: the learning rate at the start.
        callbacks: of Keras.
        clip: the largest norm of a gradient, or None.
    """
    x, held_out = data
    steps = epochs * -(-len(x) // options.batch_size)

    def adam(beta_1: float) -> keras.optimizers.Optimizer:
        decay = keras.optimizers.schedules.CosineDecay(rate, steps, alpha=0.01)
        return keras.optimizers.Adam(decay, beta_1, global_clipnorm=clip)

    optimizers = {"model": adam(0.5), "critic": adam(0.5)} if "critic" in objective.groups else adam(0.9)
    model.compile(optimizers, objective)
    start = time.perf_counter()
    size = options.batch_size
    model.fit(x, epochs=epochs, batch_size=size, validation_data=held_out, callbacks=list(callbacks), verbose=0)
    return (time.perf_counter() - start) / 60


def vae(shape, seed: int) -> kv.VAE:
    """Normal latents."""
    posterior = kv.Normal(LATENTS, kv.dense_encoder(shape, units(shape)))
    return kv.VAE(posterior, decoder(shape), kv.StandardNormal(LATENTS), seed)


def train_vae(data, shape, options) -> tuple[kv.VAE, float]:
    """Trained by its bound."""
    model = vae(shape, options.seed)
    return model, fit(model, data, options, kv.ELBO(), options.epochs, options.rate)


def train_vae_gan(data, shape, options) -> tuple[kv.VAE, float]:
    """The same, trained by the bound and against a critic."""
    model = vae(shape, options.seed)
    return model, fit(
        model, data, options, kv.Adversarial(critic(shape), kv.ELBO(), options.weight), options.epochs, options.rate
    )


def train_gan(data, shape, options) -> tuple[kv.GAN, float]:
    """The same decoder without an encoder, against the critic with layers of norm 1: else it makes one image only."""
    judge = critic(shape, keras.layers.SpectralNormalization)
    model = kv.GAN(decoder(shape), kv.StandardNormal(LATENTS), options.seed)
    return model, fit(model, data, options, kv.Adversarial(judge), options.epochs, GAN_RATE)


def train_vqvae(data, shape, options) -> tuple[kv.VQVAE, float]:
    """Both stages of examples/vqvae.py with one grid."""
    model = one_grid(shape, options.seed)
    objective = kv.Weighted(kv.ELBO(), commitment(model))
    first = fit(model, data, options, objective, options.epochs, options.rate)
    second = with_pixel_cnn(model)
    return second, first + fit(second, data, options, kv.ELBO(), options.prior_epochs, options.rate)


def train_top_down(data, shape, options) -> tuple[kv.TopDownVAE, float]:
    """Eleven layers of latent variables, as in examples/top_down.py."""
    model = top_down(shape, likelihood, options.seed)
    callbacks = [kv.callbacks.LinearSchedule("beta", start=0.02, epochs=options.epochs * 0.3)]
    objective = kv.ELBO(free_nats=0.25)
    return model, fit(model, data, options, objective, options.epochs, options.rate, callbacks, clip=200.0)


# A row of the table: from (training images, validation images), their shape and the options to a model and minutes.
MODELS: dict[str, Callable] = {
    "VAE": train_vae,
    "VAE-GAN": train_vae_gan,
    "GAN": train_gan,
    "VQ-VAE, PixelCNN": train_vqvae,
    "TopDownVAE": train_top_down,
}


def codes_of(model, x: np.ndarray) -> np.ndarray:
    """What a probe is given of images, shape (images, values)."""
    parts = []
    for at in range(0, len(x), 500):
        found = model.encode(x[at : at + 500])
        if isinstance(model, kv.VQVAE):
            codes = [model.posterior.embed(found)]
        else:
            codes = [posterior.mean() for posterior in (found.values() if isinstance(found, dict) else [found])]
        parts.append(np.concatenate([np.reshape(each, (len(each), -1)) for each in codes], axis=1))
    return np.concatenate(parts)


def probe(model, examples: dict[str, tuple[np.ndarray, np.ndarray]]) -> float:
    """Accuracy of a linear classifier of the codes."""
    x, labels = (part[:PROBED] for part in examples["train"])
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(codes_of(model, x), labels)
    return classifier.score(codes_of(model, examples["test"][0]), examples["test"][1])


def bounds(model, x: np.ndarray) -> tuple[str, str]:
    """-ELBO and log p(x), nats, for the table."""
    if isinstance(model, kv.GAN):
        return "", ""
    model.compile(loss=kv.ELBO())
    loss = model.evaluate(x, batch_size=100, verbose=0, return_dict=True)["loss"]
    if isinstance(model, kv.VQVAE):
        return f"{loss:.1f}", f"> {-loss:.1f}"
    found = kv.evaluation.log_likelihood(model, x[:SCORED], samples=100, verbose=0)
    return f"{loss:.1f}", f"{found.mean:.1f} +- {found.standard_error:.1f}"


def of_images(x: np.ndarray, images, features: keras.Model) -> str:
    """Sharpness over that of the data, Frechet distance, precision and recall, for the table."""
    images = np.asarray(images)[: min(DRAWS, len(x))]
    sharp = kv.evaluation.sharpness(images).mean() / kv.evaluation.sharpness(x).mean()
    found = frechet(features, x, images)
    return f"{sharp:.2f} | {found.frechet_distance:.2f} | {found.precision:.2f}, {found.recall:.2f}"


def report(title: str, model, minutes: float, examples: dict, features: keras.Model) -> None:
    """One line of the table."""
    x = examples["test"][0]
    images = of_images(x, model.generate(min(DRAWS, len(x)), seed=0), features)
    probed = "" if isinstance(model, kv.GAN) else f"{probe(model, examples):.3f}"
    loss, log_p = bounds(model, x)
    print(f"| {title} | {loss} | {log_p} | {probed} | {images} | {minutes:.1f} |", flush=True)


def main(options: argparse.Namespace) -> None:
    """Trains all, and prints a table."""
    data = kv.datasets.load(options.data, 1000, kv.DiscretizedLogistic, labels=True)
    examples = {}
    for name in ("train", "validation", "test"):
        x, labels = (np.concatenate(parts) for parts in zip(*getattr(data, name).as_numpy_iterator(), strict=True))
        examples[name] = x, labels.argmax(axis=1)
    features, accuracy = digit_features(options.data)
    print(f"Draws are compared in the features of a classifier whose accuracy is {accuracy:.3f}.")
    names = ["-ELBO, nats", "log p(x), nats", "probe", "sharpness", "Frechet distance", "precision, recall", "minutes"]
    print(f"| | {' | '.join(names)} |")
    print("|---" * 8 + "|")
    of_data = of_images(examples["test"][0], examples["validation"][0], features)
    print(f"| validation images in the place of draws | | | | {of_data} | |", flush=True)
    options.output.mkdir(parents=True, exist_ok=True)
    for title in options.only or MODELS:
        keras.utils.set_random_seed(options.seed)
        model, minutes = MODELS[title]((examples["train"][0], examples["validation"][0]), data.shape, options)
        name = title.replace(", ", "-").lower()
        kv.plotting.samples(model, 64, seed=0).savefig(options.output / f"{name}-samples.png")
        model.save(options.output / f"{name}.keras")
        report(title, model, minutes, examples, features)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/vae_and_gan"), help="a folder")
    parser.add_argument("--data", default="mnist", help='"mnist" or "digits"')
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--prior-epochs", type=int, default=1, help="of the PixelCNN")
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--weight", type=float, default=4.0, help="of the adversarial loss of the VAE-GAN")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=MODELS)
    main(parser.parse_args())
