"""CEL source text cut into tokens, with literals already turned into values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from slipway.cluster.schema.cel.problems import CompileError, Issue
from slipway.cluster.schema.cel.values import MAX_INT, MAX_UINT, Uint

RESERVED = frozenset(
    [
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ]
)

_TOKEN = re.compile(
    r"""
    (?P<space>[\t\r\n\f ]+|//[^\n]*)
  | (?P<float>(?:[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+|\.[0-9]+(?:[eE][+-]?[0-9]+)?))
  | (?P<uint>(?:0x[0-9a-fA-F]+|[0-9]+)[uU])
  | (?P<int>0x[0-9a-fA-F]+|[0-9]+)
  | (?P<string>(?:[bB][rR]?|[rR][bB]?)?(?:'''|\"\"\"|'|\"))
  | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<symbol>&&|\|\||<=|>=|==|!=|[-+*/%<>!?:.,()\[\]{}])
    """,
    re.VERBOSE | re.ASCII,
)
_MOST_DIGITS = 20  # of what 64 bits hold
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_ESCAPE = re.compile(
    r"""\\(?:([abfnrtv])|([\\'"`?])|[xX]([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2})|(.?))""",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Token:
    """`kind` is `int`, `uint`, `float`, `string`, `bytes`, `name`, `end`, or the symbol or keyword itself."""

    kind: str
    text: str
    at: int
    value: Any = None


def tokens_of(source: str) -> tuple[list[Token], list[Issue]]:
    """All tokens and an `end`, and what could not be read as one."""
    found: list[Token] = []
    issues: list[Issue] = []
    at = 0
    while at < len(source):
        match = _TOKEN.match(source, at)
        if match is None:
            # The lexer had begun a longer symbol (==, &&, ||) and saw one character too many.
            wrong = source[at : at + 2] if source[at] in "=&|" else source[at]
            issues.append(Issue(at, f"Syntax error: token recognition error at: '{wrong}'"))
            at += len(wrong)
            continue
        kind = match.lastgroup or ""
        if kind == "string":
            end = _end_of_string(source, at, match[0])
            if end < 0:
                issues.append(Issue(at, f"Syntax error: token recognition error at: '{source[at:-end]}'"))
                at = -end
                continue
            token = _string(source, at, match[0], end)
        elif kind == "space":
            at = match.end()
            continue
        else:
            token = _simple(source, kind, match[0], at)
        found.append(token)
        at += len(token.text)
    found.append(Token("end", "<EOF>", len(source)))
    return found, issues


def _simple(source: str, kind: str, text: str, at: int) -> Token:
    if kind == "int":
        # The most negative integer is one more; the parser checks when it knows the sign.
        return Token(kind, text, at, _whole(source, text, at, MAX_INT + 1, "int"))
    if kind == "uint":
        return Token(kind, text, at, Uint(_whole(source, text[:-1], at, MAX_UINT, "uint")))
    if kind == "float":
        return Token(kind, text, at, float(text))
    if kind == "name" and text not in ("true", "false", "null", "in"):
        return Token(kind, text, at)
    return Token(text, text, at)


def _whole(source: str, text: str, at: int, most: int, name: str) -> int:
    digits = text.removeprefix("0x").lstrip("0") or "0"
    if len(digits) > _MOST_DIGITS or (value := int(digits, 16 if text.startswith("0x") else 10)) > most:
        raise CompileError(source, [Issue(at, f"invalid {name} literal")])
    return value


def _end_of_string(source: str, at: int, opening: str) -> int:
    """Where the closing quote begins; where the attempt to read on ended, negated, if there is none."""
    prefix = opening.rstrip("'\"").lower()
    quote = opening[len(prefix) :]
    end = at + len(opening)
    while not source.startswith(quote, end):
        if end >= len(source) or (len(quote) == 1 and source[end] in "\r\n"):
            return -min(end + 1, len(source))
        if source[end] == "\\" and "r" not in prefix:
            escape = _ESCAPE.match(source, end)
            if escape is None or escape[7] is not None:
                return -min(end + 2, len(source))
            end = escape.end()
        else:
            end += 1
    return end


def _string(source: str, at: int, opening: str, end: int) -> Token:
    prefix = opening.rstrip("'\"").lower()
    quote = opening[len(prefix) :]
    start = at + len(opening)
    text = source[at : end + len(quote)]
    body = source[start:end].replace("\r\n", "\n").replace("\r", "\n")
    is_bytes = "b" in prefix
    if "r" in prefix:
        return Token("bytes" if is_bytes else "string", text, at, body.encode() if is_bytes else body)
    if is_bytes:
        return Token("bytes", text, at, _unescape_bytes(source, at, body))
    return Token("string", text, at, _unescape(source, at, body))


def _unescape(source: str, at: int, body: str) -> str:
    def replaced(found: re.Match[str]) -> str:
        letter, literal, hexadecimal, short, long, octal, _ = found.groups()
        if letter:
            return _ESCAPES[letter]
        if literal:
            return str(literal)
        digits = hexadecimal or short or long
        code = int(digits, 16) if digits else int(octal, 8) if octal else -1
        if code < 0 or code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
            raise CompileError(source, [Issue(at, "invalid string literal: unable to unescape string")])
        return chr(code)

    return _ESCAPE.sub(replaced, body)


def _unescape_bytes(source: str, at: int, body: str) -> bytes:
    found = bytearray()
    last = 0
    for match in _ESCAPE.finditer(body):
        found += body[last : match.start()].encode()
        last = match.end()
        letter, literal, hexadecimal, _, _, octal, _ = match.groups()
        if letter:
            found += _ESCAPES[letter].encode()
        elif literal:
            found += literal.encode()
        elif hexadecimal:
            found.append(int(hexadecimal, 16))
        elif octal:
            found.append(int(octal, 8))
        else:
            raise CompileError(source, [Issue(at, "invalid bytes literal: unable to unescape string")])
    return bytes(found + body[last:].encode())
