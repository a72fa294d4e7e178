"""`GET /models`, `GET /models/{name}`: a list of the loaded models, and the card of one."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from service.api.state import state_of


async def list_models(request: Request) -> Response:
    """Return a summary of each loaded model, and the names of the default models."""
    registry = state_of(request.scope).registry
    summaries = [card.summary() for card in registry.cards.values()]
    defaults = {"default": registry.default, "default_any_size": registry.default_any_size}
    return JSONResponse({**defaults, "models": summaries})


async def get_model(request: Request) -> Response:
    """Return one model's card."""
    return JSONResponse(state_of(request.scope).registry.card(request.path_params["name"]).model_dump(mode="json"))
