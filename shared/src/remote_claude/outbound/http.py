"""HTTP to hosts that a user names: every request is checked, those of a redirect too."""

from __future__ import annotations

import httpx2

from remote_claude.outbound.addresses import AllowedHosts, resolve

PORTS = {"http": 80, "https": 443}


class CheckedTransport(httpx2.AsyncBaseTransport):
    """For `AsyncClient(transport=...)`. A request goes to the address that was checked, under the name of its host.

    Raises `AddressRefused`, and `httpx2.ConnectError` when the host has no address.
    """

    def __init__(self, allowed: AllowedHosts) -> None:
        self._allowed = allowed
        self._inner = httpx2.AsyncHTTPTransport(trust_env=False)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        host, port = request.url.host, request.url.port or PORTS[request.url.scheme]
        try:
            [address, *_] = await resolve(host, port, self._allowed)
        except OSError as error:
            raise httpx2.ConnectError(str(error), request=request) from error
        request.extensions = {**request.extensions, "sni_hostname": host}
        request.url = request.url.copy_with(host=address)
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()
