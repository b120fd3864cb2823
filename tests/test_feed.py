"""Steps and batches of `fit`: n x epochs of them, and the same ones in a run that is resumed."""

import itertools
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import usual_first

import keras_vae as kv
from keras_vae.callbacks import BackupAndRestore
from keras_vae.keras_names import start_at
from keras_vae.training.feed import Feed

X = np.arange(23, dtype="float32")[:, None]  # six batches of 4, the last one of 3


def ours() -> tf.data.Dataset:
    return kv.batches.array_batches(X, 4, seed=3).by_epoch()


def stream() -> tf.data.Dataset:
    """Batches that are built anew for each epoch, with the epoch in front."""

    def build(epoch):
        return tf.data.Dataset.range(6).map(lambda number: tf.cast([[100 * epoch + number]], tf.float32))

    return kv.batches.epochs(build, 1, 6)


def foreign() -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(X).batch(4)


class Sequence(keras.utils.PyDataset):
    def __len__(self):
        return 6

    def __getitem__(self, index):
        return X[4 * index : 4 * index + 4]


def generator():
    while True:
        yield from (X[:4], X[4:8], X[8:12])


FORMS = {
    "ours": ours,
    "ours, of fit": lambda: kv.batches.array_batches(X, 4, seed=3),
    "ours, mapped": lambda: ours().map(lambda x: x + 1).prefetch(2),
    "ours, repeated": lambda: ours().repeat(),
    "ours, taken": lambda: ours().take(4),
    "ours, rebatched": lambda: ours().unbatch().batch(5),
    "ours, zipped": lambda: tf.data.Dataset.zip(ours(), ours()),
    "stream": stream,
    "stream, mapped": lambda: stream().map(lambda x: x + 1),
    "foreign": foreign,
    "foreign, of unknown length": lambda: foreign().filter(lambda x: True),
    "foreign, repeated": lambda: foreign().repeat(),
}
EXACT = [form for form in FORMS if form.startswith(("ours", "stream"))] + ["foreign"]


def seen(form: str, steps: int | None, epochs: int, first_epoch: int = 0) -> list[list]:
    """The batches of each epoch, as Keras asks for them."""
    feed, found, iterator = Feed(FORMS[form](), steps, one_device=True), [], None
    for epoch in range(first_epoch, epochs):
        feed.begin(epoch)
        if feed.steps is None or iterator is None:
            iterator = iter(feed.batches)
        batches = itertools.islice(iterator, feed.steps)
        found.append([tf.nest.map_structure(lambda part: part.numpy(), batch) for batch in batches])
    return found


@pytest.mark.parametrize("steps", [None, 4, 6, 9])
@pytest.mark.parametrize("form", FORMS)
def test_an_epoch_has_the_steps_that_were_asked_for_and_a_resumed_one_the_same(form, steps):
    if steps is None and "repeated" in form:
        return
    whole = seen(form, steps, 4)
    assert steps is None or [len(epoch) for epoch in whole] == [steps] * 4
    if form in EXACT:
        resumed = seen(form, steps, 4, first_epoch=2)
        tf.nest.map_structure(np.testing.assert_array_equal, resumed, whole[2:])
        assert Feed(FORMS[form](), steps, one_device=True).differs is None
    if form == "ours" and steps is not None:
        flat = [batch.tolist() for epoch in whole for batch in epoch]
        passes = [batch.tolist() for epoch in seen(form, None, 6) for batch in epoch]
        assert flat == passes[: len(flat)], "the epochs of the data, one after the other"


def small(**options) -> kv.VAE:
    keras.utils.set_random_seed(1)
    made = kv.VAE(kv.FixedScaleNormal(1), kv.FixedScaleNormal(1), kv.StandardNormal(1))
    made.build((None, 1))
    made.compile(keras.optimizers.SGD(1e-6), **options)
    return made


PLAIN = {"jit_compile": False}
RUNS = {
    "one step a call": PLAIN,
    "four steps a call": PLAIN | {"steps_per_execution": 4},
    "eager": {"run_eagerly": True},
}


@pytest.mark.parametrize(
    ("run", "steps"),
    usual_first(
        [
            ("one step a call", 4),
            ("one step a call", 6),
            ("four steps a call", 7),
            ("four steps a call", 13),
            ("eager", 7),
        ],
        ("one step a call", 6),
        ("four steps a call", 7),
    ),
)
def test_fit_makes_so_many_steps_for_each_epoch(run, steps):
    forms = {"array": lambda: X, "sequence": Sequence, "generator": generator}
    forms |= {name: FORMS[name] for name in ("ours, mapped", "stream", "foreign")}
    made, done = small(**RUNS[run]), 0
    for name, build in forms.items():
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # "ran out of data"
            made.fit(build(), batch_size=4 if name == "array" else None, epochs=3, steps_per_epoch=steps, verbose=0)
        done += 3 * steps
        assert int(made.optimizer.iterations) == done, name


def test_under_xla_too():
    made = small(jit_compile=True)
    made.fit(
        X, batch_size=4, epochs=2, initial_epoch=1, steps_per_epoch=7, validation_data=X, validation_steps=1, verbose=0
    )
    assert made.steps_per_execution == 4
    assert int(made.optimizer.iterations) == 7


@pytest.mark.parametrize("steps", [None, 4])
def test_a_resumed_run_on_data_made_of_ours_equals_an_uninterrupted_one(steps, tmp_path):
    def run(epochs, *callbacks):
        made = small(**PLAIN)
        data = ours().map(lambda x: x / 10).prefetch(1)
        made.fit(data, epochs=epochs, steps_per_epoch=steps, verbose=0, callbacks=list(callbacks))
        return made.get_weights()

    whole = run(4)
    run(2, BackupAndRestore(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        resumed = run(4, BackupAndRestore(tmp_path))
    for a, b in zip(resumed, whole, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("build", "steps", "words"),
    [
        (lambda: ours().shuffle(10), None, "shuffle draws another order"),
        (lambda: foreign().shuffle(10).repeat(), 6, "shuffle draws another order"),
        (lambda: ours().cache(), None, "cache keeps the batches"),
        (generator, 3, "a generator begins with the batch"),
        (lambda: foreign().repeat(), 4, "unknown length"),
        (Sequence, 4, "PyDataset with steps_per_epoch"),
        (Sequence, None, "shuffles the batches of a PyDataset"),
    ],
)
def test_data_that_can_not_resume_say_so(build, steps, words):
    class Resumes(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            start_at(self.model, 1)

    made = small(**PLAIN)
    with pytest.warns(UserWarning, match=f"goes on from epoch 1 with other batches than .*{words}"):
        made.fit(build(), epochs=2, steps_per_epoch=steps, verbose=0, callbacks=[Resumes()])
    made.fit(build(), epochs=1, steps_per_epoch=steps, verbose=0)
    assert int(made.optimizer.iterations) == 2 * (steps or 6), "the next fit begins at its first epoch"
