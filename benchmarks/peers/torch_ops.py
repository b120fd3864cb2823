"""What JAX and PyTorch name differently, in PyTorch: see `image_losses`."""

import torch
from torch.nn import functional

exp, log, expm1, tanh, where = torch.exp, torch.log, torch.expm1, torch.tanh, torch.where
relu, sigmoid, softplus = functional.relu, torch.sigmoid, functional.softplus
stop = torch.Tensor.detach


def _channels_first(h):
    return h.permute(0, 3, 1, 2)


def _channels_last(h):
    return h.permute(0, 2, 3, 1)


def stored(array):
    """Kernels of convolutions as PyTorch has them: outputs, inputs, rows, columns; transposed ones inputs first."""
    found = torch.from_numpy(array)
    return found.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last) if found.ndim == 4 else found


def leaky(h):
    return functional.leaky_relu(h, 0.2)


def dense(h, kernel, bias):
    return functional.linear(h, kernel.T, bias)


def convolution(h, kernel, bias, stride, rows, columns):
    even = [sides[0] if sides[0] == sides[1] else 0 for sides in (rows, columns)]
    odd = [(0, 0) if sides[0] == sides[1] else sides for sides in (rows, columns)]
    h = pad(h, *odd) if any(map(any, odd)) else h
    return _channels_last(functional.conv2d(_channels_first(h), kernel, bias, stride, even))


def transposed(h, kernel, bias, stride, crop):
    return _channels_last(functional.conv_transpose2d(_channels_first(h), kernel, bias, stride, crop))


def pad(h, rows, columns):
    return functional.pad(h, (0, 0, *columns, *rows))


def rows(table, codes):
    return functional.embedding(codes, table)


def one_hot(codes, count):
    return functional.one_hot(codes, count).float()


def cross_entropy(logits, codes):
    found = functional.cross_entropy(logits.flatten(0, -2), codes.flatten().long(), reduction="none")
    return found.reshape(codes.shape)


def joined(one, other):
    return torch.cat([one, other], -1)


def rows_of(one, other):
    return torch.cat([one, other])


def repeated(grid, count):
    return grid.expand(count, *grid.shape)


def whole(values):
    return values.long()
