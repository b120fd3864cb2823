"""JAX by hand: a jitted step of the image models for each batch; of dense networks one jitted epoch, a scan."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import jax
import jax.numpy as jnp
import jax_ops
from image_losses import LOSSES, given, start_of
from jax_scan import adam
from workloads import ImageModel, measure


class Noise:
    """Draws of a key, each another one."""

    def __init__(self, key):
        self.key = key

    def _next(self):
        self.key, key = jax.random.split(self.key)
        return key

    def normal(self, shape):
        return jax.random.normal(self._next(), shape)

    def uniform(self, shape):
        return jax.random.uniform(self._next(), shape)


def training_step(workload: ImageModel, data, noise_of=Noise):
    """From a carry and the numbers of rows to the next carry, the loss and two parts of it."""
    loss = LOSSES[workload.loss]

    def of_weights(weights, state, x, key):
        value, parts, state = loss(jax_ops, given(weights), state, x, noise_of(key))
        return value, (parts, state)

    def step(carry, rows):
        weights, state, first, second, count, key = carry
        key, draw = jax.random.split(key)
        found, gradients = jax.value_and_grad(of_weights, has_aux=True)(weights, state, data[rows], draw)
        value, (parts, state) = found
        weights, first, second, count = adam(weights, gradients, first, second, count, workload.beta_1)
        return (weights, state, first, second, count, key), (value, *parts)

    return step


def start(weights, state):
    """The first carry."""
    zeros = [jnp.zeros_like(each) for each in weights]
    return weights, state, zeros, zeros, 0.0, jax.random.key(0)


def epochs(workload: ImageModel):
    data = jnp.asarray(workload.data())
    carry = start(*start_of(jax_ops, workload.loss, data[: workload.batch], Noise(jax.random.key(0))))
    step = training_step(workload, data)

    @jax.jit
    def order(key):
        return jax.random.permutation(key, len(data)).reshape(-1, workload.batch)

    @jax.jit
    def scanned(carry, key):
        return jax.lax.scan(step, carry, order(key))

    jitted_step = jax.jit(step)

    def one_by_one(carry, key):
        figures = []
        for rows in order(key):
            carry, parts = jitted_step(carry, rows)
            figures.append(parts)
        return carry, figures

    epoch = one_by_one if workload.convolutional else scanned
    number = 0
    while True:
        carry, figures = epoch(carry, jax.random.key(number))
        jax.block_until_ready((carry, figures))
        number += 1
        yield


if __name__ == "__main__":
    measure(epochs, sys.argv[1:])
