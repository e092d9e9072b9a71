"""What the model says of songs, as sound or as pictures of a web tool, and how notebook 04 shows it."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pandas as pd
import pytest
import soundfile
from conftest import SHARED, refused
from PIL import Image, ImageOps

import utils
from genres import plots, songs
from genres.common import GENRES, ROOT, SAMPLE_RATE
from genres.ear import fit_neighbours, listen
from genres.fingerprints import Fingerprints, Match
from genres.song_files import Song, find_songs
from genres.songs import Answer, SongResult, score_sentence, score_songs, song_row
from genres.spectrogram import COLUMNS, MEL_BINS, MEL_CENTRES, picture_to_matrix
from genres.web_pictures import read_song_picture, web_windows

SAMPLE = ROOT / "data_samples" / "metal00002.png"
MATRICES = np.random.default_rng(0).integers(0, 256, (40, MEL_BINS, COLUMNS), np.uint8)
IMAGES = np.array([f"{GENRES[k % 10]}{k:05d}.png" for k in range(40)])
PRINTS = Fingerprints(IMAGES, np.zeros((40, 32, COLUMNS), np.int8), np.full(40, 1292), np.resize(GENRES, 40))
MATCH = Match("rock00000.png", "Band", "Title", 12.3, 0.9)


def answered(title="a", answer="rock", confidence=0.5, label=None, cnn=None, **more) -> SongResult:
    """A song with an answer of so much confidence in each window: two windows, or one for each genre of a list.

    cnn: what the CNN says of the windows, if not the same. `more` are other fields of its result.
    """
    genres = [answer] * 2 if isinstance(answer, str) else answer

    def windows(genres) -> np.ndarray:
        rest = (1 - confidence) / 9
        return rest + (confidence - rest) * np.eye(10)[[GENRES.index(genre) for genre in genres]]

    views = {name: np.log(windows(genres)) for name in more.pop("views", ("cnn", "texture", "ear"))}
    views |= {"cnn": np.log(windows(cnn))} if cnn else {}
    said = Answer(windows(genres), views, 0.4, more.pop("unfamiliar", False))
    given = {"starts": 15.0 * np.arange(len(genres)), "seconds": 45.0, "matrices": MATRICES[: len(genres)]}
    return SongResult(Song(Path(f"{title}.mp3"), title, label), answer=said, **given | {"overview": MATRICES[0]} | more)


WEB = {"kind": "web", "matrices": None, "views": ()}


@pytest.mark.parametrize(
    ("more", "answer", "reason"),
    [
        ({}, "rock 50 %", ""),
        ({"confidence": 0.3}, "unsure: rock 30 % or ", "unsure: below 40 %"),
        ({"unfamiliar": True}, "unsure: rock 50 % or ", "unlike the training data"),
        ({"confidence": 0.99} | WEB, "unsure: rock 99 %", "give the sound"),
    ],
)
def test_a_doubtful_answer_is_called_unsure_with_its_reason(more, answer, reason):
    result = answered(**more)
    assert result.sure == ("unsure, perhaps rock" not in repr(result)) == (not reason)
    assert songs.guesses(song_row(result)).startswith(answer)
    assert reason in result.remarks


def test_songs_of_the_training_set_are_shown_and_not_scored():
    in_training = answered(label="rock", match=MATCH)
    results = [answered(label="rock"), answered(label="pop", confidence=0.3), in_training, answered()]
    score = score_songs(results)
    assert score["total"] == 2
    assert (score["correct"], score["answered"], score["answered_correct"], score["in_training"]) == (1, 1, 1, 1)
    assert "1 of 2 songs right, 50 %" in score_sentence(score)
    assert "1 more is in the training set" in score_sentence(score)
    assert [song_row(result)["right"] for result in results] == ["✓", "✗", "", ""]
    assert "in the training set: Band, Title, from 12 s" in in_training.remarks


def test_the_plain_call_needs_nothing_but_the_shipped_files(small_set, home):
    shutil.copy(next((small_set / "songs").glob("*.mp3")), home / "song.mp3")
    result = utils.classify_song("~/song.mp3")
    assert result.genre in repr(result)
    assert result.probabilities.sum() == pytest.approx(1, abs=1e-5)
    assert len(result.windows) == len(result.starts) == len(result.matrices)
    assert result.match is None
    with refused(r"gone\.mp3"):
        utils.classify_song(small_set / "gone.mp3")


def test_what_is_no_music_is_out_of_distribution_and_music_is_not(small_set):
    time = np.arange(30 * SAMPLE_RATE, dtype=np.float32) / SAMPLE_RATE
    noise = np.random.default_rng(0).normal(0, 0.1, len(time)).astype(np.float32)
    clicks = (np.arange(len(time)) % (SAMPLE_RATE // 2) == 0).astype(np.float32)
    foreign = [noise, 0.3 * np.sin(2 * np.pi * 440 * time), clicks]
    model = utils.shipped_model()
    assert [model.neighbours.is_unfamiliar(listen(samples).features[None]) for samples in foreign] == [True] * 3
    music = sorted((small_set / "songs").glob("*.mp3"))[:3]
    assert not any(utils.classify_song(path).answer.unfamiliar for path in music)


def test_where_the_network_looks_is_what_its_answer_hangs_on():
    matrix, network = picture_to_matrix(SAMPLE), utils.shipped_model().cnn
    heat = utils.grad_cam(network, matrix[None], "metal")[0]
    assert (heat.shape, heat.min() >= 0, heat.max()) == (matrix.shape, True, pytest.approx(1))
    order, left = np.argsort(heat, axis=None), []
    nothing = np.broadcast_to(matrix.mean(axis=1, keepdims=True), matrix.shape).astype(np.uint8)  # to this network
    for cells in (order[: len(order) // 4], order[-len(order) // 4 :]):
        blanked = matrix.copy()
        blanked.flat[cells] = nothing.flat[cells]
        left.append(utils.predict(network, blanked[None])[0, GENRES.index("metal")])
    assert left[1] < left[0], "blanking what is hot must cost metal more than blanking what is cold"


def test_sure_answers_come_first_with_marks_and_a_title_is_never_code_or_a_formula():
    unsure = answered("<b>$a$", ["rock", "pop", "pop"], 0.55, "pop", cnn=["rock"] * 3)
    unread = SongResult(Song(Path("bad.mp3"), "bad", "jazz", "'bad.mp3' cannot be read"))
    results = [unread, unsure, answered("sure", label="rock"), answered("old", label="rock", match=MATCH)]
    table = songs.answer_rows(results)
    assert table["song"].tolist() == ["sure", "old", "<b>$a$", "bad"]
    assert table["✓ CNN"].tolist() == ["✓", "", "✗", ""]
    assert table["✓ answer"].tolist() == ["✓", "", "✓", ""]
    assert table["answer"].tolist() == ["rock 50 %", "rock 50 %", "unsure: pop 38 % or rock 22 %", "no answer"]
    assert table["CNN"].tolist() == ["rock 50 %", "rock 50 %", "rock 55 %", ""]
    html = plots.page("<b>$a$</b>", plots.answer_table(results)).data
    for words in ("below 40 %", "cannot be read", "in the training set: Band, Title", "&lt;b&gt;$a$"):
        assert words in html
    assert "<b>" not in html
    assert html.count("mathjax_ignore") == 2


def test_all_windows_are_compared_with_the_middle_one_on_scored_songs_of_several():
    results = [
        answered("a", ["rock", "pop", "rock"], label="rock", cnn=["rock", "rock", "pop"]),
        answered("one window", ["rock"], label="rock"),
        answered("old", label="rock", match=MATCH),
    ]
    table = songs.compare_windows(results)
    assert table.loc["CNN"].tolist() == [1, 1, 1]
    assert table.loc["answer"].tolist() == [0, 1, 1]
    assert songs.compare_windows(results[1:]).empty


def test_the_nearest_training_clip_of_a_training_clip_is_itself_with_the_genre_of_the_table():
    features = np.random.default_rng(0).normal(size=(40, 803)).astype(np.float32)
    table = pd.DataFrame({"image": [f"{g}/Rock {k}.png" for k, g in enumerate(PRINTS.genres)], "genre": PRINTS.genres})
    model = SimpleNamespace(neighbours=fit_neighbours(features, table, np.arange(40)))
    near = songs.nearest_clips(answered(ear_features=features[7:8]), model, PRINTS)
    assert (len(near), near["image"][0], near["genre"][0]) == (3, table["image"][7], GENRES[7])
    assert near["distance"].is_monotonic_increasing
    assert songs.nearest_clips(answered(), model, PRINTS).empty, "a picture has no sound"
    assert songs.nearest_clips(answered(ear_features=features), SimpleNamespace(neighbours=None), PRINTS).empty


def test_a_song_of_the_training_set_is_not_measured_as_a_real_song(tmp_path):
    rows = "song,genre,artist_title,seconds\nx1,disco,,30\nx2,disco,Blondie - Heart Of Glass,30\n"
    (tmp_path / "songs.csv").write_text(rows)
    with refused("x2", "Heart Of Glass", "take it out"):
        songs.read_real_songs(tmp_path, None)


def test_the_search_says_what_was_looked_for():
    web = answered(match=Match("pop00001.png", "Blondie", "B"), **WEB)
    table = songs.match_table([answered(), web], replace(PRINTS, tracks=pd.DataFrame()))
    assert table["looked for by"].tolist() == ["sound and title", "title"]
    assert table["in the training set"].tolist() == ["not found", "yes: Blondie, B, by its title"]
    assert songs.match_table([web], PRINTS)["looked for by"].tolist() == ["nothing"]


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


TIME = np.arange(120 * RATE) / RATE
SONG = sum(0.14 * np.sin(2 * np.pi * hertz * TIME) for hertz in np.arange(100, 1600, 250)) * np.exp(-TIME % 1)


def test_the_tool_is_recognised_and_a_tone_is_read_where_it_is(tmp_path):
    path = _draw_with_ffmpeg(tmp_path / "tone.png", SONG + 0.1 * np.sin(2 * np.pi * 3000 * TIME))
    picture = read_song_picture(path)
    assert (picture.kind, len(picture.matrix)) == ("web", MEL_BINS)
    assert 400 <= picture.matrix.shape[1] <= 432
    assert web_windows(picture.matrix).shape[1:] == (MEL_BINS, 54)
    levels, high = picture.matrix.mean(axis=1), MEL_CENTRES > 2000
    assert MEL_CENTRES[high][levels[high].argmax()] == pytest.approx(3000, abs=120)


def test_the_user_s_own_pictures_are_read_and_answered():
    if not (SHARED / "personal_songs").is_dir():
        pytest.skip("no pictures of the user's songs here")
    results = songs.classify_songs(find_songs(SHARED / "personal_songs"), utils.shipped_model())
    assert [result.genre in GENRES for result in results] == [True] * 10
    assert all(len(result.windows) >= 8 for result in results)


@pytest.mark.parametrize("scale", ["cbrt", "log", "upside down"])
def test_another_scale_is_refused(scale, tmp_path):
    path = _draw_with_ffmpeg(tmp_path / "song.png", SONG, scale="lin" if scale == "upside down" else scale)
    if scale == "upside down":
        ImageOps.flip(Image.open(path)).save(path)
    with refused(r"song\.png"):
        read_song_picture(path)
