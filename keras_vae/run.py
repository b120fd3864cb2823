"""A run: one folder that holds a model, how it was trained, its scores and its figures."""

import dataclasses
import json
import math
import platform
import shutil
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_vae import __version__
from keras_vae.files import replacing, require_writable, write_text
from keras_vae.refusals import in_both
from keras_vae.run_folder import LIKELIHOODS, NETWORKS, PATIENCE, SIMULATED, RunFolder

STEPS, EPOCHS = 3000, 20  # at least so many of each, where the number of epochs is not given


LEAST = {"epochs": 1, "batch_size": 1, "latent_size": 1, "samples": 1, "count": 1, "simulated": 0}
NOT_NEGATIVE = ("patience", "beta", "temperature")
CHOICES = {"network": NETWORKS, "likelihood": LIKELIHOODS}
KINDS = (  # of columns; others need more than a column, or more than its name says
    *("Normal", "LearnedScaleNormal", "FixedScaleNormal", "NormalMixture", "Laplace", "StudentT", "LogNormal"),
    *("Poisson", "NegativeBinomial", "ZeroInflatedNegativeBinomial", "Bernoulli", "ContinuousBernoulli", "Categorical"),
)


def check_options(command: str, options: Mapping[str, Any]) -> None:
    """Raises `ValueError` for options of a command that are out of their range; None was not given.

    Args:
        command: its name.
        options: by name, "batch_size" of --batch-size.
    """
    for name, value in options.items():
        needed = None if value is None else _needed(command, name, value)
        if needed is not None:
            raise ValueError(f"{command} needs --{name.replace('_', '-')} to be {needed}. Received: {value}.")


def _needed(command: str, name: str, value: Any) -> str | None:
    """What an option has to be, where it is not."""
    if name in CHOICES and value not in CHOICES[name]:
        return f"one of {', '.join(CHOICES[name])}"
    if name in LEAST and value < LEAST[name]:
        return f"{LEAST[name]} or more"
    if name in NOT_NEGATIVE and not 0 <= value < math.inf:
        return "0 or more"
    if name == "learning_rate" and not 0 < value < math.inf:
        return "a positive number"
    least = 0 if command == "train" else -(2**31)  # Keras's own seed is not negative
    if name == "seed" and not least <= value < 2**31:
        return f"a whole number from {least:,} to {2**31 - 1:,}"
    return None


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
    resize: str | None = None
    crop: str | None = None
    grey_levels: bool = True
    beta: float = 1.0
    learning_rate: float = 2e-3
    patience: int | None = None
    seed: int = 0

    def __post_init__(self):
        for field in dataclasses.fields(self):  # a run.json may hold anything
            value = getattr(self, field.name)
            kind: Any = int | float if field.type is float else field.type
            if not isinstance(value, kind) or (isinstance(value, bool) and field.type is not bool):
                words = getattr(field.type, "__name__", field.type)
                raise ValueError(f"train needs {field.name} to be of type {words}. Received: {value!r}.")
        check_options("train", dataclasses.asdict(self))
        if self.kinds and self.likelihood:
            raise ValueError(
                f"train needs --kinds or --likelihood, not both. Received: {self.kinds} and {self.likelihood}."
            )
        self.kinds_by_name()
        self.sizes()

    def sizes(self) -> dict[str, tuple[int, int]]:
        """Height and width by `resize` and `crop`, of those that were given as "28x28"."""
        sizes = {}
        for name in ("resize", "crop"):
            given = getattr(self, name)
            if given is not None:
                height, sign, width = given.partition("x")
                if not (sign and height.isdecimal() and width.isdecimal() and int(height) and int(width)):
                    raise ValueError(f"train needs --{name} to be HEIGHTxWIDTH, 28x28. Received: {given}.")
                sizes[name] = int(height), int(width)
        return sizes

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
        fingerprint: of the data that the run was begun with, or None.
    """

    def __init__(
        self,
        path: Path,
        settings: Settings | None,
        folder: RunFolder | None = None,
        fingerprint: str | None = None,
    ):
        self.path = path
        self.fingerprint = fingerprint
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
        identity, fingerprint, _ = RunFolder.read(path)
        folder = RunFolder(path, identity, resumes=True)
        folder.check()
        return cls(path, dataclasses.replace(run.settings, **given), folder, fingerprint)

    @classmethod
    def open(cls, path: Path) -> "Run":
        """Opens a run.

        Raises:
            FileNotFoundError: for a folder that holds neither a run nor a model.
        """
        if (path / "run.json").is_file():
            _, fingerprint, settings = RunFolder.read(path)
            unknown = sorted(set(settings) - set(Settings.names()))
            if unknown:
                raise ValueError(
                    f"keras-vae needs a run of this version, {__version__}, or an older one. "
                    f"Received: {path / 'run.json'} with {', '.join(unknown)}."
                )
            settings = {"grey_levels": False} | settings  # older runs have fractions
            try:
                return cls(path, Settings(**settings), None, fingerprint)
            except ValueError as error:
                raise ValueError(
                    f"keras-vae needs the run.json that train wrote. Received: {path / 'run.json'}: {error}"
                ) from None
        if (path / "model.keras").is_file():
            return cls(path, None)
        raise FileNotFoundError(
            f"keras-vae needs the folder of a run. Received: {path}, without run.json or model.keras."
        )

    def train(self, command: str) -> None:
        """Trains, or trains on from the checkpoint, then writes the model, its scores and its figures.

        A run without a number of epochs stops early, and keeps the weights of the best validation loss.
        """
        import keras

        from keras_vae import ELBO, callbacks

        settings = self.settings
        if self.folder.resumes and (self.path / "history.csv").is_file():
            _read_history(self.path / "history.csv")  # refused before hours of training, not behind them
        keras.utils.set_random_seed(settings.seed)
        data = self._load_data("train --resume")
        _say(str(data))
        if min(data.sizes.values()) < 2:
            sizes = ", ".join(f"{size:,} {name}" for name, size in data.sizes.items())
            raise ValueError(
                "train needs at least 20 examples, or two in each split, for its figures. "
                f"Received: {sizes} of {settings.data}."
            )
        if len(data.shape) > 3:
            raise ValueError(
                f"train needs rows, series or images. Received: {settings.data} of frames, of shape {data.shape}."
            )
        if settings.network == "convolutional" and len(data.shape) != 3:
            raise ValueError(
                f"train needs images for --network convolutional. Received: {settings.data} of {data.shape[0]} values."
            )
        model = _build_model(settings, data)
        model.compile(
            keras.optimizers.Adam(settings.learning_rate),
            loss=ELBO(beta=settings.beta),
        )
        model.build((None, *data.shape))
        epochs = settings.epochs or max(EPOCHS, math.ceil(STEPS / len(data.train)))
        patience = settings.patience
        if patience is None:
            patience = 0 if settings.epochs else PATIENCE
        _say(f"{settings.network} networks, {settings.latent_size} latent variables, {model.count_params():,} weights")
        _say(model.loss.describe())
        history = callbacks.HistoryLogger(self.path / "history.csv")
        followed = [history]
        if patience:
            followed.append(callbacks.KeepBest(self.path / "checkpoint" / "best.weights.h5", history, patience))
        followed.append(callbacks.BackupAndRestore(self.path / "checkpoint"))
        with self.folder.alone():
            chosen = dataclasses.replace(settings, epochs=epochs, patience=patience)
            self.folder.begin(dataclasses.asdict(chosen), data.fingerprint)
            epochs = self._epochs_of(chosen)
            with callbacks.EpochLines(history=history) as lines:
                model.fit(
                    data.train,
                    epochs=epochs,
                    validation_data=data.validation,
                    verbose=0,
                    callbacks=[lines, *followed],
                )
            self.folder.check_identity()
            model.save(self.path / "model.keras")
            self._write_results(model, data, command)

    def _epochs_of(self, settings: Settings) -> int:
        """The number of epochs; of a run that is resumed after it has stopped early, those that it has had."""
        from keras_vae.callbacks.best import stopped_at

        epochs: Any = settings.epochs
        stopped = None
        if self.folder.resumes and settings.patience and (self.path / "history.csv").is_file():
            losses = _read_history(self.path / "history.csv").get("val_loss", [])
            stopped = stopped_at(losses, settings.patience)
            if stopped:
                print(f"{self.path} has stopped early after {stopped} epochs: nothing is left to train.")
        return stopped or epochs

    def evaluate(
        self, source: str | None = None, samples: int = 500, seed: int = 0, simulated: int | None = None
    ) -> tuple[dict, Any, Any]:
        """Scores the model on the test split of its own data or of another source, and diagnoses it.

        Returns:
            Those of `answers.scores`, a `Diagnosis`, whose figure is then in the folder, `diagnosis.png`, or None of a
            model without latent variables, or of one row; and `AnnealedBounds` of `simulated` examples that are drawn
            from the model, or None for 0 of them. None simulates `SIMULATED` for a run, 0 for a model of another kind,
            whose latent variables may not allow it.
        """
        from keras_vae import answers

        if simulated is None:
            simulated = SIMULATED if self.settings is not None else 0
        check_options("evaluate", {"samples": samples, "seed": seed, "simulated": simulated})
        if source is None and self.settings is None:
            raise ValueError(f"evaluate needs DATA for a folder without a run.json. Received: {self.path}.")
        model = self._load_model()
        data = self._load_data("evaluate") if source is None else self._load_for(model, source)
        _say(str(data))
        require_writable("evaluate", self.path / "diagnosis.png")
        scores = answers.scores(model, data, samples, seed, baseline=source is None, verbose=answers.on_terminal())
        diagnosis = answers.diagnose(model, data, self.path / "diagnosis.png", seed)
        return scores, diagnosis, answers.between_bounds(model, simulated, seed) if simulated else None

    def answer(self, name: str, source: str, output: Path, **options) -> str:
        """Writes what a command of `keras_vae.answers` says of each row of a source: score, encode, ...

        Returns:
            Which rows these are, in words: all of a table or array, the test split of data with splits of their own.
        """
        from keras_vae import answers

        check_options(name, options)
        answers.check_output(None, name, output)
        model = self._load_model()
        answers.check_output(model, name, output)
        data: Any = source if name != "impute" else self._cells_for(model, source)
        loaded = self._load_for(model, data)
        if options.get("background") is not None:
            options["background"] = Run.open(options["background"])._load_model()
            if options["background"].event_shape != model.event_shape:
                raise ValueError(
                    f"score needs --background to be a run of the same observations, of shape {model.event_shape}. "
                    f"Received: one of shape {options['background'].event_shape}."
                )
        if options.get("reference") is not None:
            options["reference"] = self._load_for(model, options["reference"]).test
        if name == "score" and loaded.labels:
            options["labels"] = np.array(loaded.classes)[loaded.labels["test"]]
        getattr(answers, name)(model, data if name == "impute" else loaded.test, output, **options)
        split = "" if len(set(loaded.sizes.values())) == 1 else "test "  # as many in each where each is all rows
        words = ("rows", "series", "images")[len(loaded.shape) - 1]
        return f"{loaded.sizes['test']:,} {split}{words} of {loaded.name}"

    def generate(self, output: Path, count: int, seed: int, temperature: float) -> None:
        """Writes what the model generates; see `answers.generate`."""
        from keras_vae import answers

        check_options("generate", {"count": count, "seed": seed, "temperature": temperature})
        answers.check_output(None, "generate", output)
        model = self._load_model()
        answers.check_output(model, "generate", output)
        answers.generate(model, output, count, seed, temperature)

    def export(self, path: Path) -> None:
        """Writes the model as a SavedModel."""
        if not (path.name.isascii() and path.name.isdecimal()):  # TF Serving looks for no other folder
            versions = [int(part.name) for part in path.glob("*") if part.name.isascii() and part.name.isdecimal()]
            raise ValueError(
                "export needs PATH to end in a version, a whole number, for TF Serving looks for no other folder. "
                f"Received: {path}; {path / str(max(versions, default=0) + 1)} would be one."
            )
        if path.exists():  # said before the seconds that loading takes
            raise FileExistsError(f"export needs a folder that does not exist yet. Received: {path}, which exists.")
        require_writable("export", path)
        self._load_model().export(path)

    def _load_model(self):
        from keras_vae import load_model

        if not (self.path / "model.keras").is_file():
            raise FileNotFoundError(
                f"keras-vae needs a run that has finished training. Received: {self.path}, without model.keras; "
                "`keras-vae train --resume` goes on with it."
            )
        try:
            model = load_model(self.path / "model.keras")
        except ValueError as error:
            raise in_both(error, str(error).replace("load_model needs", "keras-vae needs", 1)) from error.__cause__
        if not model.compiled:  # saved without its optimizer
            model.compile()
        return model

    def _load_data(self, owner: str):
        """The data of the run, as its settings say; raises `ValueError` where they have changed since it was begun."""
        from keras_vae import Columns, datasets
        from keras_vae.datasets.cells import is_table, read_cells

        settings, source = self.settings, self.settings.data
        if settings.sizes() and not Path(source).is_dir():
            raise ValueError(f"train needs a folder of images for --resize and --crop. Received: {source}.")
        likelihood: Any = _likelihoods()[settings.likelihood] if settings.likelihood else None
        data: Any = source
        if settings.kinds:
            likelihood = _kinds(settings.kinds_by_name())
        elif likelihood is None and is_table(source) and Path(source).is_file():
            data = read_cells(source)
            likelihood = None if data.all_numbers else Columns
        options: Any = {"grey_levels": settings.grey_levels} | settings.sizes()
        loaded = datasets.load(data, settings.batch_size, likelihood, settings.seed, **options)
        begun = owner == "evaluate" or self.folder.resumes
        if begun and self.fingerprint is None and loaded.has_units:
            raise ValueError(
                f"{owner} needs a run of this version, whose model takes numbers in their own units. "
                f"Received: {self.path}, of an older one, trained on standardised numbers. Train it again."
            )
        if self.fingerprint not in (None, loaded.fingerprint):
            raise ValueError(
                f"{owner} needs the data that the run was begun with. Received: {source}, which has changed since: "
                f"{loaded.sizes['train']:,} training examples, fingerprint {loaded.fingerprint} (the run has "
                f"{self.fingerprint})."
            )
        return loaded

    def _cells_for(self, model, source: str):
        """The table that a path leads to, "007" in a column that the model does not know as it stands there."""
        from keras_vae.datasets.cells import is_table, read_cells
        from keras_vae.datasets.columns import Table

        if not is_table(source) or not Path(source).is_file():
            return source
        numbers = [column.name for column in Table.of(model.likelihood).columns if not column.categories]
        return read_cells(source, [name for name in read_cells(source).names if name not in numbers])

    def _load_for(self, model, source):
        """All examples of a source, to be scored by a model."""
        from keras_vae import Columns, datasets
        from keras_vae.distributions.standardized import InUnits

        settings = self.settings or Settings()
        layer = model.likelihood.layer if isinstance(model.likelihood, InUnits) else model.likelihood
        kind = None if isinstance(layer, Columns) else type(layer)
        sizes: dict[str, Any] = settings.sizes() if isinstance(source, str) and Path(source).is_dir() else {}
        loaded = datasets.load(source, settings.batch_size, kind, settings.seed, like=model, whole=True, **sizes)
        old = self.settings is not None and self.fingerprint is None
        if old and loaded.has_units and layer is model.likelihood:
            raise ValueError(
                f"keras-vae needs a run of this version, whose model takes numbers in their own units. Received: "
                f"{self.path}, of an older one, trained on standardised numbers. Train it again."
            )
        return loaded

    def _write_results(self, model, data, command: str) -> None:
        from keras_vae import answers

        if (self.path / "saved_model").exists():  # of the same run, before it was trained on
            shutil.rmtree(self.path / "saved_model")
        (self.path / "diagnosis.png").unlink(missing_ok=True)  # `evaluate` draws it
        model.export(self.path / "saved_model" / "1")
        history = _read_history(self.path / "history.csv")
        metrics = answers.scores(model, data) | {
            "epochs": len(history["epoch"]),
            "seconds": round(sum(history.pop("seconds")), 1),
            "seed": self.settings.seed,
            "command": command,
            "versions": _versions(),
        }
        write_text(self.path / "metrics.json", json.dumps(metrics, indent=2) + "\n")
        self._write_figures(model, data, history)
        _say(
            f"Test set: ELBO {metrics['elbo']:.2f}, log p(x) {metrics['log_likelihood']:.2f} +- "
            f"{metrics['log_likelihood_standard_error']:.2f} nats ({metrics['log_likelihood_samples']} samples), "
            f"independent values {metrics['baseline_log_likelihood']:.2f}"
        )
        _say(f"Wrote {self.path}: " + ", ".join(sorted(part.name for part in self.folder.parts())))

    def _write_figures(self, model, data, history: dict) -> None:
        from keras_vae import plotting

        test = np.concatenate([batch.numpy() for batch in data.test.take(math.ceil(1000 / self.settings.batch_size))])
        labels = data.labels["test"][: len(test)] if data.labels else None
        figures = {
            "reconstructions": plotting.reconstructions(model, test, columns=data.columns),
            "samples": plotting.samples(model, x=None if data.columns is None else test, columns=data.columns),
            "latent": plotting.latent_plane(model, test, labels, classes=data.classes),
            "curves": plotting.curves(history),
        }
        for name, figure in figures.items():
            with replacing(self.path / f"{name}.png") as temporary:
                figure.savefig(temporary)


def _say(text: str) -> None:
    """Prints lines; on a terminal they are broken between words."""
    lines = text.split("\n")
    if sys.stdout.isatty():
        width = shutil.get_terminal_size().columns
        wrap = textwrap.TextWrapper(width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
        lines = [wrap.fill(line) for line in lines]
    print("\n".join(lines), flush=True)


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

    for name, kind in names.items():
        if kind not in (*KINDS, "-"):
            raise ValueError(
                f"train needs --kinds of the names of distributions, {', '.join(KINDS)}, or - to leave a column out. "
                f"Received: {name}={kind}."
            )
    return {name: None if kind == "-" else getattr(distributions, kind) for name, kind in names.items()}


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


def _read_history(path: Path) -> dict[str, list[float]]:
    from keras_vae.callbacks.training import read_history

    rows = read_history(path)
    if not rows:
        raise ValueError(f"train needs the history.csv of its run. Received: {path}, without epochs.")
    return {name: [float(row[name] or "nan") for row in rows] for name in rows[0]}


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
