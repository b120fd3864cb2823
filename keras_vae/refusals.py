"""What an error says to its two readers: in Python, and on the command line."""

from typing import TypeVar

E = TypeVar("E", bound=Exception)


def in_both(error: E, command_line: str) -> E:
    """An error whose advice is Python, with what it says where a command has met it.

    Args:
        error: to be raised.
        command_line: the whole message in the options of `keras-vae`.
    """
    error.command_line = command_line  # type: ignore[attr-defined]
    return error


def on_command_line(error: BaseException, command: str) -> str:
    """What an error says to whom has called a command, in one line.

    Args:
        error: that has ended the command.
        command: its name. It stands for `datasets.load`, which it has called for the user.
    """
    message = getattr(error, "command_line", None) or _of_system(error) or str(error) or type(error).__name__
    if message.startswith("datasets.load "):
        message = message.replace("datasets.load", command, 1)
    return " ".join(message.split())


def _of_system(error: BaseException) -> str | None:
    """What the system has refused, and of which file: the one that was asked for, not one on its way there."""
    if not isinstance(error, OSError) or error.strerror is None:
        return None
    file = error.filename2 or error.filename
    return error.strerror if file is None else f"{error.strerror}: {file}"
