"""A site whose officers may read records, with an authority that stands for approvals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import pytest
from nacl.signing import SigningKey

from appliance import core
from appliance.context import SITE, Actor, Context
from appliance.directory.commands import SetKey
from appliance.directory.requests import canonical_json, canonical_request
from appliance.disposal.commands import Selection
from appliance.evidence import bundle, lines
from appliance.evidence.bundle import Sheet
from appliance.evidence.decide import (
    REQUESTS,
    Chosen,
    Page,
    Reconstruct,
    Selected,
    decide_page,
    decide_reconstruct,
)
from appliance.evidence.records import Gathered
from appliance.operations import ConversationWiped, Kind, PrivilegedRead, Signed, decode
from appliance.policy.predicate import Predicate
from store import destruction
from store.ids import OpId
from store.limits import SEGMENT_MS
from store.oplog import Op
from tests.appliance.messaging.harness import House
from transports.wire.errors import Refusal

NAMES = {kind: name for name, kind in REQUESTS.items()}
REVIEW = 7
CHALLENGE = b"c" * 16


class Reviews:
    """Stands for the approvals: which request allows what."""

    def __init__(self) -> None:
        self.approved: dict[int, Predicate] = {}

    def __call__(self, ctx: Context, request: int) -> Predicate:
        if request not in self.approved:
            raise Refusal("permission.denied")
        return self.approved[request]


class Archive(House):
    """A house with an officer, dave, and an auditor, olga, who sign with keys of their own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *logins: str, **extra: Any) -> None:
        super().__init__(*logins, "dave", "olga", **extra)
        self.reviews = Reviews()
        for command, decide in ((Page, decide_page), (Reconstruct, decide_reconstruct)):
            reviewed = partial(decide, authority=self.reviews)
            monkeypatch.setitem(core.DECISIONS, command, reviewed)
        monkeypatch.setitem(core.DECISIONS, Act, lambda ctx, act: act.run(ctx))
        self.set_roles("dave", "member", "security_officer")
        self.set_roles("olga", "member", "auditor")
        self.keys: dict[str, SigningKey] = {}
        for login in (*logins, "dave", "olga"):
            self.keys[login] = SigningKey(login.encode().ljust(32, b"."))
            self.do(SITE, SetKey(bytes(self.keys[login].verify_key), login))

    @property
    def site_key(self) -> bytes:
        """The public key that an auditor was given."""
        log = self.site.core.log
        return log.origins[log.head.origin].verify_key

    def approve(self, **fields: Any) -> None:
        """Let request ``REVIEW`` be approved for a predicate."""
        self.reviews.approved[REVIEW] = Predicate(**fields)

    def signer(self, login: str, command: Any) -> Actor:
        person = self.people[login]
        name, node = NAMES[type(command)], self.site.core.log.node
        data = canonical_request(node, CHALLENGE, person, name, canonical_json(command))
        return Actor(person, b"", Signed(data, self.keys[login].sign(data).signature))

    def signed(self, login: str, command: Any) -> Any:
        return self.do(self.signer(login, command), command)

    def page(self, after: str = "", login: str = "dave", **fields: Any) -> Sheet:
        """Ask for one page, as the administration does."""
        return self.gather(self.select(after, login, **fields))

    def select(self, after: str = "", login: str = "dave", **fields: Any) -> Selected:
        """Let the next page be decided; nothing is gathered yet."""
        selection = Selection(**fields.pop("selection", {}))
        selected = self.signed(login, Page(REVIEW, selection, after, **fields))
        assert isinstance(selected, Selected)
        return selected

    def gather(self, selected: Selected) -> Sheet:
        return bundle.page(self.site.ports.engine, self.site.core, selected)

    def sheets(self, **fields: Any) -> Iterator[Sheet]:
        """Export page by page."""
        sheet = self.page(**fields)
        yield sheet
        while sheet.after:
            sheet = self.page(sheet.after, **fields)
            yield sheet

    def export(self, **fields: Any) -> list[bytes]:
        """Return all lines of an export."""
        return [line for sheet in self.sheets(**fields) for line in sheet.lines]

    def records(self, **fields: Any) -> list[lines.Record]:
        parsed = [lines.decode(line) for line in self.export(**fields)]
        return [line for line in parsed if isinstance(line, lines.Record)]

    def exported(self, **fields: Any) -> list[str]:
        """Return the newest text of each record of an export, sorted."""
        return sorted(texts_of(each)[-1] for each in self.records(**fields))

    def reconstruct(self, message: bytes, login: str = "dave") -> Gathered:
        chosen = self.signed(login, Reconstruct(message.hex(), REVIEW))
        assert isinstance(chosen, Chosen)
        return bundle.reconstruct(self.site.ports.engine, self.site.core, chosen)

    def reads(self) -> list[PrivilegedRead]:
        """Return what the log says was read by privilege."""
        found = []
        with self.reading() as reader:
            for op in self.site.core.log.replay(reader):
                if isinstance(op, Op) and op.kind == Kind.PRIVILEGED_READ:
                    body = decode(op.kind, op.body or b"")
                    assert isinstance(body, PrivilegedRead)
                    found.append(body)
        return found

    def close_segments(self) -> None:
        """Let time pass until the open segment is closed."""
        self.tick(SEGMENT_MS / 1000 + 1)

    def destroy(self, message: bytes, *, keep_envelope: bool = False) -> None:
        """Take a message out of log and feeds as a destruction does, but for its key."""
        self.act(lambda ctx: self._destroy(ctx, message, keep_envelope=keep_envelope))

    def act(self, run: Callable[[Context], None]) -> None:
        """Do something in the writer's transaction."""
        self.do(SITE, Act(run))

    def _destroy(self, ctx: Context, message: bytes, *, keep_envelope: bool) -> None:
        log, known = self.site.core.log, OpId.unpack(message)
        place = log.find(ctx.txn, known)
        assert place is not None
        op = ctx.read(*place)
        if keep_envelope:
            destruction.destroy_body(ctx.txn, log, self.site.vault, op, ctx.now)
        else:
            destruction.destroy(ctx.txn, op)
        wiped = ConversationWiped(1, ((op.key, op.key),))
        ctx.append(Kind.CONVERSATION_WIPED, wiped, stream=op.stream, conversation=op.conversation)


class Act(NamedTuple):
    """Something that is done in the writer's transaction."""

    run: Callable[[Context], None]


def texts_of(record: lines.Record) -> list[str]:
    """Return the text of each version of a record."""
    return [str((each.content or {}).get("text")) for each in record.versions]


def parse(data: list[bytes]) -> list[Any]:
    return [lines.decode(line) for line in data]
