"""Training under a distribution strategy: the result of one device."""

from conftest import ROOT


def test_two_devices_train_what_one_does(tmp_path, run_python):
    """Same logs, weights, scores and reconstructions, with uneven last batches, and resumed; other noise on each."""
    script = ROOT / "tests" / "on_replicas.py"
    code = "import runpy, sys; runpy.run_path(sys.argv.pop(1), run_name='__main__')"
    assert run_python(code, script, tmp_path).strip().endswith("all equal")
