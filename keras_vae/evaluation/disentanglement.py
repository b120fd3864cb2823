"""Whether each unit of a code stands for one factor of the data, where the factors are known."""

from dataclasses import dataclass

import numpy as np

from keras_vae.arguments import whole_number, whole_seed

BINS = 20  # of a unit, for its mutual information with a factor
VOTES = 800  # of the FactorVAE score, with which it learns which unit stands for which factor, and as many to test it
TOGETHER = 64  # examples of one value of a factor, whose variance is a vote
UNUSED = 0.05  # standard deviation, over the largest, below which a unit has no vote


@dataclass(frozen=True)
class Disentanglement:
    """Scores of a code against known factors; each is 1 where every unit stands for one factor, and no factor for two.

    Attributes:
        mutual_information_gap: MIG, from 0 to 1: of the entropy of a factor, what the unit that knows the most of it
            knows more than the next one; mean over the factors.
        separated_attribute_predictability: SAP, from 0 to 1: the accuracy of a linear classifier of a factor from the
            best unit alone, less that from the next one; mean over the factors.
        disentanglement: of DCI, from 0 to 1: how far each unit matters for one factor alone.
        completeness: of DCI, from 0 to 1: how far for each factor one unit alone matters.
        informativeness: of DCI, from 0 to 1: accuracy of a forest that tells the factors from the whole code.
        factor_vae: from about 1 / factors, by chance, to 1: how often the unit that varies least tells which factor was
            kept.
        importances: how much each unit matters for each factor, shape (units, factors).
    """

    mutual_information_gap: float
    separated_attribute_predictability: float
    disentanglement: float
    completeness: float
    informativeness: float
    factor_vae: float
    importances: np.ndarray

    def __str__(self) -> str:
        return (
            f"MIG {self.mutual_information_gap:.3f}, SAP {self.separated_attribute_predictability:.3f}, "
            f"DCI {self.disentanglement:.3f} (disentanglement), {self.completeness:.3f} (completeness), "
            f"{self.informativeness:.3f} (informativeness), FactorVAE {self.factor_vae:.3f}"
        )

    __repr__ = __str__  # what a notebook shows


def disentanglement(codes, factors, trees: int = 50, seed: int = 0) -> Disentanglement:
    """Six scores of how far the units of a code stand for the factors of the data, one by one.

    No score needs a model: the codes are what its encoder gives, `model.encode(x).mean()`. What the scores agree on is
    worth more than one of them; none can be known without the factors.

    Args:
        codes: shape (examples, units), such as means of q(z | x).
        factors: whole numbers, shape (examples, factors): which value of each factor an example has. Factors that are
            continuous are given in steps.
        trees: of each forest of DCI.
        seed: integer, of forests and votes.

    Raises:
        ValueError: for arrays of other shapes, codes that are not finite or of a single unit, factors that are not
            whole numbers or have one value alone, and a factor with a value of which there is a single example.

    Reference: Chen et al. 2018, arXiv:1802.04942 (MIG); Kumar et al. 2018, arXiv:1711.00848 (SAP); Eastwood & Williams
    2018, "A framework for the quantitative evaluation of disentangled representations" (DCI); Kim & Mnih 2018,
    arXiv:1802.05983 (FactorVAE); their settings are those of Locatello et al. 2019, arXiv:1811.12359.
    """
    codes, factors = _checked(codes, factors)
    trees, seed = whole_number("disentanglement", "trees", trees), whole_seed("disentanglement", seed)
    rng = np.random.default_rng(seed % 2**32)
    order = rng.permutation(len(codes))
    train, test = order[: len(order) // 2], order[len(order) // 2 :]
    importances, accuracy = _forests(codes, factors, train, test, trees, seed % 2**31)
    return Disentanglement(
        mutual_information_gap=_gap(_shared(codes, factors)),
        separated_attribute_predictability=_gap(_predictability(codes, factors, train, test)),
        disentanglement=_concentration(importances),
        completeness=_concentration(importances.T),
        informativeness=accuracy,
        factor_vae=_votes(codes, factors, rng),
        importances=importances,
    )


def _checked(codes, factors) -> tuple[np.ndarray, np.ndarray]:
    codes, factors = np.asarray(codes, np.float64), np.asarray(factors)
    if codes.ndim != 2 or factors.ndim != 2 or len(codes) != len(factors) or codes.shape[1] < 2:
        raise ValueError(
            "disentanglement needs codes of shape (examples, units), of two units or more, and factors of shape "
            f"(examples, factors). Received: {codes.shape} and {factors.shape}."
        )
    if not np.isfinite(codes).all():
        raise ValueError("disentanglement needs finite codes. Received: NaN or infinity.")
    if factors.dtype.kind not in "iub" and not (factors == np.rint(factors)).all():
        raise ValueError("disentanglement needs factors that are whole numbers, one for each value. Received: others.")
    for place, column in enumerate(factors.T):
        counts = np.unique(column, return_counts=True)[1]
        if len(counts) < 2 or counts.min() < 2:
            raise ValueError(
                "disentanglement needs two values or more of each factor, and two examples or more of each value. "
                f"Received: factor {place} with {len(counts)} values, of one of which there are {counts.min()}."
            )
    return codes, factors.astype(np.int64)


def _shared(codes: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """The mutual information of units in bins and factors over the entropy of the factors, shape (units, factors)."""
    from sklearn.metrics import mutual_info_score

    binned = [np.digitize(unit, np.histogram_bin_edges(unit, BINS)[:-1]) for unit in codes.T]
    entropies = [mutual_info_score(factor, factor) for factor in factors.T]
    shared = [[mutual_info_score(unit, factor) for factor in factors.T] for unit in binned]
    return np.array(shared) / entropies


def _predictability(codes, factors, train, test) -> np.ndarray:
    """The accuracy of a linear classifier of a factor from one unit, shape (units, factors)."""
    from sklearn.svm import LinearSVC

    scores = np.zeros((codes.shape[1], factors.shape[1]))
    for unit, values in enumerate(codes.T[:, :, None]):
        if values.std() > 1e-12 * max(1.0, np.abs(values).max()):  # a unit that says nothing has nothing to tell apart
            values = (values - values.mean()) / values.std()
            for place, factor in enumerate(factors.T):
                classifier = LinearSVC(C=0.01, class_weight="balanced").fit(values[train], factor[train])
                scores[unit, place] = classifier.score(values[test], factor[test])
    return scores


def _gap(scores: np.ndarray) -> float:
    """What the best unit has more than the next one, mean over the factors, of shape (units, factors)."""
    ordered = np.sort(scores, axis=0)
    return float(np.mean(ordered[-1] - ordered[-2]))


def _forests(codes, factors, train, test, trees: int, seed: int) -> tuple[np.ndarray, float]:
    """How much each unit matters for each factor, shape (units, factors), and the mean accuracy."""
    from sklearn.ensemble import RandomForestClassifier

    importances, accuracies = [], []
    for factor in factors.T:
        # Each split may take any unit: where it may not take the best one, units that say nothing get importance too.
        forest = RandomForestClassifier(trees, max_features=None, random_state=seed).fit(codes[train], factor[train])
        importances.append(forest.feature_importances_)
        accuracies.append(forest.score(codes[test], factor[test]))
    return np.array(importances).T, float(np.mean(accuracies))


def _concentration(importances: np.ndarray) -> float:
    """1 less the entropy of each row, in units of that of a uniform one, averaged by the weight of the row."""
    weights = importances.sum(axis=1)
    shares = importances / np.where(weights > 0, weights, 1.0)[:, None]
    logs = np.log(np.where(shares > 0, shares, 1.0))
    if importances.shape[1] < 2:
        return 1.0
    return float(np.sum(weights * (1 + np.sum(shares * logs, axis=1) / np.log(importances.shape[1]))) / weights.sum())


def _votes(codes: np.ndarray, factors: np.ndarray, rng: np.random.Generator) -> float:
    """How often the unit that varies least, among examples of one value of a factor, tells which factor it is."""
    spread = codes.std(axis=0)
    used = spread > UNUSED * spread.max()
    scaled = codes[:, used] / spread[used]
    values = [[np.flatnonzero(factor == value) for value in np.unique(factor)] for factor in factors.T]
    counts = np.zeros((2, scaled.shape[1], factors.shape[1]), np.int64)
    for vote in range(2 * VOTES):
        factor = rng.integers(factors.shape[1])
        same = values[factor][rng.integers(len(values[factor]))]
        unit = scaled[rng.choice(same, TOGETHER)].var(axis=0).argmin()
        counts[vote % 2, unit, factor] += 1
    learned, tested = counts
    return float(tested[np.arange(len(tested)), learned.argmax(axis=1)].sum() / tested.sum())
