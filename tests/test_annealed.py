"""Annealed importance sampling between its two bounds, against closed forms."""

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from conftest import usual_first
from linear_gaussian import LOG_P, MEAN, SIZE, VARIANCE, W, X, exact_vae, linear_vae

import keras_vae as kv
from keras_vae.evaluation import annealed_importance_sampling, simulate

EXACT = scipy.stats.multivariate_normal(MEAN, W @ W.T + VARIANCE * np.eye(SIZE))
QUICK = {"temperatures": 100, "leapfrog_steps": 5, "verbose": 0}


@pytest.fixture(scope="module")
def narrow():
    """The linear model with a posterior far too narrow, where importance sampling says little."""
    model = exact_vae(shift=0.2)
    model.posterior.stddev = [0.12, 0.25]  # the exact ones are 0.26 and 0.62
    return model


@pytest.fixture(scope="module")
def bounds(narrow):
    simulated = simulate(narrow, 30, seed=3)
    return simulated, annealed_importance_sampling(narrow, simulated, chains=40, **QUICK)


def test_both_bounds_hold_the_closed_form_within_three_errors(bounds):
    simulated, found = bounds
    exact = EXACT.logpdf(simulated.inputs)
    sides = [(found.lower, found.lower_errors, 1.0), (found.upper, found.upper_errors, -1.0)]
    for values, errors, sign in sides:
        mean_error = np.sqrt(np.sum(errors**2)) / len(errors)
        low = np.mean(errors**2) / 2  # how far the logarithm of a mean lies below, or above (delta method)
        assert mean_error < 0.06
        assert np.mean(values - exact) + sign * low == pytest.approx(0, abs=3 * mean_error)
        assert np.median(np.abs(values - exact) / errors) < 1.5
    assert found.gap == pytest.approx(np.mean(found.upper - found.lower))
    assert found.gap < 3 * found.gap_error + 0.1
    assert np.all((found.accepted > 0.3) & (found.accepted <= 1))


def test_the_bound_is_better_than_importance_sampling(narrow, bounds):
    simulated, found = bounds
    sampled = kv.evaluation.log_likelihood(narrow, simulated.inputs, samples=40, verbose=0)
    assert not sampled.reliable
    exact = EXACT.logpdf(simulated.inputs).mean()
    assert exact - sampled.mean > 5 * abs(exact - found.mean)


def test_data_of_the_world_have_a_lower_bound(narrow):
    found = annealed_importance_sampling(narrow, X, chains=40, **QUICK)
    assert found.upper is None
    assert found.gap is None
    assert found.mean == pytest.approx(LOG_P.mean(), abs=4 * found.error_of_chains + 0.05)
    assert str(found).startswith(f"log p(x) >= {found.mean:.3f} +- ")
    assert "Data of `simulate` give an upper bound too" in str(found)


def test_simulated_data_are_those_of_sample(narrow):
    simulated = simulate(narrow, 20_000, seed=1)
    np.testing.assert_array_equal(simulated.inputs, narrow.sample(20_000, seed=1))
    residual = simulated.inputs - simulated.latents["z"] @ W.T - MEAN
    assert residual.var() == pytest.approx(VARIANCE, rel=0.03), "of x given the z that come with it"


def test_groups_of_chains_fit_into_memory_and_batches_go_on_from_a_file(narrow, tmp_path, monkeypatch):
    """Groups of chains have seeds of their own, so the numbers differ, within their errors."""
    from keras_vae.evaluation import annealed
    from keras_vae.serving import draw_bytes

    path, options = tmp_path / "bounds.npz", QUICK | {"batch_size": 10, "chains": 12}
    simulated = simulate(narrow, 20, seed=3)
    whole = annealed_importance_sampling(narrow, simulated, **options)
    memory = 5 * 10 * annealed.GRADIENT * draw_bytes(narrow)
    parts = annealed_importance_sampling(narrow, simulated, memory=memory, resume=path, **options)
    assert len(parts.lower) == 20
    errors = np.hypot(whole.error_of_chains, parts.error_of_chains)
    assert whole.mean == pytest.approx(parts.mean, abs=4 * errors)
    with pytest.raises(ValueError, match=r"needs memory for one chain.*memory=100 bytes, a batch of 10"):
        annealed_importance_sampling(narrow, simulated, memory=100, **options)
    monkeypatch.setattr(annealed._Chains, "bounds", None)  # all is in the file
    again = annealed_importance_sampling(narrow, simulated, memory=memory, resume=path, **options)
    np.testing.assert_array_equal(again.upper, parts.upper)
    with pytest.raises(ValueError, match="annealed_importance_sampling needs resume to name a new file"):
        annealed_importance_sampling(narrow, simulated, resume=path, **options | {"chains": 3})


@pytest.mark.parametrize("kind", usual_first(["layers", "conditions"], "conditions"))
def test_layers_of_latents_and_conditions(kind):
    dense = kv.dense_encoder
    deep = kv.HierarchicalVAE(
        [kv.Normal(2, dense(6)), kv.Normal(1, dense(2))],
        kv.Bernoulli(6, kv.dense_decoder(2)),
        [kv.Normal(2, kv.dense_decoder(1)), kv.StandardNormal(1)],
    )
    deep.build((None, 6))
    given = kv.ConditionalVAE(
        kv.Normal(2, kv.Concatenated(dense(6 + 3))),
        kv.Bernoulli(6, kv.Concatenated(kv.dense_decoder(2 + 3))),
        kv.StandardNormal(2),
        condition_shape=3,
    )
    given.build((None, 6))
    labels = np.eye(3, dtype="float32")[np.arange(9) % 3]
    model, count = {"layers": (deep, 9), "conditions": (given, labels)}[kind]
    simulated = simulate(model, count, seed=1)
    found = annealed_importance_sampling(model, simulated, 60, chains=20, leapfrog_steps=2, verbose=0)
    exact = model.importance_weights(tf.nest.map_structure(tf.constant, simulated.inputs), 4000, seed=2)[0]
    spread = 4 * found.error_of_chains + 0.02
    assert found.mean == pytest.approx(np.mean(exact), abs=spread)
    assert found.upper.mean() == pytest.approx(np.mean(exact), abs=spread)


@pytest.mark.parametrize(
    ("posterior", "prior", "received"),
    [
        (kv.Bernoulli, kv.Bernoulli, "a VAE, whose z is drawn from a IndependentBernoulli"),
        (kv.PowerSpherical, kv.SphericalUniform, "a VAE with PowerSpherical, whose draws are points of the sphere"),
    ],
)
def test_latents_that_are_no_real_numbers_are_refused(posterior, prior, received):
    model = kv.VAE(posterior(3, kv.dense_encoder(5)), kv.FixedScaleNormal(5, kv.dense_decoder(3)), prior(3))
    model.build((None, 5))
    needs = "annealed_importance_sampling needs a model whose latent variables are real numbers, always there. Received"
    with pytest.raises(TypeError, match=f"{needs}: {received}"):
        annealed_importance_sampling(model, X, **QUICK)


@pytest.mark.parametrize("temperatures", [1, 0, True, [0.0, 0.5], [0.1, 1.0], [0.0, 0.6, 0.5, 1.0], [[0.0, 1.0]]])
def test_temperatures_that_do_not_rise_from_0_to_1_are_refused(temperatures, narrow):
    with pytest.raises(ValueError, match=r"annealed_importance_sampling needs .*temperatures"):
        annealed_importance_sampling(narrow, X, temperatures, verbose=0)


def test_a_model_that_can_not_be_simulated_is_refused():
    class Own(kv.LatentVariableModel):
        pass

    with pytest.raises(TypeError, match=r"simulate needs a model with a method sample_prior.*Received: a Own"):
        simulate(Own(), 3)


@pytest.mark.slow
def test_few_temperatures_are_unbiased_too():
    """Of p(x), before the logarithm: the mean of many chains' weights, against the density."""
    model = linear_vae(shift=1.0)
    found = annealed_importance_sampling(model, X[:5], temperatures=8, chains=4000, leapfrog_steps=2, verbose=0)
    np.testing.assert_allclose(found.lower, LOG_P[:5], atol=5 * found.lower_errors.max())
    assert found.lower_errors.max() < 0.1
