"""Installs keras_vae: `pip install .`, with the extras `gymnasium`, `agents`, `test`, `dev` and `bench`."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "([^"]+)"', (HERE / "keras_vae/__init__.py").read_text(encoding="utf-8"))[1]
GYMNASIUM = ["gymnasium>=1"]  # environments, and dreams that are environments
TEST = [
    *GYMNASIUM,
    "pytest>=8",
    "pytest-xdist>=3.8",  # two processes: most of the time of a test is TensorFlow tracing, on one core
    "pandas>=2.2",  # files and frames as other libraries make them
    "polars>=1",
    "tensorboard>=2.18",  # for the test of Keras's callback
]

setup(
    name="keras_vae",
    version=VERSION,
    description="Variational autoencoders for Keras 3, with TensorFlow Probability: train, score, serve",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["keras_vae", "keras_vae.*"]),
    package_data={"keras_vae": ["py.typed", "__init__.pyi"]},
    entry_points={"console_scripts": ["keras-vae = keras_vae.cli:main"]},
    install_requires=[
        "tensorflow>=2.21,<2.22",
        "keras>=3.15,<3.16",  # keras_names.py uses names that another minor version may not have
        "tensorflow-probability>=0.25,<0.26",
        "tf-keras>=2.21,<2.22",  # imported by tensorflow-probability; its minor version is TensorFlow's
        "setuptools",  # for distutils, imported by tensorflow-probability, which Python 3.12 no longer has
        "tensorflow-datasets>=4.9.10",
        "rich>=13",  # also of keras
        "pyarrow>=16",  # also of tensorflow-datasets
        "importlib_resources",  # imported by tensorflow-datasets when it prepares a dataset
        "numpy>=2",
        "scikit-learn>=1.6",
        "scipy>=1.13",  # also of scikit-learn
        "matplotlib>=3.9",
        "pillow>=10",
    ],
    extras_require={
        "gymnasium": GYMNASIUM,
        "agents": [*GYMNASIUM, "stable-baselines3>=2.4"],
        "test": TEST,
        "dev": [*TEST, "ruff>=0.9", "mypy>=2"],
        "bench": ["jax", "torch", "pythae"],
    },
)
