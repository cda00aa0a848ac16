"""Records as rows for PostgreSQL: what is refused before it is held back, and what a spec checks.

What the server makes of the rows is tested in tests/contract/test_postgres.py.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import datetime, time, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

import zstream
from zstream.cli.addresses import bind
from zstream.connectors.registry import open_writer
from zstream.errors import ConnectorError, UsageError
from zstream.topology.rows import column_names, cut_row, row_encoder, shown_values


@dataclass
class Balance:
    account: str
    cents: Any = 0


class Pair(NamedTuple):
    cents: int
    account: str


class Currency(Enum):
    EURO = "EUR"


class Rank(IntEnum):
    FIRST = 1


encode = row_encoder(("account",))


def row(record: object) -> dict[str, str]:
    names, values = cut_row(encode(record))
    return dict(zip(column_names(names), shown_values(values), strict=True))


def test_fields_are_columns_and_the_key_comes_first() -> None:
    """Whatever kind of record it is."""
    assert list(row(Pair(1, "a")).items()) == [("account", "a"), ("cents", "1")]
    assert encode(Pair(1, "a")) == encode(Balance("a", 1)) == encode({"cents": 1, "account": "a"})


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_a_text_is_one_cell_in_one_line(text: str) -> None:
    """Nothing in it ends the cell, the line or the input, and nothing is taken for NULL."""
    _, values = cut_row(encode({"account": text, "cents": text}))
    first, second = values.split(b"\t")
    assert first == second
    assert b"\n" not in values
    assert first not in (b"\\N", b"\\.")
    plain = first.decode().replace("\\\\", "\0")
    for escaped, meant in (("\\n", "\n"), ("\\r", "\r"), ("\\t", "\t")):
        plain = plain.replace(escaped, meant)
    assert plain.replace("\0", "\\") == text


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (None, "\\N"),
        ("\\N", "\\\\N"),
        (True, "t"),
        (Currency.EURO, "EUR"),
        (Rank.FIRST, "1"),
        (Balance("b", 1), '{"account":"b","cents":1}'),
        (Pair(1, "b"), '{"cents":1,"account":"b"}'),
        ((1, None, [2, "x"]), '{"1",NULL,{"2","x"}}'),
        ({"back\\u0000slash": 1}, '{"back\\\\\\\\u0000slash":1}'),
        (datetime(2026, 1, 1), "2026-01-01T00:00:00"),
    ],
)
def test_values_as_the_server_reads_them(value: object, cell: str) -> None:
    """Those where there was something to decide."""
    assert row({"account": "a", "cents": value})["cents"] == cell


@pytest.mark.parametrize(
    ("record", "says"),
    [
        (7, "a int is no row; a row is a dict, a dataclass or a NamedTuple"),
        ("text", "a str is no row"),
        ({"cents": 1}, "the key's column account is not in the record, which has cents"),
        ({"account": None}, "the column account is the key's, and its value is None"),
        ({"account": "a", 7: 1}, "7 is no name of a column"),
        (Balance("a", {1, 2}), "the column cents: a set is nothing that PostgreSQL can keep"),
        (Balance("a", [[object()]]), "the column cents: a object is nothing"),
        (Balance("a", {"x": object()}), "the column cents: a object has no JSON form"),
        (Balance("a", "\0"), "the column cents holds a NUL character"),
        (Balance("a", {"x": ["\0"]}), "the column cents: it holds a NUL character"),
        (Balance("a", {"x": "\\\0"}), "the column cents: it holds a NUL character"),
        (Balance("\udc80"), "the column account holds text that is no Unicode"),
        (Balance("a", Decimal("sNaN")), "the column cents: a signalling NaN"),
        (Balance("a", time(1, tzinfo=timezone.utc)), "the column cents: a time of day with"),
    ],
)
def test_what_cannot_be_a_row_is_refused_before_it_is_held_back(record: object, says: str) -> None:
    """So it is a dead letter of its own, with its column, and no epoch has to wait for it."""
    with pytest.raises((TypeError, ValueError)) as refused:
        encode(record)
    assert says in str(refused.value)


def test_the_command_line_may_say_where_the_server_is() -> None:
    """It need not, and other sinks without an address still take none."""
    spec: Any = zstream.PostgresSink("balances", key="account")
    plans = {"out": SimpleNamespace(spec=spec), "log": SimpleNamespace(spec=zstream.Stdout())}
    assert bind("--out", "sink", None, plans) == {}
    assert bind("--out", "sink", "out@db:5432", plans) == {"out": "db:5432"}
    with pytest.raises(UsageError, match="sink log takes no address"):
        bind("--out", "sink", "log@db:5432", plans)


def test_a_spec_wants_a_table_and_a_key() -> None:
    """One column or several; the dsn may hold a password and is not shown."""
    spec: Any = zstream.PostgresSink("balances", key=["account", "day"], dsn="password=geheim")
    assert spec.key == ("account", "day")
    assert "geheim" not in repr(spec)
    for table, key in (
        ("", "account"),
        ("balances", ""),
        ("balances", []),
        ("balances", ["a", ""]),
    ):
        with pytest.raises(UsageError, match="needs a table and a key"):
            zstream.PostgresSink(table, key=key)


def test_without_psycopg_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where the sink is opened: a topology is built and drawn without it."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.delitem(sys.modules, "zstream.connectors.postgres", raising=False)
    spec: Any = zstream.PostgresSink("balances", key="account")
    with pytest.raises(ConnectorError, match=r"sink out: .* pip install 'zstream\[postgres\]'"):
        open_writer(spec, "out", None)
