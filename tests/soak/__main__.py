"""Soak a cluster of real processes: faults every few seconds while numbered records flow.

    python -m tests.soak [--minutes M] [--seed S] [--rate R] [--workers N] [--network WHICH]
                         [--only KIND,KIND] [--folder DIR] [--keep]

At the end all faults stop, everything drains, the cluster is shut down, and all that both kinds
of sink were given is judged. Exits with 1 and keeps the evidence when anything is wrong.
"""

from __future__ import annotations

import argparse
import resource
import secrets
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.soak.cluster import Soaked
from tests.soak.driver import Driver, Stuck
from tests.soak.network import Loopback, Namespaces, enter_namespace
from tests.soak.plan import WEIGHTS, plan
from tests.soak.topology import FILES, ONES, TWOS, Numbered
from tests.soak.verdict import Verdict, as_taken, in_files, judge

HOSTS = 10  # the first for producers and consumer
PRODUCERS = 2
DRAIN_SECONDS = 8.0  # without faults, before anything is asked to end


class Story:
    """What happened when, in a file, and on the terminal if wished."""

    def __init__(self, path: Path, aloud: bool) -> None:
        self._file = path.open("w")
        self._aloud = aloud
        self._began = time.monotonic()

    def __call__(self, text: str) -> None:
        """For the file, and aloud."""
        self.note(text, self._aloud)

    def note(self, text: str, aloud: bool = False) -> None:
        """For the file."""
        line = f"{time.monotonic() - self._began:8.1f}  {time.strftime('%H:%M:%S')}  {text}"
        print(line, file=self._file, flush=True)
        if aloud:
            print(line, flush=True)


def main() -> int:
    options = arguments()
    network_kind = enter_namespace(options.network)
    network = Namespaces(HOSTS) if network_kind == "namespaces" else Loopback(HOSTS)
    folder = Path(options.folder or tempfile.mkdtemp(prefix="soak-"))
    folder.mkdir(exist_ok=True)
    can = "with" if network.can_cut else "without"
    print(
        f"soak: seed {options.seed}, {options.minutes:g} minutes, {network_kind} ({can} partitions)"
    )
    print(f"soak: all is kept in {folder} until the end", flush=True)
    story = Story(folder / "story", options.aloud)
    soaked = Soaked(folder, network, PRODUCERS)
    driver = Driver(soaked, options.seed, options.rate, story, story.note)
    began = time.monotonic()
    wrong = ""
    try:
        soak(options, driver, network.can_cut)
        wrong = driver.shut_down()
    except Stuck as error:
        wrong = str(error)
        (folder / "statuses").write_text(driver.statuses())
        for worker in soaked.workers:
            worker.signal(signal.SIGABRT)  # its threads' stacks are in its log then
        time.sleep(1.0)
    finally:
        driver.stop_looking()
        soaked.end()
    story("ended")
    is_good = report(soaked, driver, wrong, time.monotonic() - began)
    if is_good and not options.keep:
        shutil.rmtree(folder)
        return 0
    print(f"soak: {'kept' if is_good else 'the evidence is kept'} in {folder}")
    return 0 if is_good else 1


def soak(options: argparse.Namespace, driver: Driver, can_cut: bool) -> None:
    """Faults for so many minutes, and then none."""
    driver.begin(options.workers)
    ends = time.monotonic() + options.minutes * 60
    for fault in plan(options.seed, can_cut, frozenset(filter(None, options.only.split(",")))):
        driver.go_on(fault.after * options.pace)
        while not driver.may_disturb:
            driver.go_on(1.0)
        if time.monotonic() >= ends:
            break
        driver.disturb(fault)
    driver.end_faults()
    driver.go_on(DRAIN_SECONDS)


def report(soaked: Soaked, driver: Driver, wrong: str, seconds: float) -> bool:
    """Print the figures; whether all is as it must be."""
    sent = soaked.sent()
    verdicts = [] if wrong.startswith("no output") else judged(soaked, sent)
    events, recoveries, broken = soaked.events()
    faults = ", ".join(f"{count} {kind}" for kind, count in sorted(driver.faults.items()))
    print(f"soak: {seconds / 60:.1f} minutes, {sum(sent.values()):,} records")
    print(f"  faults: {sum(driver.faults.values())}: {faults}")
    print(
        f"  recoveries: {recoveries}; starts of the whole cluster on its store: {driver.restarts}; "
        f"sources moved: {events['source_moved']}; "
        f"longest time without output: {driver.longest_silence:.1f} s"
    )
    print(f"  requests: {', '.join(f'{n} {what}' for what, n in sorted(driver.requests.items()))}")
    for ending, count in soaked.endings.most_common():
        print(f"  workers ended: {count} x {ending}")
    ours = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"  memory at most: a worker {soaked.memory_most >> 20} MiB, the driver {ours:.0f} MiB")
    for verdict in verdicts:
        print(f"  {verdict}")
    if broken:
        wrong = wrong or f"a traceback in {', '.join(broken)}"
    if wrong:
        print(f"  WRONG: {wrong}")
    is_good = not wrong and all(verdict.is_exact for verdict in verdicts)
    print("soak: " + ("nothing lost, nothing doubled, all in order" if is_good else "FAILED"))
    return is_good


def judged(soaked: Soaked, sent: dict[str, int]) -> list[Verdict]:
    """The verdict on each sink, one after the other, because each takes memory."""

    def second(record: Numbered) -> int:
        return record.second

    def first(record: Numbered) -> int:
        return record.first

    return [
        judge(TWOS, as_taken(soaked.taken), sent, second),
        judge(FILES, in_files(soaked.files), sent, second),
        judge(ONES, in_files(soaked.ones), sent, first),
    ]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--rate", type=float, default=2000.0, help="records a second")
    parser.add_argument("--workers", type=int, default=3, help="to start with")
    parser.add_argument("--network", choices=("auto", "namespaces", "loopback"), default="auto")
    parser.add_argument("--only", default="", help=f"of {', '.join(WEIGHTS)}")
    parser.add_argument("--pace", type=float, default=1.0, help="times the time between faults")
    parser.add_argument("--folder", default="", help="where everything is written")
    parser.add_argument("--keep", action="store_true", help="keep it also when all is well")
    parser.add_argument("--aloud", action="store_true", help="tell the story while it happens")
    options = parser.parse_args()
    if unknown := set(filter(None, options.only.split(","))) - set(WEIGHTS):
        parser.error(f"no such fault: {', '.join(sorted(unknown))}")
    return options


if __name__ == "__main__":
    sys.exit(main())
