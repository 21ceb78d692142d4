"""String formats that custom resources are checked against (the list of apiextensions-apiserver at 1.37).

Each check answers as k8s.io/kube-openapi `pkg/validation/strfmt` does, which is laxer than the formats' own
specifications in places; formats that are not listed are ignored.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable
from datetime import date
from functools import cache
from urllib.parse import urlsplit


def is_checked_format(name: str, types: tuple[str, ...]) -> bool:
    """Whether the server checks this format for values of these types."""
    if not name:
        return False
    if types in ((), ("string",)) or len(types) > 1:
        return name.replace("-", "") in _CHECKS
    if types == ("integer",):
        return name in ("int32", "int64")
    if types == ("number",):
        return name in ("float", "double")
    return False


def has_format(text: str, name: str) -> bool:
    """Whether `text` has the named string format; formats that are not checked hold always."""
    check = _CHECKS.get(name.replace("-", ""))
    return check is None or check(text)


# Patterns are compiled when they are first used: most clusters use none, and all together take 30 ms.
_compiled = cache(re.compile)


def _full(pattern: str) -> Callable[[str], bool]:
    return lambda text: _compiled(pattern, re.ASCII).fullmatch(text) is not None


def _date(text: str) -> bool:
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text, re.ASCII):
        return False
    try:
        date.fromisoformat(text if text[:4] != "0000" else "2000" + text[4:])
    except ValueError:
        return False
    return True


_TIME = r"([0-9]{2}):([0-9]{2}):([0-9]{2})(.[0-9]+)?(z|[+-][0-9]{2}:[0-9]{2})"


def _date_time(text: str) -> bool:
    day, _, rest = text.lower().partition("t")
    if not _date(day):
        return False
    found = _compiled(_TIME, re.ASCII).fullmatch(rest.split("t")[0])
    return found is not None and found[1] <= "23" and found[2] <= "59" and found[3] <= "59"


_GO_DURATION = r"[-+]?(0|((\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h))+)"
_SCALA_DURATION = r"\d+\s*([A-Za-zµ]+)"
_SCALA_EXACT = frozenset(["ns", "us", "µs", "ms", "s", "m", "h", "hr", "d", "w", "wk"])
_SCALA_PREFIXES = ("nano", "micro", "milli", "sec", "min", "hour", "day", "week")


def _duration(text: str) -> bool:
    if _compiled(_GO_DURATION, re.ASCII).fullmatch(text):
        return True
    units = (unit.lower() for unit in _compiled(_SCALA_DURATION, re.ASCII).findall(text))
    return any(unit in _SCALA_EXACT or unit.startswith(_SCALA_PREFIXES) for unit in units)


def _sloppy(text: str) -> str:
    """IPv4 octets without leading zeros, which Go tolerated before 1.17 and Kubernetes still does."""
    return re.sub(r"(?<![0-9a-fA-F:])0+(?=[0-9])", "", text) if "." in text and ":" not in text else text


def _ipv4(text: str) -> bool:
    # A mapped address (::ffff:1.2.3.4) contains a dot too, and passes upstream.
    try:
        ipaddress.ip_address(_sloppy(text))
    except ValueError:
        return False
    return "." in text and "%" not in text


def _ipv6(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return ":" in text and "%" not in text


def _cidr(text: str) -> bool:
    address, slash, bits = text.partition("/")
    if not slash or not re.fullmatch(r"[0-9]+", bits, re.ASCII) or "%" in address:
        return False
    try:
        return int(bits) <= ipaddress.ip_address(_sloppy(address)).max_prefixlen
    except ValueError:
        return False


_MACS = (
    r"[0-9a-f]{2}(:[0-9a-f]{2}){5}|[0-9a-f]{2}(:[0-9a-f]{2}){7}|[0-9a-f]{2}(:[0-9a-f]{2}){19}"
    r"|[0-9a-f]{2}(-[0-9a-f]{2}){5}|[0-9a-f]{2}(-[0-9a-f]{2}){7}|[0-9a-f]{2}(-[0-9a-f]{2}){19}"
    r"|[0-9a-f]{12}|[0-9a-f]{16}|[0-9a-f]{40}"
    r"|[0-9a-f]{4}(\.[0-9a-f]{4}){2}|[0-9a-f]{4}(\.[0-9a-f]{4}){3}|[0-9a-f]{4}(\.[0-9a-f]{4}){9}"
)


def _base64(text: str) -> bool:
    if not text:
        return False
    try:
        return bool(base64.b64decode(text, validate=True)) and len(text) % 4 == 0
    except (binascii.Error, ValueError):
        return False


_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\U0010ffff-]+"
_QUOTED = r'"(?:[^"\\\r\n]|\\.)*"'
_SPEC = rf"(?:{_ATOM}(?:\.{_ATOM})*|{_QUOTED})@(?:{_ATOM}(?:\.{_ATOM})*|\[[^\[\]\\\s]*\])"
_ADDRESS = rf"\s*(?:{_SPEC}|(?:(?:{_ATOM}|{_QUOTED}|[.\s])*)<\s*{_SPEC}\s*>)\s*(?:\([^()]*\)\s*)?"


def _email(text: str) -> bool:
    """net/mail.ParseAddress: `a@b.c` or `Name <a@b.c>`."""
    return _compiled(_ADDRESS, re.DOTALL).fullmatch(text) is not None


def _uri(text: str) -> bool:
    """net/url.ParseRequestURI: an absolute URI or an absolute path."""
    if not text or any(ord(char) < 0x20 or ord(char) == 0x7F for char in text):
        return False
    if re.search(r"%(?![0-9a-fA-F]{2})", text.split("?", 1)[0]):
        return False
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    if " " in parts.netloc:
        return False
    return text.startswith("/") or re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", text) is not None or text == "*"


_LETTER = r"[^\W\d_]"


def _hostname(text: str) -> bool:
    if not text or len(text.encode()) > 255:
        return False
    labels = text.split(".")
    if any(len(label.encode()) > 63 for label in labels):
        return False
    if len(labels) == 1:
        # One label may hold a single hyphen after its first character only.
        return re.fullmatch(rf"({_LETTER}|\d)(-?({_LETTER}|\d){{0,62}})?", text) is not None
    inner = all(
        re.fullmatch(rf"({_LETTER}|\d)(({_LETTER}|\d|-)*({_LETTER}|\d))?", label) for label in labels[:-1]
    )
    return inner and re.fullmatch(rf"{_LETTER}{{2,63}}", labels[-1]) is not None


def _luhn(digits: str) -> bool:
    total = 0
    for index, char in enumerate(reversed(digits)):
        number = int(char) * (2 if index % 2 else 1)
        total += number - 9 if number > 9 else number
    return total % 10 == 0


_CARD = (
    r"(4[0-9]{12}([0-9]{3})?|5[1-5][0-9]{14}|6(011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}"
    r"|3(0[0-5]|[68][0-9])[0-9]{11}|(2131|1800|35[0-9]{3})[0-9]{11})"
)


def _credit_card(text: str) -> bool:
    digits = re.sub(r"[^0-9]+", "", text)
    return _compiled(_CARD, re.ASCII).fullmatch(digits) is not None and _luhn(digits)


def _isbn10(text: str) -> bool:
    digits = re.sub(r"[\s-]+", "", text)
    if not re.fullmatch(r"[0-9]{9}X|[0-9]{10}", digits, re.ASCII):
        return False
    return sum((10 - i) * (10 if char == "X" else int(char)) for i, char in enumerate(digits)) % 11 == 0


def _isbn13(text: str) -> bool:
    digits = re.sub(r"[\s-]+", "", text)
    if not re.fullmatch(r"[0-9]{13}", digits, re.ASCII):
        return False
    return sum((3 if i % 2 else 1) * int(char) for i, char in enumerate(digits)) % 10 == 0


_HEX = "[0-9a-fA-F]"
_OCTET = r"(0|[1-9][0-9]?|1[0-9][0-9]|2[0-4][0-9]|25[0-5])"
_SHORT_NAME = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_is_short_name = _full(_SHORT_NAME)
_is_long_name = _full(rf"{_SHORT_NAME}(\.{_SHORT_NAME})*")


def _uuid(version: str, variant: str) -> Callable[[str], bool]:
    return _full(rf"{_HEX}{{8}}-?{_HEX}{{4}}-?{version}{_HEX}{{3}}-?{variant}{_HEX}{{3}}-?{_HEX}{{12}}")


_CHECKS: dict[str, Callable[[str], bool]] = {
    "bsonobjectid": _full(rf"{_HEX}{{24}}"),
    "uri": _uri,
    "email": _email,
    "hostname": _hostname,
    "ipv4": _ipv4,
    "ipv6": _ipv6,
    "cidr": _cidr,
    "mac": lambda text: _compiled(_MACS, re.ASCII | re.IGNORECASE).fullmatch(text) is not None,
    "uuid": _uuid(_HEX, _HEX),
    "uuid3": _uuid("3", _HEX),
    "uuid4": _uuid("4", "[89abAB]"),
    "uuid5": _uuid("5", "[89abAB]"),
    "isbn": lambda text: _isbn10(text) or _isbn13(text),
    "isbn10": _isbn10,
    "isbn13": _isbn13,
    "creditcard": _credit_card,
    "ssn": _full(r"[0-9]{3}[- ][0-9]{2}[- ][0-9]{4}"),
    "hexcolor": _full(rf"#?({_HEX}{{3}}|{_HEX}{{6}})"),
    "rgbcolor": _full(rf"rgb\(\s*{_OCTET}\s*,\s*{_OCTET}\s*,\s*{_OCTET}\s*\)"),
    "byte": _base64,
    "password": lambda text: True,
    "date": _date,
    "duration": _duration,
    "datetime": _date_time,
    "k8sshortname": lambda text: len(text) <= 63 and _is_short_name(text),
    "k8slongname": lambda text: len(text) <= 253 and _is_long_name(text),
}
