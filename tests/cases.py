"""One table of every public class; the conformance suite builds, trains, saves, serves and compiles each of them."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

import keras
import numpy as np
import tensorflow as tf

import keras_vae as kv


@dataclass(frozen=True)
class Case:
    """A model that contains the class, and data for it; `targets` are conditions, or numbers of examples."""

    model: Callable[[], kv.LatentVariableModel]
    data: Callable[[], np.ndarray]
    objective: Callable[[], kv.Objective] = kv.ELBO
    targets: Callable[[], np.ndarray] | None = None
    optimizer: Callable[[float], keras.optimizers.Optimizer] = keras.optimizers.Adam

    def arrays(self) -> tuple[np.ndarray, np.ndarray | None]:
        """x and y of `fit`."""
        return self.data(), None if self.targets is None else self.targets()

    def compiled(self, optimizer=None, **kwargs) -> kv.LatentVariableModel:
        """The model with seeded weights, compiled; without XLA, whose compilation takes seconds, unless asked for."""
        keras.utils.set_random_seed(0)
        model = self.model()
        options = {"jit_compile": False} | kwargs
        model.compile(optimizer or self.optimizer(1e-2), loss=self.objective(), **options)
        return model


def binary_images(shape=(8, 8, 1), count=12) -> np.ndarray:
    """Random binary images."""
    return np.random.default_rng(0).integers(0, 2, (count, *shape)).astype("float32")


def vectors(size=5, count=12) -> np.ndarray:
    """Random real vectors."""
    return np.random.default_rng(0).normal(size=(count, size)).astype("float32")


def encoder(shape) -> keras.Model:
    return kv.dense_encoder(shape, units=[8], activation="tanh")


def decoder(size) -> keras.Model:
    return kv.dense_decoder(size, units=[8], activation="tanh")


def image_vae() -> kv.VAE:
    shape = (8, 8, 1)
    return kv.VAE(kv.Normal(3, encoder(shape)), kv.Bernoulli(shape, decoder(3)), kv.StandardNormal(3))


def convolutional_vae() -> kv.VAE:
    shape = (7, 5, 2)  # neither even nor square
    return kv.VAE(
        posterior=kv.Normal(3, kv.convolutional_encoder(shape, filters=[4, 4])),
        likelihood=kv.GreyLevels(kv.Bernoulli(shape, kv.convolutional_decoder(3, shape, filters=[4, 4]))),
        prior=kv.StandardNormal(3),
    )


def glimpse_vae() -> kv.VAE:
    """An encoder that looks at a box of its choice, and a decoder that paints a code at each place."""
    image = keras.Input((8, 8, 1))
    box = keras.layers.Dense(4, "tanh", bias_initializer=keras.initializers.Constant([0.1, 0.2, 0.7, 0.6]))
    glimpse = kv.SpatialTransformer((4, 4))(image, box(keras.layers.Flatten()(image)))
    features = keras.layers.Dense(8, "tanh")(keras.layers.Flatten()(glimpse))
    decode = kv.spatial_broadcast_decoder(3, (8, 8, 1), filters=[4, 4], activation="tanh")
    return kv.VAE(kv.Normal(3, keras.Model(image, features)), kv.Bernoulli((8, 8, 1), decode), kv.StandardNormal(3))


def colours(shape=(4, 3, 3), count=12) -> np.ndarray:
    """Random colour images of bytes."""
    return np.random.default_rng(0).integers(0, 256, (count, *shape)).astype("float32")


def colour_vae() -> kv.VAE:
    shape = (4, 3, 3)
    likelihood = kv.DiscretizedLogisticMixture(shape, kv.convolutional_decoder(2, shape, filters=[4]), components=2)
    return kv.VAE(kv.Normal(2, encoder(shape)), kv.GreyLevels(likelihood), kv.StandardNormal(2))


def quantized(posterior, prior=kv.UniformCategorical, depth=1) -> Callable[[], kv.VQVAE]:
    """A VQVAE of images with 4 x 4 places of `depth` codes, from functions of an event shape to layers."""
    shape = (8, 8, 1)

    def build():
        codes = posterior((4, 4, depth), kv.residual_encoder(shape, filters=[4], blocks=1))
        decode = kv.residual_decoder(codes.params_shape, shape, filters=[4], blocks=1)
        return kv.VQVAE(codes, kv.Bernoulli(shape, decode), prior(codes.event_shape, levels=codes.levels))

    return build


def two_grids() -> kv.VQVAE2:
    """Codes on 4 x 4 places given 2 x 2 others."""
    shape, fine, coarse = (8, 8, 1), (4, 4, 3), (2, 2, 2)
    bottom = kv.GradientVectorQuantized((4, 4, 1), kv.merged_grids([coarse, (4, 4, 4)], 4), levels=6, vector_size=3)
    network = kv.residual_decoder(coarse, fine, filters=[4], blocks=1)
    return kv.VQVAE2(
        encoders=[kv.residual_encoder(shape, [4], blocks=1), kv.residual_encoder((4, 4, 4), [4], blocks=1)],
        posteriors=[bottom, kv.VectorQuantized((2, 2, 1), levels=5, vector_size=2)],
        likelihood=kv.Bernoulli(shape, kv.residual_decoder([fine, coarse], shape, filters=[4], blocks=1)),
        priors=[
            kv.PixelCNN((4, 4, 1), network, levels=6, filters=4, blocks=2, kernel_size=3),
            kv.UniformCategorical((2, 2, 1), levels=5),
        ],
    )


def conditional_codes() -> kv.ConditionalVQVAE:
    model = quantized(small_codebook(kv.VectorQuantized))()
    prior = kv.PixelCNN((4, 4, 1), levels=6, filters=4, blocks=2, kernel_size=3)
    return kv.ConditionalVQVAE(model.posterior, model.likelihood, prior, condition_shape=3)


def top_down() -> kv.TopDownVAE:
    """Two blocks on two grids."""
    shape = (8, 8, 1)
    return kv.TopDownVAE(
        encoder=kv.bottom_up_encoder(shape, strides=[2, 4], filters=[4, 6], blocks=1),
        blocks=[kv.TopDownBlock((1, 1), 6, latent_size=3), kv.TopDownBlock((4, 4), 4, latent_size=2)],
        likelihood=kv.Bernoulli(shape, keras.layers.Conv2DTranspose(3, 2, strides=2)),
    )


def slots() -> kv.MONet:
    """Three slots, and attention that sees all of the image."""
    shape, seen = (8, 8, 3), (8, 8, 4)
    decode = keras.Sequential(
        [keras.Input((3,)), kv.SpatialBroadcast((8, 8)), keras.layers.Conv2D(4, 3, padding="same", activation="tanh")]
    )
    return kv.MONet(
        attention=kv.unet(seen, filters=[4, 4], units=6, activation="tanh"),
        posterior=kv.Normal(3, kv.convolutional_encoder(seen, filters=[4, 4])),
        likelihood=kv.SlotMixture(shape, decode),
        prior=kv.StandardNormal((3, 3)),
    )


def objects(difference=False) -> kv.AIR:
    """Up to two objects of 3 x 3 pixels."""
    shape, patch = (8, 8, 1), (3, 3, 1)
    return kv.AIR(
        encoder=encoder(shape),
        finder=kv.ObjectFinder(6),
        posterior=kv.Normal(2, encoder(patch)),
        decoder=keras.Sequential([decoder(2), keras.layers.Dense(9, "sigmoid"), keras.layers.Reshape(patch)]),
        likelihood=kv.NormalAround(shape, 0.5),
        prior=kv.StandardNormal(2),
        steps=2,
        log_odds=0.0,
        difference=difference,
    )


def grey_images(shape=(8, 8, 1), count=12) -> np.ndarray:
    """Random images of real numbers from 0 to 1."""
    return np.random.default_rng(0).random((count, *shape)).astype("float32")


def stove() -> kv.STOVE:
    """Two objects in clips of three frames."""
    return kv.STOVE(
        posterior=kv.ObjectBoxes(2, kv.ObjectEncoder(2, units=6, features=8)),
        dynamics=kv.GraphNetwork(5, activation="tanh"),
        likelihood=kv.PatchImages((8, 8, 1), (3, 3), scale=1.0),
        prior=kv.ObjectBoxes(2),
        frames=3,
        hidden_size=2,
        transition_scale=0.5,
    )


def series(steps=4, channels=3, count=12) -> np.ndarray:
    """Random series, some of their values missing, and two of them shorter than the others."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, steps, channels)).astype("float32")
    x[rng.random(x.shape) < 0.1] = np.nan
    x[:2, steps - 1 :] = np.nan
    return x


def deep_kalman_filter(encoder_of_series=kv.recurrent_smoother) -> kv.DeepKalmanFilter:
    return kv.DeepKalmanFilter(
        encoder=encoder_of_series((None, 3), 6),
        posterior=kv.Normal(2, encoder(2 + 6)),
        transition=kv.LearnedScaleNormal(2, encoder(2)),
        likelihood=kv.Normal(3, decoder(2)),
        initial=kv.Normal(2),
        steps=4,
    )


def variational_rnn() -> kv.VariationalRNN:
    return kv.VariationalRNN(
        cell=keras.layers.GRUCell(5),
        posterior=kv.Normal(2, encoder(5 + 2 * 3)),
        prior=kv.Normal(2, encoder(5)),
        likelihood=kv.Standardized(kv.StudentT(3, decoder(5 + 2)), 1.0, 2.0),
        steps=4,
    )


def recurrent_vae() -> kv.VAE:
    likelihood = kv.TimeSeries(kv.StudentT(3), 4, kv.recurrent_decoder(2, (4, 3), 5))
    return kv.VAE(kv.Normal(2, kv.recurrent_encoder((4, 3), 5)), likelihood, kv.StandardNormal(2))


def temporal_convolutional_vae() -> kv.VAE:
    """Channels of different kinds."""
    columns = kv.Columns({"a": kv.Normal(1), "b": kv.Laplace(2)})
    decode = kv.temporal_convolutional_decoder(2, (5, 3), [4, 4], activation="tanh")
    encode = kv.temporal_convolutional_encoder((5, 3), [4, 4], 2, "tanh")
    return kv.VAE(kv.Normal(2, encode), kv.TimeSeries(columns, 5, decode), kv.StandardNormal(2))


def small_codebook(layer) -> Callable:
    return functools.partial(layer, levels=6, vector_size=3)


class SparseVAE(kv.VAE):
    """A VAE that minimises the size of its codes too, a term of its trace."""

    def call(self, inputs, training=None) -> kv.Trace:
        trace = super().call(inputs, training)
        return replace(trace, terms={"size": tf.reduce_sum(tf.abs(trace.latents["z"].value), axis=-1)})


def critic(shape) -> keras.Model:
    """Of vectors or images, with dropout on the noise of the model."""
    layers = [keras.layers.Flatten(), keras.layers.Dense(8, "tanh"), kv.Dropout(0.2), keras.layers.Dense(1)]
    return keras.Sequential([keras.Input(shape if isinstance(shape, tuple) else (shape,)), *layers])


def gan() -> kv.GAN:
    return kv.GAN(kv.GreyLevels(kv.DiscretizedLogistic((8, 8, 1), decoder(3), levels=2)), kv.Normal(3))


def means(model, x, y=None):
    """Means of p(x | z) for a batch: reconstructions, or of a model without an encoder draws of its own."""
    return model.generate(len(x), seed=1) if isinstance(model, kv.GAN) else model.reconstruct(model.as_inputs(x, y))


def sparse() -> kv.VAE:
    return SparseVAE(kv.Normal(2, encoder(5)), kv.Bernoulli(5, decoder(2)), kv.StandardNormal(2))


def counts(size=5, count=12) -> np.ndarray:
    """Random counts, some of them 0."""
    return np.random.default_rng(0).poisson(1.5, (count, size)).astype("float32")


def positive_vectors(size=5, count=12) -> np.ndarray:
    """Random positive numbers."""
    return np.random.default_rng(0).gamma(2.0, size=(count, size)).astype("float32")


def levels(count=12, size=5, number=4) -> np.ndarray:
    """Random levels 0, 1, 2, 3."""
    return np.random.default_rng(0).integers(0, number, (count, size)).astype("float32")


def one_hot(count=12, classes=3) -> np.ndarray:
    """Labels."""
    return np.eye(classes, dtype="float32")[np.arange(count) % classes]


def of_parts(posterior, likelihood, prior, latent=2, size=5) -> Callable[[], kv.VAE]:
    """A VAE of vectors of functions from an event shape and a network to layers."""

    def build():
        return kv.VAE(posterior(latent, encoder(size)), likelihood(size, decoder(latent)), prior(latent))

    return build


def hierarchy() -> kv.HierarchicalVAE:
    return kv.HierarchicalVAE(
        posteriors=[kv.Normal(4, encoder(5)), kv.Normal(2, decoder(4))],
        likelihood=kv.Bernoulli(5, decoder(4)),
        priors=[kv.Normal(4, decoder(2)), kv.StandardNormal(2)],
    )


def ladder() -> kv.LadderVAE:
    return kv.LadderVAE(
        encoders=[encoder(5), encoder(8)],
        posteriors=[kv.Normal(4), kv.Normal(2)],
        likelihood=kv.Bernoulli(5, decoder(4)),
        priors=[kv.Normal(4, decoder(2)), kv.StandardNormal(2)],
    )


def conditional() -> kv.ConditionalVAE:
    return kv.ConditionalVAE(
        posterior=kv.Normal(2, kv.Concatenated(encoder(5 + 3))),
        likelihood=kv.Bernoulli(5, kv.Concatenated(decoder(2 + 3))),
        prior=kv.Normal(2, encoder(3)),
        condition_shape=3,
    )


def vector_vae(likelihood, prior=kv.StandardNormal, posterior=kv.Normal) -> Callable[[], kv.VAE]:
    def build():
        return kv.VAE(posterior(2, encoder(5)), likelihood(5, decoder(2)), prior(2))

    return build


def incomplete_rows(count=12) -> np.ndarray:
    """Rows of real numbers, positive numbers, counts, bits and codes of three categories, a fifth of them missing."""
    rng = np.random.default_rng(0)
    kinds = [rng.normal(size=count), rng.lognormal(size=count), rng.poisson(2, count), rng.integers(0, 2, count)]
    rows = np.stack([*kinds, rng.integers(0, 3, count)], axis=1).astype("float32")
    rows[rng.random(rows.shape) < 0.2] = np.nan
    return rows


def table_vae() -> kv.VAE:
    distributions = kv.distributions
    columns = {
        "real": kv.Standardized(kv.LearnedScaleNormal(1), 3.0, 2.0),
        "positive": distributions.LogNormal(1),
        "count": distributions.Poisson(1),
        "bit": kv.Bernoulli(1),
        "category": distributions.Categorical(1, levels=3, categories=["a", "b", "c"]),
    }
    likelihood = kv.Columns(columns, decoder(2))
    return kv.VAE(kv.Normal(2, likelihood.encoder([8], "tanh")), likelihood, kv.StandardNormal(2))


def in_units() -> kv.VAE:
    likelihood = kv.Standardized(kv.LearnedScaleNormal(5, decoder(2)), 1000.0, 20.0, list("abcde"))
    return kv.VAE(kv.Normal(2, encoder(5)), likelihood, kv.StandardNormal(2))


def with_dropout() -> kv.VAE:
    def network(size):
        return keras.Sequential([keras.Input((size,)), keras.layers.Dense(8, "tanh"), kv.Dropout(0.3)])

    return kv.VAE(kv.Normal(2, network(5)), kv.Bernoulli(5, network(2)), kv.StandardNormal(2))


def columns_of(model, rows) -> dict[str, np.ndarray]:
    """Rows of a table as they are served, by column: texts of categories, empty where they are missing."""
    layers = getattr(model.likelihood, "columns", None) or dict.fromkeys(model.likelihood.names)
    found = {}
    for values, (name, layer) in zip(np.asarray(rows).T, layers.items(), strict=True):
        texts = getattr(layer, "categories", None)
        cells = [b"" if np.isnan(code) else texts[int(code)].encode() for code in values] if texts else values
        found[name] = np.array(cells, "S24") if texts else values
    return found


def rows_of(model, columns: dict[str, np.ndarray]) -> np.ndarray:
    """The inverse, for texts with spaces around them too."""
    layers = getattr(model.likelihood, "columns", None) or dict.fromkeys(model.likelihood.names)
    rows = []
    for name, layer in layers.items():
        codes = {text.encode(): code for code, text in enumerate(getattr(layer, "categories", None) or ())}
        cells = columns[name]
        rows.append(np.array([codes.get(text.strip(), np.nan) for text in cells]) if codes else cells)
    return np.stack(rows, axis=1)


def has_columns(model) -> bool:
    """Whether a model is served by column."""
    likelihood = getattr(model, "likelihood", None)  # a linear model has none
    return isinstance(likelihood, kv.Columns) or getattr(likelihood, "names", None) is not None


def sequences(length=6, tokens=7, count=12) -> np.ndarray:
    """Random sequences of tokens of all lengths, the longest among them."""
    rng = np.random.default_rng(0)
    made = rng.integers(1, tokens, (count, length)).astype("int32")
    return np.where(np.arange(length) < np.arange(count)[:, None] % (length + 1), made, 0)


def some_missing() -> np.ndarray:
    """Sequences as float32, of which every third one is missing."""
    made = sequences(4, 5).astype("float32")
    made[::3] = np.nan
    return made


def sentence_vae(causal) -> Callable[[], kv.SequenceVAE]:
    """Of sequences of 6 tokens, from a function to a causal network."""

    def build():
        encode = keras.Sequential([kv.TokenEncoder(7, 6, 4), keras.layers.Dense(8, "tanh")])
        network = keras.Sequential([keras.layers.Dense(5, "tanh")])
        likelihood = kv.TokenSequence(6, network, tokens=7, causal=causal(), embedding_size=4, word_dropout=0.3)
        return kv.SequenceVAE(kv.Normal(3, encode), likelihood, kv.StandardNormal(3))

    return build


def language_model() -> kv.LanguageModel:
    causal = kv.CausalTransformer(8, blocks=1, heads=2)
    return kv.LanguageModel(kv.TokenSequence(6, tokens=7, causal=causal, embedding_size=4))


def sequential_autoencoder() -> kv.SequentialAutoencoder:
    return kv.SequentialAutoencoder(
        kv.LogisticNormalTokens(4, kv.TokenMemory(7, 4, 4), tokens=5, causal=kv.CausalLSTM(6), embedding_size=4),
        kv.TokenSequence(6, kv.TokenMemory(5, 4, 4), tokens=7, causal=kv.CausalLSTM(6), embedding_size=4),
        kv.StandardNormal((4, 5)),
    )


CASES = {
    "Bernoulli": Case(image_vae, binary_images),
    "convolutional, GreyLevels, beta, samples": Case(
        convolutional_vae, lambda: 255 * binary_images((7, 5, 2)), lambda: kv.ELBO(beta=0.5, samples=3)
    ),
    "Normal prior and likelihood": Case(vector_vae(kv.Normal, prior=kv.Normal, posterior=kv.FixedScaleNormal), vectors),
    "LearnedScaleNormal prior and likelihood": Case(
        vector_vae(kv.LearnedScaleNormal, prior=kv.LearnedScaleNormal), vectors
    ),
    "FixedScaleNormal likelihood": Case(vector_vae(kv.FixedScaleNormal), vectors),
    "OptimalScaleNormal": Case(vector_vae(kv.OptimalScaleNormal), vectors),
    "FullCovarianceNormal, Laplace, NormalMixture, IWAE": Case(
        of_parts(kv.FullCovarianceNormal, kv.Laplace, functools.partial(kv.NormalMixture, components=3)),
        vectors,
        lambda: kv.IWAE(3),
    ),
    "LowRankNormal, StudentT, Renyi": Case(
        of_parts(kv.LowRankNormal, kv.StudentT, kv.StandardNormal), vectors, lambda: kv.Renyi(0.5, 3)
    ),
    "PowerSpherical, ContinuousBernoulli": Case(
        of_parts(kv.PowerSpherical, kv.ContinuousBernoulli, kv.SphericalUniform, latent=3),
        lambda: binary_images((5,)),
    ),
    "VampPrior, DoublyReparameterized": Case(
        of_parts(kv.Normal, kv.Bernoulli, functools.partial(kv.VampPrior, components=4)),
        lambda: binary_images((5,)),
        lambda: kv.DoublyReparameterized(3),
    ),
    "DiscretizedLogistic, StickingTheLanding": Case(
        of_parts(
            kv.Normal, functools.partial(kv.DiscretizedLogistic, components=2, levels=4, high=3.0), kv.StandardNormal
        ),
        levels,
        kv.StickingTheLanding,
    ),
    "DiscretizedLogisticMixture in GreyLevels": Case(colour_vae, colours),
    "Categorical, InfoVAE": Case(
        of_parts(kv.Normal, functools.partial(kv.Categorical, levels=4), kv.StandardNormal),
        levels,
        lambda: kv.InfoVAE(alpha=0.5, weight=2.0),
    ),
    "Poisson, BetaTC": Case(
        of_parts(kv.Normal, kv.Poisson, kv.StandardNormal), counts, lambda: kv.BetaTC(2.0, examples=12)
    ),
    "NegativeBinomial, Capacity": Case(
        of_parts(kv.Normal, kv.NegativeBinomial, kv.StandardNormal), counts, lambda: kv.Capacity(1.0, gamma=2.0)
    ),
    "ZeroInflatedNegativeBinomial": Case(
        of_parts(kv.Normal, kv.ZeroInflatedNegativeBinomial, kv.StandardNormal), counts
    ),
    "Standardized": Case(in_units, lambda: 1000 + 20 * vectors()),
    "LogNormal": Case(of_parts(kv.Normal, kv.LogNormal, kv.StandardNormal), positive_vectors),
    "Bernoulli latents, ScoreFunction": Case(
        of_parts(kv.Bernoulli, kv.Bernoulli, kv.Bernoulli),
        lambda: binary_images((5,)),
        lambda: kv.ScoreFunction(samples=20, baseline=kv.MovingAverageBaseline()),
    ),
    "OneHotCategorical latents, LearnedBaseline": Case(
        of_parts(kv.OneHotCategorical, kv.Bernoulli, kv.OneHotCategorical, latent=(2, 3)),
        lambda: binary_images((5,)),
        lambda: kv.ScoreFunction(samples=20, baseline=kv.LearnedBaseline(encoder(5))),
    ),
    "RelaxedOneHotCategorical latents": Case(
        of_parts(kv.RelaxedOneHotCategorical, kv.Bernoulli, kv.RelaxedOneHotCategorical, latent=(2, 3)),
        lambda: binary_images((5,)),
    ),
    "RelaxedBernoulli latents, VIMCO": Case(
        of_parts(kv.RelaxedBernoulli, kv.Bernoulli, kv.RelaxedBernoulli),
        lambda: binary_images((5,)),
        lambda: kv.VIMCO(20),
    ),
    "HierarchicalVAE": Case(hierarchy, lambda: binary_images((5,))),
    "LadderVAE": Case(ladder, lambda: binary_images((5,))),
    "TopDownVAE": Case(top_down, binary_images),
    "MONet": Case(slots, lambda: colours((8, 8, 3)) / 255, lambda: kv.ELBO(beta={"z": 0.5, "mask": 0.5})),
    "STOVE": Case(stove, lambda: binary_images((3, 8, 8, 1))),
    "TokenSequence, CausalLSTM": Case(sentence_vae(lambda: kv.CausalLSTM(6, dropout=0.1)), sequences),
    "TokenSequence, CausalTransformer": Case(
        sentence_vae(lambda: kv.CausalTransformer(8, blocks=2, heads=2, dropout=0.1)), sequences
    ),
    "LanguageModel": Case(language_model, sequences),
    "SequentialAutoencoder": Case(sequential_autoencoder, sequences, lambda: kv.ELBO(beta=0.1), targets=some_missing),
    "DeepKalmanFilter": Case(deep_kalman_filter, series),
    "VariationalRNN": Case(variational_rnn, lambda: 1 + 2 * series().astype("float64")),
    "TimeSeries of a recurrent network": Case(recurrent_vae, series),
    "TimeSeries of convolutions, Columns": Case(temporal_convolutional_vae, functools.partial(series, 5)),
    "ConditionalVAE": Case(conditional, lambda: binary_images((5,)), targets=one_hot),
    "Weighted": Case(sparse, lambda: binary_images((5,)), lambda: kv.Weighted(kv.ELBO(), {"size": 0.5})),
    "Adversarial": Case(
        image_vae, binary_images, lambda: kv.Adversarial(critic((8, 8, 1)), kv.ELBO(samples=2), weight=2.0)
    ),
    "VectorQuantized, Categorical": Case(
        quantized(small_codebook(kv.VectorQuantized), kv.Categorical, depth=2),
        binary_images,
        lambda: kv.Weighted(kv.ELBO(), {"commitment": 0.25}),
    ),
    "VQVAE2": Case(two_grids, binary_images, lambda: kv.Weighted(kv.ELBO(), {"commitment_z1": 0.25})),
    "ConditionalVQVAE": Case(
        conditional_codes, binary_images, lambda: kv.Weighted(kv.ELBO(), {"commitment": 0.25}), targets=one_hot
    ),
    "FiniteScalarQuantized, PixelCNN": Case(
        quantized(
            functools.partial(kv.FiniteScalarQuantized, steps=[3, 2]),
            functools.partial(kv.PixelCNN, filters=4, blocks=2, kernel_size=3, attention_heads=2),
        ),
        binary_images,
    ),
    "Columns with missing values": Case(table_vae, incomplete_rows),
    "SpatialTransformer, SpatialBroadcast": Case(glimpse_vae, binary_images),
    "AIR, RelaxedELBO": Case(objects, grey_images, kv.RelaxedELBO),
    "AIR, NVIL": Case(
        functools.partial(objects, difference=True),
        grey_images,
        lambda: kv.NVIL(20, kv.LearnedBaseline(keras.layers.Dense(4, "tanh"))),
    ),
    "Dropout": Case(with_dropout, lambda: binary_images((5,))),
    "InverseAutoregressiveFlow posterior": Case(
        vector_vae(
            kv.FixedScaleNormal, posterior=functools.partial(kv.InverseAutoregressiveFlow, units=[8], context_size=3)
        ),
        vectors,
    ),
    "PlanarFlow posterior, CouplingFlow prior": Case(
        vector_vae(
            kv.FixedScaleNormal,
            prior=functools.partial(kv.CouplingFlow, steps=2, units=[8]),
            posterior=functools.partial(kv.PlanarFlow, steps=2),
        ),
        vectors,
    ),
    "HouseholderFlow posterior, AutoregressiveFlow prior": Case(
        vector_vae(
            kv.FixedScaleNormal,
            prior=functools.partial(kv.AutoregressiveFlow, units=[8]),
            posterior=functools.partial(kv.HouseholderFlow, steps=2),
        ),
        vectors,
    ),
}


def vectors_with_noise(shape, latent_size: int, count=40) -> np.ndarray:
    """Random real observations that are linear in a few latent variables, but for noise."""
    rng = np.random.default_rng(0)
    size = int(np.prod(shape))
    x = rng.normal(size=(count, latent_size)) @ rng.normal(size=(latent_size, size)) + rng.normal(size=size)
    return (x + rng.normal(size=x.shape) * rng.uniform(0.2, 1, size)).reshape(count, *shape).astype("float32")


def autoencoder(shape, likelihood, corruption) -> Callable[[], kv.Autoencoder]:
    def build():
        code = keras.Sequential([encoder(shape), keras.layers.Dense(2)])
        return kv.Autoencoder(code, likelihood(shape, decoder(2)), corruption(0.4))

    return build


def autodecoder(posterior) -> Callable[[], kv.VariationalAutodecoder]:
    def build():
        of_examples = posterior(kv.Normal(2), examples=12)
        return kv.VariationalAutodecoder(of_examples, kv.Bernoulli(5, decoder(2)), kv.StandardNormal(2))

    return build


def numbers() -> np.ndarray:
    return np.arange(12, dtype="int32")


AUTODECODERS = {
    "PerExample": Case(autodecoder(kv.PerExample), lambda: binary_images((5,)), targets=numbers),
    "PerExampleOnDisk": Case(
        autodecoder(kv.PerExampleOnDisk), lambda: binary_images((5,)), targets=numbers, optimizer=kv.RowwiseAdam
    ),
}

# Models that have no trainable weights, or no posterior: tests/test_linear.py, tests/test_autoencoder.py and
# tests/test_adversarial.py make those checks of the conformance suite on these tables that it does not make itself.
LINEAR = {
    "ProbabilisticPCA": Case(lambda: kv.ProbabilisticPCA(2), lambda: vectors_with_noise((5,), 2)),
    "FactorAnalysis of images": Case(lambda: kv.FactorAnalysis(2), lambda: vectors_with_noise((4, 2, 1), 2)),
}
AUTOENCODERS = {
    "MaskingNoise": Case(autoencoder((8, 8, 1), kv.Bernoulli, kv.MaskingNoise), binary_images),
    "GaussianNoise": Case(autoencoder(5, kv.LearnedScaleNormal, kv.GaussianNoise), vectors, lambda: kv.ELBO(samples=3)),
}
GANS = {"GAN": Case(gan, lambda: 255 * binary_images(), lambda: kv.Adversarial(critic((8, 8, 1))))}


def dream() -> kv.DreamingVAE:
    """Of states of 6 bits, and 3 actions."""
    return kv.DreamingVAE(
        posterior=kv.Normal(4, kv.Concatenated(encoder(6 + 3))),
        state=kv.Bernoulli(6, decoder(4)),
        reward=kv.FixedScaleNormal(1, decoder(4), scale=0.5),
        end=kv.Bernoulli(1, decoder(4)),
        prior=kv.StandardNormal(4),
        action_shape=3,
    )


def steps(count=12) -> dict[str, np.ndarray]:
    return {"state": binary_images((6,), count), "action": one_hot(count)}


def outcomes(count=12) -> dict[str, np.ndarray]:
    """The state moves by a place, an end is a bit of it, and the reward a sum of bits."""
    state = steps(count)["state"]
    return {"state": np.roll(state, 1, axis=1), "reward": state[:, :3].sum(axis=1, keepdims=True), "end": state[:, :1]}


# Of data that are dictionaries: tests/test_dreaming.py makes the checks of the conformance suite on it.
DREAMS = {"DreamingVAE": Case(dream, steps, targets=outcomes)}
