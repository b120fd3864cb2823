"""The variational autoencoder without an encoder."""

from typing import Any

import numpy as np
from tensorflow_probability import distributions as tfd

from keras_vae.distributions import DistributionLayer, PerExample, PerExampleOnDisk
from keras_vae.models.inputs import Field, Inputs, answers_frames
from keras_vae.models.single_latent import UnconditionalPrior, build_layers, check_parts
from keras_vae.objectives import Objective
from keras_vae.optimizers import check_for_stored
from keras_vae.replicas import one_device
from keras_vae.serving import Rows, Signatures
from keras_vae.stored_rows import stored_in

LARGE = 2**30  # bytes of parameters on disk, beyond which they are not brought into memory


class VariationalAutodecoder(UnconditionalPrior):
    """p(x, z) = p(x | z) p(z), whose q(z) has parameters of its own for each example of the training data.

    The number of an example, from 0, is what Keras calls `y`: `fit(x, np.arange(len(x)))`, `predict((x, numbers))`,
    datasets of pairs. -1 stands for an example that is not among the training data, of which nothing is known;
    `evaluation.refine_posterior(model, (x, numbers), posterior=Normal(16))` fits its posterior, from the prior on. With
    `RowwiseAdam` a step computes with the parameters of its batch alone. Those of `PerExample` are in memory, with two
    moments each, and are looked at and, under XLA, copied once for each call of up to 50 steps. Those of
    `PerExampleOnDisk` are in a file: they are trained by `RowwiseAdam` on one device, without XLA, and no part of
    `get_weights` and of what `export` writes, which has `decode`, `generate` and `sample`.

    Args:
        posterior: q(z), `PerExample(Normal(16), examples=len(x))`.
        likelihood: p(x | z), a layer given z.
        prior: p(z), a layer given nothing.
        seed: integer, of the noise of training and evaluation.
        **kwargs: `name`, `trainable` and `dtype` of a Keras model.

    Raises:
        TypeError: for a posterior that is not `PerExample`, and arguments that are no distribution layers.
        ValueError: for a prior whose event shape, or whose kind of draws, is not the posterior's, and, in use, for
            numbers of examples that there are not.

    Reference: Zadeh et al. 2019, arXiv:1903.00840; Hoffman et al. 2013, "Stochastic variational inference" (JMLR).
    """

    def __init__(
        self, posterior: PerExample, likelihood: DistributionLayer, prior: DistributionLayer, seed: int = 0, **kwargs
    ):
        super().__init__(seed=seed, **kwargs)
        check_parts(self, posterior=posterior, likelihood=likelihood, prior=prior)
        if not isinstance(posterior, PerExample):
            raise TypeError(
                f"{type(self).__name__} needs posterior to be PerExample(layer, examples). Received: {posterior!r}."
            )
        self.posterior = posterior
        self.likelihood = likelihood
        self.prior = prior

    @property
    def on_disk(self) -> bool:
        """Whether the parameters of the examples are."""
        return isinstance(self.posterior, PerExampleOnDisk)

    def compile(self, optimizer="adam", loss: Objective | None = None, **kwargs):
        """Configures training, as `VAE.compile`.

        Raises:
            ValueError: where the parameters are on disk, for another optimizer than `RowwiseAdam`, for XLA and under a
                `tf.distribute` strategy.
        """
        super().compile(optimizer, loss, **kwargs)
        if self.on_disk:
            name = f"{type(self).__name__}.compile"
            check_for_stored(name, self.optimizer)
            if self.programs.requested["jit_compile"] is True:
                raise ValueError(f"{name} needs jit_compile=False for parameters on disk. Received: True.")
            if not one_device(self.distribute_strategy):
                kind = type(self.distribute_strategy).__name__
                raise ValueError(f"{name} needs one device for parameters on disk. Received: {kind}.")

    def get_weights(self):
        """As `keras.Model.get_weights`, which EarlyStopping asks for; refused where the parameters are on disk."""
        if self.on_disk:
            raise TypeError(
                f"{type(self).__name__}.get_weights has no parameters that are on disk: save_weights writes all to a "
                "file, and callbacks.KeepBest keeps the best of them. Received: PerExampleOnDisk."
            )
        return super().get_weights()

    def save(self, filepath, overwrite=True, zipped=None, **kwargs):
        """Writes a `.keras` file, or with `zipped=False` a folder, which parameters on disk of more than 1 GiB need."""
        size = sum(rows.bytes for rows in stored_in(self))
        if size > LARGE and zipped is not False:
            raise ValueError(
                f"{type(self).__name__}.save needs zipped=False, and a folder as path, for parameters on disk of "
                f"{size:,} bytes: Keras holds a .keras file in memory while it writes or reads it. "
                f"Received: {filepath}."
            )
        super().save(filepath, overwrite, zipped, **kwargs)

    @property
    def takes(self) -> Inputs:
        """An observation, and its number as y."""
        number = Field((), "number", dtype="int32", words="numbers of examples")
        return Inputs(Field(self.likelihood.event_shape, observed=self.likelihood), y=number)

    def serving_signatures(self, **limits: int) -> dict:
        """What `export` writes, see `VAE`; what is asked of an example takes its number too, 0 where it is left out.

        There is none of those where the parameters of examples are on disk.
        """
        z = Rows("z", self.latent_shape, self.latent_support)
        of_z = Signatures(self, z, **limits)
        of_z.given = []  # nothing of z depends on which example it is of
        asked_of_z = of_z.of("decode", "generate", "sample")
        if self.on_disk:
            return asked_of_z
        asked_of_examples = Signatures(self, z, **limits).of(
            "serving_default", "encode", "reconstruct", "log_likelihood"
        )
        return asked_of_examples | asked_of_z

    def _check_field(self, field: Field, array: np.ndarray) -> None:
        super()._check_field(field, array)
        examples = self.posterior.examples
        if field.name == "number" and not ((array >= -1) & (array < examples) & (array == np.floor(array))).all():
            raise ValueError(
                f"{type(self).__name__} needs {field.words} that are whole, from 0 to {examples - 1:,}, or -1 for "
                f"others. Received: numbers from {array.min()} to {array.max()}."
            )

    def build(self, input_shape):
        """Creates the weights for data of shape (batch, *event)."""
        if not isinstance(input_shape[0], int | None):  # of the pair that `call` takes
            input_shape = input_shape[0]
        self.check_shape(input_shape)
        build_layers({self.posterior: (None,), self.prior: None, self.likelihood: (None, *self.posterior.event_shape)})

    def encode(self, x, number) -> tfd.Distribution:
        """q(z) of the examples of these numbers, batch shape (batch,); x is looked at, and not used."""
        return self.posterior(self.posterior_context(*self._as_batch((x, number))))

    def posterior_context(self, x, number):
        """What the layer `posterior` is given: the number."""
        return number

    def decode(self, z, number=None) -> tfd.Distribution:
        """p(x | z), batch shape (...), for z of shape (..., *latent)."""
        return self.likelihood(self._as_latent(z, self.latent_shape, self.latent_support))

    def prior_distribution(self, number=None) -> tfd.Distribution:
        """p(z), of batch shape ()."""
        return self.prior()

    @answers_frames
    def reconstruct(self, x, number=None, seed=None) -> Any:
        """Mean of p(x | z) at the mean of q(z), shape (batch, *event); the arguments are those of `VAE.reconstruct`.

        x may be the pair (x, number).
        """
        x, number = x if number is None else (x, number)
        return self._reconstruction(x, (number,), seed)
