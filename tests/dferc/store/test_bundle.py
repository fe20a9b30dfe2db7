"""Bundles: the same bytes whatever the hour, every file proven, and nothing of a stranger's let out of the folder."""

import hashlib
import io
import json
import os
import pickle
import shutil
import sys
import types
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from safetensors.numpy import save

from dferc.cli.main import main
from dferc.core.errors import InputError
from dferc.core.files import file_hash
from dferc.store.bundle import is_hub_id, open_bundle, write_bundle

WEIGHTS = save({})
HEAD = "heads/seed-0/model.safetensors"
CONF = "files/opensmile/mine.conf"
PARTS = {
    "README.md": b"# Card\n",
    HEAD: WEIGHTS,
    "heads/seed-0/settings.json": b"{}\n",
    "text/config.json": b"{}\n",
    "text/vocab.txt": b"hello\n",
    CONF: b"[a:b]\n",
    "files/yunet.onnx": b"\x08\x01rest",
    "face/face.json": b"{}\n",
    "face/face.safetensors": WEIGHTS,
}
MANIFEST = {
    "corpus": "demo",
    "protocol": "synthetic",
    "card": "c0ffee",
    "counts": {},
    "classes": ["joy", "anger"],
    "variant": "full",
    "seeds": [0],
    "modalities": ["text", "audio", "visual"],
    "settings": {
        "extract_text": {"max_tokens": 24},
        "extract_audio": {"feature_set": CONF, "min_s": 0.1},
        "extract_visual": {"finder": "files/yunet.onnx"},
    },
    "identities": {name: {"extractor": f"{name} 1"} for name in ("text", "audio", "visual")},
    "calibration": {"0": {"temperature": 1.5, "utterances": 9}},
    "synthetic": ["the corpus is no recording: synthetic"],
    "scores": {
        "test": {"weighted_f1": 0.5, "macro_f1": 0.5, "accuracy": 0.5, "weighted_f1_interval": [0.4, 0.6], "f1": {}}
    },
    "scored_seeds": 2,
    "opensmile": True,
    "licences": [{"part": "heads", "licence": "mine"}],
    "versions": {},
}


@pytest.fixture
def folder(tmp_path) -> Path:
    write_bundle(tmp_path / "a.dferc", MANIFEST, PARTS)
    return tmp_path / "a.dferc"


def refused(source: Path, *parts: str) -> None:
    """Check that a bundle is refused by one message of a few lines that holds these parts."""
    with pytest.raises(InputError) as error:
        open_bundle(source, cache=source.parent / "cache")
    message = str(error.value)
    for part in parts:
        assert part in message, message
    assert len(message) < 600
    assert not (source.parent / "cache").exists() or os.listdir(source.parent / "cache") == []


def zipped(path: Path, members: dict[str, bytes], change: Callable = lambda member: None, **options) -> Path:
    """Write a zip of members as a stranger may; `change` may set what it likes in a member's header."""
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in members.items():
            member = zipfile.ZipInfo(name)
            member.compress_type = options.get("compression", zipfile.ZIP_STORED)
            change(member)
            archive.writestr(member, content)
    return path


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def with_file(folder: Path, name: str, data: bytes) -> dict[str, bytes]:
    """Return the files of a bundle with one more, listed with its true hash."""
    files = content(folder)
    manifest = json.loads(files["bundle.json"])
    del manifest["digest"]  # a forger would make another
    manifest["files"][name] = hashlib.sha256(data).hexdigest()
    return files | {"bundle.json": json.dumps(manifest).encode(), name: data}


def edit(folder: Path, **changes) -> Path:
    manifest = json.loads((folder / "bundle.json").read_text())
    manifest.pop("digest", "")  # which refuses every edit before it is looked at
    (folder / "bundle.json").write_text(json.dumps(manifest | changes))
    return folder


# ------------------------------------------------------------------------------------------------------------- opening


def test_folder_and_zip_open_to_the_same_bundle(folder, tmp_path):
    write_bundle(tmp_path / "a.zip", MANIFEST, PARTS)
    one, two = open_bundle(folder), open_bundle(str(tmp_path / "a.zip"), cache=tmp_path / "cache")
    assert one.manifest == two.manifest and one.folder == folder and two.folder.parent == tmp_path / "cache"
    for bundle in (one, two):
        assert [head.relative_to(bundle.folder).as_posix() for head in bundle.heads] == ["heads/seed-0"]
        assert (bundle.texts, bundle.face) == ({"text": bundle.folder / "text"}, bundle.folder / "face")
        assert bundle.settings["extract_audio"] == {"feature_set": str(bundle.folder / CONF), "min_s": 0.1}
        assert bundle.settings["extract_visual"]["finder"] == str(bundle.folder / "files/yunet.onnx")
        assert bundle.manifest.calibration["0"].temperature == 1.5
    assert content(one.folder) == content(two.folder)


def test_same_content_gives_the_same_bytes_whatever_the_hour_and_the_order(tmp_path, monkeypatch):
    write_bundle(tmp_path / "a.zip", MANIFEST, PARTS)
    monkeypatch.setattr("time.time", lambda: 2e9)
    old = os.umask(0o077)
    try:
        write_bundle(tmp_path / "b.zip", MANIFEST, dict(reversed(PARTS.items())))
        write_bundle(tmp_path / "b.dferc", MANIFEST, dict(reversed(PARTS.items())))
    finally:
        os.umask(old)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "b.dferc").rglob("*") if path.is_file()} == {0o644}
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}


def test_zip_is_unpacked_once_and_again_where_the_cache_was_changed(folder, tmp_path):
    write_bundle(tmp_path / "a.zip", MANIFEST, PARTS)
    cache = tmp_path / "cache"
    unpacked = open_bundle(tmp_path / "a.zip", cache=cache).folder
    inode = (unpacked / HEAD).stat().st_ino
    assert open_bundle(tmp_path / "a.zip", cache=cache).folder == unpacked
    assert (unpacked / HEAD).stat().st_ino == inode and len(list(cache.iterdir())) == 1
    (unpacked / "text/vocab.txt").write_text("evil")
    assert open_bundle(tmp_path / "a.zip", cache=cache).folder == unpacked
    assert (unpacked / "text/vocab.txt").read_text() == "hello\n" and len(list(cache.iterdir())) == 1


def test_folders_in_a_zip_and_hidden_entries_beside_a_bundle_do_no_harm(folder, tmp_path):
    (folder / ".git/hooks").mkdir(parents=True)
    (folder / ".git/hooks/x.sh").write_text("never read")
    (folder / ".DS_Store").write_text("")
    open_bundle(folder)
    shutil.rmtree(folder / ".git")
    (folder / ".DS_Store").unlink()
    zipped(tmp_path / "b.zip", {"heads/": b"", "heads/seed-0/": b""} | content(folder))
    open_bundle(tmp_path / "b.zip", cache=tmp_path / "cache")


def test_older_bundle_is_replaced_and_anything_else_is_not(folder, tmp_path):
    write_bundle(folder, MANIFEST | {"corpus": "other"}, PARTS)
    assert open_bundle(folder).manifest.corpus == "other"
    (tmp_path / "work").mkdir()
    (tmp_path / "work/thesis.txt").write_text("years")
    with pytest.raises(InputError, match="is there, and is no bundle"):
        write_bundle(tmp_path / "work", MANIFEST, PARTS)
    assert (tmp_path / "work/thesis.txt").read_text() == "years" and os.listdir(tmp_path / "work") == ["thesis.txt"]
    for work in (zipped(tmp_path / "work.zip", {"thesis.txt": b"years"}), tmp_path / "notes.zip"):
        before = work.read_bytes() if work.exists() else b"no zip"
        work.write_bytes(before)
        with pytest.raises(InputError, match="is there, and is no bundle"):
            write_bundle(work, MANIFEST, PARTS)
        assert work.read_bytes() == before
    for corpus in ("demo", "other"):
        write_bundle(tmp_path / "b.zip", MANIFEST | {"corpus": corpus}, PARTS)
    assert open_bundle(tmp_path / "b.zip", cache=tmp_path / "cache").manifest.corpus == "other"
    assert sorted(os.listdir(tmp_path)) == ["a.dferc", "b.zip", "cache", "notes.zip", "work", "work.zip"]


def test_a_new_bundle_deletes_nothing_but_the_old_one(folder, tmp_path):
    (folder / ".git").mkdir()
    (folder / ".git/HEAD").write_text("years")
    write_bundle(folder, MANIFEST | {"corpus": "other"}, PARTS)
    assert (folder / ".git/HEAD").read_text() == "years" and open_bundle(folder).manifest.corpus == "other"
    (folder / "thesis.txt").write_text("years")
    work = zipped(tmp_path / "work.zip", {"bundle.json": b"{}", "src/app.json": b"{}"})
    for out in (folder, work):
        with pytest.raises(InputError, match="is there, and is no bundle"):
            write_bundle(out, MANIFEST, PARTS)
    assert (folder / "thesis.txt").read_text() == "years" and "src/app.json" in zipfile.ZipFile(work).namelist()


def test_git_stays_where_a_bundle_is_the_first_and_where_it_cannot_be_replaced(folder, tmp_path, monkeypatch):
    """A fresh clone of the hub's; and a folder of somebody else below a sticky one, which cannot be renamed."""
    clone = tmp_path / "clone"
    for out in (clone, folder):
        (out / ".git").mkdir(parents=True)
        (out / ".git/HEAD").write_text("years")
    write_bundle(clone, MANIFEST, PARTS)
    assert (clone / ".git/HEAD").read_text() == "years" and open_bundle(clone)
    rename = Path.rename

    def refuse(path, target):
        if path == folder:
            raise PermissionError(1, "Operation not permitted", str(path))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(InputError, match="cannot be written to"):
        write_bundle(folder, MANIFEST | {"corpus": "other"}, PARTS)
    assert (folder / ".git/HEAD").read_text() == "years"


def test_a_part_that_would_be_refused_is_refused_when_the_bundle_is_made(tmp_path):
    for name, data in {"text/x.pkl": b"\x80\x04.", "../x.json": b"{}", "text/x.json": b"\x80\x04."}.items():
        with pytest.raises(InputError, match=r"b\.dferc: .*x\.(pkl|json)"):
            write_bundle(tmp_path / "b.dferc", MANIFEST, PARTS | {name: data})
        assert os.listdir(tmp_path) == []


def test_what_a_kill_left_is_removed_by_the_next_write(folder, tmp_path):
    of_others = {".a.dferc.notes", ".other.x"}
    for name in (".a.dferc.writing-old", ".a.dferc.writing-new", *of_others):
        (tmp_path / name / "bundle").mkdir(parents=True)
    for name in (".a.dferc.writing-old", *of_others):
        os.utime(tmp_path / name, (1, 1))
    write_bundle(folder, MANIFEST, PARTS)
    assert {path.name for path in tmp_path.iterdir()} == {"a.dferc", ".a.dferc.writing-new", *of_others}


# ------------------------------------------------------------------------------------------------------------- refusals


def test_changed_missing_and_unlisted_files_are_refused_by_name(folder):
    (folder / HEAD).write_bytes(WEIGHTS + b" ")
    refused(folder, HEAD, "SHA-256", "expected", "dferc bundle")
    (folder / HEAD).unlink()
    refused(folder, HEAD, "is missing")
    (folder / HEAD).write_bytes(WEIGHTS)
    (folder / "text/extra.json").write_text("{}")
    refused(folder, "text/extra.json", "not listed", "Remove it")


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.99])
def test_zip_that_was_cut_off_is_refused(tmp_path, kept):
    write_bundle(tmp_path / "a.zip", MANIFEST, PARTS)
    data = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(data[: int(kept * len(data))])
    refused(tmp_path / "a.zip", "a.zip", "cut off")


def test_zip_with_a_changed_byte_is_refused(tmp_path):
    write_bundle(tmp_path / "a.zip", MANIFEST, PARTS)
    data = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(data.replace(b"hello\n", b"jello\n"))
    refused(tmp_path / "a.zip", "a.zip")


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("text/model.pkl", pickle.dumps({}), "pickles"),
        ("text/model.py", b"print()", "programs"),
        ("text/pytorch_model.bin", b"PK\x03\x04", "pickles"),
        ("text/model2.safetensors", pickle.dumps([1] * 99), "by its content"),
        ("text/a.txt", pickle.dumps([1] * 99), "by its content"),
        ("text/spm.model", pickle.dumps([1] * 99), "by its content"),
        ("files/a.onnx", b"PK\x03\x04", "by its content"),
        ("text/a.json", b"\x80\x04.", "by its content"),
        ("../x.json", b"{}", "leads out"),
        ("/etc/x.json", b"{}", "leads out"),
        ("C:/x.json", b"{}", "leads out"),
        ("text\\x.json", b"{}", "leads out"),
        ("text/./x.json", b"{}", "leads out"),
        ("text/x.json ", b"{}", "leads out"),
        ("text/a\x00b.json", b"{}", "leads out"),
        ("a/b/c/d/e/f/g/h/i.json", b"{}", "leads out"),
        ("text/CONFIG.json", b"{}", "one file on some systems"),
    ],
)
def test_zip_with_a_hostile_member_is_refused_before_anything_is_written(folder, tmp_path, name, data, said):
    members = with_file(folder, name, data)
    placeholder = name.replace("\x00", "\x01")  # zipfile cuts a name at NUL when it writes
    path = zipped(tmp_path / "b.zip", {key.replace("\x00", "\x01"): value for key, value in members.items()})
    path.write_bytes(path.read_bytes().replace(placeholder.encode(), name.encode()))
    refused(path, "b.zip", said)
    assert not (tmp_path / "x.json").exists()


def test_unicode_forms_of_one_name_are_one_file(folder, tmp_path):
    members = with_file(folder, "text/é.json", b"{}") | {"text/e\u0301.json": b"{}"}
    refused(zipped(tmp_path / "b.zip", members), "one file on some systems")


def test_links_are_refused_in_a_folder_and_in_a_zip(folder, tmp_path):
    def as_link(member: zipfile.ZipInfo) -> None:
        member.create_system = 3
        member.external_attr = (0o120777 if member.filename == "text/vocab.txt" else 0o100644) << 16

    refused(zipped(tmp_path / "b.zip", content(folder) | {"text/vocab.txt": b"/etc/passwd"}, as_link), "is a link")
    (folder / "text/vocab.txt").unlink()
    (folder / "text/vocab.txt").symlink_to("config.json")
    refused(folder, "text/vocab.txt", "is a link")
    (folder / "text/vocab.txt").unlink()
    (folder / "text/more").symlink_to("/etc")
    refused(folder, "text/more", "is a link")
    (folder / "text/more").unlink()
    os.mkfifo(folder / "text/vocab.txt")
    refused(folder, "named pipe")


def test_compressed_and_overlapping_members_are_refused(folder, tmp_path):
    packed = zipped(tmp_path / "b.zip", content(folder), compression=zipfile.ZIP_DEFLATED)
    refused(packed, "compressed or encrypted", "stored")
    data = bytearray(zipped(tmp_path / "c.zip", content(folder)).read_bytes())
    start = data.index(b"PK\x01\x02")  # of the central directory: a size far beyond the file's
    data[start + 20 : start + 28] = (10**9).to_bytes(4, "little") * 2
    (tmp_path / "c.zip").write_bytes(data)
    refused(tmp_path / "c.zip", "announce", "1,000,0")


def test_newer_schema_asks_for_a_newer_version(folder):
    refused(edit(folder, schema=2), "schema", "2", "reads 1", "newer version of dferc")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schema": "one"}, "schema"),
        ({"seeds": []}, "seeds"),
        ({"seeds": [7]}, "heads/seed-7/model.safetensors is missing"),
        ({"classes": ["joy", "joy"]}, "classes"),
        ({"calibration": {"0": {"temperature": 0, "utterances": 1}}}, "temperature"),
        ({"calibration": {"0": {"temperature": 1e300, "utterances": 1}}}, "temperature"),
        ({"scores": {"test": "good"}}, "scores"),
        ({"files": {"README.md": "0"}}, "files"),
        ({"settings": {}}, "no extract_text"),
        ({"settings": MANIFEST["settings"] | {"extract_visual": {"finder": "/etc/passwd"}}}, "extract_visual.finder"),
        ({"settings": MANIFEST["settings"] | {"extract_audio": {"feature_set": "../x.conf"}}}, "feature_set"),
        ({"settings": MANIFEST["settings"] | {"extract_audio": {"feature_set": ["files"]}}}, "feature_set"),
        ({"settings": MANIFEST["settings"] | {"extract_audio": {}}}, "feature_set"),
        (
            {"settings": MANIFEST["settings"] | {"extract_text": {"trust_remote_code": True}}},
            "extract_text.trust_remote_code is set, and no code",
        ),
    ],
)
def test_manifest_that_does_not_hold_together_is_refused_with_the_field(folder, changes, said):
    refused(edit(folder, **changes), said)


def test_manifest_that_was_edited_is_refused(folder):
    """It would give other probabilities, or hide that its data are synthetic."""
    path = folder / "bundle.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document))  # another layout is the same manifest
    open_bundle(folder)
    path.write_text(json.dumps(document | {"synthetic": ["nothing"]}))
    refused(folder, "bundle.json", "an entry of it was changed")
    path.write_text(json.dumps({name: value for name, value in document.items() if name != "digest"}))
    open_bundle(folder)  # as older versions wrote it


@pytest.mark.parametrize("data", [b"", b"[]", b"not json", b'{"schema": 1', b'{"schema": NaN}', b"\xff\xfe"])
def test_manifest_that_is_no_json_object_is_refused(folder, data):
    (folder / "bundle.json").write_bytes(data)
    refused(folder, "bundle.json")


def test_what_is_no_bundle_at_all_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "no bundle.json")
    (tmp_path / "talk.mp4").write_bytes(b"not a zip")
    refused(tmp_path / "talk.mp4", "talk.mp4", "no readable .zip")
    refused(tmp_path / "nowhere.dferc", "no such bundle", "owner/name")


def test_full_disk_is_one_message(tmp_path, monkeypatch):
    write_bundle(tmp_path / "a.zip", MANIFEST, PARTS)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfileobj", full)
    refused(tmp_path / "a.zip", "cache", "No space left", "disk full")


# ------------------------------------------------------------------------------------------------------------- hub


def hub(monkeypatch, snapshot: Path | Exception, asked: dict) -> None:
    """Put a hub in place of the real one."""

    def snapshot_download(repo_id, **options):
        asked.update(repo_id=repo_id, **options)
        if isinstance(snapshot, Exception):
            raise snapshot
        return str(snapshot)

    monkeypatch.setitem(sys.modules, "huggingface_hub", types.SimpleNamespace(snapshot_download=snapshot_download))


def test_bundle_of_the_hub_is_had_at_its_revision_and_may_lie_behind_the_hubs_own_links(folder, tmp_path, monkeypatch):
    snapshot = tmp_path / "cache/models--me--meld/snapshots/abc"
    blobs = snapshot.parent.parent / "blobs"
    blobs.mkdir(parents=True)
    for name in content(folder):
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        blob = blobs / file_hash(folder / name)
        shutil.copyfile(folder / name, blob)
        (snapshot / name).symlink_to(os.path.relpath(blob, (snapshot / name).parent))
    asked: dict = {}
    hub(monkeypatch, snapshot, asked)
    monkeypatch.chdir(tmp_path)
    bundle = open_bundle("me/meld", revision="v1")
    assert bundle.folder == snapshot and asked["repo_id"] == "me/meld" and asked["revision"] == "v1"
    parts = ("heads", "text", "audio", "visual", "face", "files")
    assert sorted(asked["allow_patterns"]) == sorted(["bundle.json", "README.md", *(f"{part}/*" for part in parts)])
    (snapshot / "text/vocab.txt").unlink()
    (snapshot / "text/vocab.txt").symlink_to(folder / "text/vocab.txt")
    with pytest.raises(InputError, match="is a link"):
        open_bundle("me/meld")


def test_hub_without_internet_or_without_its_package_is_one_message(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    hub(monkeypatch, ConnectionError("no route\nmore"), {})
    with pytest.raises(InputError, match=r"me/meld: no such folder .* 'v2' .*ConnectionError: no route\)"):
        open_bundle("me/meld", revision="v2")
    hub(monkeypatch, type("RevisionNotFoundError", (Exception,), {})("404"), {})
    with pytest.raises(InputError, match=r"me/meld is on .* hub and has no revision 'v3'.*omit the revision"):
        open_bundle("me/meld", revision="v3")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match="pip install huggingface_hub"):
        open_bundle("me/meld")


def test_paths_are_no_ids_of_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    for path in ("runs/meld", "runs/meld/full", "models/meld.dferc", "x/meld.zip", "./meld", "meld", "/a/b", "../a"):
        assert not is_hub_id(path) and not is_hub_id(Path(path)), path
    assert is_hub_id("me/meld-2.0") and is_hub_id(Path("me/meld"))


# ------------------------------------------------------------------------------------------------------------- command


def test_inspect_shows_a_bundle_and_prints_its_manifest(folder):
    shown = CliRunner().invoke(main, ["inspect", str(folder)])
    assert shown.exit_code == 0 and shown.stdout == ""
    text = " ".join(shown.stderr.split())
    assert "SYNTHETIC DATA" in text and "0.5000 [0.4000, 0.6000]" in text and "temperature 1.5" in text
    assert all(name in text for name in (*PARTS, "heads: mine"))
    printed = CliRunner().invoke(main, ["inspect", str(folder), "--json"])
    manifest = json.loads(printed.stdout)
    assert manifest["folder"] == str(folder) and manifest["schema"] == 1 and set(manifest["files"]) == set(PARTS)
    (folder / HEAD).unlink()
    failed = CliRunner().invoke(main, ["inspect", str(folder)])
    assert failed.exit_code == 1 and failed.stderr.startswith("error:") and "Traceback" not in failed.output


def test_zip_made_by_hand_in_memory_is_read_as_any_other(folder, tmp_path):
    """`zip -0 -r` of a bundle's folder gives other headers; they decide nothing."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in reversed(content(folder).items()):
            archive.writestr(name, data)
    (tmp_path / "b.zip").write_bytes(buffer.getvalue())
    assert open_bundle(tmp_path / "b.zip", cache=tmp_path / "cache").manifest == open_bundle(folder).manifest


# -------------------------------------------------------------------------------------------------------- joined sets


def joined(**sections: dict) -> dict:
    """Return changes of a manifest whose audio joins two sets."""
    sets = {"audio": {"extractor": "opensmile 2"}, "audio/wavlm": {"extractor": "transformers 5"}}
    identities = MANIFEST["identities"] | {"audio": {"sets": sets}}
    return {"identities": identities, "settings": MANIFEST["settings"] | sections}


def test_each_set_of_a_joined_modality_has_its_section(folder, tmp_path):
    changes = joined(**{"extract_audio/wavlm": {"encoder": "files/audio-wavlm", "min_s": 0.0}})
    parts = PARTS | {"files/audio-wavlm/config.json": b"{}\n", "files/audio-wavlm/model.safetensors": WEIGHTS}
    write_bundle(tmp_path / "b.dferc", MANIFEST | changes, parts)
    bundle = open_bundle(tmp_path / "b.dferc")
    assert bundle.sets("audio") == ("audio", "audio/wavlm") and bundle.sets("visual") == ("visual",)
    assert bundle.settings["extract_audio/wavlm"]["encoder"] == str(bundle.folder / "files/audio-wavlm")
    assert bundle.settings["extract_audio"]["feature_set"] == str(bundle.folder / CONF)
    refused(edit(folder, **changes), "extract_audio/wavlm.encoder", "neither a name nor a file of the bundle")
    refused(edit(folder, **joined()), "the settings have no extract_audio/wavlm")
    refused(edit(folder, **joined(**{"extract_audio/../x": {}})), "extract_audio/../x")
