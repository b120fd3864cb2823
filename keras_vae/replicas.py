"""What a step must know about the replicas of a `tf.distribute` strategy."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import tensorflow as tf

CLIPPING = ("clipnorm", "clipvalue", "global_clipnorm")


def one_device(strategy: tf.distribute.Strategy) -> bool:
    """Whether there is no strategy: TensorFlow's default one."""
    return type(strategy).__name__ == "_DefaultDistributionStrategy"


def multi_worker(strategy: tf.distribute.Strategy) -> bool:
    """Whether the replicas are spread over several processes."""
    resolver = strategy.cluster_resolver
    return resolver is not None and len(resolver.cluster_spec().as_dict().get("worker", [])) > 1


def worker(strategy: tf.distribute.Strategy) -> int:
    """The number of this process among the workers."""
    return int(strategy.cluster_resolver.task_id or 0)


def global_mean(values: tf.Tensor) -> tf.Tensor:
    """This replica's share of the mean over the examples of all replicas: gradients are summed over them.

    Args:
        values: by example, shape (batch,); the batch may be another one, or empty, on each replica.
    """
    return tf.reduce_sum(values) / global_sum(tf.cast(tf.shape(values)[0], values.dtype))


def global_sum(values: tf.Tensor) -> tf.Tensor:
    """The sum over all replicas."""
    replica = tf.distribute.get_replica_context()
    if replica is not None and replica.num_replicas_in_sync > 1:
        return replica.all_reduce(tf.distribute.ReduceOp.SUM, values)
    return values


def smallest(strategy: tf.distribute.Strategy, number: int) -> int:
    """The smallest of the workers' numbers; each worker must ask."""
    per_replica = strategy.run(lambda: tf.constant([number]))
    return int(tf.reduce_min(strategy.gather(per_replica, axis=0)))


@contextmanager
def workers_watched(strategy: tf.distribute.Strategy, name: str) -> Iterator[None]:
    """Raises `ConnectionError` that says what to do when another worker is lost inside the block.

    Args:
        strategy: of the model.
        name: "VAE.fit", for the message.
    """
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.DeadlineExceededError) as error:
        if not multi_worker(strategy):
            raise
        raise ConnectionError(
            f"{name} on worker {worker(strategy)} lost another worker, and stops. Start all workers again with the "
            "same command: keras_vae.callbacks.BackupAndRestore goes on from the last epoch that all of them finished."
        ) from error


def check_strategy(model: keras.Model, name: str, options: dict) -> None:
    """Raises `ValueError` for what can not run under the strategy that a model was made in.

    Args:
        model: of class name and method `name`.
        name: "VAE.compile", for the message.
        options: `optimizer`, `jit_compile`, `steps_per_execution` and `skip_above` of `compile`.
    """
    strategy = model.distribute_strategy
    if one_device(strategy):
        return
    kind = type(strategy).__name__
    needs = f"{name} under {kind} needs"
    if isinstance(strategy, tf.distribute.ParameterServerStrategy):
        raise ValueError(f"{name} needs a synchronous strategy, such as MirroredStrategy. Received: {kind}.")
    tpu = isinstance(strategy, tf.distribute.TPUStrategy)
    if not tpu and options["jit_compile"] is True:
        raise ValueError(
            f'{needs} jit_compile=False or "auto": XLA can not reach the weights of its replicas. Received: True.'
        )
    if not tpu and options["steps_per_execution"] not in (1, "auto"):
        raise ValueError(f'{needs} steps_per_execution=1 or "auto". Received: {options["steps_per_execution"]}.')
    if options["skip_above"] is not None:
        raise ValueError(
            f"{needs} skip_above=None: replicas can not leave out a step together. Received: {options['skip_above']}."
        )
    optimizer = options["optimizer"]
    if strategy.num_replicas_in_sync > 1 and isinstance(optimizer, keras.optimizers.Optimizer):
        given = {setting: getattr(optimizer, setting, None) for setting in CLIPPING}
        given = {setting: value for setting, value in given.items() if value is not None}
        if given:
            raise ValueError(
                f"{needs} an optimizer without clipping, which Keras would apply to the gradients of each replica and "
                f"not to their sum. Received: {given}."
            )
