"""The demo band: songs in ten genres, composed in code, so that the project runs where GTZAN is not at hand.

A song comes to be in four steps. `cast_band` draws a band and one of its tunes from the styles in demo_band.toml;
`compose` lets drummer, bassist, comping players and melodist play the form bar by bar, as MIDI notes; `render` plays
the notes on the General MIDI soundfont that pretty_midi brings along; `master` adds the sound of a recording.

No trait tells a genre by itself, as in life: tempos and instruments are shared, and a song borrows some traits from a
neighbour. A band keeps its instruments, its grooves and the sound of its recordings from tune to tune. So a classifier
can recognise the recording instead of the genre, as it can with real artists.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from itertools import cycle, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import joblib
import midirenderer
import numpy as np
import pandas as pd
import pretty_midi
import soundfile
from IPython.display import Audio
from scipy.fft import irfft, next_fast_len, rfft
from scipy.signal import resample_poly
from tqdm.auto import tqdm

from genres.audio import load_audio
from genres.common import GENRES, ROOT, SAMPLE_RATE, InputError, locked, replacing
from genres.spectrogram import CLIP_SECONDS, audio_to_matrix, compile_librosa, matrix_to_picture

# --- 1 The vocabulary: drum grooves, bass lines, comping, melodies, forms ---

with (ROOT / "genres" / "demo_band.toml").open("rb") as file:
    VOCABULARY = tomllib.load(file)
GROOVES, BASS_LINES, COMPING = (VOCABULARY[name] for name in ("grooves", "bass_lines", "comping"))
MELODIES, SCALES, FORMS = (VOCABULARY[name] for name in ("melodies", "scales", "forms"))
DRUM_KEYS, KITS, QUALITIES = (VOCABULARY[name] for name in ("drum_keys", "kits", "qualities"))
SOUNDS, STYLES, NEIGHBOURS, NAMES = (VOCABULARY[name] for name in ("sounds", "styles", "neighbours", "names"))
LOUDNESS = {"X": 118, "x": 92, "o": 52}  # velocities: accent, stroke, ghost
DEGREES = {"i": 0, "ii": 2, "iii": 4, "iv": 5, "v": 7, "vi": 9, "vii": 11}

# --- 2 Casting: from a style to one band with one tune ---

BORROW = 0.07  # chance that a trait comes from a neighbour: more of it makes the demo set harder
HABIT = 1.3  # how much likelier a style's first names are than its last: more of it makes the demo set easier
TUNE_TRAITS = ("melodies", "forms")  # drawn anew for each tune of a band, as tempo and key are; the rest it keeps
Event = tuple[int, float, float, float]  # pitch, onset and length in beats, velocity: before swing and human touch
VOLUMES = {"drums": 118, "bass": 98, "chords": 92, "colour": 86, "lead": 102}  # mean MIDI volume per part


@dataclass(frozen=True)
class Band:
    """A band with one of its tunes, every choice made. `traits` holds what was chosen for each trait of its style."""

    swing: float  # position of the off-beat eighth in its beat: 0.5 straight, 0.67 triplet
    tempo: float  # beats per minute
    tonic: int  # 0 is C
    traits: dict[str, str]
    volumes: dict[str, int]  # MIDI volume per part, 0-127
    looseness: float  # standard deviation of the players' timing in seconds


@dataclass(frozen=True)
class Bar:
    """One bar of the form, as the players see it on their music stand."""

    number: int
    start: float  # seconds
    beat: float  # length of a beat in seconds
    chord: tuple[int, list[int]]  # root as pitch class, tones in semitones above the root
    next_root: int
    section: str
    bar_in_section: int
    is_last: bool  # of its section


def choose(text: str, rng: np.random.Generator, habit: float = 0.0) -> str:
    """Draw one name of a comma-separated text; with a `habit` above 0, the first names are likelier."""
    names = text.split(", ")
    weights = np.arange(1, len(names) + 1) ** -habit
    return names[rng.choice(len(names), p=weights / weights.sum())]


def cast_band(genre: str, seed: int, tune: int = 0) -> Band:
    """Draw a band, trait by trait its own style's or with chance BORROW a neighbour's, and its tune of this number.

    Raises InputError for a genre that the band does not play.
    """
    if genre not in STYLES:
        raise InputError(f"The demo band does not play '{genre}': choose one of {', '.join(GENRES)}.")
    rng = np.random.default_rng([seed, GENRES.index(genre)])
    own, habits = STYLES[genre], {}
    for trait in own:
        neighbour = STYLES[choose(NEIGHBOURS[genre], rng)]
        borrows = rng.random() < BORROW and trait not in own["keeps"]
        habits[trait] = (neighbour if borrows else own)[trait]
    band = Band(
        swing=rng.uniform(*habits["swing"]),
        tempo=rng.uniform(*habits["tempo"]),
        tonic=int(rng.integers(12)),
        traits={name: choose(text, rng, HABIT) for name, text in habits.items() if isinstance(text, str)},
        volumes={role: int(np.clip(rng.normal(level, 9), 45, 127)) for role, level in VOLUMES.items()},
        looseness=rng.uniform(0.002, 0.012),
    )
    if tune == 0:
        return band
    rng = np.random.default_rng([seed, GENRES.index(genre), 0, tune])
    another = {name: choose(habits[name], rng, HABIT) for name in TUNE_TRAITS}
    tempo, tonic = rng.uniform(*habits["tempo"]), int(rng.integers(12))
    return replace(band, tempo=tempo, tonic=tonic, traits=band.traits | another)


# --- 3 Playing: the form, the grid, the players ---

EXCERPT_SECONDS = 60  # songs shorter than this may start anywhere in their form
ENERGY = {"I": 0.5, "A": 0.85, "B": 0.75, "V": 0.8, "C": 1.0, "S": 0.95, "D": 0.5}  # share of the band, by section
SEMITONES = "0123456789teu"  # of the bass lines


def read_chord(symbol: str, tonic: int) -> tuple[int, list[int]]:
    """Read a chord symbol such as `bVII7` in a key: return its root as pitch class, and its tones above the root."""
    numeral = symbol.lstrip("b")
    degree = max((name for name in DEGREES if numeral.lower().startswith(name)), key=len)
    root = tonic + DEGREES[degree] - (len(symbol) - len(numeral))
    return root % 12, QUALITIES[numeral[len(degree) :]]


def bars_of(band: Band, seconds: float, rng: np.random.Generator) -> Iterator[Bar]:
    """Walk through the form, again and again, until the song is `seconds` long or a little longer.

    A short song is an excerpt, as GTZAN's clips are: it starts at any section of the form.
    """
    form = FORMS[band.traits["forms"]]
    rubato = 0.03 if band.traits["grooves"] == "none" else 0.003
    order, time, number = form["order"], 0.0, 0
    if seconds < EXCERPT_SECONDS:
        first = int(rng.integers(len(order)))
        order = order[first:] + order[:first]
    for section in cycle(order):
        symbols = form.get(section, form.get("V", form.get("A"))).split()
        chords = [read_chord(symbol, band.tonic) for symbol in symbols]
        for row, chord in enumerate(chords):
            if time >= seconds:
                return
            beat = 60 / band.tempo * rng.normal(1, rubato)
            next_root = chords[(row + 1) % len(chords)][0]
            yield Bar(number, time, beat, chord, next_root, section, row, row == len(chords) - 1)
            time, number = time + 4 * beat, number + 1


@cache
def read_line(line: str) -> list[tuple[float, float, str]]:
    """Read one bar of a pattern as (onset in beats, length in beats, symbol), with `-` holding a note.

    Triplets are put back on the straight grid, because the swing of the song bends all players alike later.
    """
    notes = []
    for match in re.finditer("[^.-]-*", line):
        start, end = (place * (4 / len(line)) for place in match.span())
        if len(line) == 12:
            start, end = bend(start, 2 / 3), bend(end, 2 / 3)
        notes.append((start, end - start, match[0][0]))
    return notes


def bend(onset: float, swing: float, back: bool = True) -> float:
    """Move an onset in beats between the straight and the swung grid; `back` goes from swung to straight."""
    beat, rest = divmod(onset, 1)
    source, target = (swing, 0.5) if back else (0.5, swing)
    return beat + (rest / source * target if rest < source else target + (rest - source) / (1 - source) * (1 - target))


def in_register(pitch_class: int, lowest: int) -> int:
    """Return the MIDI pitch of a pitch class within the octave that starts at `lowest`."""
    return lowest + (pitch_class - lowest) % 12


def drummer(band: Band, bar: Bar, rng: np.random.Generator) -> Iterator[Event]:
    """Play the groove, with a crash where a section starts and a fill where it ends; thin sections keep time only."""
    groove, energy = GROOVES[band.traits["grooves"]], ENERGY[bar.section]
    fill = bool(groove) and bar.is_last and rng.random() < 0.7
    for name, line in groove.items():
        if energy < 0.6 and name not in ("closed", "ride", "shaker", "swish", "rim"):
            continue
        for onset, _, symbol in read_line(line):
            if not (fill and onset >= 3 and name != "kick") and rng.random() >= 0.03:
                yield DRUM_KEYS[name], onset, 0.25, LOUDNESS[symbol] * (0.85 + 0.15 * energy)
    if fill:
        drums = ["snare", "snare", "mid tom", "low tom"] if rng.random() < 0.6 else ["snare"] * 4
        for column, name in enumerate(drums):
            yield DRUM_KEYS[name], 3 + column / 4, 0.25, 80 + 8 * column
    if groove and bar.bar_in_section == 0 and energy > 0.9 and rng.random() < 0.7:
        yield DRUM_KEYS["crash"], 0, 1, 96


def bassist(band: Band, bar: Bar, rng: np.random.Generator) -> Iterator[Event]:
    """Play the bass line under the chord: roots, fifths, walking quarters, or a riff."""
    if bar.section == "I":
        return
    root, tones = bar.chord
    low = in_register(root, 31 if band.traits["bass"] != "Cello" else 38)
    for onset, length, symbol in read_line(str(rng.choice(BASS_LINES[band.traits["bass_lines"]]))):
        if symbol == "n":
            pitch = in_register(bar.next_root, 31) + int(rng.choice([-1, 1, 2]))
        else:  # lines are written for major chords: the third follows the chord
            pitch = low + (tones[1] if symbol == "4" else SEMITONES.index(symbol))
        yield pitch, onset, 0.92 * length, 92 + 14 * (onset == 0)


def comper(band: Band, bar: Bar, rng: np.random.Generator, part: str) -> Iterator[Event]:
    """Play the chords of the bar in the rhythm of a comping pattern; `part` is "chords" or "colour"."""
    if part == "colour" and bar.section == "I":
        return
    root, tones = bar.chord
    low = 52 if part == "chords" else 57
    chord = sorted(in_register(root + tone, low) for tone in tones)
    lines = COMPING[band.traits["comping" if part == "chords" else "colour_lines"]]
    line = lines[bar.number % 2 % len(lines)]  # repeats every two bars, so the ear can hold on to it
    for count, (onset, length, symbol) in enumerate(read_line(line)):
        velocity = 102 if symbol in "XP" else 84
        if symbol == "a":
            up_and_down = [*chord, chord[0] + 12, *chord[:0:-1]]
            pitches, length = [up_and_down[count % len(up_and_down)]], max(length, 0.5)
        elif symbol == "r":
            pitches = [in_register(root, 40)]
        else:
            pitches = [in_register(root, 38) + tone for tone in (0, 7, 12)] if symbol in "pP" else chord
        for strum, pitch in enumerate(pitches):
            yield pitch, onset + 0.012 * strum, 0.95 * length, velocity


def make_motif(kind: str, rng: np.random.Generator) -> list[tuple[float, float, int]]:
    """Invent a motif of two bars: (onset in beats, length in beats, step in the scale from the note before)."""
    columns, density, widest, sustain = MELODIES[kind]
    starts = [c for c in range(2 * columns) if rng.random() < density * (1.2 if c % 2 == 0 else 0.7)]
    if kind in ("song", "licks", "solo", "hook"):  # singers and horns breathe
        starts = [c for c in starts if c < 1.6 * columns]
    step = 4 / columns
    return [
        (a * step, min(sustain * (b - a) * step, 3), int(rng.integers(-widest, widest + 1)))
        for a, b in pairwise([*starts, 2 * columns])
    ]


def melodist(band: Band, bar: Bar, rng: np.random.Generator, motifs: dict[str, list]) -> Iterator[Event]:
    """Sing or solo: a motif a, its repeat, a contrast b, and a again, led towards chord tones on strong beats."""
    kind = band.traits["melodies"]
    if bar.section in "ID" and rng.random() < 0.7:
        return
    if bar.section == "S" and kind in ("song", "hook", "long", "licks"):
        kind = "solo"
    phrase = bar.bar_in_section // 2 % 4
    letter = f"{bar.section} {'b' if phrase == 2 else 'a'} {kind}"
    if letter not in motifs:
        motifs[letter] = make_motif(kind, rng)
    form = FORMS[band.traits["forms"]]
    scale = SCALES[band.traits["scale"]][form.get("V", form.get("A")).startswith("im")]
    lowest = 57 if band.traits["lead"] in ("Trombone", "Cello", "Tenor Sax", "Distortion Guitar") else 64
    ladder = [p for p in range(lowest, lowest + 20) if (p - band.tonic) % 12 in scale]
    chord_tones = {(bar.chord[0] + tone) % 12 for tone in bar.chord[1]}
    rung = len(ladder) // 2 + phrase % 2
    for onset, length, step in motifs[letter]:
        rung = min(max(rung + step, 0), len(ladder) - 1)
        pitch = ladder[rung]
        if onset % 2 == 0 and kind != "rap":
            pitch = min(range(lowest, lowest + 20), key=lambda p: (p % 12 not in chord_tones, abs(p - pitch)))
        in_bar = onset - 4 * (bar.bar_in_section % 2)
        if 0 <= in_bar < 4:
            if band.traits["scale"] == "blues" and length > 0.5 and rng.random() < 0.3:
                yield pitch - 1, in_bar, 0.12, 80  # a blue note slides in from below
                in_bar, length = in_bar + 0.1, length - 0.1
            yield pitch, in_bar, length, 92 + 10 * (onset % 1 == 0)


def compose(genre: str, seed: int, seconds: float, tune: int = 0) -> pretty_midi.PrettyMIDI:
    """Compose a tune of `seconds` seconds: the seed names the band, and the same seed and tune are the same song.

    Returns MIDI with a track per player: drums, bass, chords, colour, lead. Raises InputError for an unknown genre.
    """
    band = cast_band(genre, seed, tune)
    rng = np.random.default_rng([seed, GENRES.index(genre), 1, tune])
    midi = pretty_midi.PrettyMIDI(initial_tempo=band.tempo)
    tracks, motifs = {}, {}
    for role in VOLUMES:
        is_drum = role == "drums"
        name = band.traits["kit" if is_drum else role]
        program = KITS[name] if is_drum else pretty_midi.instrument_name_to_program(name)
        tracks[role] = pretty_midi.Instrument(program, is_drum, role)
        tracks[role].control_changes.append(pretty_midi.ControlChange(7, band.volumes[role], 0))
    for bar in bars_of(band, seconds, rng):
        rhythm = drummer(band, bar, rng), bassist(band, bar, rng)
        harmony = comper(band, bar, rng, "chords"), comper(band, bar, rng, "colour")
        for track, events in zip(tracks.values(), (*rhythm, *harmony, melodist(band, bar, rng, motifs)), strict=True):
            track.notes += [note for event in events if (note := humanise(band, bar, event, rng)).start < seconds]
    midi.instruments += [track for track in tracks.values() if track.notes]
    return midi


def humanise(band: Band, bar: Bar, event: Event, rng: np.random.Generator) -> pretty_midi.Note:
    """Place an event of the grid in time: swing it, and let the player be a little early, late, loud or soft."""
    pitch, onset, length, velocity = event
    start = max(0.0, bar.start + bar.beat * bend(onset, band.swing, back=False) + rng.normal(0, band.looseness))
    velocity = min(max(round(velocity * rng.normal(1, 0.07)), 20), 127)
    return pretty_midi.Note(velocity, pitch, start, start + max(bar.beat * length, 0.05))


# --- 4 Sound: a sampler on a soundfont, the mastering, a player ---

SOUNDFONT = Path(pretty_midi.__file__).with_name("TimGM6mb.sf2")
NOTE_SECONDS = 2.0  # longest recorded note
RELEASE_SECONDS = 0.08
SEMITONES_PER_RECORDING = 5  # one recording serves a pitch and two neighbours on each side


@lru_cache(maxsize=600)  # some 100 MB
def record_note(program: int, pitch: int, is_drum: bool) -> np.ndarray:
    """Record one note of an instrument with midirenderer: mono float32 at 22 050 Hz, at most NOTE_SECONDS long.

    A song has thousands of notes but few different ones: a sampler is ten times faster than a synthesiser.
    """
    midi = pretty_midi.PrettyMIDI()
    midi.instruments.append(pretty_midi.Instrument(program, is_drum))
    midi.instruments[0].notes.append(pretty_midi.Note(100, pitch, 0, NOTE_SECONDS / 2 if is_drum else NOTE_SECONDS))
    file = io.BytesIO()
    midi.write(file)
    wave = midirenderer.render_wave_from(SOUNDFONT.read_bytes(), file.getvalue())
    stereo, rate = soundfile.read(io.BytesIO(wave), dtype="float32")
    samples = resample_poly(stereo.mean(axis=1), SAMPLE_RATE, rate).astype(np.float32)
    loud = np.flatnonzero(np.abs(samples) > 0.002 * np.abs(samples).max())
    samples = samples[: loud[-1] + 1] if len(loud) else samples[:1]
    # Soft instruments and cymbals are brought nearer to loud ones, so that each can be heard in a mix
    if is_drum:
        return samples * (0.2 / max(float(np.abs(samples).max()), 1e-4)) ** 0.85
    return samples * (0.02 / max(float(np.sqrt(np.mean(samples[:8000] ** 2))), 1e-4)) ** 0.7


@lru_cache(maxsize=1500)  # some 250 MB
def pitched_note(program: int, pitch: int, is_drum: bool) -> np.ndarray:
    """Return a note of any pitch, float32 at 22 050 Hz: the nearest recording, played faster or slower."""
    nearest = pitch if is_drum else SEMITONES_PER_RECORDING * round(pitch / SEMITONES_PER_RECORDING)
    samples = record_note(program, nearest, is_drum)
    if pitch == nearest:
        return samples
    positions = np.arange(0, len(samples) - 1, 2 ** ((pitch - nearest) / 12))
    return np.interp(positions, np.arange(len(samples)), samples).astype(np.float32)


def render(midi: pretty_midi.PrettyMIDI, seconds: float) -> np.ndarray:
    """Play a composed song on the soundfont: `seconds` of mono float32 samples at 22 050 Hz, the loudest at 0.9."""
    length = round(seconds * SAMPLE_RATE)
    samples = np.zeros(length, np.float32)
    fade = np.linspace(1, 0, round(RELEASE_SECONDS * SAMPLE_RATE), dtype=np.float32) ** 2
    for track in midi.instruments:
        volume = track.control_changes[0].value / 127
        for note in track.notes:
            start = round(note.start * SAMPLE_RATE)
            sound = pitched_note(track.program, note.pitch, track.is_drum)
            if not track.is_drum:
                release = round((note.end - note.start) * SAMPLE_RATE)
                sound = sound[: release + len(fade)].copy()
                sound[release:] *= fade[: max(0, len(sound) - release)]
            sound = sound[: max(0, length - start)]
            samples[start : start + len(sound)] += volume**2 * (note.velocity / 127) ** 1.5 * sound
    return 0.9 * samples / max(float(np.abs(samples).max(initial=0)), 1e-6)


def master(samples: np.ndarray, sound: str, seed: int) -> np.ndarray:
    """Add the sound of a recording to dry samples: room, tone, saturation; float32, same length, the loudest at 0.9.

    `sound` is a name in SOUNDS, and `seed` varies it. Raises KeyError for another name.
    """
    rng = np.random.default_rng([seed, 2])
    low_cut, high_cut, tilt, drive, room = SOUNDS[sound]
    size = next_fast_len(len(samples) + SAMPLE_RATE, real=True)
    frequency = np.maximum(np.fft.rfftfreq(size, 1 / SAMPLE_RATE), 10).astype(np.float32)
    tilt += rng.normal(0, 0.5)
    high_cut *= rng.uniform(0.75, 1.2)
    curve = (frequency / 1000) ** (tilt / 6.02) / np.sqrt(1 + (low_cut / frequency) ** 4)
    curve /= np.sqrt(1 + (frequency / high_cut) ** 8)
    decay = np.arange(SAMPLE_RATE, dtype=np.float32) / SAMPLE_RATE / rng.uniform(0.05, 0.2)
    echo = np.exp(-decay) * rng.standard_normal(SAMPLE_RATE, dtype=np.float32)
    echo *= room * rng.uniform(0.4, 1.6) / np.sqrt(np.sum(echo**2))
    echo[0] += 1
    wet = irfft(rfft(samples, size) * rfft(echo, size) * curve, size)[: len(samples)]
    level = np.sqrt(np.mean(wet**2)) + 1e-9
    loud = np.tanh(wet / level * 0.25 * drive * rng.uniform(0.7, 1.4))
    return (0.9 * loud / max(float(np.abs(loud).max()), 1e-6)).astype(np.float32)


def song(genre: str, seed: int, seconds: float = 30.0, tune: int = 0) -> np.ndarray:
    """Compose, render and master a tune of a band: mono float32 samples at 22 050 Hz, exactly `seconds` long.

    The same seed is the same band, with the same tune the same samples. Raises InputError for an unknown genre.
    """
    dry = render(compose(genre, seed, seconds, tune), seconds)
    return master(dry, cast_band(genre, seed).traits["sound"], seed)


def player(samples: np.ndarray, seconds: float = 5.0) -> Audio:
    """Return a player for the first seconds of mono samples; it carries them as MP3, about 5 kB a second."""
    file = io.BytesIO()
    soundfile.write(file, samples[: int(seconds * SAMPLE_RATE)], SAMPLE_RATE, format="MP3", compression_level=0.8)
    return Audio(file.getvalue(), rate=SAMPLE_RATE)


# --- 5 The demo set on disk ---

VERSION = 4  # part of the stamp: a new number makes every machine compose its demo set anew
TUNES_PER_BAND = 3
LEAST_BANDS = 3  # per genre, so that three folds by artist have each genre in training
SONG_SEEDS = 1_000_000  # song seeds start here, far from those of the clips: no song is by a band that plays a clip
FORMATS = ("mp3", "ogg", "flac", "wav")
WAVES_PER_GENRE = 5


def make_demo_set(
    folder: str | Path, clips_per_genre: int = 30, seed: int = 0, song_seconds: tuple[float, float] = (60, 75),
    songs_per_genre: int = 3, progress: bool = True,
) -> dict:  # fmt: skip
    """Play and draw the demo set into `folder`, in GTZAN's layout, and return its stamp.

    Data/images_original/<genre>/<genre>000NN.png   spectrogram pictures of 30 s clips
    Data/genres_original/<genre>/<genre>.000NN.wav  the sound of the first five of each genre, 16 bit
    songs/                                          whole songs in four formats, and songs.csv: file, title, genre
    tracks.csv                                      image, artist, title of each clip
    demo.json                                       the stamp: version, seed and sizes; written last

    A set with the same stamp is left as it is. A new one is made in a folder beside and then moved, so no run leaves
    half a set behind. joblib's backend is the caller's choice. Raises InputError for sizes that are not positive.
    """
    if clips_per_genre < 1 or songs_per_genre < 1 or not 0 < song_seconds[0] <= song_seconds[1]:
        raise InputError("The demo set needs at least one clip and one song per genre, and songs of some length.")
    folder = Path(folder)
    stamp = {"version": VERSION, "seed": seed, "song_seconds": list(song_seconds)}
    stamp |= {"clips_per_genre": clips_per_genre, "songs_per_genre": songs_per_genre}
    stamp_file, stamp_text = folder / "demo.json", json.dumps(stamp, indent=2).encode() + b"\n"
    if stamp_file.is_file() and stamp_file.read_bytes() == stamp_text:  # before the lock: the folder may be read-only
        return stamp
    with locked(folder):
        if stamp_file.is_file() and stamp_file.read_bytes() == stamp_text:
            return stamp
        for leftover in folder.glob(".making-*"):  # of a run that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        with TemporaryDirectory(prefix=".making-", dir=folder, ignore_cleanup_errors=True) as workshop:
            clips, songs = plan_set(clips_per_genre, seed, song_seconds, songs_per_genre)
            make_parts(Path(workshop), clips, songs, progress)
            stamp_file.unlink(missing_ok=True)
            for part in ("Data", "songs", "tracks.csv"):
                shutil.rmtree(folder / part, ignore_errors=True)
                Path(workshop, part).replace(folder / part)
            with replacing(stamp_file) as temporary:
                temporary.write_bytes(stamp_text)
    return stamp


def make_parts(workshop: Path, clips: pd.DataFrame, songs: pd.DataFrame, progress: bool) -> None:
    """Make the parts of a planned set, one job per genre, as each process records its own instruments."""
    compile_librosa()
    (workshop / "songs").mkdir()
    genres = tqdm(GENRES, desc="demo songs", unit="genre", disable=not progress)
    joblib.Parallel(n_jobs=-1, pre_dispatch="n_jobs")(
        joblib.delayed(make_genre)(workshop, clips[clips["genre"] == genre], songs[songs["genre"] == genre])
        for genre in genres
    )
    songs.to_csv(workshop / "songs" / "songs.csv", columns=["file", "title", "genre"], index=False)
    clips.to_csv(workshop / "tracks.csv", columns=["image", "artist", "title"], index=False)


def make_genre(workshop: Path, clips: pd.DataFrame, songs: pd.DataFrame) -> None:
    """Make all of one genre: the pictures of its clips, the WAV files of the first few, and its whole songs."""
    genre = clips["genre"].iloc[0]
    images, waves = workshop / "Data" / "images_original" / genre, workshop / "Data" / "genres_original" / genre
    images.mkdir(parents=True)
    waves.mkdir(parents=True)
    for number, clip in enumerate(clips.itertuples()):
        samples = song(genre, clip.seed, CLIP_SECONDS, clip.tune)
        if number < WAVES_PER_GENRE:
            wave = waves / f"{genre}.{number:05d}.wav"
            write_audio(wave, samples)
            samples = load_audio(wave)  # 16 bits are a little coarser, and picture and sound must agree
        matrix_to_picture(audio_to_matrix(samples)).save(images / clip.image)
    for row in songs.itertuples():
        write_audio(workshop / "songs" / row.file, song(genre, row.seed, row.seconds))


def plan_set(
    clips_per_genre: int, seed: int, song_seconds: tuple[float, float], songs_per_genre: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Plan the clips (image, genre, artist, title, seed, tune) and the whole songs (file, title, genre, seconds, seed).

    The bands of a genre take turns: with ten of them, clips 0, 10 and 20 are three tunes of the first. No title, artist
    or file name of a song tells a genre.
    """
    rng = np.random.default_rng([seed, 3])
    numbers = np.tile(np.arange(clips_per_genre), len(GENRES))
    bands = max(min(LEAST_BANDS, clips_per_genre), -(-clips_per_genre // TUNES_PER_BAND))
    clips = pd.DataFrame({"genre": np.repeat(GENRES, clips_per_genre)})
    songs = pd.DataFrame({"genre": rng.permutation(np.repeat(GENRES, songs_per_genre))})
    titles = invent_names(NAMES["titles"], len(songs) + len(clips), rng)
    songs["title"], clips["title"] = titles[: len(songs)], titles[len(songs) :]
    artists = np.reshape(invent_names(NAMES["bands"], bands * len(GENRES), rng), (len(GENRES), bands))
    clips["artist"] = [f"The {name}" for name in artists[clips.index // clips_per_genre, numbers % bands]]
    clips["image"] = [f"{genre}{number:05d}.png" for genre, number in zip(clips["genre"], numbers, strict=True)]
    clips["seed"], clips["tune"] = 1000 * seed + numbers % bands, numbers // bands
    names = songs["title"].str.lower().str.replace(" ", "_")
    songs["file"] = [f"{number + 1:02d}_{name}.{FORMATS[number % len(FORMATS)]}" for number, name in names.items()]
    songs["seconds"] = [round(rng.uniform(*song_seconds), 1) for _ in names]
    songs["seed"] = SONG_SEEDS + 1000 * seed + songs.index
    return clips, songs


def invent_names(words: list[str], count: int, rng: np.random.Generator) -> list[str]:
    """Invent names of two words each, no two the same: where the words do not suffice, a number follows."""
    first, second = (text.split(", ") for text in words)
    pairs = rng.permutation([f"{a} {b}" for a in first for b in second])
    return [f"{pairs[k % len(pairs)]} {k // len(pairs) + 1}".removesuffix(" 1") for k in range(count)]


def write_audio(path: Path, samples: np.ndarray) -> None:
    """Write mono samples at 22 050 Hz in the format that the suffix names: .wav (16 bit), .flac, .ogg or .mp3."""
    with soundfile.SoundFile(path, "w", samplerate=SAMPLE_RATE, channels=1) as file:
        for start in range(0, len(samples), SAMPLE_RATE):  # in blocks, because long ones overrun the OGG encoder
            file.write(samples[start : start + SAMPLE_RATE])
