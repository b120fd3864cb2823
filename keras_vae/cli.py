"""The command line. TensorFlow is imported only once the arguments are read."""

import argparse
import os
import shlex
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path

from keras_vae import __version__, interrupts
from keras_vae.backend import check_backend
from keras_vae.files import require_writable
from keras_vae.refusals import on_command_line
from keras_vae.run_folder import LIKELIHOODS, NAMED, NETWORKS, PATIENCE, SIMULATED

REFUSALS = (
    ValueError,
    TypeError,
    OSError,
    FloatingPointError,
    ImportError,
    MemoryError,
)  # what the package, the system and the libraries raise to say what is wrong


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit status: 0, 1 for a refusal, 2 for wrong usage, 130 after Ctrl-C."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options = _parser().parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            options.command(options, shlex.join(["keras-vae", *arguments]))
        sys.stdout.flush()
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) or interrupts.received:  # it may come out as another error
            return _interrupted()
        if not _is_refusal(error) or os.environ.get("KERAS_VAE_TRACEBACK"):
            raise
        print(f"keras-vae: error: {on_command_line(error, options.name)}", file=sys.stderr)
        _drop_output()
        return 1
    return 0


def _show_warning(message, *_, **__) -> None:
    print(f"keras-vae: warning: {' '.join(str(message).split())}", file=sys.stderr)


def _is_refusal(error: BaseException) -> bool:
    """Also what the runtime of TensorFlow raises: for a full disk, memory that is not there, data that are gone."""
    tf = sys.modules.get("tensorflow")
    return isinstance(error, REFUSALS) or (tf is not None and isinstance(error, tf.errors.OpError))


def _drop_output() -> None:
    """What can not be printed, to a full disk or a closed pipe, is not tried again when Python ends."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _interrupted() -> int:
    sys.stdout.flush()
    if interrupts.handled():
        interrupts.stop()  # at once: Python may end by the signal where it has seen the exception
    print(interrupts.line(), file=sys.stderr)
    return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="keras-vae",
        description="Variational autoencoders: train on your data, score, sample, export to TF Serving.",
        epilog="Run `keras-vae COMMAND --help` for the options of a command. KERAS_VAE_TRACEBACK=1 in the environment "
        "shows where an error came from.",
    )
    parser.add_argument("--version", action="version", version=f"keras_vae {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_train(commands)
    _add_evaluate(commands)
    _add_score(commands)
    _add_encode(commands)
    _add_reconstruct(commands)
    _add_impute(commands)
    _add_generate(commands)
    _add_export(commands)
    return parser


DATA_HELP = (
    "digits (scikit-learn's handwritten digits, embedded; the default), shapes (squares, ellipses and hearts of known "
    "factors), sprites (several coloured shapes), canvases or mnist_canvases (several digits), the name of a "
    "TensorFlow Datasets image set such as mnist, or a path: a table (.csv, .tsv, .parquet, .arrow), .npz, .npy, "
    "or a folder of images (./shapes for one of that name)"
)


ROWS_HELP = "all rows, or the test split of data with splits of their own, such as digits and shapes"


def _not_empty(text: str) -> str:
    """A name or path; an empty one would be the folder that the command runs in."""
    if not text:
        raise argparse.ArgumentTypeError("needs a name or a path")
    return text


def _add_train(commands) -> None:
    # Defaults are in run.Settings: a resumed run must know which options were given.
    parser = commands.add_parser("train", help="train a model and write everything about it to a folder")
    parser.add_argument("data", nargs="?", type=_not_empty, metavar="DATA", help=DATA_HELP)
    parser.add_argument("--output", required=True, type=Path, metavar="RUN", help="the folder of the run")
    parser.add_argument(
        "--epochs",
        type=int,
        help="passes over the training data (default: about 3,000 steps, at least 20, with early stopping)",
    )
    parser.add_argument("--batch-size", type=int, help="examples per step (default: 32)")
    parser.add_argument("--latent-size", type=int, help="number of latent variables (default: 16)")
    parser.add_argument("--network", choices=NETWORKS, help="encoder and decoder (default: dense, 200-200)")
    parser.add_argument(
        "--likelihood",
        choices=LIKELIHOODS,
        help="p(x | z): bernoulli draws binary observations from grey levels; columns gives each column of a table a "
        "kind of its own (default: what fits the data; columns for a table with texts or missing cells)",
    )
    parser.add_argument(
        "--kinds", metavar="NAME=KIND,...", help="kinds of columns of a table: age=Normal,visits=Poisson,id=-"
    )
    parser.add_argument("--resize", metavar="HEIGHTxWIDTH", help="scale the images of a folder to one size")
    parser.add_argument("--crop", metavar="HEIGHTxWIDTH", help="cut the middle of the images of a folder")
    parser.add_argument("--beta", type=float, help="weight of the KL (default: 1)")
    parser.add_argument("--learning-rate", type=float, help="of Adam (default: 0.002)")
    parser.add_argument("--seed", type=int, help="of weights, data and noise (default: 0)")
    parser.add_argument(
        "--patience",
        type=int,
        help="stop after so many epochs without a better validation loss, and keep the best weights; 0: never "
        f"(default: {PATIENCE}, with --epochs 0)",
    )
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--resume", action="store_true", help="go on with the interrupted run in RUN")
    existing.add_argument("--overwrite", action="store_true", help="delete the run that is in RUN first")
    parser.set_defaults(command=_train, name="train")


def _add_evaluate(commands) -> None:
    parser = commands.add_parser("evaluate", help="score and diagnose a trained model on a test set")
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument(
        "data",
        nargs="?",
        type=_not_empty,
        metavar="DATA",
        help=f"{ROWS_HELP} (default: the test split of the data of the run)",
    )
    parser.add_argument("--samples", type=int, default=500, help="draws per example for log p(x) (default: 500)")
    parser.add_argument("--seed", type=int, default=0, help="of the draws (default: 0)")
    parser.add_argument(
        "--simulated",
        type=int,
        metavar="COUNT",
        help="bound log p(x) from below and above, of so many examples that are drawn from the model; 0 leaves it out "
        f"(default: {SIMULATED} of a run of train, 0 of other models)",
    )
    parser.set_defaults(command=_evaluate, name="evaluate")


def _add_score(commands) -> None:
    parser = _add_to_file(commands, "score", "write log p(x), ELBO and other scores of anomalies of each row")
    parser.add_argument(
        "--background",
        type=Path,
        metavar="RUN",
        help="a run of such data: writes the likelihood ratio",
    )
    parser.add_argument(
        "--reference",
        type=_not_empty,
        metavar="DATA",
        help="training data: writes how far log p(x) is from its mean there",
    )
    parser.add_argument("--samples", type=int, default=500, help="draws per example for log p(x) (default: 500)")
    parser.add_argument("--seed", type=int, default=0, help="of the draws (default: 0)")


def _add_encode(commands) -> None:
    _add_to_file(commands, "encode", "write mean and standard deviation of the latent variables of each row")


def _add_reconstruct(commands) -> None:
    _add_to_file(commands, "reconstruct", "write the reconstruction of each row")


def _add_impute(commands) -> None:
    parser = _add_to_file(commands, "impute", "fill the missing cells of a table")
    parser.add_argument("--samples", type=int, default=1000, help="draws per row (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the draws (default: 0)")


def _add_to_file(commands, name: str, words: str) -> argparse.ArgumentParser:
    """A command that takes a run and data, and writes a file with a row for each row of the data."""
    parser = commands.add_parser(name, help=words)
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument("data", type=_not_empty, metavar="DATA", help=f"{DATA_HELP}; {ROWS_HELP}")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="FILE", help=".csv, .tsv, .parquet, .arrow or .npz"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace FILE")
    parser.set_defaults(command=_to_file, name=name)
    return parser


def _add_generate(commands) -> None:
    parser = commands.add_parser("generate", help="draw new observations from a trained model")
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument("--count", type=int, default=64, help="how many (default: 64)")
    parser.add_argument("--seed", type=int, default=0, help="of the draws (default: 0)")
    parser.add_argument("--temperature", type=float, default=1.0, help="0: the prior's mean; 1: its draws (default: 1)")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help=".png, .npz with z and mean, or for a table .csv or .parquet (default: RUN/generated.png)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace FILE")
    parser.set_defaults(command=_generate, name="generate")


def _add_export(commands) -> None:
    parser = commands.add_parser("export", help="write a SavedModel for TF Serving")
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument("path", type=Path, metavar="PATH", help='new folder that ends in a version, "models/digits/1"')
    parser.set_defaults(command=_export, name="export")


def _train(options: argparse.Namespace, command: str) -> None:
    from keras_vae.run import Run, Settings

    given = {name: value for name, value in vars(options).items() if name in Settings.names() and value is not None}
    if given.get("data", "digits") not in NAMED and Path(given["data"]).exists():
        given["data"] = str(Path(given["data"]).absolute())  # a run can be resumed from another folder
    if options.resume:
        run = Run.resume(options.output, given)
    else:
        run = Run.create(options.output, Settings(**given), overwrite=options.overwrite)
    interrupts.checkpoint = options.output / "checkpoint"
    with _quiet_tensorflow():
        run.train(command)


def _evaluate(options: argparse.Namespace, command: str) -> None:
    from keras_vae.run import Run

    run = Run.open(options.run)
    with _quiet_tensorflow():
        scores, diagnosis, bounds = run.evaluate(options.data, options.samples, options.seed, options.simulated)
        for name, value in scores.items():
            print(f"{name}: {value:.6g}" if isinstance(value, float) else f"{name}: {value}")
        if diagnosis is not None:
            print(f"{diagnosis}\nWrote {run.path / 'diagnosis.png'}")
        if bounds is not None:
            print(f"Of {len(bounds.lower):,} examples drawn from the model: {bounds}")


ANSWERED = ("samples", "seed", "background", "reference")  # options of commands that write a row for each row


def _to_file(options: argparse.Namespace, command: str) -> None:
    from keras_vae.run import Run

    run = Run.open(options.run)
    _require_new(options.name, options.output, options.overwrite)
    given = {name: getattr(options, name) for name in ANSWERED if getattr(options, name, None) is not None}
    with _quiet_tensorflow():
        rows = run.answer(options.name, options.data, options.output, **given)
    print(f"Wrote {options.output}: {rows}")


def _require_new(owner: str, output: Path, overwrite: bool) -> None:
    if output.is_dir():
        raise IsADirectoryError(f"{owner} needs --output to be a file. Received: {output}, which is a folder.")
    require_writable(owner, output)
    if output.exists() and not overwrite:
        raise FileExistsError(f"{owner} needs a new file, or --overwrite. Received: {output}, which exists.")


def _generate(options: argparse.Namespace, command: str) -> None:
    from keras_vae.run import Run

    run = Run.open(options.run)
    output = options.output or run.path / "generated.png"
    _require_new("generate", output, options.overwrite)
    with _quiet_tensorflow():
        run.generate(output, options.count, options.seed, options.temperature)
    print(f"Wrote {output}")


def _export(options: argparse.Namespace, command: str) -> None:
    from keras_vae.run import Run

    run = Run.open(options.run)
    with _quiet_tensorflow():
        run.export(options.path)
    print(f"Wrote {options.path}")


@contextmanager
def _quiet_tensorflow():
    """Keeps TensorFlow's start-up messages out of the terminal; they are shown if the start fails.

    It writes them to file descriptor 2 before any setting is read, so the descriptor itself is redirected.
    """
    check_backend()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    terminal = os.dup(2)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)  # what is beyond the 64 KiB of a pipe is lost
    os.dup2(writing, 2)
    os.close(writing)
    interrupts.terminal = terminal
    failed = True
    try:
        import tensorflow as tf
        import tensorflow_probability  # noqa: F401

        tf.config.list_logical_devices()  # starts the devices
        failed = False
    finally:
        interrupts.terminal = 2
        os.dup2(terminal, 2)
        if failed:
            os.write(terminal, os.read(reading, 2**16))
        for descriptor in (terminal, reading):
            os.close(descriptor)
    with interrupts.raised():
        yield


if __name__ == "__main__":
    sys.exit(main())
