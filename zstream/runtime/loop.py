"""The loop of a worker: wait, take in what has come, control first, and let the driver turn.

It never blocks anywhere but in its one poll, which ends with a message, a descriptor, a signal,
an answer of one of the desks, room on a full connection, or the time that the driver named.
"""

from __future__ import annotations

import math
import time
from typing import Any

import zmq

from zstream.config import MIB
from zstream.driver.worker import WorkerDriver
from zstream.errors import ConnectorError
from zstream.ports.shell import Exit
from zstream.runtime.control_senders import ZmqSocket
from zstream.runtime.shell import WorkerShell
from zstream.runtime.signals import LeaveSignals
from zstream.runtime.wake import Waker

_CONTROL_MESSAGES_MAX = 256  # in one turn; what is left keeps the poll from waiting
_CLIENT_MESSAGES_MAX = 64
_FRAMES_MAX = 256
_FRAME_BYTES_MAX = 4 * MIB
_WAIT_MS_MAX = 1000

Awaited = tuple[ZmqSocket | int, int]  # a socket or descriptor, and what it is awaited for


class Loop:
    """Runs one driver to its end."""

    def __init__(
        self, driver: WorkerDriver, shell: WorkerShell, signals: LeaveSignals, waker: Waker
    ) -> None:
        self._driver = driver
        self._shell = shell
        self._transport = shell.transport
        self._signals = signals
        self._waker = waker
        self._always: list[Awaited] = [
            (self._transport.control_socket, zmq.POLLIN),
            (self._transport.data_socket, zmq.POLLIN),
            (self._transport.external_socket, zmq.POLLIN),
            (waker.descriptor, zmq.POLLIN),
        ]

    def run(self) -> Exit:
        """Turn until the driver is done."""
        driver = self._driver
        while True:
            now = time.monotonic()
            wake_at = driver.turn(now)
            if driver.exit is not None:
                return driver.exit
            ready = self._wait(wake_at)
            self._take_in(ready, time.monotonic())

    def _wait(self, wake_at: float | None) -> dict[Any, int]:
        """Poll until something is ready or the time has come; returns what is ready."""
        awaited = self._always.copy()
        for reader in self._shell.readers:
            awaited += [(descriptor, zmq.POLLIN) for descriptor in reader.take_descriptors()]
        for writer in self._shell.writers:
            awaited += [(descriptor, zmq.POLLOUT) for descriptor in writer.descriptors()]
        awaited += [(push, zmq.POLLOUT) for push in self._transport.take_full()]
        began = time.monotonic()
        wait_ms = _WAIT_MS_MAX
        if wake_at is not None:
            remaining_ms = math.ceil((wake_at - began) * 1000)
            wait_ms = min(max(remaining_ms, 0), _WAIT_MS_MAX)
        ready: dict[Any, int] = dict(zmq.zmq_poll(awaited, wait_ms))
        self._driver.waited(began, time.monotonic())
        return ready

    def _take_in(self, ready: dict[Any, int], now: float) -> None:
        """Hand the driver what has come, up to limits: control before tools before data."""
        driver, transport = self._driver, self._transport
        if self._waker.descriptor in ready:
            self._waker.drain()
            if self._signals.take_leave_asked():
                driver.on_leave_signal(now)
            self._take_answers(now)
        if transport.control_socket in ready:
            for payload in transport.receive_control(_CONTROL_MESSAGES_MAX):
                driver.on_control(payload, now)
        if transport.external_socket in ready:
            for client, payload in transport.receive_clients(_CLIENT_MESSAGES_MAX):
                driver.on_client(client, payload, now)
        if transport.data_socket in ready:
            for frame in transport.receive_data(_FRAMES_MAX, _FRAME_BYTES_MAX):
                driver.on_data(frame, now)

    def _take_answers(self, now: float) -> None:
        """Hand the driver what was done beside the loop."""
        driver, shell = self._driver, self._shell
        for opened in shell.take_opened():
            if isinstance(opened, ConnectorError):
                driver.on_store_failed(opened, now)
            else:
                driver.on_store_opened(opened, now)
        for answer in shell.log.take():
            driver.on_log(answer, now)
        for done in shell.desk.take():
            driver.on_desk(done, now)
