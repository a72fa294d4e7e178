"""`GET /livez`, `GET /readyz`: whether the process is alive, and whether its models give their golden answers."""

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict

from service.api.openapi import document_json
from service.api.state import state_of
from service.errors import NotReady
from service.http.problems import document_problems

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """The answer of a healthy process."""

    model_config = ConfigDict(frozen=True)

    status: str


@router.head("/livez", include_in_schema=False)
@router.get("/livez", summary="Is the process alive?", response_class=Response, responses=document_json(Health))
async def livez(_request: Request) -> Response:
    """Answer, and nothing else: an orchestrator restarts a process that does not."""
    return _to_json(Health(status="alive"))


@router.head("/readyz", include_in_schema=False)
@router.get(
    "/readyz",
    summary="Can the process serve?",
    response_class=Response,
    responses={**document_json(Health), **document_problems([NotReady])},
)
async def readyz(request: Request) -> Response:
    """Show each model its golden image, or its golden code, and compare the answer; or say how the start did so."""
    failures = await state_of(request).readiness.failures()
    if failures:
        raise NotReady("; ".join(failures))
    return _to_json(Health(status="ready"))


def _to_json(health: Health) -> Response:
    return Response(health.model_dump_json(), media_type="application/json")
