"""Series: their density with missing values, their networks under padding, and how they are read."""

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

import keras_vae as kv
from keras_vae.datasets import ArraySeries, LongSeries, WideSeries, load
from keras_vae.noise import fold
from keras_vae.sampling import sampling

RNG = np.random.default_rng(0)


def with_gaps(count=8, steps=6, channels=2, dtype="float32") -> np.ndarray:
    """Some values missing; the first series is shorter."""
    x = np.random.default_rng(1).normal(size=(count, steps, channels)).astype(dtype)
    x[np.random.default_rng(2).random(x.shape) < 0.2] = np.nan
    x[0, 4:] = np.nan
    x[:, 0] = 0.5
    return x


def padded(x, steps):
    return np.concatenate([x, np.full((len(x), steps, x.shape[2]), np.nan, x.dtype)], axis=1)


# --- TimeSeries -------------------------------------------------------------------------------------------------------


def test_a_density_is_the_sum_over_observed_values():
    x, features = with_gaps(), RNG.normal(size=(3, 8, 6, 4)).astype("float32")
    layer = kv.TimeSeries(kv.Standardized(kv.Normal(2), [1.0, 2.0], [3.0, 4.0]))
    layer.build((None, 6, 4))
    distribution = layer(features)
    assert distribution.batch_shape == (3, 8)
    assert distribution.event_shape == (6, 2)
    loc, raw = np.moveaxis(layer.rows.parts[0].head(features).numpy().reshape(3, 8, 6, 2, 2), -1, 0)
    scale = 1e-3 + np.log1p(np.exp(raw))
    nats = scipy.stats.norm.logpdf(x, [1, 2] + loc * [3, 4], scale * [3, 4])
    np.testing.assert_allclose(distribution.log_prob(x.astype("float64")), np.nansum(nats, axis=(2, 3)), rtol=1e-4)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(features).log_prob(x.astype("float64")))
    for gradient in tape.gradient(loss, layer.trainable_weights):
        assert np.isfinite(gradient).all()


def test_channels_may_be_of_different_kinds():
    layer = kv.TimeSeries(kv.Columns({"level": kv.StudentT(1), "count": kv.Poisson(1)}), 3)
    layer.build((None, 3, 4))
    distribution = layer(np.zeros((1, 3, 4), "float32"))
    x = np.array([[[0.5, 2.0], [np.nan, 1.0], [1.5, np.nan]]], "float32")
    student = scipy.stats.t(2 + 1e-6 + np.log(2), scale=1e-3 + np.log(2))
    rate = distribution.distribution.parts[1].distribution.mean().numpy().ravel()[0]
    expected = student.logpdf([0.5, 1.5]).sum() + scipy.stats.poisson.logpmf([2, 1], rate).sum()
    np.testing.assert_allclose(distribution.log_prob(x), [expected], rtol=1e-5)
    assert layer.inputs().log_offsets == (None, 1.0)
    with pytest.raises(ValueError, match=r"needs values of column 'count' that are counts"):
        layer.check_values(np.full((1, 3, 2), 0.5))


def loss_and_gradients(vae, x):
    with tf.GradientTape() as tape, sampling(2, fold(1)):
        trace = vae(x)
        loss = tf.reduce_mean(trace.kl - trace.log_likelihood)
    return loss, *tape.gradient(loss, vae.trainable_weights)


@pytest.mark.parametrize(
    ("encode", "decode"),
    [
        (kv.recurrent_encoder, kv.recurrent_decoder),
        (kv.temporal_convolutional_encoder, kv.temporal_convolutional_decoder),
    ],
    ids=["recurrent", "convolutional"],
)
def test_a_vae_of_series_does_not_count_padding(encode, decode):
    options = ([4, 4],) if "convolutional" in encode.__name__ else (5,)
    x, found = with_gaps(), []
    weights = None
    for steps in (0, 1, 100):
        shape = (6 + steps, 2)
        # A network that makes 4 features from z at each step has the same weights for any number of steps.
        features = keras.Sequential([keras.Input((3,)), keras.layers.RepeatVector(shape[0]), keras.layers.Dense(4)])
        likelihood = kv.TimeSeries(kv.StudentT(2), shape[0], features)
        vae = kv.VAE(kv.Normal(3, encode(shape, *options)), likelihood, kv.StandardNormal(3))
        vae.build((None, *shape))
        weights = vae.get_weights() if weights is None else weights
        vae.set_weights(weights)
        found.append(tf.function(loss_and_gradients, autograph=False)(vae, padded(x, steps)))
    for others in found[1:]:
        for one, other in zip(found[0], others, strict=True):
            np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-5)
    assert decode(3, (7, 2), *options)(np.zeros((2, 3))).shape[:2] == (2, 7)


def test_a_filter_does_not_see_what_comes_later():
    x, changed = with_gaps(), with_gaps()
    changed[:, 4:] = 3.0
    filters = (kv.recurrent_filter((None, 2), 5), kv.temporal_convolutional_filter((None, 2), [5, 5, 4]))
    for network in filters:
        assert network(x).shape[:2] == (8, 6)
        np.testing.assert_allclose(network(changed)[1:, :4], network(x)[1:, :4], atol=1e-6)
        assert np.abs(network(changed)[1:, 4:] - network(x)[1:, 4:]).max() > 1e-3
    smoother = kv.recurrent_smoother((None, 2), 5)
    before = x.copy()
    before[:, :3] = 3.0
    np.testing.assert_allclose(smoother(before)[:, 3:], smoother(x)[:, 3:], atol=1e-6)
    np.testing.assert_allclose(smoother(padded(x, 9))[:, :6], smoother(x), atol=1e-6)


def test_the_last_step_is_that_of_each_series():
    features = RNG.normal(size=(3, 4, 2)).astype("float32")
    there = np.arange(4) < np.array([[4], [2], [0]])
    found = kv.LastStep()(features, there)
    np.testing.assert_array_equal(found, [features[0, 3], features[1, 1], [0, 0]])


def test_what_is_no_series_is_refused():
    with pytest.raises(ValueError, match=r"recurrent_encoder needs series of shape \(steps, channels\).*\(3,\)"):
        kv.recurrent_encoder((3,))
    with pytest.raises(ValueError, match=r"ObservedSeries needs series of shape \(batch, steps, channels\)"):
        kv.ObservedSeries()(np.zeros((2, 3)))
    with pytest.raises(TypeError, match=r"TimeSeries needs layer to be a distribution layer. Received: 3"):
        kv.TimeSeries(3)
    with pytest.raises(ValueError, match=r"TimeSeries.* needs features of shape \(batch, 7, features\).*6, 64"):
        kv.TimeSeries(kv.Normal(2), 7, kv.recurrent_decoder(3, (6, 2))).build((None, 3))
    with pytest.raises(ValueError, match=r"needs values of shape \(batch, 7, 2\). Received: shape \(1, 6, 2\)"):
        kv.TimeSeries(kv.Normal(2), 7).check_values(np.zeros((1, 6, 2)))
    with pytest.raises(ValueError, match="needs a context"):
        kv.TimeSeries(kv.Normal(2), 7).build()


# --- datasets ---------------------------------------------------------------------------------------------------------


def test_an_array_of_series_may_miss_values(tmp_path):
    x = with_gaps(40)
    np.save(tmp_path / "x.npy", x)
    for source in (x, tmp_path / "x.npy"):
        data = load(source, batch_size=8)
        assert data.missing
        assert "read as series of 6 steps x 2 channels: values are missing (NaN)" in str(data)
        likelihood = data.likelihood(kv.recurrent_decoder(2, data.shape, 4))
        vae = kv.VAE(kv.Normal(2, kv.recurrent_encoder(data.shape, 4)), likelihood, kv.StandardNormal(2))
        vae.build((None, *data.shape))
        with sampling(1, fold(1)):
            assert np.isfinite(vae(next(iter(data.test))).log_weight).all()
        train = np.concatenate(list(data.train)).reshape(-1, 2)
        np.testing.assert_allclose(likelihood.layer.offset, np.nanmean(train, axis=0), rtol=1e-6)
    x[3, 1, 0] = np.inf
    with pytest.raises(ValueError, match="with infinity in row 3"):
        load(x)
    assert not load(np.nan_to_num(x[:, :, :1], nan=7.0, posinf=7.0) - 9).missing


LONG = """patient,day,pulse,weight
a,1,60,70
b,2,81,
a,0,61,71
b,1,80,90
a,4,62,
c,7,50,55
"""


def test_a_long_table_is_series_by_id_in_time(tmp_path):
    path = tmp_path / "long.csv"
    path.write_text(LONG)
    _, (a, b, c), notes = LongSeries(path, series="patient", time="day").read()
    np.testing.assert_array_equal(a, [[61, 71], [60, 70], [62, np.nan]])
    np.testing.assert_array_equal(b, [[80, 90], [81, np.nan]])
    np.testing.assert_array_equal(c, [[50, 55]])
    assert notes[-1] == "channels: pulse, weight"
    _, (a, *_), _ = LongSeries(path, series="patient", time="day", values=["pulse"], every=1).read()
    np.testing.assert_array_equal(a[:, 0], [61, 60, np.nan, np.nan, 62])
    data = load(LongSeries(path, series="patient", time="day"), whole=True, batch_size=3)
    np.testing.assert_array_equal(next(iter(data.test))[2], [[50, 55], *[[np.nan] * 2] * 2])
    assert "3 series of 1 to 3 steps" in str(data)
    assert "NaN: 2 missing values, and 6 of padding after the end of series" in str(data)


def test_dates_are_times():
    days = np.array(["2024-01-03", "2024-01-01"], "datetime64[ns]")
    _, (x,), _ = LongSeries({"day": days, "x": [3.0, 1.0]}, time="day", every=86_400.0).read()
    np.testing.assert_array_equal(x[:, 0], [1, np.nan, 3])


def test_each_row_of_a_wide_table_is_a_series(tmp_path):
    path = tmp_path / "wide.csv"
    path.write_text("name,t0,t1,t2\nx,1.5,,3\ny,4,5,\n")
    _, (x, y), _ = WideSeries(path, leave_out=["name"]).read()
    np.testing.assert_array_equal(x[:, 0], [1.5, np.nan, 3])
    np.testing.assert_array_equal(y[:, 0], [4, 5])


def test_windows_of_one_series_are_of_one_split():
    x = np.arange(20)[:, None, None] * 1000.0 + np.arange(10)[:, None]  # which series, and which step
    data = load(ArraySeries(x, length=4, stride=3), batch_size=5)
    owners = [{int(value) // 1000 for batch in split for value in batch[:, 0, 0]} for split in (data.train, data.test)]
    assert not owners[0] & owners[1]
    assert data.sizes == {"train": 48, "validation": 6, "test": 6}
    starts = {int(value) % 1000 for batch in data.train for value in batch[:, 0, 0]}
    assert starts == {0, 3, 6}
    assert "windows of 4 steps, each 3 steps after the last" in str(data)
    assert not data.missing
    alone = load(ArraySeries(np.arange(100.0)[:, None] - 50, length=5), batch_size=4)
    assert alone.sizes == {"train": 16, "validation": 2, "test": 2}
    assert "split in time: 80, 10 and 10 %" in str(alone)
    assert next(iter(alone.test))[-1, -1, 0] == 49


def test_the_layer_of_one_step_has_the_units_of_the_series():
    x = 100 + 7 * RNG.normal(size=(50, 6, 2))
    data = load(ArraySeries(x), likelihood=kv.StudentT)
    layer = data.step_likelihood()
    assert isinstance(layer.layer, kv.StudentT)
    np.testing.assert_allclose(layer.scale, 7, rtol=0.1)
    with pytest.raises(ValueError, match=r"Data.step_likelihood needs series of shape \(steps, channels\)"):
        load("digits").step_likelihood()


def test_tables_and_arrays_that_are_no_series_are_refused(tmp_path):
    path = tmp_path / "long.csv"
    path.write_text(LONG + "a,4,1,1\n")
    with pytest.raises(ValueError, match=r"LongSeries needs one row of a series for each time.*line 8"):
        LongSeries(path, series="patient", time="day").read()
    with pytest.raises(ValueError, match=r"LongSeries needs columns of .*: patient, day, pulse, w.*Received: hour"):
        LongSeries(path, series="patient", time="hour").read()
    with pytest.raises(ValueError, match=r"LongSeries needs numbers in column 'patient'.*name the columns of values"):
        LongSeries(path).read()
    table = {"id": ["a", None], "t": [0.0, 0.3], "x": [1.0, np.inf]}
    with pytest.raises(ValueError, match=r"LongSeries needs 'id' in each row. Received: none in"):
        LongSeries(table, series="id").read()
    with pytest.raises(ValueError, match="LongSeries needs times that are multiples of every=1 apart"):
        LongSeries(table, time="t", values=["x"], every=1).read()
    with pytest.raises(ValueError, match=r"datasets.load needs finite values.*infinity in series 0, step 1, channel 0"):
        load(LongSeries(table, time="t", values=["x"]), whole=True)
    with pytest.raises(ValueError, match="LongSeries needs time, a column, for every"):
        LongSeries(table, every=1)
    with pytest.raises(ValueError, match="WideSeries needs length, the steps of a window, for a stride"):
        WideSeries(table, stride=2)
    with pytest.raises(ValueError, match="ArraySeries needs length to be a whole number"):
        ArraySeries(np.zeros((3, 4, 1)), length=0)
    with pytest.raises(ValueError, match=r"ArraySeries needs numbers of shape \(examples, steps, channels\).*\(3,\)"):
        ArraySeries(np.zeros(3)).read()
    with pytest.raises(FileNotFoundError, match=r"datasets.load needs a file that exists"):
        load(WideSeries(tmp_path / "none.csv"))
    with pytest.raises(ValueError, match=r"datasets.load needs series with an observed value"):
        load(ArraySeries(np.full((3, 4, 1), np.nan)))
