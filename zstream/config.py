"""Every limit and every wait, in one frozen value: a name, a unit at its end, and a reason.

Settings reach it from the command line, the environment, or a file (`zstream.cli.settings`);
nothing else in the engine holds a constant that a person could want to change.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from zstream.errors import UsageError

KIB = 1024
MIB = 1024 * 1024


@dataclass(frozen=True)
class Config:
    """Limits and waits of one worker. Times are in milliseconds, sizes in bytes."""

    # Batches: what has arrived is a batch, up to these.
    batch_records_max: int = 4096  # bounds what one turn of the loop does before it looks up
    source_read_bytes_max: int = 256 * KIB  # one read of a source's socket or file
    frame_bytes_target: int = 64 * KIB  # above it ZeroMQ gains nothing; below, headers cost

    # What is refused by name rather than allowed to eat the memory.
    record_bytes_max: int = 256 * MIB  # one record, encoded; a larger one is a dead letter
    control_bytes_max: int = 16 * MIB  # one control message
    snapshot_chunk_bytes: int = 1 * MIB  # a key group's state travels in pieces of this size

    # Links: what is in flight between two workers.
    link_window_bytes_min: int = 256 * KIB  # below it a link stutters on small frames
    link_window_bytes_max: int = 16 * MIB  # what a marker waits behind, at the very worst
    link_delay_target_ms: int = 20  # the window adapts so that a marker passes in this time
    ack_interval_ms: int = 2  # acknowledgements of a link are at most this often
    outbox_bytes_max: int = 8 * MIB  # over all links of a worker; then sources stop everywhere
    hold_bytes_max: int = 64 * MIB  # records waiting for a key group on its way
    sink_bytes_max: int = 8 * MIB  # what the outside has not taken yet, per sink and worker
    control_peers_max: int = 512  # connections to other workers' control addresses
    dead_letters_bytes_max: int = 64 * MIB  # the file's size; then dead letters are only counted

    # Liveness.
    pulse_interval_ms: int = 200  # heartbeats, sent from beside the loop
    report_interval_ms: int = 200  # level-triggered reports to the leader, also sent on change
    lease_ms: int = 1000  # a follower that hears no leader for this long becomes a candidate
    stagger_ms: int = 200  # candidates try in order of seniority, this far apart
    dead_after_ms: int = 2000  # longer than a lease: a false death costs a recovery of everybody
    busy_after_ms: int = 1000  # user code that holds the loop longer is reported as busy

    # Joining and leaving.
    join_deadline_ms: int = 60_000  # a batch that is not complete by then is refused
    join_repeat_ms: int = 500  # a joiner asks again this often: that is also its sign of life
    joiner_silent_ms: int = 3000  # a waiting joiner not heard from for this long has gone
    connect_deadline_ms: int = 15_000  # links between all members and joiners must stand by then
    request_repeat_ms: int = 250  # tools ask again this often; requests carry an id
    catch_up_ms: int = 50  # who misses log records asks for them at most this often
    retry_ms: int = 200  # what was not answered or not done is tried again after this
    linger_ms: int = 1000  # an ended worker stays so long, to pass on how it ended
    drain_deadline_ms: int = 30_000  # shutdown: what is in flight must be out by then

    # Rescale.
    wave_spread_ms: int = 25  # a wave's size adapts: its last key group waits so much longer
    wave_bytes_max: int = 4 * MIB  # state moved in one wave, however fast it goes
    wave_groups_max: int = 128  # so that a wave of empty groups is still short
    balance_after_ms: int = 500  # so long some must have more to do, before key groups move for it
    balance_gain_percent: int = 10  # and the busiest will have so much less to do; 100 for never

    # Checkpoints.
    checkpoint_interval_ms: int = 1000  # what a death repeats, and how long a sink holds back
    epoch_deadline_ms: int = 30_000  # a checkpoint that is not whole by then is abandoned
    uncommitted_bytes_max: int = 64 * MIB  # output held back for its checkpoint; then sources stop
    manifests_kept: int = 2  # checkpoints of which all parts are still there, the newest included
    part_slice_bytes: int = 64 * KIB  # of state, packed in one turn: bounds how long it takes
    part_cycle_epochs: int = 64  # in so many, each key group that changes is written whole once
    savepoint_deadline_ms: int = 600_000  # one that is not copied by then has failed

    # The control log.
    log_records_before_base: int = 256  # then the whole state is written as a base record
    outcomes_kept: int = 64  # ended rescales and requests that are remembered

    # Telemetry.
    slow_after_ms: int = 5000  # what the store or a sink takes longer for is said
    status_interval_ms: int = 1000  # rates and sizes are taken this often

    def validate(self) -> Config:
        """Return self, or raise UsageError that names the first setting that cannot work."""
        for field in fields(self):
            value = getattr(self, field.name)
            if value <= 0:
                raise UsageError(f"{field.name} must be above 0, it is {value}.")
        if self.dead_after_ms <= self.lease_ms:
            raise UsageError(
                f"dead_after_ms ({self.dead_after_ms}) must be above lease_ms ({self.lease_ms}): "
                "a leader must be replaced before it can be taken for dead twice."
            )
        if self.pulse_interval_ms * 3 > self.lease_ms:
            raise UsageError(
                f"lease_ms ({self.lease_ms}) must be at least three pulses "
                f"of {self.pulse_interval_ms} ms, or one lost pulse is an election."
            )
        if self.link_window_bytes_min > self.link_window_bytes_max:
            raise UsageError("link_window_bytes_min must not be above link_window_bytes_max.")
        return self
