"""Scores of disentanglement on codes that are perfect, rotated and random, and against values by hand."""

import numpy as np
import pytest
import scipy.stats

from keras_vae.evaluation import disentanglement

RNG = np.random.default_rng(0)
SIZES = (4, 3, 5)
FACTORS = np.stack([RNG.integers(0, size, 3000) for size in SIZES], axis=1)
CENTRED = (FACTORS - FACTORS.mean(axis=0)) / FACTORS.std(axis=0)
ROTATION = np.array([[2, -1, 2], [2, 2, -1], [-1, 2, 2]]) / 3  # each unit has a part of each factor
CODES = {
    "perfect": CENTRED + 0.01 * RNG.normal(size=CENTRED.shape),
    "rotated": CENTRED @ ROTATION,
    "random": RNG.normal(size=CENTRED.shape),
}


@pytest.fixture(scope="module")
def scores():
    return {name: disentanglement(codes, FACTORS, trees=20) for name, codes in CODES.items()}


def test_perfect_codes_have_the_best_scores(scores):
    found = scores["perfect"]
    assert found.mutual_information_gap == pytest.approx(1, abs=0.01)
    assert found.separated_attribute_predictability > 0.3
    assert found.disentanglement > 0.98
    assert found.completeness > 0.98
    assert found.informativeness > 0.999
    assert found.factor_vae == 1
    np.testing.assert_allclose(found.importances, np.eye(3), atol=0.02)
    assert str(found).startswith(f"MIG {found.mutual_information_gap:.3f}, SAP ")


def test_rotated_codes_know_all_factors_in_no_unit(scores):
    found = scores["rotated"]
    assert found.informativeness > 0.95
    assert found.mutual_information_gap < 0.3
    assert found.disentanglement < 0.6
    assert found.separated_attribute_predictability < scores["perfect"].separated_attribute_predictability


def test_random_codes_know_nothing(scores):
    found = scores["random"]
    assert found.mutual_information_gap < 0.02
    assert found.separated_attribute_predictability < 0.06
    assert found.disentanglement < 0.05
    assert found.completeness < 0.05
    chance = np.mean([1 / size for size in SIZES])
    assert found.informativeness == pytest.approx(chance, abs=0.05)
    assert found.factor_vae < 0.45, "a third by chance"


def test_the_gap_equals_that_by_hand():
    """Unit 0 knows one of the two bits of factor 0, unit 1 nothing, unit 2 all of factor 1, which has one bit."""
    first, second = (grid.ravel() for grid in np.meshgrid(np.arange(4), np.arange(2), indexing="ij"))
    factors = np.tile(np.stack([first, second], axis=1), (50, 1))
    codes = np.stack([factors[:, 0] // 2, np.zeros(len(factors)), factors[:, 1]], axis=1)
    assert disentanglement(codes, factors, trees=2).mutual_information_gap == pytest.approx((0.5 + 1) / 2)
    codes[:, 1] = codes[:, 2]  # known by two units
    assert disentanglement(codes, factors, trees=2).mutual_information_gap == pytest.approx(0.5 / 2)


def test_dci_equals_the_entropies_of_scipy(scores):
    importances = scores["rotated"].importances
    rows, columns = scipy.stats.entropy(importances, axis=1, base=3), scipy.stats.entropy(importances, axis=0, base=3)
    weights = importances.sum(axis=1) / importances.sum()
    assert scores["rotated"].disentanglement == pytest.approx(np.sum(weights * (1 - rows)))
    assert scores["rotated"].completeness == pytest.approx(np.mean(1 - columns))


def test_the_same_seed_gives_the_same_scores(scores):
    again = disentanglement(CODES["rotated"], FACTORS, trees=20)
    np.testing.assert_array_equal(again.importances, scores["rotated"].importances)
    assert again.factor_vae == scores["rotated"].factor_vae


@pytest.mark.parametrize(
    ("codes", "factors", "needs"),
    [
        (np.zeros((4, 1)), np.zeros((4, 2), int), "of two units or more"),
        (np.zeros((4, 2)), np.zeros((3, 2), int), r"Received: \(4, 2\) and \(3, 2\)"),
        (np.full((4, 2), np.nan), np.zeros((4, 2), int), "finite codes"),
        (np.zeros((4, 2)), np.full((4, 2), 0.5), "whole numbers"),
        (np.zeros((4, 2)), np.zeros((4, 2), int), "factor 0 with 1 values"),
        (np.zeros((4, 2)), np.array([[0, 0], [1, 0], [1, 1], [1, 1]]), "of one of which there are 1"),
    ],
)
def test_what_has_no_scores_is_refused(codes, factors, needs):
    with pytest.raises(ValueError, match=f"disentanglement needs .*{needs}"):
        disentanglement(codes, factors)
