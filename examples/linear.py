"""What a linear model can say of handwritten digits: probabilistic PCA, factor analysis, and a linear VAE.

All three are x = W z + mean + noise, with z ~ N(0, I). The first two are fitted exactly, and know log p(x). The VAE is
trained by gradients through draws of z, and its log p(x) is sampled: it has the likelihood of probabilistic PCA, whose
maximum its bound approaches from below (Lucas et al. 2019, arXiv:1911.02469).

python examples/linear.py
"""

import keras
import numpy as np

import keras_vae as kv

LATENTS, EPOCHS = 8, 100
ROUNDING = 1 / 16**2 / 12  # variance of the rounding to 17 grey levels: no noise of a pixel can be smaller


def load_data() -> kv.datasets.Data:
    """Grey levels in [0, 1], 8x8 pixels, as continuous values."""
    return kv.datasets.load("digits", batch_size=64, likelihood=kv.LearnedScaleNormal)


def fit_exactly(data) -> dict[str, kv.LatentVariableModel]:
    """One closed form, and one climb by expectation maximization: tenths of a second."""
    models = {
        "ProbabilisticPCA": kv.ProbabilisticPCA(LATENTS),
        "FactorAnalysis": kv.FactorAnalysis(LATENTS, min_variance=ROUNDING),
    }
    for model in models.values():
        model.fit(data.train, validation_data=data.validation, verbose=0)
    return models


def train_vae(data) -> kv.VAE:
    """Linear mean of q(z | x), linear mean of p(x | z), and one noise for all pixels."""
    vae = kv.VAE(
        posterior=kv.Normal(LATENTS, keras.layers.Flatten()),
        likelihood=kv.LearnedScaleNormal(data.shape),
        prior=kv.StandardNormal(LATENTS),
    )
    steps = EPOCHS * int(data.train.cardinality())
    vae.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-2, steps)), loss=kv.ELBO())
    vae.fit(data.train, validation_data=data.validation, epochs=EPOCHS, verbose=0)
    return vae


def main() -> None:
    """Prints log p(x) of the test rows, in nats per image."""
    data = load_data()
    print(data)
    test = np.concatenate([x.numpy() for x in data.test])
    for name, model in fit_exactly(data).items():
        log_p = model.log_prob(test).numpy()
        error = log_p.std(ddof=1) / np.sqrt(len(log_p))
        print(f"{name}: log p(x) = {log_p.mean():.3f} +- {error:.3f} nats, exact")
    vae = train_vae(data)
    logs = vae.evaluate(data.test, verbose=0, return_dict=True)
    print(f"Linear VAE: ELBO = {-logs['loss']:.3f} nats, one draw of z for each image")
    print(f"Linear VAE: {kv.evaluation.log_likelihood(vae, data.test, samples=500, verbose=0)}")


if __name__ == "__main__":
    main()
