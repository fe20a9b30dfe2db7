"""An openSMILE .conf of the user's own: the files that it includes, and what it may not do.

openSMILE resolves an include against the working directory, the folder of the .conf and the folder of the including
file, in this order. It fills in some options itself: opensmile-python gives it the paths of its own includes.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from dferc.core.errors import InputError

_INCLUDE = re.compile(r"\\\{(.*)\}")
_OPTION = re.compile(r"\\cm\[(?P<name>\w+)(?:\(\w+\))?(?:\{(?P<default>[^}]*)\})?")
_GIVEN = ("source", "sink", "bufferModeRbConf", "frameModeFunctionalsConf")  # options that opensmile-python sets
_COMMENT = (";", "#", "%", "//")
_TYPE = re.compile(r"[:=]\s*(c[A-Z]\w*)")
_EXTERNAL = ("cExternalAudioSource", "cExternalSource", "cExternalSink", "cNullSink")  # no files: memory, or nothing
_FILE_KEY = re.compile(r"([\w.\[\]]*file\w*(?:\[[^\]]*\])?)\s*=\s*(\S.*)", re.IGNORECASE)


def configuration_files(path: str | Path) -> list[Path]:
    """Return a .conf and all files that it includes, directly or not, in the order of reading.

    Raises:
        InputError: an include is missing, ambiguous or includes itself, or the configuration reads or writes any other
            file.
    """
    path = Path(path)
    files: list[Path] = []
    defaults: dict[str, str] = {}  # of options, which later lines may name without their default

    def read(file: Path, chain: tuple[Path, ...]) -> None:
        if file in chain:
            circle = " -> ".join(str(part) for part in (*chain, file))
            raise InputError(f"{file} includes itself: {circle}. Remove one of these includes.")
        if file not in files:
            files.append(file)
        for number, line in _lines(file):
            _refuse_files(file, number, line)
            for include in _includes(line, defaults):
                read(_resolve(include, path.parent, file, number), (*chain, file))

    read(path, ())
    return files


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a configuration, with their numbers, less comments."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}") from None
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip() and not line.lstrip().startswith(_COMMENT):
            yield number, line.strip()


def _refuse_files(file: Path, number: int, line: str) -> None:
    named = _FILE_KEY.match(line)
    types = [name for name in _TYPE.findall(line) if re.search("Source|Sink", name) and name not in _EXTERNAL]
    if types or named:
        found = f"the component {types[0]}" if types else f"{named[1]} = {named[2]}"
        raise InputError(
            f"{file}, line {number}: {found} reads or writes files of its own, or a sound device. Expected a "
            "configuration that takes the sound from, and gives the functionals to, the includes `source` and `sink` "
            "of opensmile-python. Remove it."
        )


def _includes(line: str, defaults: dict[str, str]) -> Iterator[str]:
    """Yield the path that a line includes, if it does and the path is not one of openSMILE's own."""
    for option in _OPTION.finditer(line):
        if option["default"] is not None:
            defaults.setdefault(option["name"], option["default"])
    include = _INCLUDE.match(line)
    if not include:
        return
    option = _OPTION.match(include[1])
    if option is None:
        yield include[1]
    elif option["name"] not in _GIVEN:
        yield defaults.get(option["name"], "")


def _resolve(include: str, main: Path, file: Path, number: int) -> Path:
    places = dict.fromkeys(place.absolute() / include for place in (Path(), main, file.parent))
    there = [place for place in places if place.is_file()]
    if not there:
        tried = ", ".join(str(place.parent) for place in places)
        raise InputError(f"{file}, line {number}: the include {include!r} is in none of {tried}. Correct its path.")
    if len({place.read_bytes() for place in there}) > 1:
        raise InputError(
            f"{file}, line {number}: the include {include!r} is there {len(there)} times, with different content: "
            f"{', '.join(map(str, there))}. Rename or remove all but one."
        )
    return there[-1]
