"""Media as they come from the world: several tracks, joined recordings, cut downloads, lists of other files."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition

from tests.helpers.clips import audio_frames, tone, video_frames, write_clip

LISTS = {
    "HLS": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:4,\nother.ts\n#EXT-X-ENDLIST\n",
    "HLS, naming itself": "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nclip.mp4\n",
    "HLS, live": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:4,\nother.ts\n",
    "ffconcat": "ffconcat version 1.0\nfile other.ts\n",
    "DASH": '<?xml version="1.0"?>\n<MPD type="static"><Period><BaseURL>other.ts</BaseURL></Period></MPD>\n',
    "SDP": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 96\n",
    "PLS": "[playlist]\nFile1=other.ts\n",
}
"""Contents of files that name `other.ts`, by their format."""


def write_tracks(
    path: Path, sounds: list[np.ndarray], default: int | None = None, beside: Disposition | None = None
) -> Path:
    """Write a file of several sound tracks, [channels, samples] at 16 kHz; mark one as default, or none.

    `beside` is what the first track is marked as, such as a commentary; all are then marked as default as well.
    """
    with av.open(str(path), "w", options={"default_mode": "passthrough"}) as container:
        codec = "mp2" if path.suffix == ".ts" else "flac"
        streams = [container.add_stream(codec, rate=16000, layout="mono") for _ in sounds]
        for number, stream in enumerate(streams):
            stream.disposition = Disposition.default if beside or number == default else Disposition(0)
            stream.disposition |= beside if beside and number == 0 else Disposition(0)
            stream.metadata["language"] = "eng"  # beside which alone MPEG-TS keeps a mark
        for stream, sound in zip(streams, sounds, strict=True):
            frame = av.AudioFrame.from_ndarray(
                np.round(sound * 32767).astype(np.int16), format="s16", layout=stream.layout.name
            )
            frame.sample_rate, frame.time_base, frame.pts = 16000, Fraction(1, 16000), 0
            resampler = av.AudioResampler("s16", "mono", 16000, frame_size=stream.frame_size or 4096)
            frames = [*resampler.resample(frame), *resampler.resample(None), None]
            container.mux([packet for part in frames for packet in stream.encode(part)])
    return path


def join(path: Path, *, heights_hz: tuple[float, ...], **options: object) -> Path:
    """Write recordings of 4 s one behind the other, as `cat` does, each with a tone and greys of its own.

    Recording n has the grey level 20 + 100 n, and 20 more a second later.
    """
    content = b""
    for number, hz in enumerate(heights_hz):
        greys = [np.full((64, 96), 20 + 100 * number + 2 * frame, np.uint8) for frame in range(40)]
        part = write_clip(path.with_name(f"part{number}{path.suffix}"), sound=tone(4, hz=hz), pictures=greys, **options)
        content += part.read_bytes()
        part.unlink()
    path.write_bytes(content)
    return path


def shift_matroska(path: Path, milliseconds: int) -> Path:
    """Move all blocks of the clusters of a Matroska file in time, below 0 as well."""
    content = bytearray(path.read_bytes())

    def number(place: int, keep_mark: bool) -> tuple[int, int]:
        length = 9 - content[place].bit_length()
        value = int.from_bytes(content[place : place + length], "big")
        return value if keep_mark else value & ((1 << 7 * length) - 1), place + length

    def walk(place: int, end: int) -> None:
        while place < end:
            element, place = number(place, keep_mark=True)
            size, place = number(place, keep_mark=False)
            stop = min(place + size, end)
            if element in (0x18538067, 0x1F43B675, 0xA0):  # segment, cluster, group of blocks
                walk(place, stop)
            elif element in (0xA1, 0xA3):  # block: track in one byte, time in two
                time = int.from_bytes(content[place + 1 : place + 3], "big", signed=True) + milliseconds
                content[place + 1 : place + 3] = time.to_bytes(2, "big", signed=True)
            place = stop

    walk(0, len(content))
    path.write_bytes(content)
    return path


def write_edited(
    path: Path,
    *,
    form: str,
    picture_codec: str,
    sound_codec: str,
    rate_hz: int,
    layout: str,
    pitches_hz: tuple[int, ...],
    stamps: list[int],
    delays_s: tuple[float, float],
    sound_first: bool,
    further_tracks: int,
    rotation: int,
) -> Path:
    """Write a recording as editors leave it.

    Args:
        path: file to write.
        form: FFmpeg's name of the container.
        picture_codec: encoder of the pictures.
        sound_codec: encoder of the sound.
        rate_hz: sampling rate.
        layout: of the channels, which are all alike.
        pitches_hz: of each second of sound.
        stamps: when each picture is shown, in tenths of a second; its grey level is 20 and eight times as much.
        delays_s: of the pictures and of the sound.
        sound_first: whether the sound's tracks come before the picture's.
        further_tracks: tracks of noise behind the first of sound.
        rotation: counter-clockwise turn in degrees that the file asks of a player.

    Returns:
        The path.
    """
    greys = [np.full((64, 96), 20 + 8 * stamp, np.uint8) for stamp in stamps]
    speech = np.concatenate([tone(1, rate_hz, hz=hz) for hz in pitches_hz], axis=1)
    noise = 0.1 * np.random.default_rng(0).normal(size=speech.shape).astype(np.float32)
    with av.open(str(path), "w", format=form) as container:
        added: list[tuple[av.stream.Stream, float, np.ndarray | None]] = []
        for kind in ("sound", "picture") if sound_first else ("picture", "sound"):
            if kind == "picture":
                stream = container.add_stream(picture_codec, rate=10)
                stream.width, stream.height, stream.pix_fmt, stream.gop_size = 96, 64, "yuv420p", 5
                if rotation:
                    stream.set_display_rotation(rotation)
                added.append((stream, delays_s[0], None))
                continue
            for number in range(1 + further_tracks):
                stream = container.add_stream(sound_codec, rate=rate_hz, layout=layout)
                added.append((stream, delays_s[1], noise if number else speech))
        container.start_encoding()
        packets = []
        for stream, delay_s, sound in added:
            if sound is None:
                frames = list(video_frames(greys, stamps, 10, "yuv420p"))
            else:
                frames = list(audio_frames(stream, np.tile(sound, (stream.layout.nb_channels, 1)), rate_hz, layout))
            for packet in [packet for frame in [*frames, None] for packet in stream.encode(frame)]:
                shift = round(delay_s / packet.time_base)
                packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                packets.append(packet)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return path
