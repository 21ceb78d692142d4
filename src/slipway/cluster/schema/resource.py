"""What the API serves: one `Resource` a served plural, gathered in a `Catalogue` that CRDs extend."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Subresource:
    """`status`, `scale`, `eviction`, …; the kind it speaks may belong to another group (autoscaling Scale)."""

    name: str
    group: str
    version: str
    kind: str
    verbs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Resource:
    """One plural of one group version, as discovery shows it."""

    group: str  # "" for the core group
    version: str
    plural: str
    singular: str
    kind: str
    namespaced: bool
    verbs: tuple[str, ...]
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[Subresource, ...] = ()
    custom: bool = False  # defined by a CustomResourceDefinition
    stored: bool = True  # False for reviews, which are answered and forgotten

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def list_kind(self) -> str:
        return self.kind + "List"

    @property
    def qualified(self) -> str:
        """`deployments.apps`, `pods`: how messages and RBAC name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def subresource(self, name: str) -> Subresource | None:
        return next((sub for sub in self.subresources if sub.name == name), None)


@dataclass(slots=True)
class Catalogue:
    """All resources served now, by (group, version, plural). `version_order` gives each group's versions,
    preferred first."""

    resources: dict[tuple[str, str, str], Resource] = field(default_factory=dict)
    version_order: dict[str, list[str]] = field(default_factory=dict)
    generation: int = 0  # grows with every change, so that caches of discovery documents know

    def add(self, resource: Resource) -> None:
        self.resources[resource.group, resource.version, resource.plural] = resource
        versions = self.version_order.setdefault(resource.group, [])
        if resource.version not in versions:
            versions.append(resource.version)
        self.generation += 1

    def remove(self, group: str, version: str, plural: str) -> None:
        if self.resources.pop((group, version, plural), None) is None:
            return
        if not any(g == group and v == version for g, v, _ in self.resources):
            self.version_order[group].remove(version)
            if not self.version_order[group]:
                del self.version_order[group]
        self.generation += 1

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        return self.resources.get((group, version, plural))

    def by_kind(self, group: str, version: str, kind: str) -> Resource | None:
        served = self.resources.values()
        return next((r for r in served if r.kind == kind and r.group == group and r.version == version), None)

    def of_version(self, group: str, version: str) -> Iterator[Resource]:
        return (r for r in self.resources.values() if r.group == group and r.version == version)
