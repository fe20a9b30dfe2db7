"""openSMILE .conf files of the user's own: what they include is part of them, and they touch no other file."""

import os
import random
import re
import shutil
from pathlib import Path

import numpy as np
import opensmile
import pytest

from dferc.core.errors import InputError
from pipeline.audio.configuration import configuration_files
from pipeline.audio.functionals import open_smile
from pipeline.extract_audio import configuration_hash, main
from tests.helpers.clips import tone, write_clip
from tests.helpers.corpora import REPOSITORY, make_row, run_stage, write_rows

MAIN = """
; energy and its mean
[componentInstances:cComponentManager]
instance[dataMemory].type=cDataMemory
\\{\\cm[source{?}:include external source]}
\\{parts/energy.inc}
\\{\\cm[sink{?}:include external sink]}
"""
ENERGY = """[componentInstances:cComponentManager]
instance[framer].type=cFramer
instance[energy].type=cEnergy
[framer:cFramer]
reader.dmLevel=wave
writer.dmLevel=frames
frameSize=0.025
frameStep=0.010
[energy:cEnergy]
reader.dmLevel=frames
writer.dmLevel=lld
rms=1
log=0
\\{\\cm[means{means.inc}:of the energy]}
"""
MEANS = """[componentInstances:cComponentManager]
instance[functionals].type=cFunctionals
[functionals:cFunctionals]
reader.dmLevel=lld
writer.dmLevel=func
frameMode=full
frameSize=0
frameStep=0
functionalsEnabled=Means
Means.amean=1
""" + "".join(f"Means.{name}=0\n" for name in ("absmean", "qmean", "nzamean", "nzabsmean", "nzqmean", "nzgmean", "nnz"))
FILES = {"mine.conf": MAIN, "parts/energy.inc": ENERGY, "parts/means.inc": MEANS}


@pytest.fixture
def conf(tmp_path):
    return write(tmp_path / "conf", FILES)


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder / "mine.conf"


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_includes_are_found_wherever_openSMILE_finds_them(conf, tmp_path, monkeypatch):
    names = ["mine.conf", "energy.inc", "means.inc"]
    assert [path.name for path in configuration_files(conf)] == names
    assert open_smile(str(conf)).num_features == 1
    shutil.move(conf.parent / "parts/means.inc", conf.parent / "means.inc")  # beside the .conf
    assert [path.name for path in configuration_files(conf)] == names and open_smile(str(conf)).num_features == 1
    shutil.move(conf.parent / "means.inc", tmp_path / "means.inc")  # in the working directory
    monkeypatch.chdir(tmp_path)
    assert [path.name for path in configuration_files(conf)] == names and open_smile(str(conf)).num_features == 1


@pytest.mark.parametrize("name", FILES)
def test_edited_include_is_computed_again(conf, tmp_path, name):
    """Not the old values, as under a cache that knows the .conf alone."""
    settings = (REPOSITORY / "params.yaml").read_text(encoding="utf-8")
    (tmp_path / "params.yaml").write_text(settings.replace("encoder: IS10", f"encoder: {conf}"))
    write_clip(tmp_path / "a.wav", sound=tone(0.5))
    write_rows(tmp_path, [make_row("a", "a.wav", 0.5)])
    options = {"params": tmp_path / "params.yaml", "workers": 0}
    assert "1 done, 0 reused" in run_stage(main, tmp_path, **options).stderr
    assert "0 done, 1 reused" in run_stage(main, tmp_path, **options).stderr
    before = (tmp_path / "out.h5").read_bytes()
    change(conf.parent / name, "\n", "\n; a remark\n")
    if name == "parts/means.inc":
        change(conf.parent / name, "Means.absmean=0", "Means.absmean=1")
    assert "1 done, 0 reused" in run_stage(main, tmp_path, **options).stderr
    assert (tmp_path / "out.h5").read_bytes() != before


def test_every_configuration_of_openSMILE_itself_may_be_copied():
    root = Path(opensmile.__file__).parent / "core/config"
    for feature_set in opensmile.FeatureSet:
        assert configuration_files(root / f"{feature_set.value}.conf")
        assert configuration_hash(feature_set.name) is None


@pytest.mark.parametrize(
    "lines",
    [
        "[w:cCsvSink]\nreader.dmLevel=func\nfilename={out}",
        "[w:cArffSink]\nreader.dmLevel = func",
        "[w:cWaveSource]\nwriter.dmLevel=wave2\nfilename={secret}",
        "[w:cHtkSource]\nwriter.dmLevel=other\nfilename=\\cm[inputfile(I){{{secret}}}:name of input file]",
        "[w:cRnnProcessor]\nreader.dmLevel=lld\nwriter.dmLevel=x\nnetfile = {secret}",
        "[w:cVectorMVN]\nreader.dmLevel=lld\nwriter.dmLevel=x\nmode=analysis\nsaveFile={out}",
        "[w:cDataSelector]\nreader.dmLevel=lld\nwriter.dmLevel=x\nselFile={secret}",
        "/* a block */\n  [w :  cDatadumpSink]\nreader.dmLevel=func",
    ],
)
@pytest.mark.parametrize("where", FILES)
def test_configuration_that_reads_or_writes_other_files_is_refused(conf, tmp_path, lines, where):
    lines = lines.format(out=tmp_path / "written.csv", secret="/etc/hostname")
    component = re.search(r":\s*(c\w+)\]", lines)[1]
    change(conf, "\\{\\cm[source", f"instance[w].type={component}\n\\{{\\cm[source")
    path = conf.parent / where
    path.write_text(path.read_text() + f"\n{lines}\n")
    with pytest.raises(InputError, match=r"line \d+: .* files of its own.* Remove it") as caught:
        open_smile(str(conf))(tone(0.5), 16000)
    assert str(conf.parent) in str(caught.value)
    assert not (tmp_path / "written.csv").exists()


def test_commented_sinks_are_none(conf):
    for leader in (";", "#", "%", "//"):
        conf.write_text(
            conf.read_text() + f"\n  {leader} [w:cCsvSink]\n{leader}filename=x.csv\n{leader} \\{{none.inc}}\n"
        )
    assert open_smile(str(conf)).num_features == 1


def test_includes_in_a_circle_missing_or_twice_are_refused(conf, tmp_path, monkeypatch):
    """The first ends openSMILE by a segmentation fault; of two files it takes that of the working directory, unseen."""
    change(conf.parent / "parts/means.inc", "[functionals:", "\\{energy.inc}\n[functionals:")
    with pytest.raises(InputError, match="includes itself: .*energy.inc -> .*means.inc -> .*energy.inc"):
        open_smile(str(conf))
    write(conf.parent, FILES)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "means.inc").write_text(MEANS.replace("Means.absmean=0", "Means.absmean=1"))
    with pytest.raises(InputError, match="'means.inc' is there 2 times, with different content"):
        open_smile(str(conf))
    for path in (tmp_path / "means.inc", conf.parent / "parts/means.inc"):
        path.unlink()
    with pytest.raises(InputError, match="energy.inc, line 14: the include 'means.inc' is in none of"):
        open_smile(str(conf))


def test_functionals_of_windows_in_place_of_the_utterance_are_refused(conf):
    """Of a short utterance, the first window alone would be used; of a longer one, there would be several vectors."""
    change(conf.parent / "parts/means.inc", "frameMode=full\nframeSize=0\nframeStep=0", "frameSize=2\nframeStep=2")
    with pytest.raises(InputError, match=r"mine.conf: of 30 s of sound it gives 1\d rows .* Set frameMode = full"):
        open_smile(str(conf))


def test_perturbed_configurations_compute_the_same_or_are_refused(tmp_path):
    """Lines dropped, swapped, doubled, re-encoded: no other file is read, and no values are taken for others."""
    samples, randoms = tone(0.3), random.Random(0)
    conf = write(tmp_path / "conf", FILES)
    known = {configuration_hash(str(conf)): open_smile(str(conf))(samples, 16000)}
    for _ in range(int(os.environ.get("DFERC_PERTURBATIONS", 150))):
        shutil.rmtree(conf.parent)
        write(conf.parent, FILES)
        name = randoms.choice(list(FILES))
        lines = FILES[name].splitlines()
        at, other = randoms.randrange(len(lines)), randoms.randrange(len(lines))
        match randoms.choice(["drop", "swap", "double", "number", "encode", "sink"]):
            case "drop":
                del lines[at]
            case "swap":
                lines[at], lines[other] = lines[other], lines[at]
            case "double":
                lines.insert(other, lines[at])
            case "number":
                lines[at] = re.sub(r"[01]$", lambda digit: str(1 - int(digit[0])), lines[at])
            case "sink":
                lines.insert(at, "filename=written.csv")
        content = "\n".join(lines)
        (conf.parent / name).write_bytes(content.encode(randoms.choice(["utf-8"] * 4 + ["utf-8-sig", "utf-16"])))
        try:
            values = open_smile(str(conf))(samples, 16000)
        except (InputError, opensmile.core.lib.OpenSmileException):
            continue
        before = known.setdefault(configuration_hash(str(conf)), values)
        np.testing.assert_array_equal(values, before)
        assert not list(tmp_path.rglob("*.csv"))
