"""Own songs: reading any file, windows, labels and answers."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from fuzz import write_m4a
from hypothesis import given, settings
from hypothesis import strategies as st

import utils

RATE = utils.SAMPLE_RATE


def _music(seconds: float, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """A beat of four notes over soft noise."""
    time = np.arange(int(seconds * rate)) / rate
    notes = np.select([time % 2 < k / 2 for k in (1, 2, 3, 4)], [220, 277, 330, 440])
    return (0.4 * np.sin(2 * np.pi * notes * time) * np.exp(-6 * (time % 0.5))).astype(np.float32) + (
        np.random.default_rng(seed).normal(0, 0.01, len(time)).astype(np.float32)
    )


class _Model(utils.GenreModel):
    """Stands in for a trained model: says how much of each window is floor."""

    def __init__(self):
        super().__init__(None, None)

    def probabilities(self, matrices):
        share = (matrices == 0).mean(axis=(1, 2))
        return np.stack([share, *[(1 - share) / 9] * 9], axis=1)


@pytest.mark.parametrize("name", ["a.wav", "b.mp3", "c.flac", "d.ogg", "e.m4a", "it's a «ño» song.mp3"])
def test_every_kind_of_file_gives_the_same_music(tmp_path, name):
    samples = _music(8, 44_100)
    path = tmp_path / name
    if name.endswith("m4a"):
        write_m4a(path, samples, 44_100)
    else:
        soundfile.write(path, samples, 44_100)
    read = utils.load_audio(path)
    assert read.dtype == np.float32
    assert len(read) / RATE == pytest.approx(8, abs=0.15)
    lossless = utils.librosa.resample(samples, orig_sr=44_100, target_sr=RATE)
    agreement = np.abs(utils.audio_to_matrix(read).astype(int) - utils.audio_to_matrix(lossless))
    assert np.median(agreement) < 16


def test_wav_is_read_exactly_as_librosa_reads_it(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.stack([_music(4, 32_000), _music(4, 32_000, 1)], axis=1), 32_000)
    assert np.array_equal(utils.load_audio(tmp_path / "a.wav"), utils.librosa.load(tmp_path / "a.wav")[0])


def test_six_channels_at_96_khz_are_read(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.tile(_music(4, 96_000)[:, None], 6), 96_000)
    assert len(utils.load_audio(tmp_path / "a.wav")) == pytest.approx(4 * RATE, abs=2)


def _bad_songs(folder):
    good = _music(5)
    soundfile.write(folder / "whole.mp3", good, RATE)
    data = (folder / "whole.mp3").read_bytes()
    (folder / "whole.mp3").unlink()
    (folder / "empty.mp3").write_bytes(b"")
    (folder / "text.mp3").write_text("lyrics only")
    (folder / "cut.mp3").write_bytes(data[:200])
    (folder / "folder.mp3").mkdir()
    soundfile.write(folder / "short.wav", good[: RATE // 5], RATE)
    soundfile.write(folder / "silent.wav", np.zeros(5 * RATE), RATE)
    broken = good.copy()
    broken[1000] = np.nan
    soundfile.write(folder / "nan.wav", broken, RATE, subtype="FLOAT")
    (folder / "no header.wav").write_bytes(np.random.default_rng(0).bytes(5000))
    (folder / "picture.png").write_bytes(b"\x89PNG\r\n")


def test_bad_songs_get_a_sentence_each_and_the_others_an_answer(tmp_path):
    _bad_songs(tmp_path)
    soundfile.write(tmp_path / "good (rock).ogg", _music(10), RATE)
    results = utils.classify_songs(utils.find_songs(tmp_path), _Model(), whole=True)
    assert len(results) == 10
    for result in results:
        if result.song.path.name == "good (rock).ogg":
            assert result.genre in utils.GENRES
            assert result.song.genre == "rock"
        else:
            assert result.genre is None
            assert result.song.path.name in result.song.note
            assert "\n" not in result.song.note
    table = utils.song_table(results)
    assert (table["note"] != "").sum() == 9


def test_windows_cover_a_song_and_leave_silence_out():
    song = np.concatenate([np.zeros(20 * RATE), _music(100), np.zeros(40 * RATE)]).astype(np.float32)
    starts, windows = utils.song_windows(utils.mel_power(song))
    assert windows.shape[1:] == (utils.MEL_BINS, utils.COLUMNS)
    assert starts.min() == pytest.approx(20, abs=1.5)
    assert starts.max() + utils.CLIP_SECONDS == pytest.approx(120, abs=1.5)
    assert np.diff(starts).max() <= 15.1


STRETCHES = st.tuples(st.sampled_from([0, 1e-6, 1e-3, 0.3, 1]), st.floats(0.5, 50), st.booleans())


@settings(max_examples=15, deadline=None)
@given(stretches=st.lists(STRETCHES, min_size=1, max_size=5))
def test_any_song_gives_windows_that_lie_in_it(stretches):
    parts = [
        level * (_music(seconds) if notes else np.random.default_rng(0).normal(0, 0.2, int(seconds * RATE)))
        for level, seconds, notes in stretches
    ]
    song = np.concatenate(parts).astype(np.float32)
    starts, windows = utils.song_windows(utils.mel_power(song))
    assert windows.dtype == np.uint8
    assert windows.shape == (len(starts), utils.MEL_BINS, utils.COLUMNS)
    assert len(starts) >= 1
    assert (np.diff(starts) > 0).all()
    assert starts.min() >= 0
    assert starts.max() + min(utils.CLIP_SECONDS, len(song) / RATE) <= len(song) / RATE + 0.05
    assert windows.any() or np.abs(song).max() < 0.01  # what is softer is all floor


def test_a_window_is_drawn_as_if_it_had_been_cut_out():
    song = _music(90)
    starts, windows = utils.song_windows(utils.mel_power(song))
    first = round(starts[1] * RATE)
    alone = utils.audio_to_matrix(song[first : first + utils.CLIP_SAMPLES])
    assert (alone == windows[1])[:, 2:-2].mean() > 0.999


def test_a_short_song_is_one_window():
    starts, windows = utils.song_windows(utils.mel_power(_music(12)))
    assert starts.tolist() == [0]
    assert np.array_equal(windows[0], utils.audio_to_matrix(_music(12)))


@pytest.mark.parametrize(
    ("name", "genre"),
    [
        ("Hip-Hop/Rap", "hiphop"),
        ("Hip Hop", "hiphop"),
        ("Rock & Roll", "rock"),
        ("Smooth Jazz", "jazz"),
        ("Musik: Klassik", None),
        ("Heavy Metal", "metal"),
        ("Rhythm & Blues", None),
        ("R&B/Soul", None),
        ("Pop/Rock", None),
        ("Country Gospel", None),
        ("", None),
        ("Reggae", "reggae"),
    ],
)
def test_genres_of_shops_are_mapped_only_where_that_is_plain(name, genre):
    assert utils.map_genre(name) == genre


def test_labels_come_from_table_name_or_folder(tmp_path):
    for name in ("a.mp3", "b (disco).mp3", "jazz/c.mp3", "rock/d (Live).mp3", "e (Soul).mp3", "f.mp3"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "songs.csv").write_text("file,title,genre\na.mp3,First,Hip-Hop/Rap\ngone.mp3,Gone,pop\n")
    songs = {song.path.name: song for song in utils.find_songs(tmp_path)}
    assert {name: song.genre for name, song in songs.items()} == {
        "a.mp3": "hiphop",
        "b (disco).mp3": "disco",
        "c.mp3": "jazz",
        "d (Live).mp3": "rock",
        "e (Soul).mp3": None,
        "f.mp3": None,
        "gone.mp3": None,
    }
    assert songs["a.mp3"].title == "First"
    assert "Soul" in songs["e (Soul).mp3"].note
    assert "no such file" in songs["gone.mp3"].note


def test_missing_empty_and_foreign_folders_are_named(tmp_path):
    with pytest.raises(utils.InputError, match="does not exist"):
        utils.find_songs(tmp_path / "nowhere")
    with pytest.raises(utils.InputError, match="No songs"):
        utils.find_songs(tmp_path)
    (tmp_path / "songs.csv").write_text("name;genre\na.mp3;rock\n")
    with pytest.raises(utils.InputError, match="'file'"):
        utils.find_songs(tmp_path)


def test_a_picture_of_another_tool_is_refused_by_name(tmp_path):
    utils.Image.new("RGB", (432, 288), "navy").save(tmp_path / "at last (blues).png")
    (result,) = utils.classify_songs(utils.find_songs(tmp_path), _Model())
    assert result.genre is None
    assert "at last (blues).png" in result.song.note


def test_a_result_prints_well_and_scores_count(small_set, tmp_path):
    clip = next((small_set / "Data/genres_original/rock").glob("*.wav"))
    shutil.copy(clip, tmp_path / "one (rock).wav")
    result = utils.classify_song(tmp_path / "one (rock).wav", _Model(), whole=True)
    assert result.genre in repr(result)
    assert "%" in repr(result)
    genres = [SimpleNamespace(genre="rock"), SimpleNamespace(genre="pop"), SimpleNamespace(genre="rock")]
    known = utils.Match("rock00000.png", 0.0, 0.9)
    says_rock = (np.zeros(1), np.full((1, 10), 0.06) + 0.4 * np.eye(10)[[9]], np.eye(10)[9])
    results = [utils.SongResult(song, *says_rock, unsure_below=0.4) for song in genres[:2]]
    results += [utils.SongResult(genres[2], *says_rock, match=known)]
    score = utils.score_songs(results)
    assert score["total"] == score["answered"] == 2
    assert score["correct"] == score["answered_correct"] == score["whole_picture_correct"] == 1
    assert score["in_training"] == 1
    assert "1 of 2 songs right, 50%" in utils.score_sentence(score)


def test_a_doubtful_answer_is_called_unsure():
    song = utils.Song(utils.Path("a.mp3"), "a", "rock")
    windows = np.full((2, 10), 0.07) + 0.3 * np.eye(10)[[9, 9]]
    doubtful, certain = (utils.SongResult(song, np.zeros(2), windows, unsure_below=limit) for limit in (0.5, 0.3))
    assert not doubtful.sure
    assert "unsure" in repr(doubtful)
    assert certain.sure
    assert utils.song_table([doubtful, certain])["prediction"].tolist() == ["unsure (rock)", "rock"]
    assert utils.score_songs([doubtful, certain])["answered"] == 1


def test_the_threshold_is_the_lowest_that_keeps_answers_right():
    confidence = np.linspace(0.95, 0.5, 10)
    probabilities = np.stack([confidence, 1 - confidence, *[np.zeros(10)] * 8], axis=1)
    labels = np.array([0, 0, 0, 0, 1, 0, 1, 1, 1, 1])  # the surest four right, then five of six, then ever fewer
    threshold = utils.fit_threshold(probabilities, labels, wanted=0.8)
    assert threshold == pytest.approx(confidence[5])
    assert utils.fit_threshold(probabilities, np.ones(10, int), wanted=0.8) == pytest.approx(confidence[0])


def test_the_plain_call_needs_nothing_but_the_shipped_files(small_set):
    song = sorted((small_set / "songs").glob("*.*"))[0]
    result = utils.classify_song(song)
    assert result.genre in utils.GENRES
    assert result.probabilities.sum() == pytest.approx(1, abs=1e-5)
    assert len(result.windows) == len(result.starts) == len(result.matrices)
    assert result.match is None


@pytest.mark.parametrize("sound", ["white noise", "a tone", "clicks"])
def test_what_is_no_music_is_called_strange(sound):
    time = np.arange(30 * RATE) / RATE
    samples = {
        "white noise": np.random.default_rng(0).normal(0, 0.1, len(time)),
        "a tone": 0.3 * np.sin(2 * np.pi * 440 * time),
        "clicks": (np.arange(len(time)) % (RATE // 2) == 0) * 0.9,
    }[sound]
    model = utils.load_model()
    assert model.strange(utils.audio_to_matrix(samples.astype(np.float32))[None])
    music = [utils.picture_to_matrix(path) for path in sorted((utils.ROOT / "data_samples").glob("*.png"))]
    assert not any(model.strange(matrix[None]) for matrix in music)


def test_where_the_network_looks_is_what_its_answer_hangs_on():
    matrix = utils.picture_to_matrix(utils.ROOT / "data_samples" / "metal00002.png")
    network = utils.load_model().network
    heat = utils.grad_cam(network, matrix[None], "metal")[0]
    assert heat.shape == matrix.shape
    assert heat.min() >= 0
    assert heat.max() == pytest.approx(1)
    metal = utils.GENRES.index("metal")
    order = np.argsort(heat, axis=None)
    left = []
    for cells in (order[: len(order) // 4], order[-len(order) // 4 :]):
        blanked = matrix.copy()
        blanked.flat[cells] = int(matrix.mean())
        left.append(utils.predict(network, blanked[None])[0, metal])
    assert left[1] < left[0], "blanking what is hot must cost metal more than blanking what is cold"


def test_the_page_of_a_song_names_its_axes(small_set):
    song = sorted((small_set / "songs").glob("*.*"))[0]
    model = utils.load_model()
    figure = utils.plot_song_course(utils.classify_song(song, model), model.network, "demo songs: one")
    labels = {axes.get_xlabel() for axes in figure.axes} | {axes.get_ylabel() for axes in figure.axes}
    assert {"time in s", "probability", "frequency in Hz (mel)"} <= labels
    assert all(axes.get_title() for axes in figure.axes[:4])
    utils.plt.close(figure)
