"""Encoders and decoders as LiteRT runs them: the operations of all posteriors have a place there."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from cases import decoder, encoder

import keras_vae as kv

POSTERIORS = {
    cls.__name__: cls
    for cls in (
        kv.Normal, kv.FullCovarianceNormal, kv.LowRankNormal, kv.PowerSpherical, kv.Laplace, kv.RelaxedBernoulli,
        kv.Bernoulli, kv.HouseholderFlow,
    )
} | {"InverseAutoregressiveFlow": functools.partial(kv.InverseAutoregressiveFlow, units=[8])}  # fmt: skip
PRIORS = {"PowerSpherical": kv.SphericalUniform, "RelaxedBernoulli": kv.RelaxedBernoulli, "Bernoulli": kv.Bernoulli}


@pytest.mark.skipif(not hasattr(tf, "lite"), reason="this TensorFlow has no converter")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", POSTERIORS)
def test_encode_and_decode_convert(name):
    model = kv.VAE(POSTERIORS[name](3, encoder(5)), kv.Bernoulli(5, decoder(3)), PRIORS.get(name, kv.StandardNormal)(3))
    model.build((None, 5))

    def encode(x):
        posterior = model.encode(x)
        return posterior.mean(), posterior.stddev()

    parts = {"encode": (encode, 5), "decode": (lambda z: (model.decode(z).mean(),), 3)}
    for key in ("encode", "decode") if name == "FullCovarianceNormal" else ("encode",):
        function, size = parts[key]
        graph = tf.function(function).get_concrete_function(tf.TensorSpec([2, size]))
        converted = tf.lite.TFLiteConverter.from_concrete_functions([graph], model).convert()
        lite = tf.lite.Interpreter(model_content=converted)
        lite.allocate_tensors()
        x = np.random.default_rng(0).integers(0, 2, (2, size)).astype("float32")
        lite.set_tensor(lite.get_input_details()[0]["index"], x)
        lite.invoke()
        found = [lite.get_tensor(output["index"]) for output in lite.get_output_details()]
        for output in function(tf.constant(x)):
            assert min(np.abs(output - other).max() for other in found if other.shape == output.shape) < 1e-5
