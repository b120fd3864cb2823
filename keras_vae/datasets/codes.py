"""Numbers that may be no quantities: counters of the rows, and codes of categories."""

import numpy as np

ROWS = 10  # of fewer rows any numbers look like these
CODES = 10  # different whole numbers


class Codes:
    """Looks at the numbers of a column, part by part.

    Attributes:
        counts_rows: whether each number so far is one more than that of the row before.
        different: the whole numbers so far; None where one is not whole, or there are more than ten.
        rows: how many there are.
    """

    def __init__(self):
        self.counts_rows, self.rows = True, 0
        self.different: set[float] | None = set()
        self._last: float | None = None

    def add(self, values: np.ndarray) -> None:
        """Adds the numbers of consecutive rows, shape (n,), NaN where a cell is missing."""
        if not len(values):
            return
        self.rows += len(values)
        if self.counts_rows:
            before = values[:1] - 1 if self._last is None else [self._last]
            self.counts_rows = bool((np.diff(np.concatenate([before, values])) == 1).all())
            self._last = float(values[-1])
        if self.different is not None:
            first = values[:1000]  # most columns are seen not to be whole in their first cells
            whole = (first == np.rint(first)).all() and (values == np.rint(values)).all()
            found = self.different | set(np.unique(values).tolist()) if whole else None
            self.different = found if found is None or len(found) <= CODES else None


def notes_on(columns: dict[str, Codes]) -> tuple[str, ...]:
    """What to say of columns of numbers, by name, that are read as quantities: a line for each kind of them."""
    counters = [name for name, found in columns.items() if found.counts_rows and found.rows >= ROWS]
    codes = [
        name
        for name, found in columns.items()
        if found.different is not None and len(found.different) > 1 and found.rows >= 2 * CODES
    ]
    return (
        *(f"{name}: counts the rows, and was read as a quantity; leave it out if it is none" for name in counters),
        *_listed(codes, "few different whole numbers, read as quantities; if they are codes, a Categorical is right"),
    )


def _listed(names: list[str], words: str) -> tuple[str, ...]:
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return (f"{', '.join(names[:6])}{more}: {words}",) if names else ()
