"""Regular expressions: RE2's syntax and meaning, in time linear in the text."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.cluster.schema.regexp import InvalidPattern, compile_pattern


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("^[a-z]+$", "abc", True),
        ("^[a-z]+$", "abc\n", False),  # $ is the very end, unlike Python's
        ("b", "abc", True),
        (r"\d+", "x٣", False),  # \d is ASCII
        (r"^\pL+$", "äöü", True),
        (r"^\p{Greek}+$", "αβγ", True),
        (r"^\P{Lu}+$", "abC", False),
        ("^[[:alpha:]_]+$", "ab_c", True),
        (r"^\Qa.b\E$", "a.b", True),
        (r"^\Qa.b\E$", "axb", False),
        ("(?i)^abc$", "AbC", True),
        ("^a(?i)b$", "aB", True),
        ("(?m)^b$", "a\nb\nc", True),
        (r"a.c", "a\nc", False),
        (r"(?s)a.c", "a\nc", True),
        (r"\bfoo\b", "a foo b", True),
        (r"\bfoo\b", "afoob", False),
        (r"^\x41\x{1F600}$", "A😀", True),
        ("^a{2,3}$", "aaaa", False),
        ("^a{2,}$", "aaaa", True),
        ("^x{,2}$", "x{,2}", True),  # not a repetition: literal
        (r"\Aab\z", "ab", True),
        ("^(a|ab)(c|bcd)$", "abcd", True),
        ("", "", True),
        ("^$", "a", False),
        (r"^[^\]]$", "]", False),
        (r"^[]a]+$", "]a", True),
        (r"^(?P<year>\d{4})$", "2026", True),
    ],
)
def test_patterns_match_as_in_re2(pattern: str, text: str, matches: bool) -> None:
    assert compile_pattern(pattern).search(text) is matches
    assert (compile_pattern(pattern).find(text) is not None) is matches


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(", "missing closing ): `(`"),
        (")", "unexpected ): `)`"),
        ("[a", "missing closing ]: `[a`"),
        ("*", "missing argument to repetition operator: `*`"),
        ("a**", "invalid nested repetition operator: `**`"),
        (r"\q", r"invalid escape sequence: `\q`"),
        ("[z-a]", "invalid character class range: `z-a`"),
        ("a{1001}", "invalid repeat count: `{1001}`"),
        (f"a{{{'9' * 5000}}}", f"invalid repeat count: `{{{'9' * 5000}}}`"),
        ("(" * 201 + ")" * 201, f"expression nests too deeply: `{'(' * 201 + ')' * 201}`"),
        ("(?:" * 5000, f"expression nests too deeply: `{'(?:' * 5000}`"),
        (r"(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
        (r"(?!a)", "invalid or unsupported Perl syntax: `(?!`"),
        ("a\\", "trailing backslash at end of expression: ``"),
        (r"(a)\1", r"invalid escape sequence: `\1`"),
    ],
)
def test_what_re2_does_not_know_is_refused_in_gos_words(pattern: str, message: str) -> None:
    with pytest.raises(InvalidPattern) as caught:
        compile_pattern(pattern)
    assert str(caught.value) == f"error parsing regexp: {message}"


def test_groups_are_nested_as_deep_as_can_be_carried() -> None:
    assert compile_pattern("(" * 199 + "a|b" + ")*" * 199).search("x")


@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(a|a)*$", "^(a*)*b$", "(x+x+)+y"])
def test_patterns_that_explode_elsewhere_take_linear_time(pattern: str) -> None:
    compiled = compile_pattern(pattern)
    started = time.process_time()
    compiled.search("a" * 5000 + "!")
    compiled.search("x" * 5000 + "!")
    assert time.process_time() - started < 20, "the exponential way takes ages"


PIECES = st.sampled_from(
    ["a", "b", "ab", "[ab]", "[^a]", ".", "a*", "b+", "(ab)?", "(a|b)*", "a{1,2}", "a*?", "(a|ab)"]
)


@given(st.lists(PIECES, max_size=5).map("".join), st.text("abc", max_size=8))
def test_matches_and_their_bounds_agree_with_perl_order(pattern: str, text: str) -> None:
    expected = re.search(pattern, text)
    found = compile_pattern(pattern).find(text)
    assert found == (expected.span() if expected else None)
    assert compile_pattern(pattern).search(text) is (expected is not None)


def test_find_all_gives_matches_that_do_not_overlap() -> None:
    assert compile_pattern("a*").find_all("baaac") == [(0, 0), (1, 4), (5, 5)]
    assert compile_pattern("[0-9]+").find_all("1 22 333", 2) == [(0, 1), (2, 4)]
