"""The splits of a file: as its own lists say, put right where they are known not to be the corpus's."""

from collections.abc import Callable, Iterable, Mapping

from dferc.core.errors import InputError
from dferc.importing.corpora import COSMIC_VALIDATION, IEMOCAP, M3ED, M3ED_SHOWS, MELD, MELD_SPLITS, natural
from dferc.importing.source import About
from dferc.store.vocabulary import SPLITS


def given_splits(
    lists: Mapping[str, Iterable], name_of: Callable[[object], str], dialogues: Iterable[str], about: About
) -> dict[str, str]:
    """The split of each dialogue as the file's lists say.

    Args:
        lists: of dialogue keys, by split; other parts are passed over.
        name_of: our name of a dialogue key.
        dialogues: that the file has, by our names.
        about: the file.

    Raises:
        InputError: a dialogue is in two lists, or in none of the data.
    """
    given: dict[str, str] = {}
    for split in SPLITS:
        for key in lists.get(split, ()):
            name = name_of(key)
            if given.setdefault(name, split) != split:
                raise InputError(f"{about.path}: the dialogue {name} is in two splits, {given[name]} and {split}.")
    missing = sorted(set(given) - set(dialogues))
    if missing:
        raise InputError(
            f"{about.path}: {len(missing)} dialogue(s) of its split lists are not in its data, first {missing[0]}. The "
            "file contradicts itself: get it again, or make it anew."
        )
    return given


def true_splits(corpus: str, given: Mapping[str, str], about: About) -> dict[str, str]:
    """The corpus's own splits: train, validation, test in this order, and dialogues sorted within.

    Raises:
        InputError: MELD's dialogues are numbered otherwise.
    """
    if corpus == MELD.name:
        given = _by_meld_numbers(given, about)
    elif corpus == IEMOCAP.name and "validation" not in given.values():
        given = {name: "validation" if name in COSMIC_VALIDATION else split for name, split in given.items()}
    elif corpus == M3ED.name:
        given = _by_m3ed_shows(given)
    return dict(sorted(given.items(), key=lambda item: (SPLITS.index(item[1]), natural(item[0]))))


def _by_meld_numbers(given: Mapping[str, str], about: About) -> dict[str, str]:
    """Most files count MELD's dev to the training; its dialogues' numbers tell."""
    strayed = [name for name, split in given.items() if (split == "test") != name.startswith("test")]
    if strayed:
        raise InputError(
            f"{about.path}: its lists put the dialogue {strayed[0]} into {given[strayed[0]]}, against MELD's "
            "numbering (test begins at 1153). The file is of another corpus or numbering: write an .npz instead."
        )
    return {name: MELD_SPLITS[name.split("_")[0]] for name in given}


def _by_m3ed_shows(given: Mapping[str, str]) -> dict[str, str]:
    """Loaders disagree which of M3ED's last two lists is which; the published ones have 7 shows and 11."""
    shows = {split: len({name.split("_")[0] for name in given if given[name] == split}) for split in M3ED_SHOWS}
    swapped = tuple(shows.values()) == tuple(reversed(M3ED_SHOWS.values()))
    names = {"validation": "test", "test": "validation"} if swapped else {}
    return {name: names.get(split, split) for name, split in given.items()}
