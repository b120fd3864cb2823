"""The examples in docstrings, run as they stand: with the public names of the package, and keras, np and tf."""

import doctest
import importlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT

import keras_vae as kv

NAMES = {name: getattr(kv, name) for name in kv.__all__} | {"keras": keras, "np": np, "tf": tf, "kv": kv}
FILES = [path for path in (ROOT / "keras_vae").rglob("*.py") if ">>>" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", sorted(FILES), ids=lambda path: str(path.relative_to(ROOT)))
def test_examples_give_what_they_say(path):
    module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))
    runner = doctest.DocTestRunner(verbose=False)
    messages = []
    for examples in doctest.DocTestFinder(exclude_empty=True).find(module, extraglobs=NAMES):
        runner.run(examples, out=messages.append)
    assert runner.tries > 0, "none was found"
    assert not runner.failures, "".join(messages)
