"""One digit is held out of training, and is to be told from the others: AUROC and average precision of each score.

python benchmarks/anomalies.py [--mnist] [--seeds 3]

The digits of scikit-learn, 8x8, or the test images of MNIST, 28x28, binary. Four fifths of the other nine digits are
trained on; the test set is the last fifth, and as many of the held-out digit, at most.
"""

import argparse

import keras
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score

import keras_vae as kv

LATENTS = {8: 8, 28: 32}  # by the height of an image
NOTES = """
What the table says, and what it does not:
- Likelihoods are weakest for the one, the plainest digit: much of what makes it likely is that it has few edges. Of the
  scores here only the correction by complexity finds it well, on 8x8 digits, and that one is the worst for most others.
- A ratio to a background helps where the background has learned what is common to all images and nothing else. Pixels
  flipped at random are no such background for every digit: compare its row with that of the likelihood.
- An AUROC below 0.5 means that the held-out digit looks more normal than normal ones: the score is wrong, not weak.
- A plain autoencoder may be as good as any of them here; it has no density, and generates nothing.
- No score is the best for all digits: choose by anomalies that you know."""


def load(mnist: bool) -> tuple[np.ndarray, np.ndarray]:
    """Binary images, shape (examples, height, width, 1), and their digits."""
    if not mnist:
        digits = load_digits()
        return (digits.images[..., None] > 7).astype("float32"), digits.target
    data = kv.datasets.load("mnist", 1000, likelihood=kv.Bernoulli)
    images = np.concatenate([np.asarray(batch) for batch in data.test])
    return images, np.asarray(data.labels["test"])


class Restarted:
    """A model that is trained anew from the same weights: what is compiled is compiled once."""

    def __init__(self, model: kv.LatentVariableModel, shape: tuple[int, ...]):
        model.compile(keras.optimizers.Adam(0.002))
        model.build((None, *shape))
        model.optimizer.build(model.trainable_variables)
        self.model = model
        self.variables = [*model.variables, *model.optimizer.variables]
        self.start = [variable.numpy() for variable in self.variables]

    def fit(self, x: np.ndarray, epochs: int) -> kv.LatentVariableModel:
        for variable, value in zip(self.variables, self.start, strict=True):
            variable.assign(value)
        self.model.fit(x, epochs=epochs, batch_size=64, verbose=0)
        return self.model


def vae(shape: tuple[int, ...], seed: int) -> kv.VAE:
    latents = LATENTS[shape[0]]
    return kv.VAE(
        kv.Normal(latents, kv.dense_encoder(shape)),
        kv.Bernoulli(shape, kv.dense_decoder(latents)),
        kv.StandardNormal(latents),
        seed=seed,
    )


def autoencoder(shape: tuple[int, ...], seed: int) -> kv.Autoencoder:
    latents = LATENTS[shape[0]]
    network = keras.Sequential([kv.dense_encoder(shape), keras.layers.Dense(latents)])
    return kv.Autoencoder(network, kv.Bernoulli(shape, kv.dense_decoder(latents)), seed=seed)


def scores_of(
    models: dict[str, Restarted], train: np.ndarray, test: np.ndarray, seed: int, epochs: int
) -> dict[str, np.ndarray]:
    """By name, higher for the stranger."""
    rng = np.random.default_rng(seed)
    model = models["vae"].fit(train, epochs)
    flipped = np.where(rng.random(train.shape) < 0.2, 1 - train, train)  # Ren et al. 2019: what is common remains
    background = models["background"].fit(flipped, epochs)
    reference = train[rng.permutation(len(train))[:500]]
    found = kv.evaluation.anomaly_scores(model, test, background, reference, samples=50).arrays()
    plain = models["autoencoder"].fit(train, epochs)
    found["Autoencoder"] = kv.evaluation.ReconstructionProbability(1).values(plain, test)
    rows, test_rows = train.reshape(len(train), -1), test.reshape(len(test), -1)
    pca = PCA(LATENTS[train.shape[1]]).fit(rows)
    found["PCA"] = np.sum((test_rows - pca.inverse_transform(pca.transform(test_rows))) ** 2, axis=1)
    found["IsolationForest"] = -IsolationForest(random_state=seed).fit(rows).score_samples(test_rows)
    return found


def main(options: argparse.Namespace) -> None:
    x, digits = load(options.mnist)
    results: dict[str, list] = {}
    for seed in range(options.seeds):
        keras.utils.set_random_seed(seed)
        makers = {"vae": vae, "background": vae, "autoencoder": autoencoder}
        models = {name: Restarted(make(x.shape[1:], seed), x.shape[1:]) for name, make in makers.items()}
        for digit in range(10):
            rng = np.random.default_rng([seed, digit])
            normal, strange = (rng.permutation(np.flatnonzero(which)) for which in (digits != digit, digits == digit))
            held_out = len(normal) // 5
            strange = strange[:held_out]
            test = np.concatenate([x[normal[:held_out]], x[strange]])
            labels = np.arange(len(test)) >= held_out
            for name, values in scores_of(models, x[normal[held_out:]], test, seed, options.epochs).items():
                figures = roc_auc_score(labels, values), average_precision_score(labels, values)
                results.setdefault(name, []).append(figures)
            print(f"seed {seed}, digit {digit}: {held_out} normal, {len(strange)} others", flush=True)
    for number, title in enumerate(("AUROC", "average precision")):
        print(f"\n| {title}, by the digit held out | {' | '.join(map(str, range(10)))} | mean |\n|{'---|' * 12}")
        for name, figures in results.items():
            table = np.reshape([pair[number] for pair in figures], (options.seeds, 10))
            cells = [f"{value:.2f}" for value in table.mean(axis=0)]
            spread = f" +- {table.mean(axis=1).std(ddof=1):.3f}" if options.seeds > 1 else ""
            print(f"| {name} | {' | '.join(cells)} | {table.mean():.3f}{spread} |")
    print(NOTES)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mnist", action="store_true", help="MNIST in place of scikit-learn's digits")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=40)
    main(parser.parse_args())
