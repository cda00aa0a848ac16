"""What happens to a record on which a person's function fails.

An operator calls the person's function for a whole column at a time (`call_each`). When it raises,
what was done stays done, the failing record goes to the operator's policy, and the column goes on
behind it: no record is given to a function twice, unless the policy is Retry.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from traceback import format_exception
from typing import Any

from zstream.errors import UserFunctionError, ZstreamError
from zstream.model.batch import Batch
from zstream.ports.letters import DeadLetter
from zstream.topology.errors_policy import ErrorPolicy, Retry
from zstream.topology.node import Node

SHOWN_CHARACTERS_MAX = 200  # of a record or key, in a sentence for a person

Refuse = Callable[[DeadLetter], None]


class Gauge:
    """Figures that all operators of one dataflow share.

    running: the operator in whose user code the loop is, or "". Set once per batch and operator;
    a thread beside the loop may read it.
    """

    __slots__ = ("dead_letters", "running")

    def __init__(self) -> None:
        self.running = ""
        self.dead_letters = 0


class OperatorErrors:
    """The error policy of one operator, its count of failures, and the words for them."""

    def __init__(self, node: Node, default: ErrorPolicy, refuse: Refuse, gauge: Gauge) -> None:
        policy: ErrorPolicy = node.options.get("on_error") or default
        self.operator = node.name
        self.where = node.where
        self.kind = node.label or node.kind
        self.retries = policy.times if isinstance(policy, Retry) else 0
        self.last_resort = policy.then if isinstance(policy, Retry) else policy
        self.count = 0
        self._refuse = refuse
        self._gauge = gauge

    def begin(self) -> None:
        """User code of this operator holds the loop from here on."""
        self._gauge.running = self.operator

    def failed(self, error: Exception, key: Any, record: Any) -> None:
        """Give the record to the policy. Raises UserFunctionError where that is "stop"."""
        self.count += 1
        at = _user_line(error)
        if self.last_resort == "stop":
            raise UserFunctionError(self._sentence(error, key, record, at)) from error
        if self.last_resort == "skip":
            return
        self._gauge.dead_letters += 1
        self._refuse(
            DeadLetter(
                operator=self.operator,
                where=self.where,
                key=key,
                record=record,
                error=error_words(error),
                traceback="".join(format_exception(type(error), error, error.__traceback__)),
                at=at,
            )
        )

    def _sentence(self, error: Exception, key: Any, record: Any, at: str) -> str:
        if isinstance(error, ZstreamError):
            return str(error)
        says = f"{self.operator} ({self.where}) raised {error_words(error)}"
        if key is not None:
            says += f", key {shown(key)}"
        says += f", record {shown(record)}"
        return f"{says}, at {at}" if at else says


def call_each(
    function: Callable[..., Any],
    batch: Batch,
    errors: OperatorErrors,
    columns: Sequence[Sequence[Any]] | None = None,
    then: Callable[[Any], Any] | None = None,
) -> tuple[list[Any], list[int]]:
    """Call `function` once for each row of the batch; return (results, rows that failed).

    The loop runs in C: `list.extend` over one `map`. What was appended before an exception stays,
    and the same map goes on behind the row that raised. A StopIteration of the person's ends
    `extend` without a word, so the length is what tells whether the batch is done.

    columns: the arguments, where they are not the batch's values. then: what is done at once with
    each result and belongs to the call, such as taking the truth of it.
    """
    errors.begin()
    total = len(batch)
    results: list[Any] = []
    failed: list[int] = []
    arguments = (batch.values,) if columns is None else columns
    calls = map(function, *arguments)
    if then is not None:
        calls = map(then, calls)
    while True:
        error: Exception
        try:
            results.extend(calls)
            error = RuntimeError("the function raised StopIteration")
        except Exception as raised:
            error = raised
        row = len(results) + len(failed)
        if row == total:
            return results, failed
        outcome = _retried(function, then, [column[row] for column in arguments], errors, error)
        if isinstance(outcome, _Given):
            results.append(outcome.value)
        else:
            errors.failed(
                outcome, None if batch.keys is None else batch.keys[row], batch.values[row]
            )
            failed.append(row)


class _Given:
    """What a retried call returned."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


def _retried(
    function: Callable[..., Any],
    then: Callable[[Any], Any] | None,
    row: list[Any],
    errors: OperatorErrors,
    error: Exception,
) -> _Given | Exception:
    """What comes of calling again, as often as the policy says; the last error if nothing does."""
    for _ in range(errors.retries):
        try:
            result = function(*row)
            return _Given(result if then is None else then(result))
        except Exception as raised:
            error = raised
    return error


def error_words(error: Exception) -> str:
    """ "ValueError: bad vote"; what zstream itself says stands alone."""
    if isinstance(error, ZstreamError):
        return str(error)
    says = _quietly(str, error)
    return f"{type(error).__name__}: {says}" if says else type(error).__name__


def shown(value: Any) -> str:
    """repr, cut to what a line can hold; the repr of a person's class may itself raise."""
    words = _quietly(repr, value)
    if len(words) > SHOWN_CHARACTERS_MAX:
        return words[:SHOWN_CHARACTERS_MAX] + "..."
    return words


def _quietly(words: Callable[[Any], str], value: Any) -> str:
    try:
        return words(value)
    except Exception:
        return f"<{type(value).__name__}>"


def _user_line(error: Exception) -> str:
    """ "alphabet.py:17": the deepest line of the traceback that is not zstream's, or ""."""
    found = ""
    step = error.__traceback__
    while step is not None:
        module = str(step.tb_frame.f_globals.get("__name__", ""))
        if module.partition(".")[0] != "zstream":
            file = step.tb_frame.f_code.co_filename.replace("\\", "/").rpartition("/")[2]
            found = f"{file}:{step.tb_lineno}"
        step = step.tb_next
    return found
