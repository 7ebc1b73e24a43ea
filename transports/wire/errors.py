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
    "auth.elsewhere": Entry(
        False, "Sign in at the site where you are at home.", "请在您所属的站点登录。"
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
    "site.unknown": Entry(False, "There is no such branch.", "没有该分支站点。"),
    "site.name": Entry(False, "The branch's name is not allowed.", "分支站点名称不符合规则。"),
    "site.exists": Entry(False, "There is already a branch of this name.", "该分支站点名已存在。"),
    "site.limit": Entry(False, "There are too many branches.", "分支站点过多。"),
    "site.state": Entry(
        False, "The branch is not in a state for this.", "该分支站点当前状态不允许此操作。"
    ),
    "site.fingerprint": Entry(
        False, "The fingerprint is of another machine.", "指纹与该机器不符。"
    ),
    "site.people": Entry(
        True,
        "Not as many people are concerned as was signed; look again.",
        "涉及人数已变化，请重新查看。",
    ),
    "site.invitation": Entry(False, "This is no invitation of a branch.", "这不是分支站点邀请。"),
    "site.token": Entry(
        False, "The invitation is used, expired or void.", "邀请已用、过期或作废。"
    ),
    "site.revoked": Entry(False, "This branch was revoked.", "该分支站点已被吊销。"),
    "site.occupied": Entry(
        False, "This site has people or headquarters already.", "本站点已有人员或已有总部。"
    ),
    "site.lease": Entry(
        True,
        "This branch has been cut off too long for this; it can be done at headquarters.",
        "本站点与总部断开过久，请在总部办理。",
    ),
    "site.waiting": Entry(
        True, "An administrator must approve this branch first.", "须先由管理员批准该分支站点。"
    ),
    "site.unreachable": Entry(True, "Headquarters cannot be reached.", "无法连接总部。"),
    "site.untrusted": Entry(
        False, "This is not the headquarters of the invitation.", "对方不是邀请所指的总部。"
    ),
    "site.parcel": Entry(
        False,
        "This file is damaged or cut short, or is no export of a site.",
        "该文件已损坏、不完整，或不是站点导出文件。",
    ),
    "site.parcel_addressee": Entry(
        False, "This file is for another site.", "该文件是给其他站点的。"
    ),
    "site.parcel_sender": Entry(
        False, "This file is of a site that is none of ours.", "该文件并非来自本组织的站点。"
    ),
    "site.parcel_old": Entry(
        False,
        "This file was made before one of the two sites was restored.",
        "该文件生成于其中一个站点恢复之前。",
    ),
    "site.parcel_unsettled": Entry(
        False,
        "After a restore the line must come up once before files are carried again.",
        "站点恢复后，须先连通一次线路，才能再用文件传送。",
    ),
    "site.parcel_gap": Entry(
        False,
        "What belongs before this file is missing here.",
        "此处缺少该文件之前的内容。",
    ),
    "site.parcel_exists": Entry(False, "There is already a file of this name.", "同名文件已存在。"),
    "site.parcel_file": Entry(
        False, "This file cannot be read or written.", "无法读取或写入该文件。"
    ),
    "site.not_branch": Entry(False, "This site is no branch.", "本站点不是分支站点。"),
    "site.not_headquarters": Entry(False, "Only headquarters decides this.", "仅总部可决定此事。"),
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
    "evidence.cursor": Entry(
        False,
        "The export cannot go on from there; start it anew.",
        "导出无法从该处继续，请重新开始。",
    ),
    "evidence.scope": Entry(
        False, "The approved review does not cover this.", "已批准的审阅不包含此内容。"
    ),
    "approval.state": Entry(
        False, "The request is not in a state for this.", "该申请当前状态不允许此操作。"
    ),
    "approval.unapproved": Entry(
        False, "Another officer must approve the request first.", "须先由另一名安全员批准。"
    ),
    "approval.same_person": Entry(
        False, "Who made the request cannot approve it.", "申请人不能批准自己的申请。"
    ),
    "approval.same_key": Entry(
        False, "The key that signed the request cannot approve it.", "同一密钥不能既申请又批准。"
    ),
    "approval.expired": Entry(False, "The request has expired.", "该申请已过期。"),
    "approval.cooling": Entry(
        True, "The cooling-off is not over yet; wait.", "冷静期尚未结束，请稍候。"
    ),
    "approval.unknown": Entry(False, "There is no such request.", "没有该申请。"),
    "approval.digest": Entry(
        False, "The request is not the one that was approved.", "该申请与所批准的内容不一致。"
    ),
    "approval.unsigned": Entry(
        True, "Who made the request has not signed its digest yet.", "申请人尚未签署该申请的摘要。"
    ),
    "approval.requester_gone": Entry(
        False, "Who made the request is no officer any more.", "申请人已不再是安全员。"
    ),
    "approval.outgrown": Entry(
        False,
        "More would be destroyed now than was approved; ask anew.",
        "范围已扩大，须重新申请。",
    ),
    "approval.limit": Entry(False, "Too many requests are open.", "未完成的申请过多。"),
    "policy.invalid": Entry(
        False, "The policy has mistakes; `policy plan FILE` shows them.", "保留策略有误，请先检查。"
    ),
    "policy.unknown": Entry(
        False, "There is no such version of the policy, or preset.", "没有该策略版本或预设。"
    ),
    "policy.outdated": Entry(
        True, "The policy has changed meanwhile; look at it first.", "保留策略已变更，请重新查看。"
    ),
    "policy.class_in_use": Entry(
        False, "A retention class that is in use is missing.", "缺少仍在使用的保留类别。"
    ),
    "policy.class_unknown": Entry(False, "There is no such retention class.", "没有该保留类别。"),
    "policy.filed_too_often": Entry(
        False, "This conversation was filed too often.", "该会话改类次数过多。"
    ),
    "hold.unknown": Entry(False, "There is no such active hold.", "没有该有效的保全。"),
    "hold.limit": Entry(False, "Too many holds are active.", "有效的保全过多。"),
    "hold.active": Entry(
        False, "A legal hold is active; it outlives everything.", "仍有有效的保全，不可执行。"
    ),
    "decommission.minimum": Entry(
        False,
        "Records must still be kept; hand them over first and say so.",
        "仍有须依法保存的记录，请先移交并声明。",
    ),
    "decommission.moved": Entry(
        True, "Something was destroyed meanwhile; try again.", "期间有记录被销毁，请重试。"
    ),
    "decommission.replica": Entry(
        True,
        "A key replica cannot be reached; connect it, or two officers retire it.",
        "有密钥副本无法访问，请连接它或由两名安全员停用它。",
    ),
    "decommission.undecided": Entry(
        False, "Nobody has decommissioned this site.", "本站点尚未被决定停用。"
    ),
    "decommission.decided": Entry(False, "This site is decommissioned.", "本站点已停用。"),
    "selection.empty": Entry(
        False,
        "Name people, conversations, units, labels or dates.",
        "请指定人员、会话、标签等条件。",
    ),
    "selection.invalid": Entry(False, "The selection is not possible.", "选择条件无效。"),
    "selection.named": Entry(
        False,
        "Name who is to be erased by id: what is signed is kept.",
        "请用标识指定要删除的人员，签署的内容会被保留。",
    ),
    "order.limit": Entry(
        False, "The order is too large; split it by dates.", "范围过大，请按日期拆分。"
    ),
    "order.empty": Entry(False, "Nothing would be destroyed.", "没有可销毁的记录。"),
    "person.not_removed": Entry(False, "Remove the person first: user remove.", "请先移除该人员。"),
    "clock.unproven": Entry(
        True, "Destruction waits: no time is proven.", "时间未经证实，销毁暂停。"
    ),
    "clock.not_suspended": Entry(False, "The clock is not suspended.", "时钟未被暂停。"),
    "clock.differs": Entry(
        True, "The clock is not what was confirmed; look again.", "时钟与所确认的不一致。"
    ),
    "run.unknown": Entry(False, "There is no such destruction run.", "没有该销毁任务。"),
    "run.unconfirmed": Entry(True, "The run is not confirmed yet.", "该销毁任务尚未确认。"),
    "review.over": Entry(False, "The time of this review is over.", "该审阅的时限已过。"),
    "replica.unknown": Entry(False, "There is no such key replica.", "没有该密钥副本。"),
    "replica.place": Entry(
        False,
        "The key replica would lie among data, keys or another replica.",
        "密钥副本不能位于数据、密钥或其他副本之中。",
    ),
    "replica.same_device": Entry(
        False,
        "Data, keys or another replica are on the same device.",
        "该位置与数据、密钥或其他副本在同一设备上。",
    ),
    "replica.foreign": Entry(
        False,
        "The key replica is of another site, or newer than this store.",
        "该密钥副本属于其他站点，或比本站数据更新。",
    ),
    "replica.unusable": Entry(
        False, "The directory holds no usable key replica.", "该目录中没有可用的密钥副本。"
    ),
    "replica.not_retired": Entry(
        False, "Destruction waits for this key replica.", "销毁流程仍在等待该密钥副本。"
    ),
    "link.failed": Entry(True, "The link failed at this site.", "本站点的链路处理失败。"),
    "link.malformed": Entry(
        True, "The other site sent what is no frame of the link.", "对方站点发送了无效的链路帧。"
    ),
    "link.limit": Entry(
        True, "The other site exceeded a limit of the link.", "对方站点超出链路限制。"
    ),
    "link.unexpected": Entry(
        True, "The other site sent a frame out of place.", "对方站点发送了不合时宜的帧。"
    ),
    "link.rejected": Entry(
        False, "The other site sent an operation that does not hold.", "对方站点发送了无效的操作。"
    ),
    "link.version": Entry(
        False, "The sites have no version of the link in common.", "两站点没有共同的链路版本。"
    ),
    "link.stranger": Entry(
        False, "The other site is not one that may connect.", "对方站点无权连接。"
    ),
    "link.proxy": Entry(True, "The proxy does not let the link through.", "代理不允许链路通过。"),
    "link.intercepted": Entry(
        True,
        "What answers at headquarters' address is not headquarters.",
        "总部地址上应答的并非总部。",
    ),
    "link.fenced": Entry(
        True, "A site's log was set back; it goes on anew.", "站点日志被回退，将以新身份继续。"
    ),
    "link.forked": Entry(
        True,
        "Two logs of one site differ; it goes on anew.",
        "同一站点的日志出现分叉，将重新开始。",
    ),
    "link.gap": Entry(
        True, "Something is missing; it is asked for again.", "数据有缺失，将重新请求。"
    ),
    "link.lost": Entry(True, "The line between the sites ended.", "站点间线路中断。"),
    "link.replaced": Entry(True, "The same site connected again.", "同一站点重新建立了连接。"),
    "link.stopped": Entry(True, "One of the sites is stopping.", "其中一个站点正在停止。"),
    "link.ended_by_peer": Entry(True, "The other site ended the link.", "对方站点结束了链路。"),
    "backup.exists": Entry(False, "There is something in that place.", "目标位置已存在。"),
    "backup.place": Entry(
        False, "A backup lies apart from data, keys and replicas.", "备份须与数据和密钥分开存放。"
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
