"""The pretrained ear: the port, odd sounds, its weights, and the head on it."""

from dataclasses import astuple

import numpy as np
import pytest
import soundfile
import torch

import utils
from genres import ear
from genres.common import GENRES, ROOT, InputError

SHARED = ROOT.parent / "shared"
RATE = ear.SAMPLE_RATE
CHORD = {"electronic": 0.4231, "ambient": 0.2560, "electronica": 0.1318}  # what the checked port heard in `_chord`


def _chord(seconds: float) -> np.ndarray:
    """A major chord that is struck twice a second."""
    time = np.arange(int(seconds * RATE)) / RATE
    notes = sum(np.sin(2 * np.pi * pitch * time) for pitch in (220, 277.2, 329.6))
    return (0.2 * notes * np.exp(-6 * (time % 0.5))).astype(np.float32)


@pytest.fixture(scope="module")
def gtzan_ear() -> dict[str, np.ndarray]:
    if not (SHARED / "musicnn" / "gtzan.npz").is_file():
        pytest.skip("no published features here")
    return dict(np.load(SHARED / "musicnn" / "gtzan.npz"))


def test_the_network_gives_the_example_of_the_original():
    if not (SHARED / "musicnn" / "example.npz").is_file():
        pytest.skip("no example here")
    example, network = np.load(SHARED / "musicnn" / "example.npz"), ear.read_network()
    with torch.inference_mode():
        pools = network.pools(torch.from_numpy(example["log_mel"].astype(np.float32))[None])
        tags = network.tags(pools).numpy()[0]
    assert tags == pytest.approx(example["tags"], abs=1e-4)
    assert pools.numpy()[0] == pytest.approx(np.r_[example["mean_pool"], example["max_pool"]], abs=1e-3)


@pytest.mark.parametrize("clip", ["blues.00000", "classical.00001", "hiphop.00002", "metal.00003"])
def test_clips_sound_to_the_ear_as_published(gtzan_ear, clip):
    path = SHARED / "gtzan" / "Data" / "genres_original" / clip.split(".")[0] / f"{clip}.wav"
    heard, row = ear.hear(utils.load_audio(path)), list(gtzan_ear["exact_tracks"]).index(clip)
    published = np.concatenate([gtzan_ear["exact_mean_pool"], gtzan_ear["exact_max_pool"]], axis=1)
    assert len(heard.starts) == 10
    assert heard.tags.mean(axis=0) == pytest.approx(gtzan_ear["exact_tags"][row], abs=1e-3)
    off = np.abs(heard.pools.mean(axis=0) - published[row]) / np.maximum(published.std(axis=0), 0.01)
    assert off.max() < 0.02  # of a standard deviation


def test_a_chord_is_heard_as_it_was_when_this_was_written():
    tags = ear.hear(_chord(7)).tags.mean(axis=0)
    strongest = {ear.TAGS[k]: tags[k] for k in np.argsort(-tags)[:3]}
    assert strongest == pytest.approx(CHORD, abs=0.005)


def test_a_patch_is_what_the_whole_sound_resampled_at_once_would_give():
    sound = np.random.default_rng(0).normal(0, 0.1, 20 * RATE).astype(np.float32)
    whole = ear.librosa.resample(sound, orig_sr=RATE, target_sr=ear.EAR_RATE)
    mel = ear.librosa.feature.melspectrogram(y=whole, sr=ear.EAR_RATE, n_fft=512, hop_length=256, n_mels=96)
    for patch in (0, 3, 5):
        frames = np.log10(10_000 * mel[:, 187 * patch : 187 * (patch + 1)].T + 1)
        assert ear.log_mel(sound, patch) == pytest.approx(frames, abs=1e-3)


@pytest.mark.parametrize(("seconds", "patches"), [(0.2, 1), (2.5, 1), (3, 1), (30.01, 10), (3600, ear.MOST_PATCHES)])
def test_sounds_of_odd_lengths_are_heard(monkeypatch, seconds, patches):
    monkeypatch.setattr(ear.EarNetwork, "pools", lambda _, log_mel: torch.zeros(len(log_mel), 1506))
    heard = ear.hear(np.resize(_chord(3), int(seconds * RATE)))
    assert heard.tags.shape == (patches, 50)
    assert heard.pools.shape == (patches, 1506)
    assert heard.starts[-1] + 2.9 <= max(seconds, 3)
    assert seconds - heard.starts[-1] < 6


def test_silence_gives_numbers_and_a_pause_is_not_listened_to():
    silent = ear.hear(np.zeros(4 * RATE, np.float32))
    assert np.isfinite(silent.tags).all()
    paused = ear.hear(np.concatenate([_chord(6), np.zeros(9 * RATE, np.float32), _chord(6)]))
    assert not ((paused.starts > 6) & (paused.starts < 12)).any()


def test_clips_are_heard_in_mono_and_a_bad_one_among_them_is_left_out(tmp_path):
    chord = _chord(6)
    soundfile.write(tmp_path / "mono.wav", chord, RATE)
    soundfile.write(tmp_path / "stereo.wav", np.stack([chord, chord], axis=1), RATE)
    (tmp_path / "bad.wav").write_bytes(b"no sound")
    mono, stereo, bad = ear.hear_clips([tmp_path / f"{name}.wav" for name in ("mono", "stereo", "bad")])
    assert mono == pytest.approx(stereo, abs=1e-3)
    assert np.isnan(bad).all()


def test_a_window_is_what_its_patches_sound_like():
    heard = ear.hear(np.concatenate([_chord(30), 0.2 * np.random.default_rng(0).normal(size=30 * RATE)]), most=20)
    first, second = ear.window_features(heard, np.array([0.0, 30.0]), 30)
    alone = ear.hear(_chord(30))
    assert first[:50] == pytest.approx(np.sqrt(alone.tags.mean(axis=0)), abs=0.1)
    assert np.abs(first - second).max() > 0.3


@pytest.mark.parametrize("damage", ["missing", "cut off", "empty", "flipped", "other weights"])
def test_weights_that_cannot_be_used_give_one_sentence(tmp_path, damage):
    path = tmp_path / "weights.npz"
    content = bytearray(ear.WEIGHTS_PATH.read_bytes())
    if damage == "cut off":
        content = content[: len(content) // 2]
    elif damage == "flipped":
        content[len(content) // 2] ^= 255
    if damage == "other weights":
        np.savez(path, **{"conv2d.kernel": np.zeros((7, 38, 1, 3), np.float32)})
    elif damage != "missing":
        path.write_bytes(b"" if damage == "empty" else bytes(content))
    with pytest.raises(InputError, match=r"'weights\.npz'") as caught:
        ear.read_network(path)
    assert "\n" not in str(caught.value)


def _songs(per_genre: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows as `head_features` gives them, each genre around a place of its own, with features that never change."""
    rng, labels = np.random.default_rng(0), np.repeat(np.arange(len(GENRES)), per_genre)
    places = np.random.default_rng(1).normal(0, 1, (len(GENRES), 803))
    rows = places[labels] + rng.normal(0, 1, (len(labels), 803))
    rows[:, 100:500] = 1e-12 * rows[:, 100:500]
    return rows.astype(np.float32), labels


@pytest.mark.parametrize("per_genre", [1, 2, 20])
def test_the_head_learns_genres_and_what_never_changed_does_not_disturb_it(per_genre):
    head, (rows, labels) = ear.fit_head(*_songs(per_genre)), _songs(25)
    assert all(part.dtype == np.float32 for part in astuple(head))
    rows[:, 100:500] += 1
    assert (head.logits(rows).argmax(axis=1) == labels).mean() > 0.8


def test_a_head_is_the_same_after_it_was_stored_as_tensors(tmp_path):
    head, rows = ear.fit_head(*_songs(5)), _songs(3)[0]
    torch.save({name: torch.from_numpy(part) for name, part in vars(head).items()}, tmp_path / "head.pt")
    stored = torch.load(tmp_path / "head.pt", weights_only=True)
    again = ear.EarHead(**{name: part.numpy() for name, part in stored.items()})
    assert np.array_equal(again.logits(rows), head.logits(rows))
