"""The key file: passphrases, damage, the recovery key on paper, and key changes."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coopnode import keystore
from coopnode.errors import NodeError
from coopnode.keystore import WrongPassphrase
from protocol import identity, keys
from tests.node.scenes import QUICK, chance

DAMAGED = "is damaged. Put your backup of it in its place."


@pytest.fixture(autouse=True)
def _quick_stretching(monkeypatch: pytest.MonkeyPatch) -> None:
    """Argon2 at full strength is slow on purpose; one test below measures that it is at full strength."""
    monkeypatch.setattr(keystore, "ARGON2_KIB", 64)
    monkeypatch.setattr(keystore, "ARGON2_PASSES", 1)


def made(name: str = "anna") -> tuple[keystore.Keys, bytes]:
    return keystore.create(chance(name))


def saved(path: Path, passphrase: str | None) -> keystore.Keys:
    held, _ = made()
    keystore.save(path, held, passphrase, chance("salt"))
    return held


@pytest.mark.parametrize("passphrase", [None, "", "correct horse", "пароль 🔑", "x" * 5_000])
def test_what_is_saved_can_be_loaded(tmp_path: Path, passphrase: str | None) -> None:
    path = tmp_path / "keys.json"
    held = saved(path, passphrase)
    assert keystore.load(path, passphrase) == held
    assert keystore.is_sealed(path) is (passphrase is not None)
    assert path.stat().st_mode & 0o777 == 0o600
    secret = base64.b64encode(held.signing_seed).decode()
    sealed = path.read_text()
    assert secret not in sealed
    assert secret in base64.b64decode(json.loads(sealed)["keys"]).decode("latin-1") or passphrase is not None


def test_a_sealed_file_is_stretched_at_full_strength(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    path = tmp_path / "keys.json"
    held = saved(path, "correct horse")
    content = json.loads(path.read_text())
    assert (content["kdf"], content["passes"], content["lanes"], content["memory_kib"]) == ("argon2id", 3, 4, 65_536)
    assert keystore.load(path, "correct horse") == held


def test_a_wrong_or_missing_passphrase_is_told_apart_from_damage(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    held = saved(path, "correct horse")
    with pytest.raises(WrongPassphrase, match=r"The passphrase is wrong\. Nothing was changed; try again\."):
        keystore.load(path, "correct house")
    with pytest.raises(WrongPassphrase, match="Give the passphrase at the prompt or in COOPNODE_PASSPHRASE"):
        keystore.load(path, None)
    assert keystore.load(path, "correct horse") == held


def test_a_passphrase_for_an_open_file_is_not_asked_for(tmp_path: Path) -> None:
    held = saved(tmp_path / "keys.json", None)
    assert keystore.load(tmp_path / "keys.json", "whatever") == held


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "5",
        '{"version": 1}',
        '{"version": 1, "sealed": false, "keys": 5}',
        '{"version": 1, "sealed": false, "keys": "%%"}',
        '{"version": 1, "sealed": false, "keys": "e30="}',
        '{"version": 1, "sealed": true, "keys": "e30=", "salt": "", "nonce": ""}',
        '{"version": 1, "sealed": false, "keys": "bnVsbA=="}',
        "\udcff",
    ],
)
def test_a_damaged_file_is_called_so(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(NodeError) as caught:
        keystore.load(path, "x")
    assert str(caught.value) == f"{path} {DAMAGED}"


def test_one_wrong_bit_in_a_seed_or_statement_is_damage_too(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    held = saved(path, None)
    wrong = bytes([held.signing_seed[0] ^ 1]) + held.signing_seed[1:]
    log = (bytes([held.log[0][0] ^ 1]) + held.log[0][1:],)
    for broken in (
        keystore.Keys(wrong, held.rotation_seed, held.log),
        keystore.Keys(b"short", held.rotation_seed, held.log),
        keystore.Keys(held.signing_seed, held.rotation_seed, log),
        keystore.Keys(held.signing_seed, held.rotation_seed, ()),
    ):
        keystore.save(path, broken, None, chance("salt"))
        with pytest.raises(NodeError, match="is damaged"):
            keystore.load(path, None)
    keystore.save(path, held, None, chance("salt"))
    assert keystore.load(path, None) == held


def test_a_newer_or_missing_file_is_told_in_words(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    with pytest.raises(NodeError, match="cannot be read: No such file or directory"):
        keystore.load(path, None)
    path.write_text('{"version": 2}')
    with pytest.raises(NodeError, match=r"was written by a newer version of coopnode\. Install that version\."):
        keystore.load(path, None)


# ── paper ─────────────────────────────────────────────────────────────────────────────────────────────


@given(st.binary(min_size=32, max_size=32))
@QUICK
def test_the_recovery_key_can_be_copied_by_hand(seed: bytes) -> None:
    text = keystore.recovery_text(seed)
    assert len(text.split("-")) == 14
    for typed in (text, text.lower(), text.replace("-", " "), text.replace("-", ""), f"  {text}\n"):
        assert keystore.recovery_seed(typed) == seed


@given(st.binary(min_size=32, max_size=32), st.integers(0, 55), st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"))
@QUICK
def test_a_wrong_letter_is_noticed(seed: bytes, at: int, letter: str) -> None:
    compact = keystore.recovery_text(seed).replace("-", "")
    typed = compact[:at] + letter + compact[at + 1 :]
    if typed == compact:
        assert keystore.recovery_seed(typed) == seed
        return
    with pytest.raises(NodeError, match="not copied right"):
        keystore.recovery_seed(typed)


@pytest.mark.parametrize("typed", ["", "ABCD", "0189-0189", "ß" * 56, "é" * 56, "A" * 55, "A" * 57, "=" * 56])
def test_what_cannot_be_a_recovery_key_is_told_in_words(typed: str) -> None:
    with pytest.raises(NodeError, match="Check the sheet of paper"):
        keystore.recovery_seed(typed)


# ── key changes ───────────────────────────────────────────────────────────────────────────────────────


def test_the_rotation_key_brings_a_new_signing_key_and_the_paper_stays_good() -> None:
    first, paper = made()
    second = keystore.rotated(first, 4, chance("second"))
    assert second.rotation_seed == first.rotation_seed
    assert second.signing_seed != first.signing_seed
    assert second.identity.key_for_epoch(3) == keys.public_key(first.signing_seed)
    assert second.identity.key_for_epoch(4) == keys.public_key(second.signing_seed)
    third = keystore.rotated(second, 5, chance("third"), paper)
    assert third.rotation_seed != first.rotation_seed
    assert third.identity.member_id == first.identity.member_id
    assert third.identity.current.key == keys.public_key(third.signing_seed)


def test_the_paper_wins_against_a_thief_with_the_rotation_key() -> None:
    mine, paper = made()
    stolen = keystore.rotated(mine, 1, chance("thief"))
    saved_by_paper = keystore.rotated(mine, 1, chance("owner"), paper)
    both = identity.fold([identity.read(one) for one in (*stolen.log, *saved_by_paper.log)])
    assert not both.frozen
    assert both.current.key == keys.public_key(saved_by_paper.signing_seed)


def test_somebody_elses_paper_changes_nothing() -> None:
    mine, _ = made()
    _, other = made("bert")
    with pytest.raises(NodeError, match="does not belong to this member"):
        keystore.rotated(mine, 1, chance("x"), other)
