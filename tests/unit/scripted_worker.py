"""A worker's external channel that answers from a script: for tests of the tools and the client."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Any

import zmq

from zstream.model.ids import RequestId
from zstream.wire.codec import decode_message, encode_message, encode_plain
from zstream.wire.messages import (
    Answer,
    SavepointRequest,
    ShrinkRequest,
    ShutdownRequest,
    StatusRequest,
)

Request = ShrinkRequest | ShutdownRequest | StatusRequest | SavepointRequest
# The request and how often it was asked with this id, from 1 on; None: no answer.
Script = Callable[[Request, int], Answer | None]

W0_STAYS = "source alphabet is placed on it"


def answered(
    state: str, says: str = "", *, code: str = "", do: str = "", data: object = None
) -> Answer:
    """An Answer to any request: the worker puts the request's id in."""
    packed = b"" if data is None else encode_plain(data)
    return Answer(RequestId(""), state, code, says, do, packed)


def worker_data(name: str, **figures: Any) -> dict[str, Any]:
    """One worker of a status, as the leader tells it."""
    return {
        "name": name,
        "key_groups": 341,
        "keys": 3341,
        "state_bytes": 301244,
        "records_in_per_second": 0.0,
        "records_out_per_second": 6661.0,
        "records_in": 0,
        "records_out": 1000,
        "busy_ratio": 0.31,
        "dead_letters": 0,
        "late_records": 0,
        "records_lost": 0,
        "oldest_ms": 1.0,
        "waits_for": [],
        "external": "127.0.0.1:9",
        "eligible": True,
        "stays_because": "",
        **figures,
    }


def status_data(**changes: Any) -> dict[str, Any]:
    """The status of face.md's sample."""
    w0 = worker_data(
        "w0",
        key_groups=342,
        records_in_per_second=20004.0,
        records_out_per_second=6702.0,
        busy_ratio=0.44,
        eligible=False,
        stays_because=W0_STAYS,
    )
    w1 = worker_data("w1", keys=3318, records_out_per_second=6641.0)
    return {
        "topology": "alphabet",
        "fingerprint": "9f2c01e7",
        "processing_messages": True,
        "worker_count": 3,
        "worker_names": ["w0", "w1", "w4"],
        "leader": "w0",
        "term": 1,
        "generation": 4,
        "epoch": 812,
        "key_groups": 1024,
        "rescale_in_progress": False,
        "rescale": None,
        "last_rescale": rescale_data(),
        "workers": [w0, w1, worker_data("w4")],
        "waits_for": [],
        "dead_letters": 0,
        "late_records": 0,
        "records_lost": 0,
        "oldest_ms": 2.0,
        **changes,
    }


def rescale_data(**changes: Any) -> dict[str, Any]:
    """An ended shrink, as the leader tells it."""
    return {
        "id": "shrink-3",
        "cause": "cluster_shrinker --count 2",
        "outcome": "done",
        "says": "shrink-3: w2, w3 left: 512 key groups moved in 0.24 s, slowest waited 12 ms; "
        "2 workers",
        "joined": [],
        "left": ["w2", "w3"],
        "key_groups_moved": 512,
        "seconds": 0.24,
        "slowest_key_group_ms": 11.8,
        "records_held": 204,
        "pauses_ms": [11.8, 3.0],
        "timeline": [["opened", 0.0], ["wave 1 of 1", 0.02]],
        **changes,
    }


class ScriptedWorker:
    """Listens on a port of its own while its `with` block runs. `heard`: requests, as they came."""

    def __init__(self, script: Script, *, ends_after: int | None = None) -> None:
        """ends_after: closes its socket after so many requests, as a worker that leaves."""
        self._script = script
        self._left = ends_after
        self._stop = threading.Event()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._router = self._context.socket(zmq.ROUTER)
        self.address = f"127.0.0.1:{self._router.bind_to_random_port('tcp://127.0.0.1')}"
        self.heard: list[Request] = []
        self._thread = threading.Thread(target=self._answer, daemon=True)

    def __enter__(self) -> ScriptedWorker:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(10)
        self._context.destroy(linger=0)

    def _answer(self) -> None:
        asked: dict[str, int] = {}
        while not self._stop.is_set() and self._left != 0:
            if not self._router.poll(10):
                continue
            client, payload = self._router.recv_multipart()
            request = decode_message(payload)
            assert isinstance(request, Request)
            self.heard.append(request)
            asked[request.request] = asked.get(request.request, 0) + 1
            answer = self._script(request, asked[request.request])
            if self._left is not None:
                self._left -= 1
            if answer is not None:
                answer = replace(answer, request=answer.request or request.request)
                self._router.send_multipart([client, encode_message(answer)])
        self._router.close(linger=1000)
