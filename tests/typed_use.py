"""Typical code of users, with types: `mypy` accepts it, and refuses what is marked.

A line that is marked is one that mypy must refuse: where it does not, `warn_unused_ignores` makes an error of the mark.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

import keras_vae as kv


class Gumbel(kv.DistributionLayer):
    """A distribution of one's own."""

    params_per_value = 2
    support = kv.distributions.supports.RealNumbers()

    def __init__(self, event_shape: int, network: keras.layers.Layer | None = None, least: float = 0.01, **kwargs: Any):
        super().__init__(event_shape, network, **kwargs)
        self.least = least

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        scale = self.least + tf.math.softplus(params[..., 1])
        return tfd.Independent(tfd.Gumbel(params[..., 0], scale), len(self.event_shape))


class Squared(kv.Objective):
    """An objective of one's own."""

    schedulable = ("weight",)

    def __init__(self, weight: float = 1.0, samples: int = 1):
        self.weight = weight
        self.samples = samples

    def __call__(self, trace: kv.Trace) -> tf.Tensor:
        (latent,) = trace.latents.values()
        return tf.reduce_mean(self.number("weight") * latent.kl**2 - trace.log_likelihood, axis=0)


class Regression(kv.LatentVariableModel):
    """A model of one's own."""

    def __init__(self, size: int, seed: int = 0, **kwargs: Any):
        super().__init__(seed=seed, **kwargs)
        self.size = size
        self.posterior = kv.Normal(2, kv.dense_encoder(size))
        self.likelihood = kv.FixedScaleNormal(size, kv.dense_decoder(2))
        self.prior = kv.StandardNormal(2)

    @property
    def takes(self) -> kv.Inputs:
        return kv.Inputs(kv.Field((self.size,), observed=self.likelihood), y=kv.Field((3,), "label", optional=True))

    def call(self, inputs: tuple[tf.Tensor, kv.Maybe], training: bool | None = None) -> kv.Trace:
        x, label = inputs
        z = self.draw(self.posterior(x), self.prior())
        return kv.Trace(x, self.likelihood(z.value), {"z": z}, terms={"label": tf.cast(label.known, tf.float32)})

    def reconstruct(self, inputs: tuple[tf.Tensor, kv.Maybe]) -> tf.Tensor:
        return self.likelihood(self.posterior(inputs[0]).mean()).mean()


def build(data: kv.datasets.Data) -> kv.VAE:
    """Layers, networks and one model, as in README."""
    vae = kv.VAE(
        posterior=kv.Normal(16, kv.dense_encoder(data.shape, units=[64, 64])),
        likelihood=kv.Bernoulli(data.shape, kv.dense_decoder(16, units=(64,))),
        prior=kv.NormalMixture(16, components=10),
        name="mine",
    )
    vae.compile(optimizer="adam", loss=kv.ELBO(beta=1, samples=2))
    vae.compile({"model": "adam", "critic": keras.optimizers.SGD(0.1)}, kv.Weighted(kv.IWAE(5), {"commitment": 0.25}))
    vae.compile(keras.optimizers.Adam(), Squared(), steps_per_execution=10, jit_compile=False)
    return vae


def use(vae: kv.VAE, data: kv.datasets.Data, folder: Path) -> dict[str, float]:
    """Everything that README does with a model."""
    rows: list[list[float]] = [[0.0, 1.0]]
    schedule = kv.callbacks.LinearSchedule("beta", start=0, end=1, epochs=10)
    vae.fit(data.train, epochs=5, validation_data=data.validation, callbacks=[schedule])
    vae.fit(np.zeros([4, 2]), batch_size=2, validation_split=0.1, sample_weight=np.ones(4), verbose=0)
    vae.fit(rows, callbacks=[kv.callbacks.BackupAndRestore(folder / "backup")])
    logs: dict[str, float] = vae.evaluate(data.test, verbose=0, return_dict=True)
    means: np.ndarray = vae.predict(rows, batch_size=1)
    scores = kv.evaluation.log_likelihood(vae, data.test, samples=100, resume=folder / "scores.npz")
    posterior = vae.encode(means)
    likelihood = vae.decode(posterior.mean())
    images: tf.Tensor = vae.reconstruct(means, seed=1)
    new: tf.Tensor = vae.generate(9, seed=1, temperature=0)
    drawn: tf.Tensor = vae.sample(9, seed=None)
    trace: kv.Trace = vae(means)
    kv.plotting.samples(vae, 64, seed=1).savefig(folder / "samples.png")
    vae.save(folder / "mine.keras")
    vae.export(folder / "served" / "1", max_bytes=2**20)
    again: kv.LatentVariableModel = kv.load_model(folder / "mine.keras")
    again.fit(data.train, epochs=1)
    return logs | {
        "log_likelihood": scores.mean,
        "shape": len(images) + len(new) + len(drawn) + len(trace.latents),
        "dim": likelihood.event_shape[0],
    }


def parts(trace: kv.Trace) -> Mapping[str, kv.Latent]:
    """What a trace holds."""
    total: tf.Tensor = trace.log_weight + trace.kl
    draws: list[kv.Draw] = [latent.drawn for latent in trace.latents.values() if latent.drawn is not None]
    assert len(draws) <= len(total)
    return trace.latents


def others() -> list[kv.LatentVariableModel]:
    """Models and layers with more arguments."""
    mixed = kv.Columns({"age": kv.Normal(1), "kind": kv.Categorical(1, levels=3)}, kv.dense_decoder(2))
    return [
        kv.VAE(kv.Normal(2, mixed.encoder([8])), mixed, kv.VampPrior(2, components=4)),
        kv.ConditionalVAE(
            kv.Normal(2, kv.Concatenated(kv.dense_encoder(15))),
            kv.Bernoulli((5,), kv.Concatenated(kv.dense_decoder(12))),
            kv.StandardNormal(2),
            condition_shape=10,
        ),
        kv.HierarchicalVAE(
            posteriors=[kv.Normal(4, kv.dense_encoder(5)), kv.Normal(2, kv.dense_encoder(4))],
            likelihood=kv.Bernoulli(5, kv.dense_decoder(4)),
            priors=[kv.Normal(4, kv.dense_decoder(2)), kv.StandardNormal(2)],
        ),
        kv.ProbabilisticPCA(2),
        kv.Autoencoder(kv.dense_encoder(5), kv.FixedScaleNormal(5, kv.dense_decoder(2)), kv.MaskingNoise(0.2)),
        Regression(5, name="mine"),
    ]


def refused(vae: kv.VAE, trace: kv.Trace) -> None:
    """What a type checker finds before it runs."""
    kv.VAE(posterior=kv.Normal(2), likelihood=kv.Bernoulli(5))  # type: ignore[call-arg]
    kv.VAE(kv.Normal(2), kv.Bernoulli(5), kv.ELBO())  # type: ignore[arg-type]
    kv.Normal("16")  # type: ignore[arg-type]
    kv.ELBO(beta="1")  # type: ignore[arg-type]
    kv.IWAE(smaples=5)  # type: ignore[call-arg]
    kv.Elbo()  # type: ignore[attr-defined]
    kv.Weighted(kv.ELBO(), [0.25])  # type: ignore[arg-type]
    kv.NormalMixture(2, components="three")  # type: ignore[arg-type]
    kv.Field("x")  # type: ignore[arg-type]
    kv.Inputs()  # type: ignore[call-arg]
    vae.compile("adam", loss="elbo")  # type: ignore[arg-type]
    vae.export(format=3)  # type: ignore[call-arg, arg-type]
    kv.load_model(3)  # type: ignore[arg-type]
    kv.datasets.load("digits", batch_size="64")  # type: ignore[arg-type]
    kv.evaluation.log_likelihood(vae, np.zeros(3), sample=5)  # type: ignore[call-arg]
    trace.loglikelihood  # type: ignore[attr-defined]  # noqa: B018
    kv.Latent(value=None)  # type: ignore[call-arg]
