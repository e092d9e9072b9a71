"""Pictures of a whole song by a web tool, drawn here by the tool itself: FFmpeg, which PyAV carries."""

import av
import conftest
import librosa
import matplotlib
import numpy as np
import pytest
import soundfile
from PIL import Image

import utils
from genres.audio import SAMPLE_RATE, load_audio
from genres.common import GENRES, ROOT, InputError
from genres.song_files import find_songs
from genres.songs import classify_songs
from genres.spectrogram import MEL_BINS, MEL_CENTRES, picture_to_matrix
from genres.web_pictures import read_song_picture, web_windows

RATE = 44_100


def _draw_with_ffmpeg(path, samples, **options):
    """Draw samples at 44 100 Hz as showspectrumpic does, made smaller to 432 x 288 as the user's pictures are."""
    sound = path.with_suffix(".wav")
    soundfile.write(sound, samples, RATE)
    settings = {"s": "864x512", "legend": "0", "scale": "lin", "color": "intensity"} | options
    with av.open(str(sound)) as container:
        stream = container.streams.audio[0]
        graph = av.filter.Graph()
        source = graph.add_abuffer(template=stream)
        draw = graph.add("showspectrumpic", ":".join(f"{name}={value}" for name, value in settings.items()))
        colours, sink = graph.add("format", "pix_fmts=rgb24"), graph.add("buffersink")
        for first, second in ((source, draw), (draw, colours), (colours, sink)):
            first.link_to(second)
        graph.configure()
        for frame in container.decode(stream):
            graph.push(frame)
        graph.push(None)
        picture = graph.pull().to_ndarray()
    sound.unlink()
    Image.fromarray(picture).resize((432, 288), Image.Resampling.BICUBIC).save(path)
    return path


@pytest.fixture(scope="module")
def song(small_set):
    """A demo clip over and over, 2 minutes at 44 100 Hz, loud as records are."""
    clip = sorted((small_set / "Data/genres_original/rock").glob("*.wav"))[0]
    samples = np.tile(load_audio(clip), 4)
    loud = librosa.resample(samples, orig_sr=SAMPLE_RATE, target_sr=RATE)
    return np.clip(2 * loud / np.abs(loud).max(), -1, 1)


def test_the_tool_is_recognised_and_read(song, tmp_path):
    path = _draw_with_ffmpeg(tmp_path / "song.png", song)
    picture = read_song_picture(path)
    coarse = picture.matrix
    assert (picture.kind, picture.squeezed.shape) == ("web", (128, 334))
    assert coarse.dtype == np.uint8
    assert coarse.shape[0] == MEL_BINS
    assert 400 <= coarse.shape[1] <= 432
    assert web_windows(coarse).shape[1:] == (128, 54)


def test_a_tone_is_read_where_it_is(tmp_path):
    time = np.arange(120 * RATE) / RATE
    low = sum(0.15 * np.sin(2 * np.pi * hertz * time) for hertz in np.arange(100, 1600, 250))
    tone = 0.1 * np.sin(2 * np.pi * 3000 * time)
    path = _draw_with_ffmpeg(tmp_path / "tone.png", 0.9 * low * np.exp(-time % 1) + tone)
    levels = read_song_picture(path).matrix.mean(axis=1)
    high = MEL_CENTRES > 2000
    assert MEL_CENTRES[high][levels[high].argmax()] == pytest.approx(3000, abs=120)


def test_the_user_s_own_pictures_are_read_and_answered():
    folder = conftest.SHARED / "personal_songs"
    if not folder.is_dir():
        pytest.skip("no pictures of the user's songs here")
    results = classify_songs(find_songs(folder), utils.shipped_model(), squeeze=True)
    assert len(results) == 10
    assert all(result.genre in GENRES for result in results)
    assert all(len(result.windows) >= 8 for result in results)


@pytest.mark.parametrize("scale", ["cbrt", "log"])
def test_another_level_scale_is_refused(scale, song, tmp_path):
    path = _draw_with_ffmpeg(tmp_path / "song.png", song, scale=scale)
    with pytest.raises(InputError, match=r"song\.png"):
        read_song_picture(path)


@pytest.mark.parametrize("kind", ["viridis", "gray", "flipped", "pixel", "photo"])
def test_every_other_picture_is_refused_by_name(kind, song, tmp_path):
    path = tmp_path / "other.png"
    if kind in ("viridis", "gray"):
        matrix = picture_to_matrix(ROOT / "data_samples" / "metal00002.png")
        pixels = (255 * matplotlib.colormaps[kind](matrix[::-1])[..., :3]).astype(np.uint8)
    elif kind == "flipped":
        pixels = np.asarray(Image.open(_draw_with_ffmpeg(path, song)))[::-1]
    else:
        x, y = np.meshgrid(np.linspace(0, 1, 432), np.linspace(0, 1, 288))
        pixels = np.stack([200 * x, 180 * y, 120 + 80 * np.sin(9 * x)], axis=-1).astype(np.uint8)
        pixels = np.zeros((1, 1, 3), np.uint8) if kind == "pixel" else pixels
    Image.fromarray(pixels).save(path)
    with pytest.raises(InputError, match=r"other\.png"):
        read_song_picture(path)
