"""Say who is at fault when the client cannot go on: the server, the line, or the caller."""

from __future__ import annotations

from typing import ClassVar

from transports.wire.errors import CATALOGUE, StrongroomError, text


class ClientError(StrongroomError):
    """Root of what the SDK raises. ``retryable``: the same call may succeed later."""

    code = "client.failed"
    can_retry: ClassVar[bool] = False
    message: ClassVar[str] = "The client failed."

    @property
    def retryable(self) -> bool:
        """Whether the same call may succeed later."""
        return self.can_retry

    def __str__(self) -> str:
        return self.message


class Refused(ClientError):
    """The server understood and refused.

    Attributes:
        code: the stable code of the refusal, such as ``send.too_large``.
        after: how many seconds to wait before a retry; 0: no advice.
    """

    def __init__(self, code: str, *, retryable: bool | None = None, after: float = 0) -> None:
        super().__init__(code, after=after)
        known = CATALOGUE.get(code)
        self._is_retryable = retryable if retryable is not None else bool(known and known.retryable)

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed later."""
        return self._is_retryable

    def __str__(self) -> str:
        return f"{self.code}: {text(self.code)}" if self.code in CATALOGUE else self.code


class Unreachable(ClientError):
    """No carrier reached the server in time."""

    code = "client.unreachable"
    can_retry = True
    message = "The server cannot be reached."


class Untrusted(ClientError):
    """The server could not prove that it is the one that was named: wrong pin, CA or name."""

    code = "client.untrusted"
    message = "The server's certificate is not the one expected."


class Interrupted(ClientError):
    """The connection broke before the answer: the request may or may not have been carried out."""

    code = "client.interrupted"
    can_retry = True
    message = "The connection broke before the server answered."


class Closed(ClientError):
    """The session was closed by this side."""

    code = "client.closed"
    message = "The session is closed."


class ProfileError(ClientError):
    """The profile on this machine cannot be used; ``detail`` says why."""

    code = "client.profile"

    def __init__(self, detail: str) -> None:
        super().__init__()
        self.detail = detail

    def __str__(self) -> str:
        return self.detail


class CarrierLost(ClientError):
    """One connection ended; the session makes another. ``reason`` is the close code, 0: none."""

    code = "client.carrier_lost"
    can_retry = True
    message = "The connection ended."

    def __init__(self, reason: int = 0) -> None:
        super().__init__()
        self.reason = reason
