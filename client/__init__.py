"""The Python SDK: sessions with a Strongroom appliance over QUIC or WebSocket.

    async with client.connect("strongroom://alice@10.0.0.5:8443", token=..., pin=...) as me:
        room = await me.open_direct("bob")
        await room.send("bed 12: potassium 6.1", priority="urgent")
        async for event in me.events():
            ...

A session reconnects by itself, keeps unsent messages in order and resumes without loss.
"""

from client.conversation import Conversation, Sent
from client.entry import accept_invite, connect, login, logout
from client.errors import (
    CarrierLost,
    ClientError,
    Closed,
    Interrupted,
    ProfileError,
    Refused,
    Unreachable,
    Untrusted,
)
from client.notices import AppEvent, Offline, Online, Resynced, Unsent
from client.profile import Account, Profile
from client.session import Session

__all__ = [
    "Account",
    "AppEvent",
    "CarrierLost",
    "ClientError",
    "Closed",
    "Conversation",
    "Interrupted",
    "Offline",
    "Online",
    "Profile",
    "ProfileError",
    "Refused",
    "Resynced",
    "Sent",
    "Session",
    "Unreachable",
    "Unsent",
    "Untrusted",
    "accept_invite",
    "connect",
    "login",
    "logout",
]
