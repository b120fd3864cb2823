"""A run: one folder that holds a model, how it was trained, its scores and its figures."""

import csv
import dataclasses
import json
import math
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_vae import __version__
from keras_vae.files import replacing, write_npz, write_text
from keras_vae.run_folder import RunFolder

STEPS, EPOCHS = 3000, 20  # at least so many of each, where the number of epochs is not given


@dataclass(frozen=True)
class Settings:
    """What a run was asked for; None is chosen from the data."""

    data: str = "digits"
    epochs: int | None = None
    batch_size: int = 32
    latent_size: int = 16
    network: str = "dense"
    likelihood: str | None = None
    kinds: str | None = None
    beta: float = 1.0
    learning_rate: float = 2e-3
    seed: int = 0

    def __post_init__(self):
        for name in ("epochs", "batch_size", "latent_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"train needs --{name.replace('_', '-')} to be 1 or more. Received: {value}.")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"train needs --learning-rate to be a positive number. Received: {self.learning_rate}.")
        if self.kinds and self.likelihood:
            raise ValueError(
                f"train needs --kinds or --likelihood, not both. Received: {self.kinds} and {self.likelihood}."
            )
        self.kinds_by_name()

    def kinds_by_name(self) -> dict[str, str]:
        """The names of classes by column, "-" to leave it out, of `kinds`, "age=Normal,id=-"."""
        given = {}
        for part in (self.kinds or "").split(","):
            name, sign, kind = part.rpartition("=")
            if sign and name.strip() and kind.strip():
                given[name.strip()] = kind.strip()
            elif part.strip():
                raise ValueError(f"train needs --kinds such as age=Normal,visits=Poisson,id=-. Received: {part!r}.")
        return given

    @classmethod
    def names(cls) -> list[str]:
        """Names of the settings."""
        return [field.name for field in dataclasses.fields(cls)]


class Run:
    """A folder of one training run.

    It holds `run.json` (the settings, and an id of the run), `checkpoint/` (with the id of the run that it is of),
    `history.csv` and, once trained, `model.keras`, `saved_model/1`, `metrics.json` and figures as `.png`. While a
    process trains it holds the lock `run.lock`, and no other process trains in the folder.

    Args:
        path: the folder.
        settings: what the run was asked for; None for a folder that holds only `model.keras`.
        folder: where `train` is to write; None for a run that is only read.
    """

    def __init__(self, path: Path, settings: Settings | None, folder: RunFolder | None = None):
        self.path = path
        self.settings: Any = settings
        self.folder: Any = folder

    @classmethod
    def create(cls, path: Path, settings: Settings, overwrite: bool = False) -> "Run":
        """Starts a run in a new or empty folder, or with `overwrite` in the place of an older run.

        Raises:
            FileExistsError: for a folder with anything else in it, and for another run without `overwrite`.
            BlockingIOError: for a folder that another process trains in.
        """
        folder = RunFolder(path, replace=overwrite)
        folder.check()
        return cls(path, settings, folder)

    @classmethod
    def resume(cls, path: Path, given: dict) -> "Run":
        """Opens a run to train on; of its settings only the number of epochs may be given anew.

        Raises:
            FileNotFoundError: for a folder without a run.
            ValueError: for settings that differ from those of the run, and for the checkpoint of another run.
            BlockingIOError: for a folder that another process trains in.
        """
        run = cls.open(path)
        if run.settings is None:
            raise FileNotFoundError(f"train --resume needs the folder of a run. Received: {path}, without a run.json.")
        before = dataclasses.asdict(run.settings)
        changed = [name for name, value in given.items() if name != "epochs" and value != before[name]]
        if changed:
            differences = ", ".join(f"{name}={given[name]} (the run has {before[name]})" for name in changed)
            raise ValueError(f"train --resume needs the settings of the run. Received: {differences}.")
        identity, _ = RunFolder.read(path)
        folder = RunFolder(path, identity, resumes=True)
        folder.check()
        return cls(path, dataclasses.replace(run.settings, **given), folder)

    @classmethod
    def open(cls, path: Path) -> "Run":
        """Opens a run.

        Raises:
            FileNotFoundError: for a folder that holds neither a run nor a model.
        """
        if (path / "run.json").is_file():
            _, settings = RunFolder.read(path)
            return cls(path, Settings(**settings))
        if (path / "model.keras").is_file():
            return cls(path, None)
        raise FileNotFoundError(
            f"keras-vae needs the folder of a run. Received: {path}, without run.json or model.keras."
        )

    def train(self, command: str, verbose: int | str = "auto") -> None:
        """Trains, or trains on from the checkpoint, then writes the model, its scores and its figures."""
        import keras

        from keras_vae import ELBO, callbacks

        settings = self.settings
        keras.utils.set_random_seed(settings.seed)
        data = self._load_data(settings.data)
        print(data)
        model = _build_model(settings, data)
        model.compile(
            keras.optimizers.Adam(settings.learning_rate),
            loss=ELBO(beta=settings.beta),
        )
        model.build((None, *data.shape))
        epochs = settings.epochs or max(EPOCHS, math.ceil(STEPS / len(data.train)))
        print(f"{settings.network} networks, {settings.latent_size} latent variables, {model.count_params():,} weights")
        print(model.loss.describe(), flush=True)
        with self.folder.alone():
            self.folder.begin(dataclasses.asdict(dataclasses.replace(settings, epochs=epochs)))
            model.fit(
                data.train,
                epochs=epochs,
                validation_data=data.validation,
                verbose=verbose,
                callbacks=[
                    callbacks.HistoryLogger(self.path / "history.csv"),
                    callbacks.BackupAndRestore(self.path / "checkpoint"),
                ],
            )
            self.folder.check_identity()
            model.save(self.path / "model.keras")
            self._write_results(model, data, command)

    def evaluate(self, source: str | None = None, samples: int = 500, seed: int = 0) -> dict:
        """Scores the model on the test split of its own data or of another source; see `_scores`."""
        if source is None and self.settings is None:
            raise ValueError(f"evaluate needs DATA for a folder without a run.json. Received: {self.path}.")
        model = self._load_model()
        data = self._load_data(self.settings.data) if source is None else self._load_for(model, source)
        print(data, flush=True)
        return _scores(model, data, samples, seed, baseline=source is None)

    def score(self, source: str, output: Path, samples: int, seed: int) -> None:
        """Writes log p(x), the ELBO and -log p(x | z) of each row of a source, nats."""
        from keras_vae import evaluation
        from keras_vae.datasets.writing import check_ending, write_columns

        check_ending(output, "score")
        model = self._load_model()
        test = self._load_for(model, source).test
        estimate = evaluation.log_likelihood(model, test, samples=samples, seed=seed)
        bounds = evaluation.bounds(model, test, seed=seed)
        columns = {
            "row": np.arange(len(bounds.elbo)),
            "log_likelihood": estimate.values,
            "elbo": bounds.elbo,
            "reconstruction_error": -bounds.log_likelihood,
        }
        write_columns(output, columns)

    def encode(self, source: str, output: Path) -> None:
        """Writes mean and standard deviation of q(z | x) for each row of a source."""
        from keras_vae.datasets.writing import check_ending, write_columns

        check_ending(output, "encode")
        model = self._load_model()
        parts = []
        for batch in self._load_for(model, source).test:
            posterior = model.encode(batch)
            parts.append([np.reshape(part, (len(batch), -1)) for part in (posterior.mean(), posterior.stddev())])
        moments = dict(zip(("mean", "stddev"), map(np.concatenate, zip(*parts, strict=True)), strict=True))
        if output.suffix.lower() == ".npz":
            write_columns(output, moments)
        else:
            write_columns(
                output, {f"{name}_{i}": column for name, values in moments.items() for i, column in enumerate(values.T)}
            )

    def reconstruct(self, source: str, output: Path) -> None:
        """Writes the mean of p(x | z) for each row of a source, in the units and with the columns of the data."""
        model = self._load_model()
        self._write_rows(model, output, "reconstruct", lambda test: model.predict(test, verbose=0), source)

    def impute(self, source: str, output: Path, samples: int, seed: int) -> None:
        """Writes the rows of a source with their missing cells filled by their expectation."""
        from keras_vae import evaluation

        model = self._load_model()

        def fill(test):
            return evaluation.impute(model, test, samples=samples, seed=seed)

        self._write_rows(model, output, "impute", fill, source)

    def _write_rows(self, model, output: Path, owner: str, make, source: str | None = None) -> None:
        """Writes rows, or images, that `make` makes of the test split of a source: typed columns, or `.npz`."""
        from keras_vae.datasets.writing import check_ending, write_columns

        check_ending(output, owner)
        columns = _columns_of(model)
        if columns is None and output.suffix.lower() != ".npz":
            raise ValueError(f"{owner} needs --output to end in .npz for data without columns. Received: {output}.")
        rows = make(None if source is None else self._load_for(model, source).test)
        write_columns(output, {"x": rows} if output.suffix.lower() == ".npz" else columns(rows))

    def generate(self, output: Path, count: int, seed: int, temperature: float) -> None:
        """Writes what the model generates.

        A `.png` of means of p(x | z), a `.npz` with `z` and `mean`, or, of a table, draws of p(x | z) as typed columns.
        """
        from keras_vae import plotting
        from keras_vae.models.base import ROWS

        if output.suffix not in (".png", ".npz", ".csv", ".tsv", ".parquet", ".arrow"):
            raise ValueError(f"generate needs --output to end in .png, .npz, .csv or .parquet. Received: {output}.")
        if count < 1:
            raise ValueError(f"generate needs --count to be 1 or more. Received: {count}.")
        model = self._load_model()
        if output.suffix not in (".png", ".npz"):
            self._write_rows(model, output, "generate", lambda _: model.sample(count, seed, temperature).numpy())
            return
        with replacing(output) as temporary:
            if output.suffix == ".png":
                plotting.samples(model, count, seed=seed, temperature=temperature).savefig(temporary)
            else:
                z = model.sample_prior(count, seed, temperature).numpy()
                means = (model.decode(z[start : start + ROWS]).mean().numpy() for start in range(0, count, ROWS))
                write_npz(temporary, {"z": (z.shape, [z]), "mean": ((count, *model.event_shape), means)})

    def export(self, path: Path) -> None:
        """Writes the model as a SavedModel."""
        if path.exists():  # said before the seconds that loading takes
            raise FileExistsError(f"export needs a folder that does not exist yet. Received: {path}, which exists.")
        self._load_model().export(path)

    def _load_model(self):
        from keras_vae import load_model

        if not (self.path / "model.keras").is_file():
            raise FileNotFoundError(
                f"keras-vae needs a run that has finished training. Received: {self.path}, without model.keras; "
                "`keras-vae train --resume` goes on with it."
            )
        model = load_model(self.path / "model.keras")
        if not model.compiled:  # saved without its optimizer
            model.compile()
        return model

    def _load_data(self, source: str):
        """The data of the run, as its settings say."""
        from keras_vae import Columns, datasets
        from keras_vae.datasets.cells import is_table, read_cells

        settings = self.settings
        likelihood: Any = _likelihoods()[settings.likelihood] if settings.likelihood else None
        data: Any = source
        if settings.kinds:
            likelihood = _kinds(settings.kinds_by_name())
        elif likelihood is None and is_table(source) and Path(source).is_file():
            data = read_cells(source)
            likelihood = None if data.all_numbers else Columns
        return datasets.load(data, settings.batch_size, likelihood, settings.seed)

    def _load_for(self, model, source: str):
        """All examples of a source, to be scored by a model."""
        from keras_vae import Columns, Standardized, datasets

        settings = self.settings or Settings()
        layer = model.likelihood.layer if isinstance(model.likelihood, Standardized) else model.likelihood
        kind = None if isinstance(layer, Columns) else type(layer)
        return datasets.load(source, settings.batch_size, kind, settings.seed, like=model, whole=True)

    def _write_results(self, model, data, command: str) -> None:
        if (self.path / "saved_model").exists():  # of the same run, before it was trained on
            shutil.rmtree(self.path / "saved_model")
        model.export(self.path / "saved_model" / "1")
        history = _read_history(self.path / "history.csv")
        metrics = _scores(model, data) | {
            "epochs": len(history["epoch"]),
            "seconds": round(sum(history.pop("seconds")), 1),
            "seed": self.settings.seed,
            "command": command,
            "versions": _versions(),
        }
        write_text(self.path / "metrics.json", json.dumps(metrics, indent=2) + "\n")
        self._write_figures(model, data, history)
        print(
            f"Test set: ELBO {metrics['elbo']:.2f}, log p(x) {metrics['log_likelihood']:.2f} +- "
            f"{metrics['log_likelihood_standard_error']:.2f} nats ({metrics['log_likelihood_samples']} samples), "
            f"independent values {metrics['baseline_log_likelihood']:.2f}"
        )
        print(f"Wrote {self.path}: " + ", ".join(sorted(part.name for part in self.folder.parts())))

    def _write_figures(self, model, data, history: dict) -> None:
        from keras_vae import plotting

        test = np.concatenate([batch.numpy() for batch in data.test.take(math.ceil(1000 / self.settings.batch_size))])
        figures = {
            "reconstructions": plotting.reconstructions(model, test, columns=data.columns),
            "samples": plotting.samples(model, x=None if data.columns is None else test, columns=data.columns),
            "latent": plotting.latent_plane(model, test),
            "curves": plotting.curves(history),
        }
        for name, figure in figures.items():
            with replacing(self.path / f"{name}.png") as temporary:
                figure.savefig(temporary)


def _likelihoods() -> dict:
    from keras_vae import Bernoulli, Columns, LearnedScaleNormal, Normal

    return {
        "bernoulli": Bernoulli,
        "normal": Normal,
        "learned-scale-normal": LearnedScaleNormal,
        "columns": Columns,
    }


def _kinds(names: dict[str, str]) -> dict:
    """Distribution layers by column, of the names of their classes; None for "-"."""
    from keras_vae import distributions

    kinds = {name: getattr(distributions, kind, None) for name, kind in names.items()}
    for name, kind in kinds.items():
        known = isinstance(kind, type) and issubclass(kind, distributions.DistributionLayer)
        if not known and names[name] != "-":
            raise ValueError(
                "train needs --kinds of the names of distributions, such as Normal, LogNormal, Poisson, "
                f"NegativeBinomial, Bernoulli, Categorical, or - to leave a column out. Received: {name}={names[name]}."
            )
    return kinds


def _columns_of(model):
    """From rows of a model to columns by name; None for a model whose data have no columns."""
    from keras_vae import Columns, Standardized
    from keras_vae.datasets import Table

    layer = model.likelihood
    if isinstance(layer, Columns):
        return Table.of(layer).to_columns
    if isinstance(layer, Standardized) and layer.names is not None:
        return lambda rows: dict(zip(layer.names, np.asarray(rows).T, strict=True))
    return None


def _build_model(settings: Settings, data):
    import keras_vae as kv

    if settings.network == "convolutional":
        encoder = kv.convolutional_encoder(data.shape)
        decoder = kv.convolutional_decoder(settings.latent_size, data.shape)
    else:
        encoder = None
        decoder = kv.dense_decoder(settings.latent_size)
    likelihood = data.likelihood(decoder)
    if encoder is None:
        encoder = likelihood.encoder() if isinstance(likelihood, kv.Columns) else kv.dense_encoder(data.shape)
    return kv.VAE(
        posterior=kv.Normal(settings.latent_size, encoder),
        likelihood=likelihood,
        prior=kv.StandardNormal(settings.latent_size),
        seed=settings.seed,
    )


def _scores(model, data, samples: int = 500, seed: int = 0, baseline: bool = True) -> dict:
    """Test scores in nats per example: ELBO, log p(x) with its standard error, bits per dimension, and the baseline.

    Densities are those of the units of the data; `log_volume` more where the data are standardised.
    """
    from keras_vae import Columns, Standardized, evaluation

    logs = model.evaluate(data.test, verbose=0, return_dict=True)
    estimate = evaluation.log_likelihood(model, data.test, samples=samples, seed=seed, verbose=0)
    scores = {
        "data": data.name,
        "test_examples": len(estimate.values),
        "elbo": logs["log_likelihood"] - logs["kl"],
        "log_likelihood": estimate.mean,
        "log_likelihood_standard_error": estimate.standard_error,
        "log_likelihood_samples": estimate.samples,
    }
    if isinstance(model.likelihood, Standardized):
        scores["log_volume"] = model.likelihood.log_volume
    if model.discrete:
        scores["bits_per_dim"] = estimate.bits_per_dim
    if baseline:
        if isinstance(model.likelihood, Columns):
            by_column = evaluation.independent_columns(data.train, data.test, model.likelihood)
            values = np.nansum(by_column, axis=1)
        else:
            values = evaluation.independent_values(data.train, data.test, model.likelihood)
        scores["baseline_log_likelihood"] = float(values.mean())
        if model.discrete:
            scores["baseline_bits_per_dim"] = -scores["baseline_log_likelihood"] / (estimate.dimensions * math.log(2))
    return scores


def _read_history(path: Path) -> dict[str, list[float]]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows] for name in rows[0]}


def _versions() -> dict[str, str]:
    import keras
    import tensorflow as tf
    import tensorflow_probability as tfp

    return {
        "keras_vae": __version__,
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "tensorflow_probability": tfp.__version__,
    }
