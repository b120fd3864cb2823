"""What a column of a table holds, added up over its parts: its kind, its categories, its units."""

from dataclasses import dataclass, field

import numpy as np

from keras_vae.datasets.cells import (
    MISSING_NUMBERS,
    holds_dates,
    is_date,
    is_written_otherwise,
    number_in,
    numbers_of,
    texts_of,
)
from keras_vae.datasets.codes import Codes
from keras_vae.datasets.columns import Column
from keras_vae.distributions import (
    Bernoulli,
    Categorical,
    DistributionLayer,
    LogNormal,
    NegativeBinomial,
    Normal,
    Poisson,
)
from keras_vae.refusals import in_both

LARGEST_COUNT = 100  # whole numbers above are taken for amounts, unless a column is declared to hold counts
MOST_CATEGORIES = 256  # texts above are taken for names or sentences
COUNTED = 10_000  # different texts that are counted; of more it is said that they are more


@dataclass(frozen=True)
class Moments:
    """Number, mean, and sums of squares and cubes about the mean; `a + b` is that of both.

    Reference: Pébay 2008, "Formulas for robust, one-pass parallel computation of covariances and arbitrary-order
    statistical moments".
    """

    count: int = 0
    mean: float = 0.0  # of some numbers NumPy's: where its powers are infinite, Python's raise errors
    squares: float = 0.0
    cubes: float = 0.0

    @classmethod
    def of(cls, values: np.ndarray) -> "Moments":
        """Those of finite numbers, shape (n,)."""
        if not len(values):
            return cls()
        with np.errstate(over="ignore", invalid="ignore"):
            mean = values.mean()
            deviations = values - mean
            squared = deviations * deviations
            return cls(len(values), mean, squared.sum(), (squared * deviations).sum())

    def __add__(self, other: "Moments") -> "Moments":
        count = self.count + other.count
        if not count:
            return self
        m, n = self.count, other.count
        with np.errstate(over="ignore", invalid="ignore"):
            step = other.mean - self.mean
            squares = self.squares + other.squares + step**2 * m * n / count
            cubes = self.cubes + other.cubes + step**3 * m * n * (m - n) / count**2
            cubes += 3 * step * (m * other.squares - n * self.squares) / count
            return Moments(count, self.mean + step * n / count, squares, cubes)

    @property
    def variance(self) -> float:
        """Over the number of values; 0 of none."""
        return self.squares / max(1, self.count)

    @property
    def skewness(self) -> float:
        """0 where all are the same; NaN where a sum is too large for a number."""
        with np.errstate(over="ignore", invalid="ignore"):
            return float(self.cubes / self.count / self.variance**1.5) if self.squares else 0.0


@dataclass(frozen=True)
class Numbers:
    """What is asked of some numbers; `a + b` is that of both.

    Attributes:
        low, high: the smallest and the largest, perhaps infinite.
        whole: whether all that are finite are whole.
        moments: of the finite ones.
        logs: of their logarithms, where all are positive.
    """

    low: float = np.inf
    high: float = -np.inf
    whole: bool = True
    moments: Moments = field(default_factory=Moments)
    logs: Moments = field(default_factory=Moments)

    @classmethod
    def of(cls, values: np.ndarray) -> "Numbers":
        """Those of an array of shape (n,) without NaN."""
        if not len(values):
            return cls()
        low, high = float(values.min()), float(values.max())
        finite = values if np.isfinite([low, high]).all() else values[np.isfinite(values)]
        logs = Moments.of(np.log(finite)) if low > 0 else Moments()
        return cls(low, high, bool((finite == np.rint(finite)).all()), Moments.of(finite), logs)

    def __add__(self, other: "Numbers") -> "Numbers":
        return Numbers(
            min(self.low, other.low),
            max(self.high, other.high),
            self.whole and other.whole,
            self.moments + other.moments,
            self.logs + other.logs,
        )

    @property
    def kind(self) -> type[DistributionLayer]:
        """That of a column of them; see `load`."""
        if self.whole and self.low >= 0 and self.high <= 1:
            return Bernoulli
        if self.whole and self.low >= 0 and self.high <= LARGEST_COUNT:
            return NegativeBinomial if self.moments.variance > 1.5 * self.moments.mean else Poisson
        if self.low > 0 and self.moments.skewness > max(1.0, abs(self.logs.skewness)):
            return LogNormal
        return Normal

    def units(self, layer: DistributionLayer) -> tuple[float, float]:
        """Offset and scale, as those of `Standardized.adapt`: of real numbers mean and standard deviation.

        Of positive ones 0 and the geometric mean; 0 and 1 for a layer without units.
        """
        if not layer.support.has_scale or not (layer.support.has_offset or self.low > 0):
            return 0.0, 1.0
        if layer.support.has_offset:
            return float(self.moments.mean), float(np.sqrt(self.moments.variance)) if self.low < self.high else 1.0
        return 0.0, float(np.exp(self.logs.mean))


class Survey:
    """The cells of one column, of which only sums and different texts are kept.

    Args:
        name: of the column.
        kind: class of its distribution layer; None infers it, see `load`.
        source: the file, for the errors.
    """

    def __init__(self, name: str, kind: type[DistributionLayer] | None, source: str):
        self.name = name
        self.kind = kind
        self.source = source
        self.of_categories = kind is not None and issubclass(kind, Categorical)
        self.has_dates = False
        self.rows = self.known = self.marked = 0  # of the training rows
        self.known_cells = 0
        self.texts: dict[str, None] = {}
        self.word_cells, self.first_word = 0, ""  # texts that are neither numbers nor marks such as "?"
        self.training, self.others, self.codes = Numbers(), Numbers(), Codes()

    def add(self, cells, training: np.ndarray) -> None:
        """Adds cells of the column.

        Args:
            cells: an Arrow array of the cells of consecutive rows.
            training: whether each of these rows is one that offset and scale are of.
        """
        if self.kind is None and holds_dates(cells.type):
            self.has_dates = True
            return
        numbers = None if self.of_categories else numbers_of(cells)
        if numbers is None:
            numbers, known, marked = self._add_texts(cells)
            self.marked += int(marked[training].sum())
        else:
            known = ~np.isnan(numbers)
        self.rows += int(training.sum())
        self.known += int(known[training].sum())
        self.known_cells += int(known.sum())
        self.codes.add(np.full(len(known), np.nan) if numbers is None else numbers)
        if numbers is not None:
            self.training += Numbers.of(numbers[known & training])
            self.others += Numbers.of(numbers[known & ~training])

    def _add_texts(self, cells) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
        """Numbers of the cells, where all cells so far are numbers, and whether each cell is known, or is a mark.

        A mark, such as "?", says in a column of numbers that a cell is missing; among other texts it is one of them.
        """
        codes, texts = texts_of(cells)
        marks = np.array([*(text in MISSING_NUMBERS for text in texts), False])
        numbers = [number_in(text) for text in texts]
        words = np.array([*(number is None for number in numbers), False]) & ~marks
        self.word_cells += int(words[codes].sum())
        if words.any():
            self.first_word = self.first_word or texts[int(words.argmax())]
        for text in texts:
            if len(self.texts) > COUNTED:
                break
            self.texts[text] = None
        known = (codes >= 0) & ~marks[codes]
        if self.of_texts:
            return None, known, marks[codes]
        return np.array([*numbers, None], np.float64)[codes], known, marks[codes]

    @property
    def of_texts(self) -> bool:
        """Whether the cells are no numbers, as far as they are known."""
        return self.of_categories or self.word_cells > 0

    def column(self) -> Column | str:
        """The column that holds these cells, or why it is left out.

        Raises:
            ValueError: for a column of a given kind without different values, for numbers and texts in one column, and
                for more texts than a `Categorical` can have.
        """
        if self.has_dates:
            return "left out: dates"
        known = self.known + self.marked if self.of_texts else self.known
        if not known:
            return self._refused("no value in the training rows")
        missing = 1 - known / self.rows
        if self.of_texts:
            return self._of_texts(missing)
        numbers = self.training + self.others
        if numbers.low == numbers.high:
            return self._refused(f"only '{numbers.low:.12g}'")
        kind = self.kind or numbers.kind
        if not np.isfinite([self.training.low, self.training.high]).all():
            return Column(self.name, kind)  # whose `values` names the cell
        return Column(self.name, kind, (), *self.training.units(kind(1)), missing)

    def _of_texts(self, missing: float) -> Column | str:
        first = next(iter(self.texts))
        if len(self.texts) == 1:
            return self._refused(f"only {first!r}")
        if self.kind is None and self.word_cells < self.known_cells / 2:
            numbers, texts = f"{self.known_cells - self.word_cells:,} numbers", f"{self.word_cells:,} texts"
            raise self._no_categories("columns of numbers or of texts", f"{numbers} and {texts}")
        if self.kind is None and all(text in MISSING_NUMBERS or is_written_otherwise(text) for text in self.texts):
            raise self._no_categories("numbers such as 1234.5", "texts")
        if self.kind is None and all(map(is_date, self.texts)):
            return "left out: dates"
        if self.kind is not None and not self.of_categories:
            return Column(self.name, self.kind)  # whose `values` names the cell
        if len(self.texts) > MOST_CATEGORIES:
            count = f"{len(self.texts):,}" if len(self.texts) <= COUNTED else f"more than {COUNTED:,}"
            return self._refused(f"{count} different texts, such as {first!r}")
        if self.kind is None and len(self.texts) > self.known_cells / 2:
            cells = f"{len(self.texts):,} different texts in {self.known_cells:,} cells"
            return self._refused(f"{cells}, such as {first!r}")
        of_numbers = all(number_in(text) is not None for text in self.texts)
        ordered = sorted(self.texts, key=float if of_numbers else None)
        return Column(self.name, self.kind or Categorical, tuple(ordered), missing=missing)

    def _no_categories(self, needed: str, found: str) -> ValueError:
        """The error for texts that are hardly the names of categories, with what to say where they are."""
        message = (
            f"datasets.load needs {needed}. Received: {self.source}, column {self.name!r} with {found}, such as "
            f"{self.first_word!r}. If they name categories, say"
        )
        return in_both(
            ValueError(f"{message} likelihood={{{self.name!r}: Categorical}}; None leaves the column out."),
            f"{message} --kinds {self.name}=Categorical; {self.name}=- leaves the column out.",
        )

    def _refused(self, why: str) -> str:
        """Why the column is left out, or the error for one whose kind was given."""
        if self.kind is None:
            return f"left out: {why}"
        message = (
            f"datasets.load needs different values in a column of kind {self.kind.__name__}, and at most "
            f"{MOST_CATEGORIES} categories. Received: {self.source}, column {self.name!r}: {why}. Leave it out with"
        )
        raise in_both(ValueError(f"{message} likelihood={{{self.name!r}: None}}."), f"{message} --kinds {self.name}=-.")
