"""Any file with sound in it, as samples.

FFmpeg, which PyAV carries, decodes packet by packet: it goes on after a hole, and believes no length in a header. What
it does not know or reads wrongly is read by libsndfile. Levels and offsets at which the picture recipe would fail are
put right; a clip of GTZAN has none of them and comes out exactly as `librosa.load` reads it.
"""

from __future__ import annotations

import html
import io
import math
import re
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, groupby
from pathlib import Path
from typing import BinaryIO, NamedTuple

import av
import numpy as np
import soundfile
import soxr

from genres.common import SAMPLE_RATE, InputError, absolute, why_unreadable

SHORTEST_SECONDS = 2.5  # of a song: 3 s, less what encoders cut off at the ends
LONGEST_SECONDS = 2 * 3600
LOWEST_RATE = 4_000  # Hz; below a telephone's 8 000 there is no music, only a damaged header that claims hours
SILENCE = 1e-4  # amplitude, of 1; what stays below everywhere holds no music
LOUDEST = 1e10  # amplitude; integers that were stored as floats reach 2e9, and what is above is no sound
QUIET_LEVEL = 5e-3  # RMS of the loud seconds; below it the recipe's absolute floor would act. GTZAN: 0.04 and more
NORMAL_LEVEL = 0.1  # RMS that a quiet recording is raised to
LARGEST_OFFSET = 0.5  # mean over spread, from which on the lowest mel band would drown the music. GTZAN: 0.13 and less
LEAST_BYTES = 500  # of a second of sound; a header that claims more seconds than that allows is wrong
MISSING_SHARE = 0.05  # of what a file should hold: by so much a claim may differ from what is there
BLOCK_SAMPLES = 60 * 44_100  # of each channel, decoded at once: an hour in 5.1 would fill the memory
MOST_FAULTS = 1000  # between the packets of a file
MOST_TRACKS = 8  # of a film that are tried
RAW_STREAMS = {"mp3", "aac", "ac3", "eac3", "dts"}  # frames without a container; FFmpeg guesses how long they last
PROTECTED = {"drms", "enca", "aavd"}  # Apple's FairPlay, MPEG's common encryption, Audible
MISREAD = {("wav", "g726"), ("wav", "amrnb"), ("au", "g726le")}  # container and codec that FFmpeg takes for another's
PCM, EXTENSIBLE = 1, 0xFFFE  # formats of a WAV file
ENDLESS_WAV = 2**31 - 2**16  # bytes; what was written to a pipe claims 2 or 4 GB
UNUSABLE_KINDS = {  # what lies among songs and cannot be one
    "m4p aax aaxc": "is copy-protected and cannot be converted: take a copy without protection",
    "mid midi kar": "holds notes, not sound: play it into a sound file first",
    "zip rar 7z tar tgz gz bz2 tbz tbz2 xz txz iso": "is an archive: unpack it first",
    "part crdownload download": "is only a part of a download: download it again",
    "icloud": "is still in iCloud: download it in the Finder first",
    "m3u m3u8 pls xspf wpl asx cue": "is a list of songs, not sound: give the sound files themselves",
}
REFUSALS = {f".{kind}": reason for kinds, reason in UNUSABLE_KINDS.items() for kind in kinds.split()}

av.logging.set_level(av.logging.PANIC)  # what is wrong with a file is said by the project's own sentences


@dataclass(frozen=True)
class Sound:
    """The sound of a file.

    samples: float32 (n,), mono, 22 050 Hz. remark: what of the file is left out, or "". title, artist: its tags.
    """

    samples: np.ndarray
    remark: str = ""
    title: str = ""
    artist: str = ""


def load_audio(path: str | Path) -> np.ndarray:
    """Read any sound file as `librosa.load(path)` would: float32 samples, mono, 22 050 Hz. See `read_sound`."""
    return read_sound(path).samples


def read_sound(path: str | Path) -> Sound:
    """Read the sound and the tags of any file: wav, mp3, flac, ogg, m4a, films and whatever else FFmpeg decodes.

    Any rate and number of channels, changing ones too; 3 seconds to 2 hours. Of several tracks the default one is read,
    else the first with sound. What lies around faults is kept, and a remark says when more than 5 % are missing.

    Raises InputError for a missing, protected, empty, silent, too short, too long or unreadable file.
    """
    refuse_address(path)
    path = absolute(path)
    if reason := why_unreadable(path):
        raise InputError(f"'{path.name}' {reason}")
    if path.is_dir():
        raise InputError(f"'{path.name}' is a folder, not a sound file: give the file inside it.")
    try:
        # A pipe that the shell hands over can be read once.
        with path.open("rb") if path.is_file() else io.BytesIO(path.read_bytes()) as file:
            decoded = _decode(path.name, file)
    except OSError as error:
        raise InputError(f"'{path.name}' cannot be read ({error.strerror}): copy it again.") from error
    if not decoded.samples:
        reason = REFUSALS.get(path.suffix.lower(), "cannot be read as sound: convert it to wav, mp3, flac, ogg or m4a")
        if decoded.slow_rate:
            reason = f"has only {decoded.slow_rate} samples a second: export it again with 22 050 or more"
        raise InputError(f"'{path.name}' {reason}.")
    if decoded.seconds < SHORTEST_SECONDS:
        raise InputError(f"'{path.name}' has only {decoded.seconds:.1f} s of sound: give at least 3 seconds.")
    if decoded.spread < 2 * SILENCE:
        raise InputError(f"'{path.name}' is silent from start to end: choose a file with sound in it.")
    title, artist, album_artist = (
        html.unescape(decoded.tags.get(name, "")).strip() for name in ("title", "artist", "album_artist")
    )
    samples = np.frombuffer(decoded.samples, np.float32)
    _remove_offset(samples)
    _raise_level(samples)
    return Sound(samples, _remark(decoded), title, artist or album_artist)


def refuse_address(path: str | Path) -> None:
    """Raise InputError for a web address where a file is wanted; a Path of one has lost a slash."""
    address = re.match(r"\s*(?!file:)([a-z][a-z0-9+.-]+://|(https?|ftps?):/)", str(path), re.IGNORECASE)
    if address and why_unreadable(absolute(path)):  # a folder may be called "http:"
        raise InputError(f"'{path}' is a web address: download it first, then give the name of the file.")


@dataclass
class _Decoded:
    """What came out of a file, mono at 22 050 Hz, block by block: whole in other rates it would fill the memory.

    samples: the bytes of float32. claimed: the seconds that the file says it holds, or 0. tags: its texts, by name in
    lower case. spread: largest difference of two samples in a block. slow_rate: a rate too low to be read.
    """

    name: str
    samples: bytearray = field(default_factory=bytearray)
    claimed: float = 0.0
    tags: dict[str, str] = field(default_factory=dict)
    spread: float = 0.0
    slow_rate: int = 0
    rate: int = 0
    taken: int = 0  # samples at the present rate
    first: int = 0  # byte at which that rate begins

    @property
    def seconds(self) -> float:
        """Seconds of sound that were decoded."""
        return len(self.samples) / 4 / SAMPLE_RATE

    @property
    def is_song(self) -> bool:
        """Whether it is long enough, and not silent."""
        return self.seconds >= SHORTEST_SECONDS and self.spread >= 2 * SILENCE

    def add(self, block: np.ndarray, rate: int) -> None:
        """Add a block, float32 (channels, n). Raises InputError for one that is no sound, or where it is too much."""
        # NaN spreads through the resampler, so it is looked for before.
        if not np.abs(block).max(initial=0) < LOUDEST:
            raise InputError(f"'{self.name}' holds samples that are not finite numbers: export it again.")
        if rate < LOWEST_RATE:  # what a fault made of a frame
            self.slow_rate = rate
            return
        if rate != self.rate:
            self.finish()
            self.rate, self.resampler = rate, soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
        mono = _mono(block)
        self.spread = max(self.spread, float(np.ptp(mono)))
        self.taken += len(mono)
        self.samples += self.resampler.resample_chunk(mono).data
        _refuse_too_long(self.name, self.seconds)

    def finish(self) -> None:
        """Take what the resampler still holds; the length is rounded up, as librosa does."""
        if self.rate:
            self.samples += self.resampler.resample_chunk(np.empty(0, np.float32), last=True).data
            end = self.first + 4 * math.ceil(self.taken * (SAMPLE_RATE / self.rate))
            self.samples += bytes(max(0, end - len(self.samples)))
            self.rate, self.taken, self.first = 0, 0, len(self.samples)


def _refuse_too_long(name: str, seconds: float) -> None:
    if seconds > LONGEST_SECONDS:
        raise InputError(f"'{name}' lasts {seconds / 3600:.1f} hours: cut it into songs of at most two hours.")


def _decode(name: str, file: BinaryIO) -> _Decoded:
    """Decode an open file by the first way that gives a song, else by the one that gives most."""
    if not file.read(1):
        raise InputError(f"'{name}' is empty (0 bytes): copy or download it again.")
    best = _Decoded(name)
    for decoded in _attempts(name, file):
        best = max(best, decoded, key=lambda one: (one.is_song, one.seconds, one.slow_rate))
        if best.is_song:
            break
    return best


def _attempts(name: str, file: BinaryIO) -> Iterator[_Decoded]:
    for tag in dict.fromkeys((0, _id3_bytes(file))):  # FFmpeg skips a tag in front of some kinds only
        file.seek(tag)
        part = io.BytesIO(file.read()) if tag else file
        ways = [_decode_with_ffmpeg, _decode_with_soundfile]
        for decode in reversed(ways) if _read_wav_header(part).misread else ways:
            yield from decode(name, part)


def _id3_bytes(file: BinaryIO) -> int:
    """The bytes of the ID3v2 tags that a file begins with."""
    end = 0
    while file.seek(end) == end and (head := file.read(10))[:3] == b"ID3" and len(head) == 10:
        end += 10 + sum((byte & 127) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
    return end


def _decode_with_ffmpeg(name: str, file: BinaryIO) -> Iterator[_Decoded]:
    """Yield what FFmpeg reads of each track, across faults, the default one first; no samples where it knows no sound.

    Raises InputError for a file that is copy-protected, holds no sound track, or lasts longer than two hours.
    """
    options = {"protocol_whitelist": "none", "ignore_length": str(int(_read_wav_header(file).goes_on))}
    track, tracks = 0, 1
    while track < tracks:
        decoded = _Decoded(name)
        file.seek(0)
        try:
            # An open file, so that no name, however odd, is taken for an address; a playlist may open nothing else.
            with av.open(file, metadata_errors="ignore", options=options) as container:
                if not container.streams.audio:
                    raise InputError(f"'{name}' holds no sound track: choose a file with sound in it.")
                default = av.stream.Disposition.default
                streams = sorted(container.streams.audio, key=lambda stream: not stream.disposition & default)
                tracks = min(MOST_TRACKS, len(streams))
                _decode_stream(streams[track], file, decoded)
        except InputError:
            raise
        except (av.error.FFmpegError, OSError, ValueError):
            decoded.finish()  # what was decoded before the fault is still good
        yield decoded
        track += 1


def _decode_with_soundfile(name: str, file: BinaryIO) -> Iterator[_Decoded]:
    """Yield what libsndfile reads of a file. Raises InputError for one that lasts longer than two hours."""
    file.seek(0)
    if (head := file.read(3)) == b"ID3" or head[:1] == b"\xff":
        return  # an MP3 that FFmpeg refused; libmpg123 would print what it thinks of it
    decoded = _Decoded(name)
    file.seek(0)
    with suppress(RuntimeError, OSError), soundfile.SoundFile(file) as sound:
        while len(block := sound.read(2**20, dtype="float32", always_2d=True)):
            decoded.add(block.T, sound.samplerate)
    decoded.finish()
    yield decoded


class _WavHeader(NamedTuple):
    """What the header of a WAV file says; nothing for other files."""

    bytes: int = 0  # of the file
    goes_on: bool = False  # sound lies behind them: files were joined, or the length was never filled in
    misread: bool = False  # FFmpeg takes its samples for others


def _read_wav_header(file: BinaryIO) -> _WavHeader:
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(12)
    if head[:4] not in (b"RIFF", b"RIFX") or head[8:] != b"WAVE":
        return _WavHeader()
    form, at = b"", 12
    for _ in range(100):  # chunks before the samples
        file.seek(at)
        kind, length = struct.unpack("<4sI", file.read(8).ljust(8, b"\0"))
        if kind == b"data":
            break
        form = file.read(min(length, 20)) if kind == b"fmt " else form
        at += 8 + length + length % 2
    coding, channels, _, byte_rate, align, bits, _, valid = struct.unpack("<HHIIHHHH", form.ljust(20, b"\0"))
    padded = align != channels * ((bits + 7) // 8) or (coding == EXTENSIBLE and valid not in (0, bits))
    file.seek(at + 8 + length)
    # What follows a plausible length is a picture or a tag; sound does if it is another file's, or most of this one.
    ends = length >= max(SHORTEST_SECONDS * byte_rate, size / 2) and b"RIFF" not in file.read(5)
    claimed = int.from_bytes(head[4:8], "little") + 8
    goes_on = claimed < (1 - MISSING_SHARE) * size and not ends
    return _WavHeader(claimed, goes_on, head[:4] == b"RIFX" or (coding in (PCM, EXTENSIBLE) and padded))


def _decode_stream(stream: av.AudioStream, file: BinaryIO, decoded: _Decoded) -> None:
    """Add one stream, its tags, and the seconds it should hold, to what is decoded."""
    container = stream.container
    tags = [*stream.metadata.items(), *container.metadata.items()]  # a track may be called "Stereo"
    decoded.tags = {key.lower(): text for key, text in tags if text.strip()}
    if (codec := stream.codec_context) is None or (container.format.name, codec.name) in MISREAD:
        return
    if codec.codec_tag in PROTECTED:
        raise InputError(f"'{decoded.name}' {REFUSALS['.m4p']}.")
    films = any(not other.disposition & av.stream.Disposition.attached_pic for other in container.streams.video)
    decoded.claimed = float((stream.duration or 0) * (stream.time_base or 0))
    if not decoded.claimed and not films:
        decoded.claimed = (container.duration or 0) / av.time_base
    if container.size > LEAST_BYTES * decoded.claimed:
        _refuse_too_long(decoded.name, decoded.claimed)
    packets: list[_Packet] = []
    frames = _frames(stream, packets)
    for _, alike in groupby(frames, lambda frame: (frame.sample_rate, frame.format.name, frame.layout.name)):
        # Packed, because PyAV crashes the process when it reads the planes of eight channels.
        resampler = av.AudioResampler("flt", frame_size=BLOCK_SAMPLES)
        for block in chain.from_iterable(map(resampler.resample, chain(alike, [None]))):
            decoded.add(block.to_ndarray().reshape(-1, block.layout.nb_channels).T, block.sample_rate)
    decoded.finish()
    wav_bytes = _read_wav_header(file).bytes
    if container.format.name in RAW_STREAMS and decoded.samples:
        end = container.size if container.format.name == "aac" else 0  # FFmpeg leaves its holes out of the positions
        decoded.claimed = _seconds_with_faults(decoded.seconds, packets, file, end)
    elif container.size < wav_bytes < ENDLESS_WAV:  # cut off: FFmpeg goes by what is left
        decoded.claimed = decoded.seconds * wav_bytes / container.size
    elif not wav_bytes and codec.name.startswith("pcm_") and decoded.seconds < 2 * decoded.claimed:
        del decoded.samples[4 * math.ceil(decoded.claimed * SAMPLE_RATE) :]  # a picture behind them, read as samples


class _Packet(NamedTuple):
    """Where a packet lies in the file, its bytes, its first three, and the seconds of sound that came out of it."""

    position: int
    size: int
    start: bytes
    seconds: float


def _frames(stream: av.AudioStream, packets: list[_Packet]) -> Iterator[av.AudioFrame]:
    """Yield what can be decoded, across faults, and note the packets it came from."""
    for _ in range(MOST_FAULTS):
        try:
            for packet in stream.container.demux(stream):
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


@np.errstate(over="ignore", invalid="ignore")  # of amplitudes of 1e10
def _mono(block: np.ndarray) -> np.ndarray:
    """Return the mean over the channels, float32 (channels, n), some turned round where they cancel each other.

    The sum of two channels is some 10 dB louder than their difference; where it is half as strong, one is inverted.
    """
    block = np.ascontiguousarray(block, dtype=np.float32)  # five times faster
    mean = np.mean(block, axis=0)
    turned = block @ block[np.square(block).sum(axis=1).argmax()] < 0
    straight = np.mean(np.where(turned[:, None], -block, block), axis=0) if turned.any() else mean
    return straight if straight @ straight > 2 * (mean @ mean) else mean


def _seconds_with_faults(seconds: float, packets: list[_Packet], file: BinaryIO, end: int) -> float:
    """Return the seconds that a raw stream would last if its bytes that gave no sound had given some.

    It ends at `end`, or with its last sound if that is later (an MP3 may have tags behind it). It lasts no less than
    the Xing header of an MP3 says, which lies in the frame before the first packet; only that counts where tags lie
    between the packets.
    """
    first = packets[0].position
    file.seek(max(0, first - 2000))
    header = re.search(rb".*(?:Xing|Info)...(.)(....)", file.read(min(first, 2000)), re.DOTALL)
    frames = int.from_bytes(header[2]) if header and header[1][0] & 1 else 0
    claimed = frames * float(np.median([packet.seconds for packet in packets]))
    last = max(number for number, packet in enumerate(packets) if packet.seconds)
    packets = packets[: last + 1]
    if any(packet.start in (b"ID3", b"APE") for packet in packets):
        return claimed
    usual = 4 * np.median([packet.size for packet in packets])
    sound = sum(min(packet.size, usual) for packet in packets if packet.seconds)
    return max(claimed, seconds * float(max(end, packets[-1].position + packets[-1].size) - first) / sound)


def _remark(decoded: _Decoded) -> str:
    """Return a sentence where seconds are missing that the file plausibly says it has."""
    if decoded.claimed > LONGEST_SECONDS or decoded.seconds >= (1 - MISSING_SHARE) * decoded.claimed:
        return ""
    return f"only {decoded.seconds:.0f} of {decoded.claimed:.0f} s could be read: the file is damaged or cut off"


def _remove_offset(samples: np.ndarray) -> None:
    """Take a large constant away, in place: its line at 0 Hz would be the loudest of all."""
    offset = samples.mean(dtype=np.float64)
    power = np.einsum("i,i->", samples, samples, dtype=np.float64) / len(samples)  # std() would copy the samples
    if abs(offset) > LARGEST_OFFSET * math.sqrt(max(0, power - offset**2)):
        samples -= np.float32(offset)


def _raise_level(samples: np.ndarray) -> None:
    """Raise a very quiet recording, in place; its level is that of its sixth loudest second, not that of a click."""
    seconds = samples[: len(samples) // SAMPLE_RATE * SAMPLE_RATE].reshape(-1, SAMPLE_RATE)
    levels = np.sort(np.sqrt(np.einsum("ij,ij->i", seconds, seconds) / SAMPLE_RATE))
    level = levels[-1 - min(5, len(levels) // 4)]
    if 0 < level < QUIET_LEVEL:
        samples *= np.float32(NORMAL_LEVEL / level)
