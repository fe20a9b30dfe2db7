"""Problems of input files: the rows of every problems.csv, written by an import and by stage 1."""

from dataclasses import dataclass

NOT_USED = "not used"  # consequence of a problem that lists files which nothing was taken from


@dataclass(frozen=True, slots=True)
class Problem:
    """A fault and its consequence; nothing is dropped silently."""

    where: str  # utterance id, dialogue, file, or another place
    file: str  # the file at fault, or empty; a corpus' files relative to its raw folder
    problem: str  # the fault, as `kind` or `kind: detail`
    consequence: str  # what was done about it

    @property
    def kind(self) -> str:
        """The problem without its detail; problems are counted by kind."""
        return self.problem.partition(": ")[0]
