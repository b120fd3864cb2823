"""JAX by hand: one jitted epoch, a scan over its steps, Adam in the scan's carry.

Convolutions take a jitted step for each batch: inside of a scan XLA runs them many times slower on a CPU.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import jax
import jax.numpy as jnp
import numpy as np
from workloads import LEARNING_RATE, PIXELS, SIDE, Workload, measure


def dense_weights(rng, sizes):
    pairs = zip(sizes[:-1], sizes[1:], strict=True)
    return [(glorot(rng, (a, b), a, b), jnp.zeros(b)) for a, b in pairs]


def glorot(rng, shape, fan_in, fan_out):
    limit = np.sqrt(6 / (fan_in + fan_out))
    return jnp.asarray(rng.uniform(-limit, limit, shape).astype(np.float32))


def multilayer(weights, h, activation):
    for kernel, bias in weights[:-1]:
        h = activation(h @ kernel + bias)
    kernel, bias = weights[-1]
    return h @ kernel + bias


def convolution(h, kernel, bias, transposed=False):
    layout = ("NHWC", "HWIO", "NHWC")
    if transposed:
        return jax.lax.conv_transpose(h, kernel, (2, 2), "SAME", dimension_numbers=layout) + bias
    return jax.lax.conv_general_dilated(h, kernel, (2, 2), "SAME", dimension_numbers=layout) + bias


def networks(workload: Workload):
    """Weights, encoder and decoder."""
    rng, latent = np.random.default_rng(0), workload.latent
    if not workload.convolutional:
        activation = {"tanh": jnp.tanh, "relu": jax.nn.relu}[workload.activation]
        encoder = dense_weights(rng, [PIXELS, *workload.units, 2 * latent])
        decoder = dense_weights(rng, [latent, *workload.units[::-1], PIXELS])
        return (
            (encoder, decoder),
            lambda weights, x: multilayer(weights, x, activation),
            lambda weights, z: multilayer(weights, z, activation),
        )
    a, b = workload.units

    def filters(inputs, outputs):
        return glorot(rng, (3, 3, inputs, outputs), 9 * inputs, 9 * outputs), jnp.zeros(outputs)

    encoder = [filters(1, a), filters(a, b), *dense_weights(rng, [7 * 7 * b, 2 * latent])]
    decoder = [*dense_weights(rng, [latent, 7 * 7 * b]), filters(b, b), filters(b, a), *dense_weights(rng, [a, 1])]

    def encode(weights, x):
        h = x.reshape(-1, SIDE, SIDE, 1)
        for kernel, bias in weights[:2]:
            h = jax.nn.relu(convolution(h, kernel, bias))
        kernel, bias = weights[2]
        return h.reshape(len(h), -1) @ kernel + bias

    def decode(weights, z):
        kernel, bias = weights[0]
        h = jax.nn.relu(z @ kernel + bias).reshape(-1, 7, 7, b)
        for kernel, bias in weights[1:3]:
            h = jax.nn.relu(convolution(h, kernel, bias, transposed=True))
        kernel, bias = weights[3]
        return (h @ kernel + bias).reshape(-1, PIXELS)

    return (encoder, decoder), encode, decode


def adam(weights, gradients, first, second, count, beta_1=0.9):
    """Weights, both moments and the number of steps after one more."""
    count = count + 1
    first = jax.tree.map(lambda m, g: beta_1 * m + (1 - beta_1) * g, first, gradients)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradients)
    rate = LEARNING_RATE * jnp.sqrt(1 - 0.999**count) / (1 - beta_1**count)
    weights = jax.tree.map(lambda w, m, v: w - rate * m / (jnp.sqrt(v) + 1e-7), weights, first, second)
    return weights, first, second, count


def epochs(workload: Workload):
    weights, encode, decode = networks(workload)
    images, latent = jnp.asarray(workload.images()), workload.latent

    def loss(weights, x, key):
        params = encode(weights[0], x)
        mean, scale = params[:, :latent], 1e-3 + jax.nn.softplus(params[:, latent:])
        if workload.samples > 1:
            return importance_weighted(weights, x, mean, scale, key)
        z = mean + scale * jax.random.normal(key, mean.shape)
        logits = decode(weights[1], z)
        log_likelihood = jnp.sum(x * logits - jax.nn.softplus(logits), axis=-1)
        kl = jnp.sum(0.5 * (mean**2 + scale**2 - 1) - jnp.log(scale), axis=-1)
        return jnp.mean(kl - log_likelihood), (jnp.mean(log_likelihood), jnp.mean(kl))

    def importance_weighted(weights, x, mean, scale, key):
        noise = jax.random.normal(key, (workload.samples, *mean.shape))
        z = mean + scale * noise
        logits = decode(weights[1], z)
        log_likelihood = jnp.sum(x * logits - jax.nn.softplus(logits), axis=-1)
        log_ratio = jnp.sum(0.5 * (z**2 - noise**2) - jnp.log(scale), axis=-1)  # log q(z | x) - log p(z)
        log_weight = log_likelihood - log_ratio
        bound = jax.nn.logsumexp(log_weight, axis=0) - jnp.log(workload.samples)
        return -jnp.mean(bound), (jnp.mean(log_likelihood), jnp.mean(log_ratio))

    def step(carry, rows):
        weights, first, second, count, key = carry
        key, draw = jax.random.split(key)
        (value, parts), gradients = jax.value_and_grad(loss, has_aux=True)(weights, images[rows], draw)
        weights, first, second, count = adam(weights, gradients, first, second, count)
        return (weights, first, second, count, key), (value, *parts)

    @jax.jit
    def epoch(carry, key):
        return jax.lax.scan(step, carry, order(key))

    @jax.jit
    def order(key):
        return jax.random.permutation(key, len(images)).reshape(-1, workload.batch)

    def epoch_of_steps(carry, key):
        figures = []
        for rows in order(key):
            carry, parts = jitted_step(carry, rows)
            figures.append(parts)
        return carry, figures

    jitted_step = jax.jit(step)
    if workload.convolutional:
        epoch = epoch_of_steps

    zeros = jax.tree.map(jnp.zeros_like, weights)
    carry = (weights, zeros, zeros, 0.0, jax.random.key(0))
    number = 0
    while True:
        carry, figures = epoch(carry, jax.random.key(number))
        jax.block_until_ready((carry, figures))
        number += 1
        yield


if __name__ == "__main__":
    measure(epochs, sys.argv[1:])
