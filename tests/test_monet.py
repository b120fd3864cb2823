"""Images taken apart into slots, against sums over all masks, quadrature, and the plain VAE."""

import itertools

import keras
import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf

import keras_vae as kv
from keras_vae.noise import fold
from keras_vae.sampling import sampling

RNG = np.random.default_rng(0)
SHAPE, SEEN = (2, 2, 3), (2, 2, 4)
X = RNG.random((3, *SHAPE)).astype("float32")
PAPER = {"z": 0.5, "mask": 0.5}


def network(shape, *layers) -> keras.Model:
    return keras.Sequential([keras.Input(shape), *layers])


def model_of(slots: int, size: int = 2, shape=SHAPE, scale=0.3) -> kv.MONet:
    """One that sees pixels one by one, with weights that are not small."""
    keras.utils.set_random_seed(1)
    seen = (*shape[:-1], shape[-1] + 1)
    start = keras.initializers.RandomNormal(stddev=1.0)
    model = kv.MONet(
        network(seen, keras.layers.Dense(3, "tanh", kernel_initializer=start)),
        kv.Normal(size, network(seen, keras.layers.Flatten(), keras.layers.Dense(4, "tanh"))),
        kv.SlotMixture(shape, network((size,), keras.layers.Dense(5, "tanh", kernel_initializer=start)), scale),
        kv.StandardNormal((slots, size)),
    )
    model.build((None, *shape))
    if slots > 1:
        model.share.set_weights([4 * each for each in model.share.get_weights()])
    return model


def attended(model, x) -> np.ndarray:
    """q(mask | x), shape (batch, slots, height, width): each slot takes its share of what is left."""
    kernel, bias = model.attention.get_weights()
    last, last_bias = model.share.get_weights()
    left, masks = np.ones(x.shape[:-1]), []
    for _ in range(model.slots - 1):
        seen = np.concatenate([x, np.maximum(np.log(left), -10)[..., None]], axis=-1)
        share = scipy.special.expit(np.tanh(seen @ kernel + bias) @ last + last_bias)[..., 0]
        masks.append(left * share)
        left = left * (1 - share)
    return np.stack([*masks, left], axis=1)


def over_all_masks(of_mask, means, x, scale):
    """Sum over all masks of probability x log-density.

    Args:
        of_mask: probability of each slot, shape (pixels, slots).
        means: shape (pixels, slots, channels).
        x: shape (pixels, channels).
        scale: standard deviation.
    """
    places, total = np.arange(len(x)), 0.0
    log_density = scipy.stats.norm.logpdf(x[:, None], means, scale).sum(axis=-1)  # [pixels, slots]
    for mask in itertools.product(range(of_mask.shape[1]), repeat=len(x)):
        total += of_mask[places, mask].prod() * log_density[places, mask].sum()
    return total


def kl_over_all_masks(q, p) -> float:
    """Of masks of independent pixels, (pixels, slots), as a sum over all of them."""
    places, total = np.arange(len(q)), 0.0
    for mask in itertools.product(range(q.shape[1]), repeat=len(q)):
        log_q, log_p = np.log(q[places, mask]).sum(), np.log(p[places, mask]).sum()
        total += np.exp(log_q) * (log_q - log_p)
    return total


@pytest.mark.parametrize("training", [True, False])
def test_the_loss_is_the_sum_over_all_masks(training):
    """Three slots on four pixels are 81 masks."""
    model = model_of(3)
    with sampling(2, fold(3)):
        trace = model(X, training=training)
    loss = kv.ELBO(beta=PAPER)(trace).numpy()
    of_x = attended(model, X).reshape(3, 3, 4)  # [batch, slots, pixels]
    z = trace.latents["z"]
    log_of_z, means = (each.numpy() for each in model.likelihood.parts(z.value))
    posterior = z.posterior.mean().numpy(), z.posterior.stddev().numpy()
    for image in range(3):
        losses = []
        for draw in range(2):
            of_z = np.exp(log_of_z[draw, image]).reshape(4, 3).astype(np.float64)
            q = of_x[image].T
            log_p = over_all_masks(q, means[draw, image].reshape(4, 3, 3), X[image].reshape(4, 3), 0.3)
            loc, scale = posterior[0][image], posterior[1][image]
            kl = 0.5 * (loc**2 + scale**2 - 1 - 2 * np.log(scale)).sum()
            losses.append(-log_p + 0.5 * kl + 0.5 * kl_over_all_masks(q, of_z))
        np.testing.assert_allclose(loss[image], np.mean(losses), rtol=1e-5)


def test_masks_are_shares_of_what_is_left_and_sum_to_one():
    model = model_of(4)
    found = model.decompose(X)
    np.testing.assert_allclose(found["masks"], attended(model, X), atol=1e-6)
    np.testing.assert_allclose(tf.reduce_sum(found["masks"], axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(found["segments"], found["masks"].numpy().argmax(axis=1))
    log_masks, means = (each.numpy() for each in model.likelihood.parts(model.encode(X).mean()))
    np.testing.assert_allclose(np.exp(log_masks).sum(axis=-1), 1, atol=1e-6)
    np.testing.assert_allclose(found["components"], np.moveaxis(means, 3, 1), atol=1e-6)
    np.testing.assert_allclose(
        model.reconstruct(X), (np.exp(log_masks)[..., None] * means).sum(axis=3), atol=1e-5
    )  # by p(mask | z)


class Painted(kv.FixedScaleNormal):
    """Its locations are between 0 and 1."""

    def distribution(self, params):
        return super().distribution(tf.sigmoid(params))


def test_one_slot_is_a_vae():
    """With the same weights and the same noise: losses, with the paper's weight of the KL, and log p(x)."""
    model, size = model_of(1), 2
    channels = keras.layers.Dense(4, use_bias=False)  # adds the logarithm of a mask that is 1 everywhere, 0
    vae = kv.VAE(
        kv.Normal(size, network(SHAPE, channels, keras.layers.Flatten(), keras.layers.Dense(4, "tanh"))),
        Painted(SHAPE, network((size,), keras.layers.Dense(5, "tanh")), scale=0.3),
        kv.StandardNormal(size),
    )
    vae.build((None, *SHAPE))
    vae.posterior.set_weights([np.eye(3, 4), *model.posterior.get_weights()])
    *hidden, kernel, bias = model.likelihood.get_weights()
    kept = [each.reshape(*each.shape[:-1], 4, 4)[..., :3].reshape(*each.shape[:-1], 12) for each in (kernel, bias)]
    vae.likelihood.set_weights([*hidden, *kept])
    for training in (True, False):
        losses = []
        for each, beta in ((model, PAPER), (vae, 0.5)):
            with sampling(3, fold(4)):
                losses.append(kv.ELBO(beta)(each(X, training=training)))
        np.testing.assert_allclose(*losses, rtol=1e-5)
    np.testing.assert_allclose(model.importance_weights(X, 5, 1)[0], vae.importance_weights(X, 5, 1)[0], rtol=1e-5)
    np.testing.assert_allclose(model.generate(4, seed=2), vae.generate(4, seed=2), atol=1e-6)
    assert not model.decompose(X)["segments"].numpy().any()


def test_log_likelihood_is_the_integral_over_the_codes():
    """Two slots of one number each, on one row of two pixels: a sum over a grid of codes; the loss of ELBO is above."""
    model = model_of(2, 1, (1, 2, 1), scale=0.5)
    x = np.array([[[[0.1], [0.9]]], [[[0.6], [-0.4]]]], "float32")
    places = np.linspace(-6, 6, 241)
    z = np.stack(np.meshgrid(places, places), axis=-1).reshape(-1, 2)
    log_masks, means = (each.numpy()[:, 0] for each in model.likelihood.parts(z[..., None].astype("float32")))
    density = scipy.stats.norm(means[..., 0], 0.5).logpdf(x[:, 0][:, None])  # [images, codes, pixels, slots]
    log_p = scipy.special.logsumexp(log_masks + density, axis=-1).sum(axis=-1)
    log_p += scipy.stats.norm.logpdf(z).sum(axis=-1) + 2 * np.log(places[1] - places[0])
    exact = scipy.special.logsumexp(log_p, axis=1)
    found, effective = model.importance_weights(x, 20_000, seed=1)
    assert np.all(np.abs(found - exact) < 4 / np.sqrt(effective))
    with sampling(5_000, fold(2)):
        trace = model(x)
    bounds = (trace.log_likelihood - trace.kl).numpy()
    np.testing.assert_allclose(bounds.mean(axis=0), -kv.ELBO()(trace), rtol=1e-5)
    assert np.all(bounds.mean(axis=0) < exact - 4 * bounds.std(axis=0) / np.sqrt(5_000))


def test_draws_have_the_moments_of_a_mixture():
    model, count = model_of(3), 20_000
    z = RNG.normal(size=(3, 2)).astype("float32")
    log_masks, means = (each.numpy() for each in model.likelihood.parts(z))
    masks = np.exp(log_masks)[..., None]
    mean, square = (masks * means).sum(axis=2), (masks * (means**2 + 0.3**2)).sum(axis=2)
    draws = model.decode(z).sample(count, seed=fold(5)).numpy()
    variance = square - mean**2
    assert np.all(np.abs(draws.mean(axis=0) - mean) < 5 * np.sqrt(variance / count))
    fourth = ((draws - mean) ** 4).mean(axis=0)
    assert np.all(np.abs(draws.var(axis=0) - variance) < 5 * np.sqrt((fourth - variance**2) / count))
    assert model.sample(4, seed=1).shape == model.generate(4, seed=1).shape == (4, *SHAPE)
    assert model.sample_prior(4, seed=1).shape == (4, 3, 2)


def test_slots_of_one_scale_can_be_exchanged():
    z = RNG.normal(size=(3, 3, 2)).astype("float32")
    for scale, same in ((0.3, True), ([0.1, 0.3, 0.3], False)):
        model = model_of(3, scale=scale)
        assert np.allclose(model.decode(z).log_prob(X), model.decode(z[:, ::-1]).log_prob(X), rtol=1e-5) == same
        np.testing.assert_allclose(model.decode(z).mean(), model.decode(z[:, ::-1]).mean(), atol=1e-5)
        np.testing.assert_allclose(
            model.decode(z).log_prob(X), model.decode(z[:, [0, 2, 1]]).log_prob(X), rtol=1e-5, atol=1e-4
        )


def test_a_slot_that_takes_all_leaves_finite_losses():
    """Shares of 0 and 1, as float32 rounds them."""
    model = model_of(3)
    kernel, bias = model.share.get_weights()
    for sign in (-1, 1):
        model.share.set_weights([0 * kernel, bias + sign * 300.0])
        with tf.GradientTape() as tape, sampling(1, fold(6)):
            loss = tf.reduce_mean(kv.ELBO(beta=PAPER)(model(X, training=True)))
        gradients = tape.gradient(loss, model.trainable_weights)
        assert all(np.isfinite(each).all() for each in (loss, *gradients))


def test_the_features_of_a_pixel_know_of_all_others():
    keras.utils.set_random_seed(0)
    network, x = (
        kv.unet((8, 12, 2), filters=[3, 4], units=5, activation="tanh"),
        RNG.normal(size=(2, 8, 12, 2)).astype("float32"),
    )
    changed = x.copy()
    changed[:, 0, 0] += 1
    features = network(x)
    assert features.shape == (2, 8, 12, 3)
    assert np.all(np.abs(network(changed) - features)[:, -1, -1].max(axis=-1) > 0)
    np.testing.assert_allclose(network(x[1:])[0], features[1], atol=1e-5)  # of each image alone
    assert kv.unet((5, 3, 1), filters=[2]).output_shape == (None, 5, 3, 2)


def test_what_is_refused():
    attention, encoder = keras.layers.Dense(2), kv.Normal(2, network(SEEN, keras.layers.Flatten()))
    mixture, prior = kv.SlotMixture(SHAPE, network((2,), keras.layers.Dense(3))), kv.StandardNormal((3, 2))
    with pytest.raises(TypeError, match=r"MONet needs attention to be a network, such as unet.*Received: 3"):
        kv.MONet(3, encoder, mixture, prior)
    with pytest.raises(TypeError, match=r"MONet needs posterior to be a Normal layer.*Laplace"):
        kv.MONet(attention, kv.Laplace(2), mixture, prior)
    with pytest.raises(TypeError, match=r"MONet needs likelihood to be a SlotMixture layer.*FixedScaleNormal"):
        kv.MONet(attention, encoder, kv.FixedScaleNormal(SHAPE), prior)
    with pytest.raises(ValueError, match=r"MONet needs a posterior of the code of one slot.*\(2,\) and \(3, 4\)"):
        kv.MONet(attention, encoder, mixture, kv.StandardNormal((3, 4)))
    with pytest.raises(ValueError, match=r"and a prior of all codes, event shape \(slots, size\).*\(2,\) and \(2,\)"):
        kv.MONet(attention, encoder, mixture, kv.StandardNormal(2))
    with pytest.raises(ValueError, match=r"output has the shape \(batch, 2, 2, features\). Received: \(None, 16\)"):
        kv.MONet(keras.layers.Flatten(), encoder, mixture, prior).build((None, *SHAPE))
    with pytest.raises(ValueError, match=r"MONet.decompose needs weights: call fit"):
        kv.MONet(attention, encoder, mixture, prior).decompose(X)
    with pytest.raises(ValueError, match=r"needs images of shape \(height, width, channels\). Received: \(4,\)"):
        kv.SlotMixture(4)
    with pytest.raises(ValueError, match=r"SlotMixture needs scale\[1\] to be a positive number. Received.*-1"):
        kv.SlotMixture(SHAPE, scale=[0.1, -1.0])
    with pytest.raises(ValueError, match=r"one scale, or one for each of the 3 slots. Received: 2"):
        kv.SlotMixture(SHAPE, scale=[0.1, 0.2]).build((None, 3, 2))
    with pytest.raises(ValueError, match=r"needs codes of slots, shape \(batch, slots, size\). Received: \(None, 2\)"):
        kv.SlotMixture(SHAPE).build((None, 2))
    with pytest.raises(ValueError, match=r"unet with 3 grids needs height and width that are multiples of 4.*\(6, 8"):
        kv.unet((6, 8, 3))
    with pytest.raises(ValueError, match=r"unet needs filters for one or more grids"):
        kv.unet((6, 8, 3), filters=[])
    with pytest.raises(ValueError, match=r"names of the latent variables z, mask in beta. Received: masks"):
        kv.ELBO(beta={"masks": 0.5})(model_of(3)(X))
