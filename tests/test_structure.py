"""The import rule of CONTRIBUTING.md, and what an import costs."""

import ast
import os
import re
import subprocess
import sys

import pytest
from conftest import ROOT

import keras_vae as kv

PACKAGE = ROOT / "keras_vae"
OUTSIDE = {"__init__", "__main__"}  # they hold no code of their own


def rows() -> list[list[str]]:
    """The rows of the picture in CONTRIBUTING.md, top to bottom."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    block = text.split("reads the imports.\n\n")[1].split("\n\n")[0]
    return [line.split() for line in block.splitlines()]


def home(path) -> str:
    """The module or folder of the picture that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path) -> set[str]:
    """Modules and folders of this package that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "keras_vae":
            parts = node.module.split(".")[1:]
            names |= {parts[0]} if parts else {kv._HOMES.get(alias.name) or alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {
                part
                for alias in node.names
                if alias.name.startswith("keras_vae.")
                for part in [alias.name.split(".")[1]]
            }
    return names - {"__version__"}


def test_the_picture_names_every_module():
    assert {name for row in rows() for name in row} == {home(path) for path in PACKAGE.rglob("*.py")} - OUTSIDE


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path):
    if home(path) in OUTSIDE:
        return
    level = {name: number for number, row in enumerate(rows()) for name in row}
    for name in imported(path) - {home(path)}:
        same_ground = level[name] == level[home(path)] == len(rows()) - 1
        assert level[name] > level[home(path)] or same_ground, f"{path.name} imports {name}"


def test_help_answers_without_tensorflow(run_python):
    code = """
import sys, time
start = time.perf_counter()
sys.argv = ["keras-vae", "--help"]
from keras_vae.cli import main
try:
    main()
except SystemExit as stop:
    assert stop.code == 0
assert not {"tensorflow", "keras", "numpy"} & set(sys.modules)
print("seconds:", time.perf_counter() - start)
"""
    output = run_python(code)
    assert "train" in output
    assert float(re.search(r"seconds: (\S+)", output)[1]) < 1


def import_under(folder, code="import keras_vae", **environment) -> subprocess.CompletedProcess:
    """A process that imports the package, where Keras has its configuration in `folder`."""
    environment = {"KERAS_BACKEND": "", "KERAS_HOME": str(folder)} | environment
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("environment", "received"),
    [
        ({"KERAS_BACKEND": "jax"}, "Received: 'jax', from KERAS_BACKEND."),
        pytest.param({"KERAS_BACKEND": "torch"}, "Received: 'torch', from KERAS_BACKEND.", marks=pytest.mark.slow),
        pytest.param({"KERAS_BACKEND": "tensorflow"}, None, marks=pytest.mark.slow),
        ({}, "Received: 'numpy', from {folder}/keras.json."),
    ],
)
def test_another_backend_is_named_before_anything_else_fails(tmp_path, environment, received):
    (tmp_path / "keras.json").write_text('{"backend": "numpy"}')
    done = import_under(tmp_path, code="import keras_vae.backend" if received else "import keras_vae", **environment)
    if received is None:
        assert done.returncode == 0, done.stderr
        return
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: keras_vae needs Keras to run on TensorFlow")
    assert "Set KERAS_BACKEND=tensorflow" in last
    assert last.endswith(received.format(folder=tmp_path))


def test_another_backend_that_is_there_already_is_named(tmp_path):
    keras = "SimpleNamespace(config=SimpleNamespace(backend=lambda: 'jax'))"
    code = f"import sys; from types import SimpleNamespace; sys.modules['keras'] = {keras}; import keras_vae"
    done = import_under(tmp_path, code, KERAS_BACKEND="tensorflow")
    assert done.stderr.strip().endswith("Received: 'jax', from Keras, which has been imported.")


def test_the_command_line_names_another_backend(tmp_path):
    code = """
import sys
sys.argv = ["keras-vae"]
from keras_vae.cli import main
sys.exit(main(["train", "--output", "x"]))
"""
    done = import_under(tmp_path, code, KERAS_BACKEND="jax")
    assert done.returncode == 1
    assert done.stderr.startswith("keras-vae: error: keras_vae needs Keras to run on TensorFlow")
    assert len(done.stderr.splitlines()) == 1


def test_type_checkers_see_the_public_names():
    """The package imports them when asked for, which a checker can not follow: `__init__.pyi` says them all."""
    lines = (PACKAGE / "__init__.pyi").read_text(encoding="utf-8").splitlines()
    found = {line for line in lines if line.startswith("from")}
    homes = {name: f"keras_vae.{home}" if home else "keras_vae" for name, home in kv._HOMES.items()}
    assert found == {f"from {home} import {name} as {name}" for name, home in homes.items()}
    assert sorted(kv.__all__) == sorted(homes)


def test_public_names_are_documented():
    for name in kv.__all__:
        assert getattr(kv, name).__doc__, name


def test_a_notebook_shows_words():
    """The last line of a cell, `data` or `score`, is shown by its repr; that of a dataclass prints all arrays."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and any("dataclass" in ast.unparse(each) for each in node.decorator_list):
                has = {ast.unparse(each).split("(")[0] for each in node.body}
                if any(each.startswith("def __str__") for each in has):
                    found.add(node.name)
                    assert "__repr__ = __str__" in has, f"{node.name} in {path.name}"
    assert {"Data", "LogLikelihood", "Diagnosis"} <= found
