"""List every error code a client can meet, with its text in each language.

The catalogue is data: code -> (retryable, English, Chinese). Texts name the rule that was
broken, never the content that broke it.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple


class Entry(NamedTuple):
    """One catalogue line."""

    retryable: bool
    en: str
    zh: str


CATALOGUE: dict[str, Entry] = {
    "frame.malformed": Entry(False, "The payload is not an array of frames.", "数据不是帧数组。"),
    "frame.invalid": Entry(
        False, "A field of the frame is missing or wrong.", "帧字段缺失或有误。"
    ),
    "frame.unknown": Entry(False, "This server does not know this frame type.", "未知的帧类型。"),
    "frame.too_large": Entry(False, "The frame is larger than the limit.", "帧超过大小限制。"),
    "frame.unexpected": Entry(False, "This frame is not expected now.", "此时不应发送该帧。"),
    "auth.required": Entry(False, "Sign in first.", "请先登录。"),
    "auth.failed": Entry(False, "The credentials were not accepted.", "凭据无效。"),
    "auth.locked": Entry(
        True, "Too many failures; wait and try again.", "失败次数过多，请稍后再试。"
    ),
    "auth.method_unavailable": Entry(
        False, "This sign-in method is not offered.", "不支持该登录方式。"
    ),
    "auth.expired": Entry(
        False, "The session has ended; sign in again.", "会话已结束，请重新登录。"
    ),
    "auth.revoked": Entry(False, "This device was revoked.", "该设备已被吊销。"),
    "auth.version": Entry(False, "This protocol version is not supported.", "不支持该协议版本。"),
    "auth.invite_invalid": Entry(
        False, "The invitation is used, expired or unknown.", "邀请无效、已用或过期。"
    ),
    "auth.password_weak": Entry(
        False, "Choose a longer or less common password.", "密码太短或太常见。"
    ),
    "permission.denied": Entry(False, "Your role does not allow this.", "您的角色无此权限。"),
    "rate.limited": Entry(True, "Too many requests; wait.", "请求过于频繁，请稍候。"),
    "server.overloaded": Entry(True, "The server is busy; wait.", "服务器繁忙，请稍候。"),
    "server.full": Entry(
        True, "The server's disk is full; nothing was stored.", "服务器磁盘已满，未保存。"
    ),
    "server.draining": Entry(
        True, "The server is stopping; reconnect.", "服务器正在停止，请重连。"
    ),
    "server.failed": Entry(True, "The server failed; nothing was stored.", "服务器出错，未保存。"),
    "conversation.unknown": Entry(False, "There is no such conversation for you.", "没有该会话。"),
    "conversation.archived": Entry(False, "The conversation is archived.", "会话已归档。"),
    "conversation.not_owner": Entry(False, "Only an owner may do this.", "仅群主可执行此操作。"),
    "conversation.direct": Entry(
        False, "A direct conversation cannot be changed so.", "单聊不支持此操作。"
    ),
    "conversation.members": Entry(
        False, "The member list is empty, wrong or too long.", "成员列表无效。"
    ),
    "conversation.last_owner": Entry(False, "Name another owner first.", "请先指定另一位群主。"),
    "conversation.title": Entry(False, "The title is empty or too long.", "标题为空或过长。"),
    "conversation.limit": Entry(
        False, "Somebody would be in too many conversations.", "参与的会话过多。"
    ),
    "conversation.member": Entry(
        False, "That person is not, or is already, a member.", "该成员状态不符。"
    ),
    "send.conflict": Entry(
        False, "This number was used for other content.", "该序号已用于其他内容。"
    ),
    "send.too_large": Entry(False, "The body is larger than the limit.", "消息内容过大。"),
    "send.empty": Entry(False, "The message is empty.", "消息为空。"),
    "send.priority": Entry(False, "Unknown priority.", "未知优先级。"),
    "send.position": Entry(False, "The position is not known here.", "位置未知。"),
    "message.unknown": Entry(False, "There is no such message for you.", "没有该消息。"),
    "message.not_author": Entry(False, "Only its author may do this.", "仅作者可执行此操作。"),
    "message.recalled": Entry(False, "The message was recalled.", "消息已撤回。"),
    "message.crowded": Entry(
        False, "The message has too many edits and reactions.", "该消息的修改或回应过多。"
    ),
    "message.not_urgent": Entry(False, "The message asks for no confirmation.", "该消息无需确认。"),
    "reaction.invalid": Entry(False, "The reaction is empty or too long.", "表情无效。"),
    "person.unknown": Entry(False, "There is no such person.", "没有该人员。"),
    "person.exists": Entry(False, "The login name is taken.", "登录名已被占用。"),
    "person.login": Entry(False, "The login name is not allowed.", "登录名不符合规则。"),
    "person.disabled": Entry(False, "The account is disabled.", "账号已停用。"),
    "person.roles": Entry(False, "These roles do not go together.", "这些角色不能同时拥有。"),
    "person.last_administrator": Entry(
        False, "One administrator must remain.", "至少保留一名管理员。"
    ),
    "person.last_officer": Entry(
        False, "One security officer must remain.", "至少保留一名安全员。"
    ),
    "person.name": Entry(
        False, "The name is empty, too long or not plain text.", "姓名为空、过长或含禁用字符。"
    ),
    "person.state": Entry(
        False, "The account's state does not allow this.", "账号当前状态不允许此操作。"
    ),
    "person.key": Entry(False, "This person already has a signing key.", "该人员已有签名密钥。"),
    "person.limit": Entry(False, "No more people fit here.", "人员数量已达上限。"),
    "device.limit": Entry(False, "Revoke a device first.", "设备过多，请先吊销一台。"),
    "device.unknown": Entry(False, "There is no such device.", "没有该设备。"),
    "duty.unknown": Entry(False, "There is no such duty.", "没有该值班岗位。"),
    "duty.vacant": Entry(False, "Nobody holds this duty now.", "该岗位当前无人值班。"),
    "duty.not_holder": Entry(
        False, "Only its holder may hand this duty over.", "仅当前值班人可交接。"
    ),
    "duty.exists": Entry(False, "There is already a duty of this name.", "该岗位名已存在。"),
    "duty.title": Entry(False, "The duty's title is empty or too long.", "岗位名称为空或过长。"),
    "duty.chain": Entry(
        False, "The chain of persons or its time is not allowed.", "接替人员或时限无效。"
    ),
    "duty.name": Entry(False, "The duty name is not allowed.", "岗位名不符合规则。"),
    "invite.unknown": Entry(False, "There is no such invitation.", "没有该邀请。"),
    "invite.limit": Entry(False, "Revoke an invitation first.", "邀请过多，请先撤销一个。"),
    "invite.enrolled": Entry(
        False, "Only they invite themselves; or reset first.", "该人员已注册：须本人邀请或先重置。"
    ),
    "request.invalid": Entry(False, "An argument is missing or wrong.", "参数缺失或有误。"),
    "request.signature": Entry(
        False, "The request's signature is missing or wrong.", "请求签名缺失或错误。"
    ),
    "request.unknown": Entry(False, "There is no such command.", "没有该命令。"),
}

LANGUAGES = ("en", "zh-CN")


def text(code: str, language: str = "en") -> str:
    """Return the catalogue's text for ``code``; English for any language but Chinese."""
    entry = CATALOGUE[code]
    return entry.zh if language.lower().startswith("zh") else entry.en


class StrongroomError(Exception):
    """Root of the errors that can reach a client; ``code`` is a catalogue key.

    ``after`` is how many seconds to wait before a retry (0: no advice).
    """

    code: str = "server.failed"
    hint: ClassVar[str] = ""

    def __init__(self, code: str | None = None, *, after: float = 0) -> None:
        if code is not None:
            self.code = code
        self.after = after
        super().__init__(self.code)

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed later."""
        return CATALOGUE[self.code].retryable


class FrameError(StrongroomError):
    """A payload or frame could not be read."""

    code = "frame.malformed"


class Refusal(StrongroomError):
    """A decision: the command is understood and refused."""
