"""What the commands write of a trained model: scores, codes, reconstructions, filled and new rows, one for each row."""

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_vae import evaluation
from keras_vae.datasets import Data, Table
from keras_vae.datasets.cells import Cells
from keras_vae.datasets.columns import rows_of_table
from keras_vae.datasets.writing import ENDINGS, write_columns
from keras_vae.distributions import Columns, Standardized
from keras_vae.distributions.standardized import InUnits
from keras_vae.evaluation.complexity import code_lengths, has_levels
from keras_vae.files import replacing, write_npz
from keras_vae.models.base import ROWS
from keras_vae.models.vae import UnconditionalModel
from keras_vae.serving.signatures import moments


def score(
    model, test: tf.data.Dataset, output: Path, samples: int, seed: int, labels=None, background=None, reference=None
) -> None:
    """Writes log p(x), the ELBO and -log p(x | z) of each row, nats, and its label, where it has one.

    With a background, another model, it also writes the likelihood ratio; with a reference, training data, the
    typicality; of images of levels the likelihood that is corrected by complexity: see `evaluation.anomaly_scores`.
    """
    estimate = evaluation.log_likelihood(model, test, samples=samples, seed=seed, verbose=on_terminal())
    bounds = evaluation.bounds(model, test, seed=seed)
    columns = {
        "row": np.arange(len(bounds.elbo)),
        "log_likelihood": estimate.values,
        "elbo": bounds.elbo,
        "reconstruction_error": -bounds.log_likelihood,
    }
    scored: dict[str, Any] = {"samples": samples, "seed": seed, "verbose": on_terminal()}
    if background is not None:
        columns["likelihood_ratio"] = evaluation.log_likelihood(background, test, **scored).values - estimate.values
    if reference is not None:
        columns["typicality"] = np.abs(evaluation.log_likelihood(model, reference, **scored).mean - estimate.values)
    if has_levels(model):
        columns["complexity_corrected"] = -estimate.values - code_lengths(model, test)
    if labels is not None:
        columns["label"] = labels
    write_columns(output, columns)


def encode(model, test: tf.data.Dataset, output: Path) -> None:
    """Writes mean and standard deviation of q(z | x) of each row, of each latent variable where there are several."""
    parts = []
    for batch in test:
        parts.append({name: np.reshape(part, (len(batch), -1)) for name, part in moments(model.encode(batch)).items()})
    codes = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    if output.suffix.lower() != ".npz":
        pairs = [(name, number, column) for name, rows in codes.items() for number, column in enumerate(rows.T)]
        codes = {f"{name}_{number}": column for name, number, column in pairs}
    write_columns(output, codes)


def reconstruct(model, test: tf.data.Dataset, output: Path) -> None:
    """Writes the mean of p(x | z) for each row, in the units and with the columns of the data."""
    _write_rows(model, output, model.predict(test, verbose=0))


def impute(model, cells: Cells, output: Path, samples: int, seed: int) -> None:
    """Writes a table with its missing cells filled by their expectation, other columns as they are; `.npz` rows."""
    import pyarrow as pa

    if output.suffix.lower() == ".npz":
        rows = rows_of_table(model.likelihood, cells)
        _write_rows(model, output, evaluation.impute(model, rows, samples=samples, seed=seed))
    else:
        whole = pa.concat_tables([part for _, part in cells.parts(cells.names)])  # in memory, as the answer is
        table = evaluation.impute(model, whole, samples=samples, seed=seed)
        write_columns(output, dict(zip(table.column_names, table.columns, strict=True)))


def generate(model, output: Path, count: int, seed: int, temperature: float) -> None:
    """Writes what a model generates: `.png` of means, `.npz` with `z` and `mean`, or draws of p(x | z) as columns."""
    from keras_vae import plotting

    ending = output.suffix.lower()
    if ending == ".png":
        with replacing(output) as temporary:
            plotting.samples(model, count, seed=seed, temperature=temperature, columns=names_of(model)).savefig(
                temporary
            )
    elif ending == ".npz" and not isinstance(model, UnconditionalModel):
        write_columns(output, {"mean": model.generate(count, seed, temperature).numpy()})
    elif ending == ".npz":
        z = model.sample_prior(count, seed, temperature).numpy()
        means = (model.decode(z[start : start + ROWS]).mean().numpy() for start in range(0, count, ROWS))
        with replacing(output) as temporary:
            write_npz(temporary, {"z": (z.shape, [z]), "mean": ((count, *model.event_shape), means)})
    else:
        _write_rows(model, output, model.sample(count, seed, temperature).numpy())


def check_output(model, name: str, output: Path) -> None:
    """Raises `ValueError` for a file that a command could not write, before it does any work."""
    endings = (".png", *ENDINGS) if name == "generate" else ENDINGS
    if output.suffix.lower() not in endings:
        raise ValueError(f"{name} needs --output to end in {', '.join(endings)}. Received: {output}.")
    if model is not None and name == "impute" and not isinstance(model.likelihood, Columns):
        raise ValueError(
            "impute needs a run whose model knows missing cells: train a table with --likelihood columns or --kinds. "
            f"Received: a {type(model).__name__} of other data."
        )
    rows = name in ("reconstruct", "impute", "generate") and output.suffix.lower() not in (".png", ".npz")
    if model is not None and model.takes.y is not None:
        raise ValueError(
            f"{name} needs a model of x alone. Received: a {type(model).__name__}, of data with conditions."
        )
    if model is not None and rows and names_of(model) is None:
        raise ValueError(f"{name} needs --output to end in .npz for data without columns. Received: {output}.")


def names_of(model) -> list[str] | None:
    """Names of the columns that a model was trained on; None where they had none."""
    layer = model.likelihood
    if isinstance(layer, Columns):
        return list(layer.columns)
    return layer.names if isinstance(layer, Standardized) else None


def _write_rows(model, output: Path, rows: np.ndarray) -> None:
    if output.suffix.lower() == ".npz":
        write_columns(output, {"x": rows})
    elif isinstance(model.likelihood, Columns):
        Table.of(model.likelihood).write(output, rows)
    else:
        write_columns(output, dict(zip(model.likelihood.names, np.asarray(rows).T, strict=True)))


def scores(model, data: Data, samples: int = 500, seed: int = 0, baseline: bool = True, verbose: int = 0) -> dict:
    """Test scores in nats per example: ELBO, log p(x) with its standard error, bits per dimension, and the baseline.

    Densities are those of the units of the data; of standardised values they are `log_volume` more.
    """
    logs = model.evaluate(data.test, verbose=0, return_dict=True)
    estimate = evaluation.log_likelihood(model, data.test, samples=samples, seed=seed, verbose=verbose)
    found = {
        "data": data.name,
        "test_examples": len(estimate.values),
        "elbo": logs["log_likelihood"] - logs["kl"],
        "log_likelihood": estimate.mean,
        "log_likelihood_standard_error": estimate.standard_error,
        "log_likelihood_samples": estimate.samples,
    }
    if isinstance(model.likelihood, InUnits) and not model.discrete:
        found["log_volume"] = model.likelihood.log_volume
    if model.discrete:
        found["bits_per_dim"] = estimate.bits_per_dim
    if baseline:
        if isinstance(model.likelihood, Columns):
            by_column = evaluation.independent_columns(data.train, data.test, model.likelihood)
            values = np.nansum(by_column, axis=1)
        else:
            values = evaluation.independent_values(data.train, data.test, model.likelihood)
        found["baseline_log_likelihood"] = float(values.mean())
        if model.discrete:
            found["baseline_bits_per_dim"] = -found["baseline_log_likelihood"] / (estimate.dimensions * math.log(2))
    return found


def on_terminal() -> int:
    """1 where a progress bar has somebody who watches it."""
    return int(sys.stdout.isatty())
