"""Trains on two logical devices; run by test_replicas.py in a process of its own."""

import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from on_devices import X, check_same, model, trained

import keras_vae as kv
from keras_vae.callbacks import BackupAndRestore
from keras_vae.sampling import sampling

devices = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(devices[0], [tf.config.LogicalDeviceConfiguration()] * 2)
# One for all checks: TensorFlow lets strategies over the same devices share the numbers of their collective operations.
STRATEGY = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def served(path: str) -> np.ndarray:
    return tf.saved_model.load(path).signatures["serving_default"](tf.constant(X))["mean"].numpy()


def check_equal(folder: str) -> None:
    one = trained()
    expected = one[3].predict(X, verbose=0)
    with STRATEGY.scope():
        two = trained()
        predicted = two[3].predict(X, verbose=0)
    check_same(one, two)
    np.testing.assert_allclose(predicted, expected, rtol=1e-4, atol=1e-6)
    with STRATEGY.scope():
        two[3].save(f"{folder}/two.keras")
        two[3].export(f"{folder}/export/1")
    for part in (kv.load_model(f"{folder}/two.keras").predict(X, verbose=0), served(f"{folder}/export/1")):
        np.testing.assert_allclose(part, predicted, rtol=1e-5, atol=1e-6)


def check_noise() -> None:
    """Two replicas with the same example draw other values."""
    with STRATEGY.scope():
        made = model(scale=1.0)
        made.build((None, 6))
        made._create_variables(to_train=True)

    @tf.function
    def draws():
        def draw():
            with sampling(1, made._step_seed(0)):
                return made(X[:1]).latents["z"].value

        return STRATEGY.experimental_local_results(STRATEGY.run(draw))

    first, second = (part.numpy() for part in draws())
    assert np.abs(first - second).max() > 1e-3


def check_errors() -> None:
    with STRATEGY.scope():
        made = model()
        for options, words in [
            ({"jit_compile": True}, "jit_compile"),
            ({"steps_per_execution": 3}, "steps_per_execution"),
            ({"optimizer": keras.optimizers.SGD(0.1, clipnorm=1.0)}, "clipnorm"),
        ]:
            with pytest.raises(ValueError, match=f"VAE.compile under MirroredStrategy needs.*{words}"):
                made.compile(**options)


def check_resume(folder: str) -> None:
    results = []
    for epochs in ([2], [1, 2]):
        for until in epochs:
            with STRATEGY.scope():
                made = model(scale=1.0)
                backup = BackupAndRestore(f"{folder}/backup-{len(epochs)}")
                made.fit(X, batch_size=8, epochs=until, verbose=0, callbacks=[backup])
        results.append(made.get_weights())
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def codes(kind, unused: float):
    """History and weights of a model of codes."""
    keras.utils.set_random_seed(1)
    posterior = kind((3, 1), kv.dense_encoder(6, units=[5]), levels=4, vector_size=2, unused=unused)
    decode = keras.Sequential([keras.Input((3, 2)), keras.layers.Flatten(), keras.layers.Dense(5, "tanh")])
    made = kv.VQVAE(posterior, kv.Bernoulli(6, decode), kv.Categorical((3, 1), levels=4))
    made.compile(keras.optimizers.SGD(0.01), jit_compile=False)
    history = made.fit(X, batch_size=8, epochs=2, validation_data=X, verbose=0).history
    return history, made.get_weights(), made.evaluate(X, verbose=0), made


def check_codes() -> None:
    """The codebook learns from the examples of all devices; where codes begin anew, it stays one for all of them."""
    for kind in (kv.VectorQuantized, kv.GradientVectorQuantized):
        one = codes(kind, unused=0.0)
        with STRATEGY.scope():
            check_same(one, codes(kind, unused=0.0))
            made = codes(kind, unused=0.9)[3]
        for weight in (made.posterior.codebook, made.posterior.use):
            first, second = (part.numpy() for part in STRATEGY.experimental_local_results(weight.value))
            np.testing.assert_array_equal(first, second)


if __name__ == "__main__":
    check_equal(sys.argv[1])
    check_noise()
    check_errors()
    check_resume(sys.argv[1])
    check_codes()
    print("all equal")
