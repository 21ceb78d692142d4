"""Regular expressions with RE2's meaning and RE2's promise: time linear in the text, whatever the pattern.

Patterns come from whoever may write a CRD, so Python's backtracking `re` will not do. A pattern becomes a
program of an NFA; `search` (does it match anywhere?) runs it as a DFA whose states are made as they are met
and kept, `find` (where?) as a list of threads in order of preference, leftmost-first as Perl and RE2 have it.
"""

from __future__ import annotations

from functools import lru_cache

from slipway.cluster.schema.regexp_syntax import (
    Assertion,
    Chars,
    Charset,
    Choice,
    InvalidPattern,
    Node,
    Place,
    Repeat,
    Sequence,
    parse_pattern,
)

__all__ = ["InvalidPattern", "Pattern", "compile_pattern"]

_MOST_STATES = 2000  # of a DFA, before it is forgotten and begun again
_MOST_STEPS = 50_000  # of a program

# Instructions: (charset, next), (None, first, second) for a fork in order of preference,
# (place, next) for an assertion, () for a match.
_Step = tuple[Charset, int] | tuple[None, int, int] | tuple[Place, int] | tuple[()]


@lru_cache(maxsize=2048)
def compile_pattern(pattern: str) -> Pattern:
    """The compiled pattern; raises `InvalidPattern`. The most recent ones are kept."""
    return Pattern(pattern)


class Pattern:
    """A compiled RE2 pattern."""

    __slots__ = ("_start", "_states", "_steps", "text")

    def __init__(self, pattern: str) -> None:
        self.text = pattern
        self._steps: list[_Step] = []
        self._emit(parse_pattern(pattern))
        self._steps.append(())
        self._states: dict[tuple[frozenset[int], str], _State] = {}
        self._start = self._state(frozenset(), "")

    def search(self, text: str) -> bool:
        """Whether the pattern matches somewhere in `text`."""
        state = self._start
        for char in text:
            following = state.next.get(char)
            if following is None:
                following = self._advance(state, char)
            if following is _MATCHED:
                return True
            state = following
        following = state.next.get("")
        return (following if following is not None else self._advance(state, "")) is _MATCHED

    def find(self, text: str, start: int = 0) -> tuple[int, int] | None:
        """Begin and end of the leftmost match at or after `start`."""
        threads: list[tuple[int, int]] = []  # (instruction, begin), most preferred first
        best: tuple[int, int] | None = None
        for at in range(start, len(text) + 1):
            if best is None:
                threads.append((0, at))
            elif not threads:
                break
            before = text[at - 1] if at else ""
            after = text[at] if at < len(text) else ""
            following: list[tuple[int, int]] = []
            seen: set[int] = set()
            for step, begin in threads:
                reached = self._closure(step, before, after, seen)
                matched = False
                for place in reached:
                    instruction = self._steps[place]
                    if not instruction:
                        best = (begin, at)
                        matched = True
                        break
                    if after and after in instruction[0]:  # type: ignore[operator]
                        following.append((instruction[1], begin))
                if matched:
                    break
            threads = following
        return best

    def find_all(self, text: str, limit: int = -1) -> list[tuple[int, int]]:
        """Successive matches that do not overlap, at most `limit` if that is not negative."""
        found: list[tuple[int, int]] = []
        at, previous = 0, -1
        while at <= len(text) and (limit < 0 or len(found) < limit):
            match = self.find(text, at)
            if match is None:
                break
            begin, end = match
            if begin == end == previous:  # an empty match right after a match does not count
                at = end + 1
                continue
            found.append(match)
            previous = end
            at = end if end > begin else end + 1
        return found

    def _emit(self, node: Node) -> None:
        steps = self._steps
        if len(steps) > _MOST_STEPS:
            raise InvalidPattern("expression too large", self.text)
        if isinstance(node, Chars):
            steps.append((node.chars, len(steps) + 1))
        elif isinstance(node, Assertion):
            steps.append((node.place, len(steps) + 1))
        elif isinstance(node, Sequence):
            for part in node.parts:
                self._emit(part)
        elif isinstance(node, Choice):
            self._emit_choice(node)
        else:
            self._emit_repeat(node)

    def _emit_choice(self, node: Choice) -> None:
        steps = self._steps
        exits = []
        for part in node.parts[:-1]:
            fork = len(steps)
            steps.append(())
            self._emit(part)
            exits.append(len(steps))
            steps.append(())
            steps[fork] = (None, fork + 1, len(steps))
        self._emit(node.parts[-1])
        for place in exits:
            steps[place] = (None, len(steps), len(steps))

    def _emit_repeat(self, node: Repeat) -> None:
        steps = self._steps
        for _ in range(node.least):
            self._emit(node.part)
        if node.most is None:
            fork = len(steps)
            steps.append(())
            self._emit(node.part)
            steps.append((None, fork, fork))
            steps[fork] = self._fork(fork + 1, len(steps), node.greedy)
            return
        forks = []
        for _ in range(node.most - node.least):
            forks.append(len(steps))
            steps.append(())
            self._emit(node.part)
        for fork in forks:
            steps[fork] = self._fork(fork + 1, len(steps), node.greedy)

    @staticmethod
    def _fork(inside: int, after: int, greedy: bool) -> tuple[None, int, int]:
        return (None, inside, after) if greedy else (None, after, inside)

    def _closure(self, step: int, before: str, after: str, seen: set[int]) -> list[int]:
        """The instructions reached from `step` without reading, in order of preference, not `seen` before."""
        reached: list[int] = []
        stack = [step]
        while stack:
            place = stack.pop()
            if place in seen:
                continue
            seen.add(place)
            instruction = self._steps[place]
            if len(instruction) == 3:
                stack.append(instruction[2])
                stack.append(instruction[1])
            elif instruction and isinstance(instruction[0], str):
                if _holds(instruction[0], before, after):
                    stack.append(instruction[1])
            else:
                reached.append(place)
        return reached

    def _state(self, steps: frozenset[int], before: str) -> _State:
        state = self._states.get((steps, before))
        if state is None:
            if len(self._states) >= _MOST_STATES:
                self._states.clear()
                self._start = _State(frozenset(), "")
                self._states[frozenset(), ""] = self._start
            state = self._states[steps, before] = _State(steps, before)
        return state

    def _advance(self, state: _State, char: str) -> _State:
        """The state after reading `char`; "" is the end of the text."""
        seen: set[int] = set()
        following: set[int] = set()
        result: _State | None = None
        for step in (*state.steps, 0):
            for place in self._closure(step, state.before, char, seen):
                instruction = self._steps[place]
                if not instruction:
                    result = _MATCHED
                elif char and char in instruction[0]:  # type: ignore[operator]
                    following.add(instruction[1])
        if result is None:
            # What matters of the character before is only what assertions ask of it.
            before = "\n" if char == "\n" else "a" if _is_word(char) else " "
            result = self._state(frozenset(following), before)
        state.next[char] = result
        return result


class _State:
    """Where a search may be: the instructions to go on from, and the kind of character before."""

    __slots__ = ("before", "next", "steps")

    def __init__(self, steps: frozenset[int], before: str) -> None:
        self.steps = steps
        self.before = before
        self.next: dict[str, _State] = {}


_MATCHED = _State(frozenset(), "matched")


def _is_word(char: str) -> bool:
    return char.isascii() and (char.isalnum() or char == "_")


def _holds(place: Place, before: str, after: str) -> bool:
    if place == "text-start":
        return not before
    if place == "text-end":
        return not after
    if place == "line-start":
        return not before or before == "\n"
    if place == "line-end":
        return not after or after == "\n"
    boundary = _is_word(before) is not _is_word(after)
    return boundary is (place == "word-boundary")
