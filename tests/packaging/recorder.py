"""Write down every packet on every interface of the network namespace this runs in.

A script for root: ``python recorder.py FILE`` appends a line of JSON for each packet to FILE and
says "recording" when it has begun. Loopback packets are written twice, as sent and as received.
"""

from __future__ import annotations

import json
import socket
import struct
import sys

ETH_P_ALL = 0x0003
BUFFER_BYTES = 64 << 20
SYN, ACK = 0x02, 0x10


def describe(packet: bytes) -> dict[str, object]:
    """Return what an IP packet is: protocol number, addresses and, for TCP and UDP, the ports."""
    if packet[:1] and packet[0] >> 4 == 4:
        size, protocol = (packet[0] & 15) * 4, packet[9]
        source, target = socket.inet_ntop(2, packet[12:16]), socket.inet_ntop(2, packet[16:20])
    elif len(packet) >= 40 and packet[0] >> 4 == 6:
        size, protocol = 40, packet[6]
        source, target = socket.inet_ntop(10, packet[8:24]), socket.inet_ntop(10, packet[24:40])
    else:
        return {"protocol": -1}
    told: dict[str, object] = {"protocol": protocol, "source": source, "target": target}
    if protocol in (socket.IPPROTO_TCP, socket.IPPROTO_UDP) and len(packet) >= size + 8:
        told["from"], told["to"] = struct.unpack_from(">HH", packet, size)
    if protocol == socket.IPPROTO_TCP and len(packet) >= size + 14:
        told["opens"] = packet[size + 13] & (SYN | ACK) == SYN
    return told


def main() -> None:
    """Record until killed."""
    kind = socket.SOCK_DGRAM
    with socket.socket(socket.AF_PACKET, kind, socket.htons(ETH_P_ALL)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        with open(sys.argv[1], "a", encoding="ascii", buffering=1) as file:
            sys.stdout.write("recording\n")
            sys.stdout.flush()
            while True:
                packet, address = sock.recvfrom(1 << 16)
                told = {"interface": address[0], "kind": address[1], **describe(packet)}
                file.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
