"""A hierarchy of eleven layers of latent variables on MNIST, binarized anew in each epoch.

Three layers of 16 latent variables on one place, then eight on 7 x 7 places of 4. The
learning rate falls along a cosine, gradients are clipped, and the weights are Keras's moving averages of them. Prints
the bound, the KL of each layer, and how many layers have more than 0.1 nats; writes draws and reconstructions.

As it stands one layer does nearly all: after 13 epochs, 19 minutes on two cores, -ELBO is 94.0 nats. Of its KL of 32.2
the first layer on the grid has 28.6, two on the one place have 3.5, and the others nothing.

    TF_ENABLE_ONEDNN_OPTS=1 TF_NUM_INTRAOP_THREADS=1 python examples/top_down.py --output runs/top_down
    python examples/top_down.py --data digits --epochs 50

On CPUs that TensorFlow does not use oneDNN on by itself, TF_ENABLE_ONEDNN_OPTS=1 makes convolutions faster.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import keras_vae as kv


def build(
    shape, likelihood: Callable, seed: int, top: int = 3, fine: int = 8, width: int = 64, filters: int = 32
) -> kv.TopDownVAE:
    """`top` layers on one place, and `fine` layers on a quarter of the rows and columns of the image.

    Args:
        shape: of an image.
        likelihood: from the shape and a network to a layer.
        seed: of the noise.
        top, fine: numbers of layers.
        width, filters: channels of the state on one place, and on the grid.
    """
    size = -(-shape[0] // 4)
    blocks = [kv.TopDownBlock((1, 1), width, latent_size=16, activation="relu") for _ in range(top)]
    blocks += [kv.TopDownBlock((size, size), filters, latent_size=4, activation="relu") for _ in range(fine)]
    halves = keras.Sequential([keras.Input((size, size, filters)), keras.layers.Activation("relu")])
    for count in (filters // 2, filters // 4):
        halves.add(keras.layers.Conv2DTranspose(count, 4, strides=2, padding="same", activation="relu"))
    return kv.TopDownVAE(
        encoder=kv.bottom_up_encoder(
            shape, strides=[2, 2, size], filters=[filters // 2, filters, width], blocks=1, activation="relu"
        ),
        blocks=blocks,
        likelihood=likelihood(shape, halves),
        seed=seed,
    )


def main(options: argparse.Namespace) -> None:
    """Trains, and says what each layer does."""
    data = kv.datasets.load(options.data, options.batch_size, kv.Bernoulli, seed=options.seed)
    keras.utils.set_random_seed(options.seed)
    model = build(data.shape, kv.Bernoulli, options.seed, options.top, options.fine, options.width, options.filters)
    steps = options.epochs * -(-data.sizes["train"] // options.batch_size)
    rate = keras.optimizers.schedules.CosineDecay(0.0, steps, alpha=0.01, warmup_target=options.rate, warmup_steps=50)
    optimizer = keras.optimizers.Adam(rate, global_clipnorm=options.clip, use_ema=True, ema_momentum=0.998)
    model.compile(optimizer, kv.ELBO(), skip_above=options.skip_above)
    start = time.perf_counter()
    warm_up = kv.callbacks.LinearSchedule("beta", start=0.1, epochs=options.warm_up)
    model.fit(data.train, epochs=options.epochs, validation_data=data.validation, callbacks=[warm_up], verbose=2)
    minutes = (time.perf_counter() - start) / 60
    logs = model.evaluate(data.test, verbose=0, return_dict=True)
    print(f"{minutes:.1f} minutes, {model.count_params():,} weights")
    print("Test images: " + ", ".join(f"{name} {value:.2f}" for name, value in logs.items()))
    images = next(iter(data.test.unbatch().batch(1000)))
    images = images[0] if isinstance(images, tuple) else images
    with kv.sampling.sampling(1, kv.noise.fold(options.seed)):
        trace = model(images)
    kl = {name: float(tf.reduce_mean(latent.kl)) for name, latent in trace.latents.items()}
    for (name, block), value in zip(model.blocks_by_name.items(), reversed(kl.values()), strict=True):
        print(f"{name:>4s} on {block.grid[0]} x {block.grid[1]}: KL {value:.2f} nats")
    print(f"{sum(value > 0.1 for value in kl.values())} of {len(kl)} layers have more than 0.1 nats.")
    score = kv.evaluation.log_likelihood(model, np.asarray(images), samples=options.samples, verbose=0)
    print(score)
    options.output.mkdir(parents=True, exist_ok=True)
    kv.plotting.samples(model, 64).savefig(options.output / "samples.png")
    kv.plotting.reconstructions(model, np.asarray(images[:16])).savefig(options.output / "reconstructions.png")
    model.save(options.output / "model.keras")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/top_down"), help="a folder")
    parser.add_argument("--data", default="mnist", help='"mnist" or "digits"')
    parser.add_argument("--epochs", type=int, default=13)
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--rate", type=float, default=4e-3)
    parser.add_argument("--clip", type=float, default=200.0, help="largest norm of a gradient")
    parser.add_argument("--skip-above", type=float, default=1e4, help="norm of gradients whose step is left out")
    parser.add_argument("--warm-up", type=float, default=2, help="epochs in which beta rises from 0.1 to 1")
    parser.add_argument("--top", type=int, default=3, help="layers on one place")
    parser.add_argument("--fine", type=int, default=8, help="layers on the grid")
    parser.add_argument("--width", type=int, default=64, help="channels of the state on one place")
    parser.add_argument("--filters", type=int, default=32, help="channels of the state on the grid")
    parser.add_argument("--samples", type=int, default=100, help="draws for log p(x)")
    parser.add_argument("--seed", type=int, default=0)
    main(parser.parse_args())
