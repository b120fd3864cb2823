"""Sequences of tokens: probabilities that add up to 1, padding that never counts, draws, beams, texts."""

import itertools

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from scipy.stats import chisquare

import keras_vae as kv
from keras_vae.distributions.supports import TokenSequences

TEXTS = ["the cat sees a dog", "a dog", "the bird", "the cat likes the small bird", "a cat sees", "dog"]
CAUSAL = {
    "LSTM": lambda: kv.CausalLSTM(6),
    "Transformer": lambda: kv.CausalTransformer(8, blocks=2, heads=2),
}


def every_sequence(length: int, tokens: int) -> np.ndarray:
    rows = [row for count in range(length + 1) for row in itertools.product(range(1, tokens), repeat=count)]
    return np.array([[*row, *[0] * (length - len(row))] for row in rows])


def memory(rows=2, places=5, size=4, seed=0) -> np.ndarray:
    """Features of places, of which the last ones are there in part or not at all."""
    made = np.random.default_rng(seed).normal(size=(rows, places, size + 1)).astype("float32")
    made[..., -1] = np.array([1, 1, 1, 0.5, 0])[:places]
    return made


def contexts() -> dict:
    return {"none": None, "vector": np.random.default_rng(0).normal(size=(2, 4)).astype("float32"), "memory": memory()}


def layer_of(causal: str, context, length=3, tokens=4) -> kv.TokenSequence:
    keras.utils.set_random_seed(1)
    layer = kv.TokenSequence(length, tokens=tokens, causal=CAUSAL[causal](), embedding_size=4)
    layer.build(None if context is None else (None, *context.shape[1:]))
    for weight in layer.trainable_weights:
        weight.assign(2 * weight + 0.3 * np.random.default_rng(2).normal(size=weight.shape))
    return layer


def distribution_of(layer, context):
    return layer() if context is None else layer(context)


@pytest.mark.parametrize("context", contexts())
@pytest.mark.parametrize("causal", CAUSAL)
def test_probabilities_of_all_sequences_add_up_to_1(causal, context):
    given = contexts()[context]
    distribution = distribution_of(layer_of(causal, given), given)
    every = every_sequence(3, 4)  # 40 of them
    log_prob = distribution.log_prob(every if given is None else every[:, None].repeat(2, axis=1))
    np.testing.assert_allclose(np.exp(log_prob).sum(axis=0), 1, rtol=1e-5)
    impossible = np.array([[1, 0, 1], [4, 0, 0], [-1, 0, 0]])
    assert (distribution.log_prob(impossible if given is None else impossible[:, None]).numpy() == -np.inf).all()


@pytest.mark.parametrize("context", contexts())
@pytest.mark.parametrize("causal", CAUSAL)
def test_a_walk_from_place_to_place_gives_what_a_pass_gives(causal, context):
    given = contexts()[context]
    layer = layer_of(causal, given, length=5, tokens=6)
    tokens = np.random.default_rng(3).integers(1, 6, (2, 5))
    whole = layer.logits(tf.constant(tokens), given)
    prepared = layer.causal.prepare(given)
    before, state = tf.zeros([2], tf.int32), layer.causal.start(2, prepared)
    for place in range(5):
        logits, state = layer.next_logits(before, state, place, prepared)
        np.testing.assert_allclose(logits, whole[:, place], rtol=1e-4, atol=1e-5)
        before = tf.constant(tokens[:, place], tf.int32)


@pytest.mark.parametrize("causal", CAUSAL)
def test_no_place_sees_itself_or_what_comes_after(causal):
    layer = layer_of(causal, None, length=5, tokens=6)
    tokens = np.random.default_rng(3).integers(1, 6, (1, 5))
    first = layer.logits(tf.constant(tokens), None).numpy()
    for place in range(5):
        changed = tokens.copy()
        changed[0, place] = tokens[0, place] % 5 + 1
        moved = np.abs(layer.logits(tf.constant(changed), None).numpy() - first).max(axis=-1)[0]
        assert (moved[: place + 1] == 0).all()
        assert (moved[place + 1 :] > 0).all()


def test_a_place_that_is_not_there_changes_nothing():
    given, other = memory(), memory()
    other[:, -1, :-1] = 100.0  # features of the last place, whose presence is 0
    for causal in CAUSAL:
        layer = layer_of(causal, given)
        tokens = np.array([[1, 2, 3], [3, 0, 0]])
        np.testing.assert_array_equal(layer(given).log_prob(tokens), layer(other).log_prob(tokens))


@pytest.mark.parametrize("causal", CAUSAL)
def test_draws_have_their_probabilities(causal):
    layer = layer_of(causal, None, length=2, tokens=3)
    every = every_sequence(2, 3)
    expected = np.exp(layer().log_prob(every).numpy().astype("float64"))
    draws = layer().sample(20_000, seed=5).numpy()
    counts = [(draws == row).all(axis=1).sum() for row in every]
    assert sum(counts) == 20_000
    assert chisquare(counts, 20_000 * expected / expected.sum()).pvalue > 1e-3
    greedy = layer().tempered_sample([3], [0, 7], 0.0).numpy()
    np.testing.assert_array_equal(greedy, np.repeat(layer().mode().numpy()[None], 3, axis=0))


def test_a_nucleus_leaves_out_what_is_improbable():
    layer = layer_of("LSTM", None, length=1, tokens=6)
    probabilities = np.exp(layer().log_prob(np.arange(6)[:, None]).numpy().astype("float64"))
    order = np.argsort(-probabilities)
    wanted = order[: np.searchsorted(np.cumsum(probabilities[order]), 0.6) + 1]
    draws = layer().tempered_sample([5_000], [0, 1], 1.0, nucleus=0.6).numpy()[:, 0]
    assert set(draws) == set(wanted)
    counts = [(draws == token).sum() for token in wanted]
    kept = probabilities[wanted] / probabilities[wanted].sum()
    assert chisquare(counts, len(draws) * kept).pvalue > 1e-3


@pytest.mark.parametrize("context", ["none", "memory"])
@pytest.mark.parametrize("causal", CAUSAL)
def test_a_wide_beam_finds_the_most_probable_sequences(causal, context):
    given = contexts()[context]
    distribution = distribution_of(layer_of(causal, given), given)
    every = every_sequence(3, 4)
    found, log_prob = distribution.beam_search(40)
    scores = distribution.log_prob(every if given is None else every[:, None].repeat(2, axis=1)).numpy()
    for row in range(1 if given is None else 2):
        each = scores if given is None else scores[:, row]
        one, nats = (found, log_prob) if given is None else (found[row], log_prob[row])
        np.testing.assert_allclose(nats, np.sort(each)[::-1], rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(one[0], every[each.argmax()])
    narrow, of_narrow = distribution.beam_search(1)
    np.testing.assert_array_equal(narrow[..., 0, :], distribution.mode())
    np.testing.assert_allclose(of_narrow[..., 0], distribution.log_prob(distribution.mode()), rtol=1e-4, atol=1e-5)


# --- models ----------------------------------------------------------------------------------------------------------


def sentence_vae(vocabulary=None, length=8, dropout=0.0, word_dropout=0.0, seed=0) -> kv.SequenceVAE:
    keras.utils.set_random_seed(seed)
    tokens = 12 if vocabulary is None else vocabulary.vocabulary_size()
    likelihood = kv.TokenSequence(
        length,
        tokens=None if vocabulary else tokens,
        causal=kv.CausalLSTM(8, dropout),
        embedding_size=4,
        word_dropout=word_dropout,
        vocabulary=vocabulary,
    )
    model = kv.SequenceVAE(kv.Normal(2, kv.TokenEncoder(tokens, 6, 4)), likelihood, kv.StandardNormal(2))
    model.compile(keras.optimizers.Adam(1e-2), loss=kv.ELBO())
    return model


def some_tokens(count=12, width=6) -> np.ndarray:
    made = np.random.default_rng(0).integers(1, 12, (count, width))
    return np.where(np.arange(width) < 1 + np.arange(count)[:, None] % width, made, 0)


def test_padding_never_counts():
    tokens, results = some_tokens(), []
    for more in (1, 100):
        model = sentence_vae(dropout=0.2, word_dropout=0.2)
        padded = np.pad(tokens, [[0, 0], [0, more]])
        history = model.fit(padded, epochs=2, batch_size=6, verbose=0).history
        results.append((history, model.evaluate(padded, verbose=0, return_dict=True), model.get_weights()))
    for history, scores, weights in results[1:]:
        assert history == results[0][0]
        assert scores == results[0][1]
        for one, other in zip(weights, results[0][2], strict=True):
            np.testing.assert_array_equal(one, other)


def test_an_encoder_ends_with_its_sequence():
    tokens = some_tokens()
    for layer in (kv.TokenEncoder(12, 5, 4), kv.TokenMemory(12, 5, 4)):
        short = layer(tokens).numpy()
        long = layer(np.pad(tokens, [[0, 0], [0, 4]])).numpy()
        if short.ndim == 2:
            np.testing.assert_array_equal(long, short)
        else:
            np.testing.assert_array_equal(long[:, :6], short)
            np.testing.assert_array_equal(short[..., -1], tokens != 0)


def test_a_masked_memory_is_that_of_keras():
    inputs = np.random.default_rng(0).normal(size=(3, 5, 2)).astype("float32")
    there = np.arange(5) < np.array([[5], [3], [1]])
    for backwards in (False, True):
        ours = kv.networks.MaskedLSTM(4, backwards)
        found = ours(inputs, there[..., None].astype("float32")).numpy()
        keras_layer = keras.layers.LSTM(4, return_sequences=True, go_backwards=backwards)
        keras_layer.build((None, 5, 2))
        keras_layer.set_weights(ours.get_weights())
        expected = keras_layer(inputs, mask=tf.constant(there)).numpy()
        expected = expected[:, ::-1] if backwards else expected
        np.testing.assert_allclose(found[there], expected[there], rtol=1e-5, atol=1e-6)


def test_attention_is_that_of_keras():
    rng = np.random.default_rng(0)
    inputs, memory = (rng.normal(size=(2, places, 6)).astype("float32") for places in (3, 4))
    there = np.array([[1, 1, 1, 0], [1, 0, 1, 1]], "float32")[:, None]
    ours = kv.networks.MaskedAttention(8, heads=2)
    found = ours(inputs, memory, there)
    of_keras = keras.layers.MultiHeadAttention(2, 4, output_shape=8)
    of_keras(inputs, memory)
    weights = {path: ours_weight for path, ours_weight in zip("qkvo", ours._layers, strict=True)}
    shaped = [weights["q"].kernel, np.zeros((2, 4)), weights["k"].kernel, np.zeros((2, 4))]
    shaped += [weights["v"].kernel, weights["v"].bias, weights["o"].kernel, weights["o"].bias]
    of_keras.set_weights(
        [np.reshape(one, other.shape) for one, other in zip(shaped, of_keras.get_weights(), strict=True)]
    )
    np.testing.assert_allclose(found, of_keras(inputs, memory, attention_mask=there > 0), rtol=1e-4, atol=1e-5)
    half = ours(inputs, memory, 0.5 * np.ones((2, 1, 4), "float32"))  # all in part is all
    np.testing.assert_allclose(half, ours(inputs, memory), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="units that heads divide"):
        kv.networks.MaskedAttention(8, heads=3)


def test_rows_of_probabilities_have_the_expected_vector():
    layer, tokens = kv.networks.TokenEmbedding(5, 3), np.array([[1, 4, 0]])
    np.testing.assert_allclose(layer(tf.one_hot(tokens, 5)), layer(tokens), rtol=1e-6)
    even = layer(np.full((1, 1, 5), 0.2, "float32"))[0, 0]
    np.testing.assert_allclose(even, np.mean(layer.table, axis=0), rtol=1e-5)


def test_where_sequences_are():
    support = TokenSequences(4)
    rows = np.array([[1, 2, 0], [0, 0, 0], [3, 3, 3], [0, 1, 0], [4, 0, 0], [1.5, 0, 0]])
    found = np.asarray(support.contains(rows))
    assert found.all(axis=1).tolist() == [True, True, True, False, False, False]
    assert support.within(TokenSequences(4))
    assert not support.within(TokenSequences(5))


def test_nats_per_token_are_of_all_tokens():
    model, tokens = sentence_vae(), some_tokens()
    model.build((None, 8))
    scores = model.evaluate(tokens, batch_size=5, verbose=0, return_dict=True)
    counted = (tokens != 0).sum() + len(tokens)  # each ends before the eighth place
    assert scores["nats_per_token"] == pytest.approx(scores["loss"] * len(tokens) / counted, rel=1e-5)
    full = np.ones((1, 8), int)
    assert model.likelihood.units_of(tf.constant(full))["token"].numpy() == [8]
    assert "bits_per_dim" not in scores


def test_all_forms_of_texts_are_the_same_data():
    vocabulary = kv.datasets.vocabulary(TEXTS)
    model = sentence_vae(vocabulary)
    tokens = np.asarray(vocabulary(tf.constant(TEXTS)))
    model.build((None, 8))
    expected = model.evaluate(tokens, verbose=0, return_dict=True)
    forms = {
        "list": TEXTS,
        "tuple": tuple(TEXTS),
        "array of str": np.array(TEXTS),
        "array of objects": np.array(TEXTS, object),
        "pandas": pd.Series(TEXTS),
        "tensor": tf.constant(TEXTS),
        "ragged": tf.RaggedTensor.from_tensor(tokens, padding=0),
        "lists of tokens": [[int(token) for token in row if token] for row in tokens],
        "int64 tensor": tf.constant(tokens, tf.int64),
    }
    for form, data in forms.items():
        assert model.evaluate(data, verbose=0, return_dict=True) == expected, form
    batches = tf.data.Dataset.from_tensor_slices(tokens).batch(6)
    assert model.evaluate(batches, verbose=0, return_dict=True) == expected
    assert model.texts(tokens) == TEXTS
    assert model.encode(TEXTS[:2]).mean().shape == (2, 2)
    assert model.predict(TEXTS, verbose=0).shape == (6, 8)


def test_what_is_no_sequence_is_refused_by_name():
    vocabulary = kv.datasets.vocabulary(TEXTS)
    model = sentence_vae(vocabulary)
    with pytest.raises(ValueError, match=r"TokenSequence.*8 tokens at most. Received: one of 9"):
        model.fit(["the " * 9], verbose=0)
    with pytest.raises(ValueError, match="Received: one of 10"):
        model.fit(np.array([[1, 0, 0, 0, 0, 0, 0, 0, 0, 2]]), verbose=0)
    with pytest.raises(ValueError, match=r"needs texts. Received: 3 among them"):
        model.fit(np.array(["the", 3], object), verbose=0)
    with pytest.raises(ValueError, match="a token after a 0"):
        model.fit(np.array([[1, 0, 2]]), verbose=0)
    with pytest.raises(ValueError, match=r"tokens from 1 to \d+.*such as 99"):
        model.fit(np.array([[1, 99, 0]]), verbose=0)
    with pytest.raises(ValueError, match=r"needs whole numbers, or a vocabulary for texts"):
        sentence_vae().fit(TEXTS, verbose=0)
    with pytest.raises(ValueError, match="needs a vocabulary to write texts"):
        sentence_vae().texts(some_tokens())
    with pytest.raises(ValueError, match="needs a number of tokens or a vocabulary"):
        kv.TokenSequence(4)
    with pytest.raises(ValueError, match="needs a vocabulary that was adapted"):
        kv.TokenSequence(4, vocabulary=keras.layers.TextVectorization())
    with pytest.raises(TypeError, match="needs causal to be a CausalLSTM"):
        kv.TokenSequence(4, tokens=3, causal=keras.layers.LSTM(3))
    with pytest.raises(TypeError, match="SequenceVAE needs likelihood to be a TokenSequence"):
        kv.SequenceVAE(kv.Normal(2), kv.Bernoulli(4), kv.StandardNormal(2))


@pytest.mark.slow
def test_a_vocabulary_that_was_adapted_is_kept_with_the_model(tmp_path):
    vocabulary = keras.layers.TextVectorization(max_tokens=50)
    vocabulary.adapt(tf.constant(TEXTS))
    model = sentence_vae(vocabulary)
    model.fit(TEXTS, epochs=1, verbose=0)
    model.save(tmp_path / "sentences.keras")
    again = keras.saving.load_model(tmp_path / "sentences.keras")
    assert again.likelihood.words == vocabulary.get_vocabulary()
    assert again.texts(again.tokens(TEXTS)) == TEXTS
    assert again.evaluate(TEXTS, verbose=0) == model.evaluate(TEXTS, verbose=0)


def test_words_are_hidden_in_training_alone():
    model = sentence_vae(word_dropout=0.99)
    model.build((None, 8))
    tokens = tf.constant(np.pad(some_tokens(), [[0, 0], [0, 2]]), tf.int32)
    z = np.zeros((1, 12, 2), "float32")
    plain = sentence_vae()
    plain.build((None, 8))
    plain.set_weights(model.get_weights())
    np.testing.assert_array_equal(model.decode(z).log_prob(tokens), plain.decode(z).log_prob(tokens))
    hidden = model.likelihood(z, training=True).log_prob(tokens)
    unknown = plain.likelihood.logits(tf.where(tokens != 0, 1, 0), plain.likelihood.features_of(z)[0])
    assert np.abs(hidden - plain.decode(z).log_prob(tokens)).max() > 1e-3
    nats = -tf.nn.sparse_softmax_cross_entropy_with_logits(tokens, unknown)
    open_ = np.cumprod(np.pad(tokens[:, :-1] != 0, [[0, 0], [1, 0]], constant_values=True), axis=1)
    close = np.abs(hidden[0] - (nats.numpy() * open_).sum(axis=1)) < 1e-4
    assert close.mean() > 0.8  # of the others a word was left


def test_a_resumed_run_is_the_uninterrupted_one(tmp_path):
    tokens = some_tokens(24)
    whole = sentence_vae(dropout=0.3, word_dropout=0.3)
    whole.fit(tokens, epochs=2, batch_size=8, verbose=0)
    first = sentence_vae(dropout=0.3, word_dropout=0.3)
    first.fit(tokens, epochs=1, batch_size=8, verbose=0)
    first.save(tmp_path / "half.keras")
    again = keras.saving.load_model(tmp_path / "half.keras")
    again.fit(tokens, epochs=2, initial_epoch=1, batch_size=8, verbose=0)
    for one, other in zip(again.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_a_language_model_learns_a_chain():
    """Tokens of a Markov chain that stops: the loss comes down to its entropy, and not below."""
    rng = np.random.default_rng(0)
    moves = np.array([[0.0, 0.7, 0.3], [0.3, 0.1, 0.6], [0.2, 0.5, 0.3]])  # from the start, 1 and 2 to 0, 1 and 2

    def chains(count):
        made = np.zeros((count, 6), int)
        for row in made:
            token = 0
            for place in range(6):
                token = rng.choice(3, p=moves[token])
                if token == 0:
                    break
                row[place] = token
        return made

    def log_prob(row):
        total, before = 0.0, 0
        for token in row:
            total += np.log(moves[before, token])
            if token == 0:
                break
            before = token
        return total

    train, test = chains(2000), chains(2000)
    exact = np.array([log_prob(row) for row in test])
    keras.utils.set_random_seed(0)
    model = kv.LanguageModel(kv.TokenSequence(6, tokens=3, causal=kv.CausalTransformer(16, 1, 2), embedding_size=8))
    model.compile(keras.optimizers.Adam(5e-3), loss=kv.ELBO())
    model.fit(train, epochs=5, batch_size=50, verbose=0)
    found = model.likelihood().log_prob(test).numpy()
    assert model.evaluate(test, verbose=0, return_dict=True)["loss"] == pytest.approx(-found.mean(), rel=1e-5)
    gap = exact - found  # its mean is a Kullback-Leibler divergence
    assert -4 * gap.std() / np.sqrt(len(gap)) < gap.mean() < 0.02


def test_places_between_two_sentences():
    vocabulary = kv.datasets.vocabulary(TEXTS)
    model = sentence_vae(vocabulary)
    model.fit(TEXTS, epochs=1, verbose=0)
    between = model.interpolate(TEXTS[:2], TEXTS[2:4], steps=3)
    assert between.shape == (2, 3, 8)
    np.testing.assert_array_equal(between[:, 0], model.reconstruct(TEXTS[:2]))
    np.testing.assert_array_equal(between[:, -1], model.reconstruct(TEXTS[2:4]))
    with pytest.raises(ValueError, match="steps to be a whole number, 2 or more"):
        model.interpolate(TEXTS[:1], TEXTS[1:2], steps=1)


# --- files -----------------------------------------------------------------------------------------------------------


def test_texts_of_files(tmp_path):
    lines = [f"sentence number {number}" for number in range(20)]
    (tmp_path / "lines.txt").write_text("\n".join(lines) + "\n\n", encoding="utf-8")
    (tmp_path / "pairs.tsv").write_text("".join(f'{line} "\tf ( {n} )\n' for n, line in enumerate(lines)))
    rows = "".join(f'"{line}, yes",{n}\n' for n, line in enumerate(lines))
    (tmp_path / "rows.csv").write_text("\ufeffquestion,form\n" + rows, encoding="utf-8")
    (tmp_path / "rows.jsonl").write_text("".join(f'{{"a": "{line}", "b": 3}}\n' for line in lines))
    texts = kv.datasets.load_texts(tmp_path / "lines.txt")
    assert texts.sizes == {"train": 16, "validation": 2, "test": 2}
    assert sorted([*texts.train["text"], *texts.validation["text"], *texts.test["text"]]) == sorted(lines)
    pairs = kv.datasets.load_texts(tmp_path / "pairs.tsv", ("question", "form"), whole=True)
    assert pairs.train["question"][3] == 'sentence number 3 "'
    assert pairs.test["form"][3] == "f ( 3 )"
    assert pairs.longest("form") == 4
    rows = kv.datasets.load_texts(tmp_path / "rows.csv", whole=True)
    assert rows.train["question"][0] == "sentence number 0, yes"
    objects = kv.datasets.load_texts(tmp_path / "rows.jsonl", ["a"], whole=True)
    assert list(objects.train["a"]) == lines
    with pytest.raises(ValueError, match=r"needs a text in b. Received: 3 in line 1"):
        kv.datasets.load_texts(tmp_path / "rows.jsonl")
    with pytest.raises(ValueError, match=r"needs 1 cells in each row, question. Received: 2 in line 1"):
        kv.datasets.load_texts(tmp_path / "pairs.tsv", ["question"])
    with pytest.raises(FileNotFoundError, match=r"nothing\.txt"):
        kv.datasets.load_texts(tmp_path / "nothing.txt")
    with pytest.raises(ValueError, match=r"ends in .txt"):
        kv.datasets.load_texts(tmp_path / "lines.doc")


def test_a_vocabulary_by_counts():
    known = kv.datasets.vocabulary(TEXTS, min_count=2)
    counts = pd.Series(" ".join(TEXTS).split()).value_counts()
    assert set(known.get_vocabulary()[2:]) == set(counts[counts >= 2].index)
    assert kv.datasets.vocabulary(TEXTS, max_tokens=4).vocabulary_size() == 4
    assert set(kv.datasets.vocabulary(["ab"], split="character").get_vocabulary()[2:]) == {"a", "b"}
    with pytest.raises(ValueError, match="needs a word that is there 9 times"):
        kv.datasets.vocabulary(TEXTS, min_count=9)
    with pytest.raises(ValueError, match=r"needs texts. Received: none"):
        kv.datasets.vocabulary([])


def test_the_grammar_is_a_function_of_its_seed():
    one, again, other = (kv.datasets.load_texts("grammar", seed=seed) for seed in (1, 1, 2))
    assert list(one.train["form"]) == list(again.train["form"])
    assert list(one.train["form"]) != list(other.train["form"])
    assert sum(one.sizes.values()) == 2_000
    pairs = list(zip(one.train["question"], one.train["form"], strict=True))
    assert len({question for question, _ in pairs}) == len({form for _, form in pairs}) == len(pairs)
    assert all(form.count("(") == form.count(")") for _, form in pairs)
