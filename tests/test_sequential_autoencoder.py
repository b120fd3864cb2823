"""Parsers that learn from forms without questions: the loss, its gradients, what is missing, and what is served."""

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from cases import CASES, sequences, some_missing

import keras_vae as kv
from keras_vae.noise import fold
from keras_vae.optimizers import REST
from keras_vae.sampling import sampling

QUESTIONS = ["show one red cat", "show two blue dogs", "show one blue cat", "show two red dogs"]
FORMS = ["( cat red one )", "( dog blue two )", "( cat blue one )", "( dog red two )"]


def of_texts(seed=0, **options) -> kv.SequentialAutoencoder:
    keras.utils.set_random_seed(seed)
    words, symbols = kv.datasets.vocabulary(QUESTIONS), kv.datasets.vocabulary(FORMS, standardize=None)
    n, m = words.vocabulary_size(), symbols.vocabulary_size()
    model = kv.SequentialAutoencoder(
        kv.LogisticNormalTokens(5, kv.TokenMemory(m, 12, 8), None, kv.CausalLSTM(12), 8, vocabulary=words),
        kv.TokenSequence(6, kv.TokenMemory(n, 12, 8), None, kv.CausalLSTM(12), 8, vocabulary=symbols),
        kv.StandardNormal((5, n)),
    )
    model.compile(keras.optimizers.Adam(2e-2), loss=kv.ELBO(beta=1e-2), **options)
    return model


def traced(model, x, y, samples=1, seed=1):
    with sampling(samples, fold(seed)):
        return model(model.as_inputs(x, y))


@pytest.fixture(scope="module")
def small():
    model = CASES["SequentialAutoencoder"].compiled()
    model.build((None, 6))
    for weight in model.trainable_weights:
        weight.assign(2 * weight + 0.2 * np.random.default_rng(0).normal(size=weight.shape))
    return model


def test_an_example_with_its_question_has_the_loss_of_both_directions(small):
    forms, questions = sequences(), sequences(4, 5).astype("float32")
    trace = traced(small, forms, questions)
    parsed = small.parser(questions).log_prob(forms)
    generated = small.generator(forms).log_prob(questions.astype("int32"))
    np.testing.assert_allclose(trace.log_likelihood[0], parsed, rtol=1e-5)
    np.testing.assert_allclose(trace.terms["generation"], -generated, rtol=1e-5)
    np.testing.assert_array_equal(trace.kl, 0)
    loss = kv.ELBO(beta=0.1).per_example(trace)[REST]
    np.testing.assert_allclose(loss, -parsed - generated, rtol=1e-5)


def test_without_its_question_the_loss_is_a_bound(small):
    """The KL against the mean of its draws, and the bound below an estimate of log p(y) from the prior."""
    forms = sequences(count=4)
    trace = traced(small, forms, None, samples=4000)
    np.testing.assert_array_equal(trace.terms["generation"], 0)
    drawn = -trace.latents["x"].log_ratio.numpy()
    error = drawn.std(axis=0) / np.sqrt(len(drawn))
    assert (np.abs(drawn.mean(axis=0) - trace.kl.numpy().mean(axis=0)) < 5 * error).all()
    weights = trace.log_weight.numpy()
    bound = weights.mean(axis=0)
    gamma = small.sample_prior(20_000, seed=2)
    log_prob = np.stack([small.decode(tf.nn.softmax(gamma)).log_prob(form).numpy() for form in forms], axis=1)
    exact = np.log(np.exp(log_prob).mean(axis=0))
    spread = np.exp(log_prob - exact).std(axis=0) / np.sqrt(len(gamma))
    assert (bound < exact + 4 * (spread + weights.std(axis=0) / np.sqrt(len(weights)))).all()
    estimate, _ = small.importance_weights((forms, np.full((4, 4), np.nan, "float32")), 4000, seed=3)
    assert (estimate.numpy() < exact + 4 * spread).all()


def test_mixed_batches_have_the_loss_of_each_part(small):
    forms, questions = sequences(), some_missing()
    loss = kv.ELBO(beta=0.1).per_example(traced(small, forms, questions))[REST].numpy()
    missing = np.isnan(questions).any(axis=1)
    for part in (missing, ~missing):
        trace = traced(small, forms, None if part[0] else sequences(4, 5).astype("float32"))
        whole = kv.ELBO(beta=0.1).per_example(trace)[REST].numpy()
        np.testing.assert_allclose(loss[part], whole[part], rtol=1e-4)


def test_forms_alone_train_the_generator_through_the_relaxed_words(small):
    forms = sequences()
    with tf.GradientTape() as tape:
        trace = traced(small, forms, None)
        loss = -tf.reduce_mean(trace.log_likelihood)
    generator = small.posterior.trainable_weights
    for weight, gradient in zip(generator, tape.gradient(loss, generator), strict=True):
        assert np.abs(tf.convert_to_tensor(gradient)).max() > 0, weight.path


def test_probabilities_near_0_and_1_are_parsed_as_words_are(small):
    questions = sequences(4, 5)
    sharp = tf.nn.softmax(200.0 * tf.one_hot(questions, 5))
    soft, hard = small.decode(sharp), small.parser(questions)
    np.testing.assert_allclose(soft.log_prob(sequences()), hard.log_prob(sequences()), rtol=1e-5)


def test_relaxed_words_are_points_of_the_simplex_and_their_noise_has_its_scale(small):
    features, _ = small.posterior.features_of(tf.constant(sequences()))

    def at_mean(number, normal):
        return normal.mean()

    gamma, loc, scale = small.posterior.relaxed(features, [12], at_mean)
    np.testing.assert_array_equal(gamma, loc)
    assert scale.numpy().min() > 0
    # At the means the words are those of the density, where it is given the same words before them.
    words = tf.nn.softmax(gamma)
    np.testing.assert_allclose(tf.reduce_sum(words, axis=-1), 1, rtol=1e-5)
    first = small.posterior.logits(tf.zeros([12, 4], tf.int32), features)[:, 0]
    np.testing.assert_allclose(loc[:, 0], first, rtol=1e-4, atol=1e-5)


def test_a_question_may_be_missing_in_every_form():
    model = of_texts()
    model.build((None, 6))
    tokens = np.asarray(model.posterior.rows_of(QUESTIONS), "float32")
    tokens[[1, 3]] = np.nan
    expected = model.evaluate(FORMS, tokens, verbose=0, return_dict=True)
    some = [question if number % 2 == 0 else None for number, question in enumerate(QUESTIONS)]
    for given in (some, pd.Series(some), np.array(some, object), [float("nan") if q is None else q for q in some]):
        assert model.evaluate(FORMS, given, verbose=0, return_dict=True) == expected
    none = model.evaluate(FORMS, verbose=0, return_dict=True)
    assert none == model.evaluate(FORMS, [None] * 4, verbose=0, return_dict=True)
    assert none["generation"] == 0
    assert expected["generation"] > 0
    with pytest.raises(ValueError, match=r"needs texts. Received: 3"):
        model.evaluate(FORMS, ["show", 3, None, "one"], verbose=0)
    with pytest.raises(ValueError, match=r"as many of each as there are examples. Received: 3, 4"):
        model.evaluate(FORMS, QUESTIONS[:3], verbose=0)


@pytest.mark.slow
def test_a_resumed_run_is_the_uninterrupted_one(tmp_path):
    some, whole, first = [*QUESTIONS, *[None] * 4], of_texts(), of_texts()
    whole.fit(FORMS + FORMS, some, epochs=2, batch_size=8, verbose=0)
    first.fit(FORMS + FORMS, some, epochs=1, batch_size=8, verbose=0)
    first.save(tmp_path / "half.keras")
    again = keras.saving.load_model(tmp_path / "half.keras")
    again.fit(FORMS + FORMS, some, epochs=2, initial_epoch=1, batch_size=8, verbose=0)
    for one, other in zip(again.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_trains_parses_and_is_served_in_texts(tmp_path, run_python):
    model = of_texts()
    model.fit(FORMS + FORMS, [*QUESTIONS, *[None] * 4], epochs=150, batch_size=8, verbose=0)
    assert model.parse(QUESTIONS) == FORMS
    assert model.parse(QUESTIONS, width=3) == FORMS
    model.save(tmp_path / "parser.keras")
    assert keras.saving.load_model(tmp_path / "parser.keras").parse(QUESTIONS) == FORMS
    model.export(tmp_path / "parser" / "1")
    printed = run_python(
        "import sys, tensorflow as tf\n"
        "served = tf.saved_model.load(sys.argv[1])\n"
        "found = served.signatures['parse'](question=tf.constant(sys.argv[2:]))\n"
        "print(b'|'.join(found['text'].numpy()).decode())\n"
        "assert 'keras_vae' not in sys.modules\n"
        "try:\n"
        "    served.signatures['parse'](question=tf.constant(['one ' * 9]))\n"
        "except tf.errors.InvalidArgumentError as error:\n"
        "    print('refused', '5 tokens at most' in str(error))\n",
        tmp_path / "parser" / "1",
        *QUESTIONS,
    )
    assert printed.splitlines() == ["|".join(model.parse(QUESTIONS)), "refused True"]


def test_other_layers_are_refused():
    model = of_texts()
    with pytest.raises(TypeError, match="needs posterior to be a LogisticNormalTokens"):
        kv.SequentialAutoencoder(model.likelihood, model.likelihood, model.prior)
    with pytest.raises(ValueError, match=r"prior of event shape \(5, \d+\).*Received: \(3,\)"):
        kv.SequentialAutoencoder(model.posterior, model.likelihood, kv.StandardNormal(3))


@pytest.mark.slow
def test_forms_without_questions_help_a_parser_of_the_grammar():
    """50 labels and 1,000 forms against 50 labels alone, as examples/parser.py has it."""
    import subprocess
    import sys
    from pathlib import Path

    script = Path(__file__).parents[1] / "examples" / "parser.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    alone, with_forms = (float(line.split(": ")[1].split(" %")[0]) for line in done.stdout.splitlines())
    assert with_forms > alone + 30
