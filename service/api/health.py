"""`GET /livez`, `GET /readyz`, `GET /metrics`: probes for an orchestrator, and numbers for Prometheus."""

import asyncio

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from service.api.state import state_of


async def get_liveness(_request: Request) -> Response:
    """Answer, and do nothing else: an orchestrator restarts a process that does not answer."""
    return JSONResponse({"status": "alive"})


async def get_readiness(request: Request) -> Response:
    """Run the golden check of each model, and name the models that cannot be used.

    Raises:
        NotReady: the default model is one of them, or the process has been told to stop.
    """
    return JSONResponse({"status": "ready", "unavailable_models": await state_of(request.scope).readiness.check()})


async def get_metrics(request: Request) -> Response:
    """Return all metrics, also when the queue is full."""
    accept = ",".join(request.headers.getlist("accept"))
    metrics = state_of(request.scope).metrics
    content, media_type = await asyncio.to_thread(metrics.text, accept)
    return Response(content, headers={"Content-Type": media_type, "Vary": "Accept"})
