"""A hierarchy of eleven layers of latent variables on MNIST, binarized anew in each epoch.

Five layers of 16 latent variables on one place, then six on 7 x 7 places of 4. What makes them all say something: the
weight of the KL begins near 0 and rises slowly, and `free_nats` leaves a quarter of a nat of each layer unpressed. The
learning rate falls along a cosine, gradients are clipped, and the weights are Keras's moving averages of them. Prints
the bound, the KL of each layer, and how many layers have more than 0.1 nats; writes draws and reconstructions.

    TF_ENABLE_ONEDNN_OPTS=1 TF_NUM_INTRAOP_THREADS=1 python examples/top_down.py --output runs/top_down
    python examples/top_down.py --data digits --steps 1000

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

EPOCH = 100  # steps: the weight of the KL rises from one to the next


def build(
    shape, likelihood: Callable, seed: int, top: int = 5, fine: int = 6, width: int = 128, filters: int = 32
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
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, options.steps, alpha=0.01, warmup_target=options.rate, warmup_steps=100
    )
    optimizer = keras.optimizers.Adam(rate, global_clipnorm=options.clip, use_ema=True, ema_momentum=0.998)
    model.compile(optimizer, kv.ELBO(free_nats=options.free_nats), skip_above=options.skip_above)
    start = time.perf_counter()
    epochs = -(-options.steps // EPOCH)
    model.fit(
        data.train.repeat(),
        epochs=epochs,
        steps_per_epoch=EPOCH,
        validation_data=data.validation,
        validation_freq=10,
        callbacks=[kv.callbacks.LinearSchedule("beta", start=0.02, epochs=max(1, options.warm_up * epochs))],
        verbose=2,
    )
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
    parser.add_argument("--steps", type=int, default=6400)
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--clip", type=float, default=200.0, help="largest norm of a gradient")
    parser.add_argument("--skip-above", type=float, default=1e4, help="norm of gradients whose step is left out")
    parser.add_argument("--warm-up", type=float, default=0.3, help="part of the steps in which beta rises to 1")
    parser.add_argument("--free-nats", type=float, default=0.25, help="of each layer, that are not pressed on")
    parser.add_argument("--top", type=int, default=5, help="layers on one place")
    parser.add_argument("--fine", type=int, default=6, help="layers on the grid")
    parser.add_argument("--width", type=int, default=128, help="channels of the state on one place")
    parser.add_argument("--filters", type=int, default=32, help="channels of the state on the grid")
    parser.add_argument("--samples", type=int, default=100, help="draws for log p(x)")
    parser.add_argument("--seed", type=int, default=0)
    main(parser.parse_args())
