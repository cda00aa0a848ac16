"""What the leader has been asked for and has not begun: joiners that wait, shrinks in line.

A request is checked when it comes, before anything is disturbed (I6), and once more when its turn
comes. Who asks repeats the request with its id until the outcome is final, so nothing here needs
to outlive the leader: the next leader is simply asked again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from zstream.config import Config
from zstream.control.state import ClusterState
from zstream.model.ids import Incarnation, RequestId, RescaleId, WorkerName
from zstream.model.membership import Member
from zstream.model.records import RescaleClosed, RescaleOpened
from zstream.topology.outline import difference
from zstream.wire.codec import encode_plain
from zstream.wire.messages import PROTOCOL_VERSION, Answer, JoinReply, JoinRequest, ShrinkRequest

SAY_EVERY = 10.0  # seconds between two lines that say what is waited for


@dataclass
class Waiting:
    """A joiner that is waiting for its batch, or with its batch for its turn."""

    request: JoinRequest
    first_at: float
    seen_at: float
    rivals: dict[Incarnation, JoinRequest] = field(default_factory=dict)  # later, of its name


@dataclass(frozen=True)
class Opening:
    """What is to be opened next: the fields of a RescaleOpened that are decided here."""

    kind: str
    cause: str
    requests: tuple[RequestId, ...]
    joiners: tuple[Member, ...]
    leavers: tuple[Member, ...]
    says: str


@dataclass(frozen=True)
class Software:
    """What joiners are compared with: the topology and version that this cluster runs."""

    topology: str
    fingerprint: str
    outline: tuple[tuple[str, str, str], ...]
    version: str


def names(workers: list[str] | tuple[str, ...]) -> str:
    return ", ".join(workers)


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


class Requests:
    """Requests by the order in which they came. Times are monotonic seconds."""

    def __init__(self, config: Config, software: Software, start_count: int) -> None:
        self._config = config
        self._software = software
        self._start_count = start_count
        self._joiners: dict[Incarnation, Waiting] = {}
        self._replacing: dict[WorkerName, Waiting] = {}  # under the name of a member that is quiet
        self._refused: dict[Incarnation, JoinReply] = {}
        self._line: list[ShrinkRequest | tuple[Incarnation, ...]] = []  # whose turn comes next

    # ---- joiners

    def on_join(
        self,
        request: JoinRequest,
        state: ClusterState,
        heard: Mapping[WorkerName, float],
        now: float,
    ) -> JoinReply:
        """Check a joiner; it is refused, or waits. Asking again is its sign of life.

        heard: when the members but the leader were heard last. Who comes under the name of one
        waits to take its place, until that one is heard again.
        """
        me = request.member.incarnation
        if me in self._refused:
            return self._refused[me]
        if request.kind == "start" and state.generation is not None:
            self._drop(me)  # the start went on with others
        waiting = self._joiners.get(me)
        if waiting is not None:
            waiting.seen_at = now
            self._turn_rivals_away(waiting)
            return self._waits(request, state)
        if any(joiner.incarnation == me for joiner in state.people):
            return self._reply(request, "waiting", says="links are being opened")
        refusal = self._other_software(request)
        if refusal is None and request.member.name in heard:
            return self._replaces(request, state, heard[request.member.name], now)
        refusal = refusal or self._refusal(request, state)
        if refusal is not None:
            return refusal
        self._joiners[me] = Waiting(request, now, now)
        self._complete_batch(request.kind, request.worker_count)
        return self._waits(request, state)

    def missing_to_start(self, state: ClusterState) -> int:
        """How many of the workers that the cluster starts with have not come yet."""
        if state.generation is not None or state.open is not None:
            return 0
        came = [w for w in self._joiners.values() if w.request.kind == "start"]
        return max(0, self._start_count - 1 - len(came))

    def expire(self, now: float) -> list[tuple[str, JoinReply]]:
        """Let go of joiners that fell silent, and refuse batches whose deadline has passed.

        Returns replies to send, each with the joiner's control address.
        """
        silent = self._config.joiner_silent_ms / 1000
        for name, waiting in list(self._replacing.items()):
            if now - waiting.seen_at > silent:
                del self._replacing[name]
        for me, waiting in list(self._joiners.items()):
            if now - waiting.seen_at > silent:
                self._drop(me)
        batch = self._batch("join")
        if not batch:
            return []
        deadline = batch[0].request.deadline_ms / 1000
        if now - batch[0].first_at < deadline:
            return []
        came = names([w.request.member.name for w in batch])
        wanted = batch[0].request.worker_count
        says = (
            f"after {deadline:.0f} s only {len(batch)} of {wanted} joiners came ({came}). "
            "Nothing was changed."
        )
        number = {2: "both", 3: "all three"}.get(wanted, f"all {wanted}")
        do = f"Start {number} again, or raise --join-deadline."
        replies = []
        for waiting in batch:
            reply = self._reply(waiting.request, "refused", "batch_incomplete", says, do)
            self._refused[waiting.request.member.incarnation] = reply
            self._drop(waiting.request.member.incarnation)
            replies.append((waiting.request.member.control, reply))
        return replies

    def next_timer(self) -> float | None:
        """When `expire` has something to do, at the latest."""
        if not self._joiners:
            return None
        silent = min(w.seen_at for w in self._joiners.values())
        times = [silent + self._config.joiner_silent_ms / 1000]
        batch = self._batch("join")
        if batch:
            times.append(batch[0].first_at + batch[0].request.deadline_ms / 1000)
        return min(times)

    def replacements(self) -> dict[WorkerName, Member]:
        """Who waits to take the place of a member of the same name, should that one be dead."""
        return {name: waiting.request.member for name, waiting in self._replacing.items()}

    def let_in(self, members: Collection[Member]) -> None:
        """These are members now."""
        for member in members:
            self._replacing.pop(member.name, None)

    def _replaces(
        self, request: JoinRequest, state: ClusterState, heard_at: float, now: float
    ) -> JoinReply:
        """The name is a member's: it has died and this one takes its place, or it is heard."""
        name = request.member.name
        waiting = self._replacing.get(name)
        if waiting is not None and heard_at > waiting.first_at:
            del self._replacing[name]
            member = state.table.named(name)
            if waiting.request.member == request.member and member is not None:
                self._refused[request.member.incarnation] = self._name_taken(request, member)
                return self._refused[request.member.incarnation]
            waiting = None
        if waiting is None or waiting.request.member == request.member:
            first_at = waiting.first_at if waiting else now
            self._replacing[name] = Waiting(request, first_at, now)
        says = f"{name} is a member; if it has died, this worker takes its place"
        return self._reply(request, "waiting", says=says)

    def _other_software(self, request: JoinRequest) -> JoinReply | None:
        """Why this joiner can never be of this cluster, or None."""
        ours, member = self._software, request.member
        if request.protocol != PROTOCOL_VERSION or request.version != ours.version:
            says = (
                f"{member.name} runs zstream {request.version} (protocol {request.protocol}), the "
                f"cluster {ours.version} (protocol {PROTOCOL_VERSION})."
            )
            return self._reply(
                request, "refused", "other_version", says, "Install the same version everywhere."
            )
        if (request.topology, request.fingerprint) != (ours.topology, ours.fingerprint):
            theirs = "" if request.topology == ours.topology else f"{ours.topology} "
            says = (
                f"{member.name} runs topology {request.topology} {request.fingerprint}, the cluster"
                f" {theirs}{ours.fingerprint}"
            )
            clause = difference(request.outline, ours.outline)
            return self._reply(
                request,
                "refused",
                "other_topology",
                f"{says}: {clause}." if clause else f"{says}.",
                "Start it from the same code.",
            )
        return None

    def _refusal(self, request: JoinRequest, state: ClusterState) -> JoinReply | None:
        """Why this joiner may not wait, or None."""
        ours, member = self._software, request.member
        if request.kind == "start" and state.generation is not None:
            size = plural(len(state.table.members), "worker")
            says = f"the cluster {ours.topology} is up already, with {size}."
            do = f"To let {member.name} join it, use --join instead of --control."
            return self._reply(request, "refused", "started", says, do)
        taken = next((m for m in state.people if m.name == member.name), None)
        if taken is not None:
            return self._name_taken(request, taken)
        batch = self._batch(request.kind)
        if (
            request.kind == "join"
            and batch
            and batch[0].request.worker_count != (request.worker_count)
        ):
            here = names([w.request.member.name for w in batch])
            be = "is" if len(batch) == 1 else "are"
            says = (
                f"{member.name} asks for a batch of {request.worker_count}, but the batch that is "
                f"waiting is of {batch[0].request.worker_count} ({here} {be} there). "
                "All joiners must give the same --worker-count. The batch waits on."
            )
            return self._reply(request, "refused", "other_worker_count", says)
        holder = next(
            (w for w in self._joiners.values() if w.request.member.name == member.name), None
        )
        if holder is not None:
            holder.rivals[member.incarnation] = request
            says = f"another joiner called {member.name} was here; seeing whether it still lives"
            return self._reply(request, "waiting", says=says)
        return None

    def _turn_rivals_away(self, waiting: Waiting) -> None:
        """The holder of a name lives: who came later under that name is refused."""
        for rival, request in waiting.rivals.items():
            self._refused[rival] = self._name_taken(request, waiting.request.member)
        waiting.rivals.clear()

    def _name_taken(self, request: JoinRequest, holder: Member) -> JoinReply:
        says = (
            f"the name {holder.name} is taken in cluster {self._software.topology} "
            f"by the worker at {holder.control}."
        )
        return self._reply(request, "refused", "name_taken", says, "Choose another --name.")

    def _batch(self, kind: str) -> list[Waiting]:
        """Joiners whose batch is not complete yet, in the order they came."""
        in_line = {me for item in self._line if isinstance(item, tuple) for me in item}
        return [
            waiting
            for me, waiting in self._joiners.items()
            if me not in in_line and waiting.request.kind == kind
        ]

    def _complete_batch(self, kind: str, worker_count: int) -> None:
        batch = self._batch(kind)
        wanted = self._start_count - 1 if kind == "start" else worker_count
        if len(batch) >= wanted:
            whole = tuple(w.request.member.incarnation for w in batch[:wanted])
            if kind == "start" and whole:
                self._line.insert(0, whole)
            elif whole:
                self._line.append(whole)

    def _drop(self, me: Incarnation) -> None:
        """Forget a joiner; a complete batch that it was in waits on for another."""
        self._joiners.pop(me, None)
        self._line = [item for item in self._line if not (isinstance(item, tuple) and me in item)]

    def _waits(self, request: JoinRequest, state: ClusterState) -> JoinReply:
        me = request.member.incarnation
        for place, item in enumerate(self._line):
            if isinstance(item, tuple) and me in item:
                says = (
                    self._in_turn(state, place, "grow") or "the batch is complete, its turn is next"
                )
                return self._reply(request, "waiting", says=says)
        batch = self._batch(request.kind)
        wanted = self._start_count - 1 if request.kind == "start" else request.worker_count
        if wanted < len(batch):
            return self._reply(request, "waiting", says="the start has all its workers")
        here = names([w.request.member.name for w in batch])
        more = plural(wanted - len(batch), "more worker")
        return self._reply(request, "waiting", says=f"waiting for {more} (here: {here})")

    def _reply(
        self, request: JoinRequest, state: str, code: str = "", says: str = "", do: str = ""
    ) -> JoinReply:
        return JoinReply(
            request.request, state, code, says, do, cluster="", store=""
        )  # the leader fills in cluster and store

    # ---- shrinks

    def on_shrink(self, request: ShrinkRequest, state: ClusterState) -> Answer:
        """Check a shrink; it is refused, or waits its turn."""
        for place, item in enumerate(self._line):
            if isinstance(item, ShrinkRequest) and item.request == request.request:
                says = self._in_turn(state, place, "shrink")
                return answer(request.request, "waiting", says)
        opening = check_shrink(request, state)
        if isinstance(opening, Answer):
            return opening
        self._line.append(request)
        says = self._in_turn(state, len(self._line) - 1, "shrink")
        return answer(request.request, "waiting", says)

    def _in_turn(self, state: ClusterState, place: int, kind: str) -> str:
        """The sentence for who must wait, or "" for who is next."""
        if state.open is None and place == 0:
            return ""
        mine = RescaleId(f"{kind}-{state.rescales + 1 + place}")
        if state.open is None:
            return f"{mine} waits its turn."
        return f"{state.open.id} is under way{waves_done(state)}; {mine} waits its turn."

    # ---- whose turn it is

    @property
    def are_waiting(self) -> bool:
        """Whether there is something to be opened when its turn comes."""
        return bool(self._line)

    def take_next(self, state: ClusterState, refuse: Callable[[Answer], None]) -> Opening | None:
        """What to open now, checked once more; what is refused by now is handed to `refuse`."""
        while self._line:
            item = self._line[0]
            if isinstance(item, tuple):
                waiting = [self._joiners[me].request for me in item]
                if waiting[0].kind == "join" and state.generation is None:
                    return None
                if waiting[0].kind == "start" and state.generation is not None:
                    self._line.pop(0)  # refused when they ask again
                    continue
                if self._refuse_taken_names(waiting, state):
                    continue
                return Opening(
                    kind="start" if waiting[0].kind == "start" else "grow",
                    cause="join by " + names([r.member.name for r in waiting]),
                    requests=tuple(r.request for r in waiting),
                    joiners=tuple(r.member for r in waiting),
                    leavers=(),
                    says=f"Growing by {plural(len(waiting), 'worker')}!",
                )
            if state.generation is None:
                return None
            opening = check_shrink(item, state)
            if isinstance(opening, Opening):
                return opening
            self._line.pop(0)
            refuse(opening)
        return None

    def _refuse_taken_names(self, batch: list[JoinRequest], state: ClusterState) -> bool:
        """Those whose names have become members' since they asked; the others wait on."""
        found = False
        for request in batch:
            holder = state.table.named(request.member.name)
            if holder is not None:
                found = True
                me = request.member.incarnation
                self._refused[me] = self._name_taken(request, holder)
                self._drop(me)
        return found

    def opened(self, opened: RescaleOpened) -> None:
        """This one stands in the log now."""
        mine = set(opened.requests)
        for joiner in opened.joiners:
            self._joiners.pop(joiner.incarnation, None)
        self._line = [
            item
            for item in self._line
            if not (
                (isinstance(item, ShrinkRequest) and item.request in mine)
                or (isinstance(item, tuple) and not set(item) <= set(self._joiners))
            )
        ]


def waves_done(state: ClusterState) -> str:
    """ " (2 of 4 waves)" of the rescale under way, or ""."""
    opened = state.generation
    if state.open is None or opened is None or opened.rescale != state.open.id or not opened.waves:
        return ""
    return f" ({opened.wave} of {opened.waves} waves)"


def answer(
    request: RequestId,
    state: str,
    says: str = "",
    code: str = "",
    do: str = "",
    data: object = None,
) -> Answer:
    return Answer(request, state, code, says, do, encode_plain({} if data is None else data))


def eligible(state: ClusterState) -> tuple[list[Member], dict[str, str]]:
    """Who may leave, youngest last, and why the others stay.

    Where nobody must stay the most senior does. It was there at the newest recovery, as everybody
    is on whom something is placed: so one who knows the positions that nobody reads always stays.
    """
    staying: dict[str, str] = {}
    free: list[Member] = []
    for member in state.table.members:
        because = state.placement.stays_because(member.name)
        if because:
            staying[member.name] = because
        else:
            free.append(member)
    if free and not staying:
        staying[free[0].name] = "somebody must stay"
        free = free[1:]
    return free, staying


def _stay(staying: dict[str, str], of: list[str]) -> str:
    return "; ".join(f"{name} stays: {staying[name]}" for name in of) + "."


def check_shrink(request: ShrinkRequest, state: ClusterState) -> Opening | Answer:
    """What a shrink would do now, or why it is refused."""
    if state.generation is None:
        return answer(
            request.request,
            "refused",
            "The cluster is not up yet. Nothing was changed.",
            "not_up",
            "Ask again when it is.",
        )
    if state.shutdown is not None:
        return answer(request.request, "refused", "The cluster is shutting down.", "shutting_down")
    free, staying = eligible(state)
    if request.workers:
        return _check_names(request, state, free, staying)
    if request.count < 1:
        return answer(
            request.request,
            "refused",
            f"Invalid shrink targets! The count must be at least 1, it is {request.count}. "
            "Nothing was changed.",
            "bad_count",
        )
    if not free:
        return answer(
            request.request,
            "refused",
            f"Cannot shrink 0 workers! {_stay(staying, list(staying))}",
            "none_eligible",
        )
    chosen = free[-request.count :]
    says = f"Shrinking by {len(chosen)} workers!"
    if len(chosen) < request.count:
        be = "only " + names([m.name for m in free])
        says += f"   ({request.count} asked; {be} may leave)"
    return _opening(request, chosen, says)


def _check_names(
    request: ShrinkRequest, state: ClusterState, free: list[Member], staying: dict[str, str]
) -> Opening | Answer:
    wanted = list(dict.fromkeys(request.workers))
    unknown = [name for name in wanted if state.table.named(WorkerName(name)) is None]
    if unknown:
        there = names([m.name for m in state.table.members])
        noun = "no worker" if len(unknown) == 1 else "no workers"
        return answer(
            request.request,
            "refused",
            f"Invalid shrink targets! There is {noun} {names(unknown)}; the workers are {there}. "
            "Nothing was changed.",
            "unknown_worker",
        )
    stay = [name for name in wanted if name in staying]
    if stay:
        return answer(
            request.request,
            "refused",
            f"Invalid shrink targets! {_stay(staying, stay)} Nothing was changed.",
            "not_eligible",
        )
    chosen = [member for member in free if member.name in wanted]
    return _opening(request, chosen, f"Shrinking by {len(chosen)} workers!")


def _opening(request: ShrinkRequest, chosen: list[Member], says: str) -> Opening:
    return Opening(
        kind="shrink",
        cause=request.cause,
        requests=(request.request,),
        joiners=(),
        leavers=tuple(chosen),
        says=says,
    )


def outcome_data(closed: RescaleClosed) -> dict[str, object]:
    """An ended rescale as the tools show it."""
    return {
        "id": closed.id,
        "cause": closed.cause,
        "outcome": closed.outcome,
        "says": closed.says,
        "joined": list(closed.joined),
        "left": list(closed.left),
        "key_groups_moved": closed.key_groups_moved,
        "seconds": round(closed.seconds, 3),
        "slowest_key_group_ms": round(closed.slowest_key_group_ms, 1),
        "records_held": closed.records_held,
        "pauses_ms": [round(pause, 2) for pause in closed.pauses_ms],
        "timeline": [[what, round(at, 4)] for what, at in closed.timeline],
    }
