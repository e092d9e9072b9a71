"""Sound to write tests with: a tune, and files of any kind that FFmpeg can write."""

import struct
from pathlib import Path

import av
import numpy as np


def tune(seconds: float = 3.5, rate: int = 22_050, channels: int = 1) -> np.ndarray:
    """Notes over soft noise, the noise another in each channel: float32 (n, channels), or (n,) for one."""
    time = np.arange(int(seconds * rate)) / rate
    notes = np.take([220, 277, 330, 440], (2 * time).astype(int) % 4)
    noise = np.random.default_rng(0).normal(0, 0.01, (len(time), channels))
    samples = (0.4 * np.sin(2 * np.pi * notes * time) * np.exp(-6 * (time % 0.5)))[:, None] + noise
    return samples.astype(np.float32).squeeze()


def encode(path: Path, samples: np.ndarray, rate: int = 22_050, codec: str = "aac", **options) -> bytes:
    """Write samples, (n,), (n, 2) or (n, 8), with a codec, and give the bytes of the file.

    options: `format` of the container, where the name does not say it; `bit_rate`; `tags`, by name; `container` and
    `stream`, options for FFmpeg.
    """
    layout = {1: "mono", 2: "stereo", 8: "7.1"}[samples.size // len(samples)]
    with av.open(str(path), "w", format=options.get("format"), options=options.get("container", {})) as container:
        container.metadata.update(options.get("tags", {}))
        stream = container.add_stream(codec, rate=rate, options=options.get("stream", {}))
        stream.layout = layout
        stream.bit_rate = options.get("bit_rate", 128_000)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples).reshape(1, -1), "flt", layout)
        frame.sample_rate, frame.pts = rate, 0
        stream.codec_context.open()
        size = stream.codec_context.frame_size or 4096
        fitting = av.AudioResampler(stream.codec_context.format, layout, rate, size)
        for piece in [*fitting.resample(frame), *fitting.resample(None), None]:
            container.mux(stream.encode(piece))
    return path.read_bytes()


def write_tracks(path: Path, tracks: list[np.ndarray], default: int = 0, titles: tuple[str, str] = ("", "")) -> None:
    """Write mono samples at 44 100 Hz as the tracks of one file, with the titles of the file and of its first track."""
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("aac", rate=44_100, layout="mono") for _ in tracks]
        container.metadata["title"], streams[0].metadata["title"] = titles
        for number, stream in enumerate(streams):
            stream.disposition = av.stream.Disposition.default if number == default else av.stream.Disposition(0)
            stream.codec_context.open()
        for stream, samples in zip(streams, tracks, strict=True):
            frame = av.AudioFrame.from_ndarray(samples[None], "flt", "mono")
            frame.sample_rate, frame.pts = 44_100, 0
            fitting = av.AudioResampler(stream.codec_context.format, "mono", 44_100, stream.codec_context.frame_size)
            for piece in [*fitting.resample(frame), *fitting.resample(None), None]:
                container.mux(stream.encode(piece))


def write_pcm(path: Path, samples: np.ndarray, rate: int, bits: int, valid: int = 0, order: str = "little") -> bytes:
    """Write mono samples as a WAV file in so many bits, or in `valid` of them, in either order of the bytes."""
    sign, extension = "<" if order == "little" else ">", b""
    whole = np.round(samples * (2 ** ((valid or bits) - 1) - 1)).astype(int) << bits - (valid or bits)
    data = b"".join(int(number).to_bytes(bits // 8, order, signed=True) for number in whole)
    if valid:
        extension = struct.pack("<HHIH", 22, valid, 0, 1) + bytes.fromhex("000000001000800000aa00389b71")
    numbers = (0xFFFE if valid else 1, 1, rate, rate * bits // 8, bits // 8, bits)
    form = struct.pack(f"{sign}HHIIHH", *numbers) + extension
    body = b"WAVEfmt " + struct.pack(f"{sign}I", len(form)) + form + b"data" + struct.pack(f"{sign}I", len(data)) + data
    path.write_bytes((b"RIFF" if order == "little" else b"RIFX") + struct.pack(f"{sign}I", len(body)) + body)
    return path.read_bytes()
