"""`GET /models`, `GET /models/{name}`: the cards of this role's models leave."""

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from latentwire.model.card import ModelCard
from service.api.openapi import document_json
from service.api.state import state_of
from service.errors import UnknownModel
from service.http.problems import document_problems

router = APIRouter(tags=["models"])


class ModelList(BaseModel):
    """All models that this process has loaded."""

    model_config = ConfigDict(frozen=True)

    default: str = Field(description="name of the model that is used by requests that name none")
    models: list[ModelCard]


@router.head("/models", include_in_schema=False)
@router.get("/models", summary="List the models", response_class=Response, responses=document_json(ModelList))
async def list_models(request: Request) -> Response:
    """Return the card of each loaded model, and which of them is the default."""
    registry = state_of(request).registry
    return _to_json(ModelList(default=registry.default, models=list(registry.cards.values())))


@router.head("/models/{name}", include_in_schema=False)
@router.get(
    "/models/{name}",
    summary="Show one model",
    response_class=Response,
    responses={**document_json(ModelCard), **document_problems([UnknownModel])},
    openapi_extra={
        "parameters": [{"name": "name", "in": "path", "required": True, "schema": {"type": "string", "title": "Name"}}]
    },
)
async def show_model(request: Request) -> Response:
    """Return one model's card: what it takes, what it gives, how good it is."""
    return _to_json(state_of(request).registry.card(request.path_params["name"]))


def _to_json(answer: BaseModel) -> Response:
    return Response(answer.model_dump_json(), media_type="application/json")
