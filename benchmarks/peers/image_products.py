"""The matrix products and convolutions of a training step of the image models and nothing else, through TensorFlow."""

import sys
from itertools import pairwise

from products import convolution, dense, product
from products import epochs as epochs_of
from workloads import CODES, FINE, GRID, LATENT, PIXELS, SIDE, TOP, UNITS, VECTOR, ImageModel, measure

PLACES = GRID[0] * GRID[1]
HALF = (SIDE // 2, SIDE // 2)


def residual(rows, channels):
    """Two blocks."""
    inner = channels // 2
    each = [convolution(rows, GRID, channels, inner), convolution(rows, GRID, inner, channels, kernel_size=(1, 1))]
    return each * 2


def vqvae(rows):
    options = {"kernel_size": (4, 4), "stride": 2}
    return [
        convolution(rows, (SIDE, SIDE), 1, 16, input_gradient=False, **options),
        convolution(rows, HALF, 16, 32, **options),
        *residual(rows, 32),
        dense(rows * PLACES, 32, VECTOR),
        product(rows * PLACES, VECTOR, CODES),  # distances
        product(CODES, rows * PLACES, VECTOR),  # sums of what is encoded as each code
        convolution(rows, GRID, VECTOR, 32),
        *residual(rows, 32),
        convolution(rows, HALF, 32, 32, **options),
        convolution(rows, (SIDE, SIDE), 16, 32, **options),
        dense(rows * PIXELS, 16, 2),
    ]


def pixel_cnn(rows, filters=64):
    vertical = {"kernel_size": (2, 3), "padding": "VALID"}
    horizontal = {"kernel_size": (1, 2), "padding": "VALID"}
    found = []
    for _ in range(5):
        found += [
            convolution(rows, (GRID[0] + 1, GRID[1] + 2), filters, 2 * filters, **vertical),
            convolution(rows, (GRID[0], GRID[1] + 1), filters, 2 * filters, **horizontal),
            dense(rows * PLACES, 2 * filters, 2 * filters),
            dense(rows * PLACES, filters, filters),
        ]
    return [*found, dense(rows * PLACES, filters, filters), dense(rows * PLACES, filters, CODES)]


def bottleneck(rows, side, inputs, units, hidden):
    places = rows * side**2
    between = dense(places, hidden, hidden) if side < 3 else convolution(rows, (side, side), hidden, hidden)
    return [dense(places, inputs, hidden), between, dense(places, hidden, units)]


def top_down(rows):
    found, side, channels = [], SIDE, 1
    for stride, filters in ((2, 16), (2, 32), (7, 128)):
        size = (max(3, stride),) * 2
        found.append(convolution(rows, (side, side), channels, filters, channels > 1, size, stride))
        side, channels = side // stride, filters
        found += bottleneck(rows, side, filters, filters, filters // 2)
    for (count, side, filters, latent), features in ((TOP, 128), (FINE, 32)):
        for _ in range(count):
            found += bottleneck(rows, side, filters, filters + 2 * latent, filters // 2)
            found += bottleneck(rows, side, filters + features, 2 * latent, filters // 2)
            found += [dense(rows * side**2, latent, filters), *bottleneck(rows, side, filters, filters, filters // 2)]
    doubled = {"kernel_size": (4, 4), "stride": 2}
    found.append(convolution(rows, GRID, FINE[2], TOP[2], kernel_size=GRID, stride=GRID[0]))  # from 1 x 1 places
    found += [convolution(rows, HALF, 16, FINE[2], **doubled), convolution(rows, (SIDE, SIDE), 8, 16, **doubled)]
    return [*found, dense(rows * PIXELS, 8, 1)]


def vae_gan(rows):
    """The decoder sees draws of the posterior, and those of both kinds anew; the critic data and what both give."""
    up, down = pairwise([PIXELS, *UNITS, 2 * LATENT]), pairwise([LATENT, *UNITS[::-1], 2 * PIXELS])
    found = [dense(rows, a, b, input_gradient=a != PIXELS) for a, b in up]
    for a, b in down:
        found += [dense(rows, a, b), dense(2 * rows, a, b, input_gradient=a != LATENT)]
    for a, b in pairwise([PIXELS, *UNITS, 1]):
        found += [dense(rows, a, b, input_gradient=a != PIXELS), dense(2 * rows, a, b)]
        found.append(product(2 * rows, b, a))  # the generator's gradient
    return found


LAYERS = {function.__name__: function for function in (vqvae, pixel_cnn, top_down, vae_gan)}


def layers(workload: ImageModel):
    return LAYERS[workload.loss](workload.batch)


if __name__ == "__main__":
    measure(lambda workload: epochs_of(workload, layers), sys.argv[1:])
