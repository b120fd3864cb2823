"""What beta does to a model of images whose factors are known: shape, scale, rotation and two places.

The same model is trained with several weights of the KL. A table says how many nats of an image z then holds (rate) and
how many are missing (distortion); their sum can not be below 9.53 on average, the entropy of 13,824 different images.
Scores say how far each unit of z stands for one factor, figures what each unit does.

python examples/factors.py --output factors
"""

import argparse
from pathlib import Path

import keras
import numpy as np

import keras_vae as kv

LATENTS, EPOCHS = 8, 20
BETAS = (1.0, 4.0, 16.0)


def make_model(data) -> kv.VAE:
    """A dense VAE of binary images."""
    keras.utils.set_random_seed(0)
    vae = kv.VAE(
        posterior=kv.Normal(LATENTS, kv.dense_encoder(data.shape)),
        likelihood=kv.Bernoulli(data.shape, kv.dense_decoder(LATENTS)),
        prior=kv.StandardNormal(LATENTS),
    )
    vae.compile(keras.optimizers.Adam(2e-3), loss=kv.ELBO())
    return vae


def main() -> None:
    """Prints rate, distortion and scores by beta, and writes the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", type=Path, default=Path("factors"), help="folder of the figures")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help=f"for each beta (default: {EPOCHS})")
    options = parser.parse_args()

    data = kv.datasets.load("shapes", batch_size=100)
    print(data)
    vae = make_model(data)
    sweep = kv.evaluation.rate_distortion(
        vae, data.train, data.test, BETAS, epochs=options.epochs, resume=options.output / "sweep"
    )
    kv.plotting.rate_distortion(sweep).savefig(options.output / "rate_distortion.png")

    images = np.concatenate([batch.numpy() for batch in data.test])
    for point in sweep.points:
        vae.set_weights(point.weights)
        codes = vae.encode(images).mean().numpy()
        found = kv.evaluation.disentanglement(codes, data.factors["test"])
        print(f"beta {point.beta:g}: {found}")
        print("  the unit that tells most of each factor, and its share:", end=" ")
        shares = zip(data.factor_values, found.importances.argmax(axis=0), found.importances.max(axis=0), strict=True)
        print(", ".join(f"{name} z[{unit}] {share:.2f}" for name, unit, share in shares))
        kv.plotting.traversals(vae, images).savefig(options.output / f"beta-{point.beta:g}.png")
    print(f"Wrote {options.output}: rate_distortion.png and a figure of traversals for each beta")


if __name__ == "__main__":
    main()
