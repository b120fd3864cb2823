"""The import rule of CONTRIBUTING.md, and what an import costs."""

import ast
import re

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


def test_type_checkers_see_the_public_names():
    """The package imports them when they are asked for, which no checker follows: `__init__.pyi` says them all."""
    lines = (PACKAGE / "__init__.pyi").read_text(encoding="utf-8").splitlines()
    found = {line for line in lines if line.startswith("from")}
    homes = {name: f"keras_vae.{home}" if home else "keras_vae" for name, home in kv._HOMES.items()}
    assert found == {f"from {home} import {name} as {name}" for name, home in homes.items()}
    assert sorted(kv.__all__) == sorted(homes)


def test_public_names_are_documented():
    for name in kv.__all__:
        assert getattr(kv, name).__doc__, name
