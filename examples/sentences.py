"""A VAE of sentences beside a language model of the same network: whether z is used, and what the bound is.

    python examples/sentences.py --seeds 3
    python examples/sentences.py --text lines.txt            # a sentence in each line

The sentences are questions of a grammar made here. A decoder that sees all words before each one can do without z: the
plain VAE collapses. Free nats keep it in use.
"""

import argparse
import time

import keras
import numpy as np

import keras_vae as kv

UNITS, Z = 96, 8
SCORES = "{:<34} {:>8.3f} {:>12.3f} {:>8.3f} {:>8}   {:.1f}"


def layers(vocabulary, length: int, network=None) -> kv.TokenSequence:
    """The likelihood that all models have."""
    return kv.TokenSequence(length, network, causal=kv.CausalLSTM(UNITS), embedding_size=32, vocabulary=vocabulary)


def trained(model, data, loss, arguments):
    """A model with the weights of its best epoch on validation data."""
    rate = keras.optimizers.schedules.CosineDecay(3e-3, arguments.epochs * (len(data.train["text"]) // 64), 0.02)
    model.compile(keras.optimizers.Adam(rate, clipnorm=5.0), loss=loss)
    best = keras.callbacks.EarlyStopping("val_nats_per_token", patience=arguments.epochs, restore_best_weights=True)
    model.fit(
        list(data.train["text"]),
        epochs=arguments.epochs,
        batch_size=64,
        callbacks=[best],
        validation_data=(list(data.validation["text"]),),
        verbose=0,
    )
    return model


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--text", help="a .txt; without it the questions of a grammar")
    options.add_argument("--seeds", type=int, default=1)
    options.add_argument("--epochs", type=int, default=40)
    options.add_argument("--free-nats", type=float, default=6.0, help="of z")
    arguments = options.parse_args()
    print(f"{'':<34} {'-log p(x)':>8} {'perplexity':>12} {'KL':>8} {'active':>8}   minutes")
    for seed in range(arguments.seeds):
        if arguments.text is None:
            found = kv.datasets.load_texts("grammar", seed=seed)
            splits = ({"text": getattr(found, split)["question"]} for split in ("train", "validation", "test"))
            data = kv.datasets.Texts("grammar", ("text",), *splits)
        else:
            data = kv.datasets.load_texts(arguments.text, seed=seed)
        vocabulary, length, test = data.vocabulary(), data.longest() + 1, list(data.test["text"])
        tokens = vocabulary.vocabulary_size()

        start = time.time()
        keras.utils.set_random_seed(seed)
        model = trained(kv.LanguageModel(layers(vocabulary, length), seed=seed), data, kv.ELBO(), arguments)
        scores = model.evaluate(test, verbose=0, return_dict=True)
        perplexity = np.exp(scores["nats_per_token"])
        minutes = (time.time() - start) / 60
        print(SCORES.format(f"seed {seed}, language model", scores["loss"], perplexity, 0.0, "-", minutes), flush=True)

        ways = {"VAE, plain": kv.ELBO(), "VAE, free nats": kv.ELBO(free_nats=arguments.free_nats)}
        for name, loss in ways.items():
            start = time.time()
            keras.utils.set_random_seed(seed)
            posterior = kv.Normal(Z, kv.TokenEncoder(tokens, UNITS, 32))
            model = kv.SequenceVAE(posterior, layers(vocabulary, length), kv.StandardNormal(Z), seed=seed)
            trained(model, data, loss, arguments)
            minutes = (time.time() - start) / 60
            scored = kv.evaluation.log_likelihood(model, model.tokens(test), samples=100, verbose=0)
            scores = model.evaluate(test, verbose=0, return_dict=True)
            bound, title = scores["kl"] - scores["log_likelihood"], f"seed {seed}, {name}"
            perplexity = np.exp(scores["nats_per_token"] * -scored.mean / bound)
            active = int((np.var(model.encode(test).mean(), axis=0) > 0.01).sum())
            print(SCORES.format(title, -scored.mean, perplexity, scores["kl"], f"{active}/{Z}", minutes))
            print(f"  -ELBO {bound:.3f}; log p(x) +- {scored.standard_error:.2f} over the sentences", flush=True)
    print("From the first sentence to the second, by free nats:")
    for text in model.texts(model.interpolate(test[:1], test[1:2])[0]):
        print(" ", text)
    print("Draws:", *model.texts(model.sample(3, seed=1)), sep="\n  ")


if __name__ == "__main__":
    main()
