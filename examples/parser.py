"""A parser of questions to logical forms, with few labels and many forms: the sequential autoencoder of Kocisky et al.

    python examples/parser.py --seeds 5                                    # a grammar made here: 50 labels, 1,000 forms
    python examples/parser.py --train train.tsv --test test.tsv            # GeoQuery, all labels, supervised
    python examples/parser.py --train train.tsv --test test.tsv --labels 0.25 --forms 3000 --seeds 5

Files are pairs of a question and its form, without a header. Of each seed, a parser is trained on the labelled pairs in
both directions, and another with as many labelled updates whose batches have forms without a question too: the forms
whose labels were held back, and, with `--forms`, others drawn from a trigram model of the forms of train.
"""

import argparse
import re
import time

import keras
import numpy as np

import keras_vae as kv

LABELLED, UNLABELLED = 20, 50  # examples of each kind in a batch
NAMES = re.compile(r"_(stateid|cityid|riverid|countryid|placeid) \( ([^(),]+?)(?: , \S+)? \)")


def typed(question: str, form: str) -> tuple[str, str]:
    """A pair with placeholders, stateid0, ..., for the names of the form that are in the question."""
    for number, found in enumerate(NAMES.finditer(form)):
        kind, name = found[1], found[2].strip(" '")
        place = f"{kind}{number}"
        if f" {name} " in f" {question} ":
            question = f" {question} ".replace(f" {name} ", f" {place} ").strip()
            form = form.replace(found[0], f"_{kind} ( {place} )")
    return question, form


def trigrams(forms: list[str], count: int, seed: int) -> list[str]:
    """Forms drawn from a trigram model of others, which does not see to it that they are valid."""
    following, draws, made = {}, np.random.default_rng(seed), set()
    for form in forms:
        words = ["", "", *form.split(), ""]
        for place in range(2, len(words)):
            following.setdefault(tuple(words[place - 2 : place]), []).append(words[place])
    longest = max(len(form.split()) for form in forms)
    for _ in range(20 * count):
        words = ["", ""]
        while (word := draws.choice(following[tuple(words[-2:])])) and len(words) < longest + 2:
            words.append(str(word))
        if not word and " ".join(words[2:]) not in forms:
            made.add(" ".join(words[2:]))
        if len(made) == count:
            break
    return sorted(made)


def parser(questions: list[str], forms: list[str], arguments, seed: int) -> kv.SequentialAutoencoder:
    """A model that knows the words of these texts; words of questions that are there once are unknown."""
    keras.utils.set_random_seed(seed)
    words = kv.datasets.vocabulary(questions, min_count=arguments.min_count, standardize="lower")
    symbols = kv.datasets.vocabulary(forms, standardize=None)
    length, longest = arguments.length, max(len(form.split()) for form in forms)
    units, size, rate = arguments.units, arguments.units // 2, arguments.dropout

    def memory(known):
        return kv.TokenMemory(known.vocabulary_size(), units, size, rate)

    def causal():
        return kv.CausalLSTM(units, rate)

    posterior = kv.LogisticNormalTokens(length, memory(symbols), None, causal(), size, vocabulary=words)
    likelihood = kv.TokenSequence(longest, memory(words), None, causal(), size, vocabulary=symbols)
    prior = kv.StandardNormal((length, words.vocabulary_size()))
    return kv.SequentialAutoencoder(posterior, likelihood, prior, seed=seed)


def train(model, pairs, unlabelled, arguments, seed: int, first: int) -> None:
    """So many labelled updates; after the first of them, batches have forms without questions, where there are any."""
    schedule = keras.optimizers.schedules.CosineDecay(arguments.rate, arguments.steps, 0.05)
    model.compile(keras.optimizers.Adam(schedule, clipnorm=5.0), loss=kv.ELBO(beta=1e-3))
    draws = np.random.default_rng(seed)
    for steps, extra in ((first, 0), (arguments.steps - first, UNLABELLED if unlabelled else 0)):
        forms, questions, weights = [], [], np.tile([1.0] * LABELLED + [arguments.weight] * extra, steps)
        for _ in range(steps):
            chosen = [pairs[number] for number in draws.integers(len(pairs), size=LABELLED)]
            chosen += [(None, unlabelled[number]) for number in draws.integers(len(unlabelled) or 1, size=extra)]
            questions += [question for question, _ in chosen]
            forms += [form for _, form in chosen]
        if steps:
            model.fit(forms, questions, batch_size=LABELLED + extra, sample_weight=weights, shuffle=False, verbose=0)


def matches(model, pairs) -> float:
    """The share of questions whose form is found, word by word."""
    found = model.parse([question for question, _ in pairs])
    return float(np.mean([one == form for one, (_, form) in zip(found, pairs, strict=True)]))


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--train", help="pairs in a .tsv; without it a grammar")
    options.add_argument("--test", help="pairs in a .tsv")
    options.add_argument("--labels", type=float, default=1.0, help="share of the pairs of train that are labelled")
    options.add_argument("--forms", type=int, default=0, help="forms that a trigram model draws")
    options.add_argument("--seeds", type=int, default=1)
    options.add_argument("--first", type=int, default=0, help="the first seed")
    options.add_argument("--steps", type=int, default=500, help="labelled updates")
    options.add_argument("--units", type=int, default=64)
    options.add_argument("--dropout", type=float, default=0.0)
    options.add_argument("--rate", type=float, default=5e-3)
    options.add_argument("--weight", type=float, default=1.0, help="of a form without a question")
    options.add_argument("--pre-training", type=int, default=200, help="updates before forms without questions come")
    options.add_argument("--min-count", type=int, default=1)
    arguments = options.parse_args()
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        if arguments.train is None:
            data = kv.datasets.load_texts("grammar", seed=seed)
            pairs, test = (list(zip(part["question"], part["form"], strict=True)) for part in (data.train, data.test))
            pairs, count = pairs[:1050], 50
        else:
            both = (arguments.train, arguments.test)
            read = [kv.datasets.load_texts(path, ("question", "form"), whole=True).train for path in both]
            pairs, test = ([typed(*pair) for pair in zip(*part.values(), strict=True)] for part in read)
            np.random.default_rng(seed).shuffle(pairs)
            count = round(arguments.labels * len(pairs))
        arguments.length = max(len(question.split()) for question, _ in [*pairs, *test])
        labelled, every = pairs[:count], [form for _, form in pairs]
        others = every[count:] + trigrams(every, arguments.forms, seed)
        for name, unlabelled in {"supervised": [], "semi-supervised": others}.items():
            if name != "supervised" and not others:
                continue
            start = time.time()
            known = [form for _, form in labelled] + unlabelled
            model = parser([question for question, _ in labelled], known, arguments, seed)
            train(model, labelled, unlabelled, arguments, seed, arguments.pre_training)
            found = matches(model, test)
            print(
                f"seed {seed}, {name}: {100 * found:.1f} % of {len(test)} test questions exact, {count} labels, "
                f"{len(unlabelled):,} forms without, {(time.time() - start) / 60:.1f} minutes",
                flush=True,
            )


if __name__ == "__main__":
    main()
