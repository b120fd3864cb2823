"""Bad input: an error before the first step that says what was needed and what was received."""

import re
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from cases import AUTOENCODERS, CASES, binary_images, decoder, encoder

import keras_vae as kv
from keras_vae.noise import fold
from keras_vae.sampling import sampling

X = binary_images()
SHAPE = (8, 8, 1)


@pytest.fixture
def vae():
    return CASES["Bernoulli"].compiled()


def with_value(value):
    x = X.copy()
    x[3, 2, 1, 0] = value
    return x


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (X * 255, "Bernoulli(event_shape=(8, 8, 1)) needs data in [0, 1]. Received: values from 0.0 to 255.0. Divide"),
        (X - 0.5, "needs data in [0, 1]. Received: values from -0.5 to 0.5."),
        (
            with_value(np.nan),
            "needs finite data. Received: 1 that are NaN or infinite, the first at index (3, 2, 1, 0).",
        ),
        (with_value(np.inf), "needs finite data. Received: 1 that are NaN or infinite"),
        (X[..., 0], "VAE needs data of shape (batch, 8, 8, 1). Received: (12, 8, 8)."),
        (X[:, :7], "VAE needs data of shape (batch, 8, 8, 1). Received: (12, 7, 8, 1)."),
        (X[:0], "needs at least one example. Received: empty data."),
        (np.full((2, *SHAPE), "a"), "needs data that are numbers. Received: dtype <U1."),
    ],
    ids=["0..255", "negative", "NaN", "infinity", "rank", "shape", "empty", "text"],
)
@pytest.mark.parametrize("method", ["fit", "evaluate", "predict"])
def test_data_that_the_model_cannot_take(vae, method, x, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        getattr(vae, method)(x, verbose=0)
    assert not vae.optimizer.built or int(vae.optimizer.iterations) == 0
    if x.dtype.kind == "f":
        with pytest.raises(ValueError, match=re.escape(message).replace("12", "(12|None)")):
            getattr(vae, method)(tf.data.Dataset.from_tensor_slices(x).batch(12), verbose=0)
    if method == "fit":
        with pytest.raises(ValueError, match=re.escape(message)):
            vae.fit(X, validation_data=x, verbose=0)
        assert not vae.optimizer.built or int(vae.optimizer.iterations) == 0


def test_grey_levels_under_a_bernoulli_are_scored_with_a_warning(vae):
    with pytest.warns(UserWarning, match="not a density of grey levels"):
        vae.fit(X * 0.5, verbose=0)


def test_fit_before_compile():
    model = CASES["Bernoulli"].model()
    for method in (model.fit, model.evaluate):
        with pytest.raises(ValueError, match=re.escape("needs compile(optimizer, loss=ELBO()) first")):
            method(X)


@pytest.mark.parametrize("loss", ["mse", keras.losses.MeanSquaredError(), kv.ELBO])
def test_a_keras_loss_instead_of_an_objective(loss):
    model = CASES["Bernoulli"].model()
    with pytest.raises(
        TypeError, match=re.escape("VAE.compile needs loss to be an objective of keras_vae, such as ELBO()")
    ):
        model.compile("adam", loss=loss)


def test_keras_metrics_are_refused(vae):
    with pytest.raises(TypeError, match=r"VAE\.compile has no metrics"):
        vae.compile("adam", metrics=["mse"])


def test_an_encoder_whose_output_does_not_fit():
    network = keras.Sequential([keras.Input(SHAPE), keras.layers.Conv2D(2, 3)])
    model = kv.VAE(kv.Normal(4, network), kv.Bernoulli(SHAPE, decoder(4)), kv.StandardNormal(4))
    model.compile("adam")
    message = "Normal(event_shape=(4,)) needs features of shape (batch, features). Received: (None, 6, 6, 2)."
    with pytest.raises(ValueError, match=re.escape(message)):
        model.fit(X, verbose=0)


def test_a_decoder_whose_output_does_not_fit():
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(98), keras.layers.Reshape((7, 7, 2))])
    model = kv.VAE(kv.Normal(4, encoder(SHAPE)), kv.Bernoulli(SHAPE, network), kv.StandardNormal(4))
    model.compile("adam")
    message = (
        "Bernoulli(event_shape=(8, 8, 1)) needs features of shape (batch, 8, 8, channels) or (batch, features). "
        "Received: (None, 7, 7, 2)."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        model.fit(X, verbose=0)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: kv.VAE(encoder(SHAPE), kv.Bernoulli(SHAPE), kv.StandardNormal(2)), TypeError, "posterior"),
        (lambda: kv.VAE(kv.Normal(2), kv.Bernoulli(SHAPE), kv.StandardNormal(3)), ValueError, "(3,) and (2,)"),
        (lambda: kv.Normal((2, 0)), ValueError, "Normal needs a shape"),
        (lambda: kv.Normal(2, min_scale=0), ValueError, "min_scale=0"),
        (lambda: kv.FixedScaleNormal(2, scale=-1.0), ValueError, "scale=-1.0"),
        (lambda: kv.LearnedScaleNormal(2, initial_scale=1e-4), ValueError, "initial_scale > min_scale"),
        (lambda: kv.ELBO(beta=-1), ValueError, "beta=-1"),
        (lambda: kv.ELBO(samples=0), ValueError, "samples=0"),
        (lambda: kv.ELBO(samples=1.5), ValueError, "samples=1.5"),
        (lambda: kv.convolutional_encoder((13,)), ValueError, "(height, width, channels). Received: (13,)"),
        (lambda: kv.Normal(2, encoder(5))(), ValueError, "has a network, and so needs a context"),
    ],
)
def test_constructors(build, error, message):
    with pytest.raises(error, match=re.escape(message)):
        build()


def test_a_method_that_is_missing_is_named():
    class Nothing(kv.DistributionLayer):
        pass

    with pytest.raises(NotImplementedError, match=r"Nothing needs a method distribution\(self, params\)"):
        Nothing(2)(np.zeros((1, 2), "float32"))


@pytest.mark.parametrize(("scale", "term"), [(1e30, "kl"), (1e-30, "log_likelihood")])
def test_a_loss_that_is_not_finite_names_the_term_and_keeps_the_checkpoint(tmp_path, scale, term):
    """A latent, or a residual, too large to square makes one term infinite and leaves the other finite."""
    model = kv.VAE(kv.FixedScaleNormal(1), kv.FixedScaleNormal(1, scale=max(1.0, scale)), kv.StandardNormal(1))
    if term == "log_likelihood":
        model.likelihood.scale = scale
    model.compile(keras.optimizers.SGD(0.0))
    model.build((None, 1))
    model.posterior.head.kernel.assign([[1e25 if term == "kl" else 0.0]])
    model.likelihood.head.kernel.assign([[0.0]])
    checkpoint = tmp_path / "last.weights.h5"
    model.save_weights(checkpoint)
    before = checkpoint.read_bytes()
    callback = keras.callbacks.ModelCheckpoint(checkpoint, save_weights_only=True, save_freq=1)
    with pytest.raises(FloatingPointError, match=f"VAE.fit stopped in epoch 1 at step 1: {term} is -?inf"):
        model.fit(np.ones((4, 1), "float32"), verbose=0, callbacks=[callback])
    assert checkpoint.read_bytes() == before


def test_export_never_overwrites_and_needs_weights(vae, tmp_path):
    with pytest.raises(ValueError, match=re.escape("VAE.export needs weights: call fit, or build")):
        vae.export(tmp_path / "1")
    vae.build((None, *SHAPE))
    (tmp_path / "1").mkdir()
    with pytest.raises(FileExistsError, match="needs a folder that does not exist yet"):
        vae.export(tmp_path / "1")
    with pytest.raises(ValueError, match="tf_saved_model"):
        vae.export(tmp_path / "2", format="onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


@pytest.mark.parametrize("name", ["Bernoulli", "ConditionalVAE", "LadderVAE", "MaskingNoise"])
def test_what_needs_weights_says_so(name):
    case = (CASES | AUTOENCODERS)[name]
    model, (x, y) = case.model(), case.arrays()
    if name == "MaskingNoise":
        refused = {"decode": [lambda: model.decode(np.zeros((3, 2))), lambda: model.reconstruct(x)]}
    else:
        refused = {
            "importance_weights": [lambda: model.importance_weights(model.as_inputs(x, y), 3)],
            "generate": [lambda: model.generate(3 if y is None else y), lambda: model.sample(3 if y is None else y)],
        }
    for method, calls in refused.items():
        for call in calls:
            with pytest.raises(ValueError, match=re.escape(f"{type(model).__name__}.{method} needs weights: call fit")):
                call()
    assert model.predict(x if y is None else (x, y), verbose=0).shape == x.shape  # which builds it, as fit does
    assert model.built


def test_files_that_are_not_ours(tmp_path):
    other = tmp_path / "other.keras"
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(other)
    with pytest.raises(ValueError, match="holds a Sequential"):
        kv.load_model(other)
    text = tmp_path / "text.keras"
    text.write_text("no model")
    with pytest.raises(ValueError, match=r"not in the \.keras format"):
        kv.load_model(text)
    empty = tmp_path / "empty.keras"
    with zipfile.ZipFile(empty, "w") as archive:
        archive.writestr("a.txt", "a")
    with pytest.raises(ValueError, match=r"without a config.json"):
        kv.load_model(empty)
    with pytest.raises(FileNotFoundError, match="is not a file"):
        kv.load_model(tmp_path / "none.keras")


@pytest.mark.parametrize("part", ["config.json", "metadata.json", "model.weights.h5"])
def test_a_file_that_unpacks_to_far_more_than_it_holds_is_refused_unread(vae, tmp_path, part, monkeypatch):
    vae.save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "bomb.keras", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in parts.items():
            with archive.open(name, "w") as file:
                file.write(content)
                for _ in range(100 if name == part else 0):
                    file.write(b" " * 2**20)
    assert (tmp_path / "bomb.keras").stat().st_size < 2**20
    monkeypatch.setattr(zipfile.ZipExtFile, "read", None)  # nothing is read
    with pytest.raises(ValueError, match=rf"whose {part} would unpack from [\d,]+ to 10\d,[\d,]+ bytes"):
        kv.load_model(tmp_path / "bomb.keras")


def test_a_file_that_was_packed_tighter_is_loaded(vae, tmp_path):
    vae.build((None, *SHAPE))
    vae.save(tmp_path / "model.keras")
    with (
        zipfile.ZipFile(tmp_path / "model.keras") as archive,
        zipfile.ZipFile(tmp_path / "packed.keras", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in archive.namelist():
            packed.writestr(name, archive.read(name))
    for weight, again in zip(vae.weights, kv.load_model(tmp_path / "packed.keras").weights, strict=True):
        np.testing.assert_array_equal(again, weight)


@pytest.mark.parametrize("count", [-1, 2.5, "3", True, None])
def test_a_number_of_draws_is_a_whole_number(vae, count):
    two = kv.HierarchicalVAE([kv.Normal(3), kv.Normal(2)], kv.Bernoulli(4), [kv.Normal(3), kv.StandardNormal(2)])
    for model, shape in ((vae, SHAPE), (two, (4,))):
        model.build((None, *shape))
        with pytest.raises(ValueError, match=f"{type(model).__name__} needs count to be a whole number, 0 or more"):
            model.generate(count)
        assert model.generate(0).shape == (0, *shape)
        assert model.generate(tf.constant(2)).shape == (2, *shape)


def test_log_likelihood_needs_samples(vae):
    vae.build((None, *SHAPE))
    with pytest.raises(ValueError, match="samples=0"):
        kv.evaluation.log_likelihood(vae, X, samples=0)


@pytest.mark.parametrize(
    ("posterior", "prior"),
    [
        (kv.Normal, kv.Bernoulli),
        (kv.Normal, kv.SphericalUniform),
        (kv.PowerSpherical, kv.StandardNormal),
        (kv.RelaxedBernoulli, kv.Bernoulli),
        (kv.Bernoulli, kv.StandardNormal),
        (kv.Normal, kv.LogNormal),
    ],
)
def test_a_posterior_and_a_prior_of_different_kinds_are_refused(posterior, prior):
    layers = posterior(3), kv.Bernoulli(3), prior(3)
    with pytest.raises(
        ValueError, match=f"VAE needs .* of one kind. Received: {posterior.__name__}, .*{prior.__name__}"
    ):
        kv.VAE(*layers)
    with pytest.raises(ValueError, match=r"HierarchicalVAE needs .* of one kind"):
        kv.HierarchicalVAE(layers[:1], layers[1], layers[2:])


def test_positive_numbers_are_real():
    """A log-normal posterior of a normal prior is no mistake: its KL is -H(q) + log(2 pi) / 2 + E z^2 / 2 a value."""
    model = kv.VAE(kv.LogNormal(3), kv.Bernoulli(3), kv.StandardNormal(3))
    with sampling(20_000, fold(1)):
        kl = model(np.zeros([1, 3], "float32")).kl.numpy()
    scale = 1e-3 + np.log(2)  # where all parameters are 0
    second_moment = np.exp(2 * scale**2)
    expected = 3 * (second_moment / 2 - 0.5 - np.log(scale))
    assert abs(kl.mean() - expected) < 4 * kl.std() / np.sqrt(kl.size)


class Pixels(kv.DistributionLayer):
    """A likelihood that forgets that its values are one event."""

    def distribution(self, params):
        return tfp.distributions.Bernoulli(logits=params[..., 0])


class Raw(kv.DistributionLayer):
    """A likelihood that is no distribution."""

    def distribution(self, params):
        return params


def test_a_layer_of_ones_own_that_is_no_distribution_of_the_event_is_refused():
    for layer, error, message in [
        (Pixels(6), ValueError, r"Pixels\(event_shape=\(6,\)\) needs .* event shape \(6,\): tfd.Independent"),
        (Raw(6), TypeError, r"Raw\(event_shape=\(6,\)\) needs .* TensorFlow Probability distribution"),
    ]:
        model = kv.VAE(kv.Normal(3), layer, kv.StandardNormal(3))
        model.compile("adam")
        with pytest.raises(error, match=message):
            model.fit(np.zeros([4, 6], "float32"), verbose=0)


def test_shapes_outside_of_fit():
    model = CASES["Bernoulli"].compiled()
    model.build((None, 8, 8, 1))
    for call in (model.encode, model.reconstruct, lambda x: model.importance_weights(x, 2)):
        with pytest.raises(ValueError, match=r"VAE needs data of shape \(batch, 8, 8, 1\). Received: \(2, 64\)"):
            call(np.zeros([2, 64], "float32"))
    with pytest.raises(ValueError, match=r"VAE.decode needs z of shape \(batch, 3\). Received: \(2, 4\)"):
        model.decode(np.zeros([2, 4], "float32"))


def test_a_file_with_a_class_that_is_not_registered(tmp_path):
    model = CASES["Bernoulli"].compiled()
    model.build((None, 8, 8, 1))
    model.save(tmp_path / "known.keras")
    with zipfile.ZipFile(tmp_path / "known.keras") as known, zipfile.ZipFile(tmp_path / "new.keras", "w") as new:
        for name in known.namelist():
            content = known.read(name)
            if name == "config.json":
                content = content.replace(b'"keras_vae>Bernoulli"', b'"mine>Coins"')
                content = content.replace(b'"Bernoulli"', b'"Coins"').replace(
                    b'"keras_vae.distributions', b'"mine.dist'
                )
            new.writestr(name, content)
    with pytest.raises(ValueError, match=r"load_model needs each class .* registered.* Received: .*new.keras.* Coins"):
        kv.load_model(tmp_path / "new.keras")


def test_weights_need_their_suffix(tmp_path):
    with pytest.raises(ValueError, match=r"VAE.save_weights needs a path that ends in .weights.h5. Received: .*v.h5"):
        CASES["Bernoulli"].compiled().save_weights(tmp_path / "v.h5")
    assert not list(tmp_path.iterdir())
