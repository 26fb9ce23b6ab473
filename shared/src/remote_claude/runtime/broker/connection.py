"""The connection to the broker: one per process, encrypted where the setting says so, and outliving its restarts."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import structlog
from nats.aio.client import Client

from remote_claude.concurrency.tasks import end, first_of
from remote_claude.eventsourcing.jetstream.nats_client import Wire, fast_wire, note_error
from remote_claude.runtime.settings import BrokerSettings

log = structlog.get_logger(__name__)


OF_CLIENT = ("CERTIFICATE_REQUIRED", "UNKNOWN_CA", "BAD_CERTIFICATE", "CERTIFICATE_EXPIRED")
"""The alerts of a broker that does not accept a client's certificate."""


class BrokerError(Exception):
    """The broker can't be used as the settings say; another try can't help."""

    code = "broker_error"


class BrokerUntrusted(BrokerError):
    """The server at the broker's address has no accepted certificate, or does not encrypt."""

    code = "broker_untrusted"


class BrokerRefused(BrokerError):
    """The broker does not know this process's credential."""

    code = "broker_refused"


class BrokerUnreachable(BrokerError):
    """No broker answers at the address within the time allowed."""

    code = "broker_unreachable"


async def connect_nats(settings: BrokerSettings, *, patience: float | None = None) -> Client:
    """A connection that outlives restarts of the broker, and waits for one that is not there yet.

    With `patience` it waits for so many seconds, in silence. Raises `BrokerUntrusted`, `BrokerRefused`,
    `BrokerUnreachable`.
    """
    refusal: asyncio.Future[BrokerError] = asyncio.get_running_loop().create_future()
    reason = "no answer"

    reported: set[str] = set()  # since the broker was last there: it is dialled ten times a second

    async def on_error(error: Exception) -> None:
        nonlocal reason
        note_error(client, error)
        reason = str(error) or repr(error)
        if (patience is None or connecting.done()) and (client.is_connected or repr(error) not in reported):
            reported.add(repr(error))
            log.warning("broker connection", error=repr(error))
        if (refused := _refused(settings, error)) is not None and not refusal.done():
            refusal.set_result(refused)

    async def on_reconnect() -> None:
        reported.clear()
        log.info("the broker is back", url=settings.nats_url)
        if in_the_clear():
            log.error("the broker does not encrypt any more: disconnecting", url=settings.nats_url)
            await client.close()

    async def on_disconnect() -> None:
        if (context := tls.get("tls")) is not None:
            try:
                _identify(settings, context)  # it may have been renewed
            except BrokerUntrusted as error:
                log.warning("the broker gets the certificate of before", error=str(error))

    client = Client()
    fast = None if settings.nats_plain else fast_wire(client)
    if fast is None:
        Wire(client)

    def in_the_clear() -> bool:
        """nats-py goes on in the clear when the broker does not offer to encrypt, whatever the URL says."""
        return _encrypted(settings) and fast is not None and not fast.encrypts(client)

    tls = _tls(settings, encrypted_first=fast is None)
    options: dict[str, Any] = {
        "nkeys_seed": str(settings.nats_credentials) if settings.nats_credentials else None,
        "max_reconnect_attempts": -1,
        "reconnect_time_wait": 0.1,
        "ping_interval": 5,
        "max_outstanding_pings": 2,
        "pending_size": 64 * 1024 * 1024,
        "error_cb": on_error,
        "reconnected_cb": on_reconnect,
        "disconnected_cb": on_disconnect,
        **tls,
    }
    connecting = asyncio.ensure_future(client.connect(settings.nats_url.split(","), **options))
    try:
        await first_of(connecting, refusal, timeout=patience)
        if refusal.done():
            raise refusal.result()
        if not connecting.done():
            raise BrokerUnreachable(
                f"the broker at {settings.nats_url} can't be reached, for {patience:g} s now: {reason}"
            )
        await connecting
        if reported:
            reported.clear()
            log.info("the broker is there", url=settings.nats_url)
    finally:
        if not connecting.done():
            await end(connecting)
            await client.close()  # it may have connected all the same
    if in_the_clear():
        await client.close()
        raise BrokerUntrusted(f"the broker at {settings.nats_url} does not encrypt: switch on its `tls`")
    return client


def _encrypted(settings: BrokerSettings) -> bool:
    """Whether TLS is asked for: of all the brokers of a cluster, or of none."""
    urls = settings.nats_url.split(",")
    encrypted = [url.startswith(("tls://", "wss://")) for url in urls]
    if any(encrypted) and not all(encrypted):
        raise BrokerUntrusted(
            f"some brokers of {settings.nats_url} are in the clear: write all as tls://host:port"
        )
    return all(encrypted)


def _tls(settings: BrokerSettings, *, encrypted_first: bool) -> dict[str, Any]:
    """Options of nats-py. `encrypted_first`: not a byte goes in the clear, which the broker has to expect
    (`handshake_first`)."""
    if not _encrypted(settings):
        for name in ("nats_ca", "nats_certificate"):
            if getattr(settings, name) is not None:
                raise BrokerUntrusted(
                    f"RCLAUDE_{name.upper()} is set, but {settings.nats_url} is in the clear: write it as tls://host:port"
                )
        return {}
    try:
        context = ssl.create_default_context(cafile=settings.nats_ca and str(settings.nats_ca))
    except OSError as error:  # ssl's own errors are among them
        raise BrokerUntrusted(
            f"RCLAUDE_NATS_CA names no file with certificates: {settings.nats_ca}: {error}"
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _identify(settings, context)
    return {"tls": context, "tls_handshake_first": encrypted_first}


def _identify(settings: BrokerSettings, context: ssl.SSLContext) -> None:
    """Present this process's own certificate, where it has one. Raises `BrokerUntrusted`."""
    certificate, key = settings.nats_certificate, settings.nats_key
    if certificate is None:
        return
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:  # ssl's own errors are among them
        raise BrokerUntrusted(
            f"RCLAUDE_NATS_CERTIFICATE and RCLAUDE_NATS_KEY name no certificate with its key: {certificate}, {key}: {error}"
        ) from error


def _refused(settings: BrokerSettings, error: Exception) -> BrokerError | None:
    if isinstance(error, ssl.SSLCertVerificationError):
        trusted = settings.nats_ca or (
            "this machine's authorities; for your own, RCLAUDE_NATS_CA names its file and the URL is tls://host:port"
        )
        return BrokerUntrusted(
            f"the certificate of the broker at {settings.nats_url} is not accepted: {error.verify_message} "
            f"(trusted: {trusted})"
        )
    if isinstance(error, ssl.SSLError) and any(alert in str(error).upper() for alert in OF_CLIENT):
        return BrokerUntrusted(
            f"the broker at {settings.nats_url} does not accept the certificate of this process ({error.reason}): "
            "set RCLAUDE_NATS_CERTIFICATE and RCLAUDE_NATS_KEY to one that its authority has signed"
        )
    if "authorization violation" in str(error).lower():
        given = settings.nats_credentials
        what = (
            f"does not know the credential in {given}" if given else "asks for a credential, and none is set"
        )
        return BrokerRefused(
            f"the broker at {settings.nats_url} {what}: "
            "set RCLAUDE_NATS_CREDENTIALS to the file with the seed of one of its users"
        )
    return None
