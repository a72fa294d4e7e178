"""A request, and how its response is checked."""

import json
import math
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlencode

import httpx

from latentwire.encoder import EncodedImage
from latentwire.errors import CodecError
from latentwire.model.any_size_card import AnySizeCard
from latentwire.model.card import ModelCard
from latentwire.problems import ALL_PROBLEMS, PROBLEM_MEDIA_TYPE, PROBLEMS
from latentwire.selection.assessment import GuardedImage, OodFinding

Half = Literal["sender", "receiver"]
Check = Callable[[httpx.Response], None]

OCTETS = "application/octet-stream"
JSON = "application/json"
NPY = "application/x-npy"
PNG = "image/png"

_PROBLEM_OF_CODE = {problem.code: problem for problem in ALL_PROBLEMS}


class WrongResponse(Exception):
    """A response is not what it must be; the message says what is different."""


class IncompleteResponse(WrongResponse):
    """A response ends early, or does not come at all."""


class ServerFault(WrongResponse):
    """The service reports a fault of its own."""


class NotReady(ServerFault):
    """No service is there to respond."""


class Interrupted(Exception):
    """A batch has no complete response, as when the process that works on it ends. Its client may send it again."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request to one half of the service, and the check of its response."""

    half: Half
    path: str
    check: Check
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = "POST"

    @property
    def streams(self) -> bool:
        """Whether it is a batch, which the edge passes on as it comes and cannot send again."""
        return self.path.partition("?")[0].endswith("/batch")


@contextmanager
def interruptible(exchange: Exchange) -> Iterator[None]:
    """Raise Interrupted where a batch has no complete response. Other requests have no such excuse."""
    try:
        yield
    except (IncompleteResponse, NotReady, httpx.TransportError, ConnectionError) as error:
        if exchange.streams:
            raise Interrupted(repr(error)) from error
        raise


def route(path: str, **parameters: object) -> str:
    """Return a path with its query; parameters that are None are left out."""
    given = {name: value for name, value in parameters.items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path


def gives(content: bytes, media_type: str, **headers: str) -> Check:
    """Expect this very content, and these headers, with `_` for `-`."""
    expected = {"content-type": media_type} | {name.replace("_", "-"): value for name, value in headers.items()}

    def check(response: httpx.Response) -> None:
        _expect_status(response, 200)
        for name, value in expected.items():
            if response.headers.get(name) != value:
                raise WrongResponse(f"{name} is {response.headers.get(name)!r}, not {value!r}")
        if response.content != content:
            raise WrongResponse(f"other bytes: {_shown(response.content)}, not {_shown(content)}")

    return check


def gives_json(expected: object) -> Check:
    """Expect JSON of this meaning; numbers must be equal in every digit."""

    def check(response: httpx.Response) -> None:
        _expect_status(response, 200)
        if response.headers.get("content-type") != JSON:
            raise WrongResponse(f"content-type is {response.headers.get('content-type')!r}, not JSON")
        if (found := response.json()) != expected:
            raise WrongResponse(f"other JSON: {_first_difference(found, expected)}")

    return check


def succeeds(response: httpx.Response) -> None:
    """Expect a 200 of any content."""
    _expect_status(response, 200)


def refuses(*codes: str) -> Check:
    """Expect a problem document with one of these codes, complete and as the table of problems has it."""

    def check(response: httpx.Response) -> None:
        found = check_problem(response)
        if found not in codes:
            raise WrongResponse(f"the problem is {found}, not {' or '.join(codes)}: {response.json()['detail']}")

    return check


def expected_of(work: Callable[[], Check]) -> Check:
    """Return the check that `work` makes by the codec, or, if the codec refuses, that of the same refusal."""
    try:
        return work()
    except CodecError as error:
        return refuses(PROBLEMS[type(error)].code)


def check_problem(response: httpx.Response) -> str:
    """Return the code of a problem document, which must be complete and as the table of problems has it."""
    shown = f"{response.status_code} {_shown(response.content)}"
    if response.status_code < 400:
        raise WrongResponse(f"accepted: {shown}")
    if response.headers.get("content-type") != PROBLEM_MEDIA_TYPE:
        raise WrongResponse(f"not a problem document: {shown}")
    document = response.json()
    problem = _PROBLEM_OF_CODE.get(document.get("code"))
    told = (response.status_code, document.get("status"))
    if problem is None or told != (problem.status, problem.status) or not document.get("detail"):
        raise WrongResponse(f"not a problem of the table: {shown}")
    if (problem.status == 429) != ("retry-after" in response.headers):
        raise WrongResponse(f"Retry-After goes with 429 and nothing else: {shown}")
    return problem.code


def fields_of(sent: GuardedImage) -> dict[str, Any]:
    """Return what the JSON of one image must say, but for its model and shape."""
    code = sent.encoded
    height, width, _ = sent.shape
    has_code = sent.any_size is None and all(math.isfinite(number) for number in code.y.tolist())
    fields = {
        "code": [float(str(number)) for number in code.y] if has_code else None,
        "bitstream": b64encode(code.bitstream).decode(),
        "payload_bytes": len(code.payload),
        "bitstream_bytes": len(code.bitstream),
        "bpp": 8 * len(code.bitstream) / (height * width),
        "mse": sent.mse,
        "psnr_db": None if sent.psnr_db == math.inf else sent.psnr_db,
        "max_error": sent.max_error,
        "ood": _finding(sent.ood),
        "doubt": _finding(sent.doubt),
        "sent_as": sent.sent_as or "code",
        "fitted": sent.fitting and sent.fitting.to_dict(),
    }
    return fields if sent.any_size is None else fields | {"quality": sent.quality}


def _finding(found: OodFinding | None) -> dict[str, Any] | None:
    if found is None:
        return None
    scores = {one.score: {"value": one.value, "limit": one.limit} for one in found.exceeded}
    return {"sentence": found.sentence, "scores": scores}


def model_fields(card: ModelCard | AnySizeCard, shape: Iterable[int]) -> dict[str, Any]:
    """Return what JSON says of a model, and of the shape of its images."""
    return {"model": card.name, "model_id": card.model_id, "shape": list(shape)}


def gives_json_code(sent: GuardedImage) -> Check:
    """Expect the JSON of one image."""
    return gives_json(model_fields(sent.card, sent.shape) | fields_of(sent))


def gives_code(card: ModelCard | AnySizeCard, sent: GuardedImage, bytes_of: Callable[[EncodedImage], bytes]) -> Check:
    """Expect an image's bitstream, and the headers that describe it."""
    headers = {"latentwire_model": card.full_name}
    if sent.psnr_db is not None:
        headers["latentwire_psnr_db"] = f"{sent.psnr_db:.2f}"
    if sent.max_error is not None:
        headers["latentwire_max_error"] = f"{sent.max_error:.4f}"
    if sent.ood is None:
        headers["latentwire_ood"] = "none"
    if sent.fitting:
        headers["latentwire_fitted"] = ", ".join(sent.fitting.steps)
    return gives(bytes_of(sent.encoded), OCTETS, **headers)


def check_no_fault(response: httpx.Response) -> None:
    """Refuse a 5xx, which is never a correct response."""
    if response.status_code == 503 and check_problem(response) == "not-ready":
        raise NotReady(f"status 503: {_shown(response.content)}")
    if response.status_code >= 500:
        raise ServerFault(f"status {response.status_code}: {_shown(response.content)}")


def json_bytes(content: object) -> bytes:
    """Return JSON as a body."""
    return json.dumps(content).encode()


def _expect_status(response: httpx.Response, status: int) -> None:
    if response.status_code != status:
        raise WrongResponse(f"status {response.status_code}, not {status}: {_shown(response.content)}")


def _shown(content: bytes) -> str:
    return f"{len(content):,} bytes {content[:160]!r}"


def _first_difference(found: object, expected: object) -> str:
    if isinstance(found, dict) and isinstance(expected, dict):
        for name in [*expected, *found]:
            if found.get(name) != expected.get(name):
                return f"{name}: {_first_difference(found.get(name), expected.get(name))}"
    if isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        for index, (one, other) in enumerate(zip(found, expected, strict=True)):
            if one != other:
                return f"[{index}]: {_first_difference(one, other)}"
    return f"{str(found)[:160]}, not {str(expected)[:160]}"
