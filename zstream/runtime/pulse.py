"""Signs of life from beside the loop: a slow user function must not look like a death.

The thread has sockets of its own and touches none of the loop's. Pure Python code that holds the
loop lets it run; an extension that keeps the interpreter's lock silences it, as it should: such a
worker is hung.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Thread

import zmq

from zstream.config import Config
from zstream.runtime.control_senders import ControlSenders

Pulses = Callable[[], list[tuple[str, bytes]]]


class PulseThread:
    """Sends what `pulses` gives, (control address, payload) pairs, every `pulse_interval_ms`.

    troubled: called, from the thread, with the first error that `pulses` raises; it goes on.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        config: Config,
        pulses: Pulses,
        troubled: Callable[[Exception], None],
    ) -> None:
        self._context = context
        self._config = config
        self._pulses = pulses
        self._troubled = troubled
        self._stopping = Event()
        self._thread = Thread(target=self._beat, name="zstream-pulse", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, deadline_s: float) -> bool:
        """Stop and close the sockets; False when it did not end within the deadline."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(deadline_s)
        return not self._thread.is_alive()

    def _beat(self) -> None:
        senders = ControlSenders(self._context, self._config)
        is_troubled = False
        try:
            while not self._stopping.wait(self._config.pulse_interval_ms / 1000):
                try:
                    pulses = self._pulses()
                except Exception as error:
                    if not is_troubled:
                        self._troubled(error)
                    is_troubled = True
                    continue
                for address, payload in pulses:
                    senders.send(address, payload)
        finally:
            senders.close(linger_ms=0)
