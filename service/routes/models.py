"""`GET /models`, `GET /models/{name}`: the cards of this role's models leave."""

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from codec.model_card import ModelCard
from service.error_responses import document_problems
from service.errors import UnknownModel
from service.state import state_of

router = APIRouter(tags=["models"])


class ModelList(BaseModel):
    """All models that this process has loaded."""

    model_config = ConfigDict(frozen=True)

    default: str = Field(description="name of the model that is used by requests that name none")
    models: list[ModelCard]


@router.head("/models", include_in_schema=False)
@router.get("/models", summary="List the models")
async def list_models(request: Request) -> ModelList:
    """Return the card of each loaded model, and which of them is the default."""
    registry = state_of(request).registry
    return ModelList(default=registry.default, models=list(registry.cards.values()))


@router.head("/models/{name}", include_in_schema=False)
@router.get("/models/{name}", summary="Show one model", responses=document_problems([UnknownModel]))
async def show_model(name: str, request: Request) -> ModelCard:
    """Return one model's card: what it takes, what it gives, how good it is."""
    return state_of(request).registry.card(name)
