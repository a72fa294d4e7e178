import base64
import hashlib
import re

from tests.service.client import Client


def test_the_page_may_run_its_own_scripts_and_no_others(client: Client) -> None:
    response = client.get("/docs")
    policy = dict(part.split(" ", 1) for part in response.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    [script] = re.findall(r"<script>(.*?)</script>", response.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy["script-src"] == f"'self' 'sha256-{digest}'"
    assert "http" not in response.headers["content-security-policy"]


def test_pages_tell_no_one_where_a_reader_comes_from(client: Client) -> None:
    for path in ("/docs", "/"):
        headers = client.get(path).headers
        assert headers["referrer-policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
