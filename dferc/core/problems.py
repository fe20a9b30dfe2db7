"""What was found wrong with somebody's files: the rows of every problems.csv, of an import and of stage 1.

Plain CSV, so that a person can read them, a diff can show them, and DVC can hash them.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """Something found wrong, and what follows from it: never a silent drop.

    Attributes:
        where: utterance id, dialogue, file, or what else it is about.
        file: the file at fault (of a corpus relative to its raw folder), or empty.
        problem: what was found, as `kind` or `kind: detail`.
        consequence: what was done about it.
    """

    where: str
    file: str
    problem: str
    consequence: str

    @property
    def kind(self) -> str:
        """The problem without its detail, by which problems are counted."""
        return self.problem.partition(": ")[0]
