"""From a file to what can be decoded of it.

FFmpeg, which PyAV carries, decodes everything packet by packet: it goes on after a hole, and no length in a header is
believed. The few kinds that it does not know or reads wrongly are read by libsndfile.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from itertools import chain, groupby
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import soundfile

from genres.common import InputError

LONGEST_SECONDS = 2 * 3600
LEAST_BYTES = 500  # of a second of sound; a header that claims more seconds than that allows is wrong
MISSING_SHARE = 0.05  # of what a file should hold: by so much a claim may differ from what is there
BLOCK_SAMPLES = 60 * 44_100  # of each channel, decoded at once: an hour in 5.1 would fill the memory
MOST_FAULTS = 1000  # between the packets of a file
RAW_STREAMS = {"mp3", "aac", "ac3", "eac3", "dts"}  # frames without a container; FFmpeg guesses how long they last
PROTECTED = {"drms", "enca", "aavd"}  # Apple's FairPlay, MPEG's common encryption, Audible
MISREAD = {("wav", "g726"), ("wav", "amrnb"), ("au", "g726le")}  # container and codec that FFmpeg takes for another's
ENDLESS_WAV = 2**31 - 2**16  # bytes; what was written to a pipe claims 2 or 4 GB

av.logging.set_level(av.logging.PANIC)  # what is wrong with a file is said by the project's own sentences


@dataclass
class Decoded:
    """What came out of a file.

    parts: (samples a second, mono samples float32) in order; the rate may change on the way. claimed: the seconds that
    the file says it holds, 0 where it does not. tags: its texts, by name in lower case.
    """

    parts: list[tuple[int, np.ndarray]] = field(default_factory=list)
    claimed: float = 0.0
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Seconds of sound that were decoded."""
        return sum(len(samples) / rate for rate, samples in self.parts)


def _refuse_too_long(path: Path, seconds: float) -> None:
    if seconds > LONGEST_SECONDS:
        raise InputError(f"'{path.name}' lasts {seconds / 3600:.1f} hours: cut it into songs of at most two hours.")


def decode_with_ffmpeg(path: Path) -> Decoded:
    """What FFmpeg reads of a file, across faults; no parts where it knows no sound in it.

    Raises InputError for a file that is copy-protected, holds no sound track, or lasts longer than two hours.
    """
    decoded = Decoded()
    # A WAV that goes on behind its end was joined, or its length never filled in.
    goes_on = 0 < _riff_bytes(path) < (1 - MISSING_SHARE) * path.stat().st_size
    options = {"protocol_whitelist": "none", "ignore_length": str(int(goes_on))}
    try:
        # Opened here, so that no name, however odd, is taken for an address; and a playlist may open nothing else.
        with path.open("rb") as file, av.open(file, metadata_errors="ignore", options=options) as container:
            if not container.streams.audio:
                raise InputError(f"'{path.name}' holds no sound track: choose a file with sound in it.")
            stream = container.streams.audio[0]
            decoded.tags = {k.lower(): v for k, v in (container.metadata | stream.metadata).items()}
            if (codec := stream.codec_context) is None:
                return decoded
            if codec.codec_tag in PROTECTED:
                raise InputError(
                    f"'{path.name}' is copy-protected and cannot be converted: take a copy without protection."
                )
            if (container.format.name, codec.name) not in MISREAD:
                _decode_stream(path, container, stream, decoded)
    except InputError:
        raise
    except (av.error.FFmpegError, OSError, ValueError):
        pass  # what was decoded before the fault is still good
    return decoded


def decode_with_soundfile(path: Path) -> Decoded:
    """What libsndfile reads of a file; no parts where it knows no sound in it.

    Raises InputError for a file that lasts longer than two hours.
    """
    decoded = Decoded()
    try:
        with path.open("rb") as file:
            if file.read(3) == b"ID3" or file.seek(0) or file.read(1) == b"\xff":
                return decoded  # an MP3 that FFmpeg refused; libmpg123 would print what it thinks of it
            file.seek(0)
            sound = soundfile.SoundFile(file)
            while len(block := sound.read(2**20, dtype="float32", always_2d=True)):
                decoded.parts.append((sound.samplerate, _mono(block.T)))
                _refuse_too_long(path, decoded.seconds)
    except (soundfile.LibsndfileError, RuntimeError, OSError):
        pass  # as above
    return decoded


def _riff_bytes(path: Path) -> int:
    """The bytes that a WAV file says it has; 0 for other files."""
    with path.open("rb") as file:
        head = file.read(12)
    return int.from_bytes(head[4:8], "little") + 8 if head[:4] == b"RIFF" and head[8:] == b"WAVE" else 0


def _decode_stream(path: Path, container: av.container.InputContainer, stream: av.AudioStream, decoded: Decoded):
    """Add the parts of one stream, and the seconds it should hold, to what is decoded."""
    films = any(not other.disposition & av.stream.Disposition.attached_pic for other in container.streams.video)
    decoded.claimed = float((stream.duration or 0) * (stream.time_base or 0))
    if not decoded.claimed and not films:
        decoded.claimed = (container.duration or 0) / av.time_base
    if container.size > LEAST_BYTES * decoded.claimed:
        _refuse_too_long(path, decoded.claimed)
    packets: list[_Packet] = []
    frames = _frames(container, stream, packets)
    for _, alike in groupby(frames, lambda frame: (frame.sample_rate, frame.format.name, frame.layout.name)):
        # Packed, because PyAV crashes the process when it reads the planes of eight channels.
        resampler = av.AudioResampler("flt", frame_size=BLOCK_SAMPLES)
        for block in chain.from_iterable(map(resampler.resample, chain(alike, [None]))):
            channels = block.to_ndarray().reshape(-1, block.layout.nb_channels).T
            decoded.parts.append((block.sample_rate, _mono(channels)))
            _refuse_too_long(path, decoded.seconds)
    name = container.format.name
    if name in RAW_STREAMS and decoded.parts:
        end = container.size if name == "aac" else 0  # FFmpeg leaves a hole in AAC out of its packets' positions
        faulty = _seconds_with_faults(decoded.seconds, packets, end)
        decoded.claimed = max(_xing_seconds(path, packets), faulty)
    elif name == "wav" and container.size < _riff_bytes(path) < ENDLESS_WAV:  # cut off: FFmpeg goes by what is left
        decoded.claimed = decoded.seconds * _riff_bytes(path) / container.size


class _Packet(NamedTuple):
    """Where a packet lies in the file, its bytes, its first three, and the seconds of sound that came out of it."""

    position: int
    size: int
    start: bytes
    seconds: float


def _frames(container: av.container.InputContainer, stream: av.AudioStream, packets: list[_Packet]):
    """Yield what can be decoded, across faults, and note the packets it came from."""
    for _ in range(MOST_FAULTS):
        try:
            for packet in container.demux(stream):
                try:
                    frames = [frame for frame in packet.decode() if frame.samples and frame.sample_rate > 0]
                except av.error.FFmpegError:
                    frames = []
                seconds = sum(frame.samples / frame.sample_rate for frame in frames)
                start = bytes(memoryview(packet)[:3]) if packet.size else b""
                packets.append(_Packet(packet.pos or 0, packet.size, start, seconds))
                yield from frames
            return
        except av.error.FFmpegError:
            continue  # a fault between packets: the container reads on behind it


def _mono(block: np.ndarray) -> np.ndarray:
    """Mean over the channels, float32 (channels, n); of those turned round where they would cancel each other.

    In a stereo song the sum of both channels is some 10 dB louder than their difference. Where the difference is twice
    as strong, one channel is inverted. Rows are made contiguous because that is five times faster.
    """
    block = np.ascontiguousarray(block, dtype=np.float32)
    mean = np.mean(block, axis=0)
    turned = block @ block[np.square(block).sum(axis=1).argmax()] < 0
    if turned.any():
        straight = np.mean(np.where(turned[:, None], -block, block), axis=0)
        if straight @ straight > 2 * (mean @ mean):
            return straight
    return mean


def _xing_seconds(path: Path, packets: list[_Packet]) -> float:
    """Seconds that the Xing header of an MP3 claims, which lies in the frame before the first packet; else 0."""
    first = packets[0].position
    with path.open("rb") as file:
        file.seek(max(0, first - 2000))
        head = file.read(min(first, 2000))
    at = max(head.rfind(b"Xing"), head.rfind(b"Info"))
    if at < 0 or len(head) < at + 12:
        return 0.0
    flags, frames = struct.unpack(">II", head[at + 4 : at + 12])
    return frames * float(np.median([packet.seconds for packet in packets])) if flags & 1 else 0.0


def _seconds_with_faults(seconds: float, packets: list[_Packet], end: int) -> float:
    """Seconds a raw stream would last if the bytes in it that gave no sound had given some; 0 where tags lie in it.

    It ends at `end`, or with its last sound if that is later (an MP3 may have tags behind it).
    """
    heard = [number for number, packet in enumerate(packets) if packet.seconds]
    packets = packets[: heard[-1] + 1]
    if any(packet.start in (b"ID3", b"APE") for packet in packets):
        return 0.0
    usual = 4 * np.median([packet.size for packet in packets])
    sound = sum(min(packet.size, usual) for packet in packets if packet.seconds)
    return seconds * float(max(end, packets[-1].position + packets[-1].size) - packets[0].position) / sound
