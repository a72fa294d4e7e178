"""`GET /metrics`: what this process has counted, for Prometheus."""

import asyncio

from fastapi import APIRouter, Request, Response

from service.api.state import state_of

router = APIRouter(tags=["health"])


@router.head("/metrics", include_in_schema=False)
@router.get(
    "/metrics",
    summary="Show the metrics",
    response_class=Response,
    responses={
        200: {
            "description": "All metrics, in Prometheus' text format, or as OpenMetrics if `Accept` prefers it.",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        }
    },
)
async def show_metrics(request: Request) -> Response:
    """Answer also when the queue is full."""
    accept = ",".join(request.headers.getlist("accept"))
    metrics = state_of(request).metrics
    metrics.flush()
    content, media_type = await asyncio.to_thread(metrics.text, accept)
    return Response(content, headers={"Content-Type": media_type, "Vary": "Accept"})
