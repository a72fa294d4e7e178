"""Hands requests of the routes that must be quick to their functions, past all that FastAPI does for a route.

It takes as long as the rest of a small request, and these functions ask for none of it: they read the request
themselves, and return a response. FastAPI knows the same routes, documents them, and answers other methods.
"""

from collections.abc import Iterable

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from service.http.problems import PROBLEMS, answer_known, answer_unexpected


class Direct:
    """ASGI middleware that answers requests of `routes`, and passes on all others to `app`."""

    def __init__(self, app: ASGIApp, routes: Iterable[BaseRoute]) -> None:
        """Take the function of each route, which takes a request and returns a response."""
        self._app = app
        self._routes = {
            (method, route.path): route
            for route in routes
            if isinstance(route, APIRoute)
            for method in route.methods or ()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as ASGI has it."""
        route = self._routes.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if route is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = route
        request = Request(scope, receive)
        try:
            response = await route.endpoint(request)
        except Exception as error:
            if type(error) not in PROBLEMS:
                await (await answer_unexpected(request, error))(scope, receive, send)
                raise
            response = await answer_known(request, error)
        await response(scope, receive, send)
