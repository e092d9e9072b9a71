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


def encode(path: Path, samples: np.ndarray | list, rate: int = 22_050, codec: str = "aac", **options) -> bytes:
    """Write samples, (n,), (n, 2) or (n, 8), or a list of tracks, with a codec, and give the bytes of the file.

    options: `format` of the container, where the name does not say it; `bit_rate`; `tags` and `track_tags`, by name;
    `default`, the number of a track; `container` and `stream`, options for FFmpeg.
    """
    tracks = samples if isinstance(samples, list) else [samples]
    layout = {1: "mono", 2: "stereo", 8: "7.1"}[tracks[0].size // len(tracks[0])]
    with av.open(str(path), "w", format=options.get("format"), options=options.get("container", {})) as container:
        container.metadata.update(options.get("tags", {}))
        streams = [container.add_stream(codec, rate=rate, options=options.get("stream", {})) for _ in tracks]
        for number, stream in enumerate(streams):
            stream.layout = layout
            stream.bit_rate = options.get("bit_rate", 128_000)
            stream.metadata.update(options.get("track_tags", {}))
            stream.disposition = av.stream.Disposition(number == options.get("default", 0))
            stream.codec_context.open()
        for stream, track in zip(streams, tracks, strict=True):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(track).reshape(1, -1), "flt", layout)
            frame.sample_rate, frame.pts = rate, 0
            size = stream.codec_context.frame_size or 4096
            fitting = av.AudioResampler(stream.codec_context.format, layout, rate, size)
            for piece in [*fitting.resample(frame), *fitting.resample(None), None]:
                container.mux(stream.encode(piece))
    return path.read_bytes()


def write_padded(path: Path, samples: np.ndarray, rate: int, bits: int, valid: int) -> None:
    """Write mono samples as an extensible WAV file that holds `valid` bits in `bits`."""
    whole = np.round(samples * (2 ** (valid - 1) - 1)).astype(int) << bits - valid
    data = b"".join(int(number).to_bytes(bits // 8, "little", signed=True) for number in whole)
    form = struct.pack("<HHIIHHHHIH", 0xFFFE, 1, rate, rate * bits // 8, bits // 8, bits, 22, valid, 0, 1)
    form += bytes.fromhex("000000001000800000aa00389b71")  # the rest of the identifier of PCM
    chunks = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", len(chunks)) + chunks)
