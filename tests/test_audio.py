"""Any file that holds sound gives its sound, all of it, and says what is missing; no other file is taken."""

import os
import struct

import av
import librosa
import numpy as np
import pytest
import soundfile
from PIL import Image
from sound_files import encode, tune

from genres.audio import LONGEST_SECONDS, SAMPLE_RATE, load_audio, read_sound
from genres.common import InputError

RATE = 44_100
MP3 = {"codec": "libmp3lame", "format": "mp3"}
VBR = MP3 | {"stream": {"global_quality": str(4 * 118), "flags": "+qscale"}}
BARE = {"container": {"write_xing": "0", "id3v2_version": "0"}}
STEREO = tune(12, RATE, 2)
ID3 = b"ID3\x04\x00\x00" + bytes([0, 0, 2, 0]) + bytes(256)


def _hole(data: bytes, at: float, share: float) -> bytes:
    first, length = int(at * len(data)), int(share * len(data))
    return data[:first] + bytes(length) + data[first + length :]


def _written(path, samples, rate=RATE, **options) -> bytes:
    soundfile.write(path, samples, rate, **options)
    return path.read_bytes()


def _flac(path, total: int) -> bytes:
    """A FLAC file whose header says that it holds `total` samples."""
    data = bytearray(_written(path, STEREO))
    data[18:26] = (int.from_bytes(data[18:26], "big") >> 36 << 36 | total).to_bytes(8, "big")
    return bytes(data)


def _wav(path, riff: int, data: int) -> bytes:
    """A WAV file whose header says these lengths."""
    whole = bytearray(_written(path, STEREO))
    at = whole.index(b"data") + 4
    whole[4:8], whole[at : at + 4] = struct.pack("<I", riff), struct.pack("<I", data)
    return bytes(whole)


def _mp3(path, second=None, first=None):
    """An MP3 of 12 s, and behind it another of 6 s in half the rate and mono."""
    one = encode(path, STEREO, RATE, **(first or MP3))
    other = encode(path, tune(6, RATE // 2), RATE // 2, **(second or MP3), bit_rate=64_000)
    return one, other


# What a header or a piece lies about: how to make the file, and the seconds that are in it.
WHOLE = {
    "no length.flac": (lambda path: _flac(path, 0), 12),
    "no length, tagged.flac": (lambda path: ID3 + _flac(path, 0), 12),
    "a week.flac": (lambda path: _flac(path, 2**36 - 1), 12),
    "a second.flac": (lambda path: _flac(path, RATE), 12),
    "joined.flac": (lambda path: _flac(path, 12 * RATE) * 2, 24),
    "no length.wav": (lambda path: _wav(path, 0, 0), 12),
    "4 GB.wav": (lambda path: _wav(path, 2**32 - 1, 2**32 - 1), 12),
    "2 GB.wav": (lambda path: _wav(path, 2**31 - 1, 2**31 - 1), 12),
    "1 KB.wav": (lambda path: _wav(path, 1036, 1000), 12),
    "joined.wav": (lambda path: _written(path, STEREO) * 2, 24),
    "rate changes.mp3": (lambda path: b"".join(_mp3(path)), 18),
    "rate changes back.mp3": (lambda path: b"".join(_mp3(path)[::-1]), 18),
    "joined vbr.mp3": (lambda path: b"".join(_mp3(path, VBR, VBR)), 18),
    "joined, tagged.mp3": (lambda path: b"".join(ID3 + part for part in _mp3(path)), 18),
    "vbr, no xing.mp3": (lambda path: encode(path, STEREO, RATE, **VBR | BARE), 12),
    "short.mp3": (lambda path: encode(path, tune(3.3), **MP3), 3.3),
    "short, bare.mp3": (lambda path: encode(path, tune(3.3, 16_000), 16_000, **MP3 | BARE), 3.3),
    "rate changes.aac": (lambda p: encode(p, STEREO, RATE, format="adts") + encode(p, tune(6), format="adts"), 18),
    "chained.ogg": (lambda path: _written(path, STEREO) * 2, 24),
    "joined.mkv": (lambda path: encode(path, STEREO, RATE, codec="flac") * 2, 24),
}


@pytest.mark.parametrize("name", WHOLE)
def test_no_length_in_a_header_is_believed(name, tmp_path):
    make, seconds = WHOLE[name]
    path = tmp_path / name
    path.write_bytes(make(path))
    sound = read_sound(path)
    assert len(sound.samples) / SAMPLE_RATE == pytest.approx(seconds, abs=0.15)
    assert sound.remark == ""


# Files with a part missing, the share that is left, and whether the file shows that something is missing.
DAMAGED = {
    "small hole.mp3": (lambda path: _hole(encode(path, STEREO, RATE, **MP3), 0.07, 0.03), 0.97, False),
    "hole.mp3": (lambda path: _hole(encode(path, STEREO, RATE, **MP3), 0.07, 0.3), 0.7, True),
    "hole, no xing.mp3": (lambda path: _hole(encode(path, STEREO, RATE, **VBR | BARE), 0.4, 0.3), 0.7, True),
    "hole.aac": (lambda path: _hole(encode(path, STEREO, RATE, format="adts"), 0.4, 0.3), 0.7, True),
    "hole.m4a": (
        lambda path: _hole(encode(path, STEREO, RATE, container={"movflags": "faststart"}), 0.4, 0.3),
        0.7,
        True,
    ),
    "hole.flac": (lambda path: _hole(_written(path, STEREO), 0.4, 0.3), 0.7, True),
    "hole.ogg": (lambda path: _hole(_written(path, STEREO), 0.4, 0.3), 0.7, True),
    "half.mp3": (lambda path: encode(path, STEREO, RATE, **MP3)[:100_000], 0.5, True),
    "half.wav": (lambda path: _written(path, STEREO)[: 6 * 4 * RATE], 0.5, True),
    "half.flac": (lambda path: _hole(_written(path, STEREO), 0.5, 0.5), 0.5, True),
    "half.mkv": (lambda path: (data := encode(path, STEREO, RATE, codec="flac"))[: len(data) // 2], 0.5, True),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_what_is_left_of_a_damaged_file_is_heard_and_the_rest_remarked(name, tmp_path):
    make, share, remarked = DAMAGED[name]
    path = tmp_path / name
    path.write_bytes(make(path))
    sound = read_sound(path)
    assert len(sound.samples) / SAMPLE_RATE == pytest.approx(12 * share, abs=0.9)
    assert ("s could be read" in sound.remark) == remarked


KINDS = {
    **{name: {"codec": "pcm_s16le"} for name in ("a.wav", "a.mov")},
    "a.m4a": {"codec": "alac"},
    **{
        name: {"codec": "aac"}
        for name in ("a.m4b", "a.mp4", "a.MP4", "it's a «ño» song.m4a", "-f.mka", "http:.m4a")
        if os.name != "nt" or ":" not in name
    },
    **{name: {"codec": "libopus"} for name in ("a.webm", "a.opus")},
    "a.wma": {"codec": "wmav2", "format": "asf"},
    "a.ac3": {"codec": "ac3"},
    "no suffix": {"codec": "libmp3lame", "format": "mp3"},
    **{f"a.{kind.lower()}": {"kind": kind} for kind in ("AU", "AIFF", "CAF", "W64", "OGG", "MP3", "FLAC")},
    **{f"{sub}.wav": {"kind": "WAV", "subtype": sub} for sub in ("PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")},
    **{f"{sub}.wav": {"kind": "WAV", "subtype": sub} for sub in ("ALAW", "IMA_ADPCM", "GSM610", "NMS_ADPCM_32")},
    "a.pvf": {"kind": "PVF"},
    "a.mat": {"kind": "MAT5"},
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_file_gives_the_same_music(name, tmp_path):
    options, samples, path = dict(KINDS[name]), tune(4, 48_000), tmp_path / name
    if "kind" in options:
        soundfile.write(path, samples, 48_000, format=options["kind"], subtype=options.get("subtype"))
    else:
        encode(path, samples, 48_000, **options)
    read = load_audio(path)
    assert read.dtype == np.float32
    assert len(read) / SAMPLE_RATE == pytest.approx(4, abs=0.15)
    spectra = [
        np.log(librosa.feature.melspectrogram(y=y[: 3 * SAMPLE_RATE], sr=SAMPLE_RATE, n_mels=20) + 1e-3).mean(axis=1)
        for y in (read, librosa.resample(samples, orig_sr=48_000, target_sr=SAMPLE_RATE))
    ]
    assert np.median(np.abs(spectra[0] - spectra[1])) < 0.7


@pytest.mark.parametrize(("rate", "channels"), [(22_050, 1), (32_000, 2), (96_000, 6), (8_000, 1), (192_000, 2)])
def test_wav_is_read_exactly_as_librosa_reads_it(rate, channels, tmp_path):
    soundfile.write(tmp_path / "a.wav", tune(3, rate, channels), rate)
    assert np.array_equal(load_audio(tmp_path / "a.wav"), librosa.load(tmp_path / "a.wav")[0])


def test_real_clips_are_read_exactly_as_librosa_reads_them(gtzan):
    clips = sorted(gtzan.glob("**/genres_original/*/*.0000[01].wav"))
    for clip in clips:
        assert np.array_equal(load_audio(clip), librosa.load(clip)[0]), clip.name


# What a recording may suffer without another answer; the second reading is the one it must be heard as.
SAME = {
    "one channel inverted": (lambda x: x * [1, -1], lambda x: x),
    "right is minus left": (lambda x: x[:, :1] * [1, -1], lambda x: x[:, 0]),
    "one of six channels inverted": (lambda x: x[:, [0, 0, 0, 0, 0, 0]] * [1, 1, -1, -1, -1, 1], lambda x: x[:, 0]),
    "large offset": (lambda x: 0.5 * x + 0.4, lambda x: 0.5 * (x - x.mean(axis=0))),
}


@pytest.mark.parametrize("name", SAME)
def test_channels_that_cancel_and_offsets_do_not_change_the_sound(name, tmp_path):
    suffer, plain = SAME[name]
    expected = plain(STEREO)
    soundfile.write(tmp_path / "a.wav", suffer(STEREO), RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "b.wav", expected, RATE, subtype="FLOAT")
    heard, wanted = load_audio(tmp_path / "a.wav"), load_audio(tmp_path / "b.wav")
    assert np.abs(np.abs(heard) - np.abs(wanted))[1000:-1000].max() < 1e-3


@pytest.mark.parametrize("decibels", [-50, -60, -70])
@pytest.mark.parametrize("click", [False, True])
def test_a_very_quiet_recording_is_raised(decibels, click, tmp_path):
    samples = STEREO * 10 ** (decibels / 20)
    samples[3 * RATE] = 0.9 if click else 0
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    heard = load_audio(tmp_path / "a.wav")
    level = np.sqrt(np.median(np.square(heard).reshape(-1, SAMPLE_RATE).mean(axis=1)))
    assert 0.05 < level < 0.2


def test_tags_are_read(tmp_path):
    tags = {"title": "Caf\u00e9 &amp; Bar", "artist": "Die \u00c4rzte"}
    for name, codec in (("a.mp3", "libmp3lame"), ("a.m4a", "aac"), ("a.flac", "flac"), ("a.opus", "libopus")):
        encode(tmp_path / name, tune(4, 48_000), 48_000, codec=codec, tags=tags)
        sound = read_sound(tmp_path / name)
        assert (sound.title, sound.artist) == ("Caf\u00e9 & Bar", "Die \u00c4rzte"), name


def _header(rate=RATE, channels=1, form=1, size=0):
    head = struct.pack(
        "<4sI4s4sIHHIIHH", b"RIFF", 36 + size, b"WAVE", b"fmt ", 16, form, channels, rate, 2 * rate, 2, 16
    )
    return head + struct.pack("<4sI", b"data", size) + b"\x12\x34" * (size // 2)


def _film_without_sound(path):
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for _ in range(40):
            container.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
        container.mux(stream.encode(None))
    return path.read_bytes()


def _with_one(path, value):
    samples = tune(8)
    samples[1000] = value
    return _written(path, samples, format="WAV", subtype="FLOAT")


BAD = {
    "empty": (lambda path: b"", "empty"),
    "lyrics": (lambda path: b"lyrics only", "cannot be read"),
    "random bytes": (lambda path: np.random.default_rng(0).bytes(5000), "cannot be read"),
    "tag only": (lambda path: b"ID3\x04\x00\x00\x00\x00\x0f\x00" + bytes(2000), "cannot|only"),
    "start of an mp3": (lambda path: encode(path, tune(), **MP3)[:200], "cannot|only"),
    "film": (_film_without_sound, "no sound track"),
    "m4a without index": (lambda path: encode(path, tune(), format="ipod").replace(b"moov", b"gone"), "cannot be read"),
    "protected": (lambda path: encode(path, tune(), format="ipod").replace(b"mp4a", b"drms", 1), "copy-protected"),
    "playlist": (lambda path: b"#EXTM3U\n#EXTINF:9,\nhttp://127.0.0.1:9/a.mp3\n#EXT-X-ENDLIST\n", "cannot be read"),
    "header only": (lambda path: _header(), "cannot|only"),
    "unknown kind of wav": (lambda path: _header(form=0x1234, size=8 * RATE), "cannot|only"),
    "no channels": (lambda path: _header(channels=0, size=8 * RATE), "cannot|only"),
    "rate of nought": (lambda path: _header(rate=0, size=8 * RATE), "cannot|only"),
    "slow": (lambda path: _written(path, tune(), 20, format="WAV"), "20 samples a second"),
    "too short": (lambda path: _written(path, tune(0.2), 22_050, format="WAV"), "0.2 s"),
    "silent": (lambda path: _written(path, np.zeros(5 * RATE), format="WAV"), "silent"),
    "constant": (lambda path: _written(path, np.full(5 * RATE, 0.5), format="WAV"), "silent"),
    "not a number": (lambda path: _with_one(path, np.nan), "finite"),
    "infinite": (lambda path: _with_one(path, np.inf), "finite"),
    "three hours": (
        lambda path: _written(path, np.ones(3 * 3600 * 4000, np.int16), 4000, format="WAV", subtype="PCM_U8"),
        "3.0 h",
    ),
    "zero byte in \0 name": (None, "cannot be opened"),
    "missing": (None, "does not exist"),
    "https://example.org/missing": (None, "web address"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_sound_is_refused_in_one_sentence_that_names_it(name, tmp_path, capfd):
    make, words = BAD[name]
    path = tmp_path / f"{name}.mp3" if "://" not in name else f"{name}.mp3"
    if make:
        path.write_bytes(make(path))
    capfd.readouterr()
    with pytest.raises(InputError, match=words) as refused:
        read_sound(path)
    assert name in str(refused.value)
    assert "\n" not in str(refused.value)
    assert capfd.readouterr() == ("", ""), "the decoders' own messages are not for the user"


def test_folders_and_pictures_are_no_sound_and_home_is_found(tmp_path, monkeypatch):
    Image.new("RGB", (432, 288)).save(tmp_path / "cover.png")
    for path in (tmp_path, tmp_path / "cover.png"):
        with pytest.raises(InputError, match=path.name):
            read_sound(path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    soundfile.write(tmp_path / "song.wav", tune(), 22_050)
    assert len(load_audio("~/song.wav")) == 3.5 * SAMPLE_RATE < LONGEST_SECONDS * SAMPLE_RATE
