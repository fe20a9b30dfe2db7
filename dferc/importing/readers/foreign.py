"""Files that are not imported, named for what they are, with the keys and shapes in them and the way to convert them.

Nothing in them is run, and no more is read than their headers.
"""

import bz2
import contextlib
import io
import itertools
import json
import lzma
import pickle
import pickletools
import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np

from dferc.core.errors import InputError, listed
from dferc.importing.readers.inert import describe_pickle
from dferc.store.closed import DAMAGE, open_hdf5

INFLATED_BYTES = 4 << 20  # of the start of a compressed file, which is described only
TORCH_MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)[:-1]  # begins the files of torch.save before 1.6

_UNPACK = "Unpack it, and give the file in it"
_TO_NPZ = "Save its values as .npz, one row per utterance"
_NOT_THE_FILE = "Get the file itself"

BY_START: tuple[tuple[bytes, str, str], ...] = (
    (b"Rar!", "a RAR archive", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", _UNPACK),
    (b"\x04\x22\x4d\x18", "compressed with lz4", _UNPACK),
    (b"PK\x05\x06", "an empty zip", _NOT_THE_FILE),
    (b"%PDF", "a PDF", _NOT_THE_FILE),
    (b"version https://git-lfs", "a pointer of git LFS, not the file itself", "`git lfs pull` gets that"),
    (b"ARROW1", "an Arrow (Feather) file", "Save it as Parquet: `pandas.read_feather(…).to_parquet(…)`"),
    (b"FEA1", "an Arrow (Feather) file", "Save it as Parquet: `pandas.read_feather(…).to_parquet(…)`"),
    (b"\xff\xff\xff\xff", "an Arrow stream (Hugging Face's `save_to_disk`)", "Save it by `Dataset.to_parquet(…)`"),
    (b"\xd0\xcf\x11\xe0", "an old Office document, such as .xls", _TO_NPZ),
    (b"$FL", "an SPSS file", "Save it as Parquet: `pandas.read_spss(…).to_parquet(…)`"),
    (b"<stata_dta>", "a Stata file (.dta)", "Save it as Parquet: `pandas.read_stata(…).to_parquet(…)`"),
    (b"Obj\x01", "an Avro file", _TO_NPZ),
    (b"\xff\xd8\xff", "a picture (JPEG)", _NOT_THE_FILE),
    (b"SQLite format 3\0", "an SQLite database", _TO_NPZ),
    (b"RIFF", "a recording (RIFF)", "Features are made of it by `dvc repro`: docs/own-data.md"),
    (b"\x1aE\xdf\xa3", "a video (Matroska)", "Features are made of it by `dvc repro`: docs/own-data.md"),
    (b"fLaC", "a recording (FLAC)", "Features are made of it by `dvc repro`: docs/own-data.md"),
    (b"\x89PNG", "a picture (PNG)", _NOT_THE_FILE),
    (b"GGUF", "weights of a language model (GGUF)", _NOT_THE_FILE),
)

TEXTS: tuple[tuple[str, str, str], ...] = (
    (r"(?i)\s*(<!doctype|<html|<\?xml)", "a web page or XML, such as a server sends in place of a file", _NOT_THE_FILE),
    (r"(?i)(?:\s*+%.*\n)*+\s*+@relation\b", "an ARFF file (Weka, openSMILE)", "`scipy.io.arff.loadarff` reads it"),
    (r"\s*[\[{]\s*[\[{\"'\d\]}-]", "JSON", "`json.load` reads it"),
    (r"\S+ +\[[\s\d.eE+-]", "a Kaldi archive in text form", "`kaldiio.load_ark` reads it"),
    (r"\S+ \S+\.(ark|scp):\d+", "a list of places in Kaldi archives (.scp)", "`kaldiio.load_scp` reads it"),
    (r"(?s).{0,2000}(\bgaze_0_x\b|\bpose_Tx\b|\bAU\d\d_[rc]\b)", "a CSV of OpenFace, one row per frame",
     "Average the frames of each utterance"),
    (r"(?s).{0,2000}\bVUV\b.{0,200}\bNAQ\b", "a table of COVAREP, one row per frame",
     "Average the frames of each utterance"),
    (r"(?i)['\"]?name['\"]?;", "a CSV of openSMILE", "`pandas.read_csv(…, sep=';')` reads it"),
)  # fmt: skip
"""Pattern at the start of a text, what it is, and the way to convert it."""


def refuse_foreign(path: Path, start: bytes) -> None:
    """Raise InputError if a file, known by its first bytes, is of a kind that is not imported."""
    for magic, what, remedy in BY_START:
        if start.startswith(magic):
            raise refusal(path, what, remedy)
    for magic, opener in ((b"\x1f\x8b", None), (b"BZh", bz2.BZ2Decompressor), (b"\xfd7zXZ\x00", lzma.LZMADecompressor)):
        if start.startswith(magic):
            name = {b"\x1f": "gzip", b"B": "bzip2", b"\xfd": "xz"}[magic[:1]]
            inside = _inside(path, opener)
            remedy = "`arrow::write_parquet` saves a data frame as Parquet" if " R " in inside else _UNPACK
            raise refusal(path, f"compressed with {name}{inside}", remedy)
    if start[:1] == b"\x78" and (inside := _inside(path, None)):
        raise refusal(path, f"compressed with zlib{inside}", f"`joblib.load` reads it, where you trust it. {_TO_NPZ}")
    if start.startswith(TORCH_MAGIC):
        raise _torch(path, _pickle_after_magic(path))
    if start.startswith((b"MATLAB 7.3", b"MATLAB 5.0")):
        raise _matlab(path, start)
    if re.match(rb"\S{1,200} \0B", start):
        raise refusal(path, "a Kaldi archive (.ark)", f"`kaldiio.load_ark` reads it. {_TO_NPZ}")
    if start[4:8] == b"ftyp":
        raise refusal(path, "a video (MP4)", "Features are made of it by `dvc repro`: docs/own-data.md")
    if start[257:262] == b"ustar":
        raise refusal(path, "a tar archive", _UNPACK)


def refuse_zip(path: Path, archive: zipfile.ZipFile) -> None:
    """Raise InputError for a zip that holds no .npy."""
    names = archive.namelist()
    inside = next((info for info in archive.infolist() if info.filename.endswith("data.pkl")), None)
    if inside is not None:
        words = ""
        if inside.compress_type == zipfile.ZIP_STORED:  # as torch.save writes
            with archive.open(inside) as file:
                words = describe_pickle(file)
        raise _torch(path, words)
    if "[Content_Types].xml" in names:
        raise refusal(path, "an Office document (zip)", _TO_NPZ)
    what = f"a zip of something else than .npy ({listed((repr(name)[:60] for name in names), 5) or 'nothing'})"
    raise refusal(path, what, _UNPACK)


def refuse_text(path: Path, start: bytes) -> None:
    """Raise InputError for a text that is no feature file; return where it is none."""
    text = _text_of(start)
    if text is None:
        return
    for pattern, what, remedy in TEXTS:
        if re.match(pattern, text):
            raise refusal(path, what + _columns(text), f"{remedy}. {_TO_NPZ}")
    line = next(iter(text.splitlines()), "")
    raise refusal(path, f"a text{_columns(text)}. It begins with the text {line!r:.120}", _TO_NPZ)


def describe_refused(path: Path) -> str:
    """Return what a pickle that was refused has in it, as the end of a message; empty where nothing can be seen."""
    with open(path, "rb") as file:
        words = describe_pickle(file)
    return f" In it: {words}." if words else ""


def describe_npy(path: Path, shape: tuple, dtype: np.dtype) -> InputError:
    """Return the refusal of one plain array."""
    what = f"a .npy: one array {shape} of {dtype!s:.60}, which does not show what it is of"
    remedy = "Save it with the columns that name its rows: `numpy.savez('x.npz', text=…, dialogue=…, emotion=…)`"
    return refusal(path, what, remedy)


def describe_tensors(path: Path, shapes: Mapping[str, tuple]) -> InputError:
    """Return the refusal of a safetensors file that is neither a table nor vectors by id."""
    found = listed(f"{name!r:.60} {shape}" for name, shape in shapes.items()) or "nothing"
    return InputError(
        f"{path} is a safetensors file with {found}: no column `dialogue`, which a table of utterances needs, and no "
        "vectors by utterance id. Save it as .npz with `dialogue`, `emotion` and `split`: safetensors has no place for "
        "names, such as those of splits. `dferc import --help` lists what is recognised."
    )


def refusal(path: Path, what: str, remedy: str) -> InputError:
    """Return the error that names a file for what it is, and the way to convert it."""
    return InputError(
        f"{path} is {what}; expected a pickle, .npz, HDF5, safetensors or Parquet file. {remedy}. `dferc import "
        "--help` lists what is recognised."
    )


def _torch(path: Path, words: str) -> InputError:
    load = "torch.load(…, weights_only=True)"
    remedy = f"Save its tensors: `numpy.savez('x.npz', **{{key: tensor.numpy() for …}})` of `{load}`"
    return refusal(path, f"a PyTorch file (torch.save){f' with {words}' if words else ''}", remedy)


def _pickle_after_magic(path: Path) -> str:
    """Return what is in a file of torch.save before 1.6: magic number, version and system are pickles before it."""
    with open(path, "rb") as file, contextlib.suppress(Exception):
        for _ in range(3):
            list(itertools.islice(pickletools.genops(file), 1000))  # up to its end
        return describe_pickle(file)
    return ""


def _matlab(path: Path, start: bytes) -> InputError:
    """Return the refusal of a MATLAB file, with its variables and their shapes as MATLAB counts them."""
    variables, version = [], "7.3" if start.startswith(b"MATLAB 7.3") else "5"
    remedy = f"`scipy.io.loadmat` reads it. {_TO_NPZ}"
    if version == "7.3":
        remedy = f"`h5py` reads it, its matrices transposed. {_TO_NPZ}"
        with contextlib.suppress(*DAMAGE), open_hdf5(path) as opened:
            variables = [f"{name} {_shape_of(item)}" for name, item in opened.file.items() if name[:1] != "#"]
    else:
        from scipy.io import whosmat

        with contextlib.suppress(Exception):  # scipy raises whatever comes of a damaged file
            variables = [f"{name!s:.60} {shape}" for name, shape, _ in whosmat(path)]
    return refusal(path, f"a MATLAB {version} file with {listed(variables) or 'variables that cannot be read'}", remedy)


def _shape_of(item: h5py.Dataset | h5py.Group) -> str:
    return str(item.shape[::-1]) if isinstance(item, h5py.Dataset) and item.shape else "(struct or other)"


def _inside(path: Path, opener: type | None) -> str:
    """Return what the start of a compressed file (None: by gzip or zlib) shows of its content, in words."""
    with open(path, "rb") as file:
        data = file.read(INFLATED_BYTES)
    content = b""
    with contextlib.suppress(zlib.error, OSError, EOFError, lzma.LZMAError, ValueError):
        if opener is None:
            content = zlib.decompressobj(wbits=47).decompress(data, INFLATED_BYTES)  # 47: gzip or zlib, by the header
        else:
            content = opener().decompress(data, INFLATED_BYTES)
    if content[257:262] == b"ustar":
        return ", a tar archive inside"
    if content.startswith((b"RDX", b"X\n\0\0\0")):
        return ", an R file inside (.RData, .rds)"
    if content[:1] != b"\x80":
        return ""
    words = describe_pickle(io.BytesIO(content))
    return f", a pickle inside{' of joblib' if b'joblib' in content[:4096] else ''}{f' with {words}' if words else ''}"


def _text_of(start: bytes) -> str | None:
    """Return the start of a file as text; None where it is none."""
    encoding = "utf-16" if start.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    text = start[: len(start) & ~1].decode(encoding, "ignore" if encoding == "utf-16" else "replace")
    return text if text and all(char.isprintable() or char in "\r\n\t\f\ufffd" for char in text) else None


def _columns(text: str) -> str:
    """Return the columns that a table's first line names, or the attributes of an ARFF, in words."""
    if attributes := re.findall(r"(?im)^\s*@attribute\s+(\S+)", text):
        return f" with the attributes {listed(attributes)}"
    line = next((line for line in text.splitlines() if line.strip()), "")
    with contextlib.suppress(ValueError, RecursionError):
        if isinstance(found := json.loads(text), dict):
            return f" with the keys {listed(repr(key)[:40] for key in found)}"
    for separator in ("\t", ";", ","):
        names = [name.strip().strip("'\"")[:40] for name in line.split(separator)]
        if len(names) > 1 and not re.match(r"\s*[\[{<]", line):
            return f" with the columns {listed(names)}"
    return ""
