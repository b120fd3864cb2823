"""A table of mixed columns with missing cells: reads it, trains, and fills the gaps; about a minute.

The columns depend on each other through two hidden causes. A fifth of the cells is taken away at random. The imputation
is scored by the log-likelihood of the cells that were taken away, against columns that are independent.

    python examples/columns.py
"""

import keras
import numpy as np

import keras_vae as kv

NAMES = ("height", "income", "savings", "visits", "claims", "smoker", "region", "job")


def make_table(rows: int = 4000, seed: int = 0) -> dict[str, list]:
    """Typed columns that depend on two hidden causes."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, rows))

    def choose(names, *slopes):
        return np.array(names)[np.argmax(np.outer(a, slopes) + rng.gumbel(size=(rows, len(names))), axis=1)]

    columns = (
        np.round(170 + 6 * a + 6 * b + 3 * rng.normal(size=rows), 1),
        np.round(np.exp(10 + 0.8 * a + 0.3 * rng.normal(size=rows))),
        np.round(2000 * a - 1000 * b + 800 * rng.normal(size=rows), 2),
        rng.poisson(np.exp(0.8 + 0.6 * b)),
        rng.negative_binomial(2, 1 / (1 + np.exp(0.5 - 0.7 * a))),
        (rng.random(rows) < 1 / (1 + np.exp(-2 * b))).astype(int),
        choose(["north", "south", "east"], 2, 0, -2),
        choose(["teacher", "driver", "nurse", "farmer"], 3, 1, -1, -3),
    )
    return dict(zip(NAMES, (column.tolist() for column in columns), strict=True))


def take_away(columns: dict[str, list], share: float, seed: int = 1) -> dict[str, list]:
    """The columns without some of their cells."""
    rng = np.random.default_rng(seed)
    return {
        name: [None if gone else cell for gone, cell in zip(rng.random(len(cells)) < share, cells, strict=True)]
        for name, cells in columns.items()
    }


def build_model(data: kv.datasets.Data) -> kv.VAE:
    """A VAE with 4 latent variables; the likelihood says what the encoder should see."""
    likelihood = data.likelihood(kv.dense_decoder(4, [64, 64]))
    return kv.VAE(kv.Normal(4, likelihood.encoder([64, 64])), likelihood, kv.StandardNormal(4))


def report(table, rows, truth, filled, scores, marginal) -> None:
    """Prints, for the hidden cells, log-likelihood and error of the imputation and of each column alone.

    The error is the root of the mean square, and of categories and bits the share that is wrong.
    """
    print(f"{'column':10}{'nats':>8}{'alone':>8}{'error':>10}{'alone':>10}")
    for place, column in enumerate(table.columns):
        gone, known = np.isnan(rows[:, place]), rows[~np.isnan(rows[:, place]), place]
        right = truth[gone, place]
        if column.categories or column.kind is kv.Bernoulli:
            values, counts = np.unique(known, return_counts=True)
            errors = [np.mean(np.round(filled[gone, place]) != right), np.mean(values[counts.argmax()] != right)]
        else:
            guesses = (filled[gone, place], known.mean())
            errors = [np.sqrt(np.mean((guess - right) ** 2)) for guess in guesses]
        nats = (np.nanmean(score[:, place]) for score in (scores, marginal))
        print(f"{column.name:10}" + "".join(f"{value:8.3f}" for value in nats) + "".join(f"{e:10.4g}" for e in errors))
    gain = (scores - marginal)[~np.isnan(scores)]
    error = gain.std(ddof=1) / np.sqrt(len(gain))
    print(f"log-likelihood of a hidden cell: {gain.mean():.3f} +- {error:.3f} nats above independent columns")


def main() -> None:
    """Trains on the incomplete table, and fills all of it."""
    keras.utils.set_random_seed(0)
    complete = make_table()
    incomplete = take_away(complete, 0.2)
    data = kv.datasets.load(incomplete, likelihood=kv.Columns)
    print(data)
    vae = build_model(data)
    vae.compile(keras.optimizers.Adam(2e-3), loss=kv.ELBO())
    vae.fit(data.train, epochs=60, validation_data=data.validation, verbose=2)

    rows, truth = data.table.to_array(incomplete), data.table.to_array(complete)
    filled = kv.evaluation.impute(vae, rows, samples=500)
    scores = kv.evaluation.log_likelihood_of_missing(vae, rows, truth, samples=500)
    hidden = np.where(np.isnan(rows), truth, np.nan)
    marginal = kv.evaluation.independent_columns(data.train, [hidden], vae.likelihood)
    report(data.table, rows, truth, filled, scores, marginal)
    data.table.write("filled.csv", filled)
    print(data.table.to_columns(vae.sample(3, seed=0)))  # rows that were never there


if __name__ == "__main__":
    main()
