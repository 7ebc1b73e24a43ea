"""Read what a person types: a command with a slash, or a message."""

from __future__ import annotations

from dataclasses import dataclass

COMMANDS: dict[str, tuple[str, str]] = {
    "help": ("", "Show this list."),
    "list": ("", "List conversations, newest first, with what is unread."),
    "open": ("NAME|NUMBER", "Go to a conversation: login, group title, duty:NAME or list number."),
    "history": ("[COUNT]", "Show the newest messages here (20)."),
    "reply": ("NUMBER TEXT", "Answer a message."),
    "urgent": ("TEXT", "Send an urgent message: each recipient is asked to confirm."),
    "confirm": ("NUMBER", "Confirm an urgent message."),
    "edit": ("NUMBER TEXT", "Replace the text of your own message."),
    "recall": ("NUMBER", "Hide a message from everybody."),
    "react": ("NUMBER EMOJI", "React to a message."),
    "group": ("TITLE: LOGIN, LOGIN", "Open a group."),
    "members": ("", "Show who is here, and who has read how far."),
    "add": ("LOGIN", "Add somebody to this group."),
    "remove": ("LOGIN", "Remove somebody from this group."),
    "leave": ("", "Leave this group."),
    "rename": ("TITLE", "Give this group another title."),
    "people": ("", "List everybody."),
    "duties": ("", "List duties and who holds them."),
    "handover": ("DUTY LOGIN", "Hand a duty that you hold over."),
    "quit": ("", "Leave; messages that wait are sent next time."),
}
"""Every command: its arguments and what it does."""

SHORT = {"h": "help", "l": "list", "o": "open", "q": "quit", "r": "reply", "u": "urgent"}


class LineError(ValueError):
    """What was typed cannot be a command; the message says why."""


@dataclass(frozen=True, slots=True)
class Line:
    """What was typed: a command and its rest, or (empty command) a message."""

    command: str
    rest: str = ""


def read(text: str) -> Line | None:
    """Read one line; None for an empty one. ``//`` begins a message with a slash.

    Raises ``LineError`` for a command that does not exist.
    """
    if not text.strip():
        return None
    if not text.startswith("/") or text.startswith("//"):
        return Line("", text[1:] if text.startswith("//") else text)
    word, _, rest = text[1:].partition(" ")
    command = SHORT.get(word, word)
    if command not in COMMANDS:
        raise LineError(f"there is no command /{word}; /help lists them")
    return Line(command, rest.strip())


def numbered(rest: str, *, text: bool = True) -> tuple[int, str]:
    """Read ``NUMBER TEXT``, or ``NUMBER`` alone; raises ``LineError``."""
    number, _, remainder = rest.partition(" ")
    remainder = remainder.strip()
    if not number.isdecimal() or len(number) > 9:
        raise LineError("begin with a message's number, as in [12]")
    if text and not remainder:
        raise LineError("something is missing after the number")
    return int(number), remainder


def group(rest: str) -> tuple[str, list[str]]:
    """Read ``TITLE: LOGIN, LOGIN``; raises ``LineError``."""
    title, colon, people = rest.partition(":")
    logins = [login for login in people.replace(",", " ").split() if login]
    if not colon or not title.strip() or not logins:
        raise LineError("write it as /group Title: alice, bob")
    return title.strip(), logins


def help_text() -> str:
    """Return the list of commands."""
    rows = [(f"/{name} {arguments}".rstrip(), text) for name, (arguments, text) in COMMANDS.items()]
    size = max(len(usage) for usage, _ in rows)
    lines = [f"  {usage.ljust(size)}  {text}" for usage, text in rows]
    return "\n".join(["Anything else you type is sent to the open conversation.", *lines])
