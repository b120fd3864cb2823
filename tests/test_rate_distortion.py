"""Sweeps over beta: against the closed form of the linear-Gaussian model, resumed, and refused before the first fit.

With p(x | z) = N(W z + mean, v I) and beta, the optimum is that of probabilistic PCA with the noise tau = beta v: each
principal axis of variance above tau gets a unit, which loses tau of it; all others lose their variance. Rate and
distortion are those of reverse water-filling (Cover & Thomas 2006, section 10.3.3).
"""

import keras
import numpy as np
import pytest

import keras_vae as kv
from keras_vae.evaluation import rate_distortion

SIZE, LATENT, VARIANCE, EPOCHS = 5, 3, 0.25, 20
VARIANCES = np.array([4.0, 1.6, 0.7, 0.3, 0.2])  # of the data along their principal axes
RNG = np.random.default_rng(0)
WHITE = RNG.normal(size=(1000, SIZE))
WHITE = np.linalg.svd(WHITE - WHITE.mean(axis=0), full_matrices=False)[0] * np.sqrt(1000)  # covariance exactly I
AXES = np.linalg.qr(RNG.normal(size=(SIZE, SIZE)))[0]
X = (WHITE * np.sqrt(VARIANCES) @ AXES + 1).astype(np.float32)
BETAS = (4.0, 0.5, 1.0, 20.0)


def optimum(beta: float) -> tuple[float, float, int]:
    """Rate, distortion and the number of units that are used."""
    water = beta * VARIANCE
    lost = np.where(np.arange(SIZE) < LATENT, np.minimum(VARIANCES, water), VARIANCES)
    rate = 0.5 * np.log(VARIANCES / lost).sum()
    return rate, 0.5 * SIZE * np.log(2 * np.pi * VARIANCE) + lost.sum() / (2 * VARIANCE), int((lost == water).sum())


def linear_vae(loss=None) -> kv.VAE:
    """Its units are along the principal axes, for they turn slowly; all else is to be learned."""
    likelihood = kv.FixedScaleNormal(SIZE, scale=VARIANCE**0.5)
    model = kv.VAE(kv.Normal(LATENT), likelihood, kv.StandardNormal(LATENT))
    steps = keras.optimizers.schedules.CosineDecay(0.05, EPOCHS * 20)
    model.compile(keras.optimizers.Adam(steps), loss or kv.ELBO(samples=4))
    model.build((None, SIZE))
    encoder, decoder = np.zeros((SIZE, LATENT, 2)), AXES[:LATENT]  # a mean and a scale of each unit
    encoder[..., 0] = decoder.T / 2
    model.posterior.head.set_weights([encoder.reshape(SIZE, -1), np.zeros(2 * LATENT)])
    model.likelihood.head.set_weights([decoder, np.zeros(SIZE)])
    return model


@pytest.fixture(scope="module")
def model():
    return linear_vae()


@pytest.fixture(scope="module")
def start(model):
    return model.get_weights()


@pytest.fixture(scope="module")
def found(model, start):
    return rate_distortion(model, X, X, BETAS, epochs=EPOCHS, batch_size=50, samples=50, verbose=0)


def test_points_are_those_of_the_closed_form(found):
    assert [point.beta for point in found.points] == sorted(BETAS)
    for point in found.points:
        rate, distortion, units = optimum(point.beta)
        assert point.rate.mean == pytest.approx(rate, abs=0.03)
        assert point.distortion.mean == pytest.approx(distortion, abs=0.05)
        assert point.rate.mean + point.beta**-1 * point.distortion.mean > rate + point.beta**-1 * distortion - 0.02
        assert point.active_units == units
        assert point.elbo.mean == pytest.approx(-point.rate.mean - point.distortion.mean)
    assert found.best.beta == 1.0
    assert (np.diff([point.rate.mean for point in found.points]) < 0).all()
    assert (np.diff([point.distortion.mean for point in found.points]) > 0).all()


def test_errors_are_those_over_the_examples(found):
    values = found.points[0].distortion.values
    assert values.shape == (len(X),)
    assert found.points[0].distortion.standard_error == pytest.approx(values.std(ddof=1) / np.sqrt(len(X)), rel=1e-5)


def test_it_prints_a_table(found, model, capsys):
    title, heading, *lines = str(found).split("\n")
    assert title == "Rate and distortion of 1,000 examples, nats per example +- standard error:"
    assert heading.split() == ["beta", "rate", "(KL)", "distortion", "ELBO", "active", "units"]
    assert [line.split()[0] for line in lines] == ["0.5", "1", "4", "20"]
    assert all(len(line) == len(heading) for line in lines)
    assert lines[1].split()[1:4] == [f"{found.best.rate.mean:.2f}", "+-", f"{found.best.rate.standard_error:.2f}"]
    short = rate_distortion(model, X, X, [2], epochs=1, batch_size=50)
    assert capsys.readouterr().out == "\n".join(str(short).split("\n")[1:]) + "\n"


def test_the_model_is_left_as_it_was_and_takes_the_weights_of_a_point(found, model, start):
    for now, before in zip(model.get_weights(), start, strict=True):
        np.testing.assert_array_equal(now, before)
    assert int(model.optimizer.iterations) == 0
    assert float(model.scheduled_numbers["beta"]) == 1.0
    point = found.points[2]
    model.set_weights(point.weights)
    rates = kv.evaluation.bounds(model, X, 50, batch_size=50).kl
    model.set_weights(start)
    np.testing.assert_array_equal(rates, point.rate.values)


def test_a_point_is_a_fit_with_its_beta(model, start):
    _, point = rate_distortion(model, X, X, [0.5, 4.0], epochs=2, batch_size=50, verbose=0).points
    fresh = [variable.numpy() for variable in model.optimizer.variables]
    schedule = kv.callbacks.LinearSchedule("beta", start=4.0, end=4.0)
    logs = model.fit(X, epochs=2, batch_size=50, verbose=0, callbacks=[schedule]).history
    assert logs["beta"] == [4.0, 4.0]
    for trained, expected in zip(point.weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(trained, expected)
    model.set_weights(start)
    for variable, value in zip(model.optimizer.variables, fresh, strict=True):
        variable.assign(value)
    model.scheduled_numbers["beta"].assign(1.0)


def test_an_interrupted_sweep_goes_on(model, start, tmp_path, monkeypatch):
    options = {"epochs": 2, "batch_size": 50, "verbose": 0}
    whole = rate_distortion(model, X, X[:60], (0.5, 2.0, 4.0), **options)
    fit, fitted = type(model).fit, []

    def interrupted(self, *args, **kwargs):
        fitted.append(float(self.scheduled_numbers["beta"]))
        if len(fitted) == 2:
            raise KeyboardInterrupt
        return fit(self, *args, **kwargs)

    monkeypatch.setattr(type(model), "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        rate_distortion(model, X, X[:60], (0.5, 2.0), **options, resume=tmp_path / "sweep")
    np.testing.assert_array_equal(model.get_weights()[0], start[0])
    assert [path.name for path in (tmp_path / "sweep").iterdir()] == ["beta-0.5.npz"]
    again = rate_distortion(model, X, X[:60], (0.5, 2.0, 4.0), **options, resume=tmp_path / "sweep")
    assert fitted == [0.5, 2.0, 2.0, 4.0]
    for point, expected in zip(again.points, whole.points, strict=True):
        np.testing.assert_array_equal(point.rate.values, expected.rate.values)
        np.testing.assert_array_equal(point.distortion.values, expected.distortion.values)
        assert (point.beta, point.active_units) == (expected.beta, expected.active_units)
        for trained, other in zip(point.weights, expected.weights, strict=True):
            np.testing.assert_array_equal(trained, other)
    for changed in ({"epochs": 3}, {"batch_size": 20}, {"seed": 1}):
        with pytest.raises(ValueError, match="rate_distortion needs resume to name a new file, or one of the same"):
            rate_distortion(model, X, X[:60], [0.5], **options | changed, resume=tmp_path / "sweep")
    for train, test in ((X, X[1:61]), (X[::-1], X[:60])):
        with pytest.raises(ValueError, match=r"rate_distortion needs the data that .*beta-0.5.npz was begun with"):
            rate_distortion(model, train, test, [0.5], **options, resume=tmp_path / "sweep")
    assert len(fitted) == 4


@pytest.mark.parametrize(
    "betas", [(), 1.0, "1", (1.0, 1), (-1.0, 1.0), (float("nan"),), (float("inf"),), (True,), ("1",)]
)
def test_bad_betas_are_refused(model, betas):
    with pytest.raises(ValueError, match=r"rate_distortion needs .*betas to be .*, 0 or more\. Received"):
        rate_distortion(model, X, X, betas)


def test_what_can_not_be_swept_is_refused_before_a_fit(model, monkeypatch):
    monkeypatch.setattr(type(model), "fit", None)
    with pytest.raises(ValueError, match=r"rate_distortion needs epochs to be a whole number, 1 or more"):
        rate_distortion(model, X, X, epochs=0)
    with pytest.raises(ValueError, match=r"needs train to be an array or a dataset.*Received: a generator"):
        rate_distortion(model, iter([X]), X)
    with pytest.raises(ValueError, match=r"VAE needs data of shape \(batch, 5\)\. Received: \(1000, 2\)"):
        rate_distortion(model, X, X[:, :2])
    with pytest.raises(ValueError, match=r"an objective that has one beta, such as ELBO\(\)\. Received: IWAE"):
        rate_distortion(linear_vae(kv.IWAE(samples=2)), X, X)
    with pytest.raises(ValueError, match=r"that has one beta, .*Received: ELBO\(beta=\{'z': 2.0\}"):
        rate_distortion(linear_vae(kv.ELBO(beta={"z": 2.0})), X, X)
    with pytest.raises(ValueError, match=r"Received: a model that is not compiled"):
        rate_distortion(kv.VAE(kv.Normal(2), kv.FixedScaleNormal(SIZE), kv.StandardNormal(2)), X, X)
    posterior = kv.PerExampleOnDisk(kv.Normal(2), examples=len(X))
    on_disk = kv.VariationalAutodecoder(posterior, kv.FixedScaleNormal(SIZE), kv.StandardNormal(2))
    on_disk.compile(kv.RowwiseAdam(), kv.ELBO())
    on_disk.build((None, SIZE))
    with pytest.raises(ValueError, match=r"weights are all in memory.*Received: a VariationalAutodecoder with param"):
        rate_distortion(on_disk, (X, np.arange(len(X))), (X, np.arange(len(X))))
    autoencoder = kv.Autoencoder(keras.layers.Dense(2), kv.FixedScaleNormal(SIZE))
    autoencoder.compile("adam", kv.ELBO())
    with pytest.raises(TypeError, match="needs a model with latent variables"):
        rate_distortion(autoencoder, X, X)


def test_the_figure_shows_the_points_and_the_best_bound(found):
    axes = kv.plotting.rate_distortion(found).axes[0]
    curve = axes.containers[0].lines[0]
    np.testing.assert_allclose(curve.get_xdata(), [point.rate.mean for point in found.points])
    np.testing.assert_allclose(curve.get_ydata(), [point.distortion.mean for point in found.points])
    assert [text.get_text() for text in axes.texts] == ["beta 0.5", "beta 1", "beta 4", "beta 20"]
    assert axes.get_legend().get_texts()[0].get_text() == f"rate + distortion = {-found.best.elbo.mean:.2f}"
    (line,) = (line for line in axes.lines if line.get_linestyle() == "--")
    assert line.get_slope() == -1
    assert line.get_xy1() == (0, -found.best.elbo.mean)
