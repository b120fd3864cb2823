"""Writes docs/catalogue.md from the code: every public class, what it is, where it is from, and the tests that hold it.

python docs/catalogue.py
"""

import inspect
import re
from pathlib import Path

import keras

import keras_vae as kv
from keras_vae.distributions import supports

ROOT = Path(__file__).resolve().parent.parent
FAMILIES = {
    "Models": kv.LatentVariableModel,
    "Distributions": kv.DistributionLayer,
    "Objectives": kv.Objective,
    "Callbacks": keras.callbacks.Callback,
    "Optimizers": keras.optimizers.Optimizer,
    "Layers of networks and objectives": keras.layers.Layer,
    "Where draws are": supports.Support,
    "Scenes that are made": kv.datasets.Scenes,
    "How series are read": kv.datasets.Series,
    "What a model takes and says": object,
}
EVERYWHERE = ("test_conformance.py", "cases.py", "test_pairs.py")  # all public classes are in these


def classes(family: type) -> list[type]:
    """The public classes of a family that are in no earlier one, in the order of the package."""
    families = list(FAMILIES.values())
    others = (family, *families[: families.index(family)])
    recipes = FAMILIES["Scenes that are made"], FAMILIES["How series are read"]
    public = [getattr(kv, name) for name in kv.__all__] + [getattr(kv.callbacks, name) for name in kv.callbacks.__all__]
    public += [value for value in vars(kv.datasets).values() if isinstance(value, type) and issubclass(value, recipes)]
    public += [value for name, value in vars(supports).items() if isinstance(value, type) and name[0] != "_"]
    public = [cls for cls in public if getattr(cls, "__module__", "").startswith("keras_vae")]
    found = [cls for cls in public if isinstance(cls, type) and issubclass(cls, family) and cls not in others]
    return [cls for cls in found if not issubclass(cls, others[1:])]


def summary(cls: type) -> str:
    """The first sentence of a docstring."""
    text = re.sub(r"\s+", " ", inspect.getdoc(cls).split("\n\n")[0])
    return re.split(r"(?<=[a-z)\]|])[.:] ", text)[0].rstrip(".:").replace("|", "\\|")


def reference(cls: type) -> str:
    """What the docstring names as the source, with links to arXiv."""
    found = re.search(r"^Reference: (.*?)(?=\n\n|\Z)", inspect.getdoc(cls), flags=re.DOTALL | re.MULTILINE)
    if not found:
        return ""
    text = re.sub(r"\s+", " ", found[1]).strip().rstrip(".")
    return re.sub(r"arXiv:(\d{4}\.\d{5}|\d{4}\.\d{4})", r"[arXiv:\1](https://arxiv.org/abs/\1)", text)


def tests(cls: type) -> list[str]:
    """Names of the test files that use a class, beside those that use all."""
    word = re.compile(rf"\b{cls.__name__}\b")
    files = sorted((ROOT / "tests").glob("test_*.py"))
    return [file.name for file in files if file.name not in EVERYWHERE and word.search(file.read_text("utf-8"))]


def page() -> str:
    """The whole page."""
    lines = [
        "# Catalogue",
        "",
        "Written by `python docs/catalogue.py` from the code. Besides the tests named here, each class that is saved",
        "with a model has a case in the conformance suite (tests/test_conformance.py): shapes, gradients to every",
        "weight, config, reload in a new process, SavedModel, XLA, mixed precision.",
    ]
    for title, family in FAMILIES.items():
        lines += ["", f"## {title}", "", "| class | what it is | source | tests |", "|---|---|---|---|"]
        for cls in classes(family):
            files = ", ".join(f"[{name}](../tests/{name})" for name in tests(cls))
            lines.append(f"| `{cls.__name__}` | {summary(cls)} | {reference(cls)} | {files} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    (ROOT / "docs" / "catalogue.md").write_text(page(), encoding="utf-8")
