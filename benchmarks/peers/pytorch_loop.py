"""PyTorch by hand: a loop over permuted rows of a tensor in memory. `--compiled` passes the step to torch.compile."""

import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from torch import nn
from torch.nn import functional
from workloads import LEARNING_RATE, PIXELS, SIDE, Workload, measure

COMPILED = "--compiled" in sys.argv


def networks(workload: Workload) -> tuple[nn.Module, nn.Module]:
    latent = workload.latent
    if workload.convolutional:
        a, b = workload.units
        encoder = nn.Sequential(
            nn.Unflatten(1, (1, SIDE, SIDE)),
            nn.Conv2d(1, a, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(a, b, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(7 * 7 * b, 2 * latent),
        )
        decoder = nn.Sequential(
            nn.Linear(latent, 7 * 7 * b),
            nn.ReLU(),
            nn.Unflatten(1, (b, 7, 7)),
            nn.ConvTranspose2d(b, b, 3, stride=2, padding=1, output_padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(b, a, 3, stride=2, padding=1, output_padding=1),
            nn.ReLU(),
            nn.Conv2d(a, 1, 1),
            nn.Flatten(),
        )
        return encoder, decoder
    activation = {"tanh": nn.Tanh, "relu": nn.ReLU}[workload.activation]

    def multilayer(sizes):
        pairs = list(zip(sizes[:-1], sizes[1:], strict=True))
        layers = [module for a, b in pairs for module in (nn.Linear(a, b), activation())]
        return nn.Sequential(*layers[:-1])

    return multilayer([PIXELS, *workload.units, 2 * latent]), multilayer([latent, *workload.units[::-1], PIXELS])


def epochs(workload: Workload):
    torch.manual_seed(0)
    encoder, decoder = networks(workload)
    images = torch.from_numpy(workload.images())
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=LEARNING_RATE)

    def loss(x):
        mean, raw = encoder(x).chunk(2, dim=-1)
        scale = 1e-3 + functional.softplus(raw)
        if workload.samples > 1:
            return importance_weighted(x, mean, scale)
        logits = decoder(mean + scale * torch.randn_like(mean))
        log_likelihood = -functional.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)
        kl = (0.5 * (mean**2 + scale**2 - 1) - scale.log()).sum(-1)
        return (kl - log_likelihood).mean(), log_likelihood.mean(), kl.mean()

    def importance_weighted(x, mean, scale):
        noise = torch.randn(workload.samples, *mean.shape)
        z = mean + scale * noise
        logits = decoder(z)
        cross_entropy = functional.binary_cross_entropy_with_logits
        log_likelihood = -cross_entropy(logits, x.expand_as(logits), reduction="none").sum(-1)
        log_ratio = (0.5 * (z**2 - noise**2) - scale.log()).sum(-1)  # log q(z | x) - log p(z)
        bound = torch.logsumexp(log_likelihood - log_ratio, dim=0) - math.log(workload.samples)
        return -bound.mean(), log_likelihood.mean(), log_ratio.mean()

    if COMPILED:
        loss = torch.compile(loss)
    while True:
        figures = torch.zeros(3)
        for rows in torch.randperm(len(images)).split(workload.batch):
            values = loss(images[rows])
            optimizer.zero_grad(set_to_none=True)
            values[0].backward()
            optimizer.step()
            figures += torch.stack([value.detach() for value in values])
        figures.tolist()
        yield


if __name__ == "__main__":
    measure(epochs, [argument for argument in sys.argv[1:] if argument != "--compiled"])
