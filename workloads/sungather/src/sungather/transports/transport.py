"""The one interface to an inverter, and the ways in which reading can fail."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sungather.errors import SungatherError
from sungather.registers.register import Kind

Asked = tuple[Kind, int, int]
"""What to read: kind, documented address, number of words."""


class Transport(Protocol):
    """One session with one inverter. Addresses are documented ones (wire address + 1).

    Every call ends within the timeout it was built with. After any TransportError except Refusal the session is
    over: close() it and open() again.
    """

    max_words: int
    name: str

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def read(self, kind: Kind, address: int, count: int) -> Sequence[int]: ...

    async def read_all(self, asked: Sequence[Asked]) -> list[Outcome]:
        """Read after read, each when the one before is answered. Ends after an error that ended the session."""
        ...

    async def write(self, address: int, words: Sequence[int]) -> None: ...


class TransportError(SungatherError):
    """The inverter could not be asked. `label` names the class of failure in metrics."""

    label = "transport"
    hint = ""


Outcome = Sequence[int] | TransportError
"""The words of one read, or why there are none."""


class Unreachable(TransportError):
    """No connection: name not found, refused, no route, no answer to the connection attempt."""

    label = "unreachable"
    hint = "check power, network and address; a string inverter sleeps at night"


class UnknownHost(Unreachable):
    """No address has this name."""

    hint = "check the name in host:, or write the address (192.168.1.100)"


class NotTls(Unreachable):
    """Something listens there, but no TLS session came about."""

    label = "tls"
    hint = "connection: tls is port 516; plain Modbus is connection: modbus on port 502"


class NoReply(TransportError):
    """Connected, but the answer did not come in time."""

    label = "no-reply"
    hint = "another program may hold the inverter's only session; raise timeout: if the link is slow"


class NoKey(NoReply):
    """Connected, but nobody answers the question for the key of the encrypted variant."""

    hint = "an inverter that answers plain Modbus offers no key: try connection: modbus"


class BrokenReply(TransportError):
    """The answer broke off or does not follow the protocol."""

    label = "broken-reply"
    hint = "check connection: (modbus, sungrow, http, tls, https) and slave:"


class LoginRefused(TransportError):
    """The dongle did not accept user and password."""

    label = "login-refused"
    hint = "set inverter: username: and password: to the dongle's own login"


class SessionExpired(TransportError):
    """The dongle's token ran out; a new session gets a new one."""

    label = "session-expired"


class Occupied(TransportError):
    """The dongle gave the session to another user, or ended it."""

    label = "occupied"
    hint = "the dongle has one user at a time: close its web page and app"


class CertificateChanged(TransportError):
    """The TLS certificate is not the one seen first."""

    label = "certificate-changed"

    def __init__(self, seen: str, pinned: str) -> None:
        self.seen, self.pinned = seen, pinned
        super().__init__(
            f"certificate {seen[:16]}... is not the one known for this inverter ({pinned[:16]}...)"
        )

    @property
    def hint(self) -> str:  # type: ignore[override]
        return f"if the device was changed or updated, set inverter: certificate: {self.seen}"


EXCEPTIONS = {
    1: "function not supported",
    2: "address not available",
    3: "value or count not allowed",
    4: "device failure",
    5: "acknowledged, still working",
    6: "device busy",
    8: "memory parity error",
    10: "gateway path unavailable",
    11: "gateway target did not answer",
}


async def one_by_one(transport: Transport, asked: Sequence[Asked]) -> list[Outcome]:
    """read_all() for a transport that knows nothing quicker."""
    outcomes: list[Outcome] = []
    for kind, address, count in asked:
        try:
            outcomes.append(await transport.read(kind, address, count))
        except TransportError as error:
            outcomes.append(error)
            if not isinstance(error, Refusal):
                break
    return outcomes


class Refusal(TransportError):
    """A Modbus exception: the session is fine, this request was refused."""

    label = "refused"

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(f"exception {code} ({EXCEPTIONS.get(code, 'unknown')})")

    @property
    def permanent(self) -> bool:
        """True when asking again for the same words makes no sense."""
        return self.code in (1, 2, 3)
