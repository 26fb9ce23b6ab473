"""What the providers of the clouds share: the life of a sandbox as a vendor's API shows it, and calls over HTTPS."""

from remote_claude.runner.providers.clouds.provider import Cloud, CloudProvider, Launch, Seen
from remote_claude.runner.providers.clouds.rest import Rest

__all__ = ["Cloud", "CloudProvider", "Launch", "Rest", "Seen"]
