"""`GET /models`, `GET /models/{name}`: the cards of the loaded models."""

from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import Response

from latentwire.model.card import ModelCard
from service.api.state import state_of
from service.http.media_types import JSON


class ModelList(BaseModel):
    """All models that this process has loaded."""

    model_config = ConfigDict(frozen=True)

    default: str
    models: list[ModelCard]


async def list_models(request: Request) -> Response:
    """Return the card of each loaded model, and the name of the default model."""
    registry = state_of(request).registry
    listed = ModelList(default=registry.default, models=list(registry.cards.values()))
    return Response(listed.model_dump_json(), media_type=JSON)


async def get_model(request: Request) -> Response:
    """Return one model's card."""
    return Response(state_of(request).registry.card(request.path_params["name"]).model_dump_json(), media_type=JSON)
