"""Names for integers and strings, so that no bare int or str crosses a room.

A worker's *name* is chosen by a person and may be used again after it has left; its
*incarnation* is a number drawn at process start and never used twice, so links, reports and log
records name incarnations.
"""

from __future__ import annotations

from typing import NewType

WorkerName = NewType("WorkerName", str)
Incarnation = NewType("Incarnation", int)  # 1 .. 2**63 - 1, drawn at process start
Term = NewType("Term", int)  # one leadership; 0 before the first
Generation = NewType("Generation", int)  # one version of membership and routing; 0 before the first
Run = NewType("Run", int)  # from one recovery to the next; 1 is the first
Epoch = NewType("Epoch", int)  # names a checkpoint
KeyGroup = NewType("KeyGroup", int)  # 0 .. key_groups - 1
EntryId = NewType("EntryId", int)  # where a batch enters a stage; the same on every worker
LogNumber = NewType("LogNumber", int)  # place in the control log; the first record is 1
FrameNumber = NewType("FrameNumber", int)  # place on a link; the first frame is 1
RequestId = NewType("RequestId", str)  # chosen by who asks; asking again with it is harmless
RescaleId = NewType("RescaleId", str)  # "grow-2", "shrink-3"
