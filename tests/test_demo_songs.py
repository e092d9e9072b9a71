"""The demo band: does it play what a listener expects, the same each time, and leave whole sets on disk?"""

import time
from itertools import chain

import joblib
import numpy as np
import pandas as pd
import pretty_midi
import pytest
import soundfile

import utils
from genres import demo_songs
from genres.audio import SAMPLE_RATE, load_audio
from genres.common import GENRES, InputError
from genres.spectrogram import CLIP_SECONDS, audio_to_matrix, picture_to_matrix


def track(midi, name):
    return next((part for part in midi.instruments if part.name == name), None)


def places_in_bar(genre, name, keys=None, **traits):
    """Give where in its bar each note of a part starts, in beats, for the first song that has the traits and notes."""
    for seed in range(500):
        band, midi = demo_songs.cast_band(genre, seed), None
        if traits.items() <= band.traits.items():
            midi = demo_songs.compose(genre, seed, 20)
        if midi and track(midi, name):
            notes = [note.start for note in track(midi, name).notes if keys is None or note.pitch in keys]
            if len(notes) > 15:
                return np.array(notes) * band.tempo / 60 % 4
    raise AssertionError(f"no {genre} song with {traits}")


@pytest.mark.parametrize("genre", GENRES)
def test_every_genre_sounds(genre):
    samples = demo_songs.song(genre, seed=5, seconds=4.0)
    assert samples.dtype == np.float32 and samples.shape == (4 * SAMPLE_RATE,)
    assert np.isfinite(samples).all() and 0.5 < np.abs(samples).max() <= 1
    assert np.sqrt(np.mean(samples**2)) > 0.01


def test_a_seed_gives_the_same_song_and_another_seed_another():
    first, again, other = (demo_songs.song("jazz", seed, 3.0) for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_unknown_genre_is_refused():
    with pytest.raises(InputError, match="polka"):
        demo_songs.compose("polka", 0, 5)


def test_classical_music_has_no_drums_and_disco_has():
    assert all(track(demo_songs.compose("classical", seed, 20), "drums") is None for seed in range(8))
    assert sum(track(demo_songs.compose("disco", seed, 20), "drums") is not None for seed in range(8)) >= 7


def test_rock_has_its_backbeat_on_two_and_four():
    places = places_in_bar("rock", "drums", keys={38}, grooves="rock")
    near = np.abs(places[:, None] - [1, 3]).min(axis=1) < 0.15
    assert near.mean() > 0.6


def test_disco_plays_the_kick_on_all_four_beats():
    places = places_in_bar("disco", "drums", keys={36}, grooves="disco")
    assert (np.abs(places - places.round()) < 0.2).all()  # the beat of a band wanders a little
    assert set(places.round() % 4) == {0, 1, 2, 3}


def test_reggae_chords_skank_between_the_beats():
    places = places_in_bar("reggae", "chords", comping="skank")
    assert (np.abs(places % 1 - 0.55) < 0.2).mean() > 0.9


def test_jazz_swings_and_metal_does_not():
    assert demo_songs.bend(0.5, 2 / 3, back=False) == pytest.approx(2 / 3)
    swings = {g: np.mean([demo_songs.cast_band(g, s).swing for s in range(20)]) for g in ("jazz", "metal")}
    assert swings["jazz"] > 0.58 > 0.53 > swings["metal"]


def test_chords_are_read_in_their_key():
    assert demo_songs.read_chord("I", 0) == (0, (0, 4, 7))
    assert demo_songs.read_chord("bVII7", 2) == (0, (0, 4, 7, 10))
    assert demo_songs.read_chord("iim7b5", 9) == (11, (0, 3, 6, 10))


def test_patterns_hold_notes_and_fit_the_bar():
    assert demo_songs.read_line("x---..x.") == [(0, 2, "x"), (3, 0.5, "x")]
    for line in chain(*demo_songs.BASS_LINES.values(), *demo_songs.COMPING.values()):
        assert len(line) in (12, 16) and demo_songs.read_line(line)


def test_silence_renders_as_silence():
    assert not demo_songs.render(pretty_midi.PrettyMIDI(), 0.5).any()


@pytest.fixture(scope="module")
def small_set(tmp_path_factory):
    """Make a set of one clip and one short song per genre, with short notes, which are quicker to record."""
    folder = tmp_path_factory.mktemp("set") / "demo"
    forget_notes()
    with (
        pytest.MonkeyPatch.context() as patch,
        joblib.parallel_config(backend="threading"),
    ):  # spares the tests the start of new processes
        patch.setattr(demo_songs, "NOTE_SECONDS", 0.3)
        demo_songs.make_demo_set(folder, 1, 0, song_seconds=(4, 5), songs_per_genre=1, progress=False)
    forget_notes()
    return folder


def forget_notes():
    demo_songs.record_note.cache_clear()
    demo_songs.pitched_note.cache_clear()


def test_the_set_has_gtzan_layout(small_set):
    for genre in GENRES:
        picture = small_set / "Data" / "images_original" / genre / f"{genre}00000.png"
        samples = load_audio(small_set / "Data" / "genres_original" / genre / f"{genre}.00000.wav")
        assert len(samples) == round(CLIP_SECONDS * SAMPLE_RATE)
        difference = picture_to_matrix(picture) != audio_to_matrix(samples)
        assert difference.mean() < 0.05  # the WAV is rounded to 16 bit
    assert utils.find_dataset(small_set).name == "demo"


def test_the_songs_can_be_read_and_do_not_tell_their_genre(small_set):
    table = pd.read_csv(small_set / "songs" / "songs.csv")
    assert list(table.columns) == ["file", "title", "genre"]
    assert sorted(table["genre"]) == sorted(GENRES) and table["title"].is_unique
    assert {name.rsplit(".")[-1] for name in table["file"]} == set(demo_songs.FORMATS)
    for file, genre in zip(table["file"], table["genre"], strict=True):
        samples, rate = soundfile.read(small_set / "songs" / file)
        assert 3.9 < len(samples) / rate < 5.2 and np.abs(samples).max() > 0.3
        assert genre not in file


def test_a_finished_set_is_left_alone(small_set):
    picture = next(small_set.glob("Data/images_original/*/*.png"))
    before, start = picture.stat().st_mtime_ns, time.perf_counter()
    demo_songs.make_demo_set(small_set, 1, 0, song_seconds=(4, 5), songs_per_genre=1, progress=False)
    assert time.perf_counter() - start < 0.2 and picture.stat().st_mtime_ns == before


def test_an_interrupted_run_leaves_nothing_half_written_nor_what_a_killed_run_left(tmp_path, monkeypatch):
    (tmp_path / ".making-killed" / "Data").mkdir(parents=True)

    def write_a_little_and_stop(workshop, *_):
        (workshop / "Data").mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr(demo_songs, "make_parts", write_a_little_and_stop)
    with pytest.raises(KeyboardInterrupt):
        demo_songs.make_demo_set(tmp_path, 1, progress=False)
    assert [path.name for path in tmp_path.iterdir() if path.name != ".lock"] == []


def test_sizes_must_be_positive(tmp_path):
    with pytest.raises(InputError, match="at least one"):
        demo_songs.make_demo_set(tmp_path, clips_per_genre=0)
