"""Credentials at rest: AES-256-GCM under a data key of their own, which is wrapped by the master key.

Each credential has a random data key, so that a new master key means to wrap those keys again and nothing else. Both layers
name what the credential is for (`binding`) as associated data: a row that is copied to another name, or whose address is changed
behind the gateway's back, does not open any more. docs/decisions/0009-credentials-in-envelopes.md says why.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field, replace

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from omixa.domain.access import Secret

KEY_BYTES = 32
NONCE_BYTES = 12
# Digits of a key's id and of a credential's fingerprint: enough to tell a few apart.
_ID_DIGITS = 16
FINGERPRINT_DIGITS = 8


class NotOpened(Exception):
    """A credential does not open: another master key sealed it, or the row is not as it was sealed. The message says which."""


@dataclass(frozen=True, slots=True)
class MasterKey:
    """The key that wraps the data keys, and the id by which rows say who wrapped theirs."""

    value: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.value) != KEY_BYTES:
            raise ValueError(f"a master key has {KEY_BYTES} bytes")

    @property
    def id(self) -> str:
        """Return the key's name: digits of a hash that begins with a word of its own, so that they tell nothing of the key."""
        return hashlib.sha256(b"omixa credentials key" + self.value).hexdigest()[:_ID_DIGITS]


def generate_master_key() -> MasterKey:
    """Return a new key."""
    return MasterKey(secrets.token_bytes(KEY_BYTES))


@dataclass(frozen=True, slots=True)
class Sealed:
    """A credential as it is stored. Each of the two texts is a nonce of 12 bytes, the ciphertext and its tag of 16."""

    key_id: str
    wrapped_key: bytes
    ciphertext: bytes


def binding(name: str, provider: str, auth: str, scope: str, origin: str) -> bytes:
    """Return what a credential is sealed for: whose it is and where it may be sent. JSON, so that no two of them look alike."""
    return msgspec.json.encode(["omixa provider account", 1, name, provider, auth, scope, origin])


def seal(master: MasterKey, credential: Secret, bound_to: bytes) -> Sealed:
    """Encrypt a credential."""
    data_key = secrets.token_bytes(KEY_BYTES)
    return Sealed(
        master.id,
        _encrypt(master.value, data_key, bound_to),
        _encrypt(data_key, credential.reveal().encode(), bound_to),
    )


def unseal(master: MasterKey, sealed: Sealed, bound_to: bytes) -> Secret:
    """Return the credential. Raises NotOpened."""
    data_key = _data_key(master, sealed, bound_to)
    return Secret(_decrypt(data_key, sealed.ciphertext, bound_to).decode())


def rewrap(old: MasterKey, new: MasterKey, sealed: Sealed, bound_to: bytes) -> Sealed:
    """Return the same credential under another master key; the credential itself stays closed. Raises NotOpened."""
    data_key = _data_key(old, sealed, bound_to)
    return replace(sealed, key_id=new.id, wrapped_key=_encrypt(new.value, data_key, bound_to))


def fingerprint(credential: Secret) -> str:
    """Return by what people tell which key is stored: the first digits of its SHA-256, as sha256sum prints them."""
    return hashlib.sha256(credential.reveal().encode()).hexdigest()[:FINGERPRINT_DIGITS]


def _data_key(master: MasterKey, sealed: Sealed, bound_to: bytes) -> bytes:
    if sealed.key_id != master.id:
        raise NotOpened(f"it was sealed with the key {sealed.key_id}, and the configured one is {master.id}")
    return _decrypt(master.value, sealed.wrapped_key, bound_to)


def _encrypt(key: bytes, plain: bytes, bound_to: bytes) -> bytes:
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plain, bound_to)


def _decrypt(key: bytes, sealed: bytes, bound_to: bytes) -> bytes:
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound_to)
    except (InvalidTag, ValueError) as error:
        raise NotOpened(
            "its row was changed after it was sealed: the name, the provider, the kind of credential, where the endpoint is,"
            " or the encrypted text"
        ) from error
