"""What JAX and PyTorch name differently, in JAX: see `image_losses`."""

import jax
import jax.numpy as jnp

exp, log, expm1, tanh, where = jnp.exp, jnp.log, jnp.expm1, jnp.tanh, jnp.where
relu, sigmoid, softplus, one_hot = jax.nn.relu, jax.nn.sigmoid, jax.nn.softplus, jax.nn.one_hot
stored, stop = jnp.asarray, jax.lax.stop_gradient


def leaky(h):
    return jax.nn.leaky_relu(h, 0.2)


def dense(h, kernel, bias):
    return h @ kernel if bias is None else h @ kernel + bias


def convolution(h, kernel, bias, stride, rows, columns):
    layout = ("NHWC", "HWIO", "NHWC")
    strides = (stride, stride)
    return jax.lax.conv_general_dilated(h, kernel, strides, (rows, columns), dimension_numbers=layout) + bias


def transposed(h, kernel, bias, stride, crop):
    layout, margin = ("NHWC", "HWIO", "NHWC"), kernel.shape[0] - 1 - crop
    found = jax.lax.conv_transpose(
        h, kernel, (stride, stride), [(margin, margin)] * 2, dimension_numbers=layout, transpose_kernel=True
    )
    return found if bias is None else found + bias


def pad(h, rows, columns):
    return jnp.pad(h, ((0, 0), rows, columns, (0, 0)))


def rows(table, codes):
    return table[codes]


def cross_entropy(logits, codes):
    chosen = jnp.take_along_axis(logits, codes[..., None], axis=-1)[..., 0]
    return jax.nn.logsumexp(logits, axis=-1) - chosen


def joined(one, other):
    return jnp.concatenate([one, other], axis=-1)


def rows_of(one, other):
    return jnp.concatenate([one, other])


def repeated(grid, count):
    return jnp.broadcast_to(grid, (count, *grid.shape))


def whole(values):
    return values.astype(jnp.int32)
