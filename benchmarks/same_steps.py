"""Whether the peers of `training_speed.py --images` compute what keras_vae does: losses of steps from equal weights.

All have the same batch of ten examples, and the same noise in the place of random draws; a step is one of Adam, and of
the codebook where there is one. Raises AssertionError where the first losses differ by more than 1 in 100,000, later
ones by more than 1 in 1,000: Adam makes steps of one size of gradients that are nothing but rounding.

    python benchmarks/same_steps.py
"""

import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).parent / "peers"))

import image_jax
import image_torch
import jax
import jax_ops
import numpy as np
import torch
import torch_ops
from image_losses import start_of
from workloads import CODES, IMAGE_MODELS, VECTOR, ImageModel

STEPS = 5


def fixed(kind: str, shape) -> np.ndarray:
    """Numbers that stand for noise: a function of how many they are."""
    shape = [int(size) for size in np.reshape(shape, -1)]
    return getattr(np.random.default_rng(int(np.prod(shape))), kind)(size=shape).astype(np.float32)


class Noise:
    """The same for every peer."""

    def __init__(self, made):
        self.made = made

    def normal(self, shape):
        return self.made(fixed("normal", shape))

    def uniform(self, shape):
        return self.made(fixed("uniform", shape))


def weights_of(model, loss: str) -> list:
    """Those of our model in the order in which `image_losses` asks for them."""
    if loss == "vqvae":
        layers = [model.posterior.network, model.posterior.head, model.likelihood]
    elif loss == "pixel_cnn":
        stacks, prior = model.prior.stacks, model.prior
        layers = [
            each
            for block in range(stacks.blocks)
            for each in (stacks.vertical[block], stacks.horizontal[block], stacks.down[block], stacks.out[block])
        ]
        return [*prior.tables, *[weight for layer in [*layers, prior.last, *prior.heads] for weight in layer.weights]]
    elif loss == "top_down":
        found = list(model.encoder.weights)
        for block in model.blocks:
            found += [] if block.map is None else [block.map]
            parts = (block.enlarge, block.of_prior, block.of_posterior, block.project, block.residual)
            found += [weight for part in parts if part is not None for weight in part.weights]
        return [*found, *model.likelihood.network.weights, *model.likelihood.head.weights]
    else:
        layers = [model.posterior, model.likelihood, model.loss.critic]
    return [weight for layer in layers for weight in layer.weights]


def losses_of_ours(workload: ImageModel) -> tuple[list, list, list[float]]:
    """The weights and the state before the first step, and the loss of each step; TensorFlow is imported here."""
    import image_ours
    import tensorflow as tf

    noise = Noise(tf.constant)
    mock.patch("keras_vae.distributions.normal.standard_normal", lambda shape, seed: noise.normal(shape)).start()
    mock.patch("keras_vae.distributions.codebooks.uniform", lambda shape, seed: noise.uniform(shape)).start()
    model = image_ours.compiled(workload, run_eagerly=True)
    model.build((None, *image_ours.IMAGE))
    found = weights_of(model, workload.loss)
    assert {id(each) for each in found} == {id(each) for each in model.trainable_weights}
    weights = [weight.numpy() for weight in found]
    if workload.loss == "vqvae":
        model.posterior.codebook.assign(np.random.default_rng(0).normal(size=(1, CODES, VECTOR)))
    state = [model.posterior.codebook.numpy()[0], model.posterior.use.numpy()[0]] if workload.loss == "vqvae" else []
    losses = []
    for _ in range(STEPS):
        logs = model.train_on_batch(image_ours.data_of(workload), return_dict=True)
        model.reset_metrics()
        losses.append(float(sum(logs[name] for name in ("loss", "loss_critic") if name in logs)))
    return weights, state, losses


def losses_of_jax(workload: ImageModel, data, weights: list, state: list) -> list[float]:
    step = jax.jit(image_jax.training_step(workload, jax.numpy.asarray(data), lambda key: Noise(jax.numpy.asarray)))
    carry = image_jax.start(*(list(map(jax_ops.stored, each)) for each in (weights, state)))
    losses = []
    for _ in range(STEPS):
        carry, (loss, *_) = step(carry, np.arange(len(data)))
        losses.append(float(loss))
    return losses


def losses_of_torch(workload: ImageModel, data, weights: list, state: list) -> list[float]:
    stored = (list(map(torch_ops.stored, map(np.array, each))) for each in (weights, state))
    step = image_torch.training_step(workload, torch.from_numpy(data), *stored, Noise(torch.from_numpy))
    return [float(step(torch.arange(len(data)))[0]) for _ in range(STEPS)]


def numbers_of_weights(workload: ImageModel, data) -> list[int]:
    """Of what JAX and PyTorch begin with where they are timed."""
    made = [(jax_ops, jax.numpy.asarray), (torch_ops, torch.from_numpy)]
    starts = [start_of(ops, workload.loss, make(data), Noise(make))[0] for ops, make in made]
    return [sum(int(np.prod(weight.shape)) for weight in weights) for weights in starts]


def main() -> None:
    """Prints the losses of all."""
    for name, workload in IMAGE_MODELS.items():
        workload = replace(workload, batch=10, steps=1)
        data = workload.data()
        with ProcessPoolExecutor(1, get_context("spawn")) as alone:  # TensorFlow and Triton do not share a process
            weights, state, ours = alone.submit(losses_of_ours, workload).result()
        count = sum(weight.size for weight in weights)
        assert numbers_of_weights(workload, data) == [count, count], name
        print(f"{name.rsplit(',', 1)[0]}: {count:,} weights")
        print(f"  ours    {' '.join(f'{loss:.2f}' for loss in ours)}", flush=True)
        for peer, losses_of in {"JAX": losses_of_jax, "PyTorch": losses_of_torch}.items():
            found = losses_of(workload, data, weights, state)
            print(f"  {peer:7s} {' '.join(f'{loss:.2f}' for loss in found)}", flush=True)
            np.testing.assert_allclose(found[0], ours[0], rtol=1e-5, err_msg=f"{name}, {peer}")
            np.testing.assert_allclose(found, ours, rtol=1e-3, err_msg=f"{name}, {peer}")


if __name__ == "__main__":
    main()
