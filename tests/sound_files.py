"""Sound to write tests with: a tune, and files of any kind that FFmpeg can write."""

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
