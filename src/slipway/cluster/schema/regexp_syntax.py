"""RE2 syntax (Go's regexp package) read into a small tree, with Go's own error texts for what is not RE2.

Syntax facts: the RE2 syntax page and Go's regexp/syntax documentation. Backreferences and look-around do not
exist in RE2, which is why matching can be linear (`regexp`).
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

MOST_REPEATS = 1000
_MOST_DIGITS = 8  # of a count; more than any that is allowed has
_MOST_NESTING = 200  # of Go's 1000: each level takes four calls here, and Python allows a thousand in all


class InvalidPattern(ValueError):
    """Not an RE2 pattern; the text is Go's."""

    def __init__(self, what: str, where: str) -> None:
        super().__init__(f"error parsing regexp: {what}: `{where}`")


@dataclass(frozen=True, slots=True)
class Charset:
    """A set of characters: ranges and Unicode categories or scripts, possibly folded and negated."""

    ranges: tuple[tuple[int, int], ...] = ()
    categories: tuple[str, ...] = ()
    parts: tuple[Charset, ...] = ()
    fold: bool = False
    negated: bool = False

    def __contains__(self, char: str) -> bool:
        found = self._plain(char)
        if not found and self.fold:
            found = any(len(other) == 1 and self._plain(other) for other in (char.lower(), char.upper()))
        return found is not self.negated

    def _plain(self, char: str) -> bool:
        code = ord(char)
        return (
            any(low <= code <= high for low, high in self.ranges)
            or (bool(self.categories) and unicodedata.category(char).startswith(self.categories))
            or any(char in part for part in self.parts)
        )


@dataclass(frozen=True, slots=True)
class Chars:
    chars: Charset


@dataclass(frozen=True, slots=True)
class Sequence:
    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    part: Node
    least: int
    most: int | None
    greedy: bool


Place = Literal["text-start", "text-end", "line-start", "line-end", "word-boundary", "no-word-boundary"]


@dataclass(frozen=True, slots=True)
class Assertion:
    place: Place


Node = Chars | Sequence | Choice | Repeat | Assertion

_DIGIT = ((0x30, 0x39),)
_SPACE = ((0x09, 0x0A), (0x0C, 0x0D), (0x20, 0x20))
_WORD = ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A))
_PERL = {"d": _DIGIT, "s": _SPACE, "w": _WORD}
_POSIX: dict[str, tuple[tuple[int, int], ...]] = {
    "alnum": ((0x30, 0x39), (0x41, 0x5A), (0x61, 0x7A)),
    "alpha": ((0x41, 0x5A), (0x61, 0x7A)),
    "ascii": ((0x00, 0x7F),),
    "blank": ((0x09, 0x09), (0x20, 0x20)),
    "cntrl": ((0x00, 0x1F), (0x7F, 0x7F)),
    "digit": _DIGIT,
    "graph": ((0x21, 0x7E),),
    "lower": ((0x61, 0x7A),),
    "print": ((0x20, 0x7E),),
    "punct": ((0x21, 0x2F), (0x3A, 0x40), (0x5B, 0x60), (0x7B, 0x7E)),
    "space": ((0x09, 0x0D), (0x20, 0x20)),
    "upper": ((0x41, 0x5A),),
    "word": _WORD,
    "xdigit": ((0x30, 0x39), (0x41, 0x46), (0x61, 0x66)),
}
# The scripts that occur in patterns; unicodedata knows categories only.
_SCRIPTS: dict[str, tuple[tuple[int, int], ...]] = {
    "Latin": ((0x41, 0x5A), (0x61, 0x7A), (0xAA, 0xAA), (0xBA, 0xBA), (0xC0, 0xD6), (0xD8, 0xF6), (0xF8, 0x2B8),
              (0x1E00, 0x1EFF), (0x2C60, 0x2C7F), (0xA722, 0xA787), (0xFF21, 0xFF3A), (0xFF41, 0xFF5A)),
    "Greek": ((0x370, 0x373), (0x375, 0x377), (0x37A, 0x37D), (0x37F, 0x37F), (0x384, 0x384), (0x386, 0x386),
              (0x388, 0x3E1), (0x3F0, 0x3FF), (0x1F00, 0x1FFE)),
    "Cyrillic": ((0x400, 0x484), (0x487, 0x52F), (0x1C80, 0x1C88), (0x2DE0, 0x2DFF), (0xA640, 0xA69F)),
    "Han": ((0x2E80, 0x2FD5), (0x3005, 0x3005), (0x3007, 0x3007), (0x3021, 0x3029), (0x3400, 0x4DBF),
            (0x4E00, 0x9FFF), (0xF900, 0xFAD9), (0x20000, 0x323AF)),
    "Hiragana": ((0x3041, 0x3096), (0x309D, 0x309F)),
    "Katakana": ((0x30A1, 0x30FA), (0x30FD, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9D)),
    "Hebrew": ((0x591, 0x5F4),),
    "Arabic": ((0x600, 0x604), (0x606, 0x60B), (0x60D, 0x61A), (0x61C, 0x61E), (0x620, 0x63F), (0x641, 0x6FF)),
}  # fmt: skip
_CATEGORIES = frozenset(
    [
        "C",
        "Cc",
        "Cf",
        "Co",
        "Cs",
        "L",
        "Ll",
        "Lm",
        "Lo",
        "Lt",
        "Lu",
        "M",
        "Mc",
        "Me",
        "Mn",
        "N",
        "Nd",
        "Nl",
        "No",
        "P",
        "Pc",
        "Pd",
        "Pe",
        "Pf",
        "Pi",
        "Po",
        "Ps",
        "S",
        "Sc",
        "Sk",
        "Sm",
        "So",
        "Z",
        "Zl",
        "Zp",
        "Zs",
    ]
)
_SIMPLE_ESCAPES = {"a": "\a", "f": "\f", "t": "\t", "n": "\n", "r": "\r", "v": "\v"}
_PLACES: dict[str, Place] = {
    "A": "text-start",
    "z": "text-end",
    "b": "word-boundary",
    "B": "no-word-boundary",
}
_ANY = Charset(negated=True)
_NOT_NEWLINE = Charset(ranges=((0x0A, 0x0A),), negated=True)


def parse_pattern(pattern: str) -> Node:
    """The tree of an RE2 pattern; raises `InvalidPattern`."""
    return _Parser(pattern).parse()


@dataclass(slots=True)
class _Flags:
    fold: bool = False
    multiline: bool = False
    dot_all: bool = False
    ungreedy: bool = False

    def copy(self) -> _Flags:
        return _Flags(self.fold, self.multiline, self.dot_all, self.ungreedy)


class _Parser:
    def __init__(self, pattern: str) -> None:
        self.text = pattern
        self.at = 0
        self.flags = _Flags()
        self.names: set[str] = set()
        self.depth = 0

    def parse(self) -> Node:
        node = self.choice()
        if self.at < len(self.text):
            raise InvalidPattern("unexpected )", self.text)
        return node

    def choice(self) -> Node:
        self.depth += 1
        if self.depth > _MOST_NESTING:
            raise InvalidPattern("expression nests too deeply", self.text)
        parts = [self.sequence()]
        while self.peek("|"):
            self.at += 1
            parts.append(self.sequence())
        self.depth -= 1
        return parts[0] if len(parts) == 1 else Choice(tuple(parts))

    def sequence(self) -> Node:
        parts: list[Node] = []
        while self.at < len(self.text) and self.text[self.at] not in "|)":
            node = self.atom()
            if node is not None:
                parts.append(self.repeats(node))
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def peek(self, text: str) -> bool:
        return self.text.startswith(text, self.at)

    def repeats(self, node: Node) -> Node:
        begin = self.at
        repeated = False
        while True:
            start = self.at
            bounds = self.repetition()
            if bounds is None:
                return node
            greedy = not self.flags.ungreedy
            if self.peek("?"):
                self.at += 1
                greedy = not greedy
            if repeated:
                raise InvalidPattern("invalid nested repetition operator", self.text[begin : self.at])
            begin, repeated = start, True
            node = Repeat(node, bounds[0], bounds[1], greedy)
            if _repeats(node) > MOST_REPEATS:
                raise InvalidPattern("invalid repeat count", self.text[start : self.at])

    def repetition(self) -> tuple[int, int | None] | None:
        char = self.text[self.at : self.at + 1]
        if char and char in "*+?":
            self.at += 1
            return {"*": (0, None), "+": (1, None), "?": (0, 1)}[char]
        found = re.compile(r"\{([0-9]+)(,([0-9]*))?\}").match(self.text, self.at) if char == "{" else None
        if found is None:
            return None
        self.at = found.end()
        least = _count(found[1])
        most = least if found[2] is None else _count(found[3]) if found[3] else None
        if least > MOST_REPEATS or (most is not None and (most > MOST_REPEATS or least > most)):
            raise InvalidPattern("invalid repeat count", found[0])
        return least, most

    def atom(self) -> Node | None:
        """The next thing that can be repeated; None where only flags were set."""
        char = self.text[self.at]
        if char == "(":
            return self.group()
        if char == "[":
            return Chars(self.bracket())
        if char == "\\":
            return self.escape()
        if char in "*+?" or (char == "{" and self.repetition_here()):
            start = self.at
            self.repetition()
            raise InvalidPattern("missing argument to repetition operator", self.text[start : self.at])
        self.at += 1
        if char == ".":
            return Chars(_ANY if self.flags.dot_all else _NOT_NEWLINE)
        if char == "^":
            return Assertion("line-start" if self.flags.multiline else "text-start")
        if char == "$":
            return Assertion("line-end" if self.flags.multiline else "text-end")
        return Chars(Charset(((ord(char), ord(char)),), fold=self.flags.fold))

    def repetition_here(self) -> bool:
        return re.compile(r"\{[0-9]+(,[0-9]*)?\}").match(self.text, self.at) is not None

    def group(self) -> Node | None:
        outer = self.flags.copy()
        if self.peek("(?"):
            if not self.group_head():
                return None  # flags for the rest of the enclosing group
        else:
            self.at += 1
        node = self.choice()
        if not self.peek(")"):
            raise InvalidPattern("missing closing )", self.text)
        self.at += 1
        self.flags = outer
        return node

    def group_head(self) -> bool:
        """Read `(?P<name>`, `(?<name>`, `(?:`, `(?i-s:` or `(?i)`; False after the last form."""
        start = self.at
        named = re.compile(r"\(\?P?<([^>]*)>").match(self.text, start)
        if self.peek("(?P<") or (self.peek("(?<") and not self.peek("(?<=") and not self.peek("(?<!")):
            if named is None:
                raise InvalidPattern("invalid named capture", self.text[start:])
            if not re.fullmatch(r"[A-Za-z0-9_]+", named[1]):
                raise InvalidPattern("invalid named capture", named[0])
            if named[1] in self.names:
                raise InvalidPattern("duplicate capture group name", named[1])
            self.names.add(named[1])
            self.at = named.end()
            return True
        self.at += 2
        value, seen = True, False
        while self.at < len(self.text):
            char = self.text[self.at]
            self.at += 1
            if char in "imsU":
                name = {"i": "fold", "m": "multiline", "s": "dot_all", "U": "ungreedy"}[char]
                setattr(self.flags, name, value)
                seen = True
            elif char == "-" and value:
                value, seen = False, False
            elif char in ":)" and (value or seen):
                return char == ":"
            else:
                break
        if self.at >= len(self.text) and self.text[-1] not in ":)":
            raise InvalidPattern("missing closing )", self.text)
        raise InvalidPattern("invalid or unsupported Perl syntax", self.text[start : self.at])

    def escape(self) -> Node:
        if self.peek("\\Q"):
            end = self.text.find("\\E", self.at)
            literal = self.text[self.at + 2 : end if end >= 0 else None]
            self.at = end + 2 if end >= 0 else len(self.text)
            chars = (Chars(Charset(((ord(char), ord(char)),), fold=self.flags.fold)) for char in literal)
            return Sequence(tuple(chars))
        following = self.text[self.at + 1 : self.at + 2]
        if following and following in _PLACES:
            self.at += 2
            return Assertion(_PLACES[following])
        if following == "C":
            self.at += 2
            return Chars(_ANY)
        special = self.class_escape()
        if special is not None:
            return Chars(special)
        code = self.character_escape()
        return Chars(Charset(((code, code),), fold=self.flags.fold))

    def class_escape(self) -> Charset | None:
        """`\\d`, `\\W`, `\\pL`, `\\P{Greek}`; None if something else stands here."""
        letter = self.text[self.at + 1 : self.at + 2]
        if letter and letter.lower() in _PERL:
            self.at += 2
            return Charset(_PERL[letter.lower()], negated=letter.isupper())
        if letter not in ("p", "P"):
            return None
        found = re.compile(r"\\[pP](?:\{(\^?)([^}]*)\}|(.))", re.DOTALL).match(self.text, self.at)
        if found is None:
            raise InvalidPattern("invalid character class range", self.text[self.at :])
        self.at = found.end()
        name = found[2] if found[3] is None else found[3]
        negated = (letter == "P") is not (found[1] == "^")
        if name == "Any":
            return Charset(negated=not negated)
        if name in _CATEGORIES:
            return Charset(categories=(name,), negated=negated, fold=self.flags.fold)
        if name in _SCRIPTS:
            return Charset(_SCRIPTS[name], negated=negated, fold=self.flags.fold)
        raise InvalidPattern("invalid character class range", found[0])

    def character_escape(self) -> int:
        """The code of `\\n`, `\\x41`, `\\x{1F600}`, `\\012`, `\\.`."""
        start = self.at
        if start + 1 >= len(self.text):
            raise InvalidPattern("trailing backslash at end of expression", "")
        char = self.text[start + 1]
        self.at = start + 2
        if char in _SIMPLE_ESCAPES:
            return ord(_SIMPLE_ESCAPES[char])
        if char == "x":
            found = re.compile(r"([0-9a-fA-F]{2})|\{([0-9a-fA-F]+)\}").match(self.text, self.at)
            code = int(found[1] or found[2], 16) if found else 0x110000
            if found is None or code > 0x10FFFF:
                raise InvalidPattern("invalid escape sequence", self.text[start : self.at + 1])
            self.at = found.end()
            return code
        if char == "0" or (char in "1234567" and self.text[self.at : self.at + 1] in tuple("01234567")):
            found = re.compile(r"[0-7]{1,3}").match(self.text, start + 1)
            assert found is not None
            self.at = found.end()
            return int(found[0], 8)
        if char.isascii() and not char.isalnum():
            return ord(char)
        raise InvalidPattern("invalid escape sequence", self.text[start : self.at])

    def bracket(self) -> Charset:
        start = self.at
        self.at += 1
        negated = self.peek("^")
        self.at += negated
        ranges: list[tuple[int, int]] = []
        parts: list[Charset] = []
        first = True
        while first or not self.peek("]"):
            if self.at >= len(self.text):
                raise InvalidPattern("missing closing ]", self.text[start:])
            first = False
            posix = re.compile(r"\[:(\^?)([a-z]+):\]").match(self.text, self.at)
            if self.peek("[:") and posix:
                if posix[2] not in _POSIX:
                    raise InvalidPattern("invalid character class range", posix[0])
                parts.append(Charset(_POSIX[posix[2]], negated=posix[1] == "^"))
                self.at = posix.end()
                continue
            special = self.class_escape() if self.peek("\\") else None
            if special is not None:
                parts.append(special)
            else:
                ranges.append(self.character_range(start))
        self.at += 1
        return Charset(tuple(ranges), parts=tuple(parts), fold=self.flags.fold, negated=negated)

    def character_range(self, bracket: int) -> tuple[int, int]:
        start = self.at
        low = self.bracket_character(bracket)
        high = low
        if self.peek("-") and not self.peek("-]") and self.at + 1 < len(self.text):
            self.at += 1
            high = self.bracket_character(bracket)
            if high < low:
                raise InvalidPattern("invalid character class range", self.text[start : self.at])
        return low, high

    def bracket_character(self, bracket: int) -> int:
        if self.at >= len(self.text):
            raise InvalidPattern("missing closing ]", self.text[bracket:])
        if self.peek("\\"):
            return self.character_escape()
        self.at += 1
        return ord(self.text[self.at - 1])


def _count(digits: str) -> int:
    """A count of repetitions, or one that is too large as well."""
    return int(digits[:_MOST_DIGITS])


def _repeats(node: Node) -> int:
    """How often the innermost part would be copied; Go allows a thousand."""
    if isinstance(node, Repeat):
        times = node.most if node.most is not None else node.least
        return max(times, 1) * _repeats(node.part)
    if isinstance(node, Sequence | Choice):
        return max((_repeats(part) for part in node.parts), default=1)
    return 1
