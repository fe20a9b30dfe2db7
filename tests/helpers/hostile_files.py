"""Feature files made to harm: small, and they announce much, or are of odd types. Each function writes one."""

import bz2
import gzip
import io
import pickle
import struct
import zipfile
import zlib
from pathlib import Path

import h5py
import numpy as np


def giant_contiguous(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("text", shape=(1 << 20, 1 << 14), dtype="f4")


def giant_shape(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("text", shape=(1 << 33, 1 << 33), dtype="f4", chunks=(1, 1))


def giant_zeros(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("text", shape=(1 << 15, 1 << 14), dtype="f4", chunks=(1 << 10, 1 << 10), compression=9)


def giant_bytes(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("dialogue", shape=(90_000_000,), dtype="i1", chunks=(1 << 20,), compression=9)


def giant_chunk(path: Path) -> None:
    with h5py.File(path, "w") as file:
        data = file.create_dataset(
            "text", shape=(9, 4), maxshape=(None, 4), dtype="f4", chunks=(1 << 26, 4), compression=9
        )
        data.id.write_direct_chunk((0, 0), zeros(64, zlib.MAX_WBITS))


def many_chunks(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("text", shape=(3000, 3000), dtype="f4", chunks=(1, 1))


def bomb_in_a_chunk(path: Path) -> None:
    with h5py.File(path, "w") as file:
        data = file.create_dataset("text", shape=(64, 4), dtype="f4", chunks=(64, 4), compression=9)
        data.id.write_direct_chunk((0, 0), zeros(800, zlib.MAX_WBITS))


def zeros(mebibytes: int, wbits: int = -zlib.MAX_WBITS) -> bytes:
    """Return a deflate stream of zeros: one compressed MiB, repeated."""
    packer = zlib.compressobj(9, wbits=wbits)
    start = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return start + again * (mebibytes - 1) + packer.flush()


def long_text_many_times(path: Path) -> None:
    """One text of 300 kB that 20,000 rows name: 6 GB."""
    with h5py.File(path, "w") as file:
        file.create_dataset("dialogue", data=["x" * 300_000, *["y"] * 19_999], dtype=h5py.string_dtype())
        offset = file["dialogue"].id.get_offset()
    data = bytearray(path.read_bytes())
    data[offset : offset + 16 * 20_000] = data[offset : offset + 16] * 20_000
    path.write_bytes(data)


def long_fill_text(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset(
            "dialogue", shape=(50_000,), dtype=h5py.string_dtype(), chunks=(50_000,), fillvalue="z" * 60_000
        )


def text_in_an_attribute(path: Path) -> None:
    with h5py.File(path, "w", libver="latest") as file:
        file.attrs["schema"] = ["x" * 100] * 1000
        file.attrs["kind"] = "text"


def deep_groups(path: Path) -> None:
    with h5py.File(path, "w", libver="latest") as file:
        group = file
        for _ in range(3000):
            group = group.create_group("g")


def group_in_itself(path: Path) -> None:
    with h5py.File(path, "w") as file:
        group = file.create_group("a")
        group["a"] = group


def many_groups(path: Path) -> None:
    with h5py.File(path, "w", libver="latest") as file:
        for number in range(8000):
            file.create_group(f"g{number}")


def many_names_of_one_set(path: Path) -> None:
    with h5py.File(path, "w") as file:
        first = file.create_dataset(
            "a0", shape=(1 << 10, 1 << 10), dtype="f4", chunks=(1 << 10, 1 << 10), compression=9
        )
        for number in range(1, 5000):
            file[f"a{number}"] = first


def references(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["x"] = np.ones(3)
        file.create_dataset("dialogue", data=[file["x"].ref] * 3, dtype=h5py.ref_dtype)


def compound(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["dialogue"] = np.zeros(3, dtype=[("a", "i4"), ("b", "f4")])


def committed_type(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["dialogue"] = np.dtype("f8")
        file.create_dataset("text", data=np.ones((3, 2)), dtype=file["dialogue"])


def unknown_filter(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("text", data=np.arange(64).reshape(8, 8), chunks=(8, 8), scaleoffset=0)


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def header(shape: str, descr: str = "<f4") -> bytes:
    """Return a .npy header that announces anything."""
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def zipped(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def announce(path: Path, name: str, size: int, *, method: int, data: bytes) -> None:
    """Write an archive of one member that announces another size than its compressed data have."""
    zipped(path, {name: data}, zipfile.ZIP_STORED)
    content, stored = bytearray(path.read_bytes()), struct.pack("<II", len(data), len(data))
    directory = content.rindex(b"PK\x01\x02")
    for method_at, size_at in ((8, 22), (directory + 10, directory + 24)):
        content[method_at : method_at + 2] = struct.pack("<H", method)
        assert content[size_at - 4 : size_at + 4] == stored
        content[size_at : size_at + 4] = struct.pack("<I", size)
    path.write_bytes(content)


def lying_bzip2(path: Path) -> None:
    """A member that announces 100 bytes and inflates to 40 MB, as `cases/hostile/y_bz4g.npz` to 4 GB."""
    announce(path, "text.npy", 100, method=zipfile.ZIP_BZIP2, data=bz2.compress(bytes(40 << 20)))


def lying_lzma(path: Path) -> None:
    announce(path, "text.npy", 100, method=zipfile.ZIP_LZMA, data=bytes(100))


def lying_deflate(path: Path) -> None:
    announce(path, "text.npy", 100, method=zipfile.ZIP_DEFLATED, data=zeros(800))


def inflated(path: Path) -> None:
    announce(path, "text.npy", 900 << 20, method=zipfile.ZIP_DEFLATED, data=zeros(900))


def inflated_column(path: Path) -> None:
    zipped(path, {"dialogue.npy": header("(6000000,)", "|i1") + bytes(6_000_000)})


def inflated_text(path: Path) -> None:
    zipped(path, {"dialogue.npy": header("(6000000,)", "|S1") + bytes(6_000_000)})


def many_rows(path: Path) -> None:
    """A sound table of 80,000 rows, all alike; 20,000 are allowed."""
    rows = 80_000
    columns = {"dialogue": np.zeros(rows, "i1"), "emotion": np.zeros(rows, "i1"), "text": np.zeros((rows, 1), "f4")}
    zipped(
        path,
        {f"{name}.npy": _npy(column) for name, column in columns.items()} | {"split.npy": _npy(np.full(rows, "train"))},
    )


def negative_shape(path: Path) -> None:
    zipped(path, {"text.npy": header("(-4, -8)") + bytes(128)})


def shape_of_nothing(path: Path) -> None:
    zipped(path, {"text.npy": header("(0, 9999999999999999999999)")})


def overlapping(path: Path) -> None:
    """3,000 directory entries of one member of 1 MiB."""
    zipped(path, {"text.npy": _npy(np.zeros((1 << 10, 1 << 8), "f4"))})
    with zipfile.ZipFile(path, "a") as archive:
        (first,) = archive.filelist
        for number in range(3000):
            other = zipfile.ZipInfo(f"a{number}.npy")
            for name in ("header_offset", "compress_size", "file_size", "CRC", "compress_type", "create_system"):
                setattr(other, name, getattr(first, name))
            archive.filelist.append(other)
        archive._didModify = True


def many_members(path: Path) -> None:
    zipped(path, {f"{number}.npy": _npy(np.ones(1)) for number in range(4000)})


def many_objects(path: Path) -> None:
    zipped(path, {f"{number}.npy": _npy(np.array([{"a": 1}], dtype=object)) for number in range(1500)})


def long_list(path: Path) -> None:
    """A list of 900,000 empty lists: a message of 5.4 MB once."""
    path.write_bytes(b"\x80\x02](" + b"]" * 900_000 + b"e.")


def long_list_of_nothing(path: Path) -> None:
    path.write_bytes(b"\x80\x02](" + b"N" * 900_000 + b"e.")


def long_name(path: Path) -> None:
    path.write_bytes(pickle.dumps({"k" * 500_000: 1, "y": [2]}))


def long_names(path: Path) -> None:
    path.write_bytes(pickle.dumps({f"{number}" * 40: "v" for number in range(2000)}))


def long_global(path: Path) -> None:
    path.write_bytes(b"\x80\x02c" + b"m" * 400_000 + b"\nn\n.")


def packed_names(path: Path) -> None:
    """A packed pickle of 800,000 names in one frame: each would become a class of 1 kB."""
    names = b"ca\nb\n" * 800_000
    path.write_bytes(gzip.compress(b"\x80\x04\x95" + struct.pack("<Q", len(names)) + names))


SMALL = (
    giant_contiguous, giant_shape, giant_zeros, giant_bytes, giant_chunk, many_chunks, bomb_in_a_chunk,
    long_text_many_times, long_fill_text, text_in_an_attribute, deep_groups, group_in_itself, many_groups,
    many_names_of_one_set, references, compound, committed_type, unknown_filter, lying_bzip2, lying_lzma, lying_deflate,
    inflated, inflated_column, inflated_text, many_rows, negative_shape, shape_of_nothing, overlapping, many_members,
    many_objects, long_list, long_list_of_nothing, long_name, long_names, long_global, packed_names,
)  # fmt: skip
"""Files of at most 1 MB that are refused, whatever they announce."""
