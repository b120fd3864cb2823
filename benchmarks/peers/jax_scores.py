"""JAX by hand: one jitted function for 100 images, a scan over chunks of their samples; compilation included."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import jax
import jax.numpy as jnp
import numpy as np
from jax_scan import networks
from workloads import WORKLOADS, binary_images, measure_score

BATCH = 100
CHUNK = 40  # samples of each image that are decoded together


def score(images: int, samples: int) -> float:
    workload = WORKLOADS["dense 200-200, z 50, batch 100"]
    weights, encode, decode = networks(workload)
    latent = workload.latent

    @jax.jit
    def log_likelihood(weights, x, key):
        params = encode(weights[0], x)
        mean, scale = params[:, :latent], 1e-3 + jax.nn.softplus(params[:, latent:])

        def chunk(log_sum, key):
            noise = jax.random.normal(key, (CHUNK, *mean.shape))
            z = mean + scale * noise
            logits = decode(weights[1], z)
            log_likelihood = jnp.sum(x * logits - jax.nn.softplus(logits), axis=-1)
            log_ratio = jnp.sum(0.5 * (noise**2 - z**2) + jnp.log(scale), axis=-1)
            log_weight = jax.nn.logsumexp(log_likelihood + log_ratio, axis=0)
            return jnp.logaddexp(log_sum, log_weight), None

        keys = jax.random.split(key, samples // CHUNK)
        log_sum, _ = jax.lax.scan(chunk, jnp.full(len(x), -jnp.inf), keys)
        return log_sum - jnp.log(samples)

    data = binary_images(images)
    parts = [
        np.asarray(log_likelihood(weights, data[start : start + BATCH], jax.random.key(start)))
        for start in range(0, images, BATCH)
    ]
    return float(np.concatenate(parts).mean())


if __name__ == "__main__":
    measure_score(score, sys.argv[1:])
