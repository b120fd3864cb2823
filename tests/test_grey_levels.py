"""Images in grey levels: the units of files, inside of the model, its `.keras` file, its run and its served graph."""

import json

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from PIL import Image

import keras_vae as kv
from keras_vae.cli import main
from keras_vae.datasets import load

RNG = np.random.default_rng(0)
SHAPE = (4, 4, 1)
BYTES = RNG.integers(0, 256, (40, *SHAPE)).astype("uint8")


def model(likelihood, latent=2):
    keras.utils.set_random_seed(0)
    decoder = kv.dense_decoder(latent, units=[8])
    made = kv.VAE(kv.Normal(latent, kv.dense_encoder(SHAPE, units=[8])), likelihood(decoder), kv.StandardNormal(latent))
    made.compile(keras.optimizers.Adam(1e-2), jit_compile=False)
    made.build((None, *SHAPE))
    return made


def test_the_density_is_that_of_grey_levels():
    layer = kv.GreyLevels(kv.FixedScaleNormal(SHAPE, scale=0.2), white=255)
    layer.build(None)
    layer.layer.params.assign(RNG.uniform(size=layer.layer.params.shape))
    x = BYTES[:5].astype("float32")
    mean = 255 * np.squeeze(layer.layer.params.numpy(), -1)
    expected = scipy.stats.norm(mean, 255 * 0.2).logpdf(x).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(layer().log_prob(x), expected, rtol=1e-5)
    np.testing.assert_allclose(layer().mean(), mean, rtol=1e-6)
    np.testing.assert_allclose(layer().stddev(), np.full(SHAPE, 51.0), rtol=1e-6)
    assert layer.log_volume == pytest.approx(16 * np.log(255))


def test_a_model_of_grey_levels_is_the_model_of_fractions():
    grey = model(lambda network: kv.GreyLevels(kv.LearnedScaleNormal(SHAPE, network)))
    fractions = model(lambda network: kv.LearnedScaleNormal(SHAPE, network))
    losses = [
        made.fit(x, epochs=2, verbose=0, shuffle=False).history["loss"]
        for made, x in ((grey, BYTES), (fractions, BYTES / 255.0))
    ]
    np.testing.assert_allclose(losses[0], np.add(losses[1], 16 * np.log(255)), rtol=1e-5)
    np.testing.assert_allclose(grey.reconstruct(BYTES), 255 * fractions.reconstruct(BYTES / 255.0), rtol=1e-3)


@pytest.mark.slow
@pytest.mark.slow
def test_binary_draws_train_the_same_weights_in_grey_levels():
    pair = []
    for grey in (False, True):
        data = load("digits", batch_size=256, grey_levels=grey)
        keras.utils.set_random_seed(0)
        likelihood = data.likelihood(kv.dense_decoder(2, units=[8]))
        made = kv.VAE(kv.Normal(2, kv.dense_encoder(data.shape, units=[8])), likelihood, kv.StandardNormal(2))
        made.compile("adam", jit_compile=False)
        made.fit(data.train, epochs=2, verbose=0)
        pair.append((made, data))
    (fractions, of_fractions), (grey, of_levels) = pair
    for one, other in zip(fractions.get_weights(), grey.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    zeros, levels = (next(iter(data.test)).numpy() for data in (of_fractions, of_levels))
    np.testing.assert_array_equal(16 * zeros, levels)
    np.testing.assert_allclose(16 * fractions.generate(3, seed=1).numpy(), grey.generate(3, seed=1), rtol=1e-6)
    assert set(np.unique(grey.sample(3, seed=1))) == {0.0, 16.0}
    scores = [
        kv.evaluation.independent_values(data.train, data.test, made.likelihood).mean()
        for made, data in ((fractions, of_fractions), (grey, of_levels))
    ]
    assert scores[0] == pytest.approx(scores[1], abs=0.2)  # the third epoch's draws, and the same test draws
    assert kv.evaluation.log_likelihood(grey, levels, samples=3, verbose=0).mean == pytest.approx(
        kv.evaluation.log_likelihood(fractions, zeros, samples=3, verbose=0).mean, rel=1e-6
    )


def test_a_bernoulli_has_the_mass_of_what_is_brighter_than_the_half():
    made = model(lambda network: kv.GreyLevels(kv.Bernoulli(SHAPE, network)))
    plain = model(lambda network: kv.Bernoulli(SHAPE, network))
    brighter = (BYTES > 127.5).astype("float32")
    assert made.evaluate(BYTES, verbose=0) == pytest.approx(plain.evaluate(brighter, verbose=0), rel=1e-6)
    assert made.discrete
    np.testing.assert_array_equal(made.encode(BYTES).mean(), plain.encode(brighter).mean())


@pytest.mark.parametrize(
    ("kind", "dtype"), [(kv.Normal, "uint8"), (kv.LearnedScaleNormal, "float32"), (kv.Laplace, "int64")]
)
def test_grey_levels_under_a_density_of_fractions_are_refused(kind, dtype):
    made = model(lambda network: kind(SHAPE, network))
    for method in (made.fit, made.evaluate, made.predict):
        with pytest.raises(ValueError, match=rf"{kind.__name__}.*whole numbers from \d to 25\d.*GreyLevels\("):
            method(BYTES.astype(dtype), verbose=0)
    made.fit(BYTES / 255.0, verbose=0)
    made.fit((BYTES > 127).astype(dtype), verbose=0)
    made.fit(BYTES.astype(dtype) * 1.37 - 9, verbose=0)  # numbers of another kind


def test_what_is_no_grey_level_is_refused():
    made = model(lambda network: kv.GreyLevels(kv.LearnedScaleNormal(SHAPE, network)))
    for bad in (BYTES - 300.0, BYTES * 2.0, BYTES / 255.0, (BYTES > 127).astype("uint8")):
        with pytest.raises(ValueError, match=r"GreyLevels.* from 0 to 255\."):
            made.fit(bad, verbose=0)
    made.evaluate(0 * BYTES, verbose=0)  # black
    for layer in (kv.Poisson(3), kv.LogNormal(3), kv.Categorical(3)):
        with pytest.raises(ValueError, match=f"GreyLevels.*{type(layer).__name__}"):
            kv.GreyLevels(layer)
    for white in (0, -1, np.inf, "white"):
        with pytest.raises(ValueError, match="GreyLevels needs white"):
            kv.GreyLevels(kv.Normal(3), white)


def test_levels_on_a_grid_keep_their_mass():
    layer = kv.GreyLevels(kv.DiscretizedLogistic(3, levels=256), white=255)
    layer.build(None)
    plain = kv.DiscretizedLogistic(3, levels=256)
    plain.build(None)
    x = RNG.integers(0, 256, (6, 3)).astype("float32")
    np.testing.assert_allclose(layer().log_prob(x), plain().log_prob(x / 255), rtol=1e-5)
    with pytest.raises(ValueError, match="levels"):
        layer.check_values(x + 0.5)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Thirty small colour pictures by Pillow."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(30):
        Image.fromarray(RNG.integers(0, 256, (4, 5, 3)).astype("uint8")).save(folder / f"{number:02}.png")
    return folder


@pytest.fixture(scope="module")
def run(photos, tmp_path_factory):
    """A short run on them."""
    path = tmp_path_factory.mktemp("runs") / "photos"
    assert main(["train", str(photos), "--output", str(path), "--epochs", "40", "--learning-rate", "0.02"]) == 0
    return path


def test_a_run_takes_and_gives_what_files_have(run, photos):
    trained = kv.load_model(run / "model.keras")
    assert trained.likelihood.white == 255
    pixels = np.stack([np.asarray(Image.open(file)) for file in sorted(photos.iterdir())])
    served = tf.saved_model.load(run / "saved_model" / "1").signatures
    assert served["serving_default"].structured_input_signature[1]["x"].dtype == tf.float32
    answers = served["serving_default"](x=tf.constant(pixels, tf.float32))["mean"].numpy()
    np.testing.assert_allclose(answers, trained.reconstruct(pixels), rtol=1e-5, atol=1e-3)
    assert 30 < answers.mean() < 225  # fractions of white would lie from 0 to 1
    scored = kv.evaluation.log_likelihood(trained, pixels, samples=20, seed=3, verbose=0)
    request = {"x": tf.constant(pixels, tf.float32), "num_samples": tf.constant(20), "seed": tf.constant(3)}
    assert served["log_likelihood"](**request)["log_likelihood"].numpy().mean() == pytest.approx(scored.mean, abs=0.5)
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["log_volume"] == pytest.approx(60 * np.log(255))
    # Uniform grey levels have 60 log(1 / 256) nats, which none but those trained on can exceed by much.
    assert metrics["baseline_log_likelihood"] == pytest.approx(-60 * np.log(256), rel=0.1)
    assert metrics["log_likelihood"] < -60 * np.log(256) + 5


def test_a_request_of_fractions_or_beyond_white_is_not_read_as_grey_levels(run, photos, tmp_path, capsys):
    served = tf.saved_model.load(run / "saved_model" / "1").signatures["encode"]
    with pytest.raises(tf.errors.InvalidArgumentError, match="from 0 to 255"):
        served(x=tf.fill([1, 4, 5, 3], 256.0))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"encode needs x that are grey .* Multiply them by 255\."):
        served(x=tf.fill([1, 4, 5, 3], 0.5))
    np.save(tmp_path / "fractions.npy", RNG.uniform(size=(3, 4, 5, 3)))
    assert main(["evaluate", str(run), str(tmp_path / "fractions.npy")]) == 1
    assert "grey levels from 0 to 255. Received: values from 0" in capsys.readouterr().err
    dark = np.zeros((3, 4, 5, 3), "uint8")
    np.save(tmp_path / "dark.npy", dark)
    output = tmp_path / "dark.npz"
    assert main(["reconstruct", str(run), str(tmp_path / "dark.npy"), "--output", str(output)]) == 0
    with np.load(output) as written:
        trained = kv.load_model(run / "model.keras")
        np.testing.assert_allclose(written["x"], trained.reconstruct(dark), rtol=1e-5)


@pytest.mark.parametrize(
    ("likelihood", "bad", "good"),
    [
        (
            lambda network: kv.GreyLevels(kv.LearnedScaleNormal(SHAPE, network)),
            [BYTES / 255.0, (BYTES > 127) * 1.0, np.clip(BYTES, 0, 1)],
            [BYTES, BYTES > 300, np.clip(BYTES, 0, 2), np.concatenate([BYTES / 255.0, BYTES]), BYTES[:0]],
        ),
        (
            lambda network: kv.Normal(SHAPE, network),
            [BYTES, np.clip(BYTES, 0, 2)],
            [BYTES / 255.0, BYTES > 127, BYTES * 1.37 - 9, BYTES * -1.0, BYTES * 2.0, BYTES[:0]],
        ),
    ],
    ids=["grey levels", "fractions"],
)
def test_other_units_are_refused_in_the_graph_and_by_hand_as_they_are_by_keras(likelihood, bad, good):
    made = model(likelihood)
    function, specs = made.serving_signatures(max_bytes=2**14)["encode"]
    served = tf.function(function, input_signature=specs, autograph=False)
    for x in bad:
        x = x.astype("float32")
        with pytest.raises(ValueError, match="Received") as by_keras:
            made.predict(x, verbose=0)
        advice = str(by_keras.value).split("needs data ")[1]
        for method, error in ((served, tf.errors.InvalidArgumentError), (made.encode, ValueError)):
            with pytest.raises(error) as refused:
                method(x)
            assert advice in str(refused.value)
    for x in good:
        x = x.astype("float32")
        np.testing.assert_allclose(served(x)["mean"], made.encode(x).mean(), rtol=1e-4, atol=1e-5)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"encode needs x .* Received: \d+ other values"):
        served(np.full((40, *SHAPE), np.nan, "float32"))


@pytest.mark.slow
def test_runs_of_fractions_are_asked_in_fractions(tmp_path, run, photos, capsys):
    """A run that older versions wrote says nothing of grey levels."""
    old = tmp_path / "old"
    old.mkdir()
    keras.utils.set_random_seed(0)
    shape = (4, 5, 3)
    made = kv.VAE(
        kv.Normal(2, kv.dense_encoder(shape)), kv.LearnedScaleNormal(shape, kv.dense_decoder(2)), kv.StandardNormal(2)
    )
    made.compile("adam", jit_compile=False)
    made.build((None, *shape))
    made.save(old / "model.keras")
    written = json.loads((run / "run.json").read_text())
    text = json.dumps({name: value for name, value in written.items() if name not in ("grey_levels", "fingerprint")})
    (old / "run.json").write_text(text)
    assert main(["evaluate", str(old), "--samples", "2", "--simulated", "0"]) == 0
    assert "values from 0 to 1;" in capsys.readouterr().out
