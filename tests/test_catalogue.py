"""The page of all classes is that of the code, and each class on it has a test of its own."""

import importlib.util

import pytest
from conftest import ROOT


@pytest.fixture(scope="module")
def catalogue():
    spec = importlib.util.spec_from_file_location("catalogue", ROOT / "docs" / "catalogue.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date(catalogue):
    written = (ROOT / "docs" / "catalogue.md").read_text(encoding="utf-8")
    assert written == catalogue.page(), "run python docs/catalogue.py"


def test_each_class_has_a_test_beside_the_conformance_suite(catalogue):
    found = [cls for family in catalogue.FAMILIES.values() for cls in catalogue.classes(family)]
    assert len(found) > 40
    assert [cls.__name__ for cls in found if not set(catalogue.tests(cls)) - {"test_catalogue.py"}] == []
