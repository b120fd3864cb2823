"""Deep hierarchies around one state, against closed forms of a linear-Gaussian one and against SciPy."""

import itertools

import keras
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import tensorflow as tf

import keras_vae as kv
from keras_vae.noise import fold
from keras_vae.sampling import sampling

RNG = np.random.default_rng(0)
SHAPE = (4, 6, 1)  # neither square nor of one width with its latents
X = RNG.normal(size=(6, *SHAPE)).astype("float32")
SCALE = 1.5
GRIDS = [(1, 1), (1, 1), (2, 3)]


def small(activation="gelu", grids=GRIDS, likelihood=None, **options) -> kv.TopDownVAE:
    """Three blocks on two grids."""
    keras.utils.set_random_seed(1)
    blocks = [kv.TopDownBlock(grid, 6 if grid == (1, 1) else 4, 2, activation=activation) for grid in grids]
    network = keras.layers.Conv2DTranspose(3, 2, strides=2)
    return kv.TopDownVAE(
        encoder=kv.bottom_up_encoder(SHAPE, strides=[2, 3], filters=[4, 6], blocks=1, activation=activation),
        blocks=blocks,
        likelihood=likelihood or kv.FixedScaleNormal(SHAPE, network, scale=SCALE),
        **options,
    )


def linear() -> kv.TopDownVAE:
    """A model in which all is linear but for the scales of prior and posterior, which are made constant."""
    model = small("linear")
    model.build((None, *SHAPE))
    for block in model.blocks:
        for network, first in ((block.of_prior, block.filters + block.latent_size), (block.of_posterior, 2)):
            kernel, bias = network.last.get_weights()
            if network is block.of_posterior:
                kernel *= 0.3  # not far from the prior: importance sampling is to be exact
            kernel[:, first:] = 0.0
            bias[first:] = RNG.normal(size=block.latent_size) * 0.2
            network.last.set_weights([kernel, bias])
    return model


def joint_moments(model) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of p(x), from what prior means and the decoder make of zeros and of unit vectors."""
    sizes = {name: int(np.prod(block.latent_shape)) for name, block in model.blocks_by_name.items()}
    total = sum(sizes.values())
    rows = np.concatenate([np.zeros((1, total)), np.eye(total)]).astype("float32")
    parts = dict(zip(sizes, np.split(rows, np.cumsum(list(sizes.values()))[:-1], axis=1), strict=True))
    z = {name: parts[name].reshape(-1, *model.blocks_by_name[name].latent_shape) for name in sizes}
    given = [z[name][None] for name in sizes]
    with sampling(1, fold(0), given=given):
        trace = model(np.zeros((total + 1, *SHAPE), "float32"))
    means = [trace.latents[name].prior.mean().numpy()[0].reshape(total + 1, -1) for name in sizes]
    scales = np.concatenate([trace.latents[name].prior.stddev().numpy()[0, 0].ravel() for name in sizes])
    at_zero = np.concatenate([mean[0] for mean in means])
    gain = np.concatenate([mean[1:] - mean[0] for mean in means], axis=1).T  # each latent's mean from those above
    outputs = model.decode(z).mean().numpy().reshape(total + 1, -1)
    decode = (outputs[1:] - outputs[0]).T
    inverse = np.linalg.inv(np.eye(total) - gain.astype(np.float64))  # z = gain z + at_zero + scales noise
    covariance = inverse @ np.diag(scales.astype(np.float64) ** 2) @ inverse.T
    mean = outputs[0] + decode @ (inverse @ at_zero)
    return mean, decode @ covariance @ decode.T + SCALE**2 * np.eye(len(mean))


def test_log_likelihood_of_a_linear_model_is_exact():
    model = linear()
    mean, covariance = joint_moments(model)
    exact = scipy.stats.multivariate_normal(mean, covariance).logpdf(X.reshape(len(X), -1))
    log_p, effective = model.importance_weights(X, 20_000, seed=1)
    assert np.all(effective.numpy() > 100)
    assert np.all(np.abs(log_p - exact) < 4 / np.sqrt(effective.numpy()))


def test_draws_of_a_linear_model_have_its_moments():
    model = linear()
    mean, covariance = joint_moments(model)
    count = 20_000
    draws = model.sample(count, seed=2).numpy().reshape(count, -1)
    error = np.sqrt(np.diag(covariance) / count)
    assert np.all(np.abs(draws.mean(axis=0) - mean) < 5 * error)
    spread = np.sqrt((np.outer(np.diag(covariance), np.diag(covariance)) + covariance**2) / count)
    assert np.all(np.abs(np.cov(draws.T) - covariance) < 5 * spread)


def test_kl_of_each_layer_has_the_mean_of_its_log_ratio():
    with sampling(5_000, fold(2)):
        trace = small()(X[:3])
    for latent in trace.latents.values():
        assert latent.exact_kl is not None
        ratio, kl = latent.log_ratio.numpy().astype(np.float64), latent.kl.numpy()
        error = np.sqrt((ratio + kl).var(axis=0) / len(ratio))
        assert np.all(np.abs((ratio + kl).mean(axis=0)) < 4 * error + 1e-4)


def test_one_block_by_hand():
    """State, prior, posterior and what z does to the state, on one place, in NumPy."""
    model = small(grids=[(1, 1)], likelihood=kv.FixedScaleNormal(SHAPE, keras.layers.Flatten(), scale=SCALE))
    model.build((None, *SHAPE))
    block = model.blocks[0]

    def gelu(x):
        return x * scipy.stats.norm.cdf(x)

    def through(network, x):
        layers = [layer.get_weights() for layer in (network.first, network.between, network.last)]
        for kernel, bias in layers:
            x = gelu(x) @ kernel + bias
        return x

    features = model.encoder(X)[1].numpy().astype(np.float64)
    state = np.broadcast_to(block.map.numpy().astype(np.float64), (len(X), 1, 1, 6))
    change, loc, log_scale = np.split(through(block.of_prior, state), [6, 8], axis=-1)
    shift, log_factor = np.split(through(block.of_posterior, np.concatenate([state, features], axis=-1)), 2, axis=-1)
    log_scale, log_factor = (5 * np.tanh(each / 5) for each in (log_scale, log_factor))
    with sampling(1, fold(3)):
        trace = model(X)
    latent = trace.latents["z1"]
    np.testing.assert_allclose(latent.prior.mean()[0], loc, atol=1e-5)
    np.testing.assert_allclose(latent.prior.stddev()[0], np.exp(log_scale), rtol=1e-5)
    np.testing.assert_allclose(latent.posterior.mean()[0], loc + np.exp(log_scale) * shift, atol=1e-5)
    np.testing.assert_allclose(latent.posterior.stddev()[0], np.exp(log_scale + log_factor), rtol=1e-5)
    kl = 0.5 * (np.exp(2 * log_factor) + shift**2 - 1) - log_factor
    np.testing.assert_allclose(latent.kl[0], kl.sum(axis=(1, 2, 3)), rtol=1e-4)
    after = state + change + latent.value.numpy()[0] @ block.project.get_weights()[0]
    after = after + through(block.residual, after)
    kernel, bias = model.likelihood.head.get_weights()
    expected = (after.reshape(len(X), -1) @ kernel + bias).reshape(len(X), *SHAPE)
    np.testing.assert_allclose(trace.likelihood.mean()[0], expected, atol=1e-4)


def test_what_is_far_off_stays_finite():
    """Images 1,000 times as large as any seen make no scale, and no KL, infinite: those of one layer reach the next."""
    model = small()
    trace = model(1000 * X)
    for latent in trace.latents.values():
        assert np.isfinite(latent.kl).all()
        scales = np.stack([latent.prior.stddev()[0], latent.posterior.stddev()[0] / latent.prior.stddev()[0]])
        assert np.all((scales > np.exp(-5.001)) & (scales < np.exp(5.001)))
        assert scales.max() > np.exp(4)


def test_a_bottleneck_sees_the_neighbours_of_a_place():
    """1 x 1, 3 x 3 and 1 x 1 with rectifiers, against SciPy's correlation with zeros around the grid."""
    keras.utils.set_random_seed(2)
    network, x = kv.Bottleneck(2, 3, activation="relu"), RNG.normal(size=(4, 5, 4)).astype("float32")
    found = network(x[None])[0].numpy()
    (first, b1), (between, b2), (last, b3) = (
        part.get_weights() for part in (network.first, network.between, network.last)
    )
    hidden = np.maximum(np.maximum(x, 0) @ first + b1, 0)
    seen = [
        sum(scipy.ndimage.correlate(hidden[..., i], between[..., i, o], mode="constant") for i in range(3)) + b2[o]
        for o in range(3)
    ]
    np.testing.assert_allclose(found, np.maximum(np.stack(seen, axis=-1), 0) @ last + b3, rtol=1e-4, atol=1e-5)


def test_a_latent_changes_what_is_below_it_alone():
    """The prior of each latent variable does not see those below, and sees those above."""
    model = small()
    names = list(model.blocks_by_name)  # from the top down
    shapes = [(1, len(X), *model.blocks_by_name[name].latent_shape) for name in names]
    model.build((None, *SHAPE))
    for changed, seen in itertools.product(range(len(names)), repeat=2):
        means = []
        for value in (0.0, 3.0):
            given = [np.full(shape, value * (place == changed), "float32") for place, shape in enumerate(shapes)]
            with sampling(1, fold(0), given=given):
                means.append(model(X).latents[names[seen]].prior.mean().numpy())
        assert np.array_equal(*means) == (seen <= changed)


def test_samples_ride_on_one_pass():
    """Three draws for each example are those of three examples that are the same."""
    model = small()
    with sampling(3, fold(4)):
        of_draws = model(X[:1]).log_weight.numpy()[:, 0]
    with sampling(1, fold(4)):
        of_examples = model(np.repeat(X[:1], 3, axis=0)).log_weight.numpy()[0]
    np.testing.assert_allclose(of_draws, of_examples, rtol=1e-5)


def test_logs_sum_the_kl_of_each_grid():
    model = small()
    model.compile("adam", kv.ELBO(), jit_compile=False)
    logs = model.evaluate(X, verbose=0, return_dict=True)
    assert set(logs) == {"loss", "log_likelihood", "kl", "kl_1x1", "kl_2x3"}
    assert np.isclose(logs["kl"], logs["kl_1x1"] + logs["kl_2x3"], rtol=1e-5)
    with sampling(1, model._step_seed(1)):
        latents = model(X).latents
    assert list(latents) == ["z1", "z2", "z3"]
    assert latents["z1"].value.shape[2:] == (2, 3, 2)


def test_all_weights_follow_the_seed_of_keras():
    """An initializer that is made once, when the package is imported, would give each process other weights."""
    weights = []
    for seed in (3, 3, 4):
        model = small()
        keras.utils.set_random_seed(seed)
        model.build((None, *SHAPE))
        weights.append([weight for block in model.blocks for weight in block.weights if "bias" not in weight.path])
    for first, same, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(first, same, err_msg=first.path)
        assert not np.array_equal(first, other), first.path


def test_methods_agree():
    model = small()
    model.build((None, *SHAPE))
    posteriors = model.encode(X)
    assert list(posteriors) == ["z1", "z2", "z3"]
    means = {name: posterior.mean() for name, posterior in posteriors.items()}
    np.testing.assert_allclose(model.reconstruct(X), model.decode(means).mean(), rtol=1e-6)
    given = [means[name][None] for name in model.blocks_by_name]
    with sampling(1, fold(0), given=given):
        trace = model(X)
    for name, posterior in posteriors.items():
        np.testing.assert_allclose(trace.latents[name].posterior.mean()[0], posterior.mean(), atol=1e-6)
    draws = model.sample_prior(5, seed=7)
    np.testing.assert_allclose(model.generate(5, seed=7), model.decode(draws).mean(), rtol=1e-6)
    coldest = model.sample_prior(5, seed=7, temperature=0.0)
    assert all(np.array_equal(each, each[:1].numpy().repeat(5, axis=0)) for each in coldest.values())
    assert model.sample_prior(0)["z1"].shape == (0, 2, 3, 2)
    assert model.generate(0).shape == (0, *SHAPE)


@pytest.mark.slow
def test_recomputing_changes_no_gradient():
    gradients, counts = [], []
    for recompute in (False, True):
        model = small(recompute=recompute)
        model.build((None, *SHAPE))

        @tf.function(autograph=False)
        def gradient(model=model):
            with tf.GradientTape() as tape, sampling(1, fold(5)):
                loss = tf.reduce_mean(model(X).log_weight)
            return tape.gradient(loss, model.trainable_weights)

        gradients.append(gradient())
        operations = gradient.get_concrete_function().graph.get_operations()
        counts.append(sum(operation.type == "MatMul" for operation in operations))
    for ours, expected in zip(*gradients, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)
    assert counts[1] > counts[0]  # what is computed twice
    assert kv.TopDownVAE.from_config(model.get_config()).blocks[0].recompute


@pytest.mark.slow
def test_recomputing_changes_no_step():
    histories = []
    for recompute in (False, True):
        model = small(recompute=recompute)
        model.compile(keras.optimizers.Adam(1e-2), kv.ELBO(), jit_compile=False)
        histories.append(model.fit(X, epochs=3, batch_size=3, verbose=0).history["loss"])
    np.testing.assert_allclose(*histories, rtol=1e-6)


def test_what_is_refused():
    encoder, likelihood = kv.bottom_up_encoder((8, 8, 1), [2], [4]), kv.Bernoulli((8, 8, 1))
    block = kv.TopDownBlock((4, 4), 4)
    with pytest.raises(ValueError, match=r"TopDownVAE needs a list of one or more blocks.*Received: \[\]"):
        kv.TopDownVAE(encoder, [], likelihood)
    with pytest.raises(TypeError, match=r"TopDownVAE needs blocks to be TopDownBlock layers.*Identity"):
        kv.TopDownVAE(encoder, [keras.layers.Identity()], likelihood)
    with pytest.raises(TypeError, match=r"TopDownVAE needs likelihood to be a distribution layer.*Received: 3"):
        kv.TopDownVAE(encoder, [block], 3)
    with pytest.raises(ValueError, match=r"multiples of those of the grid above. Received: \(4, 4\) below \(3, 3\)"):
        kv.TopDownVAE(encoder, [kv.TopDownBlock((3, 3), 4), block], likelihood)
    with pytest.raises(ValueError, match=r"features on \[\(4, 4\)\], and blocks on \[\(2, 2\)\]"):
        kv.TopDownVAE(encoder, [kv.TopDownBlock((2, 2), 4), block], likelihood).build((None, 8, 8, 1))
    with pytest.raises(ValueError, match=r"TopDownBlock needs a grid of \(rows, columns\). Received: \(1, 1, 3\)"):
        kv.TopDownBlock((1, 1, 3), 4)
    with pytest.raises(ValueError, match=r"bottom_up_encoder needs filters for each.*strides=\[2, 2\]"):
        kv.bottom_up_encoder((8, 8, 1), [2, 2], [4])
    model = small()
    model.build((None, *SHAPE))
    with pytest.raises(ValueError, match=r"TopDownVAE.decode needs latents by name: z1, z2, z3. Received: z1"):
        model.decode({"z1": np.zeros((2, 2, 3, 2), "float32")})
    z = model.sample_prior(2)
    with pytest.raises(ValueError, match=r"as many rows of each.* Received: z1 \(1, 2, 3, 2\), z2 \(2, 1"):
        model.decode(z | {"z1": z["z1"][:1]})


@pytest.mark.slow
def test_fine_latents_are_used_where_the_data_have_something_for_them():
    """Each pixel of the finest grid is a coin of its own: the latents there learn them, and the bound comes near."""
    shape = (4, 4, 1)
    x = np.random.default_rng(0).integers(0, 2, (2000, *shape)).astype("float32")
    keras.utils.set_random_seed(0)
    model = kv.TopDownVAE(
        kv.bottom_up_encoder(shape, [1, 4], [8, 8], blocks=1),
        [kv.TopDownBlock((1, 1), 8, 4), kv.TopDownBlock((4, 4), 8, 2)],
        kv.Bernoulli(shape, keras.layers.Identity()),
    )
    model.compile(keras.optimizers.Adam(5e-3), kv.ELBO())
    model.fit(x, epochs=30, batch_size=100, verbose=0)
    logs = model.evaluate(x, verbose=0, return_dict=True)
    assert logs["loss"] < 16 * np.log(2) + 0.5  # the entropy of the coins
    assert tf.reduce_all(tf.math.is_finite(model.generate(4, seed=0)))
