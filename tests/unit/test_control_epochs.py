"""When the next epoch is due."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.test_control_savepoints import STATE
from zstream.config import Config
from zstream.control.epochs import Epochs
from zstream.model.ids import Epoch, Run, Term
from zstream.model.records import EpochOpened

OPEN = replace(STATE, epoch=EpochOpened(Term(1), 1, Run(1), Epoch(31)))


@pytest.mark.parametrize(("took", "due"), [(0.05, 11.0), (0.4, 11.0), (0.9, 11.4), (3.0, 13.5)])
def test_half_an_interval_lies_between_an_epoch_and_the_next(took: float, due: float) -> None:
    """An epoch that was opened at 10 s took so long; the interval is a second."""
    epochs = Epochs(Config(), ("tally",), lambda: 1, 0.0)
    epochs.step(STATE, {}, False, 9.9)
    epochs.step(OPEN, {}, False, 10.0)
    epochs.step(STATE, {}, False, 10.0 + took)
    assert epochs.next_timer(STATE) == pytest.approx(due)
