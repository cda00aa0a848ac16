"""Two lanes between workers. Nothing here ever blocks."""

from __future__ import annotations

from typing import Protocol

from zstream.model.ids import Incarnation


class Transport(Protocol):
    """What the driver needs of a network. Incoming bytes are handed to the driver by the shell."""

    def send_control(self, address: str, payload: bytes) -> None:
        """Best effort, to a worker's control address; may be lost, doubled, reordered."""

    def answer_client(self, client: bytes, payload: bytes) -> None:
        """Best effort, to a tool that asked on the external channel."""

    def open_data(self, peer: Incarnation, address: str) -> None:
        """Prepare to send data to this incarnation. Opening twice is harmless."""

    def close_data(self, peer: Incarnation) -> None:
        """Send this incarnation nothing more. Closing twice is harmless."""

    def send_data(self, peer: Incarnation, frame: bytes) -> bool:
        """Take the frame, or return False: not now. What is taken may still be lost."""
