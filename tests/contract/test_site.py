"""The documentation builds as a site, without a broken link, and its pages load nothing from other hosts."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.contract.goldens import REPOSITORY


class Loaded(HTMLParser):
    """Collects the addresses that a browser loads when it opens a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value and (name == "src" or (tag == "link" and name == "href")):
                self.addresses.add(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return folder


def test_every_markdown_page_is_on_the_site(site: Path) -> None:
    pages = {page.relative_to(REPOSITORY / "docs").with_suffix(".html") for page in REPOSITORY.glob("docs/**/*.md")}
    missing = [page for page in pages if not (site / page).is_file()]
    assert not missing
    assert "mnist-conv-10" in (site / "index.html").read_text(encoding="utf-8")


def test_pages_load_nothing_from_other_hosts(site: Path) -> None:
    parser = Loaded()
    for page in site.glob("**/*.html"):
        parser.feed(page.read_text(encoding="utf-8"))
    assert any(address.endswith(".css") for address in parser.addresses)
    assert not [address for address in parser.addresses if re.match(r"(?:[a-z]+:)?//", address)]


def test_links_between_pages_of_the_repository_lead_to_pages_of_the_site(site: Path) -> None:
    page = (site / "API.html").read_text(encoding="utf-8")
    assert 'href="FORMAT.html' in page
    assert "../SECURITY.md" not in page


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_paths_that_a_page_names_exist(page: str) -> None:
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    named = re.findall(r"`((?:[a-z_.]+/)+[\w.]*|[\w-]+\.(?:py|md|toml|txt|yml|json))`", text)
    made = ("build/", ".venv", "card.json")
    assert named
    assert not [path for path in named if not path.startswith(made) and not (REPOSITORY / path).exists()]
