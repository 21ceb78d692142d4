"""Server-side apply, and keeping managedFields true on every other write.

A `FieldManager` is made for one kind, version and (sub-)resource. `update` notes what a create, update or patch
changed; `apply` merges a configuration into an object: what it says comes in (unless another manager says
otherwise: 409), what the same manager said last time and no longer says goes, unless another owns it.
Behaviour follows k8s.io/apimachinery `pkg/util/managedfields` and sigs.k8s.io/structured-merge-diff `merge`
(facts only).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from slipway.cluster.patching import last_applied
from slipway.cluster.patching.checking import TypeMismatch, check
from slipway.cluster.patching.comparing import Comparison, compare, equal
from slipway.cluster.patching.fields import FieldSet, field_path, text_of
from slipway.cluster.patching.managers import (
    Identity,
    Managers,
    Owned,
    cap_updaters,
    decode_managers,
    encode_managers,
    identity,
)
from slipway.cluster.patching.merging import merge, remove
from slipway.cluster.patching.reset_fields import Filter
from slipway.cluster.patching.shaped_fields import fields_of, reconciled, with_named_fields
from slipway.cluster.schema.shape import Shape
from slipway.cluster.status import StatusError, bad_request

Object = dict[str, Any]
_SELF = Identity("current-operation", "Update", "", "")
BEFORE_FIRST_APPLY = "before-first-apply"

# What nobody owns: it names the object, or the server writes it.
_NEVER_OWNED = FieldSet.of(
    field_path("apiVersion"),
    field_path("kind"),
    field_path("metadata"),
    *(
        field_path("metadata", name)
        for name in (
            "name",
            "namespace",
            "creationTimestamp",
            "selfLink",
            "uid",
            "clusterName",
            "generation",
            "managedFields",
            "resourceVersion",
        )
    ),
)


def _everything(fields: FieldSet) -> FieldSet:
    return fields


class MissingVersion(LookupError):
    """A manager's API version is not served any more; what it owned is forgotten."""


class Versions(Protocol):
    """The versions of one kind. Both methods raise MissingVersion."""

    def shape(self, api_version: str) -> Shape: ...
    def convert(self, obj: Object, api_version: str) -> Object: ...


@dataclass(frozen=True, slots=True)
class OneVersion:
    """A kind that is served in one version only."""

    api_version: str
    only: Shape

    def shape(self, api_version: str) -> Shape:
        if api_version != self.api_version:
            raise MissingVersion(api_version)
        return self.only

    def convert(self, obj: Object, api_version: str) -> Object:
        self.shape(api_version)
        return obj


class Conflict(Exception):
    """Fields that others own with another value."""

    def __init__(self, fields: dict[Identity, FieldSet]) -> None:
        self.fields = dict(sorted(fields.items(), key=lambda item: item[0].sort_key))
        super().__init__("conflict")

    def to_status(self) -> StatusError:
        """The 409, worded as upstream: one cause a field."""
        found = [(who, text_of(path)) for who, fields in self.fields.items() for path in fields]
        if len(found) == 1:
            who, path = found[0]
            message = f"Apply failed with 1 conflict: conflict with {who.shown}: {path}"
        else:
            lines = []
            for who, fields in self.fields.items():
                lines.append(f"conflicts with {who.shown}:")
                lines += [f"- {text_of(path)}" for path in fields]
            message = f"Apply failed with {len(found)} conflicts: " + "\n".join(lines)
        causes = [
            {"reason": "FieldManagerConflict", "message": f"conflict with {who.shown}", "field": path}
            for who, path in found
        ]
        return StatusError(409, "Conflict", message, {"causes": causes})


def managed_fields(obj: Object | None) -> Any:
    metadata = (obj or {}).get("metadata")
    return metadata.get("managedFields") if isinstance(metadata, dict) else None


def with_managed_fields(obj: Object, entries: Any) -> Object:
    """A copy (as deep as needed) of the object with these managedFields, or with none."""
    metadata = {k: v for k, v in (obj.get("metadata") or {}).items() if k != "managedFields"}
    if entries:
        metadata["managedFields"] = entries
    return {**obj, "metadata": metadata}


@dataclass(frozen=True, slots=True)
class FieldManager:
    """`blank` is an object of the kind as Go makes it, with only its zero values (`status: {}`), so that those
    are not taken for something that a creator said. `filter` leaves of a set of fields those that writes through
    this (sub-)resource can change: not `status` for the main one (see `reset_fields`).
    """

    group: str
    version: str
    kind: str
    shape: Shape
    subresource: str = ""
    filter: Filter = _everything
    blank: Object = field(default_factory=dict)
    versions: Versions | None = None

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    # Create, update, patch

    def update(self, live: Object | None, new: Object, manager: str, now: str) -> Object:
        """`new` with managedFields that note what the manager changed since `live` (None: it is created).

        managedFields in `new` that are `[]` or `[{}]` clear them; other readable ones replace the stored ones.
        `now` is a metav1.Time.
        """
        managers = self._managers_for_update(live, new)
        bare = with_managed_fields(new, None)
        if not managers and live is not None and (live.get("metadata") or {}).get("uid"):
            return bare
        before = with_managed_fields(live, None) if live is not None else self._blank(new)
        try:
            self._note_update(before, bare, managers, manager, now)
        except (TypeMismatch, ValueError):
            return with_managed_fields(new, managed_fields(live))
        return with_managed_fields(bare, encode_managers(managers))

    def _blank(self, like: Object) -> Object:
        return {**self.blank, "apiVersion": like.get("apiVersion"), "kind": like.get("kind")}

    def _managers_for_update(self, live: Object | None, new: Object) -> Managers:
        sent = managed_fields(new)
        if not self.subresource and isinstance(sent, list):
            if not sent or sent == [{}]:
                return {}
            try:
                managers = decode_managers(sent)
            except ValueError:
                managers = {}
            if managers:
                return managers
        try:
            return decode_managers(managed_fields(live))
        except ValueError:
            return {}

    def _note_update(self, live: Object, new: Object, managers: Managers, manager: str, now: str) -> None:
        check(new, self.shape, duplicates=True)
        self._reconcile(live, managers)
        changes = self._settle(live, new, managers, _SELF, force=True)
        owned = changes.modified | changes.added
        owned = self.filter(owned) - _NEVER_OWNED
        if owned:
            who = identity(manager, "Update", self.api_version, self.subresource)
            if who in managers:
                owned = owned | managers[who].fields
            managers[who] = Owned(owned, self.api_version, now)
        cap_updaters(managers)

    # Apply

    def apply(self, live: Object | None, config: Object, manager: str, force: bool, now: str) -> Object:
        """The object after the configuration was applied, with its managedFields; not yet defaulted.

        StatusError: 400 for another kind or version, 409 for conflicts, 500, as the real server has it, for a
        configuration that does not fit the schema.
        """
        self.check_config(config)
        try:
            merged = self._apply(live, config, manager, force, now)
        except Conflict as conflict:
            if manager != last_applied.MANAGER or live is None:
                raise conflict.to_status() from None
            left = self._conflicts_beyond_last_applied(live, conflict)
            if left:
                raise Conflict(left).to_status() from None
            merged = self._apply(live, config, manager, True, now)
        return last_applied.refreshed(merged, config) if manager == last_applied.MANAGER else merged

    def check_config(self, config: Object) -> None:
        """StatusError as `apply` raises it for what could not be applied to any object."""
        group, _, version = str(config.get("apiVersion") or "").rpartition("/")
        kind = str(config.get("kind") or "")
        if (group, version, kind) != (self.group, self.version, self.kind):
            raise bad_request(f"invalid object type: {group}/{version}, Kind={kind}")
        if isinstance(managed_fields(config), list):
            raise bad_request("metadata.managedFields must be nil")
        try:
            check(config, self.shape)
        except TypeMismatch as error:
            metadata = config.get("metadata")
            names = metadata if isinstance(metadata, dict) else {}
            place = f"{names.get('namespace') or ''}/{names.get('name') or ''}"
            gvk = f"{self.group}/{self.version}, Kind={self.kind}"
            raise StatusError(
                500, "", f"failed to create typed patch object ({place}; {gvk}): {error}"
            ) from None

    def _apply(self, live: Object | None, config: Object, manager: str, force: bool, now: str) -> Object:
        try:
            managers = decode_managers(managed_fields(live))
        except ValueError as error:
            raise StatusError(500, "", f"failed to decode managed fields: {error}") from None
        before = with_managed_fields(live, None) if live is not None else self._blank(config)
        if not managers and live is not None:
            self._note_update(self._blank(config), before, managers, BEFORE_FIRST_APPLY, now)
        who = identity(manager, "Apply", self.api_version, self.subresource)
        self._reconcile(before, managers)
        merged = merge(before, config, self.shape)
        fields = self.filter(fields_of(config, self.shape))
        last = managers.get(who)
        managers[who] = Owned(fields, self.api_version, last.time if last else None)
        merged = self._prune(merged, managers, who, last)
        self._settle(before, merged, managers, who, force)
        changed = not equal(before, merged)
        if who in managers:
            left = managers[who].fields - _NEVER_OWNED
            if left:
                time = now if changed else managers[who].time
                managers[who] = replace(managers[who], fields=left, time=time)
            else:
                del managers[who]
        return with_managed_fields(merged if changed else before, encode_managers(managers))

    def _conflicts_beyond_last_applied(self, live: Object, conflict: Conflict) -> dict[Identity, FieldSet]:
        """Conflicts that client-side apply, whose annotation the object has, does not account for."""
        config = last_applied.configuration(live)
        if config is None or config.get("apiVersion") != self.api_version:
            return conflict.fields
        bare = with_managed_fields(live, None)
        try:
            check(config, self.shape)
            changes = compare(config, bare, self.shape)
            allowed = fields_of(config, self.shape)
        except ValueError:
            return conflict.fields
        allowed = allowed - changes.modified - changes.added - changes.removed
        left = {who: fields - allowed for who, fields in conflict.fields.items()}
        return {who: fields for who, fields in left.items() if fields}

    # What both have in common

    def _versions(self) -> Versions:
        return self.versions or OneVersion(self.api_version, self.shape)

    def _reconcile(self, live: Object, managers: Managers) -> None:
        """Follow schema changes: a list or map that became atomic is owned as a whole."""
        for who, owned in list(managers.items()):
            try:
                shape = self._versions().shape(owned.api_version)
            except MissingVersion:
                del managers[who]
                continue
            managers[who] = owned.with_fields(reconciled(owned.fields, shape))

    def _settle(self, old: Object, new: Object, managers: Managers, who: Identity, force: bool) -> Comparison:
        """Take from every other manager what changes now. Conflict if it may not be taken."""
        changes = compare(old, new, self.shape).filtered(self.filter)
        by_version = {self.api_version: changes}
        conflicts: dict[Identity, FieldSet] = {}
        for other, owned in list(managers.items()):
            if other == who:
                continue
            if owned.api_version not in by_version:
                try:
                    by_version[owned.api_version] = self._changes_in(owned.api_version, old, new)
                except MissingVersion:
                    del managers[other]
                    continue
            theirs = by_version[owned.api_version]
            contested = owned.fields & (theirs.modified | theirs.added)
            if contested:
                conflicts[other] = contested
        if conflicts and not force:
            raise Conflict(conflicts)
        for other, owned in list(managers.items()):
            if other != who:
                fields = owned.fields - conflicts.get(other, FieldSet())
                fields = fields - by_version[owned.api_version].removed
                managers[other] = owned.with_fields(fields)
            if not managers[other].fields:
                del managers[other]
        return changes

    def _changes_in(self, api_version: str, old: Object, new: Object) -> Comparison:
        versions = self._versions()
        shape = versions.shape(api_version)
        changes = compare(versions.convert(old, api_version), versions.convert(new, api_version), shape)
        return changes.filtered(self.filter)

    def _prune(self, merged: Object, managers: Managers, who: Identity, last: Owned | None) -> Object:
        """Without what this manager applied last time, does not apply now, and nobody else owns."""
        if last is None or not last.fields:
            return merged
        versions = self._versions()
        try:
            shape = versions.shape(last.api_version)
            whole = versions.convert(merged, last.api_version)
        except MissingVersion:
            return merged
        pruned = remove(whole, with_named_fields(last.fields, shape), shape) or {}
        pruned = self._with_owned_items(whole, pruned, last.api_version, managers)
        try:
            pruned = versions.convert(pruned, last.api_version)
        except MissingVersion:
            return merged

        def named(fields: FieldSet) -> FieldSet:
            return with_named_fields(fields, shape)

        gone = named(fields_of(whole, shape)) - named(fields_of(pruned, shape))
        kept = remove(whole, gone & named(last.fields), shape) or {}
        return versions.convert(kept, self.api_version)

    def _with_owned_items(self, merged: Object, pruned: Object, first: str, managers: Managers) -> Object:
        """What was pruned, with everything back that any manager owns."""
        owned_in: dict[str, FieldSet] = {}
        for owned in managers.values():
            owned_in[owned.api_version] = owned_in.get(owned.api_version, FieldSet()) | owned.fields
        versions = self._versions()
        # The version that was pruned first: a conversion may need fields that others own.
        for api_version in sorted(owned_in, key=lambda version: version != first):
            try:
                shape = versions.shape(api_version)
                merged = versions.convert(merged, api_version)
                pruned = versions.convert(pruned, api_version)
            except MissingVersion:
                continue
            kept = with_named_fields(fields_of(pruned, shape), shape)
            kept = kept | with_named_fields(owned_in[api_version], shape)
            unowned = with_named_fields(fields_of(merged, shape), shape) - kept
            pruned = remove(merged, unowned, shape) or {}
        return pruned
