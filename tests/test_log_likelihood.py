"""What an estimate of log p(x) says of itself: errors over examples and over draws, k-hat, and the verdict."""

import numpy as np
import pytest
import scipy.stats
from linear_gaussian import LOG_P, X, exact_vae, linear_vae

import keras_vae as kv
from keras_vae.evaluation.pareto import pareto_k, tail_size, threshold


@pytest.mark.parametrize("shape", [-0.3, 0.2, 0.5, 0.9])
def test_k_hat_is_the_shape_of_a_generalised_pareto_distribution(shape):
    """Of draws by SciPy; the standard deviation of the estimate is (1 + k) / sqrt(size), Smith 1987."""
    size, examples = 200, 300
    draws = scipy.stats.genpareto(shape).rvs((size, examples), random_state=1)
    largest = np.sort(np.concatenate([np.zeros((1, examples)), draws]), axis=0)[::-1]
    found = pareto_k(np.log(largest + 1.0))  # above a threshold of 1
    drawn_in = (size * shape + 10 * 0.5) / (size + 10)
    assert np.mean(found) == pytest.approx(drawn_in, abs=0.04), "an estimate that is biased by O(1 / size)"
    assert np.std(found) == pytest.approx((1 + shape) / np.sqrt(size), rel=0.35)
    fits = [scipy.stats.genpareto.fit(column, floc=0)[0] for column in draws.T[:20]]
    np.testing.assert_allclose(found[:20], (size * np.array(fits) + 5) / (size + 10), atol=0.06)


def test_k_hat_of_a_normal_proposal_that_is_too_narrow():
    """q = N(0, s^2) for p = N(0, 1): P(w > t) falls as t^(-1 / (1 - s^2)), up to logarithms of t."""
    rng, samples = np.random.default_rng(0), 100_000
    for variance, low, high in [(0.3, 0.5, 0.85), (0.6, 0.25, 0.5), (1.5, -np.inf, 0.05)]:
        z = rng.normal(scale=np.sqrt(variance), size=(samples, 5))
        log_weights = scipy.stats.norm.logpdf(z) - scipy.stats.norm(scale=np.sqrt(variance)).logpdf(z)
        k = pareto_k(np.sort(log_weights, axis=0)[::-1][: tail_size(samples) + 1])
        assert np.all((low <= k) & (k < high)), (variance, k)


def test_size_of_the_tail_and_threshold():
    assert [tail_size(samples) for samples in (24, 25, 100, 5000)] == [0, 5, 20, 213]
    assert threshold(100) == pytest.approx(0.5)
    assert threshold(10_000) == 0.7
    assert np.isnan(pareto_k(np.zeros((5, 2)))).all()
    assert np.all(pareto_k(np.zeros((6, 2))) == -np.inf)


def test_the_tail_is_that_of_all_draws_in_whatever_chunks():
    """With chunks of 7 draws and a chunk of all draws, from the same noise: the largest of the weights by NumPy."""
    model = linear_vae(shift=0.5)
    for rows in (7 * len(X), 10**6):
        sums, largest = model.weigh(X, 70, 3, rows, 9)
        assert largest.shape == (9, len(X))
        assert np.all(np.diff(largest, axis=0) <= 0)
        _, all_of_them = model.weigh(X, 70, 3, rows, 70)
        np.testing.assert_array_equal(largest, all_of_them[:9])
        np.testing.assert_allclose(sums.log_sum(), np.logaddexp.reduce(all_of_them.numpy(), axis=0), atol=2e-5)


def test_errors_over_the_draws_are_the_spread_over_seeds():
    model = linear_vae(shift=0.3)
    estimates = [kv.evaluation.log_likelihood(model, X[:20], samples=2000, seed=seed, verbose=0) for seed in range(40)]
    spread = np.std([estimate.values for estimate in estimates], axis=0, ddof=1)
    errors = np.mean([estimate.errors for estimate in estimates], axis=0)
    np.testing.assert_allclose(np.sqrt(np.mean(errors**2)), np.sqrt(np.mean(spread**2)), rtol=0.1)
    of_means = np.std([estimate.mean for estimate in estimates], ddof=1)
    assert estimates[0].error_of_draws == pytest.approx(of_means, rel=4 / np.sqrt(2 * 39))
    assert estimates[0].standard_error > 10 * estimates[0].error_of_draws, "over the examples"
    below = LOG_P[:20].mean() - np.mean([estimate.mean for estimate in estimates])
    assert estimates[0].bias == pytest.approx(below, abs=4 * of_means / np.sqrt(40))


def test_verdicts_of_a_good_and_of_a_narrow_posterior():
    good = kv.evaluation.log_likelihood(linear_vae(shift=0.1), X, samples=1000, verbose=0)
    assert good.reliable
    assert good.verdict.startswith("Reliable: k-hat is above 0.67 for ")
    assert str(good).startswith("log p(x) = ")
    narrow = exact_vae()
    narrow.posterior.stddev = [0.1, 0.1]  # the exact ones are 0.26 and 0.62
    bad = kv.evaluation.log_likelihood(narrow, X, samples=1000, verbose=0)
    assert not bad.reliable
    assert np.mean(bad.unreliable) > 0.5
    assert LOG_P.mean() - bad.mean > 3 * bad.error_of_draws, "the error bar is wrong, and the verdict says so"
    assert str(bad).startswith("log p(x) >= ")
    assert "A lower bound only: k-hat is above 0.67 for" in str(bad)
    assert str(bad).endswith("More of them help little: annealed_importance_sampling does.")
    few = kv.evaluation.log_likelihood(linear_vae(shift=0.6), X, samples=30, verbose=0)
    assert not few.reliable
    assert few.verdict.endswith("Take more samples.")
    exact = kv.evaluation.log_likelihood(exact_vae(), X, samples=100, verbose=0)
    assert exact.reliable
    assert exact.error_of_draws < 1e-4


def test_few_draws_get_no_verdict_but_words():
    one = kv.evaluation.log_likelihood(linear_vae(), X, samples=1, verbose=0)
    assert np.isnan(one.errors).all()
    assert not one.reliable
    assert "take 25 or more" in str(one)


def test_bits_are_those_of_discrete_data():
    estimate = kv.evaluation.log_likelihood(linear_vae(), X, samples=3, verbose=0)
    with pytest.raises(TypeError, match=r"needs discrete data.*a density, whose bits depend on the unit"):
        _ = estimate.bits_per_dim
    binary = kv.VAE(kv.Normal(2, kv.dense_encoder(5)), kv.Bernoulli(5, kv.dense_decoder(2)), kv.StandardNormal(2))
    binary.build((None, 5))
    estimate = kv.evaluation.log_likelihood(binary, (X > 0).astype("float32"), samples=3, verbose=0)
    assert estimate.bits_per_dim == pytest.approx(-estimate.mean / (5 * np.log(2)))


def test_file_of_an_earlier_kind_is_refused(tmp_path):
    path = tmp_path / "scores.npz"
    np.savez(path, key="samples=3, seed=0, weights=0, config=0", values=[1.0], sizes=[1], digests=[0])
    with pytest.raises(ValueError, match="log_likelihood needs resume to name a new file"):
        kv.evaluation.log_likelihood(linear_vae(), X, samples=3, resume=path, verbose=0)
