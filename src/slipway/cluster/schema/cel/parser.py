"""CEL tokens read into a tree, by precedence, macros recognised on the way."""

from __future__ import annotations

from collections.abc import Callable

from slipway.cluster.schema.cel import syntax
from slipway.cluster.schema.cel.lexer import RESERVED, Token, tokens_of
from slipway.cluster.schema.cel.problems import CompileError, Issue
from slipway.cluster.schema.cel.syntax import Node
from slipway.cluster.schema.cel.values import MAX_INT

_MOST_NESTING = 250
_RELATIONS = ("==", "!=", "<", "<=", ">", ">=", "in")
_PRIMARY = "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}"
_STARTS = frozenset(
    ["[", "{", "(", ".", "-", "!", "true", "false", "null", "float", "int", "uint", "string", "bytes", "name"]
)
# Macro, number of arguments, and how many of them are variables.
_MACROS: dict[tuple[str, int], tuple[syntax.MacroName, int]] = {
    ("all", 2): ("all", 1),
    ("exists", 2): ("exists", 1),
    ("exists_one", 2): ("existsOne", 1),
    ("map", 2): ("map", 1),
    ("map", 3): ("map", 1),
    ("filter", 2): ("filter", 1),
    ("all", 3): ("all", 2),
    ("exists", 3): ("exists", 2),
    ("existsOne", 3): ("existsOne", 2),
    ("exists_one", 3): ("existsOne", 2),
    ("transformList", 3): ("transformList", 2),
    ("transformList", 4): ("transformList", 2),
    ("transformMap", 3): ("transformMap", 2),
    ("transformMap", 4): ("transformMap", 2),
    ("transformMapEntry", 3): ("transformMapEntry", 2),
    ("transformMapEntry", 4): ("transformMapEntry", 2),
    ("sortBy", 2): ("sortBy", 1),
    ("optMap", 2): ("optMap", 1),
    ("optFlatMap", 2): ("optFlatMap", 1),
}


def parse(source: str) -> Node:
    """The tree of an expression; raises CompileError."""
    tokens, issues = tokens_of(source)
    parser = _Parser(source, tokens)
    try:
        node = parser.expression()
        if parser.now.kind != "end":
            raise parser.unexpected("<EOF>")
    except CompileError as error:
        raise CompileError(source, issues + parser.issues + error.issues) from None
    if issues or parser.issues:
        raise CompileError(source, issues + parser.issues)
    return node


class _Parser:
    def __init__(self, source: str, tokens: list[Token]) -> None:
        self.source = source
        self.tokens = tokens
        self.position = 0
        self.depth = 0
        self.issues: list[Issue] = []  # those that reading could go on after

    @property
    def now(self) -> Token:
        return self.tokens[self.position]

    def next(self) -> Token:
        token = self.tokens[self.position]
        self.position += 1
        return token

    def error(self, at: int, message: str) -> CompileError:
        return CompileError(self.source, [Issue(at, message)])

    def unexpected(self, wanted: str) -> CompileError:
        shown = self.now.text
        following = self.tokens[self.position + 1].kind if self.now.kind != "end" else "end"
        extra = wanted == "<EOF>" or (wanted == _PRIMARY and following in _STARTS)
        verb = "extraneous" if extra else "mismatched"
        return self.error(self.now.at, f"Syntax error: {verb} input '{shown}' expecting {wanted}")

    def take(self, kind: str) -> Token:
        if self.now.kind == kind:
            return self.next()
        if kind == "name":
            before = self.tokens[self.position - 1].text
            if self.now.kind == "end" or before != ".":
                raise self.unexpected("IDENTIFIER")
            text = f"Syntax error: no viable alternative at input '{before}{self.now.text}'"
            raise self.error(self.now.at, text)
        raise self.error(self.now.at, f"Syntax error: missing '{kind}' at '{self.now.text}'")

    def expression(self) -> Node:
        self.depth += 1
        if self.depth > _MOST_NESTING:
            raise self.error(self.now.at, f"expression recursion limit exceeded: {_MOST_NESTING}")
        node = self.logic("||", lambda: self.logic("&&", self.relation))
        if self.now.kind == "?":
            at = self.next().at
            then = self.logic("||", lambda: self.logic("&&", self.relation))
            self.take(":")
            node = syntax.Conditional(at, node, then, self.expression())
        self.depth -= 1
        return node

    def logic(self, symbol: str, operand: Callable[[], Node]) -> Node:
        operands = [operand()]
        at = self.now.at
        while self.now.kind == symbol:
            self.next()
            operands.append(operand())
        if len(operands) == 1:
            return operands[0]
        return syntax.Logic(at, "_||_" if symbol == "||" else "_&&_", operands)

    def relation(self) -> Node:
        return self.binary(
            _RELATIONS, lambda: self.binary(("+", "-"), lambda: self.binary(("*", "/", "%"), self.unary))
        )

    def binary(self, symbols: tuple[str, ...], operand: Callable[[], Node]) -> Node:
        node = operand()
        while self.now.kind in symbols:
            token = self.next()
            function = "@in" if token.kind == "in" else f"_{token.kind}_"
            node = syntax.Call(token.at, function, None, [node, operand()])
        return node

    def unary(self) -> Node:
        token = self.now
        if token.kind in ("!", "-"):
            following = self.tokens[self.position + 1]
            if token.kind == "-" and following.kind in ("int", "float"):
                self.next()
                self.next()
                return self.member(syntax.Constant(token.at, -following.value))
            count = 0
            while self.now.kind == token.kind:
                self.next()
                count += 1
            self.depth += 1
            operand = self.unary()
            self.depth -= 1
            # An even number of them does nothing, as in cel-go.
            return operand if count % 2 == 0 else syntax.Call(token.at, f"{token.kind}_", None, [operand])
        return self.member(self.primary())

    def member(self, node: Node) -> Node:
        while True:
            token = self.now
            if token.kind == ".":
                self.next()
                optional = self.now.kind == "?"
                if optional:
                    self.next()
                name = self.take("name")
                if self.now.kind == "(" and not optional:
                    node = self.call(name, node)
                else:
                    node = syntax.Select(token.at, node, name.text, optional)
            elif token.kind == "[":
                self.next()
                optional = self.now.kind == "?"
                if optional:
                    self.next()
                key = self.expression()
                self.take("]")
                node = syntax.Index(token.at, node, key, optional)
            elif token.kind == "{" and (struct := _dotted(node)):
                node = self.struct(struct, token)
            else:
                return node

    def primary(self) -> Node:
        token = self.now
        if token.kind in ("uint", "float", "string", "bytes"):
            self.next()
            return syntax.Constant(token.at, token.value)
        if token.kind == "int":
            self.next()
            if token.value > MAX_INT:
                raise self.error(token.at, "invalid int literal")
            return syntax.Constant(token.at, token.value)
        if token.kind in ("true", "false", "null"):
            self.next()
            return syntax.Constant(token.at, {"true": True, "false": False, "null": None}[token.kind])
        if token.kind == "(":
            self.next()
            node = self.expression()
            self.take(")")
            return node
        if token.kind == "[":
            return self.list_literal()
        if token.kind == "{":
            return self.map_literal()
        absolute = token.kind == "."
        if absolute:
            self.next()
        if self.now.kind != "name":
            raise self.unexpected("IDENTIFIER" if absolute else _PRIMARY)
        name = self.next()
        if name.text in RESERVED:
            self.issues.append(Issue(name.at, f"reserved identifier: {name.text}"))
        if self.now.kind == "(":
            return self.call(name, None)
        return syntax.Name(name.at, name.text, absolute)

    def arguments(self) -> list[Node]:
        args: list[Node] = []
        while self.now.kind != ")":
            args.append(self.expression())
            if self.now.kind != ",":
                break
            self.next()
        self.take(")")
        return args

    def call(self, name: Token, target: Node | None) -> Node:
        opening = self.take("(").at
        args = self.arguments()
        if target is None:
            if name.text == "has" and len(args) == 1:
                return self.has(opening, args[0])
            return syntax.Call(opening, name.text, None, args)
        macro = _MACROS.get((name.text, len(args)))
        if macro is None or (name.text == "map" and _dotted(target) == "cel"):
            return syntax.Call(opening, name.text, target, args)
        kind, count = macro
        wrong = (
            "argument is not an identifier" if kind in ("map", "filter") else "argument must be a simple name"
        )
        variables = tuple(self.variable(arg, wrong) for arg in args[:count])
        if len(set(variables)) < count:
            text = f"duplicate variable name: {variables[0]}"
            raise self.error(args[1].at, text)
        return syntax.Macro(opening, kind, target, variables, args[count:])

    def variable(self, node: Node, wrong: str) -> str:
        if not isinstance(node, syntax.Name) or node.absolute:
            raise self.error(node.at, wrong)
        return node.name

    def has(self, at: int, argument: Node) -> Node:
        if not isinstance(argument, syntax.Select):
            raise self.error(argument.at, "invalid argument to has() macro")
        return syntax.Select(at, argument.operand, argument.field, argument.optional, test=True)

    def close(self, kind: str) -> None:
        """The end of a list or map, before which one more element could have stood."""
        if self.now.kind != kind:
            raise self.unexpected(f"{{'{kind}', ','}}")
        self.next()

    def list_literal(self) -> Node:
        node = syntax.ListLiteral(self.take("[").at, [])
        while self.now.kind != "]":
            if self.now.kind == "?":
                self.next()
                node.optional.add(len(node.items))
            node.items.append(self.expression())
            if self.now.kind != ",":
                break
            self.next()
        self.close("]")
        return node

    def map_literal(self) -> Node:
        node = syntax.MapLiteral(self.take("{").at, [])
        while self.now.kind != "}":
            optional = self.now.kind == "?"
            if optional:
                self.next()
            key = self.expression()
            self.take(":")
            node.entries.append((key, self.expression(), optional))
            if self.now.kind != ",":
                break
            self.next()
        self.close("}")
        return node

    def struct(self, name: str, opening: Token) -> Node:
        self.take("{")
        node = syntax.StructLiteral(opening.at, name, [])
        while self.now.kind != "}":
            optional = self.now.kind == "?"
            if optional:
                self.next()
            key = self.take("name").text
            self.take(":")
            node.fields.append((key, self.expression(), optional))
            if self.now.kind != ",":
                break
            self.next()
        self.take("}")
        return node


def _dotted(node: Node) -> str:
    """`a.b.c` of a chain of plain selections, else nothing."""
    parts: list[str] = []
    while isinstance(node, syntax.Select) and not node.test and not node.optional:
        parts.append(node.field)
        node = node.operand
    if not isinstance(node, syntax.Name):
        return ""
    return ".".join([node.name, *reversed(parts)])
