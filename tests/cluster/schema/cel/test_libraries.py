"""The functions that Kubernetes adds to CEL."""

from __future__ import annotations

from typing import Any

import pytest

from slipway.cluster.schema import cel
from slipway.cluster.schema.cel.kinds import DYN


def evaluate(expression: str) -> Any:
    return cel.compile(expression, {"x": DYN}).evaluate({"x": None})


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("'tacocat'.charAt(3)", "o"), ("'abc'.charAt(3)", ""), ("'hello mellow'.indexOf('ello')", 1),
        ("'hello mellow'.indexOf('ello', 2)", 7), ("'hello'.indexOf('z')", -1), ("'hello'.indexOf('')", 0),
        ("'hello mellow'.lastIndexOf('ello')", 7), ("'hello mellow'.lastIndexOf('ello', 6)", 1),
        ("['a', 'b'].join('-')", "a-b"), ("['a', 'b'].join()", "ab"), ("'TacoCÆt'.lowerAscii()", "tacocÆt"),
        ("'TacoCæt'.upperAscii()", "TACOCæT"), ("'hello hello'.replace('he', 'we')", "wello wello"),
        ("'hello hello'.replace('he', 'we', 1)", "wello hello"), ("'abc'.replace('', '_')", "_a_b_c_"),
        ("'a,b,c'.split(',')", ["a", "b", "c"]), ("'a,b,c'.split(',', 2)", ["a", "b,c"]),
        ("'a,b'.split(',', 0)", []), ("'abc'.split('')", ["a", "b", "c"]), ("'tacocat'.substring(4)", "cat"),
        ("'tacocat'.substring(0, 4)", "taco"), (r"' \ttrim\n '.trim()", "trim"),
        (r"""strings.quote('a"b\n')""", '"a\\"b\\n"'),
        ("'%s %s'.format(['a', 1])", "a 1"), ("'%d%%'.format([5])", "5%"), ("'%.2f'.format([1.005])", "1.00"),
        ("'%x %X %b %o'.format([255, 'hi', 5, 8])", "ff 6869 101 10"), ("'%e'.format([1234.5])", "1.234500×10⁰³"),
        ("'%s'.format([[1, 'a', {'k': true}]])", '[1, "a", {"k":true}]'), ("'%s'.format([duration('1m')])", "60s"),
        ("'foo123bar'.find('[0-9]+')", "123"), ("'none'.find('[0-9]+')", ""),
        ("'1 22 333'.findAll('[0-9]+')", ["1", "22", "333"]), ("'1 22 333'.findAll('[0-9]+', 2)", ["1", "22"]),
        ("'abc'.matches('^[a-z]+$')", True), ("matches('ab1', '^[a-z]+$')", False), ("'x\\n'.matches('^x$')", False),
    ],
)  # fmt: skip
def test_strings_and_regular_expressions(expression: str, value: Any) -> None:
    assert evaluate(expression) == value


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("[1, 2, 2].isSorted()", True), ("[2, 1].isSorted()", False), ("[1, 2].sum()", 3), ("[1.5, 2.0].sum()", 3.5),
        ("[3, 1].min()", 1), ("['b', 'a'].max()", "b"), ("[1, 2, 1].indexOf(1)", 0), ("[1, 2, 1].lastIndexOf(1)", 2),
        ("[1, 2, 3].slice(1, 3)", [2, 3]), ("[[1], [2, 3]].flatten()", [1, 2, 3]), ("[3, 1, 2].sort()", [1, 2, 3]),
        ("['b', 'a'].sort()", ["a", "b"]), ("[1, 2].reverse()", [2, 1]), ("[1, 1, 2].distinct()", [1, 2]),
        ("lists.range(3)", [0, 1, 2]), ("sets.contains([1, 2], [2])", True), ("sets.contains([], [1])", False),
        ("sets.equivalent([1, 2, 2], [2, 1])", True), ("sets.intersects([1], [2])", False),
        ("[duration('1s'), duration('2s')].sum() == duration('3s')", True),
    ],
)  # fmt: skip
def test_lists_and_sets(expression: str, value: Any) -> None:
    assert evaluate(expression) == value


@pytest.mark.parametrize(
    "expression",
    [
        "quantity('1Gi').isGreaterThan(quantity('1G'))", "quantity('500m').isLessThan(quantity('1'))",
        "quantity('1.5').compareTo(quantity('1500m')) == 0", "quantity('1k') == quantity('1000')",
        "quantity('50k').add(20).asInteger() == 50020", "quantity('1M').sub(quantity('1k')).asInteger() == 999000",
        "!quantity('0.5').isInteger()", "quantity('200M').asApproximateFloat() == 200000000.0",
        "isQuantity('1e3') && isQuantity('-1.5Mi') && !isQuantity('1x') && !isQuantity('') && !isQuantity('1.5.5')",
        "sign(quantity('-1')) == -1", "type(ip('::1')) == net.IP",
        "ip('127.0.0.1').isLoopback() && ip('::').isUnspecified() && ip('fe80::1').isLinkLocalUnicast()",
        "ip('8.8.8.8').isGlobalUnicast() && ip('ff02::1').isLinkLocalMulticast() && ip('::1').family() == 6",
        "isIP('1.2.3.4') && !isIP('1.2.3') && !isIP('::ffff:1.2.3.4') && !isIP('fe80::1%eth0') && !isIP('01.2.3.4')",
        "ip.isCanonical('::1') && !ip.isCanonical('0::1')", "string(ip('2001:DB8::1')) == '2001:db8::1'",
        "cidr('10.0.0.0/8').containsIP('10.1.2.3') && cidr('10.0.0.0/8').containsIP(ip('10.1.2.3'))",
        "cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && !cidr('10.1.0.0/16').containsCIDR(cidr('10.0.0.0/8'))",
        "cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8') && cidr('10.1.2.3/8').ip() == ip('10.1.2.3')",
        "cidr('10.0.0.0/8').prefixLength() == 8 && string(cidr('10.0.0.0/8')) == '10.0.0.0/8'",
        "isCIDR('::/0') && !isCIDR('10.0.0.0') && !isCIDR('10.0.0.0/33')",
        "url('https://u:p@example.com:8443/a%20b?k=v&k=w').getHost() == 'example.com:8443'",
        "url('https://example.com:8443/a').getHostname() == 'example.com' && url('https://[::1]:80/').getHostname() == '::1'",
        "url('https://example.com:8443/a').getPort() == '8443' && url('https://example.com/').getPort() == ''",
        "url('https://example.com/a b').getEscapedPath() == '/a%20b' && url('/x').getScheme() == ''",
        "url('https://example.com/?k=v&k=w').getQuery()['k'] == ['v', 'w']",
        "isURL('https://a/b') && isURL('/a') && !isURL('a/b') && !isURL('') && !isURL('https://a:b/')",
        "semver('1.2.3').isLessThan(semver('1.10.0')) && semver('1.0.0-rc.1').compareTo(semver('1.0.0')) == -1",
        "semver('v1.2', true).minor() == 2 && semver('1.2.3').major() == 1 && semver('1.2.3').patch() == 3",
        "isSemver('1.2.3-alpha+b') && !isSemver('1.2') && isSemver('v1', true) && !isSemver('1.02.3')",
        "!format.dns1123Label().validate('my-name').hasValue() && format.dns1123Label().validate('My').hasValue()",
        "format.named('uuid').value().validate('nope').value()[0] == 'does not match the UUID format'",
        "!format.named('unknown').hasValue() && format.labelValue().validate('a b').value().size() == 1",
    ],
)  # fmt: skip
def test_kubernetes_types(expression: str) -> None:
    assert evaluate(expression) is True


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("'abc'.substring(2, 1)", "invalid substring range. start: 2, end: 1"),
        ("'abc'.charAt(9)", "index out of range: 9"), ("[].min()", "min called on empty list"),
        ("[1].slice(0, 2)", "cannot slice(0, 2), list is length 1"), ("dyn('%d').format([])", "index 0 out of range"),
        ("quantity('1x')", "quantities must match"), ("quantity('1EEi')", "unable to parse quantity's suffix"),
        ("ip('nope')", 'IP Address "nope" parse error during conversion from string'),
        ("ip('fe80::1%e')", 'IP address "fe80::1%e" with zone value is not allowed'),
        ("cidr('1.2.3.4')", "network address parse error during conversion from string"),
        ("url('nope')", 'URL parse error during conversion from string: parse "nope": invalid URI for request'),
        ("quantity('0.5').asInteger()", "cannot convert value to integer"),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_said_as_upstream_says_it(expression: str, text: str) -> None:
    with pytest.raises(cel.EvaluationError, match="^" + __import__("re").escape(text)):
        evaluate(expression)


@pytest.mark.parametrize("expression", ["math.greatest(1, 2)", "base64.encode(b'a')", "'abc'.reverse()"])
def test_functions_that_kubernetes_does_not_have_are_unknown(expression: str) -> None:
    with pytest.raises(cel.CompileError):
        evaluate(expression)
