"""Connections to hosts that a user names: what they may reach is decided here, after resolution, at each connect.

Loopback, private, link-local, metadata and other addresses that are not of the public internet are refused. The operator
allows hosts and networks with `RCLAUDE_OUTBOUND_ALLOW`.
"""

from remote_claude.outbound.addresses import AddressRefused, AllowedHosts, connect, refuse_local, resolve
from remote_claude.outbound.http import CheckedTransport

__all__ = ["AddressRefused", "AllowedHosts", "CheckedTransport", "connect", "refuse_local", "resolve"]
