"""Which addresses may be connected to."""

from collections.abc import Sequence

import pytest

from kco.net.guard import Guard, Refused, Unresolvable
from kco.net.url import InvalidUrl, parse_url


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "169.254.169.254",
        "[::1]",
        "::ffff:169.254.169.254",
        "fe80::1",
        "0.0.0.0",
        "100.100.100.200",
        "fd00:ec2::254",
        "2002:a9fe:a9fe::",
    ],
)
async def test_49_loopback_link_local_and_metadata_addresses_are_refused(host: str) -> None:
    with pytest.raises(Refused, match="refused network"):
        await Guard().addresses(host, 80)


async def test_49_a_name_is_judged_by_every_address_that_it_resolves_to() -> None:
    async def resolver(host: str, port: int) -> Sequence[str]:
        return ["93.184.216.34", "169.254.169.254"]

    with pytest.raises(Refused):
        await Guard(resolver=resolver).addresses("innocent.example", 80)


async def test_49_rebinding_between_check_and_connection_changes_nothing() -> None:
    answers = [["10.0.0.1"], ["127.0.0.1"]]

    async def resolver(host: str, port: int) -> Sequence[str]:
        return answers.pop(0)

    # One resolution, and the connection goes to its result: the second answer is never asked for.
    assert await Guard(resolver=resolver).addresses("rebound.example", 80) == ["10.0.0.1"]
    assert len(answers) == 1


async def test_49_networks_can_be_refused_and_allowed_by_setting() -> None:
    with pytest.raises(Refused):
        await Guard(refused=["10.0.0.0/8"]).addresses("10.1.2.3", 80)
    assert await Guard(refused=["10.0.0.0/8"], allowed=["10.1.0.0/16"]).addresses("10.1.2.3", 80) == [
        "10.1.2.3"
    ]
    guard = Guard()
    guard.refuse("192.0.2.7")
    with pytest.raises(Refused):
        await guard.addresses("192.0.2.7", 443)


async def test_49_a_name_that_does_not_resolve_is_told_as_such() -> None:
    with pytest.raises(Unresolvable, match="cannot resolve"):
        await Guard().addresses("does-not-exist.invalid", 80)


@pytest.mark.parametrize(
    "text",
    [
        "ftp://a",
        "//a",
        "http://",
        "http://u:p@a/",
        "http://a:99999/",
        "http://a b/",
        "http://a/\r\nX: y",
        "http://[::1/",
    ],
)
def test_15_what_is_no_http_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidUrl):
        parse_url(text)


def test_50_a_query_string_is_not_shown() -> None:
    assert parse_url("https://a/graphql?token=hunter2").shown == "https://a/graphql"
