"""Every error that the service itself raises on purpose; those of images, codes and models are the codec's.

A message is a sentence for the person who sent the request. Which status and code each one gets is the business of
`service.http.problems`.

    StartupRefused            the process cannot start with these settings and models
    ServiceError
    ├── BatchTooLarge         more images in one batch than the limit
    ├── BodyStalled           no more of the body came for too long
    ├── BodyTooLarge          more bytes than the limit
    ├── ClientGone            the client went away before its answer was ready
    ├── Forbidden             the key is the other half's
    ├── InvalidArray          not an npy file of the wanted numbers, or a damaged one
    ├── InvalidJson           not JSON, or too much of it
    ├── InvalidMultipart      not a form with exactly one file
    ├── InvalidParameter      a query parameter that does not exist, or a value it does not take
    ├── NotAcceptable         the Accept header allows none of the types that can be sent
    ├── NotReady              the model does not give its golden answer on this machine
    ├── Overloaded            as many requests are running and waiting as are allowed
    ├── Unauthenticated       no key, or one that is not valid
    ├── UnknownModel          no model of this name is loaded
    ├── UnsupportedMediaType  the Content-Type header names a type that the route does not take
    └── WrongRole             the route belongs to the half that this process does not have
"""


class StartupRefused(Exception):
    """The process cannot start with these settings and models; the message is one sentence."""


class ServiceError(Exception):
    """Base of all errors that answer a request."""


class BatchTooLarge(ServiceError):
    """The batch has more images than the limit."""


class BodyStalled(ServiceError):
    """No more of the body came for longer than the limit."""


class BodyTooLarge(ServiceError):
    """The body has more bytes than the limit."""


class ClientGone(ServiceError):
    """The client went away before its answer was ready. Nobody reads the answer."""


class Forbidden(ServiceError):
    """The key does not open this route: a sender's on a receiver's, or the other way round."""


class InvalidArray(ServiceError):
    """The body is not an npy file of the wanted numbers and dimensions, or is cut short."""


class InvalidJson(ServiceError):
    """The body is not a JSON object, or has more structure than any request needs."""


class InvalidMultipart(ServiceError):
    """The body is not a form with exactly one file."""


class InvalidParameter(ServiceError):
    """A query parameter does not exist, or does not take this value."""


class NotAcceptable(ServiceError):
    """The Accept header allows none of the types that the route can send."""


class NotReady(ServiceError):
    """The model does not give its golden answer on this machine, and so must not serve."""


class Overloaded(ServiceError):
    """As many requests are running and waiting as are allowed."""


class Unauthenticated(ServiceError):
    """The route takes a key, and none that is valid was sent."""


class UnknownModel(ServiceError):
    """No model of this name is loaded."""


class UnsupportedMediaType(ServiceError):
    """The Content-Type header names a type that the route does not take."""


class WrongRole(ServiceError):
    """The route belongs to the half that this process does not have."""
