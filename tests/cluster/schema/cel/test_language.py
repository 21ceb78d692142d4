"""The CEL language: literals, operators, macros, errors; tables written from the language definition."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.cluster.schema import cel
from slipway.cluster.schema.cel import kinds
from slipway.cluster.schema.cel.kinds import Kind
from slipway.cluster.schema.cel.values import Duration, Timestamp, Uint

ITEM = Kind("self.items.@idx", fields={"n": kinds.STRING, "v": kinds.INT})
SELF = Kind(
    "self",
    fields={
        "i": kinds.INT,
        "u": kinds.UINT,
        "f": kinds.DOUBLE,
        "s": kinds.STRING,
        "b": kinds.BOOL,
        "items": kinds.list_of(ITEM),
        "ints": kinds.list_of(kinds.INT),
        "m": kinds.map_of(kinds.STRING, kinds.INT),
        "any": kinds.DYN,
        "gone": kinds.STRING,
        "a__dot__b": kinds.INT,
    },
    json_names={"a__dot__b": "a.b"},
)
OBJECT = {
    "i": 7, "u": Uint(7), "f": 1.5, "s": "héllo", "b": True, "items": [{"n": "a", "v": 1}, {"n": "b", "v": 2}],
    "ints": [3, 1, 2], "m": {"k": 1, "l": 2}, "any": {"x": [1, "two", None]}, "a.b": 9,
}  # fmt: skip


def evaluate(expression: str) -> Any:
    return cel.compile(expression, {"self": SELF}).evaluate({"self": OBJECT})


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1", 1), ("-1", -1), ("0x1F", 31), ("-0x10", -16), ("1u", 1), ("0xFFu", 255), ("1.5", 1.5), ("1e3", 1000.0),
        (".5", 0.5), ("-.5", -0.5), ("true", True), ("null", None), ("'a'", "a"), ('"a"', "a"),
        ("'''a\n'b'''", "a\n'b"), (r"'\n\t\\\''", "\n\t\\'"), (r"'\u00e9\x41\101\U0001F600'", "éAA😀"),
        (r"r'\d'", r"\d"), (r"b'\xffa\377'", b"\xffa\xff"), ("b'é'", "é".encode()), ("// note\n1", 1),
        ("9223372036854775807", 2**63 - 1), ("-9223372036854775808", -(2**63)), ("18446744073709551615u", 2**64 - 1),
        ("[1, 2,]", [1, 2]), ("{'a': 1, 'b': 2,}", {"a": 1, "b": 2}), ("[]", []), ("{}", {}),
    ],
)  # fmt: skip
def test_literals(expression: str, value: Any) -> None:
    found = evaluate(expression)
    assert found == value
    assert isinstance(found, Uint) is expression.endswith("u")


@pytest.mark.parametrize(
    "expression",
    [
        "1 + 2 * 3 == 7", "(1 + 2) * 3 == 9", "7 / 2 == 3", "-7 / 2 == -3", "-7 % 3 == -1", "7 % -3 == 1",
        "7.0 / 2.0 == 3.5", "1u + 2u == 3u", "'a' + 'b' == 'ab'", "b'a' + b'b' == b'ab'", "[1] + [2] == [1, 2]",
        "1 < 2 && 2 <= 2 && 3 > 2 && 3 >= 3 && 1 != 2", "1 < 1.5 && 2u > 1 && 1.0 <= 1u", "'a' < 'b'",
        "b'a' < b'b'", "false < true", "!false", "!!true", "--1 == 1", "1 in [1, 2]", "!(3 in [1, 2])",
        "int('-0007') == -7", f"int('{'0' * 5000}1') == 1", f"duration('1.{'5' * 5000}s') > duration('1.5s')",
        "'a' in {'a': 1}", "true ? true : false", "false ? false : true", "1 == 1 ? 2 == 2 : 1/0 == 1",
        "dyn(1) == 1.0", "dyn(1) == 1u", "dyn(1) != 'a'", "dyn(1) != true", "dyn([1, 2]) == [1.0, 2.0]",
        "dyn({'a': 1}) == {'a': 1u}", "dyn(null) == null", "1.0 / 0.0 > 1e308", "type(1) == int",
        "type(1u) == uint", "type('') == string", "type(null) == null_type", "type([]) == list", "type({}) == map",
        "type(type(1)) == type", "type(1.0) == double", "type(duration('1s')) == google.protobuf.Duration",
        "true || 1/0 == 1", "1/0 == 1 || true", "!(false && 1/0 == 1)", "!(1/0 == 1 && false)",
        "self.i == 7 && self.u == 7u && self.f == 1.5 && self.b", "size(self.s) == 5 && self.s.size() == 5",
        "self.m.k == 1 && self.m['l'] == 2", "self.items[1].n == 'b'", "self.a__dot__b == 9",
        "has(self.i) && !has(self.gone) && has(self.m.k) && !has(self.m.z) && has(self.any.x)",
        "self.any.x[1] == 'two' && self.any.x[2] == null && self.any['x'].size() == 3",
    ],
)  # fmt: skip
def test_true_statements(expression: str) -> None:
    assert evaluate(expression) is True


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("self.ints.all(x, x > 0)", True), ("self.ints.all(x, x > 1)", False), ("[].all(x, x)", True),
        ("self.ints.exists(x, x == 2)", True), ("self.ints.exists_one(x, x > 2)", True),
        ("self.ints.exists_one(x, x > 1)", False), ("self.ints.map(x, x * 2)", [6, 2, 4]),
        ("self.ints.map(x, x > 1, x)", [3, 2]), ("self.ints.filter(x, x != 3)", [1, 2]),
        ("self.m.all(k, k in ['k', 'l'])", True), ("self.m.map(k, self.m[k])", [1, 2]),
        ("self.items.map(a, self.ints.map(b, a.v * b))", [[3, 1, 2], [6, 2, 4]]),
        ("self.items.exists(i, i.n == 'a' && i.v == 1)", True),
        ("[1, 0].exists(x, 1 / x == 1)", True), ("[0, 1].exists(x, 1 / x == 1)", True),
        ("[0, 5].all(x, 1 / x == 1)", False),
        ("self.ints.all(i, v, i < 3 && v > 0)", True), ("self.m.exists(k, v, k == 'l' && v == 2)", True),
        ("self.ints.transformList(i, v, i * v)", [0, 1, 4]), ("self.ints.transformList(i, v, v > 1, v)", [3, 2]),
        ("self.m.transformMap(k, v, v + 1)", {"k": 2, "l": 3}), ("self.m.transformMap(k, v, v > 1, v)", {"l": 2}),
        ("self.m.transformMapEntry(k, v, {v: k})", {1: "k", 2: "l"}),
        ("self.items.sortBy(i, -i.v).map(i, i.n)", ["b", "a"]),
    ],
)  # fmt: skip
def test_macros(expression: str, value: Any) -> None:
    assert evaluate(expression) == value


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("self.?gone.orValue('none')", "none"), ("self.?s.orValue('none')", "héllo"), ("self.?m.?k.value()", 1),
        ("self.?m.k.value()", 1), ("self.m[?'z'].hasValue()", False), ("self.ints[?9].orValue(0)", 0),
        ("self.ints[?0].orValue(0)", 3), ("optional.none().or(optional.of(2)).value()", 2),
        ("optional.of(2).optMap(x, x + 1).value()", 3), ("optional.none().optMap(x, x + 1).hasValue()", False),
        ("self.?m.optFlatMap(m, m[?'k']).value()", 1), ("[?self.?gone, 'x']", ["x"]),
        ("{?'a': self.?gone, ?'b': self.?s}", {"b": "héllo"}), ("optional.ofNonZeroValue('').hasValue()", False),
        ("optional.unwrap([optional.of(1), optional.none()])", [1]), ("[1, 2].first().value()", 1),
        ("[1, 2].last().value()", 2), ("has(self.?m.k)", True), ("optional.of(1) == optional.of(1)", True),
    ],
)  # fmt: skip
def test_optionals(expression: str, value: Any) -> None:
    assert evaluate(expression) == value


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("1 / 0", "division by zero"), ("1 % 0", "modulus by zero"), ("9223372036854775807 + 1", "integer overflow"),
        ("-9223372036854775808 - 1", "integer overflow"), ("9223372036854775807 * 2", "integer overflow"),
        ("0u - 1u", "unsigned integer overflow"), ("-(-9223372036854775808)", "integer overflow"),
        ("self.ints[3]", "index out of bounds: 3"), ("self.ints[-1]", "index out of bounds: -1"),
        ("self.m['z']", "no such key: z"), ("self.gone", "no such key: gone"), ("self.any.y", "no such key: y"),
        ("self.any + 1", "no such overload"), ("int(self.s)", "type conversion error from 'string' to 'int'"),
        (f"int('{'9' * 5000}' + '')", "type conversion error from 'string' to 'int'"),
        (f"duration('{'9' * 50}s' + '')", "type conversion error from 'string' to 'google.protobuf.Duration'"),
        ("duration('9223372037s' + '')", "type conversion error from 'string' to 'google.protobuf.Duration'"),
        ("int(self.f * 1e30)", "integer overflow"), ("uint(self.i - 8)", "unsigned integer overflow"),
        ("optional.none().value()", "optional.none() dereference"),
        ("1 / 0 == 1 && true", "division by zero"), ("false || 1 / 0 == 1", "division by zero"),
        ("[0, 1].all(x, 1 / x == 1)", "division by zero"), ("[1, 0].map(x, 1 / x)", "division by zero"),
        ("timestamp('9999-12-31T23:59:59Z') + duration('1s')", "timestamp overflow"),
        ("dyn(1) ? 1 : 2", "no such overload"), ("dyn(1) && true", "no such overload"),
    ],
)  # fmt: skip
def test_errors(expression: str, text: str) -> None:
    with pytest.raises(cel.EvaluationError) as caught:
        evaluate(expression)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("self.foo > 5", "ERROR: <input>:1:5: undefined field 'foo'\n | self.foo > 5\n | ....^"),
        (
            "self.i == 'a'",
            "ERROR: <input>:1:8: found no matching overload for '_==_' applied to '(int, string)'\n"
            " | self.i == 'a'\n | .......^",
        ),
        ("x", "ERROR: <input>:1:1: undeclared reference to 'x' (in container '')\n | x\n | ^"),
        ("self.i.y", "ERROR: <input>:1:7: type 'int' does not support field selection\n | self.i.y\n | ......^"),
        ("self.s.nope()", "undeclared reference to 'nope' (in container '')"),
        ("self.s.startsWith(1)", "found no matching overload for 'startsWith' applied to 'string.(int)'"),
        ("self.i && true", "ERROR: <input>:1:5: expected type 'bool' but found 'int'"),
        ("[1, 'a']", "expected type 'int' but found 'string'"),
        ("1 == 1.0", "found no matching overload for '_==_' applied to '(int, double)'"),
        ("self.s == null", "found no matching overload for '_==_' applied to '(string, null)'"),
        ("self.i.all(x, true)", "expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)"),
        ("has(self)", "invalid argument to has() macro"),
        ("[1].map(1, 2)", "argument is not an identifier"),
        ("[1].all(x.y, true)", "argument must be a simple name"),
        ("1 +", "Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}"),
        ("1 2", "Syntax error: extraneous input '2' expecting <EOF>"),
        ("'a", "Syntax error: token recognition error at: ''a'"),
        ("import", "reserved identifier: import"),
        ("'a'.matches('(')", "invalid matches argument"),
        ("duration('x')", "invalid duration argument"),
        ("9223372036854775808", "invalid int literal"), ("9" * 5000, "invalid int literal"),
        ("true\n&& self.zz", "ERROR: <input>:2:8: undefined field 'zz'\n | && self.zz\n | .......^"),
        ("(" * 300 + "1" + ")" * 300, "expression recursion limit exceeded: 250"),
    ],
)  # fmt: skip
def test_expressions_that_cannot_be_compiled_are_explained_as_cel_go_does(expression: str, text: str) -> None:
    with pytest.raises(cel.CompileError) as caught:
        cel.compile(expression, {"self": SELF})
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("int('-12')", -12), ("int(3.9)", 3), ("int(-3.9)", -3), ("uint('3')", 3), ("double('1e2')", 100.0),
        ("string(1)", "1"), ("string(1.0)", "1"), ("string(0.1)", "0.1"), ("string(1e30)", "1e+30"),
        ("string(true)", "true"), ("string(b'a')", "a"), ("bytes('é')", "é".encode()), ("bool('t')", True),
        ("string(duration('90m'))", "5400s"), ("string(timestamp('2020-01-02T03:04:05.5+01:00'))", "2020-01-02T03:04:05.5+01:00"),
        ("int(timestamp('1970-01-01T00:01:00Z'))", 60), ("duration('1h') + duration('30m')", Duration(5400 * 10**9)),
        ("timestamp('2020-01-01T00:00:00Z') - timestamp('2019-12-31T23:59:00Z')", Duration(60 * 10**9)),
        ("timestamp('1970-01-01T00:00:00Z') + duration('1s')", Timestamp(10**9)),
        ("timestamp('2020-02-03T04:05:06.789Z').getMilliseconds()", 789),
        ("timestamp('2020-02-03T04:05:06Z').getMonth()", 1), ("timestamp('2020-02-03T04:05:06Z').getDate()", 3),
        ("timestamp('2020-02-03T04:05:06Z').getDayOfMonth()", 2), ("timestamp('2020-02-02T04:05:06Z').getDayOfWeek()", 0),
        ("timestamp('2020-02-03T04:05:06Z').getDayOfYear()", 33),
        ("timestamp('2020-02-03T04:05:06Z').getHours('+02:00')", 6), ("duration('90m').getHours()", 1),
        ("duration('-1.5s').getMilliseconds()", -1500), ("timestamp('2020-06-01T12:00:00Z').getHours('Europe/Berlin')", 14),
    ],
)  # fmt: skip
def test_conversions_and_times(expression: str, value: Any) -> None:
    assert evaluate(expression) == value


def test_an_expression_that_does_too_much_is_stopped() -> None:
    program = cel.compile(
        "self.ints.all(a, self.ints.all(b, self.ints.all(c, a + b + c > 0)))", {"self": SELF}
    )
    with pytest.raises(cel.CostExceeded, match="operation cancelled: actual cost limit exceeded"):
        program.evaluate({"self": {"ints": list(range(1, 200))}})


def test_the_cost_grows_with_the_work() -> None:
    program = cel.compile("self.ints.all(a, a > 0)", {"self": SELF})
    few = program.evaluate_with_cost({"self": {"ints": [1] * 10}})[1]
    many = program.evaluate_with_cost({"self": {"ints": [1] * 1000}})[1]
    assert many > 50 * few


INTS = st.integers(-(2**63), 2**63 - 1)


@given(INTS, INTS, st.sampled_from("+-*/%"))
def test_integers_are_64_bits_wide_and_never_wrap(a: int, b: int, operator: str) -> None:
    program = cel.compile(f"dyn(a) {operator} dyn(b)", {"a": kinds.INT, "b": kinds.INT})
    typed = cel.compile(f"a {operator} b", {"a": kinds.INT, "b": kinds.INT})
    if operator in "/%":
        exact = None if b == 0 else int(math.copysign(1, a) * math.copysign(1, b)) * (abs(a) // abs(b))
        if operator == "%" and exact is not None:
            exact = a - b * exact
    else:
        exact = {"+": a + b, "-": a - b, "*": a * b}[operator]
    for one in (program, typed):
        if exact is None or not -(2**63) <= exact < 2**63:
            with pytest.raises(cel.EvaluationError):
                one.evaluate({"a": a, "b": b})
        else:
            assert one.evaluate({"a": a, "b": b}) == exact


@given(st.text(), st.sampled_from(["'", '"', "'''"]))
def test_any_text_survives_being_quoted(text: str, quote: str) -> None:
    escaped = "".join(f"\\U{ord(char):08x}" for char in text)
    if any(0xD800 <= ord(char) <= 0xDFFF for char in text):
        return
    assert evaluate(f"{quote}{escaped}{quote}") == text


@given(st.text("()[]{}.,?:!-+*/%<>=&|'\"\\ self01ax\n", max_size=30))
def test_no_text_makes_the_parser_fail_in_another_way_than_by_explaining(text: str) -> None:
    with suppress(cel.CompileError, cel.EvaluationError):
        cel.compile(text, {"self": SELF}).evaluate({"self": OBJECT})
