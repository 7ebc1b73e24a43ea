"""W1, W2-200, W3 and W5 against other servers, as near to our own workloads as XMPP allows.

XMPP acknowledges nothing by itself. So a message counts as done when it has arrived: at the other
one of the pair, or in a room back at who sent it; ``p50_ms`` and ``p99_ms`` are of that.
"""

from __future__ import annotations

import select
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from benchmarks.chatting import W1, W2_200, WARM_UP_SHARE
from benchmarks.connecting import LOGIN_WARM_UP, LOGINS
from benchmarks.lines import carry_on
from benchmarks.measure import Result, Stopwatch, rss_mib
from benchmarks.organisation import BODY
from benchmarks.rivals import Rival, running, tls_context, version_of
from benchmarks.server import Server
from benchmarks.xmpp_line import DOMAIN, JOIN, ROOMS, XmppLine

MESSAGE_END: Final = b"</message>"
TURN_SECONDS: Final = 0.025
STALL_TURNS: Final = 1_200
"""Turns of silence, one after the other, after which a run is given up: half a minute."""
QUIET_TURNS: Final = 40
"""Turns of silence after which everything has arrived: a second."""
IDLE_WARM_UP: Final = 200
IDLE_CONNECTIONS: Final = 1_000
KIB_IN_MIB: Final = 1_024

CHAT: Final = "<message to='{to}' type='chat' id='m{number}'><body>{text}</body></message>"
SAID: Final = "<message to='{to}' type='groupchat' id='m{number}'><body>{text}</body></message>"


class XmppCrowd:
    """Signed-in connections of many people, served from one loop. Close it to close them all."""

    def __init__(self, server: Server) -> None:
        self._address = (server.host, server.port)
        self._context = tls_context()
        self._epoll = select.epoll()
        self._lines: dict[int, XmppLine] = {}

    def register(self, logins: list[str]) -> None:
        """Make accounts."""
        for login in logins:
            line = XmppLine(self._address, self._context, login)
            try:
                carry_on(line, line.register())
            finally:
                line.close()

    def enter(self, login: str, *, presence: bool = True) -> XmppLine:
        """Connect, sign in, and say that one is there."""
        line = XmppLine(self._address, self._context, login)
        self._lines[line.fileno()] = line
        carry_on(line, line.open())
        if presence:
            line.queue("<presence/>")
            line.flush()
        self._epoll.register(line.fileno(), select.EPOLLIN)
        return line

    def leave(self, line: XmppLine) -> None:
        """Close one connection."""
        del self._lines[line.fileno()]
        line.close()

    def ready(self) -> list[XmppLine]:
        """Wait for a turn; return the lines with something to read."""
        return [self._lines[descriptor] for descriptor, _ in self._epoll.poll(TURN_SECONDS)]

    def settle(self) -> None:
        """Read and throw away what comes until it has been quiet."""
        quiet = 0
        while quiet < QUIET_TURNS:
            lines = self.ready()
            quiet = 0 if lines else quiet + 1
            for line in lines:
                line.count()

    def close(self) -> None:
        """Close everything."""
        for line in list(self._lines.values()):
            self.leave(line)
        self._epoll.close()


@contextmanager
def _crowd(rival: Rival, directory: Path) -> Iterator[tuple[Server, XmppCrowd]]:
    with running(rival, directory) as server:
        crowd = XmppCrowd(server)
        try:
            yield server, crowd
        finally:
            crowd.close()


class Speaker:
    """Somebody who keeps messages in flight."""

    def __init__(self, line: XmppLine, stanza: str, to: str, messages: int) -> None:
        self._line = line
        # The author's name first, to be found again; as many characters as in our own workloads.
        text = f"{line.login} ".ljust(len(BODY.text), "x")
        self.mark = f">{line.login} ".encode()
        self._waiting = deque(
            stanza.format(to=to, number=number, text=text) for number in range(messages)
        )
        self._sent_at: deque[float] = deque()

    def send(self, count: int) -> None:
        """Send up to ``count`` further messages."""
        for _ in range(min(count, len(self._waiting))):
            self._line.queue(self._waiting.popleft())
            self._sent_at.append(time.perf_counter())
        self._line.flush()

    def arrived(self, count: int) -> list[float]:
        """Return how many seconds the oldest messages in flight took."""
        now = time.perf_counter()
        return [now - self._sent_at.popleft() for _ in range(count)]


def chat(rival: Rival, directory: Path) -> Result:
    """W1: pairs, each message archived and delivered to who is online."""
    warm_up = W1.messages // WARM_UP_SHARE
    each = (W1.messages + warm_up) // W1.senders
    with _crowd(rival, directory) as (server, crowd):
        logins = [f"p{number:05}" for number in range(2 * W1.senders)]
        crowd.register(logins)
        lines = [crowd.enter(login) for login in logins]
        speakers = {
            receiver: Speaker(author, CHAT, f"{receiver.login}@{DOMAIN}", each)
            for author, receiver in zip(lines[::2], lines[1::2], strict=True)
        }
        crowd.settle()
        watch = Stopwatch(server.pid)
        for speaker in speakers.values():
            speaker.send(W1.window)

        def take(line: XmppLine) -> int:
            if line not in speakers:
                line.count()
                return 0
            (count,) = line.count(MESSAGE_END)
            speakers[line].send(count)
            watch.latencies.extend(speakers[line].arrived(count))
            return count

        ops = _until(crowd, take, each * W1.senders, warm_up, watch)
        return _named(rival, watch.stop("W1", "xmpp", ops))


def room(rival: Rival, directory: Path) -> Result:
    """W2-200: one room with everybody in it, deliveries to the others counted."""
    messages = W2_200.messages
    warm_up = messages // WARM_UP_SHARE
    each = (messages + warm_up) // W2_200.senders
    with _crowd(rival, directory) as (server, crowd):
        logins = [f"p{number:05}" for number in range(W2_200.room)]
        crowd.register(logins)
        lines = []
        for login in logins:
            lines.append(crowd.enter(login))
            lines[-1].queue(JOIN.format(room="bench", login=login))
            lines[-1].flush()
        crowd.settle()
        speakers = {
            line: Speaker(line, SAID, f"bench@{ROOMS}", each) for line in lines[: W2_200.senders]
        }
        watch = Stopwatch(server.pid)
        for speaker in speakers.values():
            speaker.send(W2_200.window)

        def take(line: XmppLine) -> int:
            if line not in speakers:
                return line.count(MESSAGE_END)[0]
            speaker = speakers[line]
            everything, own = line.count(MESSAGE_END, speaker.mark)
            speaker.send(own)
            watch.latencies.extend(speaker.arrived(own))
            return everything - own

        others = W2_200.room - 1
        total = each * W2_200.senders * others
        ops = _until(crowd, take, total, warm_up * others, watch)
        return _named(rival, watch.stop("W2-200", "xmpp", ops))


def idle(rival: Rival, directory: Path) -> Result:
    """W3: memory for each connection that has signed in."""
    with _crowd(rival, directory) as (server, crowd):
        logins = [f"p{number:05}" for number in range(IDLE_WARM_UP + IDLE_CONNECTIONS)]
        crowd.register(logins)
        for login in logins[:IDLE_WARM_UP]:
            crowd.enter(login)
        crowd.settle()
        before = rss_mib(server.pid)
        watch = Stopwatch(server.pid)
        watch.start()
        for login in logins[IDLE_WARM_UP:]:
            crowd.enter(login)
        crowd.settle()
        grown = (rss_mib(server.pid) - before) * KIB_IN_MIB
        per_connection = round(grown / IDLE_CONNECTIONS, 2)
        result = watch.stop("W3", "xmpp", IDLE_CONNECTIONS, kib_per_connection=per_connection)
        return _named(rival, result)


def login(rival: Rival, directory: Path) -> Result:
    """W5: handshake and sign-in by password, one after the other, then leave."""
    with _crowd(rival, directory) as (server, crowd):
        logins = [f"p{number:05}" for number in range(LOGIN_WARM_UP)]
        crowd.register(logins)
        watch = Stopwatch(server.pid)
        for number in range(LOGIN_WARM_UP + LOGINS):
            if number == LOGIN_WARM_UP:
                watch.start()
            began = time.perf_counter()
            line = crowd.enter(logins[number % len(logins)], presence=False)
            watch.latencies.append(time.perf_counter() - began)
            crowd.leave(line)
        return _named(rival, watch.stop("W5", "xmpp", LOGINS))


COMPARED: Final[dict[str, Callable[[Rival, Path], Result]]] = {
    "W1": chat,
    "W2-200": room,
    "W3": idle,
    "W5": login,
}
"""What other servers can be measured at, by the workload's name."""


def _until(
    crowd: XmppCrowd, take: Callable[[XmppLine], int], total: int, warm_up: int, watch: Stopwatch
) -> int:
    """Take what comes until everything has; return how much came after the clock was started."""
    done = already = silent = 0
    is_measured = False
    while done < total:
        lines = crowd.ready()
        silent = 0 if lines else silent + 1
        if silent > STALL_TURNS:
            raise TimeoutError(f"{done} of {total} have arrived, then nothing more")
        for line in lines:
            done += take(line)
        if not is_measured and done >= warm_up:
            is_measured, already = True, done
            watch.start()
    return done - already


def _named(rival: Rival, result: Result) -> Result:
    return replace(result, server=f"{rival.name} {version_of(rival)}")
