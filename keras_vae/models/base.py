"""A Keras model whose call returns a Trace and whose loss is an Objective."""

import collections
import functools
import inspect
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from keras_vae.arguments import whole_number, whole_seed
from keras_vae.keras_names import batches_trained, loss_mean
from keras_vae.models.code_use import CodeUse
from keras_vae.models.contract import KerasContract
from keras_vae.models.inputs import Field, Inputs
from keras_vae.models.weights import WeightSums
from keras_vae.noise import fold
from keras_vae.objectives.base import over_draws, scheduled
from keras_vae.optimizers import REST, build_optimizer, losses_and_weights, summed_rows
from keras_vae.replicas import global_mean, multi_worker
from keras_vae.sampling import ROWS, current_sampler, sampling, within_sampling
from keras_vae.serving import Signatures
from keras_vae.stored_rows import taking_rows
from keras_vae.trace import Latent, Trace
from keras_vae.training.finite import finite_or_stop

TRAIN, TEST = 0, 1  # streams of noise that never share a seed
LEARN = 2**31 - 1  # number of the seed of what is learned without gradients, among those of the draws of a step


class Trackers(collections.UserDict):
    """Means by name, created when first asked for; no part of a model's saved state."""

    def __missing__(self, name: str) -> keras.metrics.Mean:
        with tf.init_scope():
            self[name] = keras.metrics.Mean(name=name)
        return self[name]


class LatentVariableModel(KerasContract):
    """Base of all models. A subclass defines two things, and more where it wants more:

    - `takes`, a property: what the model takes for each batch, `Inputs(x=..., y=...)`. A layer `self.likelihood` and
      nothing else stands for one observation of its event shape.
    - `call(inputs, training)`: draws the latent variables by `draw`, and returns a `Trace`.
    - `reconstruct(inputs)`, for `predict` and the served default; `generate(count, seed, temperature)`.

    Trained with `compile(optimizer, loss=<Objective>)` and `fit`. Loss and logs are in nats per example: summed over
    the event, averaged over the examples. The logs are `loss`, `log_likelihood`, `kl`, `kl_<name>` for each latent
    variable when there are several, the terms and the losses of other groups by name, `bits_per_dim` for discrete data
    and `nats_per_<unit>` for each unit of the trace; of codes their `perplexity` and the share of `used_codes`; all but
    the losses are unweighted.

    Args:
        seed: integer; the noise of training and evaluation is drawn from it and the step, so that a resumed run equals
            an uninterrupted one.
        **kwargs: `name`, `trainable` and `dtype` of a Keras model.
    """

    one_point = False  # whether posteriors are one point each: then one draw says all

    def __init__(self, seed: int = 0, **kwargs):
        super().__init__(autocast=False, **kwargs)  # data and log-probabilities stay float32 under every policy
        self.seed = whole_seed(self, seed)
        self._trackers = Trackers()
        self._uses: collections.UserDict[str, CodeUse] = collections.UserDict()  # as the means, no part of the state
        self._skipped: collections.UserDict[str, keras.metrics.Sum] = collections.UserDict()
        self._seen = Trackers()  # its count is the number of examples, whatever their weights

    def call(self, inputs, training=None) -> Trace:
        """Infers the latent variables of a batch, and returns what the model says about it.

        Args:
            inputs: in the structure of `takes`, of shape (batch, ...).
            training: whether the trace is of a training step, for layers and densities that differ in it.
        """
        raise NotImplementedError(
            f"{type(self).__name__} needs a method call(self, inputs, training=None) that returns a Trace."
        )

    def reconstruct(self, inputs) -> tf.Tensor:
        """What `predict` gives for a batch: a mean of p(x | z), for instance."""
        raise NotImplementedError(f"{type(self).__name__} needs a method reconstruct(self, inputs) for this.")

    def generate(self, count, seed=None, temperature=1.0) -> tf.Tensor:
        """Draws latent variables from the prior and returns the means of their observations, (count, *event)."""
        raise NotImplementedError(f"{type(self).__name__} needs a method generate(self, count, seed, temperature).")

    def sample(self, count, seed=None, temperature=1.0) -> tf.Tensor:
        """Draws latent variables from the prior, and observations given them, (count, *event)."""
        raise NotImplementedError(f"{type(self).__name__} needs a method sample(self, count, seed, temperature).")

    def build(self, input_shape):
        """Creates all weights, by one call without a sample axis, on zeros of the shape of one field or of `takes`."""
        shapes = input_shape if isinstance(self.takes.x, Field) else None
        with tf.init_scope(), sampling(samples=None, seed=fold(0)):
            self.call(self.example_inputs(None if shapes is None else tf.zeros([1, *(n or 1 for n in shapes[1:])])))

    def open_samples(self, tensor: tf.Tensor) -> tf.Tensor:
        """A tensor of shape (batch, ...) for each draw, (samples, batch, ...): what all that follows rides on.

        For models whose draws happen in a loop, where no single one of them can open the sample axis.
        """
        samples = current_sampler().samples
        return tensor if samples is None else tf.repeat(tensor[tf.newaxis], samples, axis=0)

    def draw(
        self,
        posterior: tfd.Distribution,
        prior: tfd.Distribution,
        *,
        opens: bool = True,
        present: tf.Tensor | None = None,
        closed_form: bool = True,
    ) -> Latent:
        """Samples a latent variable; the one place where a model does.

        Args:
            posterior: q, of batch shape (batch,) where the draw opens the sample axis, else (samples, batch).
            prior: p(z), of batch shape (), (batch,) or (samples, batch).
            opens: whether the draw opens the sample axis; False where it rides on that of draws before it.
            present: None, or how far the variable is there, shape (samples, batch); see `Latent`.
            closed_form: False where the prior is given other draws that depend on this one.

        Raises:
            ValueError: for a posterior of another number of batch axes.
        """
        sampler = current_sampler()
        axes = 1 if opens or sampler.samples is None else 2
        if posterior.batch_shape.rank not in (None, axes):
            needed = "(batch,)" if axes == 1 else "(samples, batch)"
            raise ValueError(
                f"{type(self).__name__}.draw with opens={opens} needs a posterior of batch shape {needed}; other axes, "
                f"such as time, belong to the event. Received: {posterior.batch_shape}."
            )
        path = sampler.path_of(posterior)
        if path is not None:
            posterior = path.drawn_from(posterior)
        opened = opens and sampler.samples is not None
        drawn = sampler.draw(posterior, [sampler.samples] if opened else [])
        if path is not None:
            drawn = drawn.along(path)
        return Latent(drawn.value, posterior, prior, path, closed_form, present, drawn)

    # --- training and evaluation: the hooks that Keras documents -----------------------------------------------------

    def train_step(self, data) -> dict:
        """One step on one batch: draws, bound, gradients, update."""
        x, y, sample_weight = _unpacked(data)
        with tf.GradientTape(persistent=bool(self.loss.groups)) as tape, taking_rows(tape) as taken:
            seed = self._step_seed(TRAIN, batches_trained(self.optimizer))
            with sampling(self.loss.samples, seed, self.loss.path, sample_weight):
                trace = self(self.as_inputs(x, y), training=True)
                losses = self._group_losses(trace, sample_weight)
            scaled = {name: self.optimizer.scale_loss(loss) for name, loss in losses.items()}
        gradients: dict[int, Any] = {}
        for weights, loss in losses_and_weights(self, scaled, taken):
            found = tape.gradient(loss, weights)
            gradients |= {id(weight): gradient for weight, gradient in zip(weights, found, strict=True)}
        build_optimizer(self)  # outside of the block below, whose variables XLA could not create
        weights = self.trainable_weights
        pairs = list(zip(summed_rows(self.optimizer, [gradients[id(each)] for each in weights]), weights, strict=True))
        of_rows = [(gradients[id(each.values)], each) for each in taken]
        found = pairs + of_rows
        # Data of unknown length end with a step that has no data: without this its count would go up all the same.
        needed = [*tf.nest.flatten(x)[:1], *finite_or_stop(self, losses, found if self.skip_above is None else [])]
        with tf.control_dependencies(needed):

            def update():
                with sampling(1, fold(seed, LEARN), weights=sample_weight):
                    self.learn_from(trace)
                for gradient, rows in of_rows:
                    self.optimizer.update_stored(rows, gradient)
                if pairs or not of_rows:
                    self.optimizer.apply_gradients(pairs)
                else:
                    self.optimizer.iterations.assign_add(1)

            self._unless_too_large(update, found)
        return self._logs()

    def _unless_too_large(self, update: Callable[[], None], gradients: list[tuple]) -> None:
        """Updates, unless the gradients, pairs of one and its weight, are beyond what `compile` got as `skip_above`."""
        if self.skip_above is None:
            update()
            return
        norm = tf.linalg.global_norm([tf.convert_to_tensor(each) for each, _ in gradients if each is not None])
        small_enough = norm <= self.skip_above * self.optimizer.scale_loss(1.0)  # which NaN is not
        self._skipped_steps().update_state(tf.cast(~small_enough, tf.float32))

        def leave_out():
            self.optimizer.iterations.assign_add(1)

        tf.cond(small_enough, update, leave_out)

    def learn_from(self, trace: Trace) -> None:
        """What a model learns of a step without gradients, once the step is known to be finite; nothing as a rule."""
        del trace  # a body of a docstring alone is more than AutoGraph can read, in a tf.function around `train_step`

    def test_step(self, data) -> dict:
        """The same figures on one batch, without an update; each pass over the data draws the same noise."""
        x, y, sample_weight = _unpacked(data)
        with sampling(self.loss.samples, self._step_seed(TEST), weights=sample_weight):
            trace = self(self.as_inputs(x, y), training=False)
            self.compute_loss(x, y_pred=trace, sample_weight=sample_weight, training=False)
        return {name: value for name, value in self._logs().items() if name != "skipped_steps"}

    def predict_step(self, data) -> tf.Tensor:
        """Reconstructions of one batch."""
        x, y, _ = _unpacked(data)
        return self.reconstruct(self.as_inputs(x, y))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True) -> tf.Tensor:
        """The scalar that is minimised: mean over the batch of sample_weight x loss, plus `add_loss` terms, nats.

        Args:
            x, y: unused; the trace holds what was observed.
            y_pred: the `Trace` of the batch.
            sample_weight: None or shape (batch,). In the logs an example of weight 2 counts as two examples.
            training: whether the objective's numbers are the scheduled ones.
        """
        return self._group_losses(y_pred, sample_weight, training)[REST]

    def _group_losses(self, trace: Trace, sample_weight=None, training=True) -> dict[str, tf.Tensor]:
        """The scalar that each group of weights minimises, by name; that of all others is `REST`."""
        if training:
            self.loss.check(trace)
        with scheduled(self.scheduled_numbers if training else None):
            losses = self.loss.per_example(trace)  # [batch] each
        extra = tf.add_n([tf.reduce_sum(tf.cast(loss, tf.float32)) for loss in self.losses] or [tf.zeros([])])
        for name, (figures, weights) in self._logged(losses, extra, trace).items():
            self._mean(name).update_state(figures, sample_weight=_product(weights, sample_weight))
        for name, uses in trace.uses.items():
            self._code_use(name, trace).update_state(uses, sample_weight)
        self._seen["examples"].update_state(tf.zeros_like(losses[REST]))
        if sample_weight is not None:
            losses = {name: loss * sample_weight for name, loss in losses.items()}
        means = {name: global_mean(loss) for name, loss in losses.items()}
        means[REST] += extra / tf.distribute.get_strategy().num_replicas_in_sync
        return means

    def _step_seed(self, stream: int, *numbers) -> tf.Tensor:
        replica = tf.distribute.get_replica_context()
        replica_id = replica.replica_id_in_sync_group if replica else 0
        # The examples seen since the figures were reset tell apart batches that share a step: those of evaluation, and
        # those of one update under gradient accumulation.
        return fold(self.seed, stream, self._seen["examples"].count, replica_id, *numbers)

    def _logged(self, losses: dict[str, tf.Tensor], extra, trace: Trace) -> dict[str, tuple]:
        """The logs by name: a number for each example, shape (batch,), and None or its weight in the mean."""
        figures = {"log_likelihood": trace.log_likelihood, "kl": trace.kl}
        if len(trace.latents) > 1:
            figures |= {f"kl_{name}": kl for name, kl in self.kl_by_name(trace).items()}
        bound = trace.kl - trace.log_likelihood
        if self.discrete:
            figures["bits_per_dim"] = bound / (self.dimensions * tf.math.log(2.0))
        means = {name: tf.reduce_mean(values, axis=0) for name, values in figures.items()}
        means |= {name: over_draws(term) for name, term in trace.terms.items()}
        means |= {f"loss_{name}": loss for name, loss in losses.items() if name != REST}
        logs = {name: (values, None) for name, values in ({"loss": losses[REST] + extra} | means).items()}
        for name, count in trace.units.items():
            count = tf.cast(count, tf.float32)
            logs[f"nats_per_{name}"] = tf.math.divide_no_nan(tf.reduce_mean(bound, axis=0), count), count
        return logs

    def kl_by_name(self, trace: Trace) -> dict[str, tf.Tensor]:
        """What the logs have beside the whole KL where there are several latent variables: that of each, nats."""
        return {name: latent.kl for name, latent in trace.latents.items()}

    def _mean(self, name: str) -> keras.metrics.Mean:
        return loss_mean(self) if name == "loss" else self._trackers[name]

    def _code_use(self, name: str, trace: Trace) -> CodeUse:
        """The count of the codes of a latent variable."""
        if name not in self._uses:
            suffix = f"_{name}" if len(trace.uses) > 1 else ""
            with tf.init_scope():
                self._uses[name] = CodeUse(tuple(trace.uses[name].shape[1:]), suffix, name=f"use{suffix}")
        return self._uses[name]

    def _skipped_steps(self) -> keras.metrics.Sum:
        if not self._skipped:
            with tf.init_scope():
                self._skipped["steps"] = keras.metrics.Sum(name="skipped_steps")
        return self._skipped["steps"]

    def _logs(self) -> dict:
        logs = self.get_metrics_result()
        if multi_worker(self.distribute_strategy):  # Keras averages the first axis over the workers
            logs = {name: tf.reshape(value, [1]) for name, value in logs.items()}
        return logs

    def _create_variables(self, to_train: bool) -> None:
        """Those that the first step would create, which it can not on a replica.

        Args:
            to_train: whether to ask the objective first if it can train the model.
        """
        if self.programs.made("train"):
            return  # a step has created them, after this had looked
        with self.distribute_strategy.scope(), sampling(self.loss.samples, fold(0)):
            trace = self(self.example_inputs())
            if to_train:
                self.loss.check(trace)
            for name in self._logged(self.loss.per_example(trace), 0.0, trace):
                self._mean(name)
            for name in trace.uses:
                self._code_use(name, trace)
            if self.skip_above is not None:
                self._skipped_steps()
            self._seen["examples"]
            build_optimizer(self)

    def reset_metrics(self):
        """Begins the means anew, as Keras does at the start of each epoch and pass."""
        super().reset_metrics()
        self._seen["examples"].reset_state()

    def means(self) -> list[keras.metrics.Metric]:
        """All that a step adds to: the metrics, and the number of examples."""
        return [*self.metrics, *self._seen.values()]

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """Means over the examples of an epoch: loss, log_likelihood, kl, ..."""
        return [*super().metrics, *self._trackers.values(), *self._uses.values(), *self._skipped.values()]

    # --- serving -----------------------------------------------------------------------------------------------------

    def serving_signatures(self, **limits: int) -> dict:
        """What `export` writes: by name, a function to a flat dict of tensors and the specs of its inputs.

        Those of a model of your own are `log_likelihood`, `serving_default` and `reconstruct` where it has a method
        `reconstruct`, the second one if that takes a seed, and `generate` and `sample` where it has these.

        Args:
            **limits: `max_bytes` and `max_samples`, see `keras_vae.serving.Signatures`.
        """
        own = {
            name: getattr(self, name)
            for name in ("reconstruct", "generate", "sample")
            if getattr(type(self), name) is not getattr(LatentVariableModel, name)
        }
        make = Signatures(self, None, **limits)
        names = ["serving_default"] if "reconstruct" in own else []
        if names and "seed" in inspect.signature(own["reconstruct"]).parameters:
            names.append("reconstruct")
        made = make.of(*names)
        for name, output in {"generate": "mean", "sample": "x"}.items():
            if name in own:
                made[name] = make.by_count(name, output, own[name])
        return made | make.of("log_likelihood")

    # --- scoring -----------------------------------------------------------------------------------------------------

    def tracer(self, x) -> Callable[[], Trace]:
        """A function that draws and returns a trace of `x` at each call.

        A subclass does here, once, what does not depend on the draws, such as encoding `x`.
        """
        return functools.partial(self.__call__, x, training=False)

    def work_of(self, inputs) -> tf.Tensor:
        """One draw with all that is made on its way: what it takes limits how much a served request may ask for."""
        return self.tracer(inputs)().log_weight

    def importance_weights(self, x, num_samples, seed=0, rows: int = ROWS) -> tuple[tf.Tensor, tf.Tensor]:
        """Importance-sampled log p(x), and how many draws it rests on.

        log p(x) is estimated by log (1/K) sum_k w[k], w[k] = p(x, z[k]) / q(z[k] | x): a lower bound in expectation,
        that rises to log p(x) with K. `x` is encoded once; draws are made in chunks, so that memory does not grow with
        their number.

        Args:
            x: what `call` takes, shape (batch, *event).
            num_samples: K, an integer or an integer scalar tensor; under XLA an integer.
            seed: integer, integer scalar tensor or int32 of shape (2,).
            rows: examples x draws in one chunk, at most; at least one draw for each example is made.

        Returns:
            log_likelihood: nats, shape (batch,).
            effective_samples: (sum w)^2 / sum w^2, between 1 and K, shape (batch,); 0 where all w are 0.

        Reference: Burda et al. 2016, arXiv:1509.00519.
        """
        if self.one_point:
            num_samples = 1
        sums, _ = self.weigh(x, num_samples, seed, rows)
        return sums.log_sum() - tf.math.log(tf.cast(num_samples, tf.float32)), sums.effective_samples()

    def weigh(self, x, num_samples, seed=0, rows: int = ROWS, largest: int = 0) -> tuple[WeightSums, tf.Tensor]:
        """Sums of importance weights, and the largest of them.

        Args:
            x, num_samples, seed, rows: as for `importance_weights`.
            largest: how many weights are kept.

        Returns:
            sums: over all draws.
            log_weights: logarithms of the largest weights in descending order, shape (largest, batch); -inf stands
                where there are fewer.
        """
        self._require_built("importance_weights")
        x = self._as_batch(x)
        num_samples = num_samples if tf.is_tensor(num_samples) else whole_number(self, "num_samples", num_samples)
        first = tf.nest.flatten(x)[0]
        batch = first.shape[0] if first.shape[0] is not None and isinstance(num_samples, int) else tf.shape(first)[0]
        seed = self._as_seed(seed)
        chunks = -(-num_samples // _at_least_one(rows // _at_least_one(batch)))
        chunk = -(-num_samples // chunks)  # all of one size, but for draws beyond the last one
        draw_trace = self.tracer(x)

        def add_chunk(done, sums, top):
            with sampling(chunk, fold(seed, done)):
                log_weight = draw_trace().log_weight  # [chunk, batch]
            wanted = done + tf.range(chunk) < num_samples
            log_weight = tf.where(wanted[:, None], log_weight, -float("inf"))
            if largest:
                candidates = tf.transpose(tf.concat([top, log_weight], axis=0))
                top = tf.transpose(tf.math.top_k(candidates, largest).values)
            return done + chunk, sums.add(log_weight), top

        start = [tf.constant(0), WeightSums.of_none(batch), tf.fill([largest, batch], -float("inf"))]
        _, sums, top = tf.while_loop(lambda done, *_: done < num_samples, add_chunk, start)
        return sums, top

    def _as_batch(self, inputs, takes: Inputs | None = None):
        """`inputs`, in the structure of what `call` takes, as tensors; looked at where a user is who can be told.

        Args:
            inputs: arrays, frames or tensors.
            takes: None, or a part of what `call` takes, which they are.
        """
        takes = self.takes if takes is None else takes
        batch = takes.of(type(self).__name__, inputs)
        if tf.executing_eagerly() and not within_sampling():
            self._check_batch(takes, batch)
        return batch

    def _parts(self, inputs) -> tuple:
        """The observation, and what is given beside it where the model takes that."""
        inputs = self._as_batch(inputs)
        return inputs if self.takes.y is not None else (inputs,)

    def summary(self, *args, print_fn=None, **kwargs):
        """Prints Keras's table of layers, then the objective in words."""
        super().summary(*args, print_fn=print_fn, **kwargs)
        if self.compiled:
            (print_fn or print)(f" Objective: {self.loss.describe()}")


def _at_least_one(number):
    return max(number, 1) if isinstance(number, int) else tf.maximum(number, 1)


def _unpacked(data) -> tuple:
    """x, y and the weights of the examples, shape (batch,), of a batch."""
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    if sample_weight is not None:
        sample_weight = tf.cast(tf.reshape(sample_weight, [-1]), tf.float32)
    return x, y, sample_weight


def _product(first, second):
    return second if first is None else first if second is None else first * second
