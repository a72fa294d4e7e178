from benchmarks.rate_distortion.points import ALONE, BATCH, FULL, PAYLOAD, TOGETHER, Point
from benchmarks.rate_distortion.tables import full_text, levels_table, models_table, render, summary_text
from tests.benchmarks.rate_distortion.points import point


def ladder() -> list[Point]:
    points = []
    for name, size, psnr_db in (("large", 12.0, 24.5), ("small", 5.0, 19.0)):
        points.append(point(PAYLOAD, size, psnr_db, name))
        points.append(point(FULL, size + 8, psnr_db, name))
        points.append(point(BATCH, size - 0.5, psnr_db, name, TOGETHER))
    return points


POINTS = [
    *ladder(),
    point("WebP", 100, 23, "quality 0", count=4),
    point("WebP", 200, 33, "quality 50", count=4),
    point("PNG", 250, None, count=4),
    point(PAYLOAD, 202, None, "lossless fallback", count=4),
    point("WebP", 40, 22, "quality 0", TOGETHER),
]


def cells(table: str, first: str) -> list[str]:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return next(row for row in rows if row[0] == first)


def test_each_model_stands_beside_the_classical_codec_of_its_psnr() -> None:
    table = models_table(POINTS)
    assert cells(table, "small") == ["small", "5.00", "13.00", "4.50", "19.0 dB", "WebP", "100.0", "20.0 ×"]
    # A share of 0.15 on the way from 23 to 33 dB: 100 · 2 ** 0.15.
    assert cells(table, "large")[5:] == ["WebP", "111.0", "9.2 ×"]
    assert table.index("small") < table.index("large")


def test_models_without_classical_codecs_have_a_table_too() -> None:
    assert cells(models_table(ladder()), "small")[-3:] == ["–", "–", "–"]


def test_ours_reach_a_psnr_with_a_model_that_ships_and_classical_codecs_between_settings() -> None:
    encode_lossless = ["202.00 (lossless fallback)"] * 2
    table = levels_table(POINTS, ALONE, (17.0, 20.0, 28.0, 40.0))
    assert cells(table, f"**{PAYLOAD}**")[1:] == [
        "5.00 (small, 19.0 dB)",
        "12.00 (large, 24.5 dB)",
        *encode_lossless,
        "202.0",
    ]
    assert cells(table, "WebP")[1:] == ["100.0*", "100.0*", "141.4", "–", "–"]
    assert cells(table, "PNG")[1:] == ["250.0*", "250.0*", "250.0*", "250.0*", "250.0"]
    assert BATCH not in table
    assert cells(levels_table(POINTS, TOGETHER, (20.0,)), "WebP")[1] == "40.0*"


def test_the_text_says_how_many_images_were_measured() -> None:
    text = full_text(POINTS, "drawn")
    assert "Over 10 drawn images; each classical codec, each image alone, over 4 of them" in text
    assert max(len(line) for line in text.splitlines() if not line.startswith("|")) <= 120
    assert summary_text(POINTS, "drawn").startswith("Mean bytes per image over 10 drawn images:")


def test_columns_of_numbers_stand_to_the_right() -> None:
    assert render(["what", "number"], [["a", "1"], ["long name", "–"]]) == (
        "| what      | number |\n|-----------|-------:|\n| a         |      1 |\n| long name |      – |"
    )
