"""Signs commits with an SSH key (openssh's PROTOCOL.sshsig), outside of every sandbox. `git verify-commit` checks it."""

from __future__ import annotations

import base64
import hashlib
import struct
import textwrap

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_private_key

MAGIC, VERSION, NAMESPACE, HASH = b"SSHSIG", 1, b"git", b"sha512"


def signature(key: str, content: bytes) -> str:
    """The armored signature of an object of Git. The same key and content give the same one. Raises `ValueError`."""
    private = load_ssh_private_key(key.encode(), None)
    if not isinstance(private, Ed25519PrivateKey):
        raise ValueError("the signing key is not of the kind ed25519")
    public = base64.b64decode(
        private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).split()[1]
    )
    rest = _string(NAMESPACE) + _string(b"") + _string(HASH)
    signed = private.sign(MAGIC + rest + _string(hashlib.sha512(content).digest()))
    blob = MAGIC + struct.pack(">I", VERSION) + _string(public) + rest
    blob += _string(_string(b"ssh-ed25519") + _string(signed))
    lines = textwrap.wrap(base64.b64encode(blob).decode(), 70)
    return "\n".join(("-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----"))


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data
