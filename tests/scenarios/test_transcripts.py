"""Transcripts of the control core: each file is a story of commands and of what came of them.

A line that begins with `>` is a command, the lines under it are what it must print. After a
change that is meant: `ZSTREAM_UPDATE_TRANSCRIPTS=1 pytest tests/scenarios`, and read the diff.

    > start NAME [role=initializer|starter|joiner] [join=NAME or its address] [workers=N] [kind=
          version= readable= fresh= leave= was= save=]
          [at=NAME of a dead one whose addresses it has]
    > empty              another store, with nothing in it
    > interval SECONDS   between epochs, for workers started from here on
    > wait SECONDS
    > shrink ID via=NAME (workers=A,B | count=N)          a tool asks once
    > shutdown ID via=NAME
    > savepoint ID via=NAME to=URL
    > signal NAME        > kill NAME         > stall NAME      > unstall NAME
    > cut NAME           the worker hears and reaches nobody any more, but the store
    > heal NAME
    > late NAME          it does not store its part
    > full NAME          it has records under way
    > busy NAME PART     of its time, with records of its key groups
    > slow NAME          it does not get to the end of a savepoint
    > refused NAME       it cannot copy a savepoint
    > able NAME          it can again
    > damage NAME EPOCH  it cannot read the parts of this epoch
    > pause NAME SECONDS the process stands still for so long, then goes on
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.scenarios.stage import Stage, savepoint, shrink, shutdown

TRANSCRIPTS = sorted(Path(__file__).parent.glob("*.txt"))


def play(text: str) -> str:
    """The transcript with what its commands print now."""
    stage = Stage()
    result: list[str] = []
    for line in text.splitlines():
        if line.startswith(">"):
            result.append(line)
            stage.lines.clear()
            command(stage, line[1:].split())
            result += stage.lines
        elif not line.startswith(" "):
            result.append(line)
    return "\n".join(result) + "\n"


def command(stage: Stage, words: list[str]) -> None:
    """Do one line."""
    verb, *rest = words
    named = dict(word.split("=", 1) for word in rest if "=" in word)
    plain = [word for word in rest if "=" not in word]
    if verb == "start":
        role = named.pop("role", "joiner" if "join" in named else "initializer")
        join, workers = named.pop("join", ""), int(named.pop("workers", "1"))
        stage.start(plain[0], role, join, workers, **named)
    elif verb == "wait":
        stage.advance(float(plain[0]))
    elif verb == "shrink":
        request = shrink(plain[0], named.get("workers", ""), int(named.get("count", "0")))
        stage.ask(request, named["via"])
    elif verb == "shutdown":
        stage.ask(shutdown(plain[0]), named["via"])
    elif verb == "savepoint":
        stage.ask(savepoint(plain[0], named["to"]), named["via"])
    elif verb == "able":
        actor = stage.actor(plain[0])
        actor.slow = actor.refused = actor.full = False
    elif verb == "empty":
        stage.empty_store()
    elif verb == "interval":
        interval = int(float(plain[0]) * 1000)
        stage.config = replace(stage.config, checkpoint_interval_ms=interval)
    elif verb == "damage":
        stage.actor(plain[0]).damaged.add(int(plain[1]))
    elif verb == "busy":
        stage.actor(plain[0]).busy = float(plain[1])
    elif verb == "signal":
        stage.signal(plain[0])
    elif verb == "pause":
        pause(stage, plain[0], float(plain[1]))
    else:
        actor = stage.actor(plain[0])
        field = {"kill": "dead", "cut": "cut_off", "heal": "cut_off"}
        field.update({word: word for word in ("late", "full", "slow", "refused")})
        setattr(actor, field.get(verb, "stalled"), verb not in ("heal", "unstall"))


def pause(stage: Stage, name: str, seconds: float) -> None:
    """SIGSTOP, and SIGCONT so much later: what was sent meanwhile waits in the inbox."""
    actor = stage.actor(name)
    round_of = stage._round
    stage._round = lambda other: None if other is actor else round_of(other)  # type: ignore
    stage.advance(seconds)
    stage._round = round_of  # type: ignore[method-assign]


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_transcript(path: Path) -> None:
    """The story goes as it is written."""
    written = path.read_text()
    played = play(written)
    if os.environ.get("ZSTREAM_UPDATE_TRANSCRIPTS"):
        path.write_text(played)
        return
    assert played == written
