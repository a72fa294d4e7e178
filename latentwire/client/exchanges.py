"""What a client does, without doing it: each method as a generator of steps, which a client carries out.

A step is a request to send, a pause to make, or work that may take long (reading a file, writing a PNG file). The
client sends the response, None or the result into the generator, or throws the error of this package into it. So the
synchronous and the asynchronous client differ in nothing but how they wait.
"""

import os
import random
import secrets
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, TypeVar

import httpx

from latentwire import __version__
from latentwire.client import responses
from latentwire.client.errors import ConnectionFailed, TimedOut, is_lasting
from latentwire.client.groups import Group, Grouper
from latentwire.client.options import ContainerOptions, EncodeOptions, Timeouts, query_of
from latentwire.client.results import Encoded, EncodedMany, Image, ModelSummary
from latentwire.client.sources import (
    JSON,
    NPY,
    OCTETS,
    BitstreamSource,
    Body,
    ContainerSource,
    ImageSource,
    Prepared,
    batch_body,
    bitstream_of,
    image_body,
    prepare,
)
from latentwire.errors import CodecError, NotReady

Role = Literal["sender", "receiver"]
Result = TypeVar("Result")

# All routes are safe to repeat: they change nothing, and give the same result for the same request.
RETRIED = frozenset((429, 503))
# The pause doubles from this, where a response does not say how long to wait.
FIRST_PAUSE_S = 0.25
# Waiting clients come back spread over a time longer by this share.
JITTER = 0.5

# A service refuses a batch by these because of one of its images, or if its model takes no batches.
_FAULTS_OF_IMAGES = frozenset((400, 413, 415, 422))
# The options of `/encode` that `/encode/batch` has, too.
_OPTIONS_OF_BATCHES = frozenset(("model", "fit", "background", "on_ood"))


class Pause(NamedTuple):
    """Wait for some seconds."""

    seconds: float


class Work(NamedTuple):
    """Call a function that may take long, and return what it returns."""

    run: Callable[[], Any]


Step = httpx.Request | Pause | Work
Exchange = Generator[Step, Any, Result]


@dataclass(frozen=True, slots=True)
class Address:
    """Where the routes of one role are, and the key that opens them."""

    url: str
    api_key: str | None

    @property
    def headers(self) -> dict[str, str]:
        """The headers of each request."""
        headers = {"User-Agent": f"latentwire/{__version__}"}
        return headers if self.api_key is None else {**headers, "Authorization": f"Bearer {self.api_key}"}


@dataclass(frozen=True, slots=True)
class Protocol:
    """The exchanges of one client.

    Attributes:
        addresses: of the two roles.
        timeouts: of each request.
        retries: how often a request is sent again.
        max_pause_s: longest pause before that; a service that asks for a longer one is not asked again.
        trace_context: returns headers to send with each request.
        on_pause: called before each such pause.
    """

    addresses: Mapping[Role, Address]
    timeouts: Timeouts
    retries: int
    max_pause_s: float
    trace_context: Callable[[], Mapping[str, str]]
    on_pause: Callable[[], None] = lambda: None

    def encode(self, source: ImageSource, options: EncodeOptions) -> Exchange[Encoded]:
        """Encode one image."""
        body = yield Work(lambda: image_body(prepare(source)))
        return (yield from self._encode(body, query_of(options)))

    def encode_group(
        self, group: Group, options: EncodeOptions, grouper: Grouper
    ) -> Exchange[list[Encoded | Exception]]:
        """Encode successive images, by one request where that gives the same results as one for each.

        An image that the default model does not reproduce is sent again by itself, as a better model may take it. If
        the service refuses a batch, each of its images is sent by itself, and so are all later ones. The results end
        with the first error.
        """
        query = query_of(options)
        found: list[Encoded | None] = [None] * len(group.images)
        if len(group.images) > 1 and grouper.batches:
            try:
                found[:] = yield from self._encode_batch(group.images, query)
                # Where no model is named, the first image decides for all of a batch.
                grouper.batches = "model" in query or any(one is not None and one.code for one in found)
            except CodecError as error:
                if error.status not in _FAULTS_OF_IMAGES:
                    raise
                grouper.batches = False
        results: list[Encoded | Exception] = []
        for index, (prepared, encoded) in enumerate(zip(group.images, found, strict=True), group.first):
            if encoded is None or ("model" not in query and not _is_plain(encoded)):
                as_file = partial(image_body, prepared)
                body = as_file() if isinstance(prepared, bytes) else (yield Work(as_file))
                try:
                    encoded = yield from self._encode(body, query)
                except CodecError as error:
                    error.add_note(f"source {index:,} of encode_many, counted from 0")
                    return [*results, error]
            results.append(encoded)
        return results

    def decode(self, source: BitstreamSource, *, as_far_as_whole: bool) -> Exchange[Image]:
        """Decode one bitstream, or of a damaged one what is whole."""
        is_file = isinstance(source, str | os.PathLike)
        bitstream = (yield Work(partial(bitstream_of, source))) if is_file else bitstream_of(source)
        query = {"partial": "1"} if as_far_as_whole else {}
        response = yield from self._send(self._request("receiver", "/decode", NPY, Body(bitstream, OCTETS), query))
        return responses.read_image(response)

    def decode_one_of_many(self, index: int, source: BitstreamSource) -> Exchange[list[Image]]:
        """Decode a bitstream of a sequence; an error tells its index."""
        try:
            return [(yield from self.decode(source, as_far_as_whole=False))]
        except Exception as error:
            error.add_note(f"source {index:,} of decode_many, counted from 0")
            raise

    def encode_container(self, sources: Iterable[ImageSource], options: ContainerOptions) -> Exchange[EncodedMany]:
        """Encode images into one container, by one request."""
        query = query_of(options, ContainerOptions)
        prepared: list[Prepared] = yield Work(lambda: list(map(prepare, sources)))
        if not prepared:
            raise ValueError("a container holds one or more images; give some")
        body = yield Work(partial(batch_body, prepared))
        response = yield from self._send(self._request("sender", "/encode/batch", OCTETS, body, query))
        return responses.read_container(response, len(prepared))

    def decode_container(self, source: ContainerSource) -> Exchange[list[Image]]:
        """Decode all images of a container."""
        container = yield Work(partial(bitstream_of, source))
        # Images of any size are no array.
        accept = f"{NPY}, {JSON};q=0.5"
        response = yield from self._send(self._request("receiver", "/decode/batch", accept, Body(container, OCTETS)))
        return responses.read_images(response)

    def models(self) -> Exchange[tuple[ModelSummary, ...]]:
        """List the models of the sender."""
        return responses.read_models((yield from self._send(self._request("sender", "/models", JSON))))

    def ready(self) -> Exchange[bool]:
        """Ask both addresses whether they are ready."""
        for role in {address.url: role for role, address in self.addresses.items()}.values():
            try:
                response = yield self._request(role, "/readyz", JSON)
            except (ConnectionFailed, TimedOut):
                return False
            error = responses.refusal(response)
            if isinstance(error, NotReady):
                return False
            if error is not None:
                raise error
            responses.read_readiness(response)
        return True

    def _encode(self, body: Body, query: Mapping[str, str]) -> Exchange[Encoded]:
        response = yield from self._send(self._request("sender", "/encode", JSON, body, query))
        return responses.read_encoded(response)

    def _encode_batch(self, images: Sequence[Prepared], query: Mapping[str, str]) -> Exchange[list[Encoded]]:
        body = yield Work(partial(batch_body, images))
        response = yield from self._send(self._request("sender", "/encode/batch", JSON, body, query))
        return responses.read_batch(response)

    def _request(
        self,
        role: Role,
        path: str,
        accept: str,
        body: Body | None = None,
        query: Mapping[str, str] | None = None,
    ) -> httpx.Request:
        address = self.addresses[role]
        headers = {**address.headers, "Accept": accept, "X-Request-Id": secrets.token_hex(16), **self.trace_context()}
        if body is not None:
            headers["Content-Type"] = body.media_type
        connect, write, read, pool = self.timeouts
        return httpx.Request(
            "GET" if body is None else "POST",
            address.url + path,
            params=query or None,
            headers=headers,
            content=None if body is None else body.content,
            extensions={"timeout": {"connect": connect, "write": write, "read": read, "pool": pool}},
        )

    def _send(self, request: httpx.Request) -> Exchange[httpx.Response]:
        """Send a request until its response is no passing refusal; raise the error of the last response."""
        pause_s = FIRST_PAUSE_S
        for retry in range(self.retries + 1):
            asked_s = None
            try:
                response: httpx.Response = yield request
            except ConnectionFailed as broken:
                error: CodecError = broken
                passes = not is_lasting(broken)
            else:
                refused = responses.refusal(response)
                if refused is None:
                    return response
                error, passes, asked_s = refused, response.status_code in RETRIED, responses.wait_s(response)
            wait_s = (pause_s if asked_s is None else asked_s) * (1 + JITTER * random.random())  # noqa: S311
            if not passes or retry == self.retries or wait_s > self.max_pause_s:
                raise error
            self.on_pause()
            yield Pause(wait_s)
            pause_s *= 2
        raise AssertionError("the last retry returns or raises")


def may_batch(options: EncodeOptions) -> bool:
    """Whether a batch gives the same results as single requests with these options."""
    query = query_of(options)
    # Without a model, a single image that does not fit the default model goes by one that takes any size.
    return query.keys() <= _OPTIONS_OF_BATCHES and ("model" in query or query.get("fit", "strict") == "strict")


def _is_plain(encoded: Encoded) -> bool:
    is_of_vector = encoded.code is not None
    return is_of_vector and encoded.sent_as == "code" and encoded.ood is None and encoded.doubt is None
