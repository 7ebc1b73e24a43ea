"""Hold the directory in memory: people by id, login name, token and invitation.

The writer's thread changes it inside a transaction; any other thread may look things up:
values are immutable and replaced whole, and an index gains the new entry before it loses the
old one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import partial
from typing import NamedTuple, TypeAlias, TypeVar

from appliance.directory.codes import token_hash
from appliance.directory.folds import FOLDS
from appliance.directory.model import Device, Invite, Person
from appliance.directory.names import ID_PREFIX, login_key
from appliance.directory.policy import Lifetimes
from appliance.operations import BodyStruct, Kind
from store.engine.txn import Txn
from store.oplog import Op
from transports.wire.errors import Refusal

Undo: TypeAlias = Callable[[Callable[[], None]], None]
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Grant(NamedTuple):
    """Who a valid token belongs to."""

    person: Person
    device: Device


class Directory:
    """Everybody who is known here."""

    def __init__(self) -> None:
        self.lifetimes = Lifetimes()
        self._persons: dict[bytes, Person] = {}
        self._by_login: dict[str, tuple[bytes, ...]] = {}
        self._by_token: dict[bytes, tuple[bytes, bytes]] = {}
        self._by_code: dict[bytes, tuple[bytes, bytes]] = {}
        self._by_invite: dict[bytes, bytes] = {}

    # --- looking up, from any thread ------------------------------------------------------------

    def __len__(self) -> int:
        """Return how many people there are, removed ones included."""
        return len(self._persons)

    def person(self, person: bytes) -> Person | None:
        """Return a person by id."""
        return self._persons.get(person)

    def people(self) -> list[Person]:
        """Return everybody, removed ones included, in no particular order; O(people)."""
        return list(self._persons.values())

    def resolve(self, login: str) -> Person | None:
        """Return the person of that login name, in any spelling of it.

        Where two sites gave the same one while the line was cut, that is who had it here first,
        until headquarters has renamed the other.
        """
        holders = self._by_login.get(login_key(login))
        return self._persons.get(holders[0]) if holders else None

    def refer(self, who: str) -> Person | None:
        """Return the person meant by a login name, or by ``id:`` and 32 hex digits."""
        if not who.startswith(ID_PREFIX):
            return self.resolve(who)
        try:
            return self._persons.get(bytes.fromhex(who.removeprefix(ID_PREFIX)))
        except ValueError:
            return None

    def authenticate_token(self, token: bytes, now_ms: int) -> Grant:
        """Return whose token this is.

        Raises ``Refusal``: "auth.failed" for a token nobody has, "auth.revoked" when the
        device was revoked or its owner is not active, "auth.expired" after its time.
        """
        person_id, device_id = self._by_token.get(token_hash(token), (b"", b""))
        person = self._persons.get(person_id)
        device = None if person is None else person.devices.get(device_id)
        if person is None or device is None:
            raise Refusal("auth.failed")
        if device.revoked or not person.is_active:
            raise Refusal("auth.revoked")
        if not device.is_live(now_ms):
            raise Refusal("auth.expired")
        return Grant(person, device)

    def is_live(self, person: bytes, device: bytes, now_ms: int) -> bool:
        """Tell whether a session of this person and device may still act."""
        known = self._persons.get(person)
        if known is None or not known.is_active:
            return False
        on = known.devices.get(device)
        return on is not None and on.is_live(now_ms)

    def is_void(self, person: bytes, device: bytes, now_ms: int) -> bool:
        """Tell whether a command of this device comes too late: revoked, expired, disabled."""
        known = self._persons.get(person)
        if known is None or not known.is_active:
            return True
        on = known.devices.get(device)
        return on is not None and not on.is_live(now_ms)

    def invite(self, code_hash: bytes) -> Invite | None:
        """Return the open invitation whose code has this hash; it may have expired."""
        person_id, invite_id = self._by_code.get(code_hash, (b"", b""))
        person = self._persons.get(person_id)
        return None if person is None else person.invites.get(invite_id)

    def invite_by_id(self, invite: bytes) -> Invite | None:
        """Return an open invitation by its id; it may have expired."""
        person = self._persons.get(self._by_invite.get(invite, b""))
        return None if person is None else person.invites.get(invite)

    def holders(self, role: str) -> list[Person]:
        """Return the active people who have a role; O(people)."""
        return [each for each in self.people() if each.is_active and role in each.roles]

    # --- following the log, in the writer's thread ------------------------------------------------

    def apply(self, txn: Txn, op: Op, body: BodyStruct) -> None:
        """Follow an operation inside its transaction; the directory has no rows of its own."""
        self.fold(op, body, txn.on_rollback)

    def forget(self, txn: Txn, op: Op) -> None:
        """Forget a person whose first operation is being destroyed: they are erased."""
        person = self._persons.get(op.stream.id)
        if op.kind == Kind.PERSON_CREATED and person is not None:
            self._replace(person.id, person, None)
            txn.on_rollback(partial(self._replace, person.id, None, person))

    def fold(self, op: Op, body: BodyStruct, undo: Undo | None) -> None:
        """Follow an operation; other rooms' kinds change nothing. ``undo`` is None at load."""
        change = FOLDS.get(op.kind)
        if change is None:
            return
        person_id = op.stream.id
        old = self._persons.get(person_id)
        new = change(old or Person(person_id, op.pseudonym), op, body)
        self._replace(person_id, old, new)
        if undo is not None:
            undo(partial(self._replace, person_id, new, old))

    def _replace(self, person_id: bytes, old: Person | None, new: Person | None) -> None:
        if new is None:
            self._persons.pop(person_id, None)
        else:
            self._persons[person_id] = new
        self._rename(person_id, _login(old), _login(new))
        _reindex(self._by_token, _tokens(old), _tokens(new))
        _reindex(self._by_code, _codes(old), _codes(new))
        _reindex(self._by_invite, _invites(old), _invites(new))

    def _rename(self, person: bytes, old: str, new: str) -> None:
        """Let the index follow a login name; nobody has the empty one."""
        if old == new:
            return
        if new:
            self._by_login[new] = (*self._by_login.get(new, ()), person)
        if old:
            rest = tuple(each for each in self._by_login[old] if each != person)
            if rest:
                self._by_login[old] = rest
            else:
                del self._by_login[old]


def _login(person: Person | None) -> str:
    return "" if person is None else login_key(person.login)


def _tokens(person: Person | None) -> dict[bytes, tuple[bytes, bytes]]:
    if person is None:
        return {}
    return {each.token_hash: (person.id, each.id) for each in person.devices.values()}


def _codes(person: Person | None) -> dict[bytes, tuple[bytes, bytes]]:
    if person is None:
        return {}
    return {each.code_hash: (person.id, each.id) for each in person.invites.values()}


def _invites(person: Person | None) -> dict[bytes, bytes]:
    return {} if person is None else dict.fromkeys(person.invites, person.id)


def _reindex(index: dict[K, V], old: dict[K, V], new: dict[K, V]) -> None:
    """Add what is new, then drop what is no longer there and still ours."""
    index.update(new)
    for key, value in old.items():
        if key not in new and index.get(key) == value:
            del index[key]
