import re
from urllib.parse import urljoin

import pytest

from tests.service.client import Client


def test_the_page_may_run_its_own_scripts_and_no_others(client: Client) -> None:
    response = client.get("/docs")
    policy = dict(part.split(" ", 1) for part in response.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert re.findall(r"<script(?! src=)", response.text) == []
    assert "http" not in response.headers["content-security-policy"]


def test_pages_tell_no_one_where_a_reader_comes_from(client: Client) -> None:
    for path in ("/docs", "/"):
        headers = client.get(path).headers
        assert headers["referrer-policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]


@pytest.mark.parametrize("prefix", ["", "/images", "/a/b"])
def test_the_page_and_its_files_are_found_behind_a_path_prefix(client: Client, prefix: str) -> None:
    """As a browser finds them, where a proxy removes the prefix."""
    base = f"http://test{prefix}"

    def follow(address: str) -> str:
        return urljoin(page, address).removeprefix(base)

    page = f"{base}/docs/"
    assert follow(client.get("/docs/").headers["location"]) == "/docs"
    for path, count in (("/", 8), ("/docs", 4)):
        page = f"{base}{path}"
        html = client.get(path).text
        addresses = re.findall(r'(?:src|href|url)(?:=|: )"([^"]+)"', html)
        assert len(addresses) == count
        for address in addresses:
            assert client.get(follow(address)).status_code == 200, address
    # Swagger UI takes the slash away with which this ends.
    [server] = client.get(follow("openapi.json")).json()["servers"]
    assert urljoin(f"{base}/openapi.json", server["url"]) == f"{base}/"
