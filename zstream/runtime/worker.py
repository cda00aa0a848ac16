"""Composition root: one worker process, put together, run to its end, and taken apart."""

from __future__ import annotations

import gc
import resource
import secrets
import time
from contextlib import ExitStack, suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version

from zstream.control.agent import Agent
from zstream.control.joining import Start
from zstream.driver.worker import WorkerDriver, software_of, start_of
from zstream.errors import ZstreamError
from zstream.model.ids import Incarnation, WorkerName
from zstream.model.membership import Member
from zstream.runtime.greeting import refuse_strangers, why_silent
from zstream.runtime.loop import Loop
from zstream.runtime.options import WorkerOptions
from zstream.runtime.origin import store_of, with_savepoint
from zstream.runtime.pulse import PulseThread
from zstream.runtime.shell import WorkerShell
from zstream.runtime.signals import LeaveSignals
from zstream.runtime.telemetry import Telemetry
from zstream.runtime.wake import Waker
from zstream.runtime.zmq_transport import ZmqTransport
from zstream.topology.topology import TopologyValue

_FLUSH_S = 2.0  # for what sinks still hold when a worker ends as it should
_LAST_WORDS_MS = 500  # for messages that say how it ended
_PULSE_STOP_S = 2.0


def run_worker(topology: TopologyValue, options: WorkerOptions) -> int:
    """Run one worker until it has left the cluster or the cluster has ended; returns 0.

    Every other end is a ZstreamError with the sentence for whoever started it.
    """
    options.config.validate()
    try:
        with ExitStack() as closing:
            loop, telemetry = _compose(topology, options, closing)
            tune_memory()
            ended = loop.run()
            if ended.code == 0 and ended.says:
                telemetry.say("info", "worker_ended", ended.says, {})
    except KeyboardInterrupt:
        raise ZstreamError(
            f"{options.name} was stopped at once, by a second signal or before it had begun; "
            "to the cluster it has died."
        ) from None
    if ended.code != 0:
        raise ZstreamError(ended.says or f"{options.name} ended with code {ended.code}.")
    return 0


def _compose(
    topology: TopologyValue, options: WorkerOptions, closing: ExitStack
) -> tuple[Loop, Telemetry]:
    """Open everything, sockets first: a refusal comes before anybody has heard of this worker."""
    _allow_many_sockets()
    is_initializer = options.role == "initializer"
    transport = ZmqTransport(
        options.config,
        options.control,
        options.data,
        options.external,
        control_option="--control" if is_initializer else "--my-control",
        data_option="--data" if is_initializer else "--my-data",
    )
    closing.callback(transport.close, _LAST_WORDS_MS)
    if not is_initializer:
        refuse_strangers(options.join, "--join" if options.role == "joiner" else "--control")
    telemetry = Telemetry(options.name, options.log_format, options.json)
    closing.callback(telemetry.close)
    waker = Waker()
    closing.callback(waker.close)
    shell = WorkerShell(topology.plan, options, transport, telemetry, waker)
    # After an error there is nothing to wait for: what is left is said to be lost.
    closing.push(lambda kind, *_: shell.close(_FLUSH_S if kind is None else 0.0))
    signals = LeaveSignals(waker)
    closing.callback(signals.restore)
    start, url = _start(topology, options), ""
    if is_initializer:
        url, store = store_of(topology.name, options, closing)
        if options.savepoint:
            start = with_savepoint(start, options.savepoint, store, telemetry.say)
    driver = _driver(topology, options, start, transport, shell)
    closing.callback(driver.dataflow.close)
    pulse = PulseThread(
        transport.context,
        options.config,
        driver.pulses,
        lambda error: telemetry.say(
            "error", "pulse_failed", f"no signs of life could be made: {error!r}", {}
        ),
    )
    closing.callback(pulse.stop, _PULSE_STOP_S)
    driver.begin(time.monotonic(), url)
    signals.install()
    pulse.start()
    return Loop(driver, shell, signals, waker), telemetry


def _start(topology: TopologyValue, options: WorkerOptions) -> Start:
    start = start_of(
        topology.plan,
        options.role,
        options.join,
        options.worker_count,
        fresh=options.fresh,
        leave_state=options.leave_state,
    )
    return replace(start, why_silent=lambda address: why_silent(address, "control"))


def _driver(
    topology: TopologyValue,
    options: WorkerOptions,
    start: Start,
    transport: ZmqTransport,
    shell: WorkerShell,
) -> WorkerDriver:
    """The two cores for this worker, with an incarnation that was never there before."""
    plan = topology.plan
    identity = Member(
        WorkerName(options.name),
        Incarnation(1 + secrets.randbelow(2**63 - 1)),
        transport.control,
        transport.data,
        transport.external,
    )
    agent = Agent(
        options.config,
        identity,
        software_of(plan, installed_version()),
        start,
        lambda: secrets.randbits(63),
        time.monotonic(),
    )
    return WorkerDriver(
        options.config, identity, plan, topology.registry, agent, shell, topology.on_error
    )


def installed_version() -> str:
    """The version of the installed package; "" in a tree that was never installed."""
    try:
        return version("zstream")
    except PackageNotFoundError:
        return ""


def _allow_many_sockets() -> None:
    """Two connections for each peer and direction, and senders besides: take what is allowed."""
    with suppress(OSError, ValueError):
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def tune_memory() -> None:
    """Look for cycles seldom, and not in what never goes away: modules, plan, topology.

    Only objects that stay count: what a batch makes and drops has no part in it. While a million
    states come, Python's own thresholds cost two thirds of the time, and its full collections
    stop the loop for 0.3 s each. With these the longest stop is some 20 ms, and a full collection
    comes after ten million objects that stayed: states, or cycles that a person's functions leave.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 3, 50)
