"""Keep how far the application has come with the events, and answer for what was destroyed.

An event counts as taken when it is handed out. A ``wipe`` counts only when the application asks
for the next event: until then it may still be dropping what it kept. Then the answer ``wiped``
is owed, from one run of the program to the next, until the server has taken it.

One answer is under way at a time and names the newest certificate, which covers those before
it. It waits until the server has answered for whatever was written before: what is kept to be
sent again may be just what was destroyed.
"""

from __future__ import annotations

from client.core import Core, State
from client.errors import ClientError
from client.notices import AppEvent
from client.profile import Profile
from transports.wire import schema

SAVE_SECONDS = 1.0
"""The shortest time between two notes of the position in the profile."""


class Progress:
    """How far one session's application is; without a profile only for as long as it runs."""

    def __init__(self, core: Core, profile: Profile | None) -> None:
        self._core = core
        self._profile = profile
        self._taken = ("", "")
        self._saved_at = float("-inf")
        self._wipe: schema.Event | None = None
        self._owed = 0
        self._written_before = 0
        self._answer = 0
        self._is_named = False
        self._is_put_off = False
        self._has_more = False

    def restore(self) -> None:
        """Take up the answer that an earlier run of this profile owes; after its outbox."""
        if self._profile is not None:
            self._owed = self._profile.owed()
            self._written_before = self._core.last_request

    # --- events ---------------------------------------------------------------------------------

    def began(self) -> None:
        """Let the next session of a new profile begin here, even if this one takes no event."""
        if self._profile is not None and not self._profile.position()[0] and not self._taken[0]:
            self._taken = (self._core.pos, self._core.incarnation)

    def handed_out(self, event: AppEvent, now: float) -> None:
        """Note that the application has got an event."""
        if isinstance(event, schema.Event):
            if isinstance(event.op, schema.WipeOp):
                self._wipe = event
                return
            self._taken = (event.pos, self._core.incarnation)
        elif isinstance(event, schema.Gap):
            self._taken = (event.to, self._core.incarnation)
        else:
            return
        if now >= self._saved_at + SAVE_SECONDS:
            self.save(now)

    def asked_for_more(self, upcoming: AppEvent | None, now: float) -> None:
        """Note that the application has dealt with what it got; ``upcoming`` comes next, if any.

        More of the same certificate is waited for, so that one answer does for all of it.
        """
        event, self._wipe = self._wipe, None
        if event is None:
            return
        assert isinstance(event.op, schema.WipeOp)
        self._is_named = False
        self._is_put_off = False
        self._written_before = self._core.last_request
        self._has_more = _certificate(upcoming) == event.op.certificate
        self._owe(max(self._owed, event.op.certificate))
        self._taken = (event.pos, self._core.incarnation)
        self._say_wiped(now)

    def save(self, now: float) -> None:
        """Write down how far the application is."""
        if self._profile is not None and self._taken[0]:
            self._profile.save_position(*self._taken)
            self._saved_at = now

    # --- answers --------------------------------------------------------------------------------

    def online(self, now: float) -> None:
        """Give an answer that was put off, now that there is another connection."""
        self._is_put_off = False
        self._say_wiped(now)

    def settled(self, request: int, error: ClientError | None, now: float) -> None:
        """Note that a request was answered, or will not be."""
        if request == self._answer and self._core.state is not State.ENDED:
            self._answer = 0
            self._is_put_off = error is not None and error.retryable
            if self._is_named and not self._is_put_off:
                self._owe(0)
        self._say_wiped(now)

    def _say_wiped(self, now: float) -> None:
        """Give the answer that is owed, unless there is something to wait for."""
        if not self._owed or self._answer or self._is_put_off or self._has_more:
            return
        is_over = self._core.state is State.ENDED
        if is_over or not self._core.outbox.is_clear_up_to(self._written_before):
            return
        owed = self._owed
        self._answer = self._core.request(
            lambda request: schema.Wiped(certificate=owed, id=request), now, is_repeatable=True
        )
        self._is_named = True

    def _owe(self, certificate: int) -> None:
        if certificate != self._owed:
            self._owed = certificate
            if self._profile is not None:
                self._profile.owe(certificate)


def _certificate(event: AppEvent | None) -> int:
    """Return the certificate of a wipe; 0 for any other event."""
    if isinstance(event, schema.Event) and isinstance(event.op, schema.WipeOp):
        return event.op.certificate
    return 0
