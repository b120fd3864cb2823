"""What a SavedModel serves: functions of tensors that refuse, inside of the graph, what they can not answer."""

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import tensorflow as tf
import tensorflow_probability as tfp

from keras_vae.arguments import whole_number
from keras_vae.noise import fold
from keras_vae.sampling import ROWS, sampling

tfd = tfp.distributions

Signature = tuple[Callable, list[tf.TensorSpec]]


@dataclass(frozen=True)
class Rows:
    """An input with one row for each example: float32, shape (batch, *shape).

    Args:
        name: of the served input.
        shape: of one row.
        support: where its values are, such as the `support` of a distribution layer.
    """

    name: str
    shape: tuple[int, ...]
    support: object

    @property
    def spec(self) -> tf.TensorSpec:
        """What a client sees."""
        return tf.TensorSpec([None, *self.shape], tf.float32, name=self.name)

    @property
    def default(self):
        """None: rows have to be given."""
        return None

    def checked(self, title: str, rows: tf.Tensor) -> tf.Tensor:
        """The rows, refused for another shape: a server feeds what it is sent, whatever shape was declared."""
        # As texts, which can be compared whatever their lengths.
        needed, received = ", ".join(map(str, self.shape)), _text(tf.shape(rows)[1:])
        message = [f"{title} needs {self.name} of shape (batch, {needed}). Received: (", _text(tf.shape(rows)), ")."]
        (rows,) = _only_if(tf.equal(received, needed), message, rows)
        return rows

    def check_values(self, title: str, rows: tf.Tensor) -> tf.Tensor:
        """The rows, refused where a value is not in the support."""
        outside = ~self.support.contains(rows)
        count = tf.reduce_sum(tf.cast(outside, tf.int32))
        message = [f"{title} needs {self.name} {self.support.needed} Received: ", tf.as_string(count), " other values."]
        (rows,) = _only_if(tf.equal(count, 0), message, rows)
        return rows


@dataclass(frozen=True)
class Number:
    """An input that is one number.

    Args:
        name: of the served input.
        dtype: int32 or float32.
        least, most: the limits, both allowed; None for none.
        default: what a request without it gets, baked into the signature; None where it has to be given.
    """

    name: str
    dtype: tf.DType
    least: float | None = None
    most: float | None = None
    default: float | None = None

    @property
    def spec(self) -> tf.TensorSpec:
        """What a client sees."""
        return tf.TensorSpec([], self.dtype, name=self.name)

    def checked(self, title: str, number: tf.Tensor) -> tf.Tensor:
        """The number, refused where it is not one, or outside of the limits."""
        message = [f"{title} needs {self.name} to be one number. Received: shape (", _text(tf.shape(number)), ")."]
        (number,) = _only_if(tf.equal(_text(tf.shape(number)), ""), message, number)
        if self.least is None:
            return number
        message = [f"{title} needs {self.name} from {self.least:,} to {self.most:,}. Received: ", tf.as_string(number)]
        (number,) = _only_if((number >= self.least) & (number <= self.most), [*message, "."], number)
        return number


SEED = Number("seed", tf.int32, default=0)
TEMPERATURE = Number("temperature", tf.float32, least=0.0, most=100.0, default=1.0)


class Signatures:
    """Pieces that the `serving_signatures` of a model are composed of: each is the method of its name, served.

    A batch of any size is worked off in chunks, of rows whose tensors take `max_bytes` together, by an upper estimate
    as if none were freed. What is not of the right shape, not finite, outside of its support or above a limit is
    refused with INVALID_ARGUMENT, and so is what has no finite answer.

    Args:
        model: a built model.
        x: the observations.
        z: what `decode` takes.
        given: what all methods take beside, such as conditions.
        max_bytes: what the tensors of one chunk may take, and so may all draws and outputs of `generate` and `sample`.
        max_samples: draws for each example in `log_likelihood`, at most.

    Raises:
        ValueError: for limits that are not whole numbers of 1 or more, or that one row of the model exceeds.
    """

    def __init__(
        self,
        model,
        x: Rows,
        z: Rows | None = None,
        given: Sequence[Rows] = (),
        max_bytes: int = 2**28,
        max_samples: int = 10_000,
    ):
        self.model, self.x, self.z, self.given = model, x, z, tuple(given)
        self.max_bytes = whole_number(model, "max_bytes", max_bytes)
        self.max_samples = whole_number(model, "max_samples", max_samples)
        self.chunk = self._most(draw_bytes(model))

    def of(self, *names: str) -> dict[str, Signature]:
        """The pieces with these names, by name."""
        return {name: getattr(self, name)() for name in names}

    # --- the pieces --------------------------------------------------------------------------------------------------

    def serving_default(self) -> Signature:
        """x -> mean of the reconstruction."""
        return self.by_rows("serving_default", self._reconstruct, [self.x])

    def reconstruct(self) -> Signature:
        """x, seed -> mean of p(x | z) at a draw of z."""
        return self.by_rows("reconstruct", self._reconstruct, [self.x], [SEED])

    def encode(self) -> Signature:
        """x -> mean and stddev of q(z | x), of each latent variable where there are several, or the code."""
        return self.by_rows("encode", lambda *rows: moments(self.model.encode(*rows)), [self.x])

    def decode(self) -> Signature:
        """z -> mean of p(x | z)."""
        return self.by_rows("decode", self._mean, [self.z])

    def log_likelihood(self) -> Signature:
        """x, num_samples, seed -> log p(x) by importance sampling, nats."""

        def log_likelihood(*rows, num_samples, seed):
            inputs = rows if len(rows) > 1 else rows[0]
            values, _ = self.model.importance_weights(inputs, num_samples, seed, rows=min(ROWS, self.chunk))
            return {"log_likelihood": values}

        draws = Number("num_samples", tf.int32, least=1, most=self.max_samples)
        return self.by_rows("log_likelihood", log_likelihood, [self.x], [draws, SEED])

    def generate(self) -> Signature:
        """num_samples, or what is given, seed, temperature -> z, and mean of p(x | z)."""
        return self._of_draws("generate", lambda z, *given, seed: self._mean(z, *given))

    def sample(self) -> Signature:
        """num_samples, or what is given, seed, temperature -> z, and a draw x of p(x | z)."""

        def observe(z, *given, seed):
            return {"x": self.model.decode(z, *given).sample(seed=seed)}

        return self._of_draws("sample", observe)

    def _reconstruct(self, *rows, **seed):
        return {"mean": self.model.reconstruct(*rows, **seed)}

    def _mean(self, z, *given):
        return {"mean": self.model.decode(z, *given).mean()}

    # --- what they have in common ------------------------------------------------------------------------------------

    def by_rows(self, name: str, function: Callable, rows: Sequence[Rows], numbers: Sequence[Number] = ()) -> Signature:
        """A signature that answers each row by itself.

        Args:
            name: of the signature, for messages.
            function: of the rows, those that are given included, and of the numbers by name, to a flat dict of tensors
                of shape (batch, ...). A seed is another one for each chunk, and as it is in the first.
            rows, numbers: the inputs.
        """
        rows = [*rows, *self.given]

        def answer(title, batch, values):
            def of_chunk(number, *parts):
                parts = [each.check_values(title, part) for each, part in zip(rows, parts, strict=True)]
                return function(*parts, **_with_seed_of(values, number))

            return self._in_chunks(title, of_chunk, batch)

        return self._signature(name, answer, rows, numbers)

    def _of_draws(self, name: str, observe: Callable) -> Signature:
        """Draws from the prior, all at once, then what `observe` makes of them, in chunks."""
        model, event = self.model, math.prod(self.x.shape)
        given = [tf.TensorSpec([1, *each.shape]) for each in self.given]
        size = 4 * event + graph_bytes(model, lambda *given: model.sample_prior(*(given or [1]), 0, 1.0), *given)
        most = self._most(size)
        count = [] if self.given else [Number("num_samples", tf.int32, least=0, most=most)]

        def answer(title, batch, values):
            seed = values["seed"]
            if batch:
                received = tf.as_string(tf.shape(batch[0])[0])
                message = [f"{title} needs at most {most:,} rows of {self.given[0].name}. Received: ", received, "."]
                batch = _only_if(tf.shape(batch[0])[0] <= most, message, *batch)
                batch = [each.check_values(title, part) for each, part in zip(self.given, batch, strict=True)]
            draws = model.sample_prior(*(batch or [values["num_samples"]]), seed, values["temperature"])
            draws = draws if isinstance(draws, dict) else {self.z.name: draws}

            def of_chunk(number, *parts):
                # Of several latent variables each has a number of its own in their noise; the data have the next one.
                return observe(*parts, **_with_seed_of({"seed": fold(seed, len(draws))}, number))

            return draws | self._in_chunks(title, of_chunk, [draws[self.z.name], *batch])

        return self._signature(name, answer, self.given, [*count, SEED, TEMPERATURE])

    def _signature(self, name: str, answer: Callable, rows: Sequence[Rows], numbers: Sequence[Number]) -> Signature:
        inputs = [*rows, *numbers]
        title = f"{type(self.model).__name__}.{name}"

        def function(*values):
            values = [tf.convert_to_tensor(value, each.dtype) for value, each in zip(values, specs, strict=True)]
            values = [each.checked(title, value) for each, value in zip(inputs, values, strict=True)]
            batch = _of_one_length(title, rows, values[: len(rows)])
            named = {each.name: value for each, value in zip(numbers, values[len(rows) :], strict=True)}
            return answer(title, batch, named)

        specs = [each.spec for each in inputs]
        # From here TensorFlow reads the names of the inputs, and the defaults that it bakes into the signature.
        function.__signature__ = inspect.Signature([_parameter(each) for each in inputs])
        return function, specs

    def _in_chunks(self, title: str, function: Callable, batch: Sequence[tf.Tensor]) -> dict[str, tf.Tensor]:
        """`function` of the number of a chunk and the rows in it, for all rows, the last chunk smaller than others."""
        size = self.chunk
        total = tf.shape(batch[0])[0]
        full = tf.maximum(total - 1, 0) // size

        def rows(first, count):
            """With a shape that is known where the count is: so runtimes can convert the loop that have no lists."""
            return [tf.slice(part, [first, *[0] * (len(part.shape) - 1)], [count, *part.shape[1:]]) for part in batch]

        @tf.function(autograph=False)
        def finite(number, *parts):
            return _finite(title, function(number, *parts))

        rest = finite(full, *rows(full * size, total - full * size))

        def add(number, arrays):
            found = finite(number, *rows(number * size, size))
            return number + 1, {
                name: arrays[name].write(number, tf.reshape(part, [size, *_sizes(rest[name])]))
                for name, part in found.items()
            }

        arrays = {
            name: tf.TensorArray(part.dtype, full, element_shape=[size, *part.shape[1:]]) for name, part in rest.items()
        }
        _, arrays = tf.while_loop(lambda number, _: number < full, add, [0, arrays], parallel_iterations=1)
        return {
            name: tf.concat([tf.reshape(arrays[name].stack(), [full * size, *_sizes(part)]), part], axis=0)
            for name, part in rest.items()
        }

    def _most(self, size: int) -> int:
        """How many rows of so many bytes there may be."""
        if size > self.max_bytes:
            raise ValueError(
                f"{type(self.model).__name__}.export needs max_bytes for one row at least, of about {size:,} bytes. "
                f"Received: max_bytes={self.max_bytes:,}."
            )
        return min(self.max_bytes // size, 2**31 - 1)


def moments(posterior) -> dict[str, tf.Tensor]:
    """Mean and stddev of a distribution, those of several by name, or a code as it is."""
    if isinstance(posterior, dict):
        several = {name: moments(each) for name, each in posterior.items()}
        return {f"{name}_{moment}": each[moment] for moment in ("mean", "stddev") for name, each in several.items()}
    if isinstance(posterior, tfd.Distribution):
        return {"mean": posterior.mean(), "stddev": posterior.stddev()}
    return {"z": posterior}


def draw_bytes(model) -> int:
    """Bytes of all tensors between one draw and its log-weight: an upper bound of what decoding it takes."""

    def log_weight(x):
        with sampling(1, fold(0)):
            return model.tracer(x)().log_weight

    return graph_bytes(model, log_weight, tf.nest.map_structure(tf.TensorSpec.from_tensor, model.example_inputs()))


def graph_bytes(model, function: Callable, *specs) -> int:
    """Bytes of all tensors of a function for one example, its weights left out: of those whose sizes are known."""
    graph = tf.function(function, autograph=False).get_concrete_function(*specs).graph
    tensors = [tensor for operation in graph.get_operations() for tensor in operation.outputs]
    sizes = [tensor.shape.num_elements() * tensor.dtype.size for tensor in tensors if tensor.shape.is_fully_defined()]
    weights = sum(math.prod(weight.shape) * 4 for weight in model.weights)
    return max(1, sum(sizes) - weights)


def _only_if(condition: tf.Tensor, message: Sequence, *tensors: tf.Tensor) -> list[tf.Tensor]:
    """The tensors, for what depends on them to run only where the condition holds; else a message of strings."""
    with tf.control_dependencies([tf.debugging.Assert(condition, [tf.strings.join(message)])]):
        return [tf.identity(tensor) for tensor in tensors]


def _finite(title: str, outputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    bad = [tf.reduce_sum(tf.cast(~tf.math.is_finite(part), tf.int32)) for part in outputs.values()]
    message = [f"{title} needs inputs with a finite answer. Received: some whose {', '.join(outputs)} overflow."]
    return dict(zip(outputs, _only_if(tf.equal(tf.add_n(bad), 0), message, *outputs.values()), strict=True))


def _of_one_length(title: str, rows: Sequence[Rows], batch: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """The batch, refused where two inputs differ in their numbers of rows."""
    for each, part in zip(rows[1:], batch[1:], strict=True):
        lengths = [tf.shape(one)[0] for one in (batch[0], part)]
        message = [f"{title} needs as many rows of {rows[0].name} as of {each.name}. Received: "]
        message += [tf.as_string(lengths[0]), " and ", tf.as_string(lengths[1]), "."]
        batch = _only_if(tf.equal(*lengths), message, *batch)
    return list(batch)


def _with_seed_of(values: dict[str, tf.Tensor], number: tf.Tensor) -> dict[str, tf.Tensor]:
    """The numbers, with the seed of a chunk: in the first the seed of the request, as in a batch without chunks."""
    if "seed" not in values:
        return values
    seed = fold(values["seed"])
    return values | {"seed": tf.where(tf.equal(number, 0), seed, fold(seed, number))}


def _parameter(each: Rows | Number) -> inspect.Parameter:
    empty = inspect.Parameter.empty
    default = empty if each.default is None else tf.constant(each.default, each.spec.dtype)
    return inspect.Parameter(each.name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default)


def _text(numbers: tf.Tensor) -> tf.Tensor:
    return tf.strings.reduce_join(tf.as_string(numbers), separator=", ")


def _sizes(part: tf.Tensor) -> list:
    """Those of the axes behind the first, as integers where they are known."""
    dynamic = tf.shape(part)
    return [dynamic[axis] if size is None else size for axis, size in enumerate(part.shape)][1:]
