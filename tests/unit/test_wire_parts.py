"""The blob that a worker writes for an epoch: what goes in comes out, and no damage goes unseen."""

from __future__ import annotations

from dataclasses import replace
from struct import pack_into
from typing import Any
from zlib import crc32

import pytest

from zstream.errors import CannotTravel, InvariantBroken, WireError
from zstream.model.ids import Epoch, Incarnation, Run
from zstream.wire.parts import History, PartName, PartWriter, Span, open_part, parts_needed
from zstream.wire.values import Registry


def name_of(epoch: int, incarnation: int = 8231, run: int = 1) -> PartName:
    return PartName(Run(run), Epoch(epoch), Incarnation(incarnation))


NAME = name_of(7)
HISTORY = History(
    {3: Span(Epoch(7), Epoch(7)), 5: Span(Epoch(2), Epoch(7)), 9: Span(Epoch(2), Epoch(4))},
    {name_of(2), name_of(4, run=2), name_of(4, 77), NAME},
)


def written(prepared: Any = None) -> bytes:
    writer = PartWriter(NAME, Registry(), 16, ["count", "join"])
    writer.add_states("count", [5, 3, 5], ["a", "b", "c"], [1, 2, None])
    writer.add_in_flight(b"first")
    writer.add_states("join", [9], [("k", 1)], [[1.5, "x"]])
    writer.add_in_flight(b"second")
    return writer.finish(HISTORY, {"in": [1, "p"]}, prepared or {"out": ["t1", "t2"]})


def test_what_was_written_is_read() -> None:
    part = open_part(NAME, written())
    assert part.name == NAME
    assert part.key_groups == 16
    assert list(part.in_flight()) == [b"first", b"second"]
    assert [tuple(rows) for rows in part.rows(Registry(), {3, 5, 9})] == [
        ("count", [5, 3, 5], ["a", "b", "c"], [1, 2, None]),
        ("join", [9], [("k", 1)], [[1.5, "x"]]),
    ]
    assert [tuple(rows) for rows in part.rows(Registry(), {5})] == [
        ("count", [5, 5], ["a", "c"], [1, None])
    ]
    assert part.positions == {"in": [1, "p"]}
    assert part.prepared == {"out": ["t1", "t2"]}
    assert part.history.spans == HISTORY.spans
    assert part.history.names == HISTORY.names


def test_rows_of_one_key_group_after_the_other_need_its_number_once() -> None:
    keys, states = list("abcd"), [1, 2, 3, 4]
    writer = PartWriter(NAME, Registry(), 16, ["count"])
    long = writer.add_states("count", [5, 5, 5, 9], keys, states)
    assert writer.add_states("count", [5, 9], keys, states, counts=[3, 1]) < long
    part = open_part(NAME, writer.finish(HISTORY, {}, {}))
    for rows in part.rows(Registry(), {5, 9}):
        assert rows == ("count", [5, 5, 5, 9], keys, states)
    assert [rows.keys for rows in part.rows(Registry(), {9})] == [["d"], ["d"]]


def test_rows_that_do_not_add_up_are_refused() -> None:
    writer = PartWriter(NAME, Registry(), 16, ["count"])
    writer.add_states("count", [5, 9], ["a"], [1], counts=[1, 1])
    part = open_part(NAME, writer.finish(HISTORY, {}, {}))
    with pytest.raises(WireError, match=r"7/8231\.part cannot be read: rows do not add up"):
        list(part.rows(Registry(), {5}))


def test_a_part_without_anything_is_a_part() -> None:
    data = PartWriter(NAME, Registry(), 4, []).finish(History({}, ()), {}, {})
    part = open_part(NAME, data)
    assert list(part.in_flight()) == []
    assert list(part.rows(Registry(), range(4))) == []


def test_every_flipped_bit_is_found_and_the_part_is_named() -> None:
    data = written()
    for place in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[place // 8] ^= 1 << place % 8
        with pytest.raises(WireError, match=r"parts/r1/e7/8231\.part"):
            open_part(NAME, bytes(damaged))


def test_damage_in_a_block_names_what_is_in_it() -> None:
    data = written()
    with pytest.raises(WireError, match=r"block 3 \(records in flight\), its checksum"):
        open_part(NAME, data.replace(b"second", b"sacond"))
    with pytest.raises(WireError, match=r"block 2 \(state of join\)"):
        open_part(NAME, data.replace(b"x", b"y", 1))


def test_a_part_that_is_cut_off_anywhere_is_refused() -> None:
    data = written()
    for length in range(len(data)):
        with pytest.raises(WireError, match="part"):
            open_part(NAME, data[:length])


def test_a_newer_format_is_refused_in_a_sentence() -> None:
    data = bytearray(written())
    pack_into("<H", data, 4, 2)
    pack_into("<I", data, 32, crc32(data[:32]))
    with pytest.raises(WireError, match=r"format 2; this zstream reads format 1\. Update"):
        open_part(NAME, bytes(data))


def test_a_part_under_another_name_is_refused() -> None:
    with pytest.raises(WireError, match=r"holds another part, parts/r1/e7/8231\.part"):
        open_part(name_of(7, run=2), written())


def test_a_state_that_cannot_travel_leaves_no_trace() -> None:
    writer = PartWriter(NAME, Registry(), 4, ["count"])
    with pytest.raises(CannotTravel):
        writer.add_states("count", [1], ["a"], [object()])
    part = open_part(NAME, writer.finish(History({}, ()), {}, {}))
    assert list(part.rows(Registry(), {1})) == []


def test_prepared_output_must_be_made_of_msgpack_types() -> None:
    with pytest.raises(InvariantBroken, match="msgpack types"):
        written({"out": [object()]})


def test_the_parts_of_a_group_are_those_of_its_span() -> None:
    part = open_part(NAME, written())
    assert part.history.names_of({3}) == {NAME}
    assert part.history.names_of({9}) == {name_of(2), name_of(4, run=2), name_of(4, 77)}
    assert parts_needed([part, replace(part, history=History({}, ()))], {3, 5}) == HISTORY.names
    assert parts_needed([part], {1}) == set()
