"""Say on the command line which records are meant, and say it back in words.

A date-time carries its zone (``2026-11-24T08:30Z``, ``2026-11-24T09:30+01:00``): none is guessed
from the machine. A date alone is its first moment in UTC. ``--from`` includes its moment,
``--until`` does not, so ``--from 2026-01-01 --until 2027-01-01`` is the year 2026 in UTC.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import click

from cli.wording import utc

if TYPE_CHECKING:
    from appliance.disposal.commands import Selection
    from cli.admin import AdminSocket

F = TypeVar("F", bound=Callable[..., Any])

_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_MOMENT: Final = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,3})?)?(?:[Zz]|[+-]\d{2}:\d{2})?", re.ASCII
)
_ZONE: Final = re.compile(r"(?:[Zz]|[+-]\d{2}:\d{2})$", re.ASCII)
_BY_ID: Final = "id:"
_ID: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)


class Moment(click.ParamType[int]):
    """A date, or a date-time with its zone, as Unix ms above 0 (which stands for open)."""

    name = "date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read a text; fails with what is wrong and what would be right."""
        if isinstance(value, int):
            return value
        text = str(value)
        if _DATE.fullmatch(text):
            text += "T00:00Z"
        elif not _MOMENT.fullmatch(text):
            self.fail(f"{value!r} is no date: write 2026-11-24, or 2026-11-24T08:30Z", param, ctx)
        elif not _ZONE.search(text):
            self.fail(
                f"{value!r} has no time zone: add Z for UTC, or the offset, as +01:00", param, ctx
            )
        return self._milliseconds(text, param, ctx)

    def _milliseconds(
        self, text: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        try:
            moment = datetime.fromisoformat(text.upper()).astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(f"{text!r} is not in the calendar", param, ctx)
        milliseconds = round(moment.timestamp() * 1_000)
        if milliseconds <= 0:
            self.fail(f"{text!r} must be after 1970-01-01", param, ctx)
        return milliseconds


class ConversationId(click.ParamType[str]):
    """A conversation's id: 32 hex digits."""

    name = "conversation"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Read an id in either case."""
        text = str(value).lower()
        if not _ID.fullmatch(text):
            self.fail(
                f"{value!r} is no id of a conversation: `strongroom conversation list` shows them",
                param,
                ctx,
            )
        return text


MOMENT: Final = Moment()
CONVERSATION_ID: Final = ConversationId()

_OPTIONS: Final = (
    click.option(
        "--person", "persons", metavar="PERSON", multiple=True, help="Whose records; repeat."
    ),
    click.option(
        "--conversation",
        "conversations",
        metavar="CONVERSATION",
        type=CONVERSATION_ID,
        multiple=True,
        help="Records of this conversation (its id); repeat.",
    ),
    click.option(
        "--unit", "units", metavar="UNIT", multiple=True, help="Records of this unit; repeat."
    ),
    click.option(
        "--label",
        "labels",
        metavar="LABEL",
        multiple=True,
        help="Records of conversations with this label; repeat.",
    ),
    click.option(
        "--from",
        "from_ms",
        metavar="DATE",
        type=MOMENT,
        help="Not before: a date (its start in UTC), or 2026-11-24T08:30Z.",
    ),
    click.option(
        "--until",
        "until_ms",
        metavar="DATE",
        type=MOMENT,
        help="Before, this moment not included; as --from.",
    ),
)


def selecting(function: F) -> F:
    """Add the options that say which records are meant, as ``selection``.

    All options that are given must match, and of one that is repeated, any. The command refuses
    to run without one of them.
    """

    @functools.wraps(function)
    def with_selection(
        *args: Any,
        persons: tuple[str, ...],
        conversations: tuple[str, ...],
        units: tuple[str, ...],
        labels: tuple[str, ...],
        from_ms: int | None,
        until_ms: int | None,
        **kwargs: Any,
    ) -> Any:
        made = _selection(persons, conversations, units, labels, from_ms or 0, until_ms or 0)
        return function(*args, selection=made, **kwargs)

    decorated: Any = with_selection
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return cast("F", decorated)


def _selection(
    persons: tuple[str, ...],
    conversations: tuple[str, ...],
    units: tuple[str, ...],
    labels: tuple[str, ...],
    from_ms: int,
    until_ms: int,
) -> Selection:
    from appliance.disposal.commands import Selection

    if not (persons or conversations or units or labels or from_ms or until_ms):
        raise click.UsageError(
            "say which records: --person, --conversation, --unit, --label, --from or --until"
        )
    if until_ms and until_ms <= from_ms:
        raise click.UsageError("--until must be later than --from")
    return Selection(
        tuple(dict.fromkeys(persons)),
        tuple(dict.fromkeys(conversations)),
        tuple(dict.fromkeys(units)),
        tuple(dict.fromkeys(labels)),
        from_ms,
        until_ms,
    )


def id_of(server: AdminSocket, who: str) -> str:
    """Return how a person is named in what is signed: by id, never by a name.

    For what is signed is kept as long as the audit, and must not keep the name of somebody who
    is erased. Raises ``CliError`` for a person whom the server does not know.
    """
    if who.startswith(_BY_ID):
        return who
    return _BY_ID + str(server.ask("user.show", {"who": who})["person"])


def by_id(server: AdminSocket, selection: Selection) -> Selection:
    """Return the same selection with people named by id; raises as ``id_of``."""
    from msgspec.structs import replace

    return replace(selection, persons=tuple(id_of(server, who) for who in selection.persons))


_FIELDS: Final = (
    ("persons", "person", " or "),
    ("conversations", "conversation", " or "),
    ("units", "unit", " or "),
    ("labels", "label", " or "),
)


SELECTS: Final = frozenset((*(field for field, _, _ in _FIELDS), "from_ms", "until_ms"))
"""What a selection consists of; ``in_words`` says all of it."""


def in_words(selection: Mapping[str, Any]) -> str:
    """Return a selection, as the server answers it, on one line; times in UTC."""
    parts = [
        f"{word} {joint.join(map(str, selection[field]))}"
        for field, word, joint in _FIELDS
        if selection.get(field)
    ]
    since = selection.get("from_at") or selection.get("from_ms")
    until = selection.get("until_at") or selection.get("until_ms")
    if since:
        parts.append(f"from {utc(since)}")
    if until:
        parts.append(f"before {utc(until)}")
    return ", ".join(parts) or "nothing"
