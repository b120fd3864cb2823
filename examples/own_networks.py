"""Bring your own networks: any two Keras models, here a residual encoder and an upsampling decoder, and a callback.

python examples/own_networks.py
"""

from functools import partial

import keras
from keras import layers

import keras_vae as kv

SHAPE, LATENTS = (8, 8, 1), 8


def build_encoder() -> keras.Model:
    """Images to a vector of features; the distribution layer adds the last dense layer itself."""
    image = keras.Input(SHAPE)
    x = layers.Conv2D(16, 3, padding="same", activation="swish")(image)
    for _ in range(2):
        x = layers.add([x, layers.Conv2D(16, 3, padding="same", activation="swish")(x)])
    x = layers.Flatten()(layers.AveragePooling2D(2)(x))
    return keras.Model(image, layers.Dense(64, activation="swish")(x))


def build_decoder() -> keras.Model:
    """Latent vectors to features on the grid of the image, whose number of channels is free."""
    z = keras.Input((LATENTS,))
    x = layers.Reshape((4, 4, 16))(layers.Dense(4 * 4 * 16, activation="swish")(z))
    x = layers.UpSampling2D(2)(x)
    return keras.Model(z, layers.Conv2D(16, 3, padding="same", activation="swish")(x))


def main() -> None:
    """Trains with early stopping, and draws samples every 10 epochs."""
    data = kv.datasets.load("digits", batch_size=64)
    vae = kv.VAE(
        posterior=kv.Normal(LATENTS, build_encoder()),
        likelihood=kv.Bernoulli(SHAPE, build_decoder()),
        prior=kv.StandardNormal(LATENTS),
    )
    vae.compile(keras.optimizers.Adam(1e-3, clipnorm=10.0), loss=kv.ELBO())
    callbacks = [
        keras.callbacks.EarlyStopping(monitor="val_loss", patience=10, restore_best_weights=True),
        kv.callbacks.SaveFigure(partial(kv.plotting.samples, seed=0), "samples-{epoch:03d}.png", every=10),
    ]
    vae.fit(data.train, validation_data=data.validation, epochs=60, callbacks=callbacks, verbose=2)
    vae.summary()
    print(kv.evaluation.log_likelihood(vae, data.test, samples=500))


if __name__ == "__main__":
    main()
