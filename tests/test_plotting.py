"""Figures show the numbers they are given, and nothing of matplotlib's global state changes."""

import importlib
import re
import statistics
import sys
import types
import warnings

import matplotlib.figure
import matplotlib.image
import numpy as np
import pytest
import tensorflow as tf
from test_posteriors import COVARIANCE, POSTERIOR_MEAN, X, linear_vae

import keras_vae as kv
from keras_vae import plotting
from keras_vae.noise import DATA, fold


def vae(event_shape, latent_size):
    decoder = kv.dense_decoder(latent_size, units=(16,))
    likelihood = kv.Bernoulli(event_shape, decoder) if len(event_shape) == 3 else kv.Normal(event_shape, decoder)
    posterior = kv.Normal(latent_size, kv.dense_encoder(event_shape, units=(16,)))
    model = kv.VAE(posterior, likelihood, kv.StandardNormal(latent_size))
    model.build((None, *event_shape))
    return model


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 2, [40, 8, 6, 1]).astype(np.float32)


@pytest.fixture(scope="module")
def vectors():
    return np.random.default_rng(1).normal(size=[50, 3]).astype(np.float32)


@pytest.fixture(scope="module")
def image_model():
    return vae((8, 6, 1), latent_size=4)


@pytest.fixture(scope="module")
def plane_model():
    return vae((8, 6, 1), latent_size=2)


@pytest.fixture(scope="module")
def vector_model():
    return vae((3,), latent_size=3)


def echo(event_shape, factor=1.0):
    """A model that reconstructs `factor` times what it is given, and generates what `generated` holds."""
    return types.SimpleNamespace(
        event_shape=event_shape,
        takes=kv.Inputs(kv.Field(event_shape)),
        one_point=False,
        reconstruct=lambda x: tf.constant(factor * x),
        generate=lambda count, seed, temperature: tf.fill([count, *event_shape], factor),
    )


def picture(figure):
    return np.asarray(figure.axes[0].images[0].get_array())


def tile(figure, row, column, height, width, top=0):
    """The tile at this place of a mosaic of tiles that are `height` x `width` in its pixels."""
    top, left = top + row * (height + 1) + 1, column * (width + 1) + 1
    return picture(figure)[top : top + height, left : left + width]


def enlarged(image, factor=3):
    """An 8 x 6 image as it is drawn: 24 x 18 pixels, grey as RGB."""
    return np.repeat(image.repeat(factor, axis=0).repeat(factor, axis=1), 3, axis=-1)


# --- reconstructions -------------------------------------------------------------------------------------------------


def test_reconstructions_stand_below_their_originals(image_model, images):
    figure = plotting.reconstructions(image_model, images, count=11)
    means = image_model.reconstruct(images[:11]).numpy()
    second = 2 * 25 + 1 + 24 // 4  # the second pair of rows starts below the first and a gap
    assert picture(figure).shape == (2 * (2 * 25 + 1) + 24 // 4, 8 * 19 + 1, 3)
    for i in range(11):
        top = second if i >= 8 else 0
        np.testing.assert_array_equal(tile(figure, 0, i % 8, 24, 18, top), enlarged(images[i]))
        np.testing.assert_allclose(tile(figure, 1, i % 8, 24, 18, top), enlarged(means[i]), atol=1e-6)
    assert (picture(figure)[second:, 3 * 19 + 1 :] == 1).all()  # nothing where there is no twelfth image
    assert (picture(figure)[0, :] == plotting.images.FRAME).all()


def test_reconstructions_draw_what_there_is(image_model, images):
    assert picture(plotting.reconstructions(image_model, images)).shape[:2] == (2 * 51 + 6, 8 * 19 + 1)  # 16
    assert picture(plotting.reconstructions(image_model, images[:2], count=5)).shape[:2] == (51, 2 * 19 + 1)


def test_tensors_and_integers_are_data_too(image_model, images):
    expected = picture(plotting.reconstructions(image_model, images))
    for x in (tf.constant(images), images.astype(np.uint8)):
        np.testing.assert_array_equal(picture(plotting.reconstructions(image_model, x)), expected)


def test_colour_images_keep_their_channels():
    x = np.random.default_rng(2).uniform(size=[2, 32, 32, 3]).astype(np.float32)
    figure = plotting.reconstructions(echo((32, 32, 3), factor=1.5), x)
    np.testing.assert_array_equal(tile(figure, 0, 1, 32, 32), x[1])
    np.testing.assert_allclose(tile(figure, 1, 1, 32, 32), np.minimum(1.5 * x[1], 1), atol=1e-6)


def test_values_outside_the_unit_interval_are_scaled_by_the_range_of_the_data():
    x = np.random.default_rng(3).uniform(-4, 12, size=[2, 24, 24, 1]).astype(np.float32)
    figure = plotting.reconstructions(echo((24, 24, 1), factor=0.5), x)
    low, high = x.min(), x.max()
    np.testing.assert_allclose(tile(figure, 0, 0, 24, 24)[..., :1], (x[0] - low) / (high - low), atol=1e-6)
    np.testing.assert_allclose(tile(figure, 1, 0, 24, 24)[..., :1], (x[0] / 2 - low) / (high - low), atol=1e-6)


def test_of_other_channel_counts_the_first_is_drawn():
    x = np.random.default_rng(4).uniform(size=[1, 24, 24, 5]).astype(np.float32)
    figure = plotting.reconstructions(echo((24, 24, 5)), x)
    np.testing.assert_array_equal(tile(figure, 0, 0, 24, 24), np.repeat(x[0, ..., :1], 3, axis=-1))
    assert "first of 5 channels" in figure.get_suptitle()


def test_constant_images_are_drawn():
    assert np.isfinite(picture(plotting.reconstructions(echo((8, 8, 1)), np.full([2, 8, 8, 1], 7.0)))).all()


def test_vectors_are_drawn_against_their_reconstructions(vector_model, vectors):
    figure = plotting.reconstructions(vector_model, vectors, count=20, columns=["a", "b", "c"])
    means = vector_model.reconstruct(vectors[:20]).numpy()
    assert [axes.get_title() for axes in figure.axes] == ["a", "b", "c"]
    for i, axes in enumerate(figure.axes):
        expected = np.stack([vectors[:20, i], means[:, i]], axis=1)
        np.testing.assert_allclose(axes.collections[0].get_offsets(), expected, atol=1e-6)
        np.testing.assert_array_equal(axes.lines[0].get_xdata(), axes.lines[0].get_ydata())  # the diagonal
        assert axes.get_xlim() == axes.get_ylim()


def test_of_many_columns_the_first_sixteen_are_drawn():
    figure = plotting.reconstructions(echo((40,)), np.zeros([5, 40]))
    assert [axes.get_title() for axes in figure.axes] == [f"x[{i}]" for i in range(16)]
    assert "columns 0 to 15 of 40" in figure.get_suptitle()


def test_series_are_curves_over_the_steps():
    x = np.random.default_rng(5).normal(size=[7, 9, 6]) * [1, 1000, 1, 1, 1, 1]
    figure = plotting.reconstructions(echo((9, 6), factor=0.5), x, count=6, columns="abcdef")
    assert len(figure.axes) == 6 * plotting.MAX_CHANNELS
    for number, axes in enumerate(figure.axes):
        example, channel = divmod(number, plotting.MAX_CHANNELS)
        for line, factor in zip(axes.lines, (1, 0.5), strict=True):
            np.testing.assert_allclose(line.get_ydata(), factor * x[example, :, channel], rtol=1e-6)
        assert axes.get_ylim() == figure.axes[channel].get_ylim(), "one scale for each channel"
        if example % 4 == 0:
            assert axes.get_ylabel() == "abcdef"[channel]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["original", "reconstruction"]
    assert "channels 0 to 3 of 6" in figure.get_suptitle()


# --- samples ---------------------------------------------------------------------------------------------------------


def test_samples_are_what_the_model_generates(image_model):
    figure = plotting.samples(image_model, count=10, seed=3, temperature=0.5)
    means = image_model.generate(10, seed=3, temperature=0.5).numpy()
    assert picture(figure).shape[:2] == (3 * 25 + 1, 4 * 19 + 1)
    for i in range(10):
        np.testing.assert_allclose(tile(figure, i // 4, i % 4, 24, 18), enlarged(means[i]), atol=1e-6)
    assert "temperature 0.5" in figure.get_suptitle()


def test_same_seed_same_samples(image_model, vector_model):
    first, same, other = (picture(plotting.samples(image_model, seed=seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()
    first, same, other = (bars(plotting.samples(vector_model, seed=seed).axes[0])[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()


def bars(axes):
    """Heights and left edges of the filled histogram."""
    return np.array([(bar.get_height(), bar.get_x()) for bar in axes.containers[0]]).T


def test_images_take_the_range_of_the_data():
    model = echo((8, 8, 1), factor=2.0)
    data = np.linspace(0, 4, 64).reshape(1, 8, 8, 1)
    np.testing.assert_allclose(tile(plotting.samples(model, count=1, x=data), 0, 0, 24, 24), 0.5)


def test_histograms_count_draws_from_the_likelihood(vector_model, vectors):
    figure = plotting.samples(vector_model, count=500, seed=5, x=vectors)
    z = vector_model.sample_prior(500, seed=5)
    draws = vector_model.decode(z).sample(seed=fold(5, DATA)).numpy()
    assert len(figure.axes) == 3
    for i, axes in enumerate(figure.axes):
        heights, edges = bars(axes)
        both = np.concatenate([draws[:, i], vectors[:, i]])
        expected, bins = np.histogram(draws[:, i], 30, range=(both.min(), both.max()), density=True)
        np.testing.assert_allclose(heights, expected, atol=0.01)
        np.testing.assert_allclose(edges, bins[:-1], atol=1e-4)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["generated", "data"]


def test_sampled_series_are_draws_and_their_means():
    model = vae((9, 2), latent_size=3)
    figure = plotting.samples(model, count=3, seed=4, temperature=0.5)
    means, draws = (np.asarray(draw(3, seed=4, temperature=0.5)) for draw in (model.generate, model.sample))
    assert len(figure.axes) == 6
    for number, axes in enumerate(figure.axes):
        example, channel = divmod(number, 2)
        np.testing.assert_allclose(axes.lines[0].get_ydata(), draws[example, :, channel], rtol=1e-5)
        np.testing.assert_allclose(axes.lines[1].get_ydata(), means[example, :, channel], rtol=1e-5)


def test_categories_have_names_and_one_bin_each(tmp_path):
    layers = {
        "x": kv.Standardized(kv.Normal(1), 170.0, 10.0),
        "town": kv.Categorical(1, levels=3, categories=["Bodø", "Moss", "a long name of a town"]),
    }
    likelihood = kv.Columns(layers, kv.dense_decoder(2, [4]))
    model = kv.VAE(kv.Normal(2, likelihood.encoder([4])), likelihood, kv.StandardNormal(2))
    model.build((None, 2))
    x = np.array([[170.0, 0], [180.0, 2], [np.nan, 1]])
    names = ["Bodø", "Moss", "a long nam…"]
    figure = plotting.samples(model, count=200, x=x, columns=["x", "town"])
    heights, edges = bars(figure.axes[1])
    np.testing.assert_allclose(edges, [-0.5, 0.5, 1.5])
    np.testing.assert_allclose(heights.sum(), 1)
    assert [label.get_text() for label in figure.axes[1].get_xticklabels()] == names
    assert len(bars(figure.axes[0])[0]) == 30
    axes = plotting.reconstructions(model, x, columns=["x", "town"]).axes[1]
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [label.get_text() for label in labels] == names


def test_discrete_vectors_have_one_bin_per_value():
    model = kv.VAE(kv.Normal(2), kv.Bernoulli(5), kv.StandardNormal(2))
    model.build((None, 5))
    heights, edges = bars(plotting.samples(model, count=200).axes[0])
    np.testing.assert_allclose(edges, [-0.5, 0.5])
    np.testing.assert_allclose(heights.sum(), 1)


# --- latent plane ----------------------------------------------------------------------------------------------------


def test_two_dimensions_and_images_give_a_manifold(plane_model, images):
    figure = plotting.latent_plane(plane_model, images)
    size = plotting.images.MANIFOLD_SIZE
    assert picture(figure).shape[:2] == (size * 25 + 1, size * 19 + 1)
    for row, column in [(0, 0), (0, 15), (15, 0), (4, 9)]:
        shares = [(column + 0.5) / size, (size - 1 - row + 0.5) / size]  # z[0] grows to the right, z[1] upwards
        z = [[statistics.NormalDist().inv_cdf(share) for share in shares]]
        mean = plane_model.decode(z).mean().numpy()[0]
        np.testing.assert_allclose(tile(figure, row, column, 24, 18), enlarged(mean), atol=1e-5)


def test_manifold_ticks_name_z(plane_model, images):
    axes = plotting.latent_plane(plane_model, images).axes[0]
    size = plotting.images.MANIFOLD_SIZE
    names = [f"{statistics.NormalDist().inv_cdf((i + 0.5) / size):.1f}" for i in range(0, size, 3)]
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [label.get_text().replace("\N{MINUS SIGN}", "-") for label in labels] == names
    np.testing.assert_allclose(axes.get_xticks(), [i * 19 + 9.5 for i in range(0, size, 3)])
    np.testing.assert_allclose(axes.get_yticks(), [(size - 1 - i) * 25 + 12.5 for i in range(0, size, 3)])  # upwards


def test_principal_components_have_the_variances_of_the_eigenvalues(image_model, images):
    figure = plotting.latent_plane(image_model, images)
    axes = figure.axes[0]
    means = image_model.encode(images).mean().numpy().astype(np.float64)
    eigenvalues = np.linalg.eigvalsh(np.cov(means.T))[::-1]
    points = np.asarray(axes.collections[0].get_offsets())
    np.testing.assert_allclose(points.var(axis=0, ddof=1), eigenvalues[:2], rtol=1e-4)
    np.testing.assert_allclose(np.corrcoef(points.T)[0, 1], 0, atol=1e-6)
    percent = 100 * eigenvalues / eigenvalues.sum()
    assert axes.get_xlabel() == f"component 1 ({percent[0]:.0f} % of the variance)"
    assert axes.get_ylabel() == f"component 2 ({percent[1]:.0f} % of the variance)"


def test_two_dimensions_and_vectors_give_the_posterior_means(vectors):
    model = vae((3,), latent_size=2)
    axes = plotting.latent_plane(model, vectors).axes[0]
    np.testing.assert_allclose(axes.collections[0].get_offsets(), model.encode(vectors).mean(), atol=1e-6)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("z[0]", "z[1]")


def test_classes_are_coloured_and_named(image_model, images):
    labels = np.arange(40) % 3
    plain = np.asarray(plotting.latent_plane(image_model, images).axes[0].collections[0].get_offsets())
    axes = plotting.latent_plane(image_model, images, labels).axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["0", "1", "2"]
    for label, points in enumerate(axes.collections):
        np.testing.assert_allclose(points.get_offsets(), plain[labels == label], atol=1e-6)
    assert len({tuple(points.get_facecolor()[0]) for points in axes.collections}) == 3


def test_numbers_as_labels_get_a_colour_bar(image_model, images):
    labels = np.linspace(0, 1, 40)
    axes, bar = plotting.latent_plane(image_model, images, labels).axes
    np.testing.assert_array_equal(axes.collections[0].get_array(), labels)
    assert bar.get_ylim() == (0, 1)


def test_of_many_examples_the_seed_chooses(vector_model, vectors, monkeypatch):
    monkeypatch.setattr(plotting, "MAX_POINTS", 30)
    monkeypatch.setattr(plotting, "ROWS_AT_ONCE", 7)

    def points(seed):
        return np.asarray(plotting.latent_plane(vector_model, vectors, seed=seed).axes[0].collections[0].get_offsets())

    assert points(0).shape == (30, 2)
    np.testing.assert_array_equal(points(0), points(0))
    assert (points(0) != points(1)).any()


# --- curves ----------------------------------------------------------------------------------------------------------

HISTORY = {
    "loss": [9.0, 5.0, 4.0],
    "log_likelihood": [-9.0, -4.0, -3.0],
    "kl": [0.0, 1.0, 1.0],
    "val_loss": [8.0, 5.5, 4.5],
    "val_log_likelihood": [-8.0, -4.5, -3.5],
    "val_kl": [0.1, 1.1, 1.2],
}


def test_curves_plot_the_numbers_given():
    figure = plotting.curves(HISTORY)
    assert [axes.get_title() for axes in figure.axes] == ["loss", "log_likelihood", "kl"]
    for axes in figure.axes:
        train, validation = axes.lines
        np.testing.assert_array_equal(train.get_xdata(), [1, 2, 3])
        np.testing.assert_array_equal(train.get_ydata(), HISTORY[axes.get_title()])
        np.testing.assert_array_equal(validation.get_ydata(), HISTORY[f"val_{axes.get_title()}"])
        assert axes.get_xlabel() == "epoch"
    assert figure.axes[0].get_ylabel() == "nats per example"
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["train", "validation"]


def test_curves_of_a_fit(vectors):
    model = vae((3,), latent_size=2)
    model.compile("adam", kv.ELBO(), run_eagerly=True)
    history = model.fit(vectors, epochs=4, validation_data=vectors, validation_freq=2, verbose=0)
    for given in (history, history.history):
        train, validation = plotting.curves(given).axes[0].lines
        np.testing.assert_array_equal(train.get_ydata(), history.history["loss"])
        np.testing.assert_array_equal(validation.get_xdata(), [2, 4])


def test_curves_of_a_csv_file():
    columns = {"epoch": ["3", "4", "5"], "loss": ["9.5", "5", "4"], "val_loss": ["", "5.5", ""]}
    train, validation = plotting.curves(columns).axes[0].lines
    np.testing.assert_array_equal(train.get_xdata(), [3, 4, 5])
    np.testing.assert_array_equal(train.get_ydata(), [9.5, 5, 4])
    np.testing.assert_array_equal(validation.get_ydata(), [np.nan, 5.5, np.nan])


def test_curves_count_epochs_from_one():
    train = plotting.curves({"epoch": [0, 1], "loss": [2.0, 1.0]}).axes[0].lines[0]
    np.testing.assert_array_equal(train.get_xdata(), [1, 2])


def test_first_epochs_do_not_squash_the_rest():
    loss = np.concatenate([[5000.0, 300.0], np.linspace(110, 90, 28)])
    low, high = plotting.curves({"loss": loss}).axes[0].get_ylim()
    assert 80 < low < 90
    assert 110 < high < 120


def test_calm_curves_are_drawn_whole():
    loss = np.linspace(110, 90, 30)
    low, high = plotting.curves({"loss": loss}).axes[0].get_ylim()
    assert low < 90
    assert high > 110


@pytest.mark.parametrize("loss", [[3.0], [2.0, 2.0, 2.0, 2.0, 2.0, 2.0], [np.nan, np.nan], [1.0, np.inf, 2.0]])
def test_curves_of_odd_histories_are_drawn(loss, tmp_path):
    figure = plotting.curves({"loss": loss})
    figure.savefig(tmp_path / "curves.png")
    drawn = [line.get_ydata().tolist() for line in figure.axes[0].lines]
    assert drawn == ([loss] if np.isfinite(loss).any() else []), "what is never a number has no line"
    assert np.isfinite(figure.axes[0].get_ylim()).all()


# --- errors and manners ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, -1, 2.5, True, "4"])
@pytest.mark.parametrize("draw", [plotting.reconstructions, plotting.samples])
def test_count_is_a_positive_integer(draw, count, image_model, images):
    with pytest.raises(ValueError, match=rf"plotting.{draw.__name__} needs count .* Received: count={count!r}"):
        draw(image_model, x=images, count=count)


@pytest.mark.parametrize("draw", [plotting.reconstructions, plotting.samples, plotting.latent_plane])
@pytest.mark.parametrize("shape", [(5, 6, 8, 1), (8, 6, 1), (0, 8, 6, 1), ()])
def test_data_have_the_shape_of_the_model(draw, shape, image_model):
    with pytest.raises(ValueError, match=rf"plotting.{draw.__name__} needs x of shape \(batch, 8, 6, 1\).* Received: "):
        draw(image_model, x=np.zeros(shape))


@pytest.mark.parametrize("draw", [plotting.reconstructions, plotting.samples])
def test_events_are_images_series_or_vectors(draw):
    with pytest.raises(ValueError, match=r"needs observations of shape .* Received: event_shape=\(8, 8, 8, 1\)"):
        draw(echo((8, 8, 8, 1)), x=np.zeros([2, 8, 8, 8, 1]))


def test_every_column_has_a_name(vector_model, vectors):
    with pytest.raises(ValueError, match=r"one name for each of the 3 columns. Received: 2 names"):
        plotting.reconstructions(vector_model, vectors, columns=["a", "b"])


def test_every_example_has_a_label(image_model, images):
    with pytest.raises(ValueError, match=r"needs labels of shape \(40,\).* Received: \(39,\)"):
        plotting.latent_plane(image_model, images, labels=np.zeros(39))


def test_one_latent_dimension_is_drawn_against_its_standard_deviation():
    model, x = vae((3,), latent_size=1), np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    points = plotting.latent_plane(model, x).axes[0].collections[0].get_offsets()
    posterior = model.encode(x)
    np.testing.assert_allclose(points, np.concatenate([posterior.mean(), posterior.stddev()], axis=1), rtol=1e-5)


def test_a_plane_needs_two_examples(image_model, images):
    with pytest.raises(ValueError, match=r"batch >= 2. Received: shape \(1, 8, 6, 1\)"):
        plotting.latent_plane(image_model, images[:1])


def test_curves_need_a_log():
    with pytest.raises(ValueError, match=r"plotting.curves needs loss.* Received: \['accuracy'\]"):
        plotting.curves({"accuracy": [1.0]})


def test_figures_leave_matplotlib_alone(image_model, vector_model, images, vectors, tmp_path):
    def state():  # to look at the backend among the parameters would choose one
        parameters = {name: matplotlib.rcParams[name] for name in matplotlib.rcParams if name != "backend"}
        return parameters, matplotlib.get_backend(auto_select=False)

    before = state()
    figures = [
        plotting.reconstructions(image_model, images),
        plotting.reconstructions(vector_model, vectors),
        plotting.samples(vector_model, x=vectors),
        plotting.latent_plane(vector_model, vectors, labels=np.arange(50) % 12),
        plotting.curves(HISTORY),
    ]
    for i, figure in enumerate(figures):
        figure.savefig(tmp_path / f"{i}.png")
        assert (tmp_path / f"{i}.png").stat().st_size > 1000
        assert type(figure) is matplotlib.figure.Figure
    assert state() == before


def test_the_modules_import_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # makes its import fail
    for module in (plotting.images, plotting.charts, plotting):
        assert importlib.reload(module) is module
    with pytest.raises(ImportError):
        plotting.curves(HISTORY)


def test_missing_values_are_left_out(vector_model, vectors):
    holes = np.array(vectors)
    holes[::3, 0] = np.nan
    holes[:, 1] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # of a histogram of nothing
        assert kv.plotting.samples(vector_model, x=holes).axes
    assert kv.plotting.reconstructions(echo(vector_model.event_shape, 0.0), np.nan_to_num(holes)).axes


def test_models_that_can_not_be_drawn_are_refused(images):
    shape, label = images.shape[1:], kv.Field((10,), "label")
    conditional = types.SimpleNamespace(event_shape=shape, takes=kv.Inputs(kv.Field(shape), y=label))
    for draw in (kv.plotting.reconstructions, kv.plotting.latent_plane):
        with pytest.raises(TypeError, match="needs a model without a condition"):
            draw(conditional, images)
    with pytest.raises(TypeError, match="needs a model without a condition"):
        kv.plotting.samples(conditional)
    with pytest.raises(TypeError, match="latent_plane needs a model with one latent variable"):
        kv.plotting.latent_plane(echo(shape), images)
    several = types.SimpleNamespace(takes=kv.Inputs({"tokens": kv.Field((None,), "tokens"), "n": kv.Field((), "n")}))
    with pytest.raises(TypeError, match=r"observations that are one array.*which takes n, tokens"):
        kv.plotting.samples(several)


def test_figures_are_saved_every_few_epochs_and_never_by_halves(image_model, images, tmp_path):
    def fail(path):
        path.write_bytes(b"half")
        raise OSError("the disk is full")

    def draw(model):
        full = len(list(tmp_path.glob("*.png"))) == 2
        return types.SimpleNamespace(savefig=fail) if full else plotting.samples(model, seed=0)

    saved = kv.callbacks.SaveFigure(draw, str(tmp_path / "samples-{epoch:02d}.png"), every=2)
    image_model.compile("adam", jit_compile=False)
    with pytest.raises(OSError, match="the disk is full"):
        image_model.fit(images, epochs=6, callbacks=[saved], verbose=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["samples-02.png", "samples-04.png"]
    first, second = (matplotlib.image.imread(path) for path in sorted(tmp_path.iterdir()))
    assert first.shape == second.shape
    assert np.abs(first - second).max() > 0  # two epochs of training apart


@pytest.mark.slow
def test_posteriors_of_one_example(monkeypatch):
    """Of a normal posterior: one normal is it, and what independent normals lose by it is known."""
    for name, number in {"MAPS": 1, "STEPS_OF_FLOW": 100, "STEPS": 500}.items():
        monkeypatch.setattr(f"keras_vae.plotting.approximations.{name}", number)
    model = linear_vae()
    figure = kv.plotting.posteriors(model, X[:1])
    titles = [axes.get_title() for axes in figure.axes]
    correlated = 0.5 * (np.log(np.diag(COVARIANCE)).sum() - np.linalg.slogdet(COVARIANCE)[1])
    assert titles[3:5] == [
        f"independent normals\nKL(p || q) = {correlated:.2f} nats",
        "one normal\nKL(p || q) = 0.00 nats",
    ]
    assert re.fullmatch(r"one normal\nKL\(q \|\| p\) = -?0\.00 nats", titles[2])
    assert titles[5].startswith("planar flow")
    draws = [each for each in figure.axes[0].collections if len(each.get_offsets()) > 100]
    assert len(draws) == 1
    np.testing.assert_allclose(draws[0].get_offsets().mean(axis=0), POSTERIOR_MEAN[0], atol=0.2)
    with pytest.raises(ValueError, match="posterior_on_grid needs one example"):
        kv.plotting.posteriors(model, X)


def test_traversals_change_one_unit_at_a_time(image_model, images):
    figure = plotting.traversals(image_model, images, units=3, values=5)
    means = image_model.encode(images).mean().numpy()
    units = np.argsort(-means.var(axis=0))[:3]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [f"z[{unit}]" for unit in units]
    for row, unit in enumerate(units):
        for column, value in enumerate(np.linspace(means[:, unit].min(), means[:, unit].max(), 5)):
            z = means[:1].copy()
            z[0, unit] = value
            expected = enlarged(image_model.decode(z).mean().numpy()[0])
            np.testing.assert_allclose(tile(figure, row, column, 24, 18), expected, atol=1e-5)


def test_traversals_need_images_and_one_latent(vector_model, image_model, vectors, images):
    with pytest.raises(ValueError, match=r"plotting.traversals needs a model of images.*shape \(3,\)"):
        plotting.traversals(vector_model, vectors)
    with pytest.raises(ValueError, match=r"plotting.traversals needs x of shape .*batch >= 2"):
        plotting.traversals(image_model, images[:1])
    with pytest.raises(ValueError, match="count to be a positive integer"):
        plotting.traversals(image_model, images, units=0)
