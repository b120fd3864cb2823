"""What Ctrl-C does to a command: one line, and the exit status 130.

While Python and TensorFlow start it ends the process at once: an exception in the middle of an import may be swallowed
there, or come out as another one. Later it raises `KeyboardInterrupt`, so that what is under way is cleaned up; where
that is swallowed too, the process ends a few seconds later, or at the second Ctrl-C.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

GRACE = 5  # seconds in which an interrupted command may clean up

checkpoint: Path | None = None  # folder of what a run that is interrupted can go on from
terminal = 2  # file descriptor of the messages: another one while that is redirected
received = False


def line() -> str:
    """What an interrupted command says."""
    resumable = checkpoint is not None and any(checkpoint.glob("epoch-*"))
    return "keras-vae: interrupted." + (" `keras-vae train --resume` goes on from the last epoch." if resumable else "")


def stop(*_) -> None:
    """Ends the process with the line."""
    os.write(terminal, f"{chr(10) if os.isatty(terminal) else ''}{line()}\n".encode())
    os._exit(130)


def handled() -> bool:
    """Whether Ctrl-C is handled here: of a command's own process, and not where it was started to ignore it."""
    return signal.getsignal(signal.SIGINT) in (stop, _raise)


def begin() -> None:
    """From now on Ctrl-C ends the process."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, stop)


@contextmanager
def raised() -> Iterator[None]:
    """In the block Ctrl-C raises `KeyboardInterrupt`."""
    if not handled():
        yield
        return
    signal.signal(signal.SIGINT, _raise)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, stop)


def _raise(*_) -> None:
    global received
    received = True
    signal.signal(signal.SIGINT, stop)
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, stop)
        signal.setitimer(signal.ITIMER_REAL, GRACE)
    raise KeyboardInterrupt
