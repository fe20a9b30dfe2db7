"""The state of the pickle format's stack machine: what is bounded is bounded here."""

import mmap

import numpy as np

from dferc.importing.rebuild import Floats, RefusedError

BASE_OPERATIONS = 1_000_000
BYTES_PER_OPERATION = 16
"""Operations a file may take: the base, and one for so many bytes. MELD's largest pickle takes 1 per 200 bytes."""

MAX_NESTING = 32
"""Known layouts nest 5 deep: tuple, dict, dialogue, utterance, value."""

HELD_BYTES = 16 << 20
"""So much of a mapped file that has been read stays in memory."""


class Machine:
    """Stack, memo, place in the file (its bytes, or mapped), and how many operations are left.

    Raises:
        RefusedError: (its methods) the file ends too early, or costs more than its size allows.
    """

    def __init__(self, data: bytes | mmap.mmap):
        self.data, self.view, self.codes = data, memoryview(data), np.frombuffer(data, np.uint8)
        self.position = self.released = 0
        self.stack: list = []
        self.outer: list[list] = []  # the stacks below each open mark
        self.memo: dict[int, object] = {}
        self.operations_left = BASE_OPERATIONS + len(data) // BYTES_PER_OPERATION

    def charge(self, operations: int) -> None:
        """Account for work that one opcode multiplies."""
        self.operations_left -= operations
        if self.operations_left < 0:
            allowed = BASE_OPERATIONS + len(self.data) // BYTES_PER_OPERATION
            raise RefusedError(
                f"more than {allowed} operations for a file of {len(self.data)} bytes: a pickle bomb, or values stored "
                "one by one; save each utterance's features as one numpy array"
            )

    def take(self, count: int) -> memoryview:
        """The next bytes, as a view."""
        start = self.position
        if not 0 <= count <= len(self.data) - start:
            raise RefusedError(f"{count} bytes are announced, {len(self.data) - start} are left: truncated or damaged")
        self.position = start + count
        if start - self.released > HELD_BYTES:
            self._release()
        return self.view[start : self.position]

    def _release(self) -> None:
        """Let go of the pages that were read; views of them are read from the system's cache when they are needed."""
        if isinstance(self.data, mmap.mmap):
            start = self.released
            self.released = self.position - self.position % mmap.PAGESIZE
            self.data.madvise(mmap.MADV_DONTNEED, start, self.released - start)

    def number(self, width: int, signed: bool = False) -> int:
        """The next little-endian integer of so many bytes."""
        if width == 1 and self.position < len(self.data):  # most are: numbers of the memo, lengths of short texts
            self.position += 1
            return self.data[self.position - 1]
        return int.from_bytes(self.take(width), "little", signed=signed)

    def line(self) -> bytes:
        """The next bytes up to a line feed."""
        end = self.data.find(b"\n", self.position)
        if end < 0:
            raise RefusedError("a line without an end: truncated, or not a pickle")
        found = self.data[self.position : end]
        self.position = end + 1
        return found

    def pop_mark(self) -> list:
        """Everything above the last mark; the stack below it is the current one again."""
        items = self.stack
        self.stack = self.outer.pop()
        return items

    def pop_plain(self) -> object:
        """The top of the stack, where a run of floats cannot be."""
        value = self.stack.pop()
        if type(value) is Floats:
            raise RefusedError("a run of floats where one value belongs")
        return value
