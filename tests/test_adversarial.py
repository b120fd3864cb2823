"""Adversarial training: gradients by hand, the best critic in closed form, and Keras's habits, with GAN and VAE."""

import re

import keras
import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import tensorflow as tf
from cases import GANS, binary_images, conditional, critic, decoder, encoder, gan, hierarchy, image_vae, one_hot, sparse
from conftest import usual_first
from test_conformance import (  # noqa: F401 (these run on the cases of this file)
    test_config_round_trip,
    test_gradients_reach_every_weight,
)

import keras_vae as kv
from keras_vae.callbacks import BackupAndRestore
from keras_vae.distributions.standardized import mean_for_networks
from keras_vae.noise import fold
from keras_vae.objectives.base import scheduled
from keras_vae.sampling import sampling

RNG = np.random.default_rng(0)
VECTORS = RNG.normal(size=(24, 5)).astype("float32")


@pytest.fixture(params=GANS.items(), ids=GANS.keys())
def case(request):
    return request.param[1]


def vector_vae(objective=None, optimizer=None, **options) -> kv.VAE:
    keras.utils.set_random_seed(1)
    model = kv.VAE(kv.Normal(2, encoder(5)), kv.FixedScaleNormal(5, decoder(2)), kv.StandardNormal(2))
    model.build((None, 5))
    objective = objective or kv.Adversarial(critic(5), kv.ELBO(), weight=3.0)
    model.compile(optimizer or {"model": "adam", "critic": "adam"}, objective, **{"jit_compile": False} | options)
    return model


def vector_gan(**options) -> kv.GAN:
    keras.utils.set_random_seed(1)
    model = kv.GAN(kv.FixedScaleNormal(5, decoder(2)), kv.StandardNormal(2))
    model.build((None, 5))
    optimizers = {"model": "adam", "critic": "adam"}
    model.compile(optimizers, kv.Adversarial(critic(5)), **{"jit_compile": False} | options)
    return model


MODELS = {"VAE": vector_vae, "GAN": vector_gan}


def states(model) -> list[np.ndarray]:
    return [variable.numpy() for variable in model.weights + model.optimizer.variables]


def check_equal(one, other) -> None:
    for a, b in zip(states(one), states(other), strict=True):
        np.testing.assert_array_equal(a, b)


# --- the numbers -----------------------------------------------------------------------------------------------------


def plain_critic() -> keras.Model:
    return keras.Sequential([keras.Input((5,)), keras.layers.Dense(4, "tanh"), keras.layers.Dense(1)])


def log_sigmoid(logits):
    return tf.math.log(1 / (1 + tf.exp(-logits)))  # as it is written in the papers


def test_a_step_is_that_of_gradients_by_hand():
    """The encoder descends the bound, the decoder that and the generator's loss, the critic its own."""
    objective = kv.Adversarial(plain_critic(), kv.ELBO(), weight=3.0)
    model = vector_vae(objective, {"model": keras.optimizers.SGD(0.1), "critic": keras.optimizers.SGD(0.3)})
    before = {weight.path: weight.numpy() for weight in model.trainable_weights}
    with sampling(1, fold(model.seed, 0, 0, 0, 0)):
        trace = model(VECTORS)
        _, generated = trace.real_and_generated()
    z = trace.latents["z"].value[0]
    # What was drawn of the prior, from what the decoder has made of it.
    drawn = sampling_seeds_of_prior(model)
    np.testing.assert_allclose(generated[0], model.decode(drawn).mean(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(generated[1], model.decode(z).mean(), rtol=1e-5, atol=1e-6)
    weights = {
        "encoder": model.posterior.trainable_weights,
        "decoder": model.likelihood.trainable_weights,
        "critic": objective.critic.trainable_weights,
    }
    with tf.GradientTape(persistent=True) as tape:
        with sampling(1, fold(model.seed, 0, 0, 0, 0)):
            trace = model(VECTORS)
        bound = tf.reduce_mean(trace.kl - trace.log_likelihood)
        made = [model.decode(drawn).mean(), model.decode(z).mean()]
        logits = tf.concat([objective.critic(each) for each in made], axis=0)
        fooling = -tf.reduce_mean(log_sigmoid(logits))
        judging = -tf.reduce_mean(log_sigmoid(objective.critic(VECTORS))) - tf.reduce_mean(log_sigmoid(-logits))
    of_bound = tape.gradient(bound, weights["encoder"] + weights["decoder"])
    of_fooling = tape.gradient(fooling, weights["decoder"])
    steps = {weight.path: -0.1 * each for weight, each in zip(weights["encoder"], of_bound, strict=False)}
    for weight, each, other in zip(weights["decoder"], of_bound[len(weights["encoder"]) :], of_fooling, strict=True):
        steps[weight.path] = -0.1 * (each + 3 * other)
    of_judging = tape.gradient(judging, weights["critic"])
    steps |= {weight.path: -0.3 * each for weight, each in zip(weights["critic"], of_judging, strict=True)}
    logs = model.train_on_batch(VECTORS, return_dict=True)
    assert logs["loss"] == pytest.approx(float(bound + 3 * fooling), rel=1e-5)
    assert logs["loss_critic"] == pytest.approx(float(judging), rel=1e-5)
    assert set(steps) == set(before)
    for weight in model.trainable_weights:
        moved = weight.numpy() - before[weight.path]
        assert np.abs(moved).max() > 0
        np.testing.assert_allclose(moved, steps[weight.path], rtol=1e-4, atol=1e-6, err_msg=weight.path)


def sampling_seeds_of_prior(model) -> tf.Tensor:
    """z of the prior of the first step: the second random variable of its trace."""
    return model.prior().sample([len(VECTORS)], seed=fold(fold(model.seed, 0, 0, 0, 0), 2))


class Quadratic(keras.layers.Layer):
    """x and x^2, of which the log-ratio of two normal densities is linear."""

    def call(self, x):
        return keras.ops.concatenate([x, x**2], axis=-1)


def test_the_best_critic_is_the_log_ratio_of_the_densities():
    """A generator of N(0.5, 0.8^2) that stands still, data of N(-0.3, 1.2^2): within errors of logistic regression."""
    count, steps = 2000, 300
    x = RNG.normal(-0.3, 1.2, size=(count, 1)).astype("float32")
    judge = keras.Sequential([keras.Input((1,)), Quadratic(), keras.layers.Dense(1)])
    model = kv.GAN(kv.FixedScaleNormal(1), kv.StandardNormal(1))
    model.build((None, 1))
    for weight in model.likelihood.trainable_weights:
        weight.assign(np.full(weight.shape, 0.8 if len(weight.shape) == 2 else 0.5))
    rate = keras.optimizers.schedules.CosineDecay(0.1, steps)
    model.compile({"model": keras.optimizers.SGD(0.0), "critic": keras.optimizers.Adam(rate)}, kv.Adversarial(judge))
    model.fit(x, epochs=steps, batch_size=count, verbose=0)
    points = np.linspace(-2.5, 2, 10, dtype="float32")[:, None]
    expected = scipy.stats.norm.logpdf(points, -0.3, 1.2) - scipy.stats.norm.logpdf(points, 0.5, 0.8)
    features = np.concatenate([np.ones_like(points), points, points**2], axis=1)
    drawn = RNG.normal(0.5, 0.8, size=(count, 1))
    both = np.concatenate([x, drawn])
    design = np.concatenate([np.ones_like(both), both, both**2], axis=1)
    ratio = scipy.stats.norm.logpdf(both, -0.3, 1.2) - scipy.stats.norm.logpdf(both, 0.5, 0.8)
    share = 1 / (1 + np.exp(-ratio))
    information = design.T @ (share * (1 - share) * design)
    errors = np.sqrt(np.sum(features @ np.linalg.inv(information) * features, axis=1, keepdims=True))
    got = np.asarray(judge(points))
    assert np.abs((got - expected) / errors).max() < 4
    assert errors.max() < 0.3, "the test can tell"


def test_a_gan_learns_a_distribution():
    """The mean of N(2, 1), by z + b: at the end the best critic can tell nothing."""
    x = RNG.normal(2.0, 1.0, size=(1000, 1)).astype("float32")
    keras.utils.set_random_seed(0)
    model = kv.GAN(kv.FixedScaleNormal(1), kv.StandardNormal(1))
    model.build((None, 1))
    model.likelihood.head.kernel.assign([[1.0]])
    optimizers = {"model": keras.optimizers.SGD(0.05), "critic": keras.optimizers.SGD(0.5)}
    model.compile(optimizers, kv.Adversarial(keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])))
    logs = model.fit(x, epochs=30, batch_size=100, verbose=0).history
    made = model.generate(5000, seed=0).numpy()
    assert made.mean() == pytest.approx(x.mean(), abs=0.1)
    assert logs["loss_critic"][-1] == pytest.approx(2 * np.log(2), abs=0.02)


def test_losses_are_finite_where_the_critic_is_sure():
    sure = keras.layers.Dense(1, kernel_initializer=keras.initializers.Constant(1e4))
    model = vector_vae(kv.Adversarial(keras.Sequential([keras.Input((5,)), sure]), kv.ELBO()))
    logs = model.train_on_batch(VECTORS, return_dict=True)
    assert np.isfinite([*logs.values()]).all()


def test_evaluation_has_the_bound_alone():
    """The critic moves: two models that differ in it alone have one loss."""
    model = vector_vae()
    logs = model.evaluate(VECTORS, verbose=0, return_dict=True)
    assert logs["loss"] == pytest.approx(logs["kl"] - logs["log_likelihood"], rel=1e-6)
    assert logs["loss_critic"] > 0
    assert model.evaluate(VECTORS, verbose=0, return_dict=True) == logs
    model.loss.critic.layers[-1].bias.assign([5.0])
    moved = model.evaluate(VECTORS, verbose=0, return_dict=True)
    assert moved["loss"] == logs["loss"]
    assert moved["loss_critic"] > logs["loss_critic"] + 1


def test_the_weight_is_scheduled():
    model = vector_vae(kv.Adversarial(critic(5), kv.ELBO(beta=2.0), weight=4.0))
    schedules = [
        kv.callbacks.LinearSchedule(name, 0.0, end, epochs=1) for name, end in {"weight": 4, "beta": 2}.items()
    ]
    log = model.fit(VECTORS, epochs=2, verbose=0, callbacks=schedules).history
    bound = np.array(log["beta"]) * log["kl"] - log["log_likelihood"]
    assert log["weight"] == [0.0, 4.0]
    assert log["loss"][0] == pytest.approx(bound[0], rel=1e-5)
    assert log["loss"][1] > bound[1] + 1


@pytest.mark.slow
def test_a_weight_of_0_counts_an_example_as_none():
    """Its values then make no difference, and an example of weight 2 counts twice in the logs."""
    models = [vector_vae(), vector_vae()]
    weights = np.ones(24, "float32")
    weights[::2] = 0.0
    other = VECTORS.copy()
    other[::2] = 7.0
    logs = [
        model.train_on_batch(x, sample_weight=weights, return_dict=True)
        for model, x in zip(models, (VECTORS, other), strict=True)
    ]
    assert logs[0] == logs[1]
    check_equal(*models)


@pytest.mark.parametrize("likelihood", [kv.Bernoulli, kv.DiscretizedLogistic], ids=["Bernoulli", "levels"])
def test_networks_see_fractions_of_grey_levels_with_gradients(likelihood):
    layer = kv.GreyLevels(likelihood((2, 2, 1), decoder(3)))
    z = tf.constant(RNG.normal(size=(6, 3)), tf.float32)
    layer.build((None, 3))
    with tf.GradientTape() as tape:
        seen = mean_for_networks(layer(z))
    np.testing.assert_allclose(seen, layer(z).mean() / 255, atol=0.5 / 255)
    assert np.abs(tape.gradient(seen, layer.trainable_weights)[0]).max() > 0


@pytest.mark.parametrize("log_scale", [-12.0, -3.0, 0.0, 2.0])
def test_the_mean_before_rounding(log_scale):
    """E clip(x) = low + the integral of P(x > t), from low to high, by SciPy."""
    layer = kv.DiscretizedLogistic(3, levels=5, low=-1.0, high=3.0)
    params = tf.stack([tf.constant([-0.9, 0.2, 1.3]), tf.fill([3], log_scale)], axis=-1)
    got = mean_for_networks(layer.distribution(params))
    for value, loc in zip(got.numpy(), 1 + 2 * np.array([-0.9, 0.2, 1.3]), strict=True):
        points = np.linspace(-1, 3, 400_001)
        above = scipy.stats.logistic.sf(points, loc, 0.5 * np.exp(log_scale))
        assert value == pytest.approx(-1 + scipy.integrate.trapezoid(above, points), abs=1e-4)
    exact = layer.distribution(params).mean()
    assert np.abs(got - exact).max() <= 0.5 + 1e-5  # half a step


# --- Keras's habits --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", usual_first(MODELS, "VAE"))
def test_a_resumed_run_equals_an_uninterrupted_one(kind, tmp_path):
    def run(epochs, folder):
        model = MODELS[kind]()
        model.fit(VECTORS, batch_size=8, epochs=epochs, verbose=0, callbacks=[BackupAndRestore(tmp_path / folder)])
        return model

    run(2, "interrupted")
    check_equal(run(4, "interrupted"), run(4, "whole"))


@pytest.mark.parametrize("kind", usual_first(MODELS, "VAE"))
def test_a_reloaded_model_goes_on_equally(kind, tmp_path):
    model = MODELS[kind]()
    model.fit(VECTORS, batch_size=8, verbose=0)
    model.save(tmp_path / "model.keras")
    again = kv.load_model(tmp_path / "model.keras")
    assert again.loss.critic is again.objective_layers[0]
    for each in (model, again):
        each.fit(VECTORS, batch_size=8, epochs=2, initial_epoch=1, verbose=0)
    check_equal(model, again)


@pytest.mark.parametrize("kind", MODELS)
def test_a_step_that_is_not_finite_stops(kind):
    x = VECTORS.copy()
    x[13] = np.nan  # in the second batch of 8
    model, good = MODELS[kind](), MODELS[kind]()
    with pytest.raises(FloatingPointError, match=rf"{kind}.fit stopped in epoch 1 at step 2: .*loss_critic is nan"):
        model.fit(tf.data.Dataset.from_tensor_slices(x).batch(8), verbose=0)
    good.fit(tf.data.Dataset.from_tensor_slices(VECTORS[:8]).batch(8), verbose=0)
    check_equal(model, good)


@pytest.mark.slow
@pytest.mark.parametrize("kind", usual_first(MODELS, "VAE"))
def test_xla_and_several_steps_for_each_call_change_nothing(kind):
    plain, compiled = MODELS[kind](), MODELS[kind](jit_compile=True)
    for model in (plain, compiled):
        model.fit(VECTORS, batch_size=4, epochs=2, verbose=0)
    for a, b in zip(states(plain), states(compiled), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_a_critic_with_moving_means_updates_them_in_its_own_training_alone():
    judge = keras.Sequential([keras.Input((5,)), keras.layers.BatchNormalization(), keras.layers.Dense(1)])
    model = vector_vae(kv.Adversarial(judge, kv.ELBO()))
    moving = judge.layers[0].moving_mean
    model.evaluate(VECTORS, verbose=0)
    with sampling(1, fold(0)), scheduled({}):
        trace = model(VECTORS)
        model.loss(trace)
        np.testing.assert_array_equal(moving, np.zeros(5))
        model.loss.losses(trace)
    assert np.abs(moving.numpy()).min() > 0


def test_a_critic_of_convolutions_is_not_compiled_by_xla_on_a_cpu():
    judge = keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.Conv2D(4, 3), keras.layers.Flatten(), keras.layers.Dense(1)]
    )
    model = image_vae()
    model.compile("adam")
    assert model.jit_compile
    model.compile("adam", kv.Adversarial(judge, kv.ELBO()))
    assert not model.jit_compile or tf.config.list_logical_devices("GPU")


# --- models and objectives -------------------------------------------------------------------------------------------


def test_what_a_conditional_model_makes_is_of_the_conditions_of_its_batch():
    model, x, y = conditional(), binary_images((5,)), one_hot()
    model.compile({"model": "adam", "critic": "adam"}, kv.Adversarial(critic(5), kv.ELBO()), jit_compile=False)
    model.fit(x, y, epochs=2, verbose=0)
    seed = fold(3)
    with sampling(1, seed):
        trace = model((x, y))
        real, generated = trace.real_and_generated()
    np.testing.assert_array_equal(real, x)
    drawn = model.prior_distribution(y).sample(seed=fold(seed, 2))
    np.testing.assert_allclose(generated[0], model.decode(drawn, y).mean(), rtol=1e-5)
    np.testing.assert_allclose(generated[1], model.decode(trace.latents["z"].value[0], y).mean(), rtol=1e-5)


@pytest.mark.parametrize(
    "objective", usual_first([kv.DoublyReparameterized(2), kv.InfoVAE(samples=2)], kv.IWAE(3)), ids=repr
)
def test_any_objective_trains_the_encoder(objective):
    model = vector_vae(kv.Adversarial(critic(5), objective))
    assert np.isfinite(model.fit(VECTORS, epochs=2, verbose=0).history["loss"]).all()


def test_terms_of_the_model_keep_their_weights():
    logs = []
    for objective in (
        kv.Adversarial(critic(5), kv.Weighted(kv.ELBO(), {"size": 3.0})),
        kv.Weighted(kv.Adversarial(critic(5), kv.ELBO()), {"size": 3.0}),
    ):
        keras.utils.set_random_seed(0)
        model = sparse()
        model.compile("adam", objective, jit_compile=False)
        logs.append(model.evaluate(binary_images((5,)), verbose=0, return_dict=True))
        bound = logs[-1]["kl"] - logs[-1]["log_likelihood"]
        assert logs[-1]["loss"] == pytest.approx(bound + 3 * logs[-1]["size"], rel=1e-5)


def test_the_images_of_a_trace_are_made_once_and_only_when_asked_for():
    model, seen = vector_vae(), []
    decode = type(model).decode
    model.decode = lambda z: seen.append(z.shape) or decode(model, z)
    with sampling(1, fold(0)):
        trace = model(VECTORS)
        assert seen == [(1, 24, 2)]
        assert model.loss.losses(trace).keys() == {"critic"}
        with scheduled({}):
            model.loss(trace)
    assert seen == [(1, 24, 2), (2, 24, 2)]


# --- what is refused -------------------------------------------------------------------------------------------------

ANSWERS = {
    "predict": lambda model, x: model.predict(x, verbose=0),
    "reconstruct": lambda model, x: model.reconstruct(x),
    "encode": lambda model, x: model.encode(x),
    "importance_weights": lambda model, x: model.importance_weights(x, 3),
    "log_likelihood": lambda model, x: kv.evaluation.log_likelihood(model, x, samples=3, verbose=0),
    "diagnose": lambda model, x: kv.evaluation.diagnose(model, x),
    "anomaly_scores": lambda model, x: kv.evaluation.anomaly_scores(model, x),
    "annealed": lambda model, x: kv.evaluation.annealed_importance_sampling(model, x, verbose=0),
    "reconstructions": lambda model, x: kv.plotting.reconstructions(model, x),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_gan_refuses_what_needs_an_encoder(name):
    model = gan()
    model.build((None, 8, 8, 1))
    with pytest.raises(TypeError, match=r"GAN has no encoder, and so .*Received: examples"):
        ANSWERS[name](model, 255 * binary_images())


@pytest.mark.parametrize(
    "objective", [kv.ELBO(), kv.IWAE(2), kv.VIMCO(2), kv.ScoreFunction(), kv.InfoVAE(), kv.BetaTC(2.0, 12)], ids=repr
)
def test_other_objectives_refuse_a_gan(objective):
    for each in (objective, kv.Adversarial(critic(5), objective)):
        model = vector_gan()
        model.compile("adam", each, jit_compile=False)
        words = f"{type(objective).__name__} needs a model that infers the latent variables .*such as GAN"
        with pytest.raises(TypeError, match=words):
            model.fit(VECTORS, verbose=0)


def test_a_gan_has_no_bound_to_evaluate():
    model = vector_gan()
    model.compile("adam", kv.ELBO(), jit_compile=False)
    with pytest.raises(TypeError, match=r"log p\(x \| z\) needs a model that infers z"):
        model.evaluate(VECTORS, verbose=0)


def test_what_can_not_be_trained_is_refused():
    model = vector_vae(kv.Adversarial(critic(5)))
    with pytest.raises(TypeError, match=r"needs an objective for the encoder .*Received: objective=None"):
        model.fit(VECTORS, verbose=0)
    for other in (kv.Autoencoder(keras.layers.Dense(2), kv.FixedScaleNormal(5)), hierarchy()):
        other.compile("adam", kv.Adversarial(critic(5), kv.ELBO()))
        with pytest.raises(TypeError, match="Adversarial needs a model whose trace has real_and_generated"):
            other.fit(binary_images((5,)), verbose=0)
    model = vector_vae(kv.Adversarial(keras.layers.Dense(3), kv.ELBO()))
    with pytest.raises(ValueError, match=re.escape("to one logit, (batch, 1). Received: a critic to ('batch', 3)")):
        model.fit(VECTORS, verbose=0)
    with pytest.raises(TypeError, match="Adversarial needs critic to be a Keras network"):
        kv.Adversarial("critic", kv.ELBO())
    with pytest.raises(TypeError, match="Adversarial needs an objective, such as ELBO"):
        kv.Adversarial(critic(5), "elbo")
    with pytest.raises(ValueError, match="Adversarial needs weight to be a number, 0 or more"):
        kv.Adversarial(critic(5), kv.ELBO(), weight=-1.0)


def test_a_gan_needs_layers_and_a_prior_that_its_gradient_reaches():
    with pytest.raises(TypeError, match="GAN needs prior to be a distribution layer"):
        kv.GAN(kv.Bernoulli(5, decoder(2)), "normal")
    with pytest.raises(TypeError, match=r"GAN needs a prior whose draws carry gradients .*Received: Bernoulli"):
        kv.GAN(kv.Bernoulli(5, decoder(2)), kv.Bernoulli(2)).build((None, 5))
