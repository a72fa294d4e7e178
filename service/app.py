"""Settings -> the ASGI application of one role.

Knows which routes a role has and what they share. What a route does is known in `service.api`.
"""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of

from fastapi import APIRouter, FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api import decode, decode_batch, docs, encode, encode_batch, health, metrics, models
from service.api.decode_body import CodeJson
from service.api.openapi import describe
from service.api.state import State
from service.errors import WrongRole
from service.http.problems import add_error_responses
from service.inference.readiness import Readiness
from service.inference.registry import Registry, open_registry
from service.middleware.api_keys import open_keys
from service.middleware.auth import AuthMiddleware, open_paths
from service.middleware.fast_routes import Direct
from service.middleware.instrumentation import InstrumentationMiddleware
from service.observability.metrics import Metrics
from service.observability.tracing import Tracer
from service.scheduling.admission import Admission
from service.settings import Settings

ALL_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


class Application(FastAPI):
    """FastAPI's application behind layers of ours, which see a request before FastAPI does anything for it."""

    layers: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as ASGI has it."""
        if scope["type"] == "http":
            scope["app"] = self
            await self.layers(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as FastAPI does, without the layers."""
        await super().__call__(scope, receive, send)


def create_app(
    settings: Settings, registry: Registry | None = None, stopping: threading.Event | None = None
) -> Application:
    """Build the application of `settings.role`.

    Args:
        settings: of this process.
        registry: the role's models, if they have been opened already. Otherwise they are opened when the application
            starts, which then raises what `open_registry` raises.
        stopping: set when the process has been told to stop, and so is not ready any more.

    Raises:
        StartupRefused: the keys cannot be read, or metrics or traces cannot go where the environment says.
    """
    keys = open_keys(settings)
    version = installed_version()
    counted = Metrics(version, settings.role)
    tracer = Tracer.open(version, settings.role)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        opened = registry or open_registry(settings)
        admission = Admission(
            settings.max_concurrency,
            settings.max_queue_size,
            settings.max_concurrent_batches,
            settings.max_buffered_body_bytes,
            settings.queue_timeout_s,
            counted,
        )
        counted.name_models(opened.cards.values(), opened.default)
        app.state.shared = State(settings, opened, admission, Readiness(opened, stopping), counted)
        try:
            yield
        finally:
            admission.close()
            counted.close()
            if tracer is not None:
                tracer.close()

    app = Application(
        title="Latentwire",
        version=version,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    # The files of Swagger UI, which FastAPI's own page would load from a public network.
    app.mount(docs.STATIC_PATH, StaticFiles(packages=[("fastapi_offline", "static")]))
    app.state.metrics = counted
    describe(app, settings, [health.Health, models.ModelList], [CodeJson] if settings.decodes else [])
    add_error_responses(app)
    app.include_router(encode.router if settings.encodes else _other_half("/encode", "sender", "receiver"))
    app.include_router(decode.router if settings.decodes else _other_half("/decode", "receiver", "sender"))
    app.include_router(encode_batch.router if settings.encodes else _other_half("/encode/batch", "sender", "receiver"))
    app.include_router(decode_batch.router if settings.decodes else _other_half("/decode/batch", "receiver", "sender"))
    app.include_router(models.router)
    app.include_router(health.router)
    app.include_router(metrics.router)
    app.include_router(docs.router)
    # FastAPI also takes milliseconds for the first request of each route, for which the start is not to wait.
    quick = [(settings.encodes, encode.router), (settings.decodes, decode.router), (True, health.router)]
    layers: ASGIApp = Direct(app.answer, [route for has, router in quick if has for route in router.routes])
    if keys is not None:
        layers = AuthMiddleware(layers, keys, open_paths(settings))
    log_requests = settings.access_log and settings.log_format == "json"
    app.layers = InstrumentationMiddleware(layers, counted, tracer, log_requests=log_requests)
    return app


def installed_version() -> str:
    """Return the version of this package, or "unknown" when it runs from a folder in which it was not installed."""
    try:
        return version_of("latentwire")
    except PackageNotFoundError:
        return "unknown"


def _other_half(path: str, role: str, other_role: str) -> APIRouter:
    router = APIRouter()

    @router.api_route(path, methods=ALL_METHODS, include_in_schema=False)
    async def refuse() -> None:
        raise WrongRole(f"this process is a {other_role}; {path} is answered by a {role}")

    return router
