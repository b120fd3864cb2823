"""The backend of Keras, looked at before Keras is imported, which fails where its backend is not installed."""

import json
import os
import sys
from pathlib import Path


def check_backend() -> None:
    """Raises `ImportError` where Keras has, or would have, another backend than TensorFlow."""
    name, source = _backend()
    if name != "tensorflow":
        raise ImportError(
            "keras_vae needs Keras to run on TensorFlow: its distributions are those of TensorFlow Probability. Set "
            f"KERAS_BACKEND=tensorflow in the environment before Keras is imported. Received: {name!r}, from {source}."
        )


def _backend() -> tuple[str, str]:
    """The backend, and where it comes from: in the order in which Keras looks."""
    if "keras" in sys.modules:
        return sys.modules["keras"].config.backend(), "Keras, which has been imported"
    if os.environ.get("KERAS_BACKEND"):
        return os.environ["KERAS_BACKEND"], "KERAS_BACKEND"
    home = os.path.expanduser("~")
    folder = os.environ.get("KERAS_HOME", os.path.join(home if os.access(home, os.W_OK) else "/tmp", ".keras"))
    path = Path(folder).expanduser() / "keras.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))["backend"], str(path)
    except (OSError, ValueError, KeyError, TypeError):  # Keras, too, takes its default then
        return "tensorflow", "the default"
