"""How a command fails: one line for people, and an exit code."""


class CommandError(Exception):
    """The command cannot be carried out; the text says why and what to do. Code 2 is for bad input."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code
