"""Accept and Content-Type headers -> one media type.

A response's type is the one to which the client gives the highest quality, then the one that the client names most
exactly, then the first in the route's own order.
"""

from functools import lru_cache

import mimeparse

from latentwire.errors import NotAcceptable

MAX_ACCEPT_CHARACTERS = 2048


@lru_cache(maxsize=256)
def negotiate(accept: str, offered: tuple[str, ...]) -> str:
    """Return the offered type that an Accept header prefers.

    Several headers are joined by commas; an empty one accepts everything. `offered` has the preferred type first.

    Raises:
        NotAcceptable: the header accepts none of them, or cannot be read.
    """
    if not accept.strip():
        return offered[0]
    choices = f"this route can send {', '.join(offered)}"
    if len(accept) > MAX_ACCEPT_CHARACTERS:
        raise NotAcceptable(f"the Accept header has more than {MAX_ACCEPT_CHARACTERS} characters; {choices}")
    try:
        # mimeparse prefers the last among equals, and compares case-sensitively.
        chosen: str = mimeparse.best_match(offered[::-1], accept.lower())
    except (mimeparse.MimeTypeParseException, IndexError) as error:
        raise NotAcceptable(f"the Accept header cannot be read; {choices}") from error
    if not chosen:
        raise NotAcceptable(f"the Accept header allows none of the types of this route; {choices}")
    return chosen


def media_type_of(content_type: str) -> str:
    """Return the media type of a Content-Type header in lower case, without parameters."""
    return content_type.partition(";")[0].strip().lower()


def is_binary(media_type: str) -> bool:
    """Whether a body's type says nothing of its content: none, an octet-stream under any of its names, or curl's own.

    `curl --data-binary` calls every body `application/x-www-form-urlencoded`.
    """
    return not media_type or media_type.endswith(("/octet-stream", "/x-octet-stream", "/x-www-form-urlencoded"))
