"""Export records as evidence, with every version and proof; decrypt and verify exports."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from cli.exits import Exit
from cli.exports import EML, JSONL, Answer, begin, open_sink, options_of, run, state_file
from cli.options import PATH, Group, acting, subcommand
from cli.output import emit_json, note, say
from cli.selection import CONVERSATION_ID, MOMENT, by_id
from cli.signing import Person, SignedSession

if TYPE_CHECKING:
    from appliance.disposal.commands import Selection

_DEFAULT: Final = "write"
_WHOLE: Final = 1000


class ExportGroup(Group):
    """A group whose first command may be left out: ``export OUT`` is ``export write OUT``."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command meant."""
        if args and args[0] not in self.commands:
            args = [_DEFAULT, *args]
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Leave options to the command where one comes first."""
        own = {name for each in self.get_params(ctx) for name in each.opts}
        if args and args[0].startswith("-") and args[0] not in own:
            args = [_DEFAULT, *args]
        return super().parse_args(ctx, args)


@click.group(cls=ExportGroup)
def export() -> None:
    """Export records as evidence.

    What is exported was approved by two officers (strongroom review request); every record
    that is handed out is written into the trail. The formats are described in docs/export.md.
    """


@subcommand(
    export,
    _DEFAULT,
    example=(
        "strongroom export ward3.jsonl --request 8 --as dave\n"
        "strongroom export ward3 --request 8 --format eml --recipient auditor.key.pub --as dave\n"
        "strongroom export ward3 --request 8 --format eml --recipient auditor.key.pub \\\n"
        "      --resume --as dave"
    ),
)
@acting
@click.argument("out", type=PATH)
@click.option(
    "--request",
    type=click.IntRange(1),
    required=True,
    metavar="N",
    help="The approved review; nothing beyond it is exported.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice([JSONL, EML]),
    default=JSONL,
    show_default=True,
    help="One file of lines, or a directory with a message file for each conversation-day.",
)
@click.option(
    "--person", "persons", metavar="PERSON", multiple=True, help="Only with this person; repeat."
)
@click.option(
    "--conversation",
    "conversations",
    metavar="CONVERSATION",
    type=CONVERSATION_ID,
    multiple=True,
    help="Only of this conversation (its id); repeat.",
)
@click.option("--unit", "units", metavar="UNIT", multiple=True, help="Only of this unit; repeat.")
@click.option(
    "--label", "labels", metavar="LABEL", multiple=True, help="Only with this label; repeat."
)
@click.option(
    "--from",
    "from_ms",
    metavar="DATE",
    type=MOMENT,
    help="Not before: a date (its start in UTC), or 2026-11-24T08:30Z.",
)
@click.option(
    "--until",
    "until_ms",
    metavar="DATE",
    type=MOMENT,
    help="Before, this moment not included; as --from.",
)
@click.option("--reason", default="", metavar="TEXT", help="Why; it stands in the log, sealed.")
@click.option(
    "--recipient", type=PATH, metavar="FILE", help="Encrypt to this public key (export key)."
)
@click.option("--resume", is_flag=True, help="Go on where an interrupted export stopped.")
def write(
    data: Path | None,
    who: Person,
    out: Path,
    request: int,
    form: str,
    reason: str,
    recipient: Path | None,
    resume: bool,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Export the records of an approved review, or those of them that are named.

    "write" may be left out. Of what options name, all must match, and of one that is repeated
    any. An interrupted export loses nothing that was written: --resume, with the same options,
    goes on.
    """
    from appliance.evidence.decide import Page
    from cli.evidence import recipient_key

    selection = _selection(**chosen)
    key = recipient_key(recipient) if recipient is not None else None
    options = options_of(who.login, request, selection, form=form, recipient=key)
    state, by_day = begin(out, options, resume=resume), form == EML

    with SignedSession(who, data) as session:
        named = by_id(session.server, selection)

        def ask(after: str) -> dict[str, Any]:
            page = Page(request, named, after, by_day=by_day, reason=reason)
            return session.request("evidence.page", page)

        try:
            with _bar() as show:
                answer = run(ask, state, partial(open_sink, form, out, key), show)
        except BaseException:
            if state_file(out).exists():
                note(f"{out} is not complete; --resume goes on.")
            raise
    _tell(out, form, answer, as_json=as_json)


@subcommand(export, "key", example="strongroom export key auditor.key")
@click.argument("file", type=PATH)
def key(data: Path | None, file: Path, as_json: bool) -> None:
    """Make a recipient's key pair: FILE is theirs alone, FILE.pub for who exports."""
    from cli.evidence import PUBLIC_SUFFIX, make_key

    del data
    public = make_key(file)
    answer = {"private": str(file), "public": f"{file}{PUBLIC_SUFFIX}", "key": public.hex()}
    if as_json:
        emit_json("export.key", answer)
    else:
        say(f"{answer['public']} encrypts exports; {answer['private']} opens them: keep it apart.")


@subcommand(
    export,
    "decrypt",
    example="strongroom export decrypt ward3.jsonl.sealed ward3.jsonl --key auditor.key",
)
@click.argument("source", metavar="IN", type=PATH)
@click.argument("target", metavar="OUT", type=PATH)
@click.option(
    "--key",
    "key_file",
    type=PATH,
    required=True,
    metavar="FILE",
    help="The recipient's own half, from `export key`.",
)
def decrypt(data: Path | None, source: Path, target: Path, key_file: Path, as_json: bool) -> None:
    """Decrypt a sealed export, a file or a directory; no server is needed."""
    from cli import evidence

    del data
    written = evidence.decrypt(source, target, evidence.private_key(key_file))
    if as_json:
        emit_json("export.decrypt", {"files": [str(each) for each in written]})
    else:
        say(f"{len(written)} file{'' if len(written) == 1 else 's'} decrypted into {target}.")


@subcommand(
    export,
    "verify",
    example="strongroom export verify ward3.jsonl --key site.key",
)
@click.argument("source", metavar="IN", type=PATH)
@click.option(
    "--key",
    "key_file",
    type=PATH,
    required=True,
    metavar="FILE",
    help="The site's public key, from `audit key`, got by a way you trust.",
)
def verify(data: Path | None, source: Path, key_file: Path, as_json: bool) -> None:
    """Verify an export offline: its signature, completeness, and each operation's proof.

    It needs no server, no data directory and no network. Status 5 when anything is not as it
    was exported.
    """
    from cli import evidence

    del data
    verdict, wrong = evidence.verify(source, evidence.site_key(key_file))
    is_good = verdict.is_good and not wrong
    answer = {
        "good": is_good,
        **verdict.tally._asdict(),
        "problems": verdict.problems + len(wrong),
        "findings": [{"line": each.line, "problem": each.problem} for each in verdict.findings],
        "files": list(wrong),
    }
    if as_json:
        emit_json("export.verify", answer)
    else:
        say("\n".join(_verified(answer)))
    if not is_good:
        click.get_current_context().exit(int(Exit.INTEGRITY))


def _selection(
    persons: tuple[str, ...],
    conversations: tuple[str, ...],
    units: tuple[str, ...],
    labels: tuple[str, ...],
    from_ms: int | None,
    until_ms: int | None,
) -> Selection:
    from appliance.disposal.commands import Selection

    if until_ms and until_ms <= (from_ms or 0):
        raise click.UsageError("--until must be later than --from")
    return Selection(persons, conversations, units, labels, from_ms or 0, until_ms or 0)


@contextmanager
def _bar() -> Iterator[Callable[[Answer], None]]:
    """Give what shows progress: a bar on stderr, if that is a terminal."""
    if not _is_terminal():
        yield lambda _: None
        return
    shown = 0
    with click.progressbar(length=_WHOLE, label="exporting", file=sys.stderr) as bar:

        def show(answer: Answer) -> None:
            nonlocal shown
            ahead = max(0, answer.progress - shown)
            bar.update(ahead)
            shown += ahead

        yield show


def _is_terminal() -> bool:
    return sys.stderr.isatty()


def _tell(out: Path, form: str, answer: Answer, *, as_json: bool) -> None:
    told = {
        "out": str(out),
        "format": form,
        "records": answer.records,
        "destroyed": answer.destroyed,
        "operations": answer.operations,
        "pending": answer.pending,
    }
    if as_json:
        emit_json("export", told)
        return
    say(f"{answer.records:,} records, {answer.destroyed:,} destroyed, in {out}.")
    if answer.pending:
        say(f"{answer.pending:,} operations are not in a signed segment yet.")


def _verified(answer: dict[str, Any]) -> Iterator[str]:
    verdict = "Good" if answer["good"] else "NOT GOOD"
    yield (
        f"{verdict}: {answer['records']:,} records, {answer['destroyed']:,} destroyed, "
        f"{answer['operations']:,} operations, {answer['pending']:,} in no signed segment yet."
    )
    for each in answer["findings"]:
        yield f"  line {each['line']}: {each['problem']}"
    for name in answer["files"]:
        yield f"  file {name}"
    hidden = answer["problems"] - len(answer["findings"]) - len(answer["files"])
    if hidden:
        yield f"  and {hidden:,} more"
