"""What the commands write of a trained model: scores, codes, reconstructions, filled and new rows, one for each row."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from keras_vae import evaluation
from keras_vae.datasets import Data, Table
from keras_vae.datasets.cells import Cells
from keras_vae.datasets.columns import rows_of_table
from keras_vae.datasets.writing import ENDINGS, write_parts
from keras_vae.distributions import Columns, Standardized
from keras_vae.distributions.standardized import InUnits
from keras_vae.evaluation.batches import inputs_of
from keras_vae.evaluation.by_example import bounds_by_batch
from keras_vae.evaluation.complexity import code_length, has_levels
from keras_vae.evaluation.imputation import impute_in_parts
from keras_vae.evaluation.log_likelihood import log_likelihood_by_batch
from keras_vae.files import replacing
from keras_vae.models import Autoencoder
from keras_vae.models.vae import UnconditionalModel
from keras_vae.noise import CHUNK, fold
from keras_vae.sampling import ROWS
from keras_vae.serving import draw_bytes
from keras_vae.serving.signatures import moments

if TYPE_CHECKING:
    import pyarrow as pa

VALUES = 2**22  # of observations that are held at once, where they are more than those of one
FILLED = 4000  # rows that are filled together, a multiple of the 100 that share a seed
FIGURE = 2**30  # bytes that a figure may take


def score(
    model, test: tf.data.Dataset, output: Path, samples: int, seed: int, labels=None, background=None, reference=None
) -> None:
    """Writes log p(x), the ELBO and -log p(x | z) of each row, nats, and its label, where it has one.

    With a background, another model, it also writes the likelihood ratio; with a reference, training data, the
    typicality; of images of levels the likelihood that is corrected by complexity: see `evaluation.anomaly_scores`.
    """
    options: dict[str, Any] = {"samples": samples, "seed": seed, "verbose": on_terminal()}
    typical = None if reference is None else evaluation.log_likelihood(model, reference, **options).mean
    estimates = log_likelihood_by_batch(model, test, **options)
    others = None if background is None else log_likelihood_by_batch(background, test, **options | {"verbose": 0})
    images = has_levels(model)

    def parts():
        first = 0
        for batch, values, bounds in zip(test, estimates, bounds_by_batch(model, test, seed=seed), strict=True):
            rows = np.arange(first, first + len(values))
            first += len(values)
            columns = {
                "row": rows,
                "log_likelihood": values,
                "elbo": bounds.elbo,
                "reconstruction_error": -bounds.log_likelihood,
            }
            if others is not None:
                columns["likelihood_ratio"] = next(others) - values
            if typical is not None:
                columns["typicality"] = np.abs(typical - values)
            if images:
                columns["complexity_corrected"] = -values - code_length(model, tf.cast(batch, tf.float32)).numpy()
            yield columns if labels is None else columns | {"label": labels[rows]}

    write_parts(output, parts())


def encode(model, test: tf.data.Dataset, output: Path) -> None:
    """Writes mean and standard deviation of q(z | x) of each row, of each latent variable where there are several."""

    def parts():
        for batch in _rebatched(model, test):
            codes = {name: np.reshape(part, (len(batch), -1)) for name, part in moments(model.encode(batch)).items()}
            if output.suffix.lower() != ".npz":
                pairs = [(name, number, column) for name, rows in codes.items() for number, column in enumerate(rows.T)]
                codes = {f"{name}_{number}": column for name, number, column in pairs}
            yield codes

    write_parts(output, parts())


def reconstruct(model, test: tf.data.Dataset, output: Path) -> None:
    """Writes the mean of p(x | z) for each row, in the units and with the columns of the data."""
    batches = inputs_of(model, model.look_at("predict", _rebatched(model, test)), ROWS)
    write_parts(output, (_columns(model, output, model.predict_on_batch(batch)) for batch in batches))


def impute(model, cells: Cells, output: Path, samples: int, seed: int) -> None:
    """Writes a table with its missing cells filled by their expectation, other columns as they are; `.npz` rows."""
    tables = _tables(cells, FILLED)
    if output.suffix.lower() == ".npz":
        rows = (rows_of_table(model.likelihood, part) for part in tables)
        filled = impute_in_parts(model, rows, samples=samples, seed=seed)
        write_parts(output, ({"x": part} for part in filled))
    else:
        filled = impute_in_parts(model, tables, samples=samples, seed=seed)
        write_parts(output, (dict(zip(part.column_names, part.columns, strict=True)) for part in filled))


def generate(model, output: Path, count: int, seed: int, temperature: float) -> None:
    """Writes what a model generates: `.png` of means, `.npz` with `z` and `mean`, or draws of p(x | z) as columns.

    Files but figures are written a few thousand draws at a time; the first of them are those of a smaller count.
    """
    ending = output.suffix.lower()
    if ending == ".png":
        _draw(model, output, count, seed, temperature)
    elif ending == ".npz" and isinstance(model, UnconditionalModel):
        write_parts(output, _codes_and_means(model, count, seed, temperature))
    elif ending == ".npz":
        means = (model.generate(*draws, temperature).numpy() for draws in _draws(count, seed))
        write_parts(output, ({"mean": part.astype(np.float32)} for part in means))
    else:
        rows = (model.sample(*draws, temperature).numpy() for draws in _draws(count, seed))
        write_parts(output, (_columns(model, output, part) for part in rows))


def _draw(model, output: Path, count: int, seed: int, temperature: float) -> None:
    from keras_vae import plotting
    from keras_vae.plotting.images import bytes_in_mosaic

    shape = model.event_shape
    most = FIGURE // (draw_bytes(model) + (bytes_in_mosaic(shape) if len(shape) == 3 else 0))
    if count > most:
        raise ValueError(
            f"generate needs --count to be at most {most:,} for a .png, whose draws are all held in memory, in "
            f"{FIGURE:,} bytes; files of other endings are written in parts. Received: {count:,}."
        )
    with replacing(output) as temporary:
        plotting.samples(model, count, seed=seed, temperature=temperature, columns=names_of(model)).savefig(temporary)


def _draws(count: int, seed: int) -> Iterator[tuple[int, Any]]:
    """Numbers of draws that are made together, and the seed of each: that of the command for the first."""
    for number, first in enumerate(range(0, max(count, 1), ROWS)):
        yield min(ROWS, count - first), fold(seed, CHUNK, number) if number else seed


def _codes_and_means(model, count: int, seed: int, temperature: float) -> Iterator[dict[str, np.ndarray]]:
    for draws in _draws(count, seed):
        z = model.sample_prior(*draws, temperature).numpy()
        size = _rows_at_once(model)
        for part in (z[start : start + size] for start in range(0, max(len(z), 1), size)):
            yield {"z": part, "mean": model.decode(part).mean().numpy().astype(np.float32)}


def _rows_at_once(model) -> int:
    return min(ROWS, max(1, VALUES // model.dimensions))


def _rebatched(model, test: tf.data.Dataset) -> tf.data.Dataset:
    """The same rows, more of them at a time where they are small, and fewer where they are large."""
    return test.rebatch(_rows_at_once(model), drop_remainder=False)


def _tables(cells: Cells, rows: int) -> "Iterator[pa.Table]":
    """A table, so many rows at a time."""
    import pyarrow as pa

    left = None
    for _, part in cells.parts(cells.names):
        left = part if left is None else pa.concat_tables([left, part])
        while len(left) >= rows:
            yield left.slice(0, rows)
            left = left.slice(rows)
    if left is not None and len(left):
        yield left


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


def _columns(model, output: Path, rows: np.ndarray) -> dict:
    """Rows of observations as what is written of them."""
    if output.suffix.lower() == ".npz":
        return {"x": rows}
    if isinstance(model.likelihood, Columns):
        return Table.of(model.likelihood).to_columns(rows)
    return dict(zip(model.likelihood.names, np.asarray(rows).T, strict=True))


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
        "log_likelihood_error_of_draws": estimate.error_of_draws,
        "log_likelihood_verdict": estimate.verdict,
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
            found["baseline_bits_per_dim"] = estimate.bits_per_dim * found["baseline_log_likelihood"] / estimate.mean
    return found


def diagnose(model, data: Data, figure: Path, seed: int = 0) -> evaluation.Diagnosis | None:
    """The diagnosis of a model on test data, and a figure of it; None without latent variables, or a second row."""
    from keras_vae import plotting

    if isinstance(model, Autoencoder) or data.sizes["test"] < 2:
        return None
    found = evaluation.diagnose(model, data.test, seed=seed, verbose=0)
    with replacing(figure) as temporary:
        plotting.diagnosis(found).savefig(temporary)
    return found


def between_bounds(model, count: int, seed: int = 0) -> evaluation.AnnealedBounds:
    """Both bounds on log p(x) of examples that are drawn from the model."""
    drawn = evaluation.simulate(model, count, seed)
    return evaluation.annealed_importance_sampling(model, drawn, seed=seed, verbose=on_terminal())


def on_terminal() -> int:
    """1 where a progress bar has somebody who watches it."""
    return int(sys.stdout.isatty())
