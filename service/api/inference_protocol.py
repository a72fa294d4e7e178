"""`/v2`: the Open Inference Protocol, for the encoder and decoder graphs of vector models."""

from functools import partial

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from latentwire.errors import UnsupportedMediaType
from latentwire.inference_protocol.graphs import find_graph
from latentwire.inference_protocol.messages import BINARY_EXTENSION, Limits
from latentwire.inference_protocol.messages import infer as answer
from service.api.bodies.read_body import read_body, wait_for_disconnect
from service.api.bodies.send_content import send_content
from service.api.state import state_of
from service.http.headers import client_of, parse_content_headers
from service.http.media_types import JSON, OCTETS

JSON_LENGTH = b"inference-header-content-length"


async def get_server(request: Request) -> Response:
    """Return the server's name, its version, and the extensions of the protocol that it has."""
    version = state_of(request.scope).version
    return JSONResponse({"name": "latentwire", "version": version, "extensions": [BINARY_EXTENSION]})


async def get_liveness(_request: Request) -> Response:
    """Answer, and do nothing else."""
    return JSONResponse({"live": True})


async def get_readiness(request: Request) -> Response:
    """Answer as `/readyz`; raise `NotReady` where that does."""
    await state_of(request.scope).readiness.check()
    return JSONResponse({"ready": True})


async def get_model(request: Request) -> Response:
    """Return the metadata of one graph."""
    return JSONResponse(find_graph(state_of(request.scope).registry, request.path_params["name"]).metadata())


async def get_model_readiness(request: Request) -> Response:
    """Say that one graph can be used; raise `ModelNotReady` if it cannot."""
    graph = find_graph(state_of(request.scope).registry, request.path_params["name"])
    return JSONResponse({"name": graph.name, "ready": True})


async def infer(scope: Scope, receive: Receive, send: Send) -> None:
    """Run one graph on one batch."""
    state, headers = state_of(scope), parse_content_headers(scope)
    settings = state.settings
    graph = find_graph(state.registry, scope["path_params"]["name"])
    more_headers = dict(scope["headers"])
    if more_headers.get(b"content-encoding", b"identity") != b"identity":
        raise UnsupportedMediaType("the body is compressed; send it as it is, without Content-Encoding")
    limits = Limits(settings.max_batch_images, settings.max_body_bytes)
    with state.admission.reserve(client_of(scope)) as budget:
        body = await read_body(receive, headers, settings, budget, settings.max_body_bytes)
        run = partial(answer, graph, json_length=more_headers.get(JSON_LENGTH), limits=limits)
        disconnected = partial(wait_for_disconnect, receive)
        response = await state.admission.run(lambda bodies: [run(body) for body in bodies], body, disconnected)
    is_json = response.json_bytes is None
    more = () if is_json else [(JSON_LENGTH, str(response.json_bytes))]
    await send_content(send, response.content, JSON if is_json else OCTETS, graph.card.full_name, more)
