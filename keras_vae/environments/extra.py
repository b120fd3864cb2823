"""Gymnasium, or what to do where it is missing."""

import importlib
from types import ModuleType


def import_gymnasium(name: str) -> ModuleType:
    """The module `gymnasium`.

    Args:
        name: what needs it, for the message.

    Raises:
        ImportError: where it is not installed.
    """
    try:
        return importlib.import_module("gymnasium")
    except ImportError as error:
        raise ImportError(
            f'{name} needs Gymnasium: pip install "keras_vae[gymnasium]". Received: {error}.'
        ) from None
