"""Each rule of checkpoint and recovery is taken away, and the random schedules must find it.

A rule whose absence no schedule finds is either not needed or not tested."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.properties.test_recovery import Schedule, check_all_routes, check_in_order
from tests.recovery_net import RecoveryNet
from zstream.dataflow import engine, recovery
from zstream.dataflow.checkpoint import Checkpoint
from zstream.dataflow.engine import Dataflow
from zstream.dataflow.exchange import Exchange
from zstream.dataflow.keyed_state import KeyedState
from zstream.dataflow.migration import Migration
from zstream.wire.frames import decode_frame, encode_frame
from zstream.wire.parts import PartName

Patch = pytest.MonkeyPatch


def names_without_run(patch: Patch) -> None:
    patch.setattr(PartName, "blob", lambda name: f"{name.epoch}/{name.incarnation}")


def frames_of_ended_runs(patch: Patch) -> None:
    receive, report = Dataflow.receive, Dataflow.on_link_report

    def of_this_run(self: Dataflow, data: bytes, now: float) -> None:
        frame = decode_frame(data)._replace(run=self.run)
        sender, receiver, run, lane, number, kind, _, body = frame
        receive(self, encode_frame(sender, receiver, run, lane, number, kind, body), now)

    def reported(self: Dataflow, sender: Any, link_report: Any, now: float) -> None:
        object.__setattr__(link_report, "run", self.run)
        report(self, sender, link_report, now)

    patch.setattr(Dataflow, "receive", of_this_run)
    patch.setattr(Dataflow, "on_link_report", reported)


def in_flight_not_kept(patch: Patch) -> None:
    patch.setattr(Checkpoint, "keep_in_flight", lambda *_: None)


def barrier_before_what_is_filled(patch: Patch) -> None:
    cut = Dataflow.cut

    def without_flush(self: Dataflow, *arguments: Any) -> None:
        with pytest.MonkeyPatch.context() as within:
            within.setattr(Exchange, "cut", lambda _: None)
            cut(self, *arguments)

    patch.setattr(Dataflow, "cut", without_flush)


def shipped_before_settled(patch: Patch) -> None:
    ship = Migration.ship

    def at_once(self: Migration) -> None:
        with pytest.MonkeyPatch.context() as within:
            within.setattr(Migration, "_are_settled", lambda *_: True)
            ship(self)

    patch.setattr(Migration, "ship", at_once)


def changes_stay_behind(patch: Patch) -> None:
    take = KeyedState.take
    patch.setattr(KeyedState, "take", lambda *arguments: (take(*arguments)[0], []))


def epoch_in_a_wave(patch: Patch) -> None:
    """The leader opens one, and no worker refuses it."""
    cut, switch = Dataflow.cut, Dataflow.switch

    def cut_anyhow(self: Dataflow, *arguments: Any) -> None:
        with pytest.MonkeyPatch.context() as within:
            within.setattr(Migration, "is_installed", lambda _: True)
            cut(self, *arguments)

    def keep_open(self: Dataflow, *arguments: Any) -> None:
        with pytest.MonkeyPatch.context() as within:
            within.setattr(Checkpoint, "put_back", lambda _: None)
            switch(self, *arguments)

    def wave(self: Schedule) -> None:
        self.net.until(self.net.is_done, "done")
        self.net.open_generation(self.members, self.anyhow())
        self.play(50)
        self.net.open_epoch()
        self.play(150)
        self.net.until(self.net.is_done, "done")
        self.commit()

    patch.setattr(Dataflow, "cut", cut_anyhow)
    patch.setattr(Dataflow, "switch", keep_open)
    patch.setattr(Schedule, "wave", wave)


def in_flight_after_frames(patch: Patch) -> None:
    restore, flush = Dataflow.restore, Dataflow.flush
    late: dict[int, list[Any]] = {}

    def without(self: Dataflow, *arguments: Any) -> None:
        def keep(*given: Any) -> tuple[list[Any], int]:
            late[id(self)], dropped = recovery.records_in_flight(*given)
            return [], dropped

        with pytest.MonkeyPatch.context() as within:
            within.setattr(engine, "records_in_flight", keep)
            restore(self, *arguments)

    def then(self: Dataflow, now: float) -> None:
        if self.frames_applied or not any(peer.receive[0].received for peer in _peers(self)):
            for entry, batch in late.pop(id(self), ()):
                self._apply(entry, batch)
        flush(self, now)

    patch.setattr(Dataflow, "restore", without)
    patch.setattr(Dataflow, "flush", then)


def _peers(dataflow: Dataflow) -> list[Any]:
    return list(dataflow._peers.values())


def in_flight_upstream_first(patch: Patch) -> None:
    ranks = recovery._ranks
    patch.setattr(recovery, "_ranks", lambda plan: {e: -rank for e, rank in ranks(plan).items()})


def cut_only_at_the_word(patch: Patch) -> None:
    def note(self: Dataflow, peer: Any, epoch: Any, now: float) -> None:
        peer.barrier = max(peer.barrier, epoch)

    tell = RecoveryNet.tell

    def to_all(self: RecoveryNet, *arguments: Any) -> None:
        with pytest.MonkeyPatch.context() as within:
            within.setattr(self.random, "random", lambda: 0.0)
            tell(self, *arguments)

    patch.setattr(Dataflow, "_on_barrier", note)
    patch.setattr(RecoveryNet, "tell", to_all)


def leaver_without_its_epoch(patch: Patch) -> None:
    patch.setattr(Schedule, "last_epoch", lambda _: None)


def changes_until_the_cut(patch: Patch) -> None:
    put_back = KeyedState.put_back

    def forget(self: KeyedState) -> None:
        recent, groups = dict(self.recent), list(self._recent_groups)
        put_back(self)
        self.recent, self._recent_groups = recent, groups

    patch.setattr(KeyedState, "put_back", forget)


def no_copy_on_write(patch: Patch) -> None:
    patch.setattr(KeyedState, "touch", lambda *_: None)


def output_of_an_abandoned_epoch_dropped(patch: Patch) -> None:
    put_back = Checkpoint.put_back

    def forget(self: Checkpoint) -> None:
        if self.open_epoch:
            self._prepared.clear()
        put_back(self)

    patch.setattr(Checkpoint, "put_back", forget)


def position_after_the_cut(patch: Patch) -> None:
    turn = RecoveryNet.turn

    def later(self: RecoveryNet, number: int) -> None:
        opened = self.workers[number].dataflow._checkpoint._open
        if opened is not None and opened.part is None:
            opened.positions = dict(self.sides[number].positions)
        turn(self, number)

    patch.setattr(RecoveryNet, "turn", later)


def wave_with_an_epoch_undecided(patch: Patch) -> None:
    switch = Dataflow.switch

    def keep_open(self: Dataflow, *arguments: Any) -> None:
        with pytest.MonkeyPatch.context() as within:
            within.setattr(Checkpoint, "put_back", lambda _: None)
            switch(self, *arguments)

    patch.setattr(Dataflow, "switch", keep_open)


def needed_parts_deleted(patch: Patch) -> None:
    clean = RecoveryNet.clean
    patch.setattr(
        RecoveryNet,
        "clean",
        lambda self, kept: clean(self, set(self.manifest.names)),
    )


def part_without_all_barriers(patch: Patch) -> None:
    patch.setattr(Checkpoint, "_barriers_are_in", lambda *_: True)


def sinks_keep_output_of_the_ended_run(patch: Patch) -> None:
    """What was emitted since the last cut is emitted again by the new run."""

    def keep(self: RecoveryNet, number: int, run: Any, opened: Any) -> None:
        side = self.sides[number]
        outputs = list(side.outputs)
        plain(self, number, run, opened)
        if run == self.run:
            side.outputs = outputs + side.outputs

    plain = RecoveryNet.restore
    patch.setattr(RecoveryNet, "restore", keep)


SCHEDULES = 200  # that may be needed to find one

MUTATIONS = [
    names_without_run,
    frames_of_ended_runs,
    in_flight_not_kept,
    barrier_before_what_is_filled,
    shipped_before_settled,
    changes_stay_behind,
    epoch_in_a_wave,
    in_flight_after_frames,
    in_flight_upstream_first,
    cut_only_at_the_word,
    leaver_without_its_epoch,
    changes_until_the_cut,
    no_copy_on_write,
    output_of_an_abandoned_epoch_dropped,
    position_after_the_cut,
    wave_with_an_epoch_undecided,
    needed_parts_deleted,
    part_without_all_barriers,
    sinks_keep_output_of_the_ended_run,
]


def found_after(plant: Callable[[Patch], None], monkeypatch: Patch, limit: int) -> int | None:
    """How many schedules it took; None: not found."""
    plant(monkeypatch)
    for number in range(limit):
        check = check_all_routes if number % 4 == 3 else check_in_order
        try:
            check(number)
        except Exception:  # also a crash of the planted code is a finding
            return number + 1
    return None


@pytest.mark.parametrize("plant", MUTATIONS, ids=lambda plant: plant.__name__)
def test_a_rule_that_is_taken_away_is_found(
    plant: Callable[[Patch], None], monkeypatch: Patch
) -> None:
    assert found_after(plant, monkeypatch, SCHEDULES) is not None
