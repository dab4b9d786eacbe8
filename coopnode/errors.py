"""What the node tells a person: one sentence that says what to do next.

The command line prints it without a traceback and exits with 1; the HTTP interface answers with its status.
What bytes of others break is `protocol.errors.Refused`, not this.
"""

from __future__ import annotations


class NodeError(Exception):
    """Something a person can mend. `str()` is the sentence; *status* is the HTTP status it maps to."""

    def __init__(self, sentence: str, *, status: int = 409, problem: str = "conflict") -> None:
        super().__init__(sentence)
        self.status = status
        self.problem = problem


class NotFound(NodeError):
    """What was asked for is not here."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, status=404, problem="not_found")


class BadInput(NodeError):
    """What was given cannot be used."""

    def __init__(self, sentence: str, *, problem: str = "bad_input") -> None:
        super().__init__(sentence, status=400, problem=problem)
