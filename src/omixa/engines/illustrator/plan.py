"""The first step: from a prompt's words to a plan of the picture. Nothing is drawn here."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Final

from omixa.engines.illustrator import words
from omixa.engines.illustrator.library import Library
from omixa.engines.illustrator.subjects import Habit, habit_of, is_face

MAX_WORDS: Final = 400
MAX_CHARS_READ: Final = 8_000
MAX_SUBJECTS: Final = 5
MAX_COUNT: Final = 8
MAX_QUOTES: Final = 3
MAX_QUOTE_CHARS: Final = 80
LONGEST_PHRASE: Final = 3
PLACE_WORDS_TO_SUBJECT: Final = 3  # an adjective or a number this many words before a subject still belongs to it

_WORD: Final = re.compile(r"[a-z0-9&]+(?:['-][a-z0-9]+)*")
_QUOTED: Final = re.compile(r"[\"“«]([^\"”»]{1,200})[\"”»]|(?<!\w)'([^']{2,200})'(?!\w)")
_UNPRINTABLE: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufffe\uffff]+"
)


@dataclass(frozen=True, slots=True)
class Subject:
    """One thing to draw: a picture's name, how many of it (1..8), the colour asked for and whether it is said to fly."""

    icon: str
    count: int = 1
    colour: str | None = None
    flying: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """All that the words of a prompt decide; `seed` decides the rest."""

    place: str
    time: str
    weather: str | None
    style: str | None
    subjects: tuple[Subject, ...]
    quotes: tuple[str, ...]
    colours: tuple[str, ...]
    vocabulary: frozenset[str]
    seed: int
    place_named: bool
    understood: bool

    def rng(self, purpose: str) -> Random:
        """Give the random numbers of one purpose, so that a change in one part leaves the others alone."""
        return Random(f"{self.seed}:{purpose}")  # noqa: S311 - decides shapes, keeps no secret


def make_plan(prompt: str, library: Library, *, variant: int = 0) -> Plan:
    """Read a prompt. Any text gives a plan; at most the first MAX_WORDS words count, all of it feeds the seed."""
    digest = hashlib.sha256(f"{variant}\x00{prompt}".encode("utf-8", "replace")).digest()
    seed = int.from_bytes(digest[:8], "big")
    text = _UNPRINTABLE.sub(" ", prompt[:MAX_CHARS_READ])
    low = _WORD.findall(_QUOTED.sub(" ", text).lower())[:MAX_WORDS]
    phrases = _phrases(low)
    place = _place(phrases)
    colours = tuple(words.COLOURS[w] for w in low if w in words.COLOURS)
    style = _strongest(words.STYLES, words.STYLE_RANK, phrases, usual=1)
    found = _find_subjects(low, place, library)
    time = _first(words.TIMES, phrases)
    weather = _strongest(words.WEATHERS, words.WEATHER_RANK, phrases, usual=2)
    return Plan(
        place=place or _place_for(found, seed),
        time=time or ("night" if place == "night_sky" else "day"),
        weather=weather,
        style=style,
        subjects=found,
        quotes=_quotes(text),
        colours=colours[:4],
        vocabulary=frozenset(low),
        seed=seed,
        place_named=place is not None,
        understood=any((place, time, weather, style, found, colours)),
    )


def _singular(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("shes", "ches", "xes", "sses")):
        return word[:-2]
    if word.endswith("ves") and len(word) > 4:
        return word[:-3] + "f"
    return word[:-1] if word.endswith("s") and not word.endswith("ss") and len(word) > 3 else word


def _phrases(low: list[str]) -> list[str]:
    """List phrases of up to three words, longest first at each position, each also in the singular."""
    result = []
    for start in range(len(low)):
        for length in range(LONGEST_PHRASE, 0, -1):
            part = low[start : start + length]
            if len(part) == length:
                result += [" ".join(part), " ".join([*part[:-1], _singular(part[-1])])]
    return result


def _place(phrases: list[str]) -> str | None:
    """Give the place that is named most strongly; of equals, the one named first."""
    named = [
        (words.PLACES[p], 0 if p in words.WEAK_PLACE_WORDS else words.PLACE_RANK.get(words.PLACES[p], 2))
        for p in phrases
        if p in words.PLACES
    ]
    return max(named, key=lambda pair: pair[1])[0] if named else None


def _strongest(table: Mapping[str, str], rank: Mapping[str, int], phrases: list[str], *, usual: int) -> str | None:
    """Give the meaning of the highest rank among the phrases; of equals, the first."""
    named = [table[phrase] for phrase in phrases if phrase in table]
    return max(named, key=lambda meaning: rank.get(meaning, usual)) if named else None


def _first(table: Mapping[str, str], phrases: list[str]) -> str | None:
    return next((table[p] for p in phrases if p in table), None)


def _quotes(text: str) -> tuple[str, ...]:
    found = ((a or b).strip()[:MAX_QUOTE_CHARS] for a, b in _QUOTED.findall(text))
    return tuple(" ".join(q.split()) for q in found if q)[:MAX_QUOTES]


def _lookup(phrase: list[str], library: Library) -> str | None:
    """Give the picture for a phrase, as written or with its last word in the singular."""
    forms = list(dict.fromkeys((" ".join(phrase), " ".join([*phrase[:-1], _singular(phrase[-1])]))))
    single = len(phrase) == 1
    if single and any(form in words.COLOURS for form in forms):
        return None
    if forms[0] not in words.ALIASES and forms[0] in library.pictures and forms[0] not in words.IGNORED:
        return forms[0]
    named = next((words.ALIASES[form] for form in forms if form in words.ALIASES), None)
    if named is not None or (single and any(_says_little(form) for form in forms)):
        return named
    exact = next((form.replace(" ", "-") for form in forms if form.replace(" ", "-") in library.pictures), None)
    return exact or next((library.words[form] for form in forms if form in library.words), None)


def _says_little(word: str) -> bool:
    """Tell whether a word would find a picture by accident: an adjective, a verb, a generic noun."""
    return len(word) < 3 or word in words.IGNORED or (word.endswith("ing") and len(word) > 5)


def _painted(phrase: list[str], place: str | None) -> bool:
    scene = words.PAINTED_BY.get(place or "", frozenset())
    return all(w in words.PAINTED_ALWAYS or w in scene or _singular(w) in scene for w in phrase)


def _find_subjects(low: list[str], place: str | None, library: Library) -> tuple[Subject, ...]:
    found: list[Subject] = []
    position = start = 0
    while position < len(low) and len(found) < MAX_SUBJECTS:
        length, subject = _subject_at(low, start, position, place, library)
        if subject is not None:
            start = position + length
        if subject is not None and all(subject.icon != other.icon for other in found):
            found.append(subject)
        position += length
    return tuple(found)


def _subject_at(
    low: list[str], start: int, position: int, place: str | None, library: Library
) -> tuple[int, Subject | None]:
    for length in range(LONGEST_PHRASE, 0, -1):
        phrase = low[position : position + length]
        if len(phrase) < length:
            continue
        name = _lookup(phrase, library)
        if name is None:
            continue
        if _painted(phrase, place):
            return length, None
        before = _attributes(low[start:position])
        after = low[position + length : position + length + 1]
        flying = bool({"flying", "hovering", "floating", "levitating"} & {*before, *after})
        taken = length + any(word in words.GROUPS for word in after)
        return taken, Subject(name, _count(before, phrase[-1], after, name), _colour(before), flying)
    return 1, None


def _attributes(before: list[str]) -> list[str]:
    """Give the words before a noun that belong to it, the nearest first."""
    found: list[str] = []
    for word in before[: -PLACE_WORDS_TO_SUBJECT - 1 : -1]:
        joins_colours = word == "and" and found and found[-1] in words.COLOURS
        if word in words.BARRIERS and word != "of" and not joins_colours:
            break
        found.append(word)
    return found


def _count(before: list[str], word: str, after: list[str], name: str) -> int:
    stated = next((words.COUNTS[w] for w in before if w in words.COUNTS), None)
    grouped = next((words.GROUPS[w] for w in after if w in words.GROUPS), None)
    plural = word != _singular(word) and not word.endswith("us") and not name.endswith(word)
    return min(MAX_COUNT, stated or grouped or (3 if plural else 1))


def _colour(before: list[str]) -> str | None:
    """Find the colour just before a subject; "black and white" is a style, not a colour."""
    if {"black", "and", "white"} <= set(before):
        return None
    return next((words.COLOURS[w] for w in before if w in words.COLOURS), None)


_HOMES: Final = (
    (Habit.FLOATS, ("sea",)),
    (Habit.SWIMS, ("underwater",)),
    (Habit.SPACE, ("space",)),
    (Habit.CELESTIAL, ("night_sky",)),
    (Habit.BUILDING, ("meadow", "mountains")),
    (Habit.VEHICLE, ("mountains", "city", "meadow")),
    (Habit.ANIMAL, ("meadow", "forest", "mountains", "lake")),
    (Habit.FLIES, ("meadow", "mountains")),
    (Habit.PERSON, ("meadow", "sea", "city", "mountains")),
)


def _place_for(subjects: tuple[Subject, ...], seed: int) -> str:
    """Choose a place where the subjects belong; the most demanding one decides. Without subjects all is abstract."""
    if not subjects:
        return "abstract"
    habits = {Habit.ANIMAL if is_face(s.icon) else habit_of(s.icon) for s in subjects}
    homes = next((places for habit, places in _HOMES if habit in habits), ("studio",))
    return homes[seed % len(homes)]
