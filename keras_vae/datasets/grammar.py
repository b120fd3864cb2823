"""Questions about places and their logical forms, from a small grammar."""

import numpy as np

PLACES = ("texas", "ohio", "utah", "maine", "iowa", "nevada")
THINGS = {"city": ("city", "cities"), "river": ("river", "rivers"), "lake": ("lake", "lakes")}
MOST = {"largest": "largest", "smallest": "smallest", "oldest": "oldest"}


def grammar_pairs(count: int, seed: int) -> dict[str, list[str]]:
    """Different pairs of a question and its logical form, as {"question": ..., "form": ...}.

    A form is nested up to three deep, `count ( river ( in ( next ( has ( largest ( city ) ) ) ) ) )`; its question is
    the same for each such form: "how many rivers are in states next to the state with the largest city". There are
    about 40 words.

    Args:
        count: number of pairs.
        seed: integer; the pairs of one seed are always the same.
    """
    found: dict[str, str] = {}
    draws = np.random.default_rng(seed)
    while len(found) < count:
        question, form = _question(draws)
        found[question] = form
    return {"question": list(found), "form": list(found.values())}


def _question(draws: np.random.Generator) -> tuple[str, str]:
    thing, (one, many) = _one_of(draws, list(THINGS.items()))
    where, form = _where(draws, 2)
    kind = draws.integers(3)
    if kind == 0:
        return f"how many {many} are {where}", f"count ( {thing} ( {form} ) )"
    if kind == 1:
        return f"name all {many} {where}", f"list ( {thing} ( {form} ) )"
    most = _one_of(draws, list(MOST))
    return f"what is the {most} {one} {where}", f"{most} ( {thing} ( {form} ) )"


def _where(draws: np.random.Generator, depth: int) -> tuple[str, str]:
    """Where something is: "in ...", nested as deep as `depth`."""
    region, form = _region(draws, depth)
    if draws.random() < 0.25:
        return f"not in {region}", f"not ( in ( {form} ) )"
    return f"in {region}", f"in ( {form} )"


def _region(draws: np.random.Generator, depth: int) -> tuple[str, str]:
    kind = draws.integers(3) if depth else 0
    if kind == 0:
        place = _one_of(draws, PLACES)
        return place, place
    if kind == 1:
        region, form = _region(draws, depth - 1)
        return f"states next to {region}", f"next ( {form} )"
    thing, (one, _) = _one_of(draws, list(THINGS.items()))
    most = _one_of(draws, list(MOST))
    where, form = _where(draws, depth - 1)
    return f"the state with the {most} {one} {where}", f"has ( {most} ( {thing} ( {form} ) ) )"


def _one_of(draws: np.random.Generator, choices):
    return choices[draws.integers(len(choices))]
