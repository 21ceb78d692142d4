"""Warnings about built-in objects: accepted, but with a Warning header each. The texts are a real 1.37 server's."""

from __future__ import annotations

import base64
import datetime
from typing import Any

import pytest

from slipway.cluster.access.certificates import CertificateAuthority
from slipway.cluster.registry.warnings import warnings_of
from slipway.cluster.schema.builtin import load_catalogue

Object = dict[str, Any]
CATALOGUE = load_catalogue("1.37")


def warned(group: str, plural: str, obj: Object, old: Object | None = None) -> list[str]:
    resource = CATALOGUE.find(group, "v1", plural)
    assert resource is not None
    return warnings_of(resource)(obj, old)


def pod(**spec: Any) -> Object:
    return {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}], **spec}}


def container(**fields: Any) -> Object:
    return pod(containers=[{"name": "c", "image": "i", **fields}])


def env(*pairs: tuple[str, str]) -> Object:
    return container(env=[{"name": name, "value": value} for name, value in pairs])


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (pod(), []),
        (
            pod(nodeSelector={"beta.kubernetes.io/os": "linux"}),
            [
                'spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead'
            ],
        ),
        (
            env(("A", "1"), ("B", "2"), ("A", "3")),
            [
                'spec.containers[0].env[2]: hides previous definition of "A", which may be dropped when using apply'
            ],
        ),
        (env(("A", "1"), ("A", "$(A)2")), []),
        (
            container(resources={"limits": {"memory": "100m"}}),
            [
                'spec.containers[0].resources.limits[memory]: fractional byte value "100m" is invalid, must be an integer'
            ],
        ),
        (
            pod(volumes=[{"name": "v", "gitRepo": {"repository": "r"}}]),
            ["spec.volumes[0].gitRepo: deprecated in v1.11, and disabled by default in v1.33+"],
        ),
        (
            pod(imagePullSecrets=[{"name": "a"}, {"name": "a"}, {"name": ""}]),
            [
                'spec.imagePullSecrets[1].name: duplicate name "a"',
                'spec.imagePullSecrets[2].name: invalid empty name ""',
            ],
        ),
        (
            container(ports=[{"containerPort": 80, "name": "a"}, {"containerPort": 80, "name": "a"}]),
            [
                "spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]",
                'spec.containers[0].ports[1]: duplicate port name "a" with spec.containers[0].ports[0], services and'
                " probes that select ports by name will use spec.containers[0].ports[0]",
            ],
        ),
        (
            pod(
                volumes=[{"name": "v", "configMap": {"name": "a", "items": [{"path": "p"}, {"path": "p/q"}]}}]
            ),
            ['volume "v" (ConfigMap "a"): overlapping paths: "p/q" with "p"'],
        ),
        (
            pod(topologySpreadConstraints=[{"topologyKey": "failure-domain.beta.kubernetes.io/zone"}]),
            [
                "spec.topologySpreadConstraints[0].topologyKey: failure-domain.beta.kubernetes.io/zone is deprecated"
                ' since v1.17; use "topology.kubernetes.io/zone" instead',
                "spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod",
            ],
        ),
    ],
)
def test_pods(obj: Object, expected: list[str]) -> None:
    assert warned("", "pods", obj) == expected
    template = {"metadata": {"name": "d"}, "spec": {"template": obj}}
    assert warned("apps", "deployments", template) == [
        text.replace("spec.", "spec.template.spec.") for text in expected
    ]
    assert warned("apps", "deployments", template, template) == []


def test_names_that_pods_cannot_have() -> None:
    (said,) = warned("", "pods", {"metadata": {"name": "a.b"}, "spec": {}})
    assert said.startswith(
        "metadata.name: this is used in the Pod's hostname, which can result in surprising"
    )
    (said,) = warned("batch", "jobs", {"metadata": {"name": "a.b"}, "spec": {}})
    assert said.startswith(
        "metadata.name: this is used in Pod names and hostnames, which can result in surprising"
    )


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (
            {"externalIPs": ["1.2.3.4"]},
            ["spec.externalIPs is deprecated and may no longer be implemented in some clusters"],
        ),
        (
            {"clusterIP": "None", "externalIPs": ["1.2.3.4"], "sessionAffinity": "ClientIP"},
            [
                "spec.externalIPs is ignored for headless services",
                "spec.SessionAffinity is ignored for headless services",
            ],
        ),
        ({"externalName": "x"}, ['spec.externalName is ignored when spec.type is not "ExternalName"']),
    ],
)
def test_services(spec: Object, expected: list[str]) -> None:
    assert warned("", "services", {"metadata": {"name": "s"}, "spec": spec}) == expected


def tls_secret(certificate: bytes, key: bytes) -> Object:
    data = {"tls.crt": base64.b64encode(certificate).decode(), "tls.key": base64.b64encode(key).decode()}
    return {"metadata": {"name": "s"}, "type": "kubernetes.io/tls", "data": data}


def test_secrets_with_a_certificate_and_a_key_that_do_not_belong_together() -> None:
    authority = CertificateAuthority.create(datetime.datetime.now(datetime.UTC), "a")
    one, other = (authority.issue_server(["localhost"]) for _ in range(2))
    assert warned("", "secrets", tls_secret(one.certificate, one.key)) == []
    assert warned("", "secrets", tls_secret(one.certificate, other.key)) == [
        "tls: private key does not match public key"
    ]
    assert warned("", "secrets", tls_secret(one.certificate, one.certificate)) == [
        "tls: found a certificate rather than a key in the PEM for the private key"
    ]
    assert warned("", "secrets", tls_secret(one.key, one.certificate)) == [
        "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may"
        " have been switched"
    ]
    assert warned("", "secrets", tls_secret(b"x", one.key)) == [
        "tls: failed to find any PEM data in certificate input"
    ]
    assert warned("", "secrets", tls_secret(one.certificate, b"x")) == [
        "tls: failed to find any PEM data in key input"
    ]


def test_an_ingress_that_names_its_class_in_an_annotation() -> None:
    old_way = {"metadata": {"name": "i", "annotations": {"kubernetes.io/ingress.class": "nginx"}}, "spec": {}}
    assert warned("networking.k8s.io", "ingresses", old_way) == [
        "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead"
    ]
