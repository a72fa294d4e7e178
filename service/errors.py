"""What keeps the service from starting. Errors that become a response are in `latentwire.errors`."""


class StartupRefused(Exception):
    """The process cannot start with these settings and models; the message is one sentence."""
