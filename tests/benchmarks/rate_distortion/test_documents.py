"""The tables in the documents are those of the numbers that are committed beside them."""

import json

import pytest

from benchmarks.rate_distortion.__main__ import FULL_MARK, NUMBERS_FILE, SUMMARY_MARK, fill
from benchmarks.rate_distortion.points import Point
from benchmarks.rate_distortion.tables import full_text, summary_text
from tests.contract.goldens import REPOSITORY


@pytest.mark.parametrize("page", ["RATE_DISTORTION.md", "MODELS.md"])
def test_documents_show_the_committed_numbers(page: str) -> None:
    numbers = json.loads((REPOSITORY / "docs" / NUMBERS_FILE).read_bytes())
    points = [Point.from_json(fields) for fields in numbers["points"]]
    document = (REPOSITORY / "docs" / page).read_text(encoding="utf-8")
    filled = fill(document, FULL_MARK, full_text(points, numbers["dataset"]))
    assert fill(filled, SUMMARY_MARK, summary_text(points, numbers["dataset"])) == document
