"""Copies a finished run here, with a card that says where it comes from.

The model is saved without its optimizer, which is two thirds of the file. The commit is that of the training; without
one it is the current one.

python saved_models/publish.py runs/digits digits [COMMIT]
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import keras_vae as kv

CARD = """# {name}

A keras_vae model of {data}, trained by

    {command}

at commit {commit}, seed {seed}, {epochs} epochs, {seconds:.0f} s, {versions}.

On the test set, in nats per example: ELBO {elbo:.2f}, log p(x) {log_likelihood:.2f} +- {error:.2f} (standard error over
the examples; {samples} importance samples each). All figures are in [metrics.json](metrics.json).

Load it to use it, or serve it from this folder, whose version is `1`:

    import keras_vae as kv
    vae = kv.load_model("saved_models/{name}/model.keras")
    images = vae.generate(9, seed=0)

    import tensorflow as tf
    served = tf.saved_model.load("saved_models/{name}/1")
    served.signatures["generate"](
        num_samples=tf.constant(9), seed=tf.constant(0), temperature=tf.constant(1.0)
    )["mean"]

![samples](samples.png)
"""


def main(run: Path, name: str, commit: str = "HEAD") -> None:
    """Writes `saved_models/<name>` from a run."""
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    revision = ["git", "rev-parse", "--short", commit]
    commit = subprocess.run(revision, capture_output=True, text=True, check=True).stdout
    target = Path(__file__).parent / name
    target.mkdir()
    shutil.copy2(run / "metrics.json", target / "metrics.json")
    trained = kv.load_model(run / "model.keras")
    model = type(trained).from_config(trained.get_config())
    model.build((None, *trained.event_shape))
    model.set_weights(trained.get_weights())
    model.save(target / "model.keras")
    model.export(target / "1")
    kv.plotting.samples(model, 100).savefig(target / "samples.png")
    versions = ", ".join(f"{package} {version}" for package, version in metrics["versions"].items())
    card = CARD.format(
        **metrics | {"versions": versions},
        name=name,
        commit=commit.strip(),
        error=metrics["log_likelihood_standard_error"],
        samples=metrics["log_likelihood_samples"],
    )
    (target / "README.md").write_text(card, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
