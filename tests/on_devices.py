"""What on_replicas.py and on_workers.py train on one device and on several, and how the results are compared."""

import keras
import numpy as np

import keras_vae as kv

X = (np.random.default_rng(0).random((19, 6)) < 0.4).astype("float32")  # batches of 8, a last one of 3: 2 and 1


def model(scale: float = 1e-6) -> kv.VAE:
    """A model whose draws are all but equal to their mean: devices that draw other noise then agree."""
    keras.utils.set_random_seed(1)
    encoder, decoder = kv.dense_encoder(6, units=[5]), kv.dense_decoder(2, units=[5])
    made = kv.VAE(kv.FixedScaleNormal(2, encoder, scale=scale), kv.Bernoulli(6, decoder), kv.StandardNormal(2))
    made.compile(keras.optimizers.SGD(0.1), kv.ELBO(), jit_compile=False)
    return made


def trained() -> tuple:
    """History, weights, scores and the model."""
    made = model()
    history = made.fit(X, batch_size=8, epochs=2, validation_data=X, verbose=0).history
    return history, made.get_weights(), made.evaluate(X, verbose=0), made


def check_same(one: tuple, many: tuple) -> None:
    """What `trained` gave on one device, and on several."""
    for key, values in one[0].items():
        np.testing.assert_allclose(many[0][key], values, rtol=2e-5, err_msg=key)
    for a, b in zip(one[1], many[1], strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(many[2], one[2], rtol=2e-5)
