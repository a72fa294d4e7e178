"""Accept and Content-Type headers -> one media type.

Knows nothing of what the types carry. An answer's type is chosen by the quality that the client gives it, then by how
exactly the client names it, then by the route's own order.
"""

from functools import lru_cache

import mimeparse

from service.errors import NotAcceptable

MAX_ACCEPT_CHARACTERS = 2048


@lru_cache(maxsize=256)
def choose_answer(accept: str, offered: tuple[str, ...]) -> str:
    """Return the offered type that an Accept header likes best.

    Args:
        accept: the header, several of them joined by commas; an empty one, or none, accepts everything.
        offered: what the route can send, the preferred first.

    Raises:
        NotAcceptable: none of them, or the header cannot be read.
    """
    if not accept.strip():
        return offered[0]
    choices = f"this route can send {', '.join(offered)}"
    if len(accept) > MAX_ACCEPT_CHARACTERS:
        raise NotAcceptable(f"the Accept header has more than {MAX_ACCEPT_CHARACTERS} characters; {choices}")
    try:
        # mimeparse prefers the last among equals, and compares letters as they are.
        chosen: str = mimeparse.best_match(offered[::-1], accept.lower())
    except (mimeparse.MimeTypeParseException, IndexError) as error:
        raise NotAcceptable(f"the Accept header cannot be read; {choices}") from error
    if not chosen:
        raise NotAcceptable(f"the Accept header allows none of the types of this route; {choices}")
    return chosen


def media_type_of(content_type: str | None) -> str:
    """Return the bare type of a Content-Type header in small letters, without parameters; "" if there is none."""
    return content_type.partition(";")[0].strip().lower() if content_type else ""
