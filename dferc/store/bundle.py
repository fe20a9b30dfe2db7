"""Bundle: a trained model with all that a prediction from media needs, as a folder, one .zip, or a hub repository.

    bundle.json                    the manifest: what it is, and the SHA-256 of every other file
    README.md                      a model card
    heads/seed-0/…                 checkpoints, one folder per seed: model.safetensors, settings.json
    text/…, face/…                 the text encoder and the face network, as stage 1 reads them
    audio/…                        the speech encoder, where audio is not openSMILE's
    visual/…                       the encoder of pictures, where visual is not the face network's
    files/…                        files that its settings name: an openSMILE .conf, a YuNet .onnx; and the encoders of
                                   further sets

It holds weights (safetensors), JSON and text, and no program: any other kind of file is refused, and so are links and
names that lead out of the folder. The same content gives the same bytes, as a folder and as a .zip.
"""

import contextlib
import hashlib
import json
import re
import shutil
import stat
import tempfile
import time
import unicodedata
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dferc.core.errors import InputError, brief, listed
from dferc.core.files import DISK_FULL, STALE_S, file_hash, regular_file, user_cache, write_atomically, write_text
from dferc.core.records import MOST_BYTES, check_record, parse_json
from dferc.store.records import BUNDLE_SCHEMA, BundleManifest

MANIFEST, CARD, HEADS, FILES = "bundle.json", "README.md", "heads", "files"
TEXT, AUDIO, VISUAL, FACE = "text", "audio", "visual", "face"
AGAIN = "Get the bundle again, or make it anew with `dferc bundle`."

VOCABULARIES = (".txt", ".model", ".spm", ".bpe", ".codes", ".tiktoken", ".vocab")
"""What tokenizers have beside JSON: text, and SentencePiece models."""
_SUFFIXES = (".safetensors", ".json", ".md", ".conf", ".inc", ".onnx", *VOCABULARIES)
"""Kinds of files: weights, JSON, text, what tokenizers have, and an ONNX network. None of them is a program or a
pickle; `_verify_kind` looks at their content."""

_MOST_FILES, _MOST_PARTS = 1000, 8
_NAME = re.compile(r"[^\x00-\x1f\x7f\\:*?\"<>|/]+")  # of a file or folder, also on Windows
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_FERPLUS = "ferplus"  # `extract_visual.encoder` of bundles with a face network, and of those from before the setting


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A verified bundle."""

    folder: Path  # a zip is unpacked into the cache
    manifest: BundleManifest
    heads: tuple[Path, ...]
    """Checkpoint folders, one per seed, for `dferc.evaluation.predict.load_run`."""
    texts: Mapping[str, Path]
    """Folders of the text encoders by feature set, for `extract_text`; none where the model does without text."""
    face: Path | None
    """Folder of the face network, for `extract_visual`; None where the model does without faces."""

    def sets(self, modality: str) -> tuple[str, ...]:
        """Return the feature sets that a modality joins, or the modality itself."""
        return _sets_of(self.manifest, modality)

    @property
    def settings(self) -> dict[str, dict[str, object]]:
        """Sections extract_text, extract_audio, extract_visual, or of each set, with paths to the bundle's files."""
        sections = {name: dict(section) for name, section in self.manifest.settings.items()}
        for name, key in _file_settings(self.manifest):
            value = sections[name][key]
            if value in self.manifest.files or f"{value}/config.json" in self.manifest.files:
                sections[name][key] = str(self.folder / value)
        return sections


def open_bundle(source: str | Path, revision: str | None = None, cache: Path | None = None) -> Bundle:
    """Open a bundle and verify every file of it.

    Args:
        source: a folder, a .zip of stored members, or the id of a repository of the Hugging Face hub (`owner/name`).
        revision: of the repository: branch, tag or commit.
        cache: folder below which zips are unpacked, by their hash; by default `dferc/bundles` in the user's cache.

    Raises:
        InputError: there is no such bundle, or a file of it is missing, changed, not listed or not allowed.
    """
    refuse_revision(source, revision)
    path = Path(source)
    if path.is_dir():
        return _open_folder(path)
    if not path.exists() and is_hub_id(source):
        snapshot = _download(str(source), revision)
        return _open_folder(snapshot, links_within=snapshot.parent.parent)
    if not path.exists():
        raise InputError(
            f"{path}: no such bundle. Expected a folder or a .zip that `dferc bundle` wrote, or `owner/name`, a "
            "repository of the Hugging Face hub."
        )
    return _open_zip(path, cache or user_cache() / "bundles")


def is_bundle(source: str | Path) -> bool:
    """Return whether a path is a bundle: a file (a .zip), or a folder with a manifest."""
    return Path(source).is_file() or (Path(source) / MANIFEST).exists()


def is_hub_id(source: str | Path) -> bool:
    """Return whether a name is `owner/name` of a hub's repository, and no path: there is no folder `owner`."""
    text = Path(source).as_posix() if isinstance(source, Path) else source
    is_path = text.endswith((".dferc", ".zip")) or text.startswith(".") or Path(text).parent.exists()
    return bool(_HUB_ID.fullmatch(text)) and not is_path


def refuse_revision(source: str | Path, revision: str | None) -> None:
    """Refuse a revision of what is not on the hub: it would be ignored.

    Raises:
        InputError: a revision is named, and the source is a path.
    """
    if revision and not is_hub_id(source):
        raise InputError(
            f"--revision {revision}: {source} is a path, and revisions are of repositories on the Hugging Face hub "
            "(`owner/name`). Omit --revision."
        )


# ------------------------------------------------------------------------------------------------------------- reading


def _open_folder(folder: Path, links_within: Path | None = None) -> Bundle:
    """Verify a folder; `links_within` is where links may lead to (the hub's own cache keeps files behind links)."""
    manifest = _read_manifest(folder / MANIFEST)
    names = []
    for entry in _walk(folder):
        name = entry.relative_to(folder).as_posix()
        if entry.is_symlink() and (links_within is None or not entry.resolve().is_relative_to(links_within.resolve())):
            raise InputError(f"{folder}: {brief(name)} is a link; a bundle holds the files themselves. {AGAIN}")
        regular_file(entry)
        names.append(name)
    _verify_names(names, folder)
    there, in_manifest = set(names) - {MANIFEST}, set(manifest.files)
    if unlisted := sorted(there - in_manifest):
        raise InputError(f"{folder}: {listed(unlisted, 5)} is not listed in {MANIFEST}. Remove it. {AGAIN}")
    if missing := sorted(in_manifest - there):
        raise InputError(f"{folder}: {listed(missing, 5)} is missing, which {MANIFEST} lists. {AGAIN}")
    for name, expected in manifest.files.items():
        if (found := file_hash(folder / name)) != expected:
            raise InputError(
                f"{folder}: {name} is not as it was bundled: its SHA-256 is {found[:16]}…, expected {expected[:16]}… "
                f"(cut off, or changed). {AGAIN}"
            )
        _verify_kind(folder / name, folder)
    return _assemble(folder, manifest)


def _walk(folder: Path) -> Iterator[Path]:
    """Yield all that is no folder; hidden entries on top (.git, .cache, .DS_Store) are no part of a bundle."""
    waiting, count = [folder], 0
    while waiting:
        current = waiting.pop()
        for entry in sorted(current.iterdir()):
            count += 1
            if count > _MOST_FILES:
                raise InputError(f"{folder}: more than {_MOST_FILES:,} files; a bundle has some ten. {AGAIN}")
            if entry.is_dir() and not entry.is_symlink():
                if current != folder or not entry.name.startswith("."):
                    waiting.append(entry)
            elif current != folder or not entry.name.startswith("."):
                yield entry


def _open_zip(path: Path, cache: Path) -> Bundle:
    """Unpack a zip into the cache, unless it is there already, and verify what lies there."""
    target = cache / file_hash(regular_file(path))[:32]
    if target.is_dir():
        with contextlib.suppress(InputError):  # changed since: it is unpacked again
            return _open_folder(target)
        shutil.rmtree(target, ignore_errors=True)
    with _disk(cache):
        cache.mkdir(parents=True, exist_ok=True)
        _tidy(cache, ".unpacking-")
        with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=cache) as temporary:
            unpacked = Path(temporary) / "bundle"
            _unpack(path, unpacked)
            with _named(unpacked, path):
                manifest = _open_folder(unpacked).manifest
            with contextlib.suppress(OSError):  # another process was quicker
                unpacked.rename(target)
                return _assemble(target, manifest)
    return _open_folder(target)


def _unpack(path: Path, folder: Path) -> None:
    """Unpack a zip of stored members whose names stay in the folder, and that fills no more than its own size."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            _verify_members(members, path)
            for member in members:
                out = folder / member.filename
                out.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, open(out, "xb") as file:
                    shutil.copyfileobj(source, file, 1 << 20)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, UnicodeDecodeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is no readable .zip, or was cut off ({brief(str(error))[1:-1]}). {AGAIN}") from None


def _verify_members(members: list[zipfile.ZipInfo], path: Path) -> None:
    """Check the directory of a zip before anything is unpacked."""
    if len(members) > _MOST_FILES:
        raise InputError(f"{path}: {len(members):,} members; a bundle has some ten. {AGAIN}")
    _verify_names([member.orig_filename for member in members], path)
    for member in members:
        if stat.S_ISLNK(member.external_attr >> 16):
            raise InputError(f"{path}: {member.filename} is a link; a bundle holds the files themselves. {AGAIN}")
        stored = member.compress_type == zipfile.ZIP_STORED and member.file_size == member.compress_size
        if not stored or member.flag_bits & 0x1:
            raise InputError(
                f"{path}: {member.filename} is compressed or encrypted; expected stored members, which cannot fill "
                f"more than the file's own size. {AGAIN}"
            )
    total, size = sum(member.file_size for member in members), path.stat().st_size
    if total > size:
        raise InputError(f"{path}: its members announce {total:,} bytes, and the file has {size:,}. {AGAIN}")


def _verify_names(names: Iterable[str], where: Path) -> None:
    """Refuse names that lead out of a folder, that some system cannot write or takes for another, or of other kinds."""
    seen: dict[str, str] = {}
    for name in names:
        parts = name.split("/")
        good = all(_NAME.fullmatch(part) and part.strip(" .") and part[-1] not in " ." for part in parts)
        if not good or len(parts) > _MOST_PARTS:
            raise InputError(
                f"{where}: the name {brief(name)} leads out of the bundle, or is no name on every system. {AGAIN}"
            )
        if PurePosixPath(name).suffix not in _SUFFIXES:
            raise InputError(
                f"{where}: {brief(name)} is of no kind that a bundle may hold ({', '.join(_SUFFIXES)}): pickles and "
                f"programs are refused. {AGAIN}"
            )
        if (other := seen.setdefault(unicodedata.normalize("NFC", name).casefold(), name)) is not name:
            raise InputError(f"{where}: {brief(other)} and {brief(name)} are one file on some systems. {AGAIN}")


def _verify_kind(path: Path, where: Path) -> None:
    """Check by the first bytes that a file is what its suffix says, since a pickle could hide behind any."""
    with open(path, "rb") as file:
        head = file.read(4096)
    suffix, size = path.suffix, path.stat().st_size
    is_pickle = head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")
    good = not is_pickle and not head.startswith(b"PK\x03\x04")
    if suffix == ".safetensors":  # the length of a JSON header, 8 bytes, and the header
        good = size > 8 and int.from_bytes(head[:8], "little") <= size - 8 and head[8:9] == b"{"
    elif suffix == ".json":
        good = head.lstrip()[:1] in (b"{", b"[")
    elif suffix in (".onnx", ".model", ".spm"):  # protocol buffers: a version first, SentencePiece's a piece
        good = head[:1] == (b"\x08" if suffix == ".onnx" else b"\x0a")
    elif good:
        good = b"\x00" not in head
    if not good:
        raise InputError(f"{where}: {path.name} is no {suffix} file by its content ({brief(head[:8])}). {AGAIN}")


def _read_manifest(path: Path) -> BundleManifest:
    if not path.exists():
        raise InputError(f"{path.parent} has no {MANIFEST}: it is no bundle, or not a whole one. {AGAIN}")
    with open(regular_file(path), "rb") as file:
        content = file.read(MOST_BYTES + 1)
    schema = None
    with contextlib.suppress(ValueError, AttributeError):  # reported below
        schema = parse_json(content).get("schema")
    if isinstance(schema, int) and schema > BUNDLE_SCHEMA:
        raise InputError(
            f"{path} has the schema {brief(schema)}; this version of dferc reads {BUNDLE_SCHEMA}. Install a newer "
            "version of dferc."
        )
    checked = check_record(content, BundleManifest, str(path), AGAIN)
    document = parse_json(content)
    if "digest" in document and document.pop("digest") != _digest(document):
        raise InputError(f"{path} is not as it was written: an entry of it was changed. {AGAIN}")
    return BundleManifest.model_validate(checked)


def _digest(document: Mapping[str, object]) -> str:
    """Return the SHA-256 of a manifest's content without its digest."""
    text = json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _file_settings(manifest: BundleManifest) -> Iterator[tuple[str, str]]:
    """Yield section and key of the settings of a bundle that may name a file or a folder."""
    for section, values in manifest.settings.items():
        if section.startswith("extract_audio"):
            yield section, "encoder" if "encoder" in values else "feature_set"
        elif section.startswith("extract_visual"):
            yield section, "finder"
            if "encoder" in values:
                yield section, "encoder"


def place_of_set(place: str, number: int, name: str) -> str:
    """Return where a bundle keeps the encoder of a feature set: in the modality's `place` if it is its first set."""
    return f"{FILES}/{name.replace('/', '-')}" if number else place


def _sets_of(manifest: BundleManifest, modality: str) -> tuple[str, ...]:
    sets = manifest.identities.get(modality, {}).get("sets")
    return tuple(sets) if isinstance(sets, Mapping) and sets else (modality,)


def _assemble(folder: Path, manifest: BundleManifest) -> Bundle:
    """Return the bundle once the parts that its manifest speaks of are there."""
    heads = tuple(folder / HEADS / f"seed-{seed}" for seed in manifest.seeds)
    needed = [f"{HEADS}/{head.name}/model.safetensors" for head in heads]
    names = _sets_of(manifest, "text") if "text" in manifest.modalities else ()
    texts = {name: place_of_set(TEXT, number, name) for number, name in enumerate(names)}
    needed += [f"{place}/config.json" for place in texts.values()]
    if "visual" in manifest.modalities:
        sections = [manifest.settings.get(f"extract_{name}", {}) for name in _sets_of(manifest, "visual")]
        if any(section.get("encoder", _FERPLUS) == _FERPLUS for section in sections):
            needed += [f"{FACE}/face.json", f"{FACE}/face.safetensors"]
        elif len(sections) == 1:
            needed.append(f"{VISUAL}/config.json")
    faults = [f"{name} is missing" for name in needed if name not in manifest.files]
    for modality in manifest.modalities:
        for name in _sets_of(manifest, modality):
            if f"extract_{name}" not in manifest.settings:
                faults.append(f"the settings have no extract_{name}")
    for section, key in _file_settings(manifest):
        value = manifest.settings[section].get(key)
        there = isinstance(value, str) and (value in manifest.files or f"{value}/config.json" in manifest.files)
        if not isinstance(value, str) or not (there or re.fullmatch(r"\w+", value)):
            faults.append(f"{section}.{key} is {brief(value)}, neither a name nor a file of the bundle")
    trusting = (name for name, values in manifest.settings.items() if values.get("trust_remote_code"))
    faults += [f"{name}.trust_remote_code is set, and no code comes with a bundle" for name in trusting]
    if faults:
        raise InputError(f"{folder}: {'; '.join(faults)}. {AGAIN}")
    return Bundle(
        folder=folder,
        manifest=manifest,
        heads=heads,
        texts={name: folder / place for name, place in texts.items()},
        face=folder / FACE if "visual" in manifest.modalities else None,
    )


def _download(repository: str, revision: str | None) -> Path:
    """Return the snapshot of a repository of the hub: the files of a bundle, and nothing else that is there."""
    try:
        import huggingface_hub
    except ImportError:
        raise InputError(
            f"{repository}: no such folder or file here. A bundle of the Hugging Face hub needs "
            "`pip install huggingface_hub`."
        ) from None
    patterns = [MANIFEST, CARD, *(f"{part}/*" for part in (HEADS, TEXT, AUDIO, VISUAL, FACE, FILES))]
    try:
        return Path(huggingface_hub.snapshot_download(repository, revision=revision, allow_patterns=patterns))
    except Exception as error:  # those of several HTTP libraries, of the hub and of the disk
        if type(error).__name__ == "RevisionNotFoundError":
            raise InputError(
                f"{repository} is on the Hugging Face hub and has no revision {revision!r}. Name a branch, tag or "
                "commit that its page there lists, or omit the revision."
            ) from error
        reason = (str(error).strip().splitlines() or [""])[0]
        at = f" at revision {revision!r}" if revision else ""
        raise InputError(
            f"{repository}: no such folder or file here, and it could not be had{at} from the Hugging Face hub "
            f"({type(error).__name__}: {reason:.300}). Without internet, name a folder or a .zip."
        ) from error


def _tidy(folder: Path, prefix: str) -> None:
    """Remove the temporary folders of writes that were killed."""
    for path in folder.iterdir():
        if path.name.startswith(prefix) and path.is_dir() and time.time() - path.stat().st_mtime > STALE_S:
            shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _named(temporary: Path, name: Path) -> Iterator[None]:
    """Let messages name the path that the user knows."""
    try:
        yield
    except InputError as error:
        raise InputError(str(error).replace(str(temporary), str(name))) from None


@contextlib.contextmanager
def _disk(folder: Path) -> Iterator[None]:
    """Turn an error of the disk into one message."""
    try:
        yield
    except OSError as error:
        mend = "Is the disk full?" if error.errno in DISK_FULL else "May you write there?"
        raise InputError(
            f"{folder} cannot be written to ({error}). {mend} Free space, or name another folder."
        ) from error


# ------------------------------------------------------------------------------------------------------------- writing


def write_bundle(out: Path, manifest: Mapping[str, object], parts: Mapping[str, Path | bytes]) -> None:
    """Write a bundle: one .zip if the name ends so, else a folder; an older bundle there is replaced.

    Args:
        out: folder or file to write.
        manifest: content of bundle.json, without `schema` and `files`.
        parts: a file or its content by name within the bundle.

    Raises:
        InputError: something else is there, a part may not be in a bundle, or the disk is full.
    """
    free = not out.exists() or out.is_dir() and not any(out.glob("[!.]*")) or _has_manifest(out)
    if not free or out.exists() and out.is_dir() == (out.suffix == ".zip"):
        raise InputError(f"{out} is there, and is no bundle, or holds more. Remove it, or name another (--out).")
    _verify_names(parts, out)
    with _disk(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
        _tidy(out.parent, unfinished := f".{out.name}.writing-")
        with tempfile.TemporaryDirectory(prefix=unfinished, dir=out.parent) as temporary:
            folder = Path(temporary) / "bundle"
            for name, content in parts.items():
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                _ = path.write_bytes(content) if isinstance(content, bytes) else shutil.copyfile(content, path)
            hashes = {name: file_hash(folder / name) for name in sorted(parts)}
            document = {"schema": BUNDLE_SCHEMA, **manifest, "files": hashes}
            text = json.dumps({**document, "digest": _digest(document)}, indent=1, ensure_ascii=False)
            write_text(folder / MANIFEST, text + "\n")
            with _named(folder, out):
                _open_folder(folder)  # whatever is refused later is refused now
            if out.suffix == ".zip":
                write_atomically(out, lambda path: _pack(folder, [MANIFEST, *hashes], path))
                return
            for path in (folder, *folder.rglob("*")):
                path.chmod(0o755 if path.is_dir() else 0o644)
            old = Path(temporary) / "old"
            if out.exists():
                out.rename(old)
            folder.rename(out)
            for entry in old.glob(".*"):  # of others, such as git; after what may fail, since `temporary` goes
                entry.rename(out / entry.name)


def _has_manifest(path: Path) -> bool:
    """Return whether a folder or a .zip is, or was meant as, a bundle, and holds nothing else that is not hidden."""
    names = {entry.name for entry in path.glob("[!.]*")}
    with contextlib.suppress(OSError, ValueError, zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
        names = {name.partition("/")[0] for name in archive.namelist()}
    return MANIFEST in names and names <= {MANIFEST, CARD, HEADS, TEXT, AUDIO, VISUAL, FACE, FILES}


def _pack(folder: Path, names: Iterable[str], out: Path) -> None:
    """Write a zip whose bytes depend on names and contents alone."""
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name in names:
            member = zipfile.ZipInfo(name)  # 1 January 1980
            member.create_system, member.external_attr = 3, (stat.S_IFREG | 0o644) << 16
            member.file_size = (folder / name).stat().st_size
            with open(folder / name, "rb") as source, archive.open(member, "w") as file:
                shutil.copyfileobj(source, file, 1 << 20)
