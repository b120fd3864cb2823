"""Groups of weights: those with a loss of their own, and those with an optimizer of their own; and rows."""

from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from keras_vae.stored_rows import Taken, stored_in

NOT_STORED = (
    "amsgrad",
    "clipnorm",
    "clipvalue",
    "global_clipnorm",
    "gradient_accumulation_steps",
    "use_ema",
    "weight_decay",
)
REST = "model"  # the group of all weights that are in no other


def weight_groups(model: keras.Model) -> dict[str, list[keras.Variable]]:
    """The trainable weights of a model by group, `REST` first; each weight is in one group."""
    members = {
        name: [weight for layer in layers for weight in layer.trainable_weights]
        for name, layers in model.loss.groups.items()
    }
    taken = {id(weight) for weights in members.values() for weight in weights}
    return {REST: [weight for weight in model.trainable_weights if id(weight) not in taken]} | members


def losses_and_weights(model: keras.Model, losses: dict, taken: Sequence[Taken] = ()) -> list[tuple[list, object]]:
    """Each loss, and the weights that it trains: those of its group; of `REST` also those of groups without a loss.

    Args:
        losses: by group, `REST` among them.
        taken: rows that the step has taken, whose values belong to `REST`.
    """
    groups = weight_groups(model)
    pooled: list = [weight for name in groups if name == REST or name not in losses for weight in groups[name]]
    pooled += [each.values for each in taken]
    return [(pooled if name == REST else groups[name], loss) for name, loss in losses.items()]


def build_optimizer(model: keras.Model) -> None:
    """Creates the variables of a model's optimizer, once: the one that scales the loss would begin its scale anew."""
    optimizer = model.optimizer
    if optimizer.built:
        return
    groups = getattr(optimizer, "inner_optimizer", optimizer)  # inside of the one that scales the loss
    if isinstance(groups, OptimizerGroups) and not groups.built:
        groups.members = [(name, weight) for name, weights in weight_groups(model).items() for weight in weights]
    optimizer.build(model.trainable_weights)
    for rows in stored_in(model):
        rows.forget_moments()


def summed_rows(optimizer: keras.optimizers.Optimizer, gradients: Sequence) -> list:
    """Gradients as an optimizer is to get them: those of tables whole, where several places of a batch use one row.

    TensorFlow gives a `tf.IndexedSlices` with each use of a row for itself. Keras's optimizers square, and clip, these
    before they add them up. `RowwiseAdam` adds them up first.
    """
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    if isinstance(inner, RowwiseAdam | OptimizerGroups):  # the groups ask for themselves
        return list(gradients)
    return [tf.convert_to_tensor(each) if isinstance(each, tf.IndexedSlices) else each for each in gradients]


@keras.saving.register_keras_serializable("keras_vae")
class OptimizerGroups(keras.optimizers.Optimizer):
    """One optimizer for each group of weights: `compile(optimizer={"model": "adam", "critic": Adam(1e-4)})`.

    Its `learning_rate` is that of the group "model".

    Args:
        optimizers: Keras optimizers by group; weights of a group that has none belong to "model".
        name: as of any Keras optimizer.

    Raises:
        ValueError: without an optimizer for "model".
    """

    def __init__(self, optimizers: Mapping[str, keras.optimizers.Optimizer], name: str = "optimizer_groups"):
        if REST not in optimizers:
            raise ValueError(
                f'compile needs an optimizer for the weights of "{REST}", {{"{REST}": "adam", ...}}. '
                f"Received: {', '.join(map(repr, optimizers)) or 'none'}."
            )
        super().__init__(learning_rate=0.0, name=name)
        self.optimizers = {group: keras.optimizers.get(optimizer) for group, optimizer in optimizers.items()}
        self.members: list[tuple[str, keras.Variable]] = []

    @property
    def learning_rate(self):
        """Of the group "model"."""
        return self.optimizers[REST].learning_rate

    @learning_rate.setter
    def learning_rate(self, value):
        self.optimizers[REST].learning_rate = value

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Creates the variables of all optimizers."""
        if self.built:
            return
        super().build(variables)
        self._group_of = {id(weight): name if name in self.optimizers else REST for name, weight in self.members}
        for name, optimizer in self.optimizers.items():
            optimizer.build([weight for weight in variables if self._group_of.get(id(weight), REST) == name])

    def apply(self, grads, trainable_variables=None):
        """One step of each optimizer."""
        for name, optimizer in self.optimizers.items():
            pairs = [
                (gradient, weight)
                for gradient, weight in zip(grads, trainable_variables, strict=True)
                if self._group_of.get(id(weight), REST) == name
            ]
            if pairs:
                gradients, weights = map(list, zip(*pairs, strict=True))
                optimizer.apply(summed_rows(optimizer, gradients), weights)
        self._iterations.assign_add(1)

    @property
    def variables(self):
        """Of all optimizers."""
        return [*self._variables, *(variable for each in self.optimizers.values() for variable in each.variables)]

    def save_own_variables(self, store):
        """Only its own: those of the optimizers are saved with them."""
        for number, variable in enumerate(self._variables):
            store[str(number)] = variable.numpy()

    def load_own_variables(self, store):
        for number, variable in enumerate(self._variables):
            variable.assign(store[str(number)])

    def finalize_variable_values(self, var_list):
        """Puts averaged weights in the place of the last ones, where an optimizer averages."""
        for name, optimizer in self.optimizers.items():
            optimizer.finalize_variable_values([v for v in var_list if self._group_of.get(id(v), REST) == name])

    def get_config(self) -> dict:
        return {"optimizers": keras.saving.serialize_keras_object(self.optimizers), "name": self.name}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        optimizers = keras.saving.deserialize_keras_object(config["optimizers"], custom_objects)
        return cls(optimizers, config["name"])


@keras.saving.register_keras_serializable("keras_vae")
class RowwiseAdam(keras.optimizers.Adam):
    """Adam that leaves the rows of an embedding alone which a batch has not used: their weights and their moments.

    Keras's Adam moves all rows at each step, by what is left of their moments. Here a step computes with those of its
    batch alone. All other weights are trained as by Adam, whose arguments it has.

    Reference: Kingma & Ba 2015, arXiv:1412.6980; known as SparseAdam of PyTorch and LazyAdam of TensorFlow Addons.
    """

    def update_step(self, gradient, variable, learning_rate):
        """Updates a weight; of a gradient of rows, `tf.IndexedSlices`, these rows alone."""
        if not isinstance(gradient, tf.IndexedSlices):
            return super().update_step(gradient, variable, learning_rate)
        place = self._get_variable_index(variable)
        kept = [variable, self._momentums[place].value, self._velocities[place].value]
        old = [tf.gather(each, gradient.indices) for each in kept]
        new = self._moved(old, gradient.indices, gradient.values, learning_rate)
        for each, values in zip(kept, new, strict=True):
            each.scatter_update(tf.IndexedSlices(values, gradient.indices))

    def update_stored(self, taken: Taken, gradient: tf.Tensor) -> None:
        """Updates rows on disk, and their moments.

        Args:
            taken: rows that a step has taken.
            gradient: of their values.
        """
        numbers = tf.maximum(taken.numbers, 0)
        old = tf.unstack(taken.rows.read(numbers), axis=1)
        taken.rows.write(numbers, tf.stack(self._moved(old, numbers, gradient, self.learning_rate), axis=1))

    def _moved(self, old: Sequence[tf.Tensor], numbers, gradient, learning_rate) -> list[tf.Tensor]:
        """Values and both moments of rows after a step, from those before it."""
        values, first, second = old
        # Twice in a batch, a row gets the sum of its gradients, at both of its places.
        same = tf.cast(numbers[:, None] == numbers[None, :], gradient.dtype)
        gradient = tf.tensordot(same, gradient, 1)
        # A row that only stands in the place of an example of which nothing is known has no gradient at all.
        used = tf.reduce_any(gradient != 0, axis=list(range(1, len(gradient.shape))), keepdims=True)
        step, rate = tf.cast(self.iterations + 1, values.dtype), tf.cast(learning_rate, values.dtype)
        first = self.beta_1 * first + (1 - self.beta_1) * gradient
        second = self.beta_2 * second + (1 - self.beta_2) * gradient**2
        direction, scale = first / (1 - self.beta_1**step), tf.sqrt(second / (1 - self.beta_2**step))
        new = values - rate * direction / (scale + self.epsilon), first, second
        return [tf.where(used, after, before) for after, before in zip(new, old, strict=True)]


def check_for_stored(owner: str, optimizer: keras.optimizers.Optimizer) -> None:
    """Raises `ValueError` for an optimizer that would not train rows on disk as it says.

    Args:
        owner: "VariationalAutodecoder.compile", for the message.
        optimizer: as compiled.
    """
    needs = f"{owner} needs optimizer to be RowwiseAdam for parameters on disk"
    if not isinstance(optimizer, RowwiseAdam):
        raise ValueError(f"{needs}. Received: {type(optimizer).__name__}.")
    given = {name: getattr(optimizer, name) for name in NOT_STORED if getattr(optimizer, name)}
    if given:
        raise ValueError(f"{needs}, without options that Keras applies to weights in memory alone. Received: {given}.")
