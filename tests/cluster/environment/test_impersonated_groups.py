"""Groups of impersonation come one a header, commas and all, over a real connection."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import urlsplit

from slipway.cluster.environment.embedded import EmbeddedCluster
from slipway.cluster.environment.options import ClusterOptions


async def test_a_comma_is_part_of_a_group_and_repeated_headers_add_up() -> None:
    review = b'{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}'
    options = ClusterOptions(nodes=0, controllers=False, scheduler=False, tls=False)
    async with EmbeddedCluster(options) as cluster:
        address = urlsplit(cluster.url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        lines = [
            "POST /apis/authentication.k8s.io/v1/selfsubjectreviews HTTP/1.1",
            "Host: x",
            "Content-Type: application/json",
            f"Authorization: Bearer {cluster.admin_token}",
            "Impersonate-User: jane",
            "Impersonate-Group: group2",
            "Impersonate-Group: ,,,chameleon",
            "Impersonate-Extra-Scopes: a,b",
            "Impersonate-Extra-Scopes: c",
            "Connection: close",
            f"Content-Length: {len(review)}",
        ]
        writer.write("\r\n".join([*lines, "", ""]).encode() + review)
        answer = await reader.read()
        writer.close()
    user = json.loads(answer.partition(b"\r\n\r\n")[2])["status"]["userInfo"]
    assert user["username"] == "jane"
    assert user["groups"] == ["group2", ",,,chameleon", "system:authenticated"]
    assert user["extra"] == {"scopes": ["a,b", "c"]}
