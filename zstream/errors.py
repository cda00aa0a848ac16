"""The error tree: whose fault is it, and may I retry?

ZstreamError
|-- UsageError            the person's: the command line or a call is wrong (exit 2)
|-- TopologyError         the person's: it cannot run as written; names operator and line
|   `-- CannotTravel      a value or type that cannot be moved to another worker
|-- UserFunctionError     the person's function raised; names operator, line, key and record
|-- Refused               the cluster said no and changed nothing; do what `do` says
|-- ClusterUnreachable    nobody answers; retry when the cluster is there
|-- ClusterTimeout        the answer did not come in time; the work goes on, ask again (exit 3)
|-- ConnectorError        an outside system refused (port in use, file missing)
|-- LimitExceeded         a named limit was passed; raise the setting it names, or send less
|-- WireError             bytes that are not ours or damaged; dropped and counted, never obeyed
`-- InvariantBroken       ours: a bug in zstream; please report it with the story it prints
"""

from __future__ import annotations


class ZstreamError(Exception):
    """Base of every error that zstream raises on purpose."""


class UsageError(ZstreamError):
    """The command line, an environment variable, or a call is wrong. Exit code 2."""


class TopologyError(ZstreamError):
    """A topology cannot run as written.

    operator: the operator's name, or "" where the whole topology is meant.
    where: "file.py:12", the line of the user's code that made it, or "".
    """

    def __init__(self, says: str, *, operator: str = "", where: str = "") -> None:
        super().__init__(says)
        self.says = says
        self.operator = operator
        self.where = where


class CannotTravel(TopologyError):
    """A value or type that cannot be encoded, so it could not follow its key to another worker."""


class UserFunctionError(ZstreamError):
    """A function of the user's raised, and on_error is "stop"."""


class Refused(ZstreamError):
    """The cluster refused a request before anything was disturbed.

    code: stable, snake_case, for programs. says: the sentence. do: what to do about it, or "".
    """

    def __init__(self, code: str, says: str, do: str = "") -> None:
        super().__init__(f"{says} {do}".strip())
        self.code = code
        self.says = says
        self.do = do


class ClusterUnreachable(ZstreamError):
    """Nobody answers at the address, or what answers is not a zstream worker."""


class ClusterTimeout(ZstreamError):
    """The answer did not come in time. What was asked for goes on. Exit code 3."""


class ConnectorError(ZstreamError):
    """A source or sink cannot be opened or used: port in use, file missing, library missing."""


class LimitExceeded(ZstreamError):
    """Something passed a named, configurable limit; `limit` is the setting's name in Config."""

    def __init__(self, limit: str, says: str) -> None:
        super().__init__(f"{says} (limit {limit})")
        self.limit = limit


class WireError(ZstreamError):
    """Bytes from outside that cannot be decoded. They are dropped and counted, never obeyed."""


class InvariantBroken(ZstreamError):
    """A rule of the protocols does not hold: a bug in zstream."""
