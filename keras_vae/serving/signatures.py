"""The pieces that a model composes its served signatures of."""

import functools
import inspect
from collections.abc import Callable, Sequence

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from keras_vae.arguments import whole_number
from keras_vae.distributions.supports import RealNumbers
from keras_vae.noise import CHUNK, DATA, fold
from keras_vae.sampling import ROWS
from keras_vae.serving.inputs import SEED, TEMPERATURE, Number, Rows, finite, of_one_length, only_if
from keras_vae.serving.memory import bytes_for_each, draw_bytes, in_chunks, of_rows, sizes
from keras_vae.serving.tables import ServedTable, served_table

TAKEN = ("num_samples", "seed", "temperature", "z")  # names of inputs and outputs that are no columns
Signature = tuple[Callable, list[tf.TensorSpec]]


class Signatures:
    """The methods of a model, served: each piece is a function to a flat dict of tensors, and the specs of its inputs.

    What a request may hold follows from what the model `takes`: of another shape, not finite, outside of its support or
    above a limit it is refused, and so is what has no finite answer. A batch of any size is worked off in chunks.
    Rows of named columns are served by column, in requests and in answers; see `serving.tables`.

    Args:
        model: a built model.
        z: what `decode` takes; of several latent variables, which it takes by name, a list of them.
        max_bytes: what the tensors of a chunk may take, by an upper estimate as if none were freed; draws and answers
            of one request for `generate` and `sample` may take as much.
        max_samples: draws for each example in `log_likelihood`, at most.

    Raises:
        ValueError: for limits that are not whole numbers of 1 or more, or less than one example takes.
    """

    def __init__(
        self, model, z: Rows | Sequence[Rows] | None = None, max_bytes: int = 2**28, max_samples: int = 10_000
    ):
        self.model = model
        self.by_name = isinstance(z, Sequence)  # whether `decode` takes a dictionary
        self.z: list[Rows] = [*z] if isinstance(z, Sequence) else [] if z is None else [z]
        self.max_bytes = whole_number(model, "max_bytes", max_bytes)
        self.max_samples = whole_number(model, "max_samples", max_samples)
        takes = model.takes
        self.given = [] if takes.y is None else [_rows_of(field) for field in tf.nest.flatten(takes.y)]
        self.x, taken = [], {*TAKEN, *(each.name for each in [*self.given, *self.z])}
        self.tables: dict[str, ServedTable] = {}  # by name of the rows that they are
        for field in tf.nest.flatten(takes.x):
            rows, table = _rows_of(field), served_table(field.observed, taken)
            self.x.append(rows)
            if table is not None:
                self.tables[rows.name] = table
                taken |= {column.served for column in table.columns}
        self.chunk = self._most(draw_bytes(model))

    def of(self, *names: str) -> dict[str, Signature]:
        """Pieces by their names."""
        return {name: getattr(self, name)() for name in names}

    # --- the pieces --------------------------------------------------------------------------------------------------

    def serving_default(self) -> Signature:
        """x -> mean of the reconstruction."""
        return self.by_rows("serving_default", self._reconstruct, self.x + self.given)

    def reconstruct(self) -> Signature:
        """x, seed -> mean of p(x | z) at a draw of z."""
        return self.by_rows("reconstruct", self._reconstruct, self.x + self.given, [SEED])

    def encode(self) -> Signature:
        """x -> mean and stddev of q(z | x), of each latent variable where there are several, or the code."""

        def encode(*rows):
            return moments(self.model.encode(*rows), self.z[0].name if self.z else "z")

        return self.by_rows("encode", encode, self.x + self.given)

    def decode(self) -> Signature:
        """z -> mean of p(x | z)."""
        return self.by_rows("decode", self._mean, [*self.z, *self.given])

    def log_likelihood(self) -> Signature:
        """x, num_samples, seed -> log p(x) by importance sampling, nats."""

        def log_likelihood(*rows, num_samples, seed):
            rows_at_once = min(ROWS, self.chunk)
            values, _ = self.model.importance_weights(self._inputs(rows), num_samples, seed, rows_at_once)
            return {"log_likelihood": values}

        num_samples = Number("num_samples", "int32", least=1, most=self.max_samples)
        return self.by_rows("log_likelihood", log_likelihood, self.x + self.given, [num_samples, SEED])

    def generate(self) -> Signature:
        """num_samples, or what is given, seed, temperature -> z, and the mean of p(x | z)."""

        def mean(*rows, seed):
            return self._mean(*rows)

        return self._of_draws("generate", mean)

    def sample(self) -> Signature:
        """num_samples, or what is given, seed, temperature -> z, and a draw x of p(x | z)."""

        def draw(*rows, seed):
            return self._observation("x", self._decoded(*rows).sample(seed=seed))

        return self._of_draws("sample", draw)

    def _reconstruct(self, *rows, **seed):
        return self._observation("mean", self.model.reconstruct(self._inputs(rows), **seed))

    def _mean(self, *rows):
        return self._observation("mean", self._decoded(*rows).mean())

    def _decoded(self, *rows):
        """p(x | z) of the rows of latent variables and of what is given."""
        z, given = rows[: len(self.z)], rows[len(self.z) :]
        named = {each.name: part for each, part in zip(self.z, z, strict=True)}
        return self.model.decode(named if self.by_name else z[0], *given)

    def _observation(self, name: str, rows: tf.Tensor) -> dict[str, tf.Tensor]:
        """An answer in the place of an observation: by column where it is a row of named ones."""
        table = self.tables.get(self.x[0].name) if len(self.x) == 1 else None
        return {name: rows} if table is None else table.split(rows)

    def _inputs(self, rows):
        """What `call` takes."""
        return tf.nest.pack_sequence_as(self.model.takes.structure, rows)

    # --- what they have in common ------------------------------------------------------------------------------------

    def by_rows(self, name: str, function: Callable, rows: Sequence[Rows], numbers: Sequence[Number] = ()) -> Signature:
        """A signature that answers each row by itself.

        Args:
            name: of the signature, for messages.
            function: of the rows, and of the numbers by name, to a flat dict of tensors of shape (batch, ...). Each
                chunk has a seed of its own, the first that of the request.
            rows, numbers: the inputs.
        """

        def answer(title, batch, values):
            def of_chunk(number, *parts):
                parts = [each.check_values(title, part) for each, part in zip(rows, parts, strict=True)]
                return finite(title, function(*parts, **_of_chunk(number, values)))

            return in_chunks(of_chunk, batch, self._chunk_of(rows, batch))

        return self._signature(name, answer, rows, numbers)

    def at_once(self, name: str, function: Callable, rows: Sequence[Rows], numbers: Sequence[Number] = ()) -> Signature:
        """A signature of a function of all rows, which sees to it that its memory has a bound; see `by_rows`."""

        def answer(title, batch, values):
            parts = [each.check_values(title, part) for each, part in zip(rows, batch, strict=True)]
            return finite(title, function(*parts, **values))

        return self._signature(name, answer, rows, numbers)

    def by_count(self, name: str, output: str, function: Callable) -> Signature:
        """A signature of num_samples, seed and temperature.

        Args:
            name: of the signature, for messages.
            output: name of what is returned.
            function: of the three, to a tensor of shape (num_samples, ...), all of it at once.
        """
        most = self._most(bytes_for_each(lambda count: (lambda: function(count, 0, 1.0),)))

        def answer(title, batch, values):
            made = function(values["num_samples"], values["seed"], values["temperature"])
            return finite(title, self._observation(output, made))

        return self._signature(name, answer, [], [Number("num_samples", "int32", 0, most), SEED, TEMPERATURE])

    def _of_draws(self, name: str, observe: Callable) -> Signature:
        """Draws from the prior, all at once, and what `observe` makes of them, in chunks."""
        most = self._most(4 * (self.model.dimensions or 0) + self._bytes_of_draws)

        def answer(title, batch, values):
            if batch:
                count = tf.shape(batch[0])[0]
                message = [f"{title} needs at most {most:,} rows. Received: ", tf.as_string(count), "."]
                batch = only_if(count <= most, message, *batch)
                batch = [each.check_values(title, part) for each, part in zip(self.given, batch, strict=True)]
            draws = self._draws(batch or [values["num_samples"]], values["seed"], values["temperature"])
            draws = finite(title, draws)
            seed = fold(values["seed"], DATA)

            def of_chunk(number, *parts):
                return finite(title, observe(*parts, **_of_chunk(number, {"seed": seed})))

            return draws | in_chunks(of_chunk, [*(draws[each.name] for each in self.z), *batch], self.chunk)

        count = [] if self.given else [Number("num_samples", "int32", least=0, most=most)]
        return self._signature(name, answer, self.given, [*count, SEED, TEMPERATURE])

    @functools.cached_property
    def _bytes_of_draws(self) -> int:
        """Of one draw from the prior."""

        def of(count):
            specs = [of_rows(count, each.shape, each.dtype) for each in self.given]
            return lambda *given: self._draws(given or [count], 0, 1.0), *specs

        return bytes_for_each(of)

    def _draws(self, arguments, seed, temperature) -> dict[str, tf.Tensor]:
        """Draws from the prior by name."""
        draws = self.model.sample_prior(*arguments, seed, temperature)
        return draws if isinstance(draws, dict) else {self.z[0].name: draws}

    def _signature(self, name: str, answer: Callable, rows: Sequence[Rows], numbers: Sequence[Number]) -> Signature:
        served = [part for each in rows for part in self._served(each)]
        inputs: list[Rows | Number] = [*served, *numbers]
        title = f"{type(self.model).__name__}.{name}"

        def function(*values):
            values = [tf.convert_to_tensor(value, each.dtype) for value, each in zip(values, inputs, strict=True)]
            values = [each.checked(title, value) for each, value in zip(inputs, values, strict=True)]
            cells = iter(of_one_length(title, [each.name for each in served], values[: len(served)]))
            batch = [self._joined(title, each, [next(cells) for _ in self._served(each)]) for each in rows]
            named = {each.name: value for each, value in zip(numbers, values[len(served) :], strict=True)}
            return answer(title, batch, named)

        # TensorFlow reads the names of the inputs here, and the defaults.
        function.__signature__ = inspect.Signature([each.parameter for each in inputs])  # type: ignore[attr-defined]
        return function, [each.spec for each in inputs]

    def _served(self, rows: Rows) -> list[Rows]:
        """The inputs that rows are served as."""
        return self.tables[rows.name].rows if rows.name in self.tables else [rows]

    def _joined(self, title: str, rows: Rows, parts: list[tf.Tensor]) -> tf.Tensor:
        """The rows of the inputs that they are served as."""
        return self.tables[rows.name].joined(title, parts) if rows.name in self.tables else parts[0]

    def _chunk_of(self, rows: Sequence[Rows], batch: Sequence[tf.Tensor]):
        """Rows of a chunk; fewer where an axis that may have any length is a long one."""
        lengths = [
            size
            for each, part in zip(rows, batch, strict=True)
            for size, declared in zip(sizes(part), each.shape, strict=True)
            if declared is None
        ]
        return self.chunk if not lengths else tf.maximum(self.chunk // tf.maximum(tf.reduce_max(lengths), 1), 1)

    def _most(self, size: int) -> int:
        """How many examples of so many bytes there may be."""
        if size > self.max_bytes:
            raise ValueError(
                f"{type(self.model).__name__}.export needs max_bytes for one example, of about {size:,} bytes. "
                f"Received: max_bytes={self.max_bytes:,}."
            )
        return min(self.max_bytes // size, 2**31 - 1)


def moments(posterior, code: str = "z") -> dict[str, tf.Tensor]:
    """Mean and stddev of a distribution, those of several by name, or a code as it is, called `code`; codes by name."""
    if isinstance(posterior, dict) and all(map(tf.is_tensor, posterior.values())):
        return posterior
    if isinstance(posterior, dict):
        several = {name: moments(each) for name, each in posterior.items()}
        return {f"{name}_{moment}": each[moment] for moment in ("mean", "stddev") for name, each in several.items()}
    if isinstance(posterior, tfd.Distribution):
        return {"mean": posterior.mean(), "stddev": posterior.stddev()}
    return {code: posterior}


def _of_chunk(number: tf.Tensor, values: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """The numbers, with another seed in each chunk: that of the request in the first, as in a batch without chunks."""
    if "seed" not in values:
        return values
    seed = fold(values["seed"])
    return values | {"seed": tf.where(tf.equal(number, 0), seed, fold(seed, CHUNK, number))}


def _rows_of(field) -> Rows:
    """The served input of a field of what a model takes."""
    layer = field.observed
    if layer is not None:
        return Rows(field.name, tuple(field.shape), layer.support, field.dtype, layer.other_units)
    support = RealNumbers() if tf.as_dtype(field.dtype).is_floating and not field.optional else None
    return Rows(field.name, tuple(field.shape), support, field.dtype)
