"""PyTorch by hand: the image models, channels last, fused Adam. `--compiled` passes the loss to torch.compile."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
import torch_ops
from image_losses import LOSSES, given, start_of
from workloads import LEARNING_RATE, ImageModel, measure

COMPILED = "--compiled" in sys.argv


class Noise:
    """Draws of PyTorch's generator."""

    def normal(self, shape):
        return torch.randn(shape)

    def uniform(self, shape):
        return torch.rand(shape)


def training_step(workload: ImageModel, data, weights, state, noise):
    """A function of the numbers of rows, which returns the loss and two parts of it."""
    loss = LOSSES[workload.loss]
    for weight in weights:
        weight.requires_grad_()
    optimizer = torch.optim.Adam(weights, LEARNING_RATE, (workload.beta_1, 0.999), 1e-7, fused=True)

    def of_weights(weights, state, x):
        return loss(torch_ops, given(weights), state, x, noise)

    if COMPILED:
        of_weights = torch.compile(of_weights)

    def step(rows):
        value, parts, new = of_weights(weights, state, data[rows])
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
        state[:] = new
        return torch.stack([value.detach(), *[part.detach() for part in parts]])

    return step


def epochs(workload: ImageModel):
    torch.manual_seed(0)
    data = torch.from_numpy(workload.data())
    weights, state = start_of(torch_ops, workload.loss, data[: workload.batch], Noise())
    step = training_step(workload, data, weights, state, Noise())
    while True:
        figures = torch.zeros(3)
        for rows in torch.randperm(len(data)).split(workload.batch):
            figures += step(rows)
        figures.tolist()
        yield


if __name__ == "__main__":
    measure(epochs, [argument for argument in sys.argv[1:] if argument != "--compiled"])
