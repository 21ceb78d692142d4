"""Links, addresses and routes through the kernel's rtnetlink, in the network namespace that the caller is in.

Standard library only: this runs in the helper process. Numbers are those of linux/rtnetlink.h and linux/if_link.h.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import struct

_NEWLINK, _DELLINK, _NEWADDR, _NEWROUTE = 16, 17, 20, 24
_REQUEST, _ACK, _EXCL, _CREATE = 1, 4, 0x200, 0x400
_IFNAME, _MASTER, _LINKINFO, _NET_NS_PID, _IFALIAS = 3, 10, 18, 19, 20
_INFO_KIND, _INFO_DATA, _VETH_PEER = 1, 2, 1
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_IFLA_ADDRESS = 1
_RTA_DST, _RTA_OIF, _RTA_GATEWAY = 1, 4, 5
_TABLE_MAIN, _TABLE_LOCAL, _PROTOCOL_STATIC = 254, 255, 4
_SCOPE_UNIVERSE, _SCOPE_HOST = 0, 254
_UNICAST, _LOCAL = 1, 2
_UP = 1


class Netlink:
    """Every method raises OSError with the kernel's errno."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        self._socket.bind((0, 0))
        self._number = 0

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def add_bridge(self, name: str, alias: str) -> None:
        kind = _attribute(_INFO_KIND, b"bridge\0")
        # An address of its own: a bridge without one takes the lowest of its ports', which changes when that port
        # goes, and then its other ports' neighbours send to nobody until their tables are refreshed.
        own = _attribute(_IFLA_ADDRESS, b"\x02" + hashlib.sha256(name.encode()).digest()[:5])
        self._ask(_NEWLINK, _CREATE | _EXCL, _link() + _name(name) + own + _attribute(_LINKINFO, kind))
        self._set_alias(name, alias)

    def add_veth(self, name: str, peer: str, peer_pid: int, master: str, alias: str) -> None:
        """A pair: `name` here as a port of `master` and up, `peer` in the network namespace of that process."""
        other = _link() + _name(peer) + _attribute(_NET_NS_PID, struct.pack("I", peer_pid))
        data = _attribute(_INFO_DATA, _attribute(_VETH_PEER, other))
        info = _attribute(_LINKINFO, _attribute(_INFO_KIND, b"veth\0") + data)
        port = _attribute(_MASTER, struct.pack("I", socket.if_nametoindex(master)))
        self._ask(_NEWLINK, _CREATE | _EXCL, _link(flags=_UP, change=_UP) + _name(name) + port + info)
        self._set_alias(name, alias)

    def _set_alias(self, name: str, alias: str) -> None:
        # The kernel takes an alias for a link that exists, but silently none for one that is being made.
        attribute = _attribute(_IFALIAS, alias.encode() + b"\0")
        self._ask(_NEWLINK, 0, _link(index=socket.if_nametoindex(name)) + attribute)

    def set_up(self, name: str) -> None:
        self._ask(_NEWLINK, 0, _link(index=socket.if_nametoindex(name), flags=_UP, change=_UP))

    def delete(self, name: str) -> None:
        """Harmless when there is none of that name."""
        with contextlib.suppress(OSError):
            self._ask(_DELLINK, 0, _link(index=socket.if_nametoindex(name)))

    def add_address(self, name: str, address: str, prefix: int) -> None:
        packed = socket.inet_aton(address)
        head = struct.pack("BBBBI", socket.AF_INET, prefix, 0, 0, socket.if_nametoindex(name))
        attributes = _attribute(_IFA_LOCAL, packed) + _attribute(_IFA_ADDRESS, packed)
        self._ask(_NEWADDR, _CREATE | _EXCL, head + attributes)

    def add_default_route(self, gateway: str) -> None:
        head = _route(0, _TABLE_MAIN, _SCOPE_UNIVERSE, _UNICAST)
        self._ask(_NEWROUTE, _CREATE | _EXCL, head + _attribute(_RTA_GATEWAY, socket.inet_aton(gateway)))

    def add_local_route(self, network: str, prefix: int, name: str) -> None:
        """Take every address of the network for this machine's own, as long as the interface exists."""
        head = _route(prefix, _TABLE_LOCAL, _SCOPE_HOST, _LOCAL)
        index = struct.pack("I", socket.if_nametoindex(name))
        attributes = _attribute(_RTA_DST, socket.inet_aton(network)) + _attribute(_RTA_OIF, index)
        self._ask(_NEWROUTE, _CREATE | _EXCL, head + attributes)

    def _ask(self, kind: int, flags: int, body: bytes) -> None:
        self._number += 1
        head = struct.pack("IHHII", 16 + len(body), kind, flags | _REQUEST | _ACK, self._number, 0)
        self._socket.send(head + body)
        while True:
            answer = self._socket.recv(65536)
            if struct.unpack("I", answer[8:12])[0] != self._number:
                continue
            (code,) = struct.unpack("i", answer[16:20])
            if code:
                raise OSError(-code, os.strerror(-code))
            return


def _attribute(kind: int, data: bytes) -> bytes:
    length = 4 + len(data)
    return struct.pack("HH", length, kind) + data + b"\0" * (-length % 4)


def _name(name: str) -> bytes:
    return _attribute(_IFNAME, name.encode() + b"\0")


def _link(index: int = 0, flags: int = 0, change: int = 0) -> bytes:
    return struct.pack("BxHiII", socket.AF_UNSPEC, 0, index, flags, change)


def _route(prefix: int, table: int, scope: int, kind: int) -> bytes:
    return struct.pack("BBBBBBBBI", socket.AF_INET, prefix, 0, 0, table, _PROTOCOL_STATIC, scope, kind, 0)
