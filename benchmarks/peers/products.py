"""The matrix products and convolutions of a training step and nothing else, through TensorFlow: the floor of a step."""

import sys
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import tensorflow as tf
from workloads import PIXELS, SIDE, Workload, measure


def variable(*shape):
    """A random variable of this shape: the product of two constants would be computed once."""
    return tf.Variable(tf.random.normal(shape))


def product(rows, inputs, outputs):
    """One product."""
    x, kernel = variable(rows, inputs), variable(inputs, outputs)
    return lambda: [tf.matmul(x, kernel)]


def dense(rows, inputs, outputs, input_gradient=True):
    """Operations of one dense layer, forward and backward, on random tensors."""
    x, kernel = variable(rows, inputs), variable(inputs, outputs)
    gradient = variable(rows, outputs)

    def run():
        products = [tf.matmul(x, kernel), tf.matmul(x, gradient, transpose_a=True)]
        return products + ([tf.matmul(gradient, kernel, transpose_b=True)] if input_gradient else [])

    return run


def convolution(rows, grid, inputs, outputs, input_gradient=True, kernel_size=(3, 3), stride=2, padding="SAME"):
    """The same of a convolution on a grid of (rows, columns); a transposed one has the same three."""
    x, kernel = variable(rows, *grid, inputs), variable(*kernel_size, inputs, outputs)
    gradient = tf.Variable(tf.nn.conv2d(x, kernel, stride, padding))
    strides = [1, stride, stride, 1]

    def run():
        results = [
            tf.nn.conv2d(x, kernel, stride, padding),
            tf.raw_ops.Conv2DBackpropFilter(
                input=x, filter_sizes=kernel.shape, out_backprop=gradient, strides=strides, padding=padding
            ),
        ]
        of_input = [tf.nn.conv2d_transpose(gradient, kernel, x.shape, stride, padding)] if input_gradient else []
        return results + of_input

    return run


def layers(workload: Workload):
    rows, latent = workload.batch, workload.latent
    decoded = rows * workload.samples
    if not workload.convolutional:
        encoder = [PIXELS, *workload.units, 2 * latent]
        decoder = [latent, *workload.units[::-1], PIXELS]
        up = [dense(rows, a, b, input_gradient=a != PIXELS) for a, b in pairwise(encoder)]
        return up + [dense(decoded, a, b) for a, b in pairwise(decoder)]
    a, b = workload.units
    return [
        convolution(rows, (SIDE, SIDE), 1, a, input_gradient=False),
        convolution(rows, (SIDE // 2, SIDE // 2), a, b),
        dense(rows, 7 * 7 * b, 2 * latent),
        dense(rows, latent, 7 * 7 * b),
        convolution(rows, (SIDE // 2, SIDE // 2), b, b),
        convolution(rows, (SIDE, SIDE), a, b),
        dense(rows * PIXELS, a, 1),
    ]


def epochs(workload, layers=layers):
    operations = layers(workload)

    @tf.function
    def epoch():
        total = 0.0  # of one value of each product, or TensorFlow would leave them out
        for _ in tf.range(workload.steps):
            results = [tensor for run in operations for tensor in run()]
            total += tf.add_n([tf.reshape(tensor, [-1])[0] for tensor in results])
        return total

    while True:
        epoch()
        yield


if __name__ == "__main__":
    measure(epochs, sys.argv[1:])
