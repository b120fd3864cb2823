"""The published models load, serve, and are what their cards say."""

import json

import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT

import keras_vae as kv

MODELS = sorted(path.parent for path in (ROOT / "saved_models").glob("*/model.keras"))


@pytest.mark.parametrize("folder", MODELS, ids=lambda folder: folder.name)
def test_both_forms_of_a_published_model_agree(folder):
    model = kv.load_model(folder / "model.keras")
    served = tf.saved_model.load(str(folder / "1")).signatures
    out = served["generate"](num_samples=tf.constant(3), seed=tf.constant(2), temperature=tf.constant(1.0))
    np.testing.assert_allclose(out["mean"], model.generate(3, seed=2), rtol=1e-5, atol=1e-5)


def test_the_digits_model_has_the_score_of_its_card():
    folder = ROOT / "saved_models" / "digits"
    metrics = json.loads((folder / "metrics.json").read_text())
    data = kv.datasets.load("digits", seed=metrics["seed"])
    score = kv.evaluation.log_likelihood(kv.load_model(folder / "model.keras"), data.test, samples=500, verbose=0)
    assert score.mean == pytest.approx(metrics["log_likelihood"], abs=0.1)  # other batches, so other draws
    assert score.mean > metrics["baseline_log_likelihood"] + 4
    assert f"{metrics['log_likelihood']:.2f}" in (folder / "README.md").read_text()
