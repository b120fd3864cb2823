"""Requests to a served model, well formed and malformed, from a seed."""

import numpy as np

INT32 = np.iinfo(np.int32)
NUMBERS = [0, 1, 2, -1, 3, 7, 100, 500, 10_001, 20_000_000, INT32.max, INT32.min]
TEMPERATURES = [0.0, 0.5, 1.0, 2.0, -1.0, 1e-30, 1e30, 3e38, np.nan, np.inf, -np.inf]
TEXTS = [b"", b" ", b"a", b" b ", b"A", b"nan", b"0", "\u00e9".encode(), b"x" * 22]
VALUES = [np.nan, np.inf, -np.inf, -5.0, 0.5, 1e-40, 1e30, -1e30, 3e38, 255.0, 3.0, -0.0]


class Requests:
    """A generator of requests for one model.

    Args:
        specs: of the inputs by signature.
        good: a valid value of each input, by name; of rows the first axis is the batch.
        seed: integer.
    """

    def __init__(self, specs: dict[str, list], good: dict[str, np.ndarray], seed: int):
        self.specs, self.good = specs, good
        self.rng = np.random.default_rng(seed)

    def good_request(self, signature: str) -> tuple[str, dict]:
        """A request that has an answer."""
        return signature, {spec.name: self._good(spec) for spec in self.specs[signature]}

    def request(self) -> tuple[str, dict]:
        """One of any signature, a third of them well formed, the others with one or two inputs changed."""
        signature, inputs = self.good_request(self._one_of(list(self.specs)))
        rows = int(self._one_of([0, 1, 2, 5, 12, 100]))
        for name, value in inputs.items():
            if value.ndim:
                inputs[name] = value[np.arange(rows) % len(value)]
        for name in self.rng.permutation(list(inputs))[: int(self._one_of([0, 1, 2]))]:
            change = self._change_number if self.good[name].ndim == 0 else self._change_rows
            inputs[str(name)] = change(str(name), inputs[name])
        return signature, {name: value for name, value in inputs.items() if value is not None}

    def _good(self, spec) -> np.ndarray:
        value = self.good[spec.name]
        return value if value.dtype.kind == "S" else value.astype(spec.dtype.as_numpy_dtype)

    def _one_of(self, choices: list):
        return choices[self.rng.integers(len(choices))]

    def _change_number(self, name: str, value: np.ndarray):
        kind = self.rng.integers(8)
        if kind == 0:
            return None  # not sent
        if kind == 1:
            return np.full(self._one_of([(1,), (2,), (1, 1), (0,)]), value)
        if kind == 2:
            return value.astype(self._one_of(["float64", "int64", "float32", "int32"]))
        return np.asarray(self._one_of(TEMPERATURES if value.dtype == np.float32 else NUMBERS), value.dtype)

    def _change_texts(self, value: np.ndarray):
        kind = self.rng.integers(5)
        if kind == 0:
            return None
        if kind == 1:
            return self._one_of([value[None], value[..., None], np.zeros(value.shape, "float32"), value[:0]])
        value = value.astype("S22")
        places = self.rng.integers(max(value.size, 1), size=self._one_of([1, 2]))
        value[places[places < value.size]] = self._one_of(TEXTS)
        return value

    def _change_rows(self, name: str, value: np.ndarray):
        if value.dtype.kind == "S":
            return self._change_texts(value)
        kind = self.rng.integers(10)
        if kind == 0:
            return None
        if kind == 1:
            return np.nan_to_num(value).astype(self._one_of(["float64", "int32", "int64"]))
        if kind == 2:
            return value.reshape(len(value), int(np.prod(value.shape[1:]))) if value.ndim > 2 else value[..., None]
        if kind == 3:
            return self._one_of([value[0] if len(value) else value, value[None], value[..., :-1], value.ravel()])
        if kind == 4:
            return np.repeat(value, 2, axis=int(self.rng.integers(value.ndim)))
        if kind == 5:
            return np.zeros(self._one_of([(), (0,), (1, 0), (3, 1, 1, 1, 1, 1, 1)]), value.dtype)
        if kind == 6:
            return self.rng.normal(size=value.shape).astype(value.dtype) * np.float32(10.0 ** self.rng.integers(-3, 39))
        value = value.copy()
        places = self.rng.integers(max(value.size, 1), size=self._one_of([1, 2, value.size]))
        value.reshape(-1)[places[places < value.size]] = self._one_of(VALUES)
        return value
