"""Output that is held back: chunks of it, and what is forgotten when."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zstream.connectors.staged import CHUNK_BYTES, StagedWriter, chunks_of, pack, unpack
from zstream.errors import ConnectorError


@given(st.lists(st.binary(max_size=20)))
def test_what_is_packed_is_unpacked(records: list[bytes]) -> None:
    """Also none at all, and empty ones."""
    assert unpack(pack(records)) == records


def test_an_epoch_is_what_was_written_since_the_one_before() -> None:
    """Nothing written is None, so that nothing is stored and nothing committed."""
    writer = StagedWriter("sink out")
    assert writer.prepare(1) is None
    writer.write(["one", b"two"])
    assert writer.uncommitted_bytes() == 6
    writer.write([])
    assert [unpack(chunk) for chunk in writer.prepare(2) or ()] == [[b"one", b"two"]]
    assert writer.uncommitted_bytes() == 0
    assert writer.prepare(3) is None


def test_much_output_is_a_few_chunks_in_order() -> None:
    """Packed as it comes, not at the cut."""
    writer = StagedWriter("sink out")
    records = [b"%09d" % n for n in range(3 * CHUNK_BYTES // 9)]
    for first in range(0, len(records), 100):
        writer.write(list(records[first : first + 100]))
    chunks = writer.prepare(1)
    assert chunks is not None
    assert 2 <= len(chunks) <= 4
    assert [record for chunk in chunks for record in unpack(chunk)] == records


def test_an_abort_forgets_all_since_the_last_cut_and_nothing_prepared() -> None:
    """Packed chunks and single records are gone alike; prepared ones are the engine's."""
    writer = StagedWriter("sink out")
    writer.write([b"kept"])
    prepared = writer.prepare(1)
    writer.write([b"x" * CHUNK_BYTES])
    writer.write([b"y"])
    writer.abort()
    assert writer.uncommitted_bytes() == 0
    assert writer.prepare(2) is None
    assert prepared is not None
    assert unpack(prepared[0]) == [b"kept"]


def test_a_record_that_is_no_text_is_refused_when_it_is_written() -> None:
    """Not at the cut, where nobody knows which record it was."""
    with pytest.raises(ConnectorError, match="sink out: its encoder gave a int, 7"):
        StagedWriter("sink out").write([7])


def test_outputs_of_another_kind_of_sink_are_refused() -> None:
    """A checkpoint that was taken with another sink under the same name."""
    assert chunks_of([[b"a", b"b"], [b"c"]], "sink out") == [b"a", b"b", b"c"]
    with pytest.raises(ConnectorError, match="sink out: the checkpoint holds a dict"):
        chunks_of([{"table": 1}], "sink out")
