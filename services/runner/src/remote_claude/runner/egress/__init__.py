"""The way out of a sandbox to hosts on a list: an HTTP proxy outside it, one for each attempt."""

from remote_claude.runner.egress.authority import Authority
from remote_claude.runner.egress.http_proxy import Connected, EgressProxy
from remote_claude.runner.egress.placeholders import Placeholder
from remote_claude.runner.egress.policy import AnyHost, NetworkPolicy

__all__ = ["AnyHost", "Authority", "Connected", "EgressProxy", "NetworkPolicy", "Placeholder"]
