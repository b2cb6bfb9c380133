"""The address of the ledger's database: what is one, and that its password shows nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from omixa import config
from omixa.config import ConfigError, DatabaseAddress, Settings

PASSWORD = "ne-quid-nimis"


def options(database: str) -> config.Configuration:
    return config.load({"OMIXA_DATABASE": database}, file=None)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration file of the developer's is read."""
    monkeypatch.chdir(tmp_path)


def test_the_ledger_is_a_file_unless_told_otherwise() -> None:
    assert Settings().database.is_sqlite
    assert options("sqlite:").settings.database == Settings().database


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://db.example/omixa", "postgresql://db.example/omixa"),
        ("postgres://omixa@db.example:5433/omixa", "postgres://omixa@db.example:5433/omixa"),
        (f"postgresql://omixa:{PASSWORD}@db.example/omixa", "postgresql://omixa@db.example/omixa"),
        (f"postgresql://omixa:p%40{PASSWORD}@a:1,b:2/omixa?sslmode=require", "postgresql://omixa@a:1,b:2/omixa"),
        (f"postgresql://db.example/omixa?user=omixa&password={PASSWORD}", "postgresql://db.example/omixa"),
        ("postgresql:///omixa?host=/run/postgresql", "postgresql:///omixa"),
    ],
)
def test_an_address_is_shown_without_its_secrets(address: str, shown: str) -> None:
    found = options(address)
    database = found.settings.database
    assert database.reveal() == address
    assert not database.is_sqlite
    assert str(database) == shown
    (option,) = [option for option in found.options() if option.name == "database"]
    assert (option.value, option.source) == (shown, "environment (OMIXA_DATABASE)")
    assert PASSWORD not in f"{found!r} {database!r} {option!r}"


@pytest.mark.parametrize(
    "address",
    [
        "postgresql:",
        f"postgresql://omixa:{PASSWORD}@db.example",
        f"postgresql://omixa:{PASSWORD}/with/slashes@db.example/omixa",
        f"mysql://omixa:{PASSWORD}@db.example/omixa",
        f"postgresql://omixa:{PASSWORD} with spaces@db.example/omixa",
        "sqlite:///elsewhere.db",
    ],
)
def test_what_is_no_address_is_refused_without_being_repeated(address: str) -> None:
    with pytest.raises(ConfigError, match=r"expected sqlite: or an address such as postgresql://USER") as caught:
        options(address)
    assert PASSWORD not in str(caught.value)
    assert str(caught.value).startswith("environment (OMIXA_DATABASE)")


def test_addresses_compare_by_what_they_are() -> None:
    one = DatabaseAddress("postgresql://db.example/omixa")
    assert len({one, DatabaseAddress("postgresql://db.example/omixa"), DatabaseAddress("sqlite:")}) == 2
