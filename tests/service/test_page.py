"""The page at `/` in a real browser: what a visitor does, and what goes wrong. Skipped where there is no Chromium."""

import io
import re
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

from latentwire.imaging.image import write_png
from tests.service.client import OCTETS
from tests.service.launching import PATIENCE_S, ROOT, LaunchServer, Server, wait_until
from tests.tiny_any_size_model import drawn_picture

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium to open the page with")

PHONE = {"width": 360, "height": 740}
RULES = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}}
# What the browser itself says of a response that the page then explains.
OF_THE_NETWORK = "Failed to load resource"


@pytest.fixture(scope="module")
def server(launch_server: LaunchServer) -> Server:
    """The shipped models."""
    return launch_server(ROOT / "models")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # As root, Chromium has no sandbox.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Browser, server: Server) -> Iterator[Callable[..., Page]]:
    """Open the page, at one role's half, and look at the end whether the browser had something to say."""
    said: list[str] = []
    pages: list[Page] = []

    def open_page(role: str = "both", routes: Mapping[str, Callable[[Route], None]] = {}, **options: object) -> Page:
        page = browser.new_page(**options)  # type: ignore[arg-type]
        page.set_default_timeout(1000 * PATIENCE_S)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        if role != "both":
            html = server.client.get("/").text.replace('data-role="both"', f'data-role="{role}"')
            headers = {"Content-Type": "text/html; charset=utf-8"}
            page.route(str(server.client.base_url), lambda route: route.fulfill(body=html, headers=headers))
        for address, answer in routes.items():
            page.route(address, answer)
        page.goto(str(server.client.base_url))
        pages.append(page)
        return page

    expect.set_options(timeout=1000 * PATIENCE_S)
    yield open_page
    for page in pages:
        page.close()
    assert [text for text in said if OF_THE_NETWORK not in text] == []


def test_an_example_is_shown_beside_a_file_of_as_many_bytes(visit: Callable[..., Page]) -> None:
    page = visit()
    expect(page.locator("#verdict")).to_have_text(re.compile("The guard knows this kind of image"))
    expect(page.locator("#their-note")).to_have_text(re.compile("The best of WebP, AVIF, JPEG and PNG within"))
    ours, theirs = (int(page.locator(f"#{name}-bytes").inner_text()) for name in ("our", "their"))
    assert theirs <= ours <= 51
    page.get_by_role("button", name="Example: a grid").click()
    expect(page.locator("#verdict")).to_have_text(re.compile("losslessly it takes more than 51 bytes"))
    page.get_by_role("button", name="340 bytes, one Iridium SBD message").click()
    expect(page.locator("#verdict")).to_have_text(re.compile("Sent exactly"))


@pytest.mark.parametrize(("scheme", "size"), [("light", {"width": 1200, "height": 900}), ("dark", PHONE)])
def test_all_can_read_and_reach_it(visit: Callable[..., Page], scheme: str, size: dict[str, int]) -> None:
    page = visit(color_scheme=scheme, viewport=size, bypass_csp=True)
    expect(page.locator("#their-note")).to_have_text(re.compile("within"))
    found = Axe().run(page, options=RULES)
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    expect(page.locator("#marks button:visible")).to_have_count(4)


def test_a_drawing_becomes_what_a_receiver_decodes(
    visit: Callable[..., Page], server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = visit()
    expect(page.locator("#our-bytes")).not_to_be_empty()
    page.get_by_role("button", name="Clear").click()
    box = page.locator("#pad").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 150, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 130, box["y"] + 220, steps=8)
    page.mouse.up()
    expect(page.locator("#ours figcaption")).to_have_text(re.compile("Latentwire, model"))
    expect(page.locator("#curl")).to_have_text(re.compile("drawing.png"))
    expect(page.locator("#views")).not_to_have_class(re.compile("stale"))
    bitstream, picture = _downloaded(page, "bitstream"), _downloaded(page, "picture")
    # What the page sent, and what the shown lines send, is the same.
    monkeypatch.chdir(tmp_path)
    Path("drawing.png").write_bytes(picture)
    names: dict[str, Any] = {}
    exec(page.locator("#python").inner_text(), names)  # noqa: S102
    assert names["encoded"].bitstream == bitstream
    found = server.client.post("/encode?target_bytes=51", content=picture, headers={"Accept": OCTETS})
    assert found.content == bitstream
    assert page.locator("#hex").inner_text().split()[:2] == ["4c", "01"]


def test_the_slider_moves_by_keys_and_by_pointer(visit: Callable[..., Page]) -> None:
    page = visit()
    slider = page.get_by_role("slider", name="Boundary between")
    expect(page.locator("#theirs .wiped")).to_be_visible()
    slider.press("ArrowRight")
    expect(slider).to_have_value("51")
    box = page.locator("#theirs .frame").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] / 4, box["y"] + 20)
    expect(slider).to_have_value("25")
    assert page.locator("#views").evaluate("element => element.style.getPropertyValue('--cut')") == "25%"


def test_budget_quality_and_model_can_be_chosen(visit: Callable[..., Page]) -> None:
    page = visit()
    page.locator("#level").fill("240")
    expect(page.locator("#curl")).to_have_text(re.compile(r"target_bytes=30\b"))
    expect(page.locator("#their-note")).to_have_text(re.compile("No WebP, AVIF, JPEG or PNG file"))
    page.get_by_text("Quality", exact=True).click()
    expect(page.locator("#curl")).to_have_text(re.compile(r"min_psnr=24\b"))
    page.get_by_label("Model").select_option("mnist-conv-10")
    expect(page.locator("#aim-note")).to_be_visible()
    expect(page.locator("#our-bytes")).to_have_text("14")


def test_a_number_of_the_code_can_be_changed(visit: Callable[..., Page]) -> None:
    page = visit()
    page.get_by_label("Model").select_option("mnist-conv-10")
    expect(page.locator("#our-bytes")).to_have_text("14")
    first = page.get_by_role("slider", name="Number 1 of 10", exact=True)
    before = _shown(page, "#edited canvas")
    first.fill("-3")
    expect(page.get_by_role("button", name="Put back")).to_be_enabled()
    wait_until(lambda: _shown(page, "#edited canvas") != before, "the decoder drew another picture")
    page.get_by_role("button", name="Put back").click()
    wait_until(lambda: _shown(page, "#edited canvas") == before, "the decoder drew the first picture again")


def test_a_bitstream_can_be_opened_at_a_receiver(visit: Callable[..., Page], server: Server, tmp_path: Path) -> None:
    seven = (ROOT / "examples" / "seven.png").read_bytes()
    bitstream = server.client.post("/encode", content=seven, headers={"Accept": OCTETS}).content
    page = visit("receiver")
    expect(page.get_by_role("slider", name="Number 1 of 10", exact=True)).to_be_visible()
    expect(page.locator("#pad")).to_be_hidden()
    page.locator("#file").set_input_files({"name": "seven.lw", "mimeType": "", "buffer": bitstream})
    expect(page.locator("#ours figcaption")).to_have_text("Decoded by mnist-conv-10, 28 × 28 pixels")
    expect(page.locator("#our-bytes")).to_have_text("14")
    decoded = server.client.post("/decode", content=bitstream, headers={"Accept": "image/png"}).content
    assert _downloaded(page, "picture") == decoded
    damaged = bytes([*bitstream[:8], bitstream[8] ^ 1, *bitstream[9:]])
    page.locator("#file").set_input_files({"name": "damaged.lw", "mimeType": "", "buffer": damaged})
    expect(page.get_by_role("alert")).to_have_text(re.compile("damaged"))


def test_a_sender_shows_bytes_and_no_reconstruction(visit: Callable[..., Page]) -> None:
    page = visit("sender")
    expect(page.locator("#our-bytes")).not_to_be_empty()
    expect(page.locator("#theirs")).to_be_hidden()
    expect(page.locator("#edited")).to_be_hidden()


def test_what_goes_wrong_is_said_in_words(visit: Callable[..., Page]) -> None:
    page = visit()
    alert = page.get_by_role("alert")
    expect(page.locator("#our-bytes")).not_to_be_empty()
    _drop(page, "notes.txt", b"just words", "text/plain")
    expect(alert).to_have_text(re.compile("notes.txt is neither a picture"))
    _drop(page, "large.png", _large_png(8000, 6400), "image/png")
    expect(alert).to_have_text(re.compile("large.png has 8,000 × 6,400 pixels"))
    page.context.set_offline(True)
    page.get_by_role("button", name="115 bytes").click()
    expect(alert).to_have_text(re.compile("The service does not answer"))
    page.context.set_offline(False)
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#verdict")).to_have_text(re.compile("The guard knows"))
    expect(alert).to_be_hidden()


def test_a_service_with_keys_asks_for_one(visit: Callable[..., Page], server: Server) -> None:
    def answer(route: Route) -> None:
        if route.request.headers.get("authorization") == "Bearer 0123456789abcdefghij":
            route.continue_()
        else:
            route.fulfill(status=401, json={"detail": "this route needs a key", "code": "unauthenticated"})

    page = visit(routes={"**/models": answer, "**/encode*": answer})
    page.get_by_label("API key").fill("0123456789abcdefghij")
    page.get_by_role("button", name="Use this key").click()
    expect(page.locator("#verdict")).to_have_text(re.compile("The guard knows"))


def test_any_picture_can_be_dropped(visit: Callable[..., Page]) -> None:
    page = visit()
    expect(page.locator("#our-bytes")).not_to_be_empty()
    page.get_by_label("Model").select_option("cifar-conv")
    written = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)).save(written, "WEBP")
    _drop(page, "noise.webp", written.getvalue(), "image/webp")
    expect(page.locator("#curl")).to_have_text(re.compile(r"file=@noise.png .*model=cifar-conv"))
    with Image.open(io.BytesIO(_downloaded(page, "picture"))) as picture:
        assert (picture.size, picture.mode) == ((32, 32), "RGB")


def test_a_picture_of_any_size_is_compared_and_decoded_as_far_as_it_is_whole(
    visit: Callable[..., Page], server: Server
) -> None:
    page = visit()
    page.get_by_text("Quality", exact=True).click()
    page.get_by_role("button", name="Example: a landscape").click()
    expect(page.locator("#ours figcaption")).to_have_text("Latentwire, model photo")
    expect(page.locator("#their-note")).to_have_text(re.compile("The best of WebP, AVIF, JPEG and PNG within"))
    expect(page.locator("#code")).to_be_hidden()
    expect(page.locator("#bits-text")).to_have_text(re.compile(r"Half of all bits go to \d+ % of the squares"))
    assert page.locator("#bits-map").evaluate("canvas => [canvas.width, canvas.height]") == [480, 320]
    page.locator("#level").fill("800")
    expect(page.locator("#curl")).to_have_text(re.compile("file=@landscape.png .*model=photo&quality=80"))
    expect(page.locator("#views")).not_to_have_class(re.compile("stale"))
    bitstream = _downloaded(page, "bitstream")
    _drop(page, "landscape.lw", bitstream, "")
    expect(page.locator("#ours figcaption")).to_have_text("Decoded by photo, 480 × 320 pixels")
    # Of two parts, the second of which is cut off.
    wide = write_png(drawn_picture(40, 1100))
    coded = server.client.post("/encode?quality=20", content=wide, headers={"Accept": OCTETS}).content
    _drop(page, "cut.lw", coded[:-9], "")
    expect(page.locator("#verdict")).to_have_text(re.compile("damaged or cut short"))
    expect(page.locator("#ours figcaption")).to_have_text("Decoded by photo, 1100 × 40 pixels")
    expect(page.get_by_role("img", name="Map of the picture's code")).to_be_visible()
    page.get_by_role("button", name="Example: a seven").click()
    expect(page.locator("#bits")).to_be_hidden()


def test_it_says_what_it_is_without_scripts(visit: Callable[..., Page]) -> None:
    page = visit(java_script_enabled=False)
    expect(page.get_by_text("Images in a few bytes. Draw a digit")).to_be_visible()
    expect(page.locator("noscript section")).to_be_visible()
    expect(page.get_by_role("link", name="HTTP API").first).to_be_visible()


def _downloaded(page: Page, what: str) -> bytes:
    with page.expect_download() as download:
        page.get_by_role("link", name=f"Download {what}").click()
    return Path(download.value.path()).read_bytes()


def _shown(page: Page, canvas: str) -> str:
    return str(page.locator(canvas).first.evaluate("canvas => canvas.toDataURL()"))


def _drop(page: Page, name: str, content: bytes, media_type: str) -> None:
    """Drop a file onto the page, as from a folder."""
    page.evaluate(
        """([name, content, type]) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(content)], name, { type }));
            window.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
        }""",
        [name, list(content), media_type],
    )


def _large_png(width: int, height: int) -> bytes:
    """Return a black picture of one bit a pixel."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    pixels = zlib.compress(bytes((width + 7) // 8 + 1) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
