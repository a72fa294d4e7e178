"""The client of a Latentwire service: `Client` for ordinary programs, `AsyncClient` for asyncio.

    from latentwire.client import Client

    with Client("http://localhost:8000") as client:
        encoded = client.encode("examples/seven.png")
        image = client.decode(encoded)

Both have the same methods. `exchanges` knows what is sent and how responses are read, and does no input or output; the
two clients only carry that out. A problem document becomes the exception that the library raises for the same fault.
"""

try:
    import httpx  # noqa: F401
except ImportError as error:
    raise ImportError("latentwire.client needs httpx; install it by: pip install 'latentwire[client]'") from error

from latentwire.client.asynchronous import AsyncClient
from latentwire.client.errors import ConnectionFailed, InvalidResponse, TimedOut
from latentwire.client.options import ContainerOptions, EncodeOptions, Timeouts
from latentwire.client.results import Encoded, EncodedMany, Finding, Fitted, Image, ModelSummary, Rectangle, Score
from latentwire.client.sources import BitstreamSource, ContainerSource, ImageSource
from latentwire.client.synchronous import Client

__all__ = [
    "AsyncClient",
    "BitstreamSource",
    "Client",
    "ConnectionFailed",
    "ContainerOptions",
    "ContainerSource",
    "EncodeOptions",
    "Encoded",
    "EncodedMany",
    "Finding",
    "Fitted",
    "Image",
    "ImageSource",
    "InvalidResponse",
    "ModelSummary",
    "Rectangle",
    "Score",
    "TimedOut",
    "Timeouts",
]
