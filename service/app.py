"""Settings -> the ASGI application of one role: its routes, what they share, and the middleware around them."""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from latentwire import __version__
from latentwire.errors import WrongRole
from latentwire.registry import Registry
from service.api import decode, decode_batch, encode, encode_batch, health, inference_protocol, models
from service.api.pages import compare, docs
from service.api.state import State
from service.http.problems import ProblemMiddleware
from service.inference.readiness import Readiness
from service.inference.registry import open_registry
from service.middleware.api_keys import open_keys
from service.middleware.auth import AuthMiddleware, open_paths
from service.middleware.cross_origin import share_with
from service.middleware.instrumentation import InstrumentationMiddleware
from service.observability.metrics import Metrics
from service.observability.tracing import Tracer
from service.scheduling.admission import Admission
from service.settings import Role, Settings

ALL_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


class NamedRoute(Route):
    """A route that puts itself into the scope, where instrumentation finds its path."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as ASGI has it."""
        scope["route"] = self
        await super().handle(scope, receive, send)


def create_app(
    settings: Settings, registry: Registry | None = None, stopping: threading.Event | None = None
) -> Starlette:
    """Build the application of `settings.role`.

    It opens the models when it starts, and then raises what `open_registry` raises, unless `registry` has them already.
    `stopping` is set when the process has been told to stop, and so is not ready any more.

    Raises:
        StartupRefused: the keys cannot be read, or metrics or traces cannot go where the environment says.
    """
    keys = open_keys(settings)
    metrics = Metrics(__version__, settings.role)
    tracer = Tracer.open(__version__, settings.role)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        opened = registry or open_registry(settings)
        admission = Admission(settings, metrics)
        metrics.set_models(opened.cards.values(), opened.default)
        metrics.show_ready_models(opened.cards, opened.failures)
        readiness = Readiness(opened, metrics, strict=settings.strict_models, stopping=stopping)
        app.state.shared = State(settings, opened, admission, readiness, metrics, __version__)
        try:
            yield
        finally:
            admission.close()
            metrics.close()
            if tracer is not None:
                tracer.close()

    app = Starlette(routes=_routes(settings), lifespan=lifespan)
    app.router.redirect_slashes = False
    served: ASGIApp = ProblemMiddleware(app.router)
    if keys is not None:
        served = AuthMiddleware(served, keys, open_paths(settings))
    if settings.cors_origins:
        served = share_with(settings.cors_origins, served)
    log_requests = settings.access_log and settings.log_format == "json"
    # In place of Starlette's own middleware: ours also sees the responses to unexpected errors.
    app.middleware_stack = InstrumentationMiddleware(served, metrics, tracer, log_requests=log_requests)
    app.state.metrics = metrics
    return app


def _routes(settings: Settings) -> list[BaseRoute]:
    routes: list[BaseRoute] = [
        _codec_route("/encode", encode.encode, settings, "sender"),
        _codec_route("/decode", decode.decode, settings, "receiver"),
        _codec_route("/encode/batch", encode_batch.encode_batch, settings, "sender"),
        _codec_route("/decode/batch", decode_batch.decode_batch, settings, "receiver"),
        NamedRoute("/livez", health.get_liveness),
        NamedRoute("/readyz", health.get_readiness),
        NamedRoute("/metrics", health.get_metrics),
        NamedRoute("/models", models.list_models),
        NamedRoute("/models/{name}", models.get_model),
        NamedRoute("/v2", inference_protocol.get_server),
        NamedRoute("/v2/health/live", inference_protocol.get_liveness),
        NamedRoute("/v2/health/ready", inference_protocol.get_readiness),
        NamedRoute("/v2/models/{name}", inference_protocol.get_model),
        NamedRoute("/v2/models/{name}/ready", inference_protocol.get_model_readiness),
        _asgi_route("/v2/models/{name}/infer", inference_protocol.infer),
        NamedRoute("/", docs.show_home if settings.page else docs.redirect_to_docs),
        NamedRoute("/docs", docs.show_docs),
        NamedRoute("/openapi.json", docs.show_openapi),
        NamedRoute(f"/{docs.STATIC_PATH}/{{name}}", docs.show_file),
    ]
    if settings.page:
        routes += [_codec_route("/compare", compare.compare, settings, "sender")]
        routes += [NamedRoute("/page/{name}", docs.show_file)]
    return routes


def _asgi_route(path: str, endpoint: ASGIApp) -> Route:
    route = NamedRoute(path, endpoint, methods=["POST"])
    # Starlette takes each function for one from a request to a response, and wraps it.
    route.app = endpoint
    return route


def _codec_route(path: str, endpoint: ASGIApp, settings: Settings, role: Role) -> Route:
    if settings.role in ("both", role):
        return _asgi_route(path, endpoint)

    async def refuse(_request: Request) -> Response:
        raise WrongRole(f"this process is a {settings.role}; {path} is answered by a {role}")

    return NamedRoute(path, refuse, methods=ALL_METHODS)
