"""README's code blocks, run as they are written."""

import re

from conftest import ROOT

from keras_vae.cli import _parser

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_python_blocks_run_in_order(run_python, tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(blocks) >= 3
    code = f"import os\nos.chdir({str(tmp_path)!r})\n" + "\n".join(blocks)
    run_python(code, MPLBACKEND="Agg", PYTHONPATH=str(ROOT))


def test_commands_are_accepted_by_the_parser():
    lines = [line.split("#")[0] for line in re.findall(r"^ *(?:.* && )?keras-vae (.*)$", README, flags=re.MULTILINE)]
    assert len(lines) >= 4
    for line in lines:
        _parser().parse_args(line.split())


def test_links_lead_to_files():
    prose = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", prose):
        assert (ROOT / target).exists(), target
