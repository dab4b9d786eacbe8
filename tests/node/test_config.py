"""Settings: each wrong one has its sentence, the environment overrides, and what is saved comes back."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coopnode import config
from coopnode.config import Config
from coopnode.errors import NodeError
from tests.node.scenes import QUICK


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Config.__slots__:
        monkeypatch.delenv(f"COOPNODE_{name.upper()}", raising=False)


def test_without_a_file_everything_has_its_default(tmp_path: Path) -> None:
    assert config.load(tmp_path / "config.toml") == Config()
    (tmp_path / "config.toml").write_text("")
    assert config.load(tmp_path / "config.toml") == Config()


@given(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=30),
    st.integers(0, 65_535),
    st.booleans(),
)
@QUICK
def test_what_is_saved_comes_back_whatever_the_name(
    tmp_path_factory: pytest.TempPathFactory, name: str, port: int, discovery: bool
) -> None:
    path = tmp_path_factory.mktemp("settings") / "config.toml"
    settings = Config(name=name, port=port, discovery=discovery, public_url=name)
    config.save(path, settings)
    assert config.load(path) == settings


@pytest.mark.parametrize("name", ['"', "\\", '\\"', "'''", "a\u2028b", "🥖 Bäckerei", "#x"])
def test_odd_names_come_back(tmp_path: Path, name: str) -> None:
    config.save(tmp_path / "config.toml", Config(name=name))
    assert config.load(tmp_path / "config.toml").name == name


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("nobody = 1", "'nobody' in {path} is not a setting. The settings are: name, host, port"),
        ("port = '8420'", "'port' in {path} must be a whole number, not '8420'."),
        ("port = true", "'port' in {path} must be a whole number, not True."),
        ("port = 84.0", "'port' in {path} must be a whole number, not 84.0."),
        ("port = 65536", "'port' in {path} must be from 0 to 65535, not 65536."),
        ("port = -1", "'port' in {path} must be from 0 to 65535, not -1."),
        ("discovery = 1", "'discovery' in {path} must be true or false, not 1."),
        ("name = 5", "'name' in {path} must be a text in quotes, not 5."),
        ("name = ", "The settings in {path} cannot be read:"),
        ("replica = 'some'", '\'replica\' in {path} must be "full", "scoped" or "light", not \'some\'.'),
        ("replica_members = 'anna'", "'replica_members' in {path} must be a list of texts in quotes"),
        ("replica_members = [1]", "'replica_members' in {path} must be a list of texts in quotes"),
        ("replica_members = ['anna']", "'replica_members' in {path} has no effect while 'replica' is \"full\""),
        (
            "replica = 'light'\nreplica_max_records = 5",
            "'replica_max_records' in {path} has no effect while 'replica' is \"light\"",
        ),
        ("replica = 'scoped'\nreplica_max_records = -1", "'replica_max_records' in {path} must be 0 or more, not -1."),
        (
            "replica = 'scoped'\nreplica_collections = ['Listing']",
            "'replica_collections' in {path} cannot be used: a collection is named by 1 to 32 of a-z",
        ),
        (
            "replica = 'scoped'\nreplica_regions = ['Bavaria']",
            "'replica_regions' in {path} cannot be used: 'Bavaria' is not a region: give two letters of a country",
        ),
        ("[name]", "'name' in {path} must be a text in quotes, not {{}}."),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(NodeError) as caught:
        config.load(path)
    assert str(caught.value).startswith(sentence.format(path=path))


def test_lists_come_back_and_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.toml"
    chosen = Config(
        replica="scoped",
        replica_members=('Anna\'s, "the" shop', "4fe1a2"),
        replica_regions=("DE", "52.5,13.4,30"),
        replica_collections=("listing",),
        replica_max_records=500,
    )
    config.save(path, chosen)
    assert config.load(path) == chosen
    monkeypatch.setenv("COOPNODE_REPLICA_MEMBERS", "Bert; 0a0b0c ;")
    monkeypatch.setenv("COOPNODE_REPLICA_REGIONS", "48.1,11.6,5;FR")
    loaded = config.load(path)
    assert loaded.replica_members == ("Bert", "0a0b0c")
    assert loaded.replica_regions == ("48.1,11.6,5", "FR")


def test_a_file_that_is_not_utf8_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(b'name = "\xff"')
    with pytest.raises(NodeError, match="cannot be read"):
        config.load(tmp_path / "config.toml")


def test_the_environment_overrides_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.toml"
    config.save(path, Config(name="of the file", port=1))
    for name, text in {"NAME": "of the world", "PORT": "8000", "DISCOVERY": "False", "HOST": ""}.items():
        monkeypatch.setenv(f"COOPNODE_{name}", text)
    assert config.load(path) == Config(name="of the world", port=8_000, discovery=False, host="")


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("PORT", "eighty", "COOPNODE_PORT must be a whole number, not 'eighty'."),
        ("PORT", "", "COOPNODE_PORT must be a whole number, not ''."),
        ("PORT", "٣", "COOPNODE_PORT must be a whole number, not '٣'."),
        ("DISCOVERY", "perhaps", "COOPNODE_DISCOVERY must be true or false, not 'perhaps'."),
    ],
)
def test_a_wrong_environment_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str, sentence: str
) -> None:
    monkeypatch.setenv(f"COOPNODE_{name}", text)
    with pytest.raises(NodeError) as caught:
        config.load(tmp_path / "config.toml")
    assert str(caught.value) == sentence
