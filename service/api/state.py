"""What the routes of one running application share."""

from typing import NamedTuple, cast

from starlette.types import Scope

from latentwire.registry import Registry
from service.inference.readiness import Readiness
from service.observability.metrics import Metrics
from service.scheduling.admission import Admission
from service.settings import Settings


class State(NamedTuple):
    """Made when the application starts, and not changed after that."""

    settings: Settings
    registry: Registry
    admission: Admission
    readiness: Readiness
    metrics: Metrics
    version: str


def state_of(scope: Scope) -> State:
    """Return the state of the application that got this request."""
    return cast(State, scope["app"].state.shared)
