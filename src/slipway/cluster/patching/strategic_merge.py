"""Strategic merge patch: merge patch that knows which lists merge by key, and directives that say more.

Directives: `$patch: replace|delete|merge` in an object or a list item, `$deleteFromPrimitiveList/x`,
`$setElementOrder/x`, `$retainKeys`. Strategy and key of each list come from the `Shape`
(x-kubernetes-patch-strategy, x-kubernetes-patch-merge-key). Order of a merged list, element texts of errors and
their HTTP codes follow k8s.io/apimachinery `pkg/util/strategicpatch` (facts only).
"""

from __future__ import annotations

from typing import Any

from slipway.cluster.patching.json_values import copied, go_type, printed, same, scalar_key
from slipway.cluster.schema.go_scalars import json_type
from slipway.cluster.schema.shape import Shape
from slipway.cluster.status import StatusError, bad_request

DIRECTIVE = "$patch"
DELETE_FROM_LIST = "$deleteFromPrimitiveList"
ELEMENT_ORDER = "$setElementOrder"
RETAIN_KEYS = "$retainKeys"

Object = dict[str, Any]
_NOTHING = Shape()


def apply_strategic_merge_patch(document: Object, patch: Any, shape: Shape) -> Object:
    """The document after the patch, of which null changes nothing; neither argument is changed.

    StatusError 400 for a malformed directive, 422 for lists in lists, and 500, as the real server has it, for
    a patch item without its merge key or an unknown directive.
    """
    if patch is None:
        patch = {}
    if not isinstance(patch, dict):
        raise bad_request(
            f"json: cannot unmarshal {json_type(patch)} into Go value of type map[string]interface {{}}"
        )
    return _merge_object(copied(document), copied(patch), shape)


def _failure(message: str) -> StatusError:
    return StatusError(500, "", message)


def _bad_directive(what: str) -> StatusError:
    return bad_request(f"invalid patch format of {what}")


def _no_merge_key(item: Object, key: str) -> StatusError:
    return _failure(f"map: {printed(item)} does not contain declared merge key: {key}")


def _wrong_type(expected: str, actual: Any) -> StatusError:
    return _failure(f"expected a {expected}, but received a {go_type(actual)}")


# Below, documents and patches are copies of ours and are changed freely.


def _merge_object(document: Object, patch: Object, shape: Shape) -> Object:
    if DIRECTIVE in patch:
        if patch[DIRECTIVE] == "replace":
            return {key: value for key, value in patch.items() if key != DIRECTIVE}
        if patch[DIRECTIVE] == "delete":
            return {}
        raise _failure(f"unknown patch type: {printed(patch[DIRECTIVE])} in map: {printed(patch)}")
    _retain_keys(document, patch)
    _merge_ordered_lists(document, patch, shape)
    for name, value in patch.items():
        deleting = name.startswith(DELETE_FROM_LIST)
        key = _directive_target(name, DELETE_FROM_LIST, "primitive list") if deleting else name
        if value is None:
            document.pop(key, None)
        elif key not in document or type(document[key]) is not type(value):
            if not deleting:
                _take(document, key, value)
        elif isinstance(value, dict):
            document[key] = _merge_member(document[key], value, _member(shape, key))
        elif isinstance(value, list):
            document[key] = _merge_list(document[key], value, _member(shape, key), deleting)
        else:
            document[key] = value
    return document


def _merge_member(document: Object, patch: Object, shape: Shape) -> Object:
    return patch if _strategy(shape) == "replace" else _merge_object(document, patch, shape)


def _take(document: Object, key: str, value: Any) -> None:
    """Put a value that only the patch has, without its nulls; one that is a directive removes the member."""
    kept, keep = _without_directives(_without_nulls(value))
    if keep:
        document[key] = kept
    else:
        document.pop(key, None)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def _without_directives(value: Any) -> tuple[Any, bool]:
    """The value without members and items that carry `$patch`, and whether it is to be kept itself."""
    if isinstance(value, dict):
        if DIRECTIVE in value:
            return None, False
        members = {key: _without_directives(item) for key, item in value.items()}
        return {key: item for key, (item, keep) in members.items() if keep}, True
    if isinstance(value, list):
        items = [_without_directives(item) for item in value]
        return [item for item, keep in items if keep], True
    return value, True


def _directive_target(name: str, prefix: str, what: str) -> str:
    start, slash, key = name.partition("/")
    if not slash or start != prefix:
        raise _bad_directive(what)
    return key


def _member(shape: Shape, key: str) -> Shape:
    if key in shape.properties:
        return shape.properties[key]
    if shape.kind == "map" and shape.additional is not None:
        return shape.additional
    if shape.kind == "object" and not shape.preserve_unknown:
        raise _failure(f'unable to find api field in struct {shape.type_name} for the json field "{key}"')
    return _NOTHING


def _strategy(shape: Shape) -> str:
    return next((name for name in shape.patch_strategy if name != "retainKeys"), "")


def _retain_keys(document: Object, patch: Object) -> None:
    if RETAIN_KEYS not in patch:
        return
    retained = patch.pop(RETAIN_KEYS)
    if not isinstance(retained, list):
        raise _bad_directive("retainKeys")
    for key, value in patch.items():
        if value is None or key.startswith((DELETE_FROM_LIST, ELEMENT_ORDER)):
            continue
        if key not in retained:
            raise _bad_directive("retainKeys")
    for key in [key for key in document if key not in retained]:
        del document[key]


# Lists whose order the patch states


def _merge_ordered_lists(document: Object, patch: Object, shape: Shape) -> None:
    """Merge each list that comes with `$setElementOrder`; both are taken out of the patch."""
    for name in [name for name in patch if name.startswith(ELEMENT_ORDER)]:
        order = patch.pop(name)
        if not isinstance(order, list):
            raise _wrong_type("[]interface {}", order)
        key = _directive_target(name, ELEMENT_ORDER, "setElementOrder list")
        for side in (document, patch):
            if key in side and not isinstance(side[key], list):
                raise _wrong_type("[]interface {}", side[key])
        member = _member(shape, key)
        merge_key = member.patch_merge_key
        before, after = document.get(key), patch.get(key)
        _check_order(after or [], order, merge_key)
        if after is None:
            if before is None:
                continue
            merged = before
        elif before is None:
            merged = _without_directives(after)[0]
        else:
            merged = _merge_list(copied(before), after, member, deleting=False)
        objects = isinstance(_element(before or [], after or []), dict)
        chosen, rest = _split(merged, order, merge_key)
        document[key] = _in_order(chosen, rest, order, before or [], merge_key if objects else "")
        patch.pop(key, None)


def _check_order(patch: list[Any], order: list[Any], merge_key: str) -> None:
    """Items of the patch must stand in the order list, in the same relative order."""
    if not patch or not order:
        return
    wanted = [item for item in patch if not _is_deletion(item)] if merge_key else list(patch)
    position = 0
    for item in order:
        while position < len(wanted) and isinstance(wanted[position], dict) and DIRECTIVE in wanted[position]:
            position += 1
        if position == len(wanted):
            return
        if _same_item(wanted[position], item, merge_key):
            position += 1
    if position < len(wanted):
        raise _failure(
            f"The order in patch list:\n{printed(patch)}\n doesn't match {ELEMENT_ORDER} list:\n{printed(order)}\n"
        )


def _is_deletion(item: Any) -> bool:
    if not isinstance(item, dict):
        raise _wrong_type("map[string]interface {}", item)
    return item.get(DIRECTIVE) == "delete"


def _same_item(left: Any, right: Any, merge_key: str) -> bool:
    if not merge_key:
        return same(left, right)
    for side in (left, right):
        if not isinstance(side, dict):
            raise _wrong_type("map[string]interface {}", side)
        if merge_key not in side:
            raise _no_merge_key(side, merge_key)
    return same(left[merge_key], right[merge_key])


# Lists


def _merge_list(document: list[Any], patch: list[Any], shape: Shape, deleting: bool) -> list[Any]:
    if _strategy(shape) != "merge" and not deleting:
        return patch
    if not document and not patch:
        return document
    merge_key = shape.patch_merge_key
    if isinstance(_element(document, patch), dict):
        if not merge_key:
            raise _failure("cannot merge lists without merge key for struct")
        document, patch = _apply_item_directives(document, patch, merge_key)
        merged = _merge_items(list(document), patch, merge_key, shape.items or _NOTHING)
    elif deleting:
        unwanted = {scalar_key(item) for item in patch}
        return [item for item in document if scalar_key(item) not in unwanted]
    else:
        merged = list({scalar_key(item): item for item in [*document, *patch]}.values())
        merge_key = ""
    chosen, rest = _split(merged, patch, merge_key)
    return _in_order(chosen, rest, patch, document, merge_key)


def _element(*lists: list[Any]) -> Any:
    """The first of all items, which must be of one type and no lists."""
    items = [item for each in lists for item in each]
    if not items:
        raise _failure("no elements in any of the given slices")
    if isinstance(items[0], list):
        raise StatusError(
            422, "Invalid", "the server rejected our request due to an error in our request", {}
        )
    if any(type(item) is not type(items[0]) for item in items):
        raise _failure(f"list element types are not identical: {printed(list(lists))}")
    return items[0]


def _apply_item_directives(
    document: list[Any], patch: list[Any], merge_key: str
) -> tuple[list[Any], list[Any]]:
    """Obey `$patch` in items: what is left of the list, and the patch's plain items."""
    plain: list[Any] = []
    replaced = False
    for item in patch:
        if DIRECTIVE not in item:
            plain.append(item)
            continue
        directive = item[DIRECTIVE]
        if directive == "delete":
            if merge_key not in item:
                raise _no_merge_key(item, merge_key)
            document = [old for old in document if not _has_key(old, merge_key, item[merge_key])]
        elif directive == "replace":
            replaced = True
        elif directive == "merge":
            raise _failure("merging lists cannot yet be specified in the patch")
        else:
            raise _failure(f"unknown patch type: {printed(directive)} in map: {printed(item)}")
    return ([], list(plain)) if replaced else (document, plain)


def _merge_items(document: list[Any], patch: list[Any], merge_key: str, shape: Shape) -> list[Any]:
    for item in patch:
        if merge_key not in item:
            raise _no_merge_key(item, merge_key)
        for index, old in enumerate(document):
            if _has_key(old, merge_key, item[merge_key]):
                document[index] = _merge_object(old, item, shape)
                break
        else:
            document.append(item)
    return document


def _has_key(item: Object, merge_key: str, value: Any) -> bool:
    return merge_key in item and same(item[merge_key], value)


# Order: what the patch names comes in the patch's order, the rest keeps its own, and the rest goes first only
# where it stood first before.


def _identity(item: Any, merge_key: str) -> Any:
    if not merge_key:
        return scalar_key(item)
    if not isinstance(item, dict):
        raise _wrong_type("map[string]interface {}", item)
    if merge_key not in item:
        raise _no_merge_key(item, merge_key)
    return scalar_key(item[merge_key])


def _split(items: list[Any], by: list[Any], merge_key: str) -> tuple[list[Any], list[Any]]:
    named = {_identity(item, merge_key) for item in by}
    chosen = [item for item in items if _identity(item, merge_key) in named]
    return chosen, [item for item in items if _identity(item, merge_key) not in named]


def _positions(items: list[Any], merge_key: str) -> dict[Any, int]:
    positions: dict[Any, int] = {}
    for index, item in enumerate(items):
        positions.setdefault(_identity(item, merge_key), index)
    return positions


def _in_order(
    chosen: list[Any], rest: list[Any], order: list[Any], before: list[Any], merge_key: str
) -> list[Any]:
    stated, old = _positions(order, merge_key), _positions(before, merge_key)
    chosen = sorted(chosen, key=lambda item: stated.get(_identity(item, merge_key), -1))
    rest = sorted(rest, key=lambda item: old.get(_identity(item, merge_key), -1))
    merged: list[Any] = []
    i = j = 0
    while i < len(rest) and j < len(chosen):
        left, right = old.get(_identity(rest[i], merge_key)), old.get(_identity(chosen[j], merge_key))
        if left is not None and right is not None and left < right:
            merged.append(rest[i])
            i += 1
        else:
            merged.append(chosen[j])
            j += 1
    return merged + rest[i:] + chosen[j:]
