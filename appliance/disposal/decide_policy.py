"""Decide the policy, where conversations are filed, and that the clock is right again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from appliance.context import Context, refuse
from appliance.directory.limits import REASON_CHARACTERS
from appliance.directory.names import clean_text
from appliance.directory.requests import canonical_json
from appliance.disposal import decide_requests, rights
from appliance.disposal.commands import FileConversation, SetPolicy
from appliance.disposal.limits import LABELS_PER_CONVERSATION, PAST_FILINGS
from appliance.disposal.replies import Filed, PolicyChanged
from appliance.disposal.state import Request
from appliance.operations import ConversationFiled, Kind, PolicySet
from appliance.policy.limits import SELECTOR_CHARACTERS
from appliance.policy.loosening import loosenings
from appliance.policy.rules import AUDIT_NAME, CONTROL_NAME, Policy
from appliance.policy.text import PolicyError, dropped_classes, read_policy
from store.ids import SITE_STREAM

if TYPE_CHECKING:
    from appliance.core import Core

ACT: Final = "policy.set"


def set_policy(core: Core, ctx: Context, command: SetPolicy) -> PolicyChanged:
    """Decide ``policy.set``: at once where it only gets stricter, else with a second officer.

    Codes: policy.invalid, policy.outdated, policy.class_in_use, site.not_headquarters. The site
    itself sets the first policy of a new organisation.
    """
    known = core.disposal.policies
    if ctx.actor.is_site and known.number == 0:
        version = _put(core, ctx, _read(core, command.text), command.reason, 0)
        return PolicyChanged(version, 0, ())
    if ctx.sites.is_branch:
        raise refuse("site.not_headquarters")
    officer = rights.signed(ctx, command)
    if command.base != known.number:
        raise refuse("policy.outdated")
    policy = _read(core, command.text)
    reasons = tuple(loosenings(known.current, policy))
    if not reasons:
        return PolicyChanged(_put(core, ctx, policy, command.reason, 0), 0, ())
    arguments = canonical_json({"base": command.base, "text": command.text})
    request, done = decide_requests.propose(core, ctx, officer, ACT, arguments, command.reason)
    version = core.disposal.policies.number if done else 0
    ready_ms = decide_requests.ready_ms(core, request) or 0
    return PolicyChanged(version, request.body.request, reasons, ready_ms)


def file_conversation(core: Core, ctx: Context, command: FileConversation) -> Filed:
    """Decide ``conversation.file``: by an administrator or an officer.

    What a class demanded of earlier records goes on. Codes: conversation.unknown,
    policy.class_unknown, selection.invalid.
    """
    rights.signed(ctx, command, rights.FILERS)
    try:
        known = core.conversations.get(bytes.fromhex(command.conversation))
    except ValueError:
        known = None
    if known is None:
        raise refuse("conversation.unknown")
    number = core.disposal.policies.class_numbers().get(command.retention_class)
    if number is None or command.retention_class in (AUDIT_NAME, CONTROL_NAME):
        raise refuse("policy.class_unknown")
    labels = tuple(sorted({label.strip() for label in command.labels}))
    if len(labels) > LABELS_PER_CONVERSATION or any(
        not 0 < len(label) <= SELECTOR_CHARACTERS for label in labels
    ):
        raise refuse("selection.invalid")
    past = known.past_filings
    if (number, labels) != (known.retention_class, known.labels):
        past = (*past, (known.retention_class, known.labels, core.log.head.pos))
    if len(past) > PAST_FILINGS:
        raise refuse("policy.filed_too_often")
    closed_ms = ctx.now if command.case_closed else 0
    body = ConversationFiled(number, labels, closed_ms, past, ctx.actor.signed)
    ctx.append(Kind.CONVERSATION_FILED, body, stream=known.stream, conversation=known.id)
    return Filed(command.retention_class, labels)


def _perform(core: Core, ctx: Context, request: Request) -> None:
    arguments = msgspec.json.decode(request.body.arguments, type=dict[str, Any])
    if arguments["base"] != core.disposal.policies.number:
        raise refuse("policy.outdated")
    policy = _read(core, arguments["text"])
    _put(core, ctx, policy, request.body.reason, request.body.request)


def _read(core: Core, text: str) -> Policy:
    known = core.disposal.policies
    try:
        policy = read_policy(text, known.class_numbers())
    except PolicyError:
        raise refuse("policy.invalid") from None
    used = {known.class_name(number): number for number in core.conversations.classes_in_use()}
    if dropped_classes(policy, used):
        raise refuse("policy.class_in_use")
    return policy


def _put(core: Core, ctx: Context, policy: Policy, reason: str, request: int) -> int:
    version = core.disposal.policies.number + 1
    text = clean_text(reason, REASON_CHARACTERS)
    body = PolicySet(version, policy, text, request, ctx.actor.signed)
    ctx.append(Kind.POLICY_SET, body, stream=SITE_STREAM)
    core.vault.close_epochs(ctx.txn)
    return version


decide_requests.PERFORM[ACT] = _perform

DECISIONS: Final[dict[type, Callable[[Any, Context, Any], Any]]] = {
    SetPolicy: set_policy,
    FileConversation: file_conversation,
}
