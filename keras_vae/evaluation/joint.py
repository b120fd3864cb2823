"""log p(x, z) of a batch as a function of z: what Markov chains and posteriors without an encoder need of a model."""

from collections.abc import Sequence

import tensorflow as tf

from keras_vae.distributions import DistributionLayer
from keras_vae.distributions.supports import RealNumbers
from keras_vae.keras_names import layers_of
from keras_vae.models import LatentVariableModel
from keras_vae.noise import fold
from keras_vae.sampling import sampling
from keras_vae.trace import Trace, is_reparameterized


class Joint:
    """A model and a batch, which is encoded once: z comes as values by variable, in the order in which it is drawn.

    Args:
        model: a built model that draws its latent variables outside of loops.
        inputs: what its `call` takes, shape (batch, *event).

    Attributes:
        names: of the latent variables that are drawn, in that order.
    """

    def __init__(self, model: LatentVariableModel, inputs):
        self._draw_trace = model.tracer(model.takes.of(type(model).__name__, inputs))
        with sampling(1, fold(0)) as sampler:
            trace = self._draw_trace()
        number = {id(value): place for place, value in enumerate(sampler.made)}
        self.names = sorted(trace.drawn, key=lambda name: number[id(trace.latents[name].value)])

    def draws(self, samples, seed) -> list[tf.Tensor]:
        """Draws from q(z | x), by variable, shape (samples, batch, *event) each."""
        with sampling(samples, seed) as sampler:
            self._draw_trace()
        return sampler.made

    def trace(self, values: Sequence[tf.Tensor]) -> Trace:
        """The trace at given values, by variable, shape (samples, batch, *event) each."""
        with sampling(tf.shape(values[0])[0], fold(0), given=values):
            return self._draw_trace()


def check_continuous(caller: str, model: LatentVariableModel, joint: Joint) -> None:
    """Raises an error for a model whose latent variables are not all vectors of real numbers, always there.

    Args:
        caller: for messages.
        model: a built model.
        joint: of it and a batch.

    Raises:
        TypeError: for a model without latents, with discrete or bounded ones, or with such as may be absent.
    """
    needs = f"{caller} needs a model whose latent variables are real numbers, always there. Received: "
    if not joint.names:
        raise TypeError(f"{needs}a {type(model).__name__}, which draws none.")
    trace = joint.trace(joint.draws(1, fold(0)))
    for name, latent in trace.drawn.items():
        if latent.present is not None or not is_reparameterized(latent.posterior):
            raise TypeError(f"{needs}a {type(model).__name__}, whose {name} is drawn from a {latent.posterior.name}.")
    of_data = set(map(id, layers_of(model.likelihood))) if hasattr(model, "likelihood") else set()
    for layer in layers_of(model):
        if isinstance(layer, DistributionLayer) and id(layer) not in of_data and layer.support != RealNumbers():
            raise TypeError(
                f"{needs}a {type(model).__name__} with {type(layer).__name__}, whose draws are "
                f"{layer.support.description}."
            )
