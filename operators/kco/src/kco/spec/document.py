"""The GraphQL text of a TargetApp: is it one query, and which fields does it select?

`check_query` refuses what must never be sent (mutations, subscriptions in polls, several operations without
a name, syntax errors). `selects` proves that a trigger's path is in the selection set, and with a schema
`check_against_schema` and `field_kind` say what type stands at its end.
"""

import difflib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    build_client_schema,
    build_schema,
    is_enum_type,
    is_list_type,
    is_non_null_type,
    is_scalar_type,
    parse,
    validate,
)

from kco.spec.path import ENDPOINT, WILDCARD, FieldPath, spell_path

MAX_DEPTH = 32
ENDPOINT_FIELDS = ("up", "failures", "error")


class InvalidQuery(Exception):
    """The GraphQL text must not be sent; the message says why."""


@dataclass(frozen=True)
class Query:
    """One checked operation."""

    text: str
    document: DocumentNode
    operation: OperationDefinitionNode
    fragments: dict[str, FragmentDefinitionNode]

    @property
    def operation_name(self) -> str | None:
        return self.operation.name.value if self.operation.name else None


# A thousand targets ask the same few questions; a parsed document is ten times the size of its text.
@lru_cache(maxsize=16)
def check_query(
    text: str,
    *,
    operation_name: str | None = None,
    kind: OperationType = OperationType.QUERY,
    field: str = "stateQuery",
) -> Query:
    """Parse and check one operation."""
    if not text.strip():
        raise InvalidQuery(f"{field} is empty; give one GraphQL {kind.value}")
    try:
        document = parse(text, no_location=False, max_tokens=5000)
    except GraphQLError as failure:
        place = (
            f" at line {failure.locations[0].line}, column {failure.locations[0].column}"
            if failure.locations
            else ""
        )
        raise InvalidQuery(f"{field} is not GraphQL{place}: {failure.message}") from None
    except RecursionError:
        raise InvalidQuery(f"{field} is nested too deeply") from None
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    fragments = {
        node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
    }
    named = [node for node in operations if node.name and node.name.value == operation_name]
    if operation_name is not None and not named:
        raise InvalidQuery(f"{field} has no operation named {operation_name!r}")
    if not operations:
        raise InvalidQuery(f"{field} has no operation; give one GraphQL {kind.value}")
    if len(operations) > 1 and operation_name is None:
        raise InvalidQuery(f"{field} has {len(operations)} operations; set operationName to choose one")
    operation = named[0] if named else operations[0]
    for node in operations:
        if node.operation is not kind:
            raise InvalidQuery(f"{field} has a {node.operation.value}; only a {kind.value} is sent")
    query = Query(text, document, operation, fragments)
    _measure(operation.selection_set, query, 0, ())
    return query


def selects(query: Query, path: FieldPath) -> str | None:
    """None where the query selects what `path` names, else a sentence that says what is wrong."""
    if path[0] == ENDPOINT:
        if len(path) == 1 or path[1] in ENDPOINT_FIELDS:
            return None
        return f"@endpoint has no field {path[1]!r}; it has {', '.join(ENDPOINT_FIELDS)}"
    scope: SelectionSetNode | None = query.operation.selection_set
    for position, step in enumerate(path):
        if isinstance(step, int) or step == WILDCARD:
            continue
        if scope is None:
            return f"field {spell_path(path)!r}: {spell_path(path[:position])!r} has no fields in the query"
        fields = _fields(scope, query)
        if step not in fields:
            return f"field {spell_path(path)!r} is not in the query{suggestion(step, list(fields))}"
        scope = fields[step].selection_set
    return None


def read_schema(text: str) -> GraphQLSchema:
    """A schema from SDL, or from an introspection result as JSON."""
    import orjson

    try:
        if text.lstrip().startswith("{"):
            loaded: Any = orjson.loads(text)
            return build_client_schema(loaded.get("data", loaded))
        return build_schema(text)
    except GraphQLError as failure:
        place = f"line {failure.locations[0].line}: " if failure.locations else ""
        raise InvalidQuery(f"the GraphQL schema cannot be read: {place}{failure.message}") from None
    except RecursionError:
        raise InvalidQuery("the GraphQL schema cannot be read: nested too deeply") from None
    except (TypeError, ValueError, AttributeError, KeyError) as failure:
        fault = " ".join(str(failure).split())[:300]
        raise InvalidQuery(f"the GraphQL schema cannot be read: {fault}") from None


def check_against_schema(query: Query, schema: GraphQLSchema, *, field: str = "stateQuery") -> list[str]:
    """What the schema says is wrong with the query, with its suggestions."""
    problems = []
    for failure in validate(schema, query.document):
        line = f" (line {failure.locations[0].line})" if failure.locations else ""
        problems.append(f"{field}{line}: {failure.message}")
    return problems


@dataclass(frozen=True)
class FieldKind:
    """What a schema says about the end of a path: an enum's values, a scalar's name, or an object."""

    name: str
    values: tuple[str, ...] = ()
    scalar: bool = False
    listed: bool = False


def field_kind(query: Query, schema: GraphQLSchema, path: FieldPath) -> FieldKind | None:
    """The type at the end of a path, or None where the schema cannot say."""
    current: Any = schema.query_type
    scope: SelectionSetNode | None = query.operation.selection_set
    for step in path:
        if isinstance(step, int) or step == WILDCARD:
            current = _bare(current)
            current = current.of_type if is_list_type(current) else current
            continue
        current = _bare(current)
        while is_list_type(current):
            current = _bare(current.of_type)
        node = _fields(scope, query).get(step) if scope else None
        definitions = getattr(current, "fields", None)
        if node is None or definitions is None or node.name.value not in definitions:
            return None
        current = definitions[node.name.value].type
        scope = node.selection_set
    current = _bare(current)
    listed = is_list_type(current)
    while is_list_type(current):
        current = _bare(current.of_type)
    values = tuple(current.values) if is_enum_type(current) else ()
    return FieldKind(current.name, values, bool(is_scalar_type(current)), listed)


def suggestion(word: str, known: list[str]) -> str:
    """`; did you mean …?` where something close is known, else what is known."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if not close:
        folded = {name.lower(): name for name in known}
        close = [folded[word.lower()]] if word.lower() in folded else []
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; there are: {', '.join(sorted(known)[:12])}" if known else ""


def _bare(kind: Any) -> Any:
    return kind.of_type if is_non_null_type(kind) else kind


def _fields(scope: SelectionSetNode, query: Query) -> dict[str, FieldNode]:
    """Response keys (aliases count) to field nodes, fragments opened."""
    found: dict[str, FieldNode] = {}
    for node in scope.selections:
        if isinstance(node, FieldNode):
            found[node.alias.value if node.alias else node.name.value] = node
        elif isinstance(node, InlineFragmentNode):
            found.update(_fields(node.selection_set, query))
        elif isinstance(node, FragmentSpreadNode) and node.name.value in query.fragments:
            found.update(_fields(query.fragments[node.name.value].selection_set, query))
    return found


def _measure(scope: SelectionSetNode, query: Query, depth: int, inside: tuple[str, ...]) -> None:
    """Refuse fragment cycles, missing fragments and bottomless nesting before anything walks the tree."""
    if depth > MAX_DEPTH:
        raise InvalidQuery(f"the query is nested deeper than {MAX_DEPTH} levels")
    for node in scope.selections:
        if isinstance(node, FragmentSpreadNode):
            name = node.name.value
            if name not in query.fragments:
                raise InvalidQuery(f"the query uses fragment {name!r}, which it does not define")
            if name in inside:
                raise InvalidQuery(f"fragment {name!r} contains itself")
            _measure(query.fragments[name].selection_set, query, depth + 1, (*inside, name))
        elif isinstance(node, FieldNode | InlineFragmentNode) and node.selection_set:
            _measure(node.selection_set, query, depth + 1, inside)
