"""Streams: immutable values that a person chains from a source to a sink.

Every method gives a new stream and leaves its own as it was. Functions see the value of a record;
the key stays beside it until `values()` or the next `key_by`. Results are typed by the functions.

    on_error: what becomes of a record on which the function raises; the topology's policy if None.
    parallel: False runs the step in one place, on one worker, which then may not leave the cluster.
    needs: PerWorker values that must be open before the first record.
    name: what metrics, dead letters and, for a stateful operator, its state are found by. By
    default the function's name, for a lambda the operator's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    ParamSpec,
    TypeGuard,
    TypeVar,
    cast,
    overload,
)

from zstream.topology.aggregate import Aggregate
from zstream.topology.building import aggregating, counting, make, reducing, refusal
from zstream.topology.errors_policy import ErrorPolicy
from zstream.topology.node import Input, Kind, Node
from zstream.topology.per_worker import PerWorker
from zstream.topology.specs import Sink, Source

K = TypeVar("K", bound=Hashable)
J = TypeVar("J", bound=Hashable)
P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T")
U = TypeVar("U")
W = TypeVar("W")
T_co = TypeVar("T_co", covariant=True)
V_co = TypeVar("V_co", covariant=True)
Self_ = TypeVar("Self_")


class End(Generic[T]):
    """A stream that has reached its sink; handed to Topology(...)."""

    __slots__ = ("node",)

    def __init__(self, node: Node) -> None:
        self.node = node

    @property
    def name(self) -> str:
        """The sink's name."""
        return self.node.name

    def __repr__(self) -> str:
        return f"<End {self.node.name} made at {self.node.where}>"


class Stream(Generic[T_co]):
    """A stream of values of type T."""

    __slots__ = ("_output",)

    def __init__(self, output: Input) -> None:
        self._output = output

    @property
    def node(self) -> Node:
        """The last node so far."""
        return self._output.node

    def __repr__(self) -> str:
        node = self.node
        return f"<{type(self).__name__} of {node.label} {node.name} made at {node.where}>"

    def map(
        self,
        f: Callable[[T_co], W],
        *,
        name: str | None = None,
        parallel: bool = True,
        needs: Sequence[PerWorker[Any]] = (),
        on_error: ErrorPolicy | None = None,
    ) -> Stream[W]:
        """f(value) for each value."""
        return self._next("map", f, name=name, parallel=parallel, needs=needs, on_error=on_error)

    @overload
    def filter(
        self,
        keep: Callable[[T_co], TypeGuard[U]],
        *,
        name: str | None = None,
        parallel: bool = True,
        on_error: ErrorPolicy | None = None,
    ) -> Stream[U]: ...
    @overload
    def filter(
        self,
        keep: Callable[[T_co], object],
        *,
        name: str | None = None,
        parallel: bool = True,
        on_error: ErrorPolicy | None = None,
    ) -> Stream[T_co]: ...
    def filter(
        self,
        keep: Callable[[T_co], object],
        *,
        name: str | None = None,
        parallel: bool = True,
        on_error: ErrorPolicy | None = None,
    ) -> Stream[Any]:
        """Only values for which keep(value) is true. A TypeGuard narrows the stream's type."""
        return self._next("filter", keep, name=name, parallel=parallel, on_error=on_error)

    def flat_map(
        self,
        f: Callable[[T_co], Iterable[W]],
        *,
        name: str | None = None,
        parallel: bool = True,
        needs: Sequence[PerWorker[Any]] = (),
        on_error: ErrorPolicy | None = None,
    ) -> Stream[W]:
        """Each of the values that f(value) gives: none, one or many."""
        return self._next(
            "flat_map", f, name=name, parallel=parallel, needs=needs, on_error=on_error
        )

    def map_batches(
        self,
        f: Callable[[list[T_co]], Collection[W]],
        *,
        max_records: int | None = None,
        name: str | None = None,
        parallel: bool = True,
        needs: Sequence[PerWorker[Any]] = (),
        on_error: ErrorPolicy | None = None,
    ) -> Stream[W]:
        """f(values) for what has arrived together: as many results, in the same order.

        max_records: never more than so many at once. How many there are is chance otherwise.
        """
        return self._next(
            "map_batches",
            f,
            name=name,
            parallel=parallel,
            needs=needs,
            on_error=on_error,
            max_records=max_records,
        )

    def key_by(
        self,
        key: Callable[[T_co], J],
        *,
        name: str | None = None,
        on_error: ErrorPolicy | None = None,
    ) -> KeyedStream[J, T_co]:
        """The same values, each under key(value), at the worker that owns the key.

        A key is a str, bytes, int, bool, None, date, datetime, UUID, Enum or a tuple of these.
        """
        return cast(
            "KeyedStream[J, T_co]",
            self._next("key_by", key, keyed=True, name=name, on_error=on_error),
        )

    def merge(self, other: Stream[U]) -> Stream[T_co | U]:
        """The values of both; each stream in its own order. Two keyed streams stay keyed."""
        if not isinstance(other, Stream):
            raise refusal("merge", "a stream", other)
        inputs = (self._output, other._output)
        keyed = all(entered.node.keyed for entered in inputs)
        return _stream(make("merge", inputs, None, keyed=keyed))

    @overload
    def branch(
        self, test: Callable[[T_co], TypeGuard[U]], *, name: str | None = None
    ) -> tuple[Stream[U], Stream[T_co]]: ...
    @overload
    def branch(
        self, test: Callable[[T_co], object], *, name: str | None = None
    ) -> tuple[Stream[T_co], Stream[T_co]]: ...
    def branch(
        self, test: Callable[[T_co], object], *, name: str | None = None
    ) -> tuple[Stream[Any], Stream[T_co]]:
        """Two streams: the values for which test(value) is true, and the rest."""
        passed = self._next("branch", test, name=name)
        return passed, _stream(passed._output.node, port=1)

    def peek(self, f: Callable[[T_co], object], *, name: str | None = None) -> Stream[T_co]:
        """Call f(value) and pass the value on; what f returns is not looked at."""
        return self._next("peek", f, name=name)

    def pipe(
        self: Self_, f: Callable[Concatenate[Self_, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """f(stream, ...): an operator of your own, made of others, in the middle of a chain."""
        return f(self, *args, **kwargs)

    def rebalance(self, *, name: str | None = None) -> Stream[T_co]:
        """Spread what follows over all workers in turn. Order and key are not kept."""
        return self._next("rebalance", None, keyed=False, name=name)

    def sink(
        self, name: str, spec: Sink[T_co], *, on_error: ErrorPolicy | None = None
    ) -> End[T_co]:
        """Write the values to an outside system; hand the end to Topology(...)."""
        if not isinstance(spec, Sink):
            raise refusal(f"sink {name}", "a sink such as Stdout()", spec)
        return End(self._next("sink", None, name=name, on_error=on_error, sink=spec)._output.node)

    def _next(
        self, kind: Kind, function: Any, *, keyed: bool | None = None, **settings: Any
    ) -> Stream[Any]:
        """The stream behind one more node; it carries a key where this one does."""
        stays = self._output.node.keyed if keyed is None else keyed
        return _stream(make(kind, (self._output,), function, keyed=stays, **settings))


class KeyedStream(Stream[V_co], Generic[K, V_co]):
    """A stream whose values stand under keys. All of one key are at one worker, in order."""

    __slots__ = ()

    if TYPE_CHECKING:  # the methods of Stream, which keep the key; only their types differ

        def map(
            self,
            f: Callable[[V_co], W],
            *,
            name: str | None = None,
            parallel: bool = True,
            needs: Sequence[PerWorker[Any]] = (),
            on_error: ErrorPolicy | None = None,
        ) -> KeyedStream[K, W]: ...
        @overload
        def filter(
            self,
            keep: Callable[[V_co], TypeGuard[U]],
            *,
            name: str | None = None,
            parallel: bool = True,
            on_error: ErrorPolicy | None = None,
        ) -> KeyedStream[K, U]: ...
        @overload
        def filter(
            self,
            keep: Callable[[V_co], object],
            *,
            name: str | None = None,
            parallel: bool = True,
            on_error: ErrorPolicy | None = None,
        ) -> KeyedStream[K, V_co]: ...
        def filter(self, keep: Any, **settings: Any) -> KeyedStream[K, Any]: ...
        def flat_map(
            self,
            f: Callable[[V_co], Iterable[W]],
            *,
            name: str | None = None,
            parallel: bool = True,
            needs: Sequence[PerWorker[Any]] = (),
            on_error: ErrorPolicy | None = None,
        ) -> KeyedStream[K, W]: ...
        def map_batches(
            self,
            f: Callable[[list[V_co]], Collection[W]],
            *,
            max_records: int | None = None,
            name: str | None = None,
            parallel: bool = True,
            needs: Sequence[PerWorker[Any]] = (),
            on_error: ErrorPolicy | None = None,
        ) -> KeyedStream[K, W]: ...
        @overload
        def merge(self, other: KeyedStream[K, U]) -> KeyedStream[K, V_co | U]: ...
        @overload
        def merge(self, other: Stream[U]) -> Stream[V_co | U]: ...
        def merge(self, other: Any) -> Any: ...
        @overload
        def branch(
            self, test: Callable[[V_co], TypeGuard[U]], *, name: str | None = None
        ) -> tuple[KeyedStream[K, U], KeyedStream[K, V_co]]: ...
        @overload
        def branch(
            self, test: Callable[[V_co], object], *, name: str | None = None
        ) -> tuple[KeyedStream[K, V_co], KeyedStream[K, V_co]]: ...
        def branch(self, test: Any, *, name: str | None = None) -> Any: ...
        def peek(
            self, f: Callable[[V_co], object], *, name: str | None = None
        ) -> KeyedStream[K, V_co]: ...

    def items(self) -> KeyedStream[K, tuple[K, V_co]]:
        """(key, value) in the place of the value."""
        return self._keyed("items", None)

    def map_items(
        self,
        f: Callable[[K, V_co], W],
        *,
        name: str | None = None,
        on_error: ErrorPolicy | None = None,
    ) -> KeyedStream[K, W]:
        """f(key, value) for each value."""
        return self._keyed("map_items", f, name=name, on_error=on_error)

    def values(self) -> Stream[V_co]:
        """The values without their keys."""
        return self._next("values", None, keyed=False)

    @overload
    def stateful_map(
        self,
        step: Callable[[S, V_co], tuple[S | None, W]],
        initial: Callable[[], S],
        *,
        name: str | None = None,
        was: str | None = None,
        on_error: ErrorPolicy | None = None,
    ) -> KeyedStream[K, W]: ...
    @overload
    def stateful_map(
        self,
        step: Callable[[S | None, V_co], tuple[S | None, W]],
        initial: None = None,
        *,
        name: str | None = None,
        was: str | None = None,
        on_error: ErrorPolicy | None = None,
    ) -> KeyedStream[K, W]: ...
    def stateful_map(
        self,
        step: Callable[[Any, V_co], tuple[Any, W]],
        initial: Callable[[], Any] | None = None,
        *,
        name: str | None = None,
        was: str | None = None,
        on_error: ErrorPolicy | None = None,
    ) -> KeyedStream[K, W]:
        """step(state, value) -> (state, output), with a state for each key.

        A key's first state is initial(), or None without it. Returning None as the state drops
        it. Only what is returned counts; changing the state in place and returning it is fine.
        was: the name that this operator's state had before it was renamed.
        """
        return self._keyed(
            "stateful_map", step, initial=initial, name=name, was=was, on_error=on_error
        )

    @overload
    def stateful_flat_map(
        self,
        step: Callable[[S, V_co], tuple[S | None, Iterable[W]]],
        initial: Callable[[], S],
        *,
        name: str | None = None,
        was: str | None = None,
        on_error: ErrorPolicy | None = None,
    ) -> KeyedStream[K, W]: ...
    @overload
    def stateful_flat_map(
        self,
        step: Callable[[S | None, V_co], tuple[S | None, Iterable[W]]],
        initial: None = None,
        *,
        name: str | None = None,
        was: str | None = None,
        on_error: ErrorPolicy | None = None,
    ) -> KeyedStream[K, W]: ...
    def stateful_flat_map(
        self,
        step: Callable[[Any, V_co], tuple[Any, Iterable[W]]],
        initial: Callable[[], Any] | None = None,
        *,
        name: str | None = None,
        was: str | None = None,
        on_error: ErrorPolicy | None = None,
    ) -> KeyedStream[K, W]:
        """As stateful_map, but step gives any number of outputs: (state, [output, ...])."""
        return self._keyed(
            "stateful_flat_map", step, initial=initial, name=name, was=was, on_error=on_error
        )

    def reduce(
        self,
        f: Callable[[V_co, V_co], V_co],
        *,
        name: str | None = None,
        was: str | None = None,
        on_error: ErrorPolicy | None = None,
    ) -> KeyedStream[K, V_co]:
        """f(so far, value) of all values of a key, running: one output for each value."""
        return self._keyed(
            "stateful_map",
            reducing(f),
            label="reduce",
            named_after=f,
            initial=None,
            name=name,
            was=was,
            on_error=on_error,
        )

    def aggregate(
        self,
        how: Aggregate[V_co, Any, R],
        *,
        name: str | None = None,
        was: str | None = None,
        on_error: ErrorPolicy | None = None,
    ) -> KeyedStream[K, R]:
        """An aggregate of all values of a key, running: one output for each value."""
        if not isinstance(how, Aggregate):
            raise refusal("aggregate", "an Aggregate such as mean(...)", how)
        return self._keyed(
            "stateful_map",
            aggregating(how),
            label="aggregate",
            initial=how.initial,
            name=name or "aggregate",
            was=was,
            on_error=on_error,
        )

    def count(self, *, name: str | None = None, was: str | None = None) -> KeyedStream[K, int]:
        """How many values the key has had, running: one output for each value."""
        return self._keyed(
            "stateful_map", counting, label="count", initial=int, name=name or "count", was=was
        )

    def _keyed(self, kind: Kind, function: Any, **settings: Any) -> KeyedStream[K, Any]:
        return cast("KeyedStream[K, Any]", self._next(kind, function, **settings))


def source(name: str, spec: Source[T]) -> Stream[T]:
    """A stream of what `spec` reads. `name` is what its address and its records are given by."""
    if not isinstance(spec, Source):
        raise refusal(f"source {name}", "a source such as FileSource(...)", spec)
    return _stream(make("source", (), None, name=name, keyed=False, source=spec))


def _stream(node: Node, port: int = 0) -> Stream[Any]:
    output = Input(node, port)
    return KeyedStream(output) if node.keyed else Stream(output)
