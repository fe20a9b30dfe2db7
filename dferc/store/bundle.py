"""Bundle: a trained model with all that a prediction from media needs, as a folder, one .zip, or a hub repository."""

from dataclasses import dataclass
from pathlib import Path

from dferc.store.records import BundleManifest

MANIFEST, CARD = "bundle.json", "README.md"


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A verified bundle."""

    folder: Path  # a zip is unpacked into the cache
    manifest: BundleManifest
    heads: tuple[Path, ...]
    """Checkpoint folders, one per seed, for `dferc.evaluation.predict.load_run`."""
    text: Path | None
    """Folder of the text encoder, for `extract_text`; None where the model does without text."""
    face: Path | None
    """Folder of the face network, for `extract_visual`; None where the model does without faces."""

    @property
    def settings(self) -> dict[str, dict[str, object]]:
        """Sections extract_text, extract_audio, extract_visual (those of the modalities), with paths to its files."""
        raise NotImplementedError


def open_bundle(source: str | Path, revision: str | None = None, cache: Path | None = None) -> Bundle:
    """Open a bundle and verify every file of it.

    Args:
        source: a folder, a .zip of stored members, or the id of a repository of the Hugging Face hub (`owner/name`).
        revision: of the repository: branch, tag or commit.
        cache: folder below which zips are unpacked; by default that of the user.

    Raises:
        InputError: there is no such bundle, or a file of it is missing, changed, not listed or not allowed.
    """
    raise NotImplementedError


def is_bundle(source: str | Path) -> bool:
    """Return whether a path is a bundle: a .zip, or a folder with a manifest."""
    raise NotImplementedError
