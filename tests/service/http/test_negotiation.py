import time

import pytest

from latentwire.errors import NotAcceptable
from service.http.negotiation import MAX_ACCEPT_CHARACTERS, media_type_of, negotiate

OFFERED = ("image/png", "image/webp", "application/x-npy", "application/json")


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", "image/png"),
        (" ", "image/png"),
        ("*/*", "image/png"),
        ("*", "image/png"),
        ("image/*", "image/png"),
        ("application/*", "application/x-npy"),
        ("image/webp", "image/webp"),
        ("IMAGE/WebP", "image/webp"),
        ("text/html, image/webp;q=0.2", "image/webp"),
        ("image/webp, */*", "image/webp"),  # equal quality: the one that is named
        ("image/webp;q=0.5, */*;q=0.8", "image/png"),
        ("image/png;q=0.5, image/webp;q=0.6", "image/webp"),
        ("image/png;q=0, */*", "image/webp"),
        ("image/*;q=0, */*", "application/x-npy"),
        ("image/png, image/webp", "image/png"),
        ("image/webp, image/png", "image/png"),
        ("application/json;charset=utf-8", "application/json"),
        ("image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8", "image/webp"),
        ("image/png;q=7", "image/png"),
        (",,image/webp,,", "image/webp"),
    ],
)
def test_negotiate(accept: str, chosen: str) -> None:
    assert negotiate(accept, OFFERED) == chosen


@pytest.mark.parametrize(
    "accept", ["text/html", "image/gif", "*/*;q=0", "image/png;q=0", "image", "image/png/x", ";", "/", ",", "q=1", '"']
)
def test_negotiate_refuses(accept: str) -> None:
    with pytest.raises(NotAcceptable, match="this route can send image/png, image/webp"):
        negotiate(accept, OFFERED)


def test_negotiate_refuses_a_long_header_quickly() -> None:
    with pytest.raises(NotAcceptable, match="characters"):
        negotiate("image/png" + "," * MAX_ACCEPT_CHARACTERS, OFFERED)
    started = time.monotonic()
    for filler in ('image/png;a="' + ";" * 2000, "a/b," * 500, ";" * 2000, '"' * 2000):
        with pytest.raises(NotAcceptable):
            negotiate(filler.removeprefix("image/png"), OFFERED)
    assert time.monotonic() - started < 1


@pytest.mark.parametrize(
    ("content_type", "media_type"),
    [("", ""), ("image/png", "image/png"), (" Image/PNG ; a=b;c", "image/png"), (";", ""), ("x", "x")],
)
def test_media_type_of(content_type: str, media_type: str) -> None:
    assert media_type_of(content_type) == media_type
