"""A small classifier of digits, whose features draws of models are compared in."""

import keras
import numpy as np

import keras_vae as kv


def digit_features(source: str, epochs: int = 2, seed: int = 0) -> tuple[keras.Model, float]:
    """Trains a classifier of "mnist" or "digits", grey levels from 0 to 1, for about a minute.

    Returns:
        features: a model from images to its last hidden layer, 64 numbers.
        accuracy: on the test images.
    """
    data = kv.datasets.load(source, 100, kv.DiscretizedLogistic, seed=seed, labels=True)
    keras.utils.set_random_seed(seed)
    image = keras.Input(data.shape)
    x = keras.layers.Conv2D(16, 3, strides=2, activation="relu")(image)
    x = keras.layers.Conv2D(32, 3, strides=2, activation="relu")(x)
    x = keras.layers.Dense(64, activation="relu")(keras.layers.Flatten()(x))
    classifier = keras.Model(image, keras.layers.Dense(10, activation="softmax")(x))
    classifier.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    classifier.fit(data.train, epochs=epochs if source == "mnist" else 20 * epochs, verbose=0)
    return keras.Model(image, x), classifier.evaluate(data.test, verbose=0, return_dict=True)["accuracy"]


def frechet(features: keras.Model, data: np.ndarray, draws) -> kv.evaluation.DrawQuality:
    """Scores of draws against data, as many of each."""
    draws = np.asarray(draws)
    return kv.evaluation.draw_quality(data[: len(draws)], draws, features)
