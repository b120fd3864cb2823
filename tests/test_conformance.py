"""Every public class: shapes, gradients, config, reload and serving in new processes, XLA, mixed precision."""

import json
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import AUTOENCODERS, CASES, LINEAR

import keras_vae as kv
from keras_vae.sampling import fold, sampling

ABSTRACT = {kv.DistributionLayer, kv.Objective, kv.LatentVariableModel}

LOAD = """
import sys, numpy as np, keras, keras_vae
folder = sys.argv[1]
for number in range(int(sys.argv[2])):
    model = keras.saving.load_model(f"{folder}/{number}.keras")
    assert model.compiled and int(model.optimizer.iterations) == 1
    data = np.load(f"{folder}/{number}.npy")
    logs = model.fit(data, batch_size=len(data), verbose=0).history
    np.savez(f"{folder}/{number}.reloaded.npz", loss=logs["loss"], mean=model.predict(data, verbose=0))
"""

SERVE = """
import sys, numpy as np, tensorflow as tf
folder = sys.argv[1]
for number in range(int(sys.argv[2])):
    model = tf.saved_model.load(f"{folder}/{number}.saved/1")
    inputs = dict(np.load(f"{folder}/{number}.inputs.npz"))
    for name, function in model.signatures.items():
        wanted = function.structured_input_signature[1]
        outputs = function(**{key: tf.constant(inputs[key], spec.dtype) for key, spec in wanted.items()})
        np.savez(f"{folder}/{number}.{name}.npz", **{key: value.numpy() for key, value in outputs.items()})
assert not {"keras_vae", "tensorflow_probability"} & set(sys.modules), "the server needs no Python of the training"
"""


@pytest.fixture(params=CASES.items(), ids=CASES.keys())
def case(request):
    return request.param[1]


@pytest.fixture(scope="module")
def processes(tmp_path_factory, run_python):
    """Every case trained for one step, saved and exported, then loaded and served in two new processes."""
    folder = tmp_path_factory.mktemp("models")
    results = {}
    for number, (name, case) in enumerate(CASES.items()):
        data, model = case.data(), case.compiled()
        model.fit(data, batch_size=len(data), verbose=0)
        model.save(folder / f"{number}.keras")
        model.export(folder / f"{number}.saved" / "1")
        z = model.sample_prior(4, seed=1)
        inputs = {"x": data, "z": z, "seed": 5, "num_samples": 7, "temperature": 0.5}
        np.savez(folder / f"{number}.inputs.npz", **inputs)
        np.save(folder / f"{number}.npy", data)
        served = {
            "serving_default": {"mean": model.reconstruct(data)},
            "encode": {"mean": model.encode(data).mean(), "stddev": model.encode(data).stddev()},
            "decode": {"mean": model.decode(z).mean()},
            "reconstruct": {"mean": model.reconstruct(data, seed=5)},
            "generate": {"z": model.sample_prior(7, 5, 0.5), "mean": model.generate(7, 5, 0.5)},
            "log_likelihood": {"log_likelihood": model.importance_weights(data, 7, 5)[0]},
        }
        logs = model.fit(data, batch_size=len(data), verbose=0).history
        results[name] = (number, served, logs["loss"], model.predict(data, verbose=0))
    with ThreadPoolExecutor() as both:
        list(both.map(lambda code: run_python(code, folder, len(CASES)), (LOAD, SERVE)))
    return folder, results


def test_every_public_class_has_a_case():
    public = {value for name in kv.__all__ if isinstance(value := getattr(kv, name), type)}
    public = {cls for cls in public if issubclass(cls, kv.serializable.Serializable)} - ABSTRACT
    covered = set()
    for case in CASES.values():
        model = case.compiled()
        covered |= {type(part) for part in (model, model.loss, model.posterior, model.likelihood, model.prior)}
    for case in [*LINEAR.values(), *AUTOENCODERS.values()]:
        covered |= {type(part) for part in case.model()._flatten_layers()}
    assert public <= covered, f"add a case to tests/cases.py for {public - covered}"


@pytest.mark.parametrize("samples", [1, 3])
def test_shapes(case, samples):
    x, model = case.data(), case.compiled()
    with sampling(samples, fold(1)):
        trace = model(x)
    batch = len(x)
    assert trace.observed.dtype == tf.float32
    assert trace.latents["z"].value.shape == (samples, batch, *model.posterior.event_shape)
    assert trace.likelihood.batch_shape == (samples, batch)
    for figure in (trace.log_likelihood, trace.kl, trace.log_weight, trace.latents["z"].log_ratio):
        assert figure.shape == (samples, batch)
        assert figure.dtype == tf.float32
    assert model.loss(trace).shape == (batch,)
    assert model.predict(x, verbose=0).shape == x.shape
    assert model.generate(3, seed=0).shape == (3, *x.shape[1:])


def test_gradients_reach_every_weight(case):
    x, model = case.data(), case.compiled()
    with tf.GradientTape() as tape, sampling(model.loss.samples, fold(1)):
        loss = tf.reduce_mean(model.loss(model(x)))
    assert model.trainable_weights
    for weight, gradient in zip(model.trainable_weights, tape.gradient(loss, model.trainable_weights), strict=True):
        assert gradient is not None, weight.path
        assert np.isfinite(gradient).all(), weight.path
        assert np.abs(gradient).max() > 0, weight.path


def test_config_round_trip(case):
    model = case.compiled()
    config = json.dumps(keras.saving.serialize_keras_object(model))
    again = keras.saving.deserialize_keras_object(json.loads(config))
    assert type(again) is type(model)
    assert json.dumps(keras.saving.serialize_keras_object(again)) == config
    copy = type(model).from_config(model.get_config())
    assert copy.get_config() == model.get_config()
    assert not {id(layer) for layer in copy._flatten_layers()} & {id(layer) for layer in model._flatten_layers()}


@pytest.mark.parametrize("name", CASES)
def test_reload_in_a_new_process_trains_on(processes, name):
    folder, results = processes
    number, _, loss, mean = results[name]
    reloaded = np.load(folder / f"{number}.reloaded.npz")
    np.testing.assert_array_equal(reloaded["loss"], loss)
    np.testing.assert_array_equal(reloaded["mean"], mean)


@pytest.mark.parametrize("name", CASES)
def test_saved_model_gives_the_same_values_without_this_package(processes, name):
    folder, results = processes
    number, served, _, _ = results[name]
    for signature, outputs in served.items():
        got = np.load(folder / f"{number}.{signature}.npz")
        assert set(got) == set(outputs)
        for key, value in outputs.items():
            assert got[key].dtype == np.float32
            np.testing.assert_allclose(got[key], value, rtol=1e-5, atol=1e-5, err_msg=f"{signature}: {key}")


def test_xla_with_static_shapes(case):
    """What a TPU needs: no real tensor of a training step has a shape that is known only when it runs."""
    x, model = case.data(), case.compiled()
    model.build(x.shape)
    step = tf.function(model.train_step, jit_compile=True, input_signature=[tf.TensorSpec(x.shape)])
    operations = step.get_concrete_function().graph.get_operations()
    values = [tensor for operation in operations for tensor in operation.outputs if tensor.dtype.is_floating]
    assert len(values) > 50
    assert [tensor.name for tensor in values if not tensor.shape.is_fully_defined()] == []
    losses = []
    for _ in range(10):
        model.reset_metrics()
        losses.append(float(step(x)["loss"]))
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]  # ten steps at a high rate on one batch


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(case, policy):
    keras.config.set_dtype_policy(policy)
    x, model = case.data(), case.compiled(run_eagerly=True)
    scales_loss = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scales_loss == (policy == "mixed_float16")
    losses = model.fit(x, epochs=10, batch_size=len(x), verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]
    trace = model(x)
    networks = [layer.network for layer in (model.posterior, model.likelihood)]
    assert {network.compute_dtype for network in networks} == {policy.removeprefix("mixed_")}
    figures = [trace.observed, trace.latents["z"].value, trace.log_weight, trace.likelihood.mean()]
    assert {figure.dtype for figure in figures} == {tf.float32}
