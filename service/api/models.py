"""`GET /models`, `GET /models/{name}`: the cards of the loaded models."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from service.api.state import state_of


async def list_models(request: Request) -> Response:
    """Return the card of each loaded model, and the name of the default model."""
    registry = state_of(request.scope).registry
    cards = [card.model_dump(mode="json") for card in registry.cards.values()]
    return JSONResponse({"default": registry.default, "models": cards})


async def get_model(request: Request) -> Response:
    """Return one model's card."""
    return JSONResponse(state_of(request.scope).registry.card(request.path_params["name"]).model_dump(mode="json"))
