"""README's code blocks, run as they are written."""

import re

import pytest
import tensorflow as tf
from conftest import ROOT

import keras_vae as kv
from keras_vae.cli import _parser

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_python_blocks_run_in_order(run_python, tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(blocks) >= 3
    code = f"import os\nos.chdir({str(tmp_path)!r})\n" + "\n".join(blocks)
    run_python(code, MPLBACKEND="Agg", PYTHONPATH=str(ROOT))


def test_the_served_signatures_are_those_of_the_table():
    model = readme_model()
    table = re.findall(r"^\| `(\w+)` \| (`x`.*|`z`.*|`num_samples`.*) \|$", README, flags=re.MULTILINE)
    signatures = model.serving_signatures()
    assert [name for name, _ in table] == list(signatures)
    for name, cells in table:
        inputs, outputs = cells.split(" | ", 1)
        function, specs = signatures[name]
        assert re.findall(r"`(\w+)`", inputs) == [spec.name for spec in specs]
        concrete = tf.function(function, input_signature=specs, autograph=False).get_concrete_function()
        assert set(re.findall(r"`(\w+)`", outputs)) == set(concrete.structured_outputs)


def test_the_error_of_the_served_section_is_that_of_its_model():
    refused = readme_model().serving_signatures()["generate"][0]
    (message,) = re.findall(r"^    (VAE.generate needs num_samples .*)$", README, flags=re.MULTILINE)
    with pytest.raises(tf.errors.InvalidArgumentError) as error:
        refused(20_000_000, 0, 1.0)
    assert message in str(error.value)


def readme_model() -> kv.VAE:
    """That of the first example."""
    shape = (8, 8, 1)
    model = kv.VAE(
        posterior=kv.Normal(16, kv.dense_encoder(shape)),
        likelihood=kv.Bernoulli(shape, kv.dense_decoder(16)),
        prior=kv.StandardNormal(16),
    )
    model.build((None, *shape))
    return model


def test_commands_are_accepted_by_the_parser():
    lines = [line.split("#")[0] for line in re.findall(r"^ *(?:.* && )?keras-vae (.*)$", README, flags=re.MULTILINE)]
    assert len(lines) >= 4
    for line in lines:
        _parser().parse_args(line.split())


def test_links_lead_to_files():
    prose = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", prose):
        assert (ROOT / target).exists(), target
