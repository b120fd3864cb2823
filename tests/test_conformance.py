"""Every public class: shapes, gradients, config, reload and serving in new processes, XLA, mixed precision."""

import json
import os

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import AUTODECODERS, AUTOENCODERS, CASES, DREAMS, GANS, LINEAR, columns_of, has_columns, means

import keras_vae as kv
from keras_vae.noise import fold
from keras_vae.optimizers import REST
from keras_vae.sampling import sampling

ALL = CASES | AUTOENCODERS | AUTODECODERS | GANS  # test_linear.py saves, loads and serves those of LINEAR

# What goes through new processes in each run, one case of each kind of model and of layer; XLA compiles the first ones
# there. All others do so in slow runs.
COMPILED = ("Bernoulli", "GAN", "InverseAutoregressiveFlow posterior", "ConditionalVAE", "DeepKalmanFilter")
USUAL = (
    *COMPILED,
    "OptimalScaleNormal",
    "FullCovarianceNormal, Laplace, NormalMixture, IWAE",
    "VampPrior, DoublyReparameterized",
    "DiscretizedLogisticMixture in GreyLevels",
    "OneHotCategorical latents, LearnedBaseline",
    "HierarchicalVAE",
    "TopDownVAE",
    "MONet",
    "STOVE",
    "AIR, NVIL",
    "TokenSequence, CausalLSTM",
    "LanguageModel",
    "SequentialAutoencoder",
    "TimeSeries of convolutions, Columns",
    "VQVAE2",
    "ConditionalVQVAE",
    "FiniteScalarQuantized, PixelCNN",
    "Columns with missing values",
    "Dropout",
    "MaskingNoise",
    "PerExampleOnDisk",
)
OUT_OF_REACH = ("PerExampleOnDisk",)  # of XLA, which can not read a file

CONDITIONAL = (kv.ConditionalVAE, kv.ConditionalVQVAE)
OF_CODES = (kv.VQVAE, kv.ConditionalVQVAE)
ABSTRACT = {kv.DistributionLayer, kv.Objective, kv.LatentVariableModel}

LOAD = """
import sys, numpy as np, keras, keras_vae, tensorflow as tf
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})  # as where the model was saved
sys.path.insert(0, "tests")
import cases
folder = sys.argv[1]
for number in range(int(sys.argv[2])):
    model = keras.saving.load_model(f"{folder}/{number}.keras")
    assert model.compiled and int(model.optimizer.iterations) == 1
    arrays = np.load(f"{folder}/{number}.npz")
    x, y = arrays["x"], arrays["y"] if "y" in arrays else None
    loss = model.train_on_batch(x, y, return_dict=True)["loss"]
    np.savez(f"{folder}/{number}.reloaded.npz", loss=loss, mean=cases.means(model, x, y))
"""

COMPILE = """
import json, traceback
from test_conformance import ALL, check_xla_and_mixed_precision
failures = {}
for name in sys.argv[3:]:
    try:
        check_xla_and_mixed_precision(ALL[name])
    except Exception:
        failures[name] = traceback.format_exc()
with open(f"{folder}/xla.json", "w") as file:
    json.dump(failures, file)
"""

SERVE = """
import sys, numpy as np, tensorflow as tf
# Rewriting the graphs takes longer than all else here; test_serving.py has it on.
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
folder = sys.argv[1]
for number in range(int(sys.argv[2])):
    model = tf.saved_model.load(f"{folder}/{number}.saved/1")
    inputs = dict(np.load(f"{folder}/{number}.inputs.npz"))
    for name, function in model.signatures.items():
        wanted = function.structured_input_signature[1]
        outputs = function(**{key: tf.constant(inputs[key], spec.dtype) for key, spec in wanted.items()})
        arrays = {key: value.numpy() for key, value in outputs.items()}
        arrays = {key: value.astype("S") if value.dtype == object else value for key, value in arrays.items()}
        np.savez(f"{folder}/{number}.{name}.npz", **arrays)
assert not {"keras_vae", "tensorflow_probability"} & set(sys.modules), "the server needs no Python of the training"
"""


@pytest.fixture(params=(CASES | AUTODECODERS).items(), ids=(CASES | AUTODECODERS).keys())
def case(request):
    return request.param[1]


OTHERS = [name for name in ALL if name not in USUAL]
COMPILED_SLOWLY = [name for name in ALL if name not in (*COMPILED, *OUT_OF_REACH)]


@pytest.fixture(
    scope="module",
    params=[(USUAL, COMPILED), pytest.param((OTHERS, COMPILED_SLOWLY), marks=pytest.mark.slow)],
    ids=["usual", "others"],
)
def processes(request, tmp_path_factory, run_python):
    """Cases trained for one step, saved and exported; then served, loaded and compiled in a new process.

    One process for all: TensorFlow's import takes as long as several cases. XLA leaves out optimizations of the machine
    code, which take longer than all else that it does; `XLA_FLAGS= pytest ...` has them in.
    """
    (names, compiled), folder, results = request.param, tmp_path_factory.mktemp("models"), {}
    for number, name in enumerate(names):
        case = ALL[name]
        (x, y), model = case.arrays(), case.compiled(run_eagerly=True)  # a few steps: tracing them takes longer
        model.build(x.shape)
        model.train_on_batch(x, y)
        model.save(folder / f"{number}.keras")
        model.export(folder / f"{number}.saved" / "1")
        np.savez(folder / f"{number}.npz", **({"x": x} if y is None else {"x": x, "y": y}))
        served = expected_answers(model, x, y, folder / f"{number}.inputs.npz")
        model.reset_metrics()
        loss = model.train_on_batch(x, y, return_dict=True)["loss"]
        results[name] = (number, served, loss, means(model, x, y))
    flags = os.environ.get("XLA_FLAGS", "--xla_backend_optimization_level=0")
    run_python(SERVE + LOAD + COMPILE, folder, len(results), *compiled, XLA_FLAGS=flags)
    return folder, results


def expected_answers(model, x, y, path) -> dict:
    """What the signatures of a model are to answer, by its methods; the inputs are kept at `path`."""
    inputs, given = model.as_inputs(x, y), () if y is None else (y,)
    latents = {name: latent.value[0] for name, latent in model(inputs).drawn.items()}  # z, or z1, ...
    served = {"x": x, "seed": 5, "num_samples": 7, "temperature": 0.5} | ({} if y is None else {model.takes.y.name: y})
    if isinstance(model, kv.AIR):  # decodes the objects of all steps together
        served |= model.sample_prior(len(x), 5)
    table = has_columns(model)
    served |= columns_of(model, x) if table else {}
    if isinstance(model, kv.SequentialAutoencoder):  # served is the parser
        questions = np.nan_to_num(y).astype("int32")
        np.savez(path, question=questions)
        return {"serving_default": {"tokens": model.parse(questions)}}
    if isinstance(model, kv.LanguageModel):
        np.savez(path, **served)
        return {
            "serving_default": {"mean": model.reconstruct(inputs)},
            "generate": {"mean": model.generate(7, 5, 0.5)},
            "sample": {"x": model.sample(7, 5, 0.5)},
            "log_likelihood": {"log_likelihood": model.importance_weights(inputs, 7, 5)[0]},
        }
    served |= latents or {"z": model.sample_prior(7, 5) if isinstance(model, kv.GAN) else model.encode(x)}
    np.savez(path, **served | ({"codes": model.encode(x)} if isinstance(model, OF_CODES) else {}))
    if isinstance(model, kv.GAN):
        return {
            "decode": {"mean": model.decode(served["z"]).mean()},
            "generate": {"z": model.sample_prior(7, 5, 0.5), "mean": model.generate(7, 5, 0.5)},
            "sample": {"z": model.sample_prior(7, 5, 0.5), "x": model.sample(7, 5, 0.5)},
        }
    answers = {"serving_default": {"mean": model.reconstruct(inputs)}}
    if not latents:
        return answers | {"encode": {"z": model.encode(x)}, "decode": {"mean": model.decode(model.encode(x)).mean()}}
    count = y if isinstance(model, CONDITIONAL) else 7
    draws = model.sample_prior(count, 5, 0.5)
    draws = draws if isinstance(draws, dict) else {"codes" if isinstance(model, OF_CODES) else "z": draws}
    answers["generate"] = draws | {"mean": model.generate(count, 5, 0.5)}
    answers["sample"] = draws | {"x": model.sample(count, 5, 0.5)}
    answers["log_likelihood"] = {"log_likelihood": model.importance_weights(inputs, 7, 5)[0]}
    if isinstance(model, kv.VariationalRNN):  # x depends on the x before, and not on z alone
        return answers | {"generate": {"mean": model.generate(7, 5, 0.5)}, "sample": {"x": model.sample(7, 5, 0.5)}}
    if isinstance(model, kv.MONet):
        answers["decompose"] = model.decompose(x)
    if isinstance(model, OF_CODES):
        answers["encode"] = {"codes": model.encode(x)}
        answers["decode"] = {"mean": model.decode(model.encode(x)).mean()}
    elif isinstance(model, kv.VQVAE2):
        answers["encode"] = model.encode(x)
        answers["decode"] = {"mean": model.decode(model.encode(x)).mean()}
    elif set(latents) == {"z"}:
        posterior = model.encode(x, *given)
        answers["encode"] = {"mean": posterior.mean(), "stddev": posterior.stddev()}
        answers["decode"] = {"mean": model.decode(latents["z"], *given).mean()}
    elif isinstance(model, kv.AIR):
        answers |= {"encode": model.encode(x), "find": model.find(x)}
        answers["decode"] = {"mean": model.decode(model.sample_prior(len(x), 5)).mean()}
    if isinstance(getattr(model, "posterior", None), kv.PerExampleOnDisk):
        answers = {name: answers[name] for name in ("decode", "generate", "sample")}
    for name in ("serving_default", "decode", "generate", "sample") if table else ():
        rows = answers[name].pop("x" if name == "sample" else "mean")
        answers[name] |= columns_of(model, rows)
    return answers


def test_every_public_class_has_a_case():
    public = {value for name in kv.__all__ if isinstance(value := getattr(kv, name), type)}
    public = {cls for cls in public if issubclass(cls, kv.serializable.Serializable)} - ABSTRACT
    covered = set()
    for case in (ALL | LINEAR | DREAMS).values():
        model = case.model()
        objective = case.objective()
        groups = [layer for layers in objective.groups.values() for layer in layers]
        covered |= {type(part) for part in (objective, *groups, *model._flatten_layers())}
    assert public <= covered, f"add a case to tests/cases.py for {public - covered}"


def test_shapes(case):
    (x, y), model = case.arrays(), case.compiled(run_eagerly=True)
    inputs = model.as_inputs(x, y)
    for samples in (1, 3):
        with sampling(samples, fold(1)):
            trace = model(inputs)
        assert trace.observed.dtype == model.likelihood.value_dtype
        assert trace.likelihood.batch_shape == (samples, len(x))
        figures = [trace.log_likelihood, trace.kl, trace.log_weight]
        for latent in trace.latents.values():
            if latent.value is not None:  # it is summed out
                assert latent.value.shape == (samples, len(x), *latent.posterior.event_shape)
            figures += [latent.log_ratio, latent.kl]
        for figure in figures:
            assert figure.shape == (samples, len(x))
            assert figure.dtype == tf.float32
        assert model.loss(trace).shape == (len(x),)
    assert model.predict(inputs, verbose=0).shape == x.shape
    assert model.generate(y[:3] if isinstance(model, CONDITIONAL) else 3, seed=0).shape == (3, *x.shape[1:])


def test_gradients_reach_every_weight(case):
    (x, y), model = case.arrays(), case.compiled()
    with tf.GradientTape() as tape, sampling(model.loss.samples, fold(1), model.loss.path):
        loss = tf.reduce_mean(model.loss.per_example(model(model.as_inputs(x, y)))[REST])
    assert model.trainable_weights
    for weight, gradient in zip(model.trainable_weights, tape.gradient(loss, model.trainable_weights), strict=True):
        assert gradient is not None, weight.path
        gradient = tf.convert_to_tensor(gradient)  # of rows
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


def test_reload_in_a_new_process_trains_on(processes):
    folder, results = processes
    for name, (number, _, loss, mean) in results.items():
        with np.load(folder / f"{number}.reloaded.npz") as reloaded:
            np.testing.assert_array_equal(reloaded["loss"], loss, err_msg=name)
            np.testing.assert_array_equal(reloaded["mean"], mean, err_msg=name)


def test_saved_model_gives_the_same_values_without_this_package(processes):
    folder, results = processes
    for name, (number, served, _, _) in results.items():
        for signature, outputs in served.items():
            got = np.load(folder / f"{number}.{signature}.npz")
            assert set(got) == set(outputs)
            for key, value in outputs.items():
                assert got[key].dtype.kind == np.asarray(value).dtype.kind
                assert got[key].dtype.kind == "S" or got[key].dtype == np.asarray(value).dtype
                message = f"{name}, {signature}: {key}"
                if got[key].dtype.kind == "S":
                    np.testing.assert_array_equal(got[key], value, err_msg=message)
                    continue
                np.testing.assert_allclose(got[key], value, rtol=1e-5, atol=1e-5, err_msg=message)


def test_signatures_give_what_the_methods_give():
    x, model = CASES["Bernoulli"].data(), CASES["Bernoulli"].compiled()
    model.build(x.shape)
    z = model.sample_prior(7, 5, 0.5)
    expected = {
        "serving_default": ([x], {"mean": model.reconstruct(x)}),
        "encode": ([x], {"mean": model.encode(x).mean(), "stddev": model.encode(x).stddev()}),
        "decode": ([z], {"mean": model.decode(z).mean()}),
        "reconstruct": ([x, 5], {"mean": model.reconstruct(x, seed=5)}),
        "generate": ([7, 5, 0.5], {"z": z, "mean": model.generate(7, 5, 0.5)}),
        "sample": ([7, 5, 0.5], {"z": z, "x": model.sample(7, 5, 0.5)}),
        "log_likelihood": ([x, 7, 5], {"log_likelihood": model.importance_weights(x, 7, 5)[0]}),
    }
    signatures = model.serving_signatures()
    assert set(signatures) == set(expected)
    for name, (arguments, outputs) in expected.items():
        got = signatures[name][0](*arguments)
        assert set(got) == set(outputs)
        for key, value in outputs.items():
            np.testing.assert_allclose(got[key], value, rtol=1e-6)


def test_xla_and_mixed_precision_with_static_shapes(processes):
    folder, _ = processes
    failures = json.loads((folder / "xla.json").read_text())
    assert not failures, "\n".join(f"{name}:\n{trace}" for name, trace in failures.items())


def check_xla_and_mixed_precision(case):
    """What a TPU needs: no real tensor of a training step has a shape that is known only when it runs."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    (x, y), model = case.arrays(), case.compiled(keras.optimizers.SGD(0.02), run_eagerly=True)
    model.build(x.shape)
    batch = x if y is None else (x, y)
    specs = tf.nest.map_structure(lambda array: tf.TensorSpec(array.shape, array.dtype), batch)
    step = tf.function(model.train_step, jit_compile=True, input_signature=[specs])
    operations = step.get_concrete_function().graph.get_operations()
    values = [tensor for operation in operations for tensor in operation.outputs if tensor.dtype.is_floating]
    assert len(values) > 50
    assert [tensor.name for tensor in values if not tensor.shape.is_fully_defined()] == []
    before = model.test_on_batch(x, y, return_dict=True)["loss"]  # by the same noise as after the training
    for _ in range(20):
        model.reset_metrics()
        assert np.isfinite(float(step(batch)["loss"]))
    model.reset_metrics()
    networks = [layer for layer in model._flatten_layers() if type(layer).__module__.startswith("keras.src.models")]
    assert {network.compute_dtype for network in networks} <= {"bfloat16"}
    causal = [layer for layer in model._flatten_layers() if isinstance(layer, kv.networks.CausalSequence)]
    assert networks or {layer.compute_dtype for layer in causal} == {"bfloat16"}
    if isinstance(model, kv.GAN):  # whose loss is against a critic that learns too
        assert model.generate(3, seed=1).dtype == model.likelihood.value_dtype
        return
    assert model.test_on_batch(x, y, return_dict=True)["loss"] < before
    trace = model(model.as_inputs(x, y))
    figures = [trace.log_weight, *(latent.value for latent in trace.drawn.values())]
    assert {figure.dtype for figure in figures} == {tf.float32}
    assert trace.observed.dtype == trace.likelihood.mean().dtype == model.likelihood.value_dtype
    # Outside of `call` the layers are the outermost ones.
    means = [model.reconstruct(model.as_inputs(x, y))]
    if trace.latents:
        log_p, _ = model.importance_weights(model.as_inputs(x, y), 3, seed=1)
        assert np.isfinite(log_p).all()
        means.append(model.generate(y[:3] if isinstance(model, CONDITIONAL) else 3, seed=1))
    assert {mean.dtype for mean in means} == {tf.as_dtype(model.likelihood.value_dtype)}


@pytest.mark.parametrize("name", ["Bernoulli", "convolutional, GreyLevels, beta, samples"])
def test_half_precision_scales_the_loss(name):
    keras.config.set_dtype_policy("mixed_float16")
    x, model = CASES[name].data(), CASES[name].compiled(run_eagerly=True)
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    losses = model.fit(x, epochs=10, batch_size=len(x), verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]
