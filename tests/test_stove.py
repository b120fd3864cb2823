"""STOVE and its layers, against closed forms, SciPy, Keras's LSTM, and loops written out in NumPy."""

import itertools

import keras
import numpy as np
import pytest
import scipy.ndimage
import scipy.optimize
import scipy.stats
import tensorflow as tf

import keras_vae as kv
from keras_vae.distributions.normal import independent_normal
from keras_vae.models.stove import product_of_normals
from keras_vae.noise import fold
from keras_vae.sampling import sampling

RNG = np.random.default_rng(0)
FRAME = (8, 8, 1)
X = RNG.random((4, 5, *FRAME)).astype("float32")


@pytest.fixture(scope="module")
def model() -> kv.STOVE:
    """Three objects in clips of five frames, with weights that make all of it say something."""
    return built()


def built(objects=3, **options) -> kv.STOVE:
    keras.utils.set_random_seed(3)
    parts = {
        "posterior": kv.ObjectBoxes(objects, kv.ObjectEncoder(objects, units=6, features=8)),
        "dynamics": kv.GraphNetwork(7),
        "likelihood": kv.PatchImages(FRAME, (4, 3)),
        "prior": kv.ObjectBoxes(objects),
    }
    made = kv.STOVE(**parts | {"frames": 5, "hidden_size": 2, "transition_scale": 0.1} | options)
    made.build((None, *made.takes.x.shape))
    for head in (made.changes, made.doubts):
        head.set_weights([RNG.normal(size=weight.shape) * 0.3 for weight in head.get_weights()])
    return made


class BoxesInPixels(kv.DistributionLayer):
    """q(boxes | frame) for frames whose pixels are the boxes."""

    def __init__(self, objects, scale=0.01, **kwargs):
        super().__init__((objects, 4), **kwargs)
        self.objects, self.scale = objects, scale

    def build(self, context_shape=None):
        pass

    def call(self, context=None):
        loc = context[..., 0]
        return independent_normal(loc, self.scale * tf.ones_like(loc), self.event_shape)


def told(objects=3, **options) -> kv.STOVE:
    """A model for frames whose pixels are the boxes, whose objects go straight on."""
    parts = {"posterior": BoxesInPixels(objects), "likelihood": kv.PatchImages((objects, 4, 1), (2, 2))}
    made = built(objects, **parts | options)
    made.changes.set_weights([np.zeros(weight.shape) for weight in made.changes.get_weights()])
    return made


def straight_paths(count=6, time=7, objects=3):
    """Boxes of objects that go straight on, shape (count, time, objects, 4), and their velocities."""
    places = RNG.uniform(-0.5, 0.5, (count, 1, objects, 2))
    velocities = RNG.uniform(-0.03, 0.03, (count, 1, objects, 2))
    path = places + np.arange(time)[:, None, None] * velocities
    return np.concatenate([np.tile([0.3, 1.0], (*path.shape[:-1], 1)), path], axis=-1), velocities[:, 0]


# --- the filter -------------------------------------------------------------------------------------------------------


def test_the_product_is_the_update_of_a_kalman_filter():
    loc, other = RNG.normal(size=(2, 50))
    scale, other_scale = np.exp(RNG.normal(size=(2, 50)))
    found, spread = product_of_normals(*map(tf.constant, (loc, scale, other, other_scale)))
    gain = other_scale**2 / (other_scale**2 + scale**2)
    np.testing.assert_allclose(found, other + gain * (loc - other), rtol=1e-6)
    np.testing.assert_allclose(spread**2, (1 - gain) * other_scale**2, rtol=1e-6)


def test_the_product_is_the_product_of_the_densities():
    grid = np.linspace(-8, 8, 20_001)
    density = scipy.stats.norm.pdf(grid, 0.4, 0.7) * scipy.stats.norm.pdf(grid, -1.1, 1.3)
    density /= np.trapezoid(density, grid)
    mean = np.trapezoid(grid * density, grid)
    spread = np.sqrt(np.trapezoid((grid - mean) ** 2 * density, grid))
    found = product_of_normals(*(tf.constant(each, tf.float64) for each in (0.4, 0.7, -1.1, 1.3)))
    np.testing.assert_allclose(found, [mean, spread], rtol=1e-6)


def filtered_by_hand(model, frames, given=None):
    """Location and scale of q, and of p, for one clip, shape (time, objects, size), frame by frame in NumPy.

    Args:
        frames: shape (time, height, width, channels).
        given: None, or the states, shape (time, objects, size), at which these are; else the means of q.
    """
    said = model.posterior(frames)
    boxes, doubts = said.mean().numpy().astype(np.float64), said.stddev().numpy().astype(np.float64)

    def best(expected, places):
        costs = ((expected[:, None] - places[None]) ** 2).sum(axis=-1)
        return scipy.optimize.linear_sum_assignment(costs)[1]

    objects, hidden, scale = boxes.shape[1], model.hidden_size, model.transition_scale
    order = best(boxes[0, :, 2:], boxes[1, :, 2:])
    speed = boxes[1, order, 2:] - boxes[0, :, 2:]
    unsure = np.hypot(doubts[1, order, 2:], doubts[0, :, 2:])
    still, small = np.zeros((objects, hidden)), np.full((objects, hidden), scale)
    found = [(np.hstack([boxes[0], speed, still]), np.hstack([doubts[0], unsure, small]))]
    priors = [
        (
            np.tile([0.3, 1, 0, 0, 0, 0, *[0] * hidden], (objects, 1)),
            np.tile([0.1, 0.1, 0.6, 0.6, 0.1, 0.1, *[scale] * hidden], (objects, 1)),
        )
    ]
    before = boxes[0], doubts[0]
    for time in range(1, len(frames)):
        z = found[-1][0] if given is None else given[time - 1]
        loc, spread = (each.numpy()[0].astype(np.float64) for each in model.expected(z[None].astype("float32")))
        order = best(loc[:, 2:4], boxes[time, :, 2:])
        now = boxes[time, order], doubts[time, order]
        speed, unsure = now[0][:, 2:] - before[0][:, 2:], np.hypot(now[1][:, 2:], before[1][:, 2:])
        seen, doubt = np.hstack([now[0], speed]), np.hstack([now[1], unsure])
        gain = spread[:, :6] ** 2 / (spread[:, :6] ** 2 + doubt**2)
        q = loc[:, :6] + gain * (seen - loc[:, :6]), np.sqrt(1 - gain) * spread[:, :6]
        found.append((np.hstack([q[0], loc[:, 6:]]), np.hstack([q[1], spread[:, 6:]])))
        priors.append((loc, np.full_like(loc, scale)))
        before = now
    return [np.stack(part) for pair in (found, priors) for part in zip(*pair, strict=True)]


def test_the_filter_is_one_written_out(model):
    posterior = model.encode(X)
    for clip, loc, scale in zip(X, posterior.mean(), posterior.stddev(), strict=True):
        expected = filtered_by_hand(model, clip)
        np.testing.assert_allclose(loc, expected[0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(scale, expected[1], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(model.filtered(X), posterior.mean(), atol=1e-6)


def test_densities_of_the_trace_are_those_of_the_steps(model):
    with sampling(2, fold(4)):
        trace = model(X)
    latent = trace.latents["z"]
    for sample, clip in itertools.product(range(2), range(len(X))):
        z = latent.value[sample, clip].numpy().astype(np.float64)
        loc, scale, prior_loc, prior_scale = filtered_by_hand(model, X[clip], z)
        log_q = scipy.stats.norm.logpdf(z, loc, scale).sum()
        log_p = scipy.stats.norm.logpdf(z, prior_loc, prior_scale).sum()
        np.testing.assert_allclose(latent.log_posterior[sample, clip], log_q, rtol=1e-4)
        np.testing.assert_allclose(latent.log_prior[sample, clip], log_p, rtol=1e-4)
        canvas = model.likelihood.canvas(z[..., :4].astype("float32"))
        log_x = scipy.stats.norm.logpdf(X[clip], canvas, 0.2).sum()
        np.testing.assert_allclose(trace.log_likelihood[sample, clip], log_x, rtol=1e-4)


def test_the_closed_kl_is_that_of_draws(model):
    with sampling(3000, fold(1)):
        latent = model(X[:2]).latents["z"]
    difference = (latent.kl + latent.log_ratio).numpy()  # of mean 0
    error = difference.std(axis=0) / np.sqrt(len(difference))
    assert (np.abs(difference.mean(axis=0)) < 4 * error).all()
    assert (latent.kl.numpy().mean(axis=0) > 100 * error).all()


def test_objects_stay_themselves_when_frames_list_them_in_another_order():
    model, (boxes, velocities) = told(transition_scale=0.01), straight_paths()
    orders = np.stack([[RNG.permutation(3) for _ in range(7)] for _ in range(6)])  # [clips, time, objects]
    orders[:, 0] = np.arange(3)
    shuffled = np.take_along_axis(boxes, orders[..., None], axis=2)
    states = model.filtered(shuffled[..., None]).numpy()
    np.testing.assert_allclose(states[..., :4], boxes, atol=1e-4)
    np.testing.assert_allclose(states[..., 4:6], np.tile(velocities[:, None], (1, 7, 1, 1)), atol=1e-4)


# --- the dynamics -----------------------------------------------------------------------------------------------------


def test_without_a_change_objects_go_straight_on():
    model, (boxes, velocities) = told(transition_scale=0.01), straight_paths()
    _, states = model.rollout(boxes[:, :4, ..., None], 30)
    times = np.arange(1, 31)[:, None, None]
    np.testing.assert_allclose(states[..., 2:4], boxes[:, 3:4, :, 2:] + times * velocities[:, None], atol=2e-3)
    np.testing.assert_allclose(states[..., 4:6], np.tile(velocities[:, None], (1, 30, 1, 1)), atol=1e-4)


def test_a_rollout_is_the_dynamics_one_by_one(model):
    frames, states = model.rollout(X, 6)
    z = model.encode(X).mean()[:, -1]
    for time in range(6):
        z, _ = model.expected(z)
        np.testing.assert_allclose(states[:, time], z, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(frames[:, time], model.likelihood.canvas(z[..., :4]), rtol=1e-3, atol=1e-3)


def test_noise_of_a_rollout_is_that_of_its_seed(model):
    first, again, other = (model.rollout(X, 3, seed, 1.0)[1] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01
    many = model.rollout(np.repeat(X[:1], 2000, axis=0), 2, 5, 1.0)[1]
    loc, _ = model.expected(many[:, 0])
    np.testing.assert_allclose(np.std(many[:, 1] - loc), 0.1, rtol=4 / np.sqrt(2 * 2000 * 24))


def test_draws_of_the_prior_have_its_moments(model):
    z = model.sample_prior(4000, 1)
    assert z.shape == (4000, *model.latent_shape)
    scales = [0.1, 0.1, 0.6, 0.6, 0.1, 0.1, 0.1, 0.1]
    first = z[:, 0].numpy().reshape(-1, 8)
    np.testing.assert_allclose(first.std(axis=0), scales, rtol=4 / np.sqrt(2 * len(first)))
    np.testing.assert_allclose(first.mean(axis=0), [0.3, 1, *[0] * 6], atol=4 * 0.6 / np.sqrt(len(first)))
    loc, _ = model.expected(z[:, :-1])
    np.testing.assert_allclose(np.std(z[:, 1:] - loc), 0.1, rtol=4 / np.sqrt(2 * 4000 * 4 * 24))


@pytest.mark.parametrize("order", [[1, 0, 2], [2, 0, 1]])
def test_the_order_of_objects_means_nothing_to_densities(model, order):
    z = model.sample_prior(4, 2)
    mixed = tf.gather(z, order, axis=2)
    np.testing.assert_allclose(model.decode(mixed).log_prob(X), model.decode(z).log_prob(X), rtol=1e-5)
    for one, other in zip(model.expected(mixed), model.expected(z), strict=True):
        np.testing.assert_allclose(one, tf.gather(other, order, axis=2), rtol=1e-4, atol=1e-5)
    boxes = z[:, 0, :, :4]
    log_p = model.prior().log_prob(boxes)
    np.testing.assert_allclose(model.prior().log_prob(tf.gather(boxes, order, axis=1)), log_p, rtol=1e-5)


# --- how it is run ----------------------------------------------------------------------------------------------------


def test_a_graph_draws_what_is_drawn_eagerly(model):
    def states(x):
        with sampling(2, fold(9)):
            return model(x).latents["z"].value

    np.testing.assert_allclose(tf.function(states)(X), states(X), atol=1e-4)


def test_a_reloaded_model_gives_equal_numbers(model, tmp_path):
    model.save(tmp_path / "stove.keras")
    again = kv.load_model(tmp_path / "stove.keras")
    for one, other in zip(model.rollout(X, 4), again.rollout(X, 4), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(model.encode(X).mean(), again.encode(X).mean())


def test_layers_of_a_trained_image_model_are_those_of_the_whole():
    keras.utils.set_random_seed(0)
    parts = {
        "posterior": kv.ObjectBoxes(2, kv.ObjectEncoder(2, units=6, features=8)),
        "likelihood": kv.PatchImages(FRAME, (3, 3), scale=1.0),
        "prior": kv.ObjectBoxes(2),
    }
    image, whole = kv.VAE(**parts), kv.STOVE(**parts, dynamics=kv.GraphNetwork(4), frames=3)
    whole.build((None, 3, *FRAME))
    image.compile("adam", kv.ELBO(), jit_compile=False)
    before = whole.filtered(X).numpy()
    image.fit(X[:, 0], epochs=3, batch_size=2, verbose=0)
    assert np.abs(whole.filtered(X).numpy() - before).max() > 1e-3
    boxes = image.encode(X[:, 0]).mean()
    np.testing.assert_allclose(whole.filtered(X)[:, 0, :, :4], boxes, atol=1e-6)


def test_arguments_that_do_not_fit_are_refused(model):
    def made(**options):
        return built(**options)

    with pytest.raises(TypeError, match=r"STOVE needs posterior to be a distribution layer.*Received: 3"):
        made(posterior=3)
    with pytest.raises(ValueError, match=r"STOVE needs a posterior of event shape \(objects, 4\).*\(3, 5\)"):
        made(posterior=kv.Normal((3, 5)), prior=kv.Normal((3, 5)))
    with pytest.raises(ValueError, match=r"STOVE needs a prior and a posterior of one event shape.*\(2, 4\)"):
        made(prior=kv.ObjectBoxes(2))
    with pytest.raises(ValueError, match=r"STOVE needs a likelihood of event shape.*of one frame.*\(5, 8, 8, 1\)"):
        made(likelihood=kv.FixedScaleNormal((5, 8, 8, 1)))
    with pytest.raises(ValueError, match=r"STOVE needs frames to be a whole number, 2 or more.*frames=1"):
        made(frames=1)
    with pytest.raises(ValueError, match="STOVE needs transition_scale to be a positive number"):
        made(transition_scale=0.0)
    with pytest.raises(ValueError, match=r"STOVE.rollout needs 2 frames or more.*Received: 1"):
        model.rollout(X[:, :1], 3)
    with pytest.raises(ValueError, match=r"STOVE.rollout needs steps to be a whole number, 1 or more.*steps=0"):
        model.rollout(X, 0)
    with pytest.raises(ValueError, match=r"STOVE.rollout needs frames of shape \(batch, any, 8, 8, 1\)"):
        model.rollout(X[..., :7, :], 3)
    with pytest.raises(ValueError, match=r"STOVE.filtered needs finite frames"):
        model.filtered(np.full_like(X, np.nan))
    with pytest.raises(ValueError, match=r"STOVE needs clips of shape \(batch, 5, 8, 8, 1\)"):
        model.encode(X[:, :3])
    with pytest.raises(ValueError, match=r"STOVE needs clips of about size 1\. Received: whole numbers from 0 to 255"):
        model.predict(np.rint(255 * X / X.max()), verbose=0)
    with pytest.raises(ValueError, match=r"STOVE.rollout needs weights"):
        kv.STOVE(kv.ObjectBoxes(1), kv.GraphNetwork(), kv.PatchImages(FRAME), kv.ObjectBoxes(1)).rollout(X, 2)


def test_an_objective_that_weights_gradients_afterwards_is_refused(model):
    model.compile("adam", kv.DoublyReparameterized(2), jit_compile=False)
    with pytest.raises(TypeError, match="draws outside of loops: train it with IWAE"):
        model.fit(X, verbose=0)


# --- its layers -------------------------------------------------------------------------------------------------------


def test_the_encoder_is_an_lstm_that_sees_the_same_image_each_time():
    keras.utils.set_random_seed(1)
    layer = kv.ObjectEncoder(3, units=5, features=4)
    found = layer(X[:, 0])
    kernel, bias = (weight.numpy() for weight in (layer.image.kernel, layer.image.bias))
    lstm = keras.layers.LSTM(5, return_sequences=True)
    lstm.build((None, 3, 64))
    lstm.set_weights([kernel, layer.state.kernel.numpy(), bias + np.repeat([0, 1, 0, 0], 5)])
    states = lstm(np.repeat(X[:, 0].reshape(4, 1, 64), 3, axis=1))
    np.testing.assert_allclose(found, layer.head(states), atol=1e-6)
    assert found.shape == (4, 3, 4) == layer.compute_output_shape((4, *FRAME))


def test_the_graph_network_is_a_sum_over_others():
    keras.utils.set_random_seed(1)
    layer = kv.GraphNetwork(6)
    objects = RNG.normal(size=(2, 4, 3)).astype("float32")
    found = layer(objects).numpy()
    square = np.zeros((2, 4, 4, 9), "float32")
    for i, j in itertools.product(range(4), range(4)):
        one, other = objects[:, i], objects[:, j]
        square[:, i, j] = np.concatenate([one, other, (one - other) ** 2], axis=-1)
    messages = layer.pairs(square)
    heard = (messages * layer.heard(messages)).numpy()
    sums = np.stack([sum(heard[:, i, j] for j in range(4) if j != i) for i in range(4)], axis=1)
    expected = layer.together(np.concatenate([layer.own(objects), sums], axis=-1))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_the_canvas_is_what_scipy_interpolates():
    layer = kv.PatchImages((9, 7, 2), (4, 5))
    layer.build((None, 2, 4))
    layer.patch_logits.assign(RNG.normal(size=(4, 5, 2)))
    patch = 1 / (1 + np.exp(-layer.patch_logits.numpy()))
    boxes = np.array([[0.5, 1.2, 0.2, -0.1], [0.35, 0.8, -0.6, 0.5]], np.float32)
    dark = np.ones((9, 7, 2))
    rows, columns = ((2 * np.arange(count) + 1) / count - 1 for count in (9, 7))
    for half, ratio, x, y in boxes:
        across, down = (columns - x) / half, (rows - y) / (half * ratio)  # in the frame of the patch
        places = np.meshgrid((down + 1) * 4 / 2 - 0.5, (across + 1) * 5 / 2 - 0.5, indexing="ij")
        for channel in range(2):
            dark[..., channel] *= 1 - scipy.ndimage.map_coordinates(
                patch[..., channel], places, order=1, mode="grid-constant"
            )
    np.testing.assert_allclose(layer.canvas(boxes[None])[0], 1 - dark, atol=1e-5)
    assert layer(boxes[None]).batch_shape == (1,)
    np.testing.assert_allclose(layer(boxes[None]).stddev(), 0.2)


def test_boxes_have_their_prior_and_stay_in_their_range():
    prior = kv.ObjectBoxes(2)()
    value = RNG.normal(size=(5, 2, 4)) * 0.3 + [0.3, 1, 0, 0]
    expected = scipy.stats.norm.logpdf(value, [0.3, 1, 0, 0], [0.1, 0.1, 0.6, 0.6]).sum(axis=(1, 2))
    np.testing.assert_allclose(prior.log_prob(value.astype("float32")), expected, rtol=1e-5)
    layer = kv.ObjectBoxes(2)
    moments = layer.distribution(tf.constant(RNG.normal(size=(100, 2, 4, 2)) * 20, tf.float32))
    loc, scale = moments.mean().numpy(), moments.stddev().numpy()
    assert (loc >= [0.1, 0.75, -0.9, -0.9]).all()
    assert (loc <= [0.5, 1.25, 0.9, 0.9]).all()
    assert scale.min() > 0
    assert scale.max() < 0.302


def test_layers_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match=r"ObjectBoxes needs objects to be a whole number.*objects=0"):
        kv.ObjectBoxes(0)
    with pytest.raises(ValueError, match=r"PatchImages needs images of shape \(height, width, channels\)"):
        kv.PatchImages((8, 8))
    with pytest.raises(ValueError, match=r"PatchImages needs patch_size to be \(height, width\). Received: \(3,\)"):
        kv.PatchImages(FRAME, (3,))
    with pytest.raises(ValueError, match=r"PatchImages.* needs boxes of shape \(..., objects, 4\). Received: .*5"):
        kv.PatchImages(FRAME)(np.zeros((2, 3, 5), "float32"))
    with pytest.raises(ValueError, match="GraphNetwork needs units to be a whole number"):
        kv.GraphNetwork(0)
    with pytest.raises(ValueError, match=r"GraphNetwork needs objects of shape \(batch, objects, size\)"):
        kv.GraphNetwork()(np.zeros((2, 3), "float32"))
    with pytest.raises(ValueError, match="ObjectEncoder needs objects to be a whole number"):
        kv.ObjectEncoder(1.5)


# --- rollout_error ----------------------------------------------------------------------------------------------------


class Oracle:
    """Knows the truth, lists objects in another order, and is off by a known distance."""

    def __init__(self, positions, velocities, given, off=0.0):
        order = [2, 0, 1]
        self.states = np.concatenate([np.ones_like(positions), positions, velocities], axis=-1)[:, :, order]
        self.given, self.off = given, np.array([0, 0, off, 0, 0, 0])

    def filtered(self, frames):
        return self.states[:, : self.given]

    def rollout(self, frames, steps, seed):
        assert frames.shape[1] == self.given
        return None, self.states[:, self.given :][:, :steps] + self.off


def test_the_error_of_a_rollout_is_beside_lines_and_the_physics():
    recipe = kv.datasets.Billiards(frames=30)
    _, truth = recipe.make(20, np.random.default_rng(0))
    frames = np.zeros((20, 30, *FRAME), "float32")
    oracle = Oracle(truth["positions"], truth["velocities"], given=10, off=0.05)
    error = kv.evaluation.rollout_error(
        oracle, frames, truth["positions"], truth["velocities"], steps=20, physics=recipe
    )
    np.testing.assert_allclose(error.model, 0.05, rtol=1e-5)
    assert error.filtered < 1e-6
    assert error.standard_error < 1e-6
    np.testing.assert_allclose(error.physics, 0, atol=1e-3)  # from float32
    x, v = truth["positions"].astype(np.float64), truth["velocities"].astype(np.float64)
    distances = [np.linalg.norm(x[:, 9] + (t + 1) * v[:, 9] - x[:, 10 + t], axis=-1).mean() for t in range(20)]
    np.testing.assert_allclose(error.linear, distances, rtol=1e-6)
    np.testing.assert_allclose(error.ratio, 0.05 / np.mean(distances), rtol=1e-5)
    assert "20 frames: 0.0500 +- 0.0000" in str(error)
    assert kv.evaluation.rollout_error(oracle, frames[:, :12], x[:, :12], v[:, :12], steps=2).physics is None


def test_rollout_error_refuses_what_does_not_fit():
    x = np.zeros((2, 6, 3, 2))
    with pytest.raises(ValueError, match=r"rollout_error needs frames of shape.*Received: \(2, 5, 8, 8, 1\)"):
        kv.evaluation.rollout_error(None, X[:2], x, x)
    with pytest.raises(ValueError, match=r"rollout_error needs steps to leave 2 frames or more.*steps=4 of 5 frames"):
        kv.evaluation.rollout_error(None, X[:2], x[:, :5], x[:, :5], steps=4)
    with pytest.raises(ValueError, match="rollout_error needs steps to be a whole number"):
        kv.evaluation.rollout_error(None, X[:2], x[:, :5], x[:, :5], steps=0)
