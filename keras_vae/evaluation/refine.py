"""The best posterior of each example, and how far from it the encoder is, and it from the exact one."""

import json
import math
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from keras_vae.arguments import positive, whole_number, whole_seed
from keras_vae.distributions import DistributionLayer
from keras_vae.distributions.base import check_spaces
from keras_vae.distributions.per_example import check_free
from keras_vae.evaluation.batches import inputs_of, number_of_batches
from keras_vae.evaluation.estimates import Estimates, errors_of_means
from keras_vae.evaluation.programs import kept, repays_xla
from keras_vae.models import LatentVariableModel
from keras_vae.models.single_latent import SingleLatentModel
from keras_vae.noise import fold, standard_normal
from keras_vae.sampling import ROWS, sampling
from keras_vae.trace import Latent, is_reparameterized

SPREAD = 0.1  # standard deviation of the parameters that a posterior begins with where there is no encoder
DECAY, SQUARE_DECAY, SMALL = 0.9, 0.99, 1e-8  # of Adam: 0.999 remembers the large gradients of a bad start too long
FITTING, SCORING = 0, 1  # streams of noise that never share a seed


@dataclass(frozen=True)
class RefinedPosterior:
    """The posterior q* of each example that its own evidence lower bound is largest for, and what that says.

    log p(x) - ELBO(encoder) = approximation gap + amortization gap: what the family of q* can not follow of the exact
    posterior, and what the encoder loses to q*.

    Attributes:
        layer: the family.
        params: its parameters, float32, shape (examples, *layer.params_shape).
        elbo_of_encoder: the evidence lower bound with the model's own q(z | x).
        elbo: with q*, from other draws than it was fitted to.
        log_likelihood: log p(x), by importance sampling from q*: a lower bound in expectation.
        amortization_gap: ELBO(q*) - ELBO(encoder).
        approximation_gap: log p(x) - ELBO(q*), which is the divergence KL(q* || p(z | x)).
        effective_samples: draws that log p(x) rests on, between 1 and `draws`, shape (examples,).
        draws: of z, per example.
    """

    layer: DistributionLayer
    params: np.ndarray
    elbo_of_encoder: Estimates
    elbo: Estimates
    log_likelihood: Estimates
    amortization_gap: Estimates
    approximation_gap: Estimates
    effective_samples: np.ndarray
    draws: int

    @property
    def posterior(self) -> tfd.Distribution:
        """q*, of batch shape (examples,)."""
        return self.layer.distribution(tf.constant(self.params))

    def __str__(self) -> str:
        lines = {
            "ELBO of the encoder": self.elbo_of_encoder,
            "amortization gap": self.amortization_gap,
            "ELBO of q*": self.elbo,
            "approximation gap": self.approximation_gap,
            "log p(x)": self.log_likelihood,
        }
        width = max(len(str(round(each.mean))) for each in lines.values()) + 5
        return "\n".join(
            [
                f"q*: {type(self.layer).__name__}, {len(self.params):,} examples, {self.draws:,} draws of z each, "
                f"median effective samples {np.median(self.effective_samples):.0f}",
                "nats per example +- standard error over the examples (over the draws)",
                *(
                    f"  {name:<20}{each.mean:{width}.3f} +- {each.standard_error:.3f} ({each.error_of_draws:.3f})"
                    for name, each in lines.items()
                ),
            ]
        )

    __repr__ = __str__  # what a notebook shows


def refine_posterior(
    model: LatentVariableModel,
    data,
    posterior: DistributionLayer | None = None,
    steps: int = 1000,
    learning_rate: float = 0.05,
    samples: int = 10,
    draws: int = 1000,
    seed: int = 0,
    batch_size: int = 100,
    verbose: int | str = "auto",
) -> RefinedPosterior:
    """Fits the parameters of q(z) to each example by itself, so that its evidence lower bound is largest.

    The variables are what the dense layer of the posterior gives: its parameters before any of them is made positive,
    of a flow those of its noise and what its maps take of the encoder. Weights that examples share stay as they are.
    Adam with a step that falls to 0 along a cosine, with fresh draws at each step, finds them: no example sees another
    one.

    Args:
        model: a built model with one latent variable and a posterior layer: `VAE`, `ConditionalVAE` and their like.
        data: as for `log_likelihood`.
        posterior: None for the model's own family, which begins where the encoder puts it. Or a layer, which begins at
            the prior: `model.posterior` for the same family without help of the encoder, or another one, without a
            network: `Normal(16)` is mean-field inference, `FullCovarianceNormal(16)`, `PlanarFlow(16)`.
        steps: of Adam; as many more before them where `posterior` is brought to the prior.
        learning_rate: the first step, in units of the parameters.
        samples: draws of z per example in each step.
        draws: of z per example, that bounds and log p(x) are estimated from.
        seed: integer; the same seed and batches give the same numbers in each process.
        batch_size: examples at a time, for an array.
        verbose: 0 for no progress bar.

    Raises:
        TypeError: for a model of several latent variables, for one that knows its exact posterior, and for draws
            without gradients, of binary values and categories.
        ValueError: for data that the model does not allow, for numbers that are not whole and positive, and for a
            layer of another event shape, with a network, or with weights that all examples share.
        FloatingPointError: for parameters that do not stay finite.

    Reference: Cremer, Li & Duvenaud 2018, arXiv:1801.03558; Blei, Kucukelbir & McAuliffe 2017, arXiv:1601.00670.
    """
    numbers = {"steps": steps, "samples": samples, "draws": draws, "batch_size": batch_size}
    steps, samples, draws, batch_size = (whole_number(model, name, number) for name, number in numbers.items())
    rate, seed = positive(model, "learning_rate", learning_rate), whole_seed("refine_posterior", seed)
    found = model.look_at("refine_posterior", data)
    _check_model(model)
    family = _family(model, posterior)
    key = ("own",) if posterior is None else ("from the prior", _described(model, posterior))
    fit = kept(
        model,
        lambda: _Fit(model, family, posterior is not None, steps, samples),
        *("refine_posterior", steps, samples, *key),
    )
    bar = keras.utils.Progbar(number_of_batches(found, batch_size), unit_name="batch") if verbose else None
    params, scores, largest = [], [], 0
    for number, inputs in enumerate(inputs_of(model, found, batch_size)):
        size = len(tf.nest.flatten(inputs)[0])
        largest = max(largest, size)
        inputs = _padded(inputs, largest)
        found_params = fit.program(inputs, fold(seed, number, FITTING), rate)
        params.append(found_params.numpy()[:size])
        scores.append([each[:, :size] for each in fit.scores(inputs, found_params, draws, fold(seed, number, SCORING))])
        if bar:
            bar.add(1)
    all_params = np.concatenate(params)
    broken = ~np.isfinite(all_params).reshape(len(all_params), -1).all(axis=1)
    if broken.any():
        raise FloatingPointError(
            f"refine_posterior needs steps that stay finite: try a smaller learning_rate. Received: parameters that "
            f"are not for {broken.sum()} of {len(broken)} examples, with learning_rate={learning_rate}."
        )
    of_encoder, refined = (np.concatenate(each, axis=1) for each in zip(*scores, strict=True))
    return _summary(fit.layer, all_params, of_encoder, refined)


def _summary(layer, params: np.ndarray, of_encoder: np.ndarray, refined: np.ndarray) -> RefinedPosterior:
    """From log-weights of the same noise, shape (draws, examples), under the encoder and q*."""
    largest = refined.max(axis=0)
    weights = np.exp(refined - largest)
    mean = weights.mean(axis=0)
    relative = weights / mean
    log_p = largest + np.log(mean)
    return RefinedPosterior(
        layer,
        params,
        elbo_of_encoder=Estimates.of_draws(of_encoder),
        elbo=Estimates.of_draws(refined),
        log_likelihood=Estimates(log_p, errors_of_means(relative)),
        amortization_gap=Estimates.of_draws(refined - of_encoder),
        # The errors of the two parts belong together; to first order that of log p(x) is that of the mean of w / E w.
        approximation_gap=Estimates(log_p - refined.mean(axis=0), errors_of_means(relative - refined)),
        effective_samples=len(refined) / np.mean(relative**2, axis=0),
        draws=len(refined),
    )


class _Fit:
    """The steps for one model and one family of posteriors.

    Attributes:
        layer: the family.
        program: from a batch, a seed and the first step to the parameters of each example.
    """

    def __init__(self, model: SingleLatentModel, layer: DistributionLayer, from_prior: bool, steps: int, samples: int):
        self.model, self.layer, self.from_prior, self.steps, self.samples = model, layer, from_prior, steps, samples
        compiled = {"jit_compile": repays_xla(model), "reduce_retracing": True, "autograph": False}
        self.program = tf.function(self._fitted, **compiled)
        self._log_weights = tf.function(self._chunk, **compiled)

    def _fitted(self, inputs, seed, rate) -> tf.Tensor:
        if not self.from_prior:
            x, *given = self.model._parts(inputs)
            params = self.layer.params_of(self.model.posterior_context(x, *given))
            return self._climbed(inputs, params, fold(seed, 0), rate, with_data=True)
        batch = tf.shape(tf.nest.flatten(inputs)[0])[0]
        # Not at 0, where some families, planar flows for instance, have no gradient to leave it by.
        params = SPREAD * standard_normal([batch, *self.layer.params_shape], fold(seed, 1))
        at_prior = self._climbed(inputs, params, fold(seed, 2), rate, with_data=False)
        return self._climbed(inputs, at_prior, fold(seed, 0), rate, with_data=True)

    def _climbed(self, inputs, params, seed, rate, with_data: bool) -> tf.Tensor:
        """The parameters after all steps of Adam (Kingma & Ba 2015, arXiv:1412.6980)."""

        def step(number, params, first, second):
            with tf.GradientTape() as tape, sampling(self.samples, fold(seed, number)):
                tape.watch(params)
                (z,) = (trace := self.model.tracer(inputs, self.layer.distribution(params))()).latents.values()
                loss = self._divergence(z, number) - (trace.log_likelihood if with_data else 0.0)
                loss = tf.reduce_sum(tf.reduce_mean(loss, axis=0))  # each example is a term of its own
            gradient = tape.gradient(loss, params)
            done = tf.cast(number, tf.float32)
            first = DECAY * first + (1 - DECAY) * gradient
            second = SQUARE_DECAY * second + (1 - SQUARE_DECAY) * gradient**2
            size = rate * 0.5 * (1 + tf.cos(math.pi * done / self.steps))
            direction = first / (1 - DECAY ** (done + 1))
            scale = tf.sqrt(second / (1 - SQUARE_DECAY ** (done + 1))) + SMALL
            return number + 1, params - size * direction / scale, first, second

        start = [tf.constant(0), params, tf.zeros_like(params), tf.zeros_like(params)]
        return tf.while_loop(lambda number, *_: number < self.steps, step, start)[1]

    def _divergence(self, z: Latent, number) -> tf.Tensor:
        """log q(z) - log p(z) at the draws, whose gradient to the parameters is that of the divergence.

        In the second half of the steps it goes through the draws alone, and so is 0 for each draw where q is the exact
        posterior (Roeder et al. 2017, arXiv:1703.09194). Far from there it is the noisier one, with C^-1 in it. For
        flows, whose density at a draw comes with it, and costs an inverse otherwise, it stays as it is.
        """
        inverted = z.drawn is not None and z.drawn.log_prob is not None and z.drawn.slope is None
        along_path = -z.log_ratio if inverted else -z.log_ratio_along_path
        return tf.where(2 * number < self.steps, -z.log_ratio, along_path)

    def scores(self, inputs, params, draws: int, seed) -> list[np.ndarray]:
        """Log-weights under the encoder and under these parameters, float64, shape (draws, batch), in chunks."""
        chunk = min(draws, max(1, ROWS // len(params)))
        parts = [self._log_weights(inputs, params, chunk, fold(seed, start)) for start in range(0, draws, chunk)]
        return [np.concatenate(each).astype(np.float64)[:draws] for each in zip(*parts, strict=True)]

    def _chunk(self, inputs, params, samples, seed) -> list[tf.Tensor]:
        posteriors = (None, self.layer.distribution(params))
        log_weights = []
        for posterior in posteriors:
            with sampling(samples, seed):
                log_weights.append(self.model.tracer(inputs, posterior)().log_weight)
        return log_weights


def _padded(inputs, size: int):
    """With copies of the last example: a smaller batch needs no other program."""
    return tf.nest.map_structure(
        lambda part: np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)]), inputs
    )


def _check_model(model: LatentVariableModel) -> None:
    """Raises `TypeError` for a model whose posterior has no parameters for each example, or none to be followed."""
    needs = "refine_posterior needs a model with one latent variable and a layer `posterior` for it. Received: "
    if not isinstance(model, SingleLatentModel):
        raise TypeError(f"{needs}a {type(model).__name__}.")
    if model.one_point:
        raise TypeError(f"{needs}a {type(model).__name__}, whose posterior is one point.")
    if not isinstance(getattr(model, "posterior", None), DistributionLayer):
        raise TypeError(f"{needs}a {type(model).__name__}, whose posterior is the exact one.")


def _family(model, posterior: DistributionLayer | None) -> DistributionLayer:
    """The layer whose parameters are fitted, built; raises an error for one that can not be."""
    caller, layer = "refine_posterior", model.posterior
    if posterior is not None and posterior is not layer:
        if not isinstance(posterior, DistributionLayer):
            raise TypeError(f"{caller} needs posterior to be a distribution layer. Received: {posterior!r}.")
        name = type(posterior).__name__
        if posterior.event_shape != model.latent_shape:
            raise ValueError(
                f"{caller} needs a posterior of event shape {model.latent_shape}. Received: {name} of "
                f"{posterior.event_shape}."
            )
        check_spaces(caller, posterior, model.prior)
        check_free(caller, posterior)
        layer = type(posterior).from_config(posterior.get_config())  # the user's stays as it is
    made = layer.distribution(tf.zeros([1, *layer.params_shape]))
    if not is_reparameterized(made):
        raise TypeError(
            f"{caller} needs a posterior whose draws carry gradients to its parameters. Received: "
            f"{type(layer).__name__}, whose draws are {layer.support.description}."
        )
    return layer


def _described(model, posterior: DistributionLayer) -> str:
    """What a program depends on of the layer that it is for."""
    if posterior is model.posterior:
        return "own"
    return json.dumps([type(posterior).__name__, keras.saving.serialize_keras_object(posterior)["config"]], default=str)
