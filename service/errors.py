"""Every error that the service raises on purpose. Errors about images, codes and models are the library's.

Each message is a sentence for the person who sent the request. `service.http.problems` maps each class to a status and
a problem code.
"""


class StartupRefused(Exception):
    """The process cannot start with these settings and models; the message is one sentence."""


class ServiceError(Exception):
    """Base of all errors that become a response."""


class BatchTooLarge(ServiceError):
    """The batch has more images than the limit."""


class BodyStalled(ServiceError):
    """The body, or its next bytes, did not come in time."""


class BodyTooLarge(ServiceError):
    """The body has more bytes than the limit."""


class ClientGone(ServiceError):
    """The client closed the connection before its response was ready, and does not read it."""


class Forbidden(ServiceError):
    """The key opens the other role's routes only: a sender's key on a receiver's route, or the reverse."""


class InvalidMultipart(ServiceError):
    """The body is not a form with exactly one file."""


class InvalidParameter(ServiceError):
    """A query parameter is unknown, or its value is invalid."""


class NotAcceptable(ServiceError):
    """The Accept header allows none of the types that the route can send."""


class NotReady(ServiceError):
    """The process must not get requests: its default model cannot be used, or it stops."""


class Overloaded(ServiceError):
    """As many requests run and wait as allowed."""


class Unauthenticated(ServiceError):
    """The route needs a key, and the request has no valid one."""


class UnsupportedMediaType(ServiceError):
    """The Content-Type header names a type that the route does not take."""


class WrongRole(ServiceError):
    """The route belongs to the role that this process does not have."""
