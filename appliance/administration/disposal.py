"""Tell what operators may know of policy, clock, runs and ledger: rules and counts, no names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import trio

from appliance.administration.contract import Answer, Arguments, Host, Operation
from appliance.disposal import decide_clock, planner
from appliance.disposal.runs import Progress
from appliance.disposal.state import Disposal, Run
from appliance.operations import SiteAnswer
from appliance.policy.durations import print_duration
from appliance.policy.policies import Policies
from appliance.policy.presets import PRESETS
from appliance.policy.rules import Policy, Rule, policy_hash
from appliance.policy.text import NOTICE, PolicyError, read_policy, write_policy
from store import heads, notes, reading
from store.engine.contract import Reader
from store.ledger import Ledger
from transports.wire.errors import Refusal

RUNNING: Final = "RUNNING"


class Which(Arguments, frozen=True):
    """A version of the policy, 0 for the one in force; or a preset by name."""

    version: int = 0
    preset: str = ""


class Draft(Arguments, frozen=True):
    """A policy as TOML; empty: the one in force."""

    text: str = ""


class WhichRun(Arguments, frozen=True):
    """A destruction run, by its number or by that of the request it carries out."""

    run: int = 0
    request: int = 0


# --- policy -----------------------------------------------------------------------------------


async def list_presets(host: Host, arguments: Arguments) -> Answer:
    """List the policies that one may begin with, and on what they rest."""
    del host, arguments
    presets = [
        {"preset": name, "rules": [_rule(rule) for rule in policy.rules]}
        for name, policy in PRESETS.items()
    ]
    return {"presets": presets, "notice": NOTICE}


async def show_policy(host: Host, arguments: Which) -> Answer:
    """Show a version of the policy, or a preset, as TOML."""
    known = host.site.core.disposal.policies
    if arguments.preset:
        policy = PRESETS.get(arguments.preset)
        if policy is None:
            raise Refusal("policy.unknown")
        return _policy(policy, 0, in_force=False)
    if not arguments.version or arguments.version == known.number:
        return _policy(known.current, known.number, in_force=True)
    for version in known.versions:
        if version.number == arguments.version:
            return _policy(version.policy, version.number, in_force=False)
    raise Refusal("policy.unknown")


async def plan(host: Host, arguments: Draft) -> Answer:
    """Tell what would end now, by the policy in force or by another one; changes nothing."""
    core, engine = host.site.core, host.site.ports.engine
    policies = _drafted(core.disposal.policies, arguments.text, core.log.head.pos + 1)
    proven_ms = decide_clock.proven_ms(core)

    def planned(reader: Reader) -> planner.Plan:
        return planner.plan(core, reader, proven_ms, policies=policies)

    found = await trio.to_thread.run_sync(reading.read, engine, planned)
    return {
        "rows": [_fields(row) for row in found.rows],
        "oldest": [_fields(each) for each in found.oldest],
        "proven_at": found.proven_ms,
        "suspended": found.suspended,
    }


def _drafted(known: Policies, text: str, pos: int) -> Policies | None:
    """Return all versions with a further one, as if it were set now; None without a text."""
    if not text:
        return None
    try:
        return known.add(known.number + 1, pos, read_policy(text, known.class_numbers()))
    except PolicyError:
        raise Refusal("policy.invalid") from None


def _policy(policy: Policy, version: int, *, in_force: bool) -> Answer:
    return {
        "version": version,
        "in_force": in_force,
        "hash": policy_hash(policy).hex(),
        "preset": policy.preset,
        "notice": NOTICE if policy.preset else "",
        "text": write_policy(policy),
    }


def _rule(rule: Rule) -> Answer:
    return {
        "name": rule.name,
        "class": rule.kind,
        "min": print_duration(rule.min_ms) if rule.min_ms else "",
        "max": print_duration(rule.max_ms) if rule.max_ms else "",
        "action": rule.action,
        "basis": rule.basis,
    }


def _fields(row: planner.PlanRow | planner.Oldest) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__struct_fields__}


# --- runs, clock, ledger ----------------------------------------------------------------------


async def show_run(host: Host, arguments: WhichRun) -> Answer:
    """Show how far a destruction run is; ``over`` when nothing more comes of it."""
    disposal = host.site.core.disposal
    progress = _find_progress(host.disposal.progress, arguments)
    number = arguments.run or (0 if progress is None else progress.run)
    run = disposal.runs.get(number) if number else _run_of(disposal, arguments.request)
    request = disposal.requests.get(arguments.request if run is None else run.intent.request)
    if run is None and request is None:
        raise Refusal("run.unknown")
    answer = _NOT_BEGUN if run is None else _run(run)
    if request is not None:
        answer = answer | {"request": request.number, "expected": request.body.records}
    if progress is not None and (run is None or run.confirmed is None):
        answer = answer | _progress(progress)
    if run is None and progress is not None and progress.is_over:
        # Nothing of what was approved could end: all of it is held back by now.
        return answer | {"held_back": request.body.records if request else 0, "over": True}
    is_closed = request is not None and not request.is_open
    return answer | {"over": bool(answer["confirmed_at"]) or (run is None and is_closed)}


def _find_progress(known: Sequence[Progress], which: WhichRun) -> Progress | None:
    for progress in reversed(known):
        if which.run and progress.run == which.run:
            return progress
        if which.request and progress.request == which.request:
            return progress
    return None


def _run_of(disposal: Disposal, request: int) -> Run | None:
    """Return the run that a request has led to, known from the log."""
    found = (run for run in disposal.runs.values() if run.intent.request == request)
    return next(found, None) if request else None


_NOT_BEGUN: Final[Answer] = {
    "run": 0,
    "cause": "",
    "state": "WAITING",
    "request": 0,
    "expected": 0,
    "records": 0,
    "parts": 0,
    "held_back": 0,
    "devices_asked": 0,
    "devices_answered": 0,
    "started_at": 0,
    "confirmed_at": 0,
    "sites": [],
}


def _site(answer: SiteAnswer) -> Answer:
    """Describe what a branch has answered."""
    return {
        "name": answer.name,
        "state": answer.state,
        "destroyed": answer.destroyed,
        "held_back": answer.held_back,
        "absent": answer.absent,
    }


def _progress(progress: Progress) -> Answer:
    return {
        "cause": progress.cause,
        "expected": progress.total,
        "records": progress.done,
        "held_back": progress.held_back,
    }


def _run(run: Run) -> Answer:
    """Describe a run by its newest slice, and by what confirmed it."""
    intent, confirmed = run.intent, run.confirmed
    records = sum(count.records for count in intent.counts)
    told = {
        "run": intent.run,
        "cause": intent.cause,
        "state": RUNNING,
        "records": records,
        "expected": records,
        "parts": intent.parts,
        "started_at": intent.started_ms,
    }
    if confirmed is not None:
        told |= {
            "state": confirmed.state,
            "held_back": confirmed.held_back,
            "devices_asked": confirmed.devices_asked,
            "devices_answered": confirmed.devices_answered,
            "confirmed_at": confirmed.confirmed_ms,
            "sites": [_site(answer) for answer in confirmed.sites],
        }
    return _NOT_BEGUN | told


async def show_clock(host: Host, arguments: Arguments) -> Answer:
    """Show which time is proven, and whether destruction is suspended."""
    del arguments
    core = host.site.core
    clock, now = core.disposal.clock, core.reading()
    proven_ms = clock.lower_ms(now)
    return {
        "source": clock.source,
        "state": clock.state.value,
        "wall_at": now.wall_ms,
        "proven_at": proven_ms,
        "ahead_seconds": (now.wall_ms - proven_ms) // 1_000 if proven_ms else 0,
    }


async def show_key(host: Host, arguments: Arguments) -> Answer:
    """Return the site's public key, for auditors to verify certificates with."""
    del arguments
    with host.site.ports.engine.snapshot() as reader:
        head = heads.read_head(reader)
    name = f"strongroom/{head.node.hex()}"
    return {
        "node": head.node.hex(),
        "public_key": head.verify_key.hex(),
        "key": notes.verifier_key(name, head.verify_key),
    }


async def show_ledger(host: Host, arguments: Arguments) -> Answer:
    """Return the size of the ledger, and the root over it."""
    del arguments
    with host.site.ports.engine.snapshot() as reader:
        head = heads.read_head(reader)
        ledger = Ledger.open(reader, head.number)
        return {
            "log": f"strongroom/{head.node.hex()}/{head.incarnation:016x}",
            "size": ledger.size,
            "root": ledger.root_at(reader, ledger.size).hex(),
        }


OPERATIONS: Final[Mapping[str, Operation]] = {
    "policy.list": Operation(Arguments, list_presets),
    "policy.show": Operation(Which, show_policy),
    "policy.plan": Operation(Draft, plan),
    "run.status": Operation(WhichRun, show_run),
    "clock.status": Operation(Arguments, show_clock),
    "audit.key": Operation(Arguments, show_key),
    "audit.ledger": Operation(Arguments, show_ledger),
}
