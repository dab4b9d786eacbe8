"""The member's private keys, in one file, sealed with a passphrase if the owner wants one.

Never leaves the data folder and never logs. Three keys: *signing* (heads, statements, sessions),
*rotation* (may change the signing key), and *recovery* (the pre-rotated key, printed once at `init` and
not kept here at all: whoever steals the machine does not have it).
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from coopnode.errors import NodeError
from coopnode.folder import write_durably
from protocol import identity, keys, signing
from protocol.errors import Refused
from protocol.identity import Identity

# RFC 9106 section 4, second recommended option: for machines that are not rich in memory.
ARGON2_PASSES = 3
ARGON2_LANES = 4
ARGON2_KIB = 64 * 1024
RandomBytes = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Keys:
    """Seeds of the keys that the node holds, and the member's own identity statements."""

    signing_seed: bytes
    rotation_seed: bytes
    log: tuple[bytes, ...]

    @property
    def identity(self) -> Identity:
        """The identity as our own log says it."""
        return identity.fold([identity.read(one) for one in self.log])


class WrongPassphrase(NodeError):
    """The key file does not open with what was given."""


def create(random_bytes: RandomBytes) -> tuple[Keys, bytes]:
    """Make the keys of a new member; return them and the recovery seed, which is for paper only."""
    signing_seed, rotation_seed, recovery_seed = random_bytes(32), random_bytes(32), random_bytes(32)
    rotation = keys.public_key(rotation_seed)
    body = identity.body(
        seq=0,
        prev=None,
        rotation=[rotation],
        key=keys.public_key(signing_seed),
        epoch=0,
        next_hash=_hash(keys.public_key(recovery_seed)),
        by=rotation,
    )
    signed = signing.sign(identity.WHAT, signing.NO_COOP, body, rotation_seed)
    return Keys(signing_seed, rotation_seed, (signed.to_bytes(),)), recovery_seed


def rotated(current: Keys, epoch: int, random_bytes: RandomBytes, recovery_seed: bytes | None = None) -> Keys:
    """Return keys with a new signing key that holds from *epoch* on.

    Signed by the rotation key, or by the recovery key where that is handed in; then the rotation key is
    replaced too, since whoever made us use the recovery key may hold the old one.
    """
    last = current.identity.current
    new_signing = random_bytes(32)
    by_seed = current.rotation_seed if recovery_seed is None else recovery_seed
    rotation_seed = current.rotation_seed if recovery_seed is None else random_bytes(32)
    body = identity.body(
        seq=last.seq + 1,
        prev=last.statement_id,
        rotation=[keys.public_key(rotation_seed)],
        key=keys.public_key(new_signing),
        epoch=epoch,
        next_hash=last.next_hash if recovery_seed is None else None,
        by=keys.public_key(by_seed),
    )
    signed = signing.sign(identity.WHAT, signing.NO_COOP, body, by_seed).to_bytes()
    new = Keys(new_signing, rotation_seed, (*current.log, signed))
    if new.identity.current.key != keys.public_key(new_signing):
        raise NodeError("This recovery key does not belong to this member. Check the sheet of paper.")
    return new


def save(path: Path, held: Keys, passphrase: str | None, random_bytes: RandomBytes) -> None:
    """Write the key file, sealed where there is a passphrase."""
    secret = json.dumps(
        {
            "signing": _b64(held.signing_seed),
            "rotation": _b64(held.rotation_seed),
            "log": [_b64(one) for one in held.log],
        }
    ).encode()
    if passphrase is None:
        content: dict[str, Any] = {"version": 1, "sealed": False, "keys": _b64(secret)}
    else:
        salt, nonce = random_bytes(16), random_bytes(12)
        sealed = ChaCha20Poly1305(_stretch(passphrase, salt)).encrypt(nonce, secret, b"coopnode keys v1")
        content = {
            "version": 1,
            "sealed": True,
            "kdf": "argon2id",
            "passes": ARGON2_PASSES,
            "lanes": ARGON2_LANES,
            "memory_kib": ARGON2_KIB,
            "salt": _b64(salt),
            "nonce": _b64(nonce),
            "keys": _b64(sealed),
        }
    write_durably(path, json.dumps(content, indent=1).encode())


def is_sealed(path: Path) -> bool:
    """Whether the key file needs a passphrase."""
    return bool(_read(path).get("sealed"))


def load(path: Path, passphrase: str | None) -> Keys:
    """Read the key file. Raises WrongPassphrase, or NodeError when the file is damaged or newer."""
    content = _read(path)
    if content.get("version") != 1:
        raise NodeError(f"{path} was written by a newer version of coopnode. Install that version.")
    try:
        secret = _unb64(content["keys"])
        if content["sealed"]:
            if passphrase is None:
                raise WrongPassphrase(
                    "The keys of this node are sealed. Give the passphrase at the prompt or in COOPNODE_PASSPHRASE."
                )
            sealer = ChaCha20Poly1305(_stretch(passphrase, _unb64(content["salt"])))
            secret = sealer.decrypt(_unb64(content["nonce"]), secret, b"coopnode keys v1")
        value = json.loads(secret)
        held = Keys(_unb64(value["signing"]), _unb64(value["rotation"]), tuple(_unb64(one) for one in value["log"]))
        current = held.identity.current.key
        fits = len(held.signing_seed) == keys.SEED_BYTES and keys.public_key(held.signing_seed) == current
    except InvalidTag as error:
        raise WrongPassphrase("The passphrase is wrong. Nothing was changed; try again.") from error
    except (KeyError, ValueError, TypeError, Refused) as error:
        raise NodeError(f"{path} is damaged. Put your backup of it in its place.") from error
    if not fits:  # one wrong bit in a seed would make us sign what nobody believes
        raise NodeError(f"{path} is damaged. Put your backup of it in its place.")
    return held


def recovery_text(seed: bytes) -> str:
    """Write the recovery key for paper: groups of four that are easy to copy by hand."""
    text = base64.b32encode(seed + _hash(seed)[:3]).decode().rstrip("=")
    return "-".join(text[i : i + 4] for i in range(0, len(text), 4))


def recovery_seed(text: str) -> bytes:
    """Read a recovery key from paper. Raises NodeError when it was copied wrongly."""
    compact = "".join(text.split()).replace("-", "").upper()
    try:
        data = base64.b32decode(compact + "=" * (-len(compact) % 8))
    except ValueError as error:
        raise NodeError("The recovery key has a character that cannot be in it. Check the sheet of paper.") from error
    if len(data) != 35 or _hash(data[:32])[:3] != data[32:]:
        raise NodeError("The recovery key was not copied right: its check does not fit. Check the sheet of paper.")
    return data[:32]


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise NodeError(f"The key file {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise NodeError(f"{path} is damaged. Put your backup of it in its place.") from error
    if not isinstance(content, dict):
        raise NodeError(f"{path} is damaged. Put your backup of it in its place.")
    return content


def _stretch(passphrase: str, salt: bytes) -> bytes:
    return Argon2id(salt=salt, length=32, iterations=ARGON2_PASSES, lanes=ARGON2_LANES, memory_cost=ARGON2_KIB).derive(
        passphrase.encode()
    )


def _hash(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _unb64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
