"""AIR against sums over all patterns of presence, hand-made densities and a plain VAE; objectives; refusals."""

import functools
import itertools
import shutil

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from cases import vectors
from conftest import usual_first

import keras_vae as kv
from keras_vae.models.air import Object, box_of, edges_of
from keras_vae.networks import by_rows
from keras_vae.noise import fold
from keras_vae.sampling import RelaxedPath, StoppedPath, sampling

SHAPE, PATCH, WHAT, UNITS, SCALE = (6, 6, 1), (3, 3, 1), 2, 5, 0.5
X = np.random.default_rng(0).random((3, *SHAPE)).astype("float32")
KINDS = ("presence", "where", "what")


def small(steps=2, log_odds=-0.5, finder=None, difference=False, **parts) -> kv.AIR:
    """A model of a few weights."""
    paint = [keras.layers.Dense(9, "sigmoid"), keras.layers.Reshape(PATCH)]
    made = {
        "encoder": kv.dense_encoder(SHAPE, [4], "tanh"),
        "finder": finder or kv.ObjectFinder(UNITS, size=(0.3, 0.5), log_odds=0.4),
        "posterior": kv.Normal(WHAT, kv.dense_encoder(PATCH, [4], "tanh")),
        "decoder": keras.Sequential([keras.Input((WHAT,)), *paint]),
        "likelihood": kv.NormalAround(SHAPE, SCALE),
        "prior": kv.StandardNormal(WHAT),
    } | parts
    return kv.AIR(**made, steps=steps, log_odds=log_odds, difference=difference)


def built(steps=2, **options) -> kv.AIR:
    """The same with weights that make a difference."""
    keras.utils.set_random_seed(1)
    model = small(steps, **options)
    model.build((None, *SHAPE))
    rng = np.random.default_rng(2)
    for weight in model.trainable_weights:
        weight.assign(weight + 0.3 * rng.normal(size=weight.shape))
    return model


def latents_of(trace: kv.Trace, kind: str) -> list[kv.Latent]:
    return [latent for name, latent in trace.latents.items() if name.startswith(kind)]


def log_normal(latent: kv.Latent, distribution) -> np.ndarray:
    """Log-density of draws by SciPy, shape (samples, batch)."""
    loc, scale = (np.broadcast_to(each, latent.value.shape) for each in (distribution.mean(), distribution.stddev()))
    return scipy.stats.norm(loc, scale).logpdf(latent.value).sum(axis=-1)


def log_binary(latent: kv.Latent, distribution) -> np.ndarray:
    value, p = latent.value.numpy()[..., 0], np.asarray(distribution.mean())[..., 0]
    return np.log(np.where(value == 1, p, 1 - p))


def with_gradients(function, weights) -> tuple[np.ndarray, np.ndarray]:
    """Values and their gradients, shape (seeds,) and (seeds, weights), for 60 seeds."""

    @tf.function
    def one(seed):
        with tf.GradientTape() as tape:
            value = function(fold(seed))
        gradients = tape.gradient(value, weights, unconnected_gradients="zero")
        return value, tf.concat([tf.reshape(each, [-1]) for each in gradients], axis=0)

    found = [one(tf.constant(seed)) for seed in range(60)]
    return tuple(np.stack(part).astype(np.float64) for part in zip(*found, strict=True))


def agree(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two sets of estimates have one mean, to 4.5 standard errors: some hundred numbers are compared."""
    error = np.sqrt(sum(each.var(axis=0, ddof=1) / len(each) for each in (first, second)))
    return bool(np.all(np.abs(first.mean(axis=0) - second.mean(axis=0)) < 4.5 * error + 1e-5))


def summed_out(model: kv.AIR, x, seed, samples=200) -> tf.Tensor:
    """-ELBO, a scalar, with each presence summed out, by the probabilities of both outcomes; the rest is drawn."""
    images = tf.repeat(tf.convert_to_tensor(x)[None], samples, axis=0)
    prior = tf.sigmoid(model.current_log_odds)

    def rest(step, before, output, cell, canvas):
        """Log-likelihood less the KL of all that is not yet decided, shape (samples, batch)."""
        if step == model.steps:
            return model.likelihood(canvas).log_prob(x)
        left = images - canvas if model.difference else images
        features = model.finder.of_image(by_rows(model.encoder, left, 3))
        output, cell = model.finder.look(features, before, output, cell)
        of_presence, of_where = model.finder(output)
        q = of_presence.mean()[..., 0]
        kl = q * tf.math.log(q / prior) + (1 - q) * tf.math.log((1 - q) / (1 - prior))
        absent = model.likelihood(canvas).log_prob(x)
        where = of_where.sample(seed=fold(seed, step, 0))
        of_what = model.posterior(kv.SpatialTransformer(PATCH[:2])(images, box_of(where)))
        what = of_what.sample(seed=fold(seed, step, 1))
        patch = by_rows(model.decoder, what)
        painted = canvas + kv.SpatialTransformer(SHAPE[:2])(patch, kv.inverse_box(box_of(where)))
        now = tf.concat([tf.ones_like(where[..., :1]), where, what], axis=-1)
        kl_here = of_where.kl_divergence(model.finder.prior()) + of_what.kl_divergence(model.prior())
        return (1 - q) * absent + q * (rest(step + 1, now, output, cell, painted) - kl_here) - kl

    start = model.finder.start(tf.zeros([samples, len(x), 4 * UNITS]), 1 + 3 + WHAT)
    return -tf.reduce_mean(rest(0, *start, tf.zeros([samples, len(x), *SHAPE])))


def test_densities_are_those_of_scipy_and_count_where_objects_are():
    model = built()
    with sampling(50, fold(3)):
        trace = model(X)
    here, there = np.ones((50, len(X))), []
    log_p = log_q = 0.0
    for presence, where, what in zip(*(latents_of(trace, kind) for kind in KINDS), strict=True):
        log_p += here * log_binary(presence, presence.prior)
        log_q += here * log_binary(presence, presence.posterior)
        here = here * presence.value.numpy()[..., 0]
        there.append(here)
        for latent in (where, what):
            log_p += here * log_normal(latent, latent.prior.distribution)
            log_q += here * log_normal(latent, latent.posterior.distribution)
            q, p = latent.posterior.distribution, latent.prior.distribution
            ratio = np.log(p.scale / q.scale) + (q.scale**2 + (q.loc - p.loc) ** 2) / (2 * p.scale**2) - 0.5
            np.testing.assert_allclose(latent.kl, here * ratio.numpy().sum(axis=-1), rtol=1e-4, atol=1e-5)
    assert 0.1 < np.mean(there) < 0.9
    canvas = trace.likelihood.mean().numpy()
    log_x = scipy.stats.norm(canvas, SCALE).logpdf(X).sum(axis=(2, 3, 4))
    np.testing.assert_allclose(trace.log_likelihood, log_x, rtol=1e-5)
    np.testing.assert_allclose(trace.log_joint, log_x + log_p, rtol=1e-4)
    np.testing.assert_allclose(trace.log_posterior, log_q, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(trace.log_weight, log_x + log_p - log_q, rtol=1e-4)
    assert np.all(canvas[there[0] == 0] == 0), "nothing is painted"
    by_kind = model.kl_by_name(trace)
    assert set(by_kind) == set(KINDS)
    np.testing.assert_allclose(sum(by_kind.values()), trace.kl, rtol=1e-5)


def given_traces(model: kv.AIR):
    """By pattern of presence, the trace of equal where and what."""
    rng = np.random.default_rng(5)
    sizes = {"where": 3, "what": WHAT}
    values = [{kind: rng.normal(size=(1, len(X), sizes[kind])) for kind in sizes} for _ in range(model.steps)]
    for pattern in itertools.product([0.0, 1.0], repeat=model.steps):
        made = []
        for there, each in zip(pattern, values, strict=True):
            made += [np.full((1, len(X), 1), there), each["where"], each["what"]]
        with sampling(1, fold(0), given=[tf.constant(each, tf.float32) for each in made]):
            yield pattern, model(X)


def test_the_number_of_objects_is_geometric_up_to_the_steps():
    model, log_odds = built(3), 0.7
    model.current_log_odds.assign(log_odds)
    p = 1 / (1 + np.exp(-log_odds))
    number = {0: 1 - p, 1: p * (1 - p), 2: p**2 * (1 - p), 3: p**3}
    seen, of_posterior = {}, {}
    for pattern, trace in given_traces(model):
        count = int(np.cumprod(pattern).sum())
        seen[count] = np.exp(sum(latent.log_prior for latent in latents_of(trace, "presence")))
        of_posterior[count] = np.exp(sum(latent.log_posterior for latent in latents_of(trace, "presence")))
        np.testing.assert_allclose(seen[count], number[count], rtol=1e-5)
    draws = model.sample_prior(4000, seed=1)["presence"].numpy()
    assert np.all(np.diff(draws, axis=1) <= 0), "none after one that is not there"
    found = np.bincount(draws.sum(axis=1).astype(int), minlength=4) / 4000
    expected = np.array([number[count] for count in range(4)])
    assert np.all(np.abs(found - expected) < 4 * np.sqrt(expected * (1 - expected) / 4000))
    # Of the posterior the numbers have probabilities too, where what is seen of the objects is given.
    assert np.all(sum(of_posterior.values()) == pytest.approx(1, abs=1e-5))


def test_what_comes_after_an_absent_object_changes_nothing():
    model = built(3)
    traces = dict(given_traces(model))
    for pattern, trace in traces.items():
        count = int(np.cumprod(pattern).sum())
        same = traces[(1.0,) * count + (0.0,) * (3 - count)]
        for figure in ("log_likelihood", "kl", "log_joint", "log_posterior", "log_weight"):
            np.testing.assert_array_equal(getattr(trace, figure), getattr(same, figure), err_msg=f"{pattern} {figure}")


@pytest.fixture(scope="module")
def exact():
    """-ELBO and its gradient with each presence summed out."""
    model = built(difference=True)
    return with_gradients(functools.partial(summed_out, model, X), model.trainable_weights)


@pytest.mark.parametrize(
    "objective",
    [
        lambda: kv.NVIL(samples=200),
        lambda: kv.NVIL(200, kv.LearnedBaseline(keras.layers.Dense(3, "tanh"))),
        lambda: kv.ScoreFunction(samples=200),
    ],
    ids=["NVIL", "NVIL with a baseline", "ScoreFunction"],
)
def test_score_functions_have_the_gradient_of_the_sum_over_all_patterns(objective, exact):
    model, objective = built(difference=True), objective()
    if objective.baseline is not None:
        objective.baseline.build((None, UNITS))
        objective.baseline.head.bias.assign([-20.0])  # what is expected, and wrongly, is no bias
        objective.baseline.scale = lambda: 1.0  # it shrinks gradients, and so is one

    def loss(seed):
        with sampling(200, seed, objective.path):
            return tf.reduce_mean(objective(model(X, training=True)))

    values, gradients = with_gradients(loss, model.trainable_weights)
    assert agree(gradients, exact[1])
    assert agree(values[:, None], exact[0][:, None])
    with sampling(20, fold(1)):
        trace = model(X)
    if isinstance(objective, kv.NVIL):
        np.testing.assert_allclose(objective(trace), kv.ELBO()(trace), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.slow
def test_signals_of_steps_have_less_noise():
    model = built(3)

    def noise(objective):
        def loss(seed):
            with sampling(1, seed, objective.path):
                return tf.reduce_mean(objective(model(X, training=True)))

        return with_gradients(loss, model.finder.head.trainable_weights)[1].var(axis=0).sum()

    assert noise(kv.NVIL()) < 0.5 * noise(kv.ScoreFunction())


def test_signals_are_what_comes_after_the_canvas_before():
    model = built(3)
    for pattern, trace in given_traces(model):
        canvas, kl = np.zeros(SHAPE), trace.kl.numpy()
        for step, (name, signal) in enumerate(sorted(trace.signals().items())):
            assert name == f"presence_{step + 1}"
            before = scipy.stats.norm(canvas, SCALE).logpdf(X).sum(axis=(1, 2, 3))
            kl = kl - trace.latents[name].kl  # which does not depend on this draw
            np.testing.assert_allclose(signal.gain, trace.log_likelihood - before - kl, rtol=1e-3, atol=1e-3)
            there = np.cumprod(pattern)[step]
            objects = Object(there, *(trace.latents[f"{kind}_{step + 1}"].value[0] for kind in KINDS[1:]))
            canvas = canvas + there * model._painted(objects).numpy()
            kl = kl - sum(trace.latents[f"{kind}_{step + 1}"].kl for kind in KINDS[1:])
            assert isinstance(signal, kv.Signal)
            assert signal.seen.shape == (1, len(X), UNITS)


def test_relaxed_presence_is_of_training_alone():
    model = built(3)
    objective = kv.RelaxedELBO(temperature=0.7)
    with sampling(20, fold(1), objective.path):
        relaxed = model(X, training=True)
    with sampling(20, fold(1)):
        binary = model(X)
    first, second = relaxed.latents["presence_1"], binary.latents["presence_1"]
    assert np.all((first.value > 0) & (first.value < 1))
    np.testing.assert_array_equal(np.round(first.value), second.value)  # of the same noise
    np.testing.assert_array_equal(first.exact_kl, second.exact_kl)
    logit = first.posterior.distribution.logits
    noise = np.log(first.value / (1 - first.value)) * 0.7 - logit
    assert scipy.stats.kstest(noise.numpy().ravel(), "logistic").pvalue > 0.01
    assert first.posterior.batch_shape == (20, len(X))
    there = np.cumprod([latent.value[..., 0] for latent in latents_of(relaxed, "presence")], axis=0)
    for latent, here in zip(latents_of(relaxed, "where"), there, strict=True):
        np.testing.assert_allclose(latent.kl, latent.posterior.kl_divergence(latent.prior) * here, rtol=1e-5)
    np.testing.assert_array_equal(objective(binary), kv.ELBO()(binary))
    assert objective.describe().endswith("and then no bound")


def test_relaxed_draws_carry_gradients():
    model = built()
    objective = kv.RelaxedELBO()
    with tf.GradientTape() as tape, sampling(1, fold(1), objective.path):
        canvas = model(X, training=True).likelihood.mean()
    gradient = tape.gradient(canvas, model.finder.head.kernel)
    assert np.abs(gradient[:, 0]).max() > 0
    posterior = model(X).latents["where_1"].posterior
    assert not RelaxedPath.wanted(posterior)
    assert StoppedPath().drawn_from(posterior) is posterior


def test_one_object_that_is_always_there_is_a_plain_vae():
    """The box is that of the prior: encoder and decoder of the VAE look at it through a transformer."""
    box = np.array([[0.0, 0.0, 0.6, 0.6]], "float32")
    finder = kv.ObjectFinder(UNITS, size=(float(np.log(0.6 / 0.4)), 0.5), log_odds=100.0)
    model = small(1, 10.0, finder)
    model.build((None, *SHAPE))
    finder.head.kernel.assign(0 * finder.head.kernel)
    image, code = keras.Input(SHAPE), keras.Input((WHAT,))

    def constant(box, like):
        rows = keras.layers.Lambda(lambda x: tf.repeat(box, tf.shape(x)[0], axis=0), output_shape=(4,))
        return rows(like)

    glimpse = kv.SpatialTransformer(PATCH[:2])(image, constant(box, image))
    painted = kv.SpatialTransformer(SHAPE[:2])(model.decoder(code), constant(kv.inverse_box(box), code))
    posterior = kv.Normal(WHAT, keras.Model(image, model.posterior.network(glimpse)))
    vae = kv.VAE(posterior, kv.FixedScaleNormal(SHAPE, keras.Model(code, painted), SCALE), kv.StandardNormal(WHAT))
    vae.build((None, *SHAPE))
    posterior.head.set_weights(model.posterior.head.get_weights())
    vae.likelihood.head.set_weights([np.ones([1, 1]), np.zeros([1])])
    np.testing.assert_allclose(model.reconstruct(X), vae.reconstruct(X), atol=1e-6)
    z = np.random.default_rng(1).normal(size=(4, len(X), WHAT)).astype("float32")
    where = np.tile(finder.prior().mean(), (4, len(X), 1)).astype("float32")
    with sampling(4, fold(0), given=[tf.ones([4, len(X), 1]), where, tf.constant(z)]):
        trace = model(X)
    with sampling(4, fold(0), given=[tf.constant(z)]):
        expected = vae(X)
    np.testing.assert_allclose(trace.log_likelihood, expected.log_likelihood, rtol=1e-5)
    np.testing.assert_allclose(
        trace.latents["what_1"].log_ratio, expected.log_weight - expected.log_likelihood, atol=1e-5
    )
    np.testing.assert_allclose(trace.latents["what_1"].kl, expected.kl, rtol=1e-5)
    np.testing.assert_allclose(trace.latents["presence_1"].kl, 0, atol=1e-6)


def test_boxes_are_in_pixels():
    box = box_of(tf.constant([[0.0, 0.0, 0.0], [0.0, np.arctanh(0.5), -np.arctanh(0.25)]]))
    np.testing.assert_allclose(edges_of(box, (32, 64)), [[16, 8, 48, 24], [32, 4, 64, 20]], rtol=1e-6)


def test_finds_counts_boxes_and_patches():
    model = built(3, log_odds=0.0)
    model.finder.head.bias.assign([0.2, 0.0, 0.3, -0.2, 0.0, 0.0, 0.0])
    x = np.random.default_rng(1).random((40, *SHAPE)).astype("float32")
    z, found = model.encode(x), model.find(x)
    presence = z["presence"].numpy()
    assert 0.1 < presence.mean() < 0.9
    assert set(presence.ravel()) == {0.0, 1.0}
    assert found["counts"].dtype == tf.int32
    np.testing.assert_array_equal(found["counts"], presence.sum(axis=1))
    assert found["boxes"].shape == (40, 3, 4)
    assert found["patches"].shape == (40, 3, *PATCH)
    assert np.all(found["boxes"].numpy()[presence == 0] == 0)
    assert np.all(found["patches"].numpy()[presence == 0] == 0)
    # Painted by hand, one after another, in their boxes.
    left, top, right, bottom = np.moveaxis(found["boxes"].numpy(), -1, 0)
    half = np.stack([right - left, bottom - top], axis=-1) / 6
    middle = np.stack([left + right, top + bottom], axis=-1) / 6 - 1
    canvas = np.zeros((40, *SHAPE))
    for step in range(3):
        there = presence[:, step] == 1
        box = np.concatenate([middle[there, step], half[there, step]], axis=-1)
        canvas[there] += kv.SpatialTransformer(SHAPE[:2])(found["patches"][:, step][there], kv.inverse_box(box))
    np.testing.assert_allclose(model.reconstruct(x), canvas, atol=1e-5)
    np.testing.assert_allclose(model.decode(z).mean(), canvas, atol=1e-5)
    later = z | {"presence": np.repeat([[0.0, 1.0, 1.0]], 40, axis=0).astype("float32")}
    assert np.all(model.decode(later).mean() == 0), "none after one that is not there"


@pytest.mark.parametrize("difference", [False, True])
def test_more_steps_with_the_same_weights(difference):
    model = built(2, difference=difference)
    parts = ("encoder", "finder", "posterior", "decoder", "likelihood", "prior", "difference")
    more = kv.AIR(**{part: getattr(model, part) for part in parts}, steps=5)
    more.build((None, *SHAPE))
    z, of_more = model.encode(X), more.encode(X)
    for kind in KINDS:
        np.testing.assert_allclose(of_more[kind][:, :2], z[kind], atol=1e-6)
    assert more.find(X)["boxes"].shape == (len(X), 5, 4)


OBJECTIVES = {
    "relaxed": kv.RelaxedELBO,
    "nvil": lambda: kv.NVIL(baseline=kv.LearnedBaseline(kv.dense_encoder(UNITS, [4]))),
    "vimco": lambda: kv.VIMCO(3),
}


class Keep(keras.callbacks.Callback):
    """Keeps a copy of the backup after the first epoch."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 0:
            shutil.copytree(self.folder, self.folder.with_name("killed"))


@pytest.mark.parametrize("name", usual_first(OBJECTIVES, "nvil"))
def test_trains_resumes_and_reloads_to_equal_numbers(name, tmp_path):
    def fit(folder, *callbacks):
        model = built()
        optimizers = {"model": keras.optimizers.Adam(0.01), "baseline": keras.optimizers.Adam(0.1)}
        model.compile(optimizers if name == "nvil" else optimizers["model"], OBJECTIVES[name](), run_eagerly=True)
        fall = kv.callbacks.LinearSchedule("current_log_odds", 0.0, -2.0, 2)
        callbacks = [fall, kv.callbacks.BackupAndRestore(folder), *callbacks]
        history = model.fit(X, epochs=3, batch_size=3, verbose=0, callbacks=callbacks)
        return model, history

    model, history = fit(tmp_path / "backup", Keep(tmp_path / "backup"))
    assert {"loss", "log_likelihood", "kl", "kl_presence", "kl_where", "kl_what"} <= set(history.history)
    resumed, rest = fit(tmp_path / "killed")
    assert rest.epoch == [1, 2]
    for weight, expected in zip(resumed.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)
    model.save(tmp_path / "model.keras")
    loaded = kv.load_model(tmp_path / "model.keras")
    assert float(loaded.current_log_odds) == -2.0
    assert loaded.evaluate(X, verbose=0, return_dict=True) == model.evaluate(X, verbose=0, return_dict=True)
    for key, value in model.find(X).items():
        np.testing.assert_array_equal(loaded.find(X)[key], value)


def test_is_served_with_counts_boxes_and_patches():
    model = built(2, log_odds=0.0)
    served = model.serving_signatures()
    assert set(served) == {
        "serving_default", "encode", "decode", "generate", "sample", "log_likelihood", "find"
    }  # fmt: skip
    function, (spec,) = served["find"]
    assert spec.name == "x"
    found = function(X)
    for key, value in model.find(X).items():
        np.testing.assert_allclose(found[key], value, rtol=1e-5, atol=1e-5)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"AIR\.decode needs presence"):
        served["decode"][0](tf.fill([1, 2], 2.0), tf.zeros([1, 2, 3]), tf.zeros([1, 2, WHAT]))


def test_is_bounded_by_importance_weights():
    model = built()
    log_p, _ = model.importance_weights(X, 2000, seed=1)
    with sampling(2000, fold(2)):
        weights = model(X).log_weight.numpy().astype(np.float64)
    again = np.log(np.exp(weights).mean(axis=0))
    error = np.exp(weights - again).std(axis=0) / np.sqrt(2000)
    assert np.all(np.abs(log_p - again) < 5 * np.sqrt(2) * error)
    assert np.all(weights.mean(axis=0) < log_p)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"finder": keras.layers.Dense(3)}, TypeError, r"AIR needs finder to be .* ObjectFinder. Received: <Dense"),
        ({"likelihood": kv.Bernoulli(SHAPE)}, TypeError, r"AIR needs likelihood .* NormalAround. Received: Bernoulli"),
        ({"prior": None}, TypeError, r"AIR needs prior to be .* DistributionLayer. Received: None"),
        ({"prior": kv.StandardNormal(3)}, ValueError, r"prior and a posterior of one event shape. Received: \(3,\)"),
        ({"prior": kv.SphericalUniform(2)}, ValueError, r"draws are of one kind. Received: Normal"),
        ({"likelihood": kv.NormalAround(36)}, ValueError, r"AIR needs images.* Received: \(36,\)"),
        ({"steps": 0}, ValueError, r"AIR needs steps to be a whole number, 1 or more. Received: steps=0"),
    ],
)
def test_refuses_parts_that_do_not_fit(change, error, message):
    with pytest.raises(error, match=message):
        small(**change)


def test_refuses_what_it_can_not_do():
    flat = keras.Sequential([keras.Input((WHAT,)), keras.layers.Dense(9)])
    with pytest.raises(
        ValueError, match=r"AIR needs a decoder to patches of shape \(height, width, 1\). Received: \(9,"
    ):
        small(decoder=flat).build((None, *SHAPE))
    for size in (0.3, [0.1, -1.0]):
        with pytest.raises(ValueError, match=r"ObjectFinder needs .*size"):
            kv.ObjectFinder(4, size=size)
    with pytest.raises(ValueError, match=r"NormalAround.* needs a context of shape .*6, 6, 1\). Received: None"):
        kv.NormalAround(SHAPE)()
    model = built()
    with pytest.raises(ValueError, match=r"AIR.decode needs latents by name: presence, where, what. Received: z"):
        model.decode({"z": X})
    model.compile(loss=kv.ELBO())
    with pytest.raises(TypeError, match=r"ELBO needs draws that carry gradients.*presence_1.*RelaxedELBO"):
        model.fit(X, verbose=0)
    vae = kv.VAE(kv.Bernoulli(2), kv.FixedScaleNormal(5), kv.Bernoulli(2))
    vae.compile(loss=kv.NVIL())
    with pytest.raises(TypeError, match=r"NVIL needs a model whose trace has a signal .*without that of z"):
        vae.fit(vectors(), verbose=0)
    of_categories = kv.VAE(kv.OneHotCategorical(2), kv.FixedScaleNormal(5), kv.OneHotCategorical(2))
    of_categories.compile(loss=kv.RelaxedELBO())
    with pytest.raises(TypeError, match="RelaxedELBO needs draws that carry gradients"):
        of_categories.fit(vectors(), verbose=0)


def test_binary_codes_of_a_vae_are_trained_relaxed_too():
    vae = kv.VAE(kv.Bernoulli(2), kv.FixedScaleNormal(5), kv.Bernoulli(2))
    vae.compile(keras.optimizers.Adam(0.1), kv.RelaxedELBO(0.5), jit_compile=False)
    vae.fit(vectors(), epochs=20, verbose=0)
    with sampling(1, fold(0)):
        assert set(np.unique(vae(vectors()).latents["z"].value)) <= {0.0, 1.0}


@pytest.mark.slow
def test_counts_digits_without_labels():
    """The recipe of examples/air.py, 800 steps of it on digits of scikit-learn."""
    data = kv.datasets.load(kv.datasets.Canvases(most=2, examples=5000, held_out=500), 64, kv.NormalAround)
    paint = [keras.layers.Dense(128, "relu"), keras.layers.Dense(144, "sigmoid", bias_initializer=dark())]
    keras.utils.set_random_seed(0)
    model = kv.AIR(
        kv.dense_encoder((32, 32, 1), [256]),
        kv.ObjectFinder(128, size=(-0.55, 0.3), log_odds=1.0),
        kv.Normal(16, kv.dense_encoder((12, 12, 1), [128])),
        keras.Sequential([keras.Input((16,)), *paint, keras.layers.Reshape((12, 12, 1))]),
        kv.NormalAround((32, 32, 1), 0.2),
        kv.StandardNormal(16),
    )
    model.compile(keras.optimizers.Adam(1e-3, global_clipnorm=1.0), kv.RelaxedELBO())
    fall = kv.callbacks.LinearSchedule("current_log_odds", 3.0, -4.6, 8)
    model.fit(data.train.repeat(), epochs=12, steps_per_epoch=100, callbacks=[fall], verbose=0)
    x = np.concatenate(list(data.test.as_numpy_iterator()))
    found = kv.evaluation.count_accuracy(data.truth["test"]["counts"], model.find(x)["counts"])
    assert found.accuracy > 0.97


def dark() -> keras.initializers.Initializer:
    return keras.initializers.Constant(-2.0)
