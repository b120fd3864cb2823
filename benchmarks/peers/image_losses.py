"""The losses of the image models, hand-written once for JAX and PyTorch.

Each is a function of `ops`, a module of what the two name differently, `take`, which gives the weights in the
order in which they are asked for, `state`, what learns without gradients, a batch, and noise. It returns the loss, two
parts of it, and the new state. Kernels have the shapes of Keras, grids are (batch, rows, columns, channels).
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from workloads import CODES, FINE, GRID, LATENT, PIXELS, TOP, UNITS, VECTOR, WEIGHT


def start_of(ops, loss: str, batch, noise) -> tuple[list, list]:
    """The weights and the state of a model as they begin: normal, zero where a function names no deviation."""
    rng, weights = np.random.default_rng(0), []

    def take(shape, deviation=0.0):
        weights.append(ops.stored((deviation * rng.standard_normal(shape)).astype(np.float32)))
        return weights[-1]

    vectors = rng.standard_normal((CODES, VECTOR)).astype(np.float32), np.zeros(CODES, np.float32)
    state = list(map(ops.stored, vectors)) if loss == "vqvae" else []
    LOSSES[loss](ops, take, state, batch, noise)
    return weights, state


def given(weights: Sequence) -> Callable:
    """`take` of weights that are there already."""
    following = iter(weights)
    return lambda shape, deviation=0.0: next(following)


def dense_weights(take, inputs, units, deviation=None):
    return take((inputs, units), math.sqrt(2 / (inputs + units)) if deviation is None else deviation), take((units,))


def dense(ops, take, h, units, deviation=None):
    return ops.dense(h, *dense_weights(take, h.shape[-1], units, deviation))


def convolution(ops, take, h, units, size, stride=1, rows=(0, 0), columns=(0, 0)):
    """Of a kernel of `size` rows and columns; `rows` and `columns` are what zeros stand around the grid."""
    inputs = h.shape[-1]
    kernel = take((*size, inputs, units), math.sqrt(2 / (math.prod(size) * (inputs + units))))
    return ops.convolution(h, kernel, take((units,)), stride, rows, columns)


def doubled(ops, take, h, units):
    """A transposed 4x4 convolution of stride 2."""
    inputs = h.shape[-1]
    kernel = take((4, 4, units, inputs), math.sqrt(2 / (16 * (inputs + units))))
    return ops.transposed(h, kernel, take((units,)), stride=2, crop=1)


def residual(ops, take, h, blocks=2):
    channels = h.shape[-1]
    for _ in range(blocks):
        step = ops.relu(convolution(ops, take, ops.relu(h), channels // 2, (3, 3), 1, (1, 1), (1, 1)))
        h = h + convolution(ops, take, step, channels, (1, 1))
    return ops.relu(h)


def log_of_grey_levels(ops, params, x):
    """log p(x) of discretized logistics, shape (batch,); location and log scale are on the last axis of `params`."""
    loc, log_scale = 0.5 + 0.5 * params[..., 0], math.log(1 / 8) + params[..., 1]
    x, half, to_scales = x.reshape(loc.shape), 0.5 / 255, ops.exp(-log_scale)
    up_to = -ops.softplus((loc - x - half) * to_scales)
    beyond = -ops.softplus((x - half - loc) * to_scales)
    between = up_to + beyond + ops.log(-ops.expm1(-2 * half * to_scales))
    log_masses = ops.where(x < half, up_to, ops.where(x > 1 - half, beyond, between))
    return log_masses.reshape(len(x), -1).sum(-1)


def vqvae(ops, take, state, x, noise):
    """Filters 16 and 32, two residual blocks on both sides; the codebook learns as that of `VectorQuantized`."""
    h = x
    for filters in (16, 32):
        h = ops.relu(convolution(ops, take, h, filters, (4, 4), 2, (1, 1), (1, 1)))
    encoded = dense(ops, take, residual(ops, take, h), VECTOR)
    vectors, use = state
    rows = ops.stop(encoded).reshape(-1, VECTOR)
    codes = ((vectors**2).sum(-1) - 2 * rows @ vectors.T).argmin(-1)
    found = vectors[codes].reshape(encoded.shape)
    commitment = ((encoded - found) ** 2).sum((1, 2, 3)).mean()
    h = convolution(ops, take, encoded + ops.stop(found - encoded), 32, (3, 3), 1, (1, 1), (1, 1))
    h = residual(ops, take, h)
    for filters in (32, 16):
        h = ops.relu(doubled(ops, take, h, filters))
    log_likelihood = log_of_grey_levels(ops, dense(ops, take, h, 2), x).mean()
    loss = math.prod(GRID) * math.log(CODES) - log_likelihood + 0.25 * commitment

    of_code = ops.one_hot(codes, CODES)
    count, sums = of_code.sum(0), of_code.T @ rows
    use = 0.99 * use + 0.01 * count
    change = 0.01 * (sums - count[:, None] * vectors)
    vectors = vectors + ops.where(use > 0, 1 / use, 0 * use)[:, None] * change
    anew = use < 0.02 * use.mean()
    places = ops.whole(noise.uniform((CODES,)) * len(rows))
    return (
        loss,
        (log_likelihood, commitment),
        [ops.where(anew[:, None], rows[places], vectors), ops.where(anew, use.mean(), use)],
    )


def pixel_cnn(ops, take, state, codes, noise):
    """Five gated blocks of 64 filters with 3x3 kernels over embedded codes."""
    filters = 64
    inputs = ops.rows(take((CODES, filters), 1.0), codes)
    above, left = ops.pad(inputs, (1, 0), (0, 0))[:, :-1], ops.pad(inputs, (0, 0), (1, 0))[:, :, :-1]

    def gated(h):
        return ops.tanh(h[..., :filters]) * ops.sigmoid(h[..., filters:])

    for block in range(5):
        seen = convolution(ops, take, above, 2 * filters, (2, 3), 1, (1, 0), (1, 1))
        horizontal = convolution(ops, take, left, 2 * filters, (1, 2), 1, (0, 0), (1, 0))
        down = ops.dense(seen, take((2 * filters, 2 * filters), math.sqrt(1 / (2 * filters))), None)
        left = left + dense(ops, take, gated(horizontal + down), filters)
        if block < 4:
            above = above + gated(seen)
    logits = dense(ops, take, ops.relu(dense(ops, take, ops.relu(left), filters)), CODES)
    kl = ops.cross_entropy(logits, codes).sum((1, 2)).mean()
    return kl, (0 * kl, kl), state


def bottleneck(ops, take, h, units, hidden, last):
    """As `Bottleneck`; the last kernel has the standard deviation `last` / sqrt(hidden)."""
    step = ops.relu(dense(ops, take, ops.relu(h), hidden))
    if h.shape[1] < 3:
        step = dense(ops, take, step, hidden)
    else:
        step = convolution(ops, take, step, hidden, (3, 3), 1, (1, 1), (1, 1))
    return dense(ops, take, ops.relu(step), units, last / math.sqrt(hidden))


def top_down(ops, take, state, x, noise):
    """Eleven blocks, as examples/top_down.py has them."""
    h, features, small = x, {}, 1 / math.sqrt(TOP[0] + FINE[0])
    for stride, filters in ((2, 16), (2, 32), (7, 128)):
        size, around = max(3, stride), (0, 1) if stride == 2 else (0, 0)
        h = convolution(ops, take, h, filters, (size, size), stride, around, around)
        h = h + bottleneck(ops, take, h, filters, filters // 2, 1 / math.sqrt(3))
        features[h.shape[1]] = h
    state_of_blocks, kl = None, 0
    for count, side, filters, latent in (TOP, FINE):
        for block in range(count):
            if block == 0:
                start = take((side, side, filters), 0.1)
                if state_of_blocks is None:
                    h = ops.repeated(start, len(x))
                else:
                    inputs = state_of_blocks.shape[-1]
                    kernel = take((side, side, filters, inputs), math.sqrt(2 / (side**2 * (inputs + filters))))
                    h = ops.transposed(state_of_blocks, kernel, None, stride=side, crop=0) + start
            params = bottleneck(ops, take, h, filters + 2 * latent, filters // 2, 0.01)
            loc, log_scale = params[..., filters : filters + latent], params[..., filters + latent :]
            seen = bottleneck(ops, take, ops.joined(h, features[side]), 2 * latent, filters // 2, 1.0)
            shift, log_factor = seen[..., :latent], 5 * ops.tanh(seen[..., latent:] / 5)
            factor = ops.exp(log_factor)
            kl = kl + (0.5 * (shift**2 + factor**2 - 1) - log_factor).sum((1, 2, 3))
            z = loc + ops.exp(5 * ops.tanh(log_scale / 5)) * (shift + factor * noise.normal(shift.shape))
            h = h + params[..., :filters] + ops.dense(z, take((latent, filters), small / math.sqrt(latent)), None)
            h = h + bottleneck(ops, take, h, filters, filters // 2, small)
        state_of_blocks = h
    h = ops.relu(h)
    for filters in (16, 8):
        h = ops.relu(doubled(ops, take, h, filters))
    logits = dense(ops, take, h, 1)
    log_likelihood = (x * logits - ops.softplus(logits)).sum((1, 2, 3)).mean()
    kl = kl.mean()
    return kl - log_likelihood, (log_likelihood, kl), state


def multilayer(ops, layers, h, activation):
    for kernel, bias in layers[:-1]:
        h = activation(ops.dense(h, kernel, bias))
    return ops.dense(h, *layers[-1])


def vae_gan(ops, take, state, x, noise):
    """Dense layers; the losses of the model and of the critic as one sum, each without gradients to the other."""
    x = x.reshape(-1, PIXELS)
    encoder, decoder, critic = (
        [dense_weights(take, *pair) for pair in pairwise(sizes)]
        for sizes in ([PIXELS, *UNITS, 2 * LATENT], [LATENT, *UNITS[::-1], 2 * PIXELS], [PIXELS, *UNITS, 1])
    )
    params = multilayer(ops, encoder, x, ops.relu).reshape(-1, LATENT, 2)
    loc, scale = params[..., 0], 1e-3 + ops.softplus(params[..., 1])
    z = loc + scale * noise.normal(loc.shape)
    kl = (0.5 * (loc**2 + scale**2 - 1) - ops.log(scale)).sum(-1).mean()

    def decode(z):
        return multilayer(ops, decoder, z, ops.relu).reshape(-1, PIXELS, 2)

    log_likelihood = log_of_grey_levels(ops, decode(z), x).mean()
    params = decode(ops.rows_of(noise.normal(loc.shape), ops.stop(z)))
    loc, scale = 0.5 + 0.5 * params[..., 0], ops.exp(math.log(1 / 8) + params[..., 1])
    generated = scale * (ops.softplus(loc / scale) - ops.softplus((loc - 1) / scale))  # means held from 0 to 1
    as_it_is = [tuple(map(ops.stop, layer)) for layer in critic]
    of_model = ops.softplus(-multilayer(ops, as_it_is, generated, ops.leaky)).mean()
    of_critic = ops.softplus(-multilayer(ops, critic, x, ops.leaky)).mean()
    of_critic = of_critic + ops.softplus(multilayer(ops, critic, ops.stop(generated), ops.leaky)).mean()
    return kl - log_likelihood + WEIGHT * of_model + of_critic, (log_likelihood, kl), state


LOSSES = {function.__name__: function for function in (vqvae, pixel_cnn, top_down, vae_gan)}
