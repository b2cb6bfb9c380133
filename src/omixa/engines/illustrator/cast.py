"""Set the subjects into a scene: sizes, places, shadows, reflections and colours."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Final

from omixa.engines.illustrator.colour import hls, mix, regrade, tinted, towards
from omixa.engines.illustrator.library import Library, Picture
from omixa.engines.illustrator.look import Look
from omixa.engines.illustrator.plan import Plan, Subject
from omixa.engines.illustrator.sheet import Sheet, trace
from omixa.engines.illustrator.stage import Stage
from omixa.engines.illustrator.subjects import Habit, habit_of, is_face, size_of

MAX_FIGURES: Final = 12
TALLER: Final = 1.3  # how much larger figures may stand in an upright picture
SIZE_CONTRAST: Final = 0.62  # how much of the true difference in size is shown
FACES_LEFT: Final = 0.5  # share of the figures that are turned round, for life


@dataclass(frozen=True, slots=True)
class Figure:
    """One subject once: its size relative to the main one and its rank in the prompt."""

    subject: Subject
    picture: Picture
    habit: Habit
    size: float
    rank: int


def place_cast(sheet: Sheet, plan: Plan, library: Library, look: Look, stage: Stage) -> None:
    """Place all subjects of a plan, those farther away first."""
    figures = _figures(plan, library)
    groups: dict[str, list[Figure]] = {"air": [], "water": [], "edge": [], "ground": []}
    for figure in figures:
        groups[_group(figure, plan, stage)].append(figure)
    rng = plan.rng("cast")
    if stage.water:
        _in_water(sheet, groups["water"], stage.water, look, rng, below=plan.place == "underwater")
    company = len(groups["edge"]) < len(figures)
    side = rng.choice((-1, 1)) if groups["edge"] and company else 0
    _on_ground(sheet, groups["ground"], stage, look, rng, leave=-side)
    _in_air(sheet, groups["air"], stage, look, rng, alone=len(groups["air"]) == len(figures), leave=-side)
    _at_edge(sheet, groups["edge"], look, side)


def _figures(plan: Plan, library: Library) -> list[Figure]:
    main = max((size_of(s.icon) for s in plan.subjects[:1]), default=1.0)
    figures = [
        Figure(
            s,
            _whole(library.pictures[s.icon], s.icon),
            habit_of(s.icon),
            (size_of(s.icon) / main) ** SIZE_CONTRAST,
            rank,
        )
        for rank, s in enumerate(plan.subjects)
        for _ in range(s.count)
    ]
    return figures[:MAX_FIGURES]


def _whole(picture: Picture, icon: str) -> Picture:
    """Give an animal of which only the head is drawn a small sitting body, as a soft toy has."""
    if not is_face(icon):
        return picture
    middle, low = (picture.left + picture.right) / 2, picture.bottom
    fur, belly, paw = picture.colour, mix(picture.colour, "#ffffff", 0.45), mix(picture.colour, "#000000", 0.14)
    body = (
        f'<path d="M{middle + 24} {low + 34}c22 2 30 -14 24 -28" fill="none" stroke="{paw}" stroke-width="9" '
        'stroke-linecap="round"/>'
        f'<path d="M{middle - 33} {low + 40}c-4 -34 12 -58 33 -58s37 24 33 58c-2 10 -64 10 -66 0Z" fill="{fur}"/>'
        f'<ellipse cx="{middle}" cy="{low + 24}" rx="18" ry="22" fill="{belly}"/>'
        f'<ellipse cx="{middle - 20}" cy="{low + 43}" rx="15" ry="8" fill="{paw}"/>'
        f'<ellipse cx="{middle + 20}" cy="{low + 43}" rx="15" ry="8" fill="{paw}"/>'
    )
    return replace(picture, body=body + picture.body, bottom=low + 50)


def _group(figure: Figure, plan: Plan, stage: Stage) -> str:
    habit = figure.habit
    if figure.subject.flying and plan.place not in {"underwater", "room", "studio"}:
        return "air"
    if habit is Habit.BUST and not is_face(figure.subject.icon):
        return "edge" if stage.platform is None or plan.place == "studio" else "ground"
    if habit in {Habit.FLIES, Habit.CELESTIAL} and plan.place not in {"studio", "underwater", "room", "abstract"}:
        return "air"
    if habit is Habit.SPACE and plan.place in {"space", "night_sky"}:
        return "air"
    if plan.place == "underwater" or (stage.water and habit in {Habit.FLOATS, Habit.SWIMS}):
        return "water"
    if plan.place == "space" and habit not in {Habit.VEHICLE, Habit.BUILDING}:
        return "air"
    return "ground"


def _spread(count: int, rng: Random, low: float, high: float) -> list[float]:
    """Give places from `low` to `high`, the first one nearest to the middle."""
    slots = [low + (high - low) * (k + 0.5 + rng.uniform(-0.14, 0.14)) / count for k in range(count)]
    return sorted(slots, key=lambda v: abs(v - (low + high) / 2))


def _in_air(
    sheet: Sheet, figures: list[Figure], stage: Stage, look: Look, rng: Random, *, alone: bool, leave: int
) -> None:
    count = len(figures)
    unit = min(sheet.w, sheet.h) * (0.42 if alone else 0.26) / (1 + 0.24 * (count - 1))
    room = max(stage.air, sheet.h * 0.36)
    middle, reach = sheet.w * (0.5 + 0.13 * leave), sheet.w * (0.42 - 0.1 * abs(leave))
    levels = (0.52,) if count == 1 else (0.42, 0.7) if count == 2 else (0.56, 0.28, 0.78)
    for k, (x, figure) in enumerate(zip(_spread(count, rng, middle - reach, middle + reach), figures, strict=True)):
        size = unit * min(figure.size, 1.5) * rng.uniform(0.8, 1.08)
        y = min(room * (levels[k % len(levels)] + rng.uniform(-0.06, 0.06)) + size * 0.3, sheet.h * 0.8)
        draw(
            sheet,
            figure,
            x,
            max(y, size * 0.6) + size / 2,
            size,
            look,
            tilt_deg=rng.uniform(-7, 7),
            flip=rng.random() < FACES_LEFT,
        )


def _in_water(
    sheet: Sheet, figures: list[Figure], water: tuple[float, float], look: Look, rng: Random, *, below: bool
) -> None:
    top, bottom = water
    short = min(sheet.w, sheet.h)
    unit = short * (0.36 if below else 0.34) / (1 + 0.14 * (len(figures) - 1))
    places = _spread(len(figures), rng, sheet.w * 0.08, sheet.w * 0.92)
    placed = [
        (top + (bottom - top) * (0.5 if len(figures) == 1 else rng.uniform(0.14, 0.86)), x, f)
        for x, f in zip(places, figures, strict=False)
    ]
    for y, x, figure in sorted(placed, key=lambda p: p[0]):
        if below:
            size = unit * min(figure.size, 1.5) * rng.uniform(0.85, 1.1)
            draw(
                sheet,
                figure,
                x,
                min(y + size / 2, bottom),
                size,
                look,
                tilt_deg=rng.uniform(-6, 6),
                flip=rng.random() < FACES_LEFT,
            )
            continue
        size = unit * min(figure.size, 1.5) * (0.62 + 0.5 * (y - top) / max(bottom - top, 1))
        draw(sheet, figure, x, y, size, look, mirrored=True, flip=rng.random() < FACES_LEFT)


def _on_ground(sheet: Sheet, figures: list[Figure], stage: Stage, look: Look, rng: Random, *, leave: int) -> None:
    if not figures:
        return
    short = min(sheet.w, sheet.h)
    left, right = sheet.w * (0.06 + 0.42 * (leave > 0)), sheet.w * (0.94 - 0.42 * (leave < 0))
    if stage.platform is not None and not leave:
        centre, reach = stage.platform
        left, right = centre - reach * 0.92, centre + reach * 0.92
    height = short * (0.46 if len(figures) == 1 else 0.38) * min(TALLER, max(1.0, sheet.h / sheet.w) ** 0.6)
    sizes = [height * min(f.size, 1.75) for f in figures]
    widths = [_width(f, s) for f, s in zip(figures, sizes, strict=True)]
    scale = min(1.0, (right - left) * (1.12 if len(figures) > 3 else 1.0) / max(sum(widths) * 1.06, 1))
    room = max((stage.near - sheet.h * 0.08) / max(*sizes, 1), 0.1)
    scale = min(scale, room)
    order = _around_the_middle(figures)
    aside = figures[0].rank > 0 and len(figures) > 1 and not leave and stage.platform is None
    free = max(0.0, (right - left) - sum(widths) * scale)
    gap = min(free / (len(figures) + 1), short * 0.09)
    if aside:
        scale *= 0.86
        gap = max(0.0, right - left - sum(widths) * scale) / (len(figures) - 1)
    x = (left + right) / 2 - (sum(widths) * scale + gap * (len(figures) - 1)) / 2
    placed = []
    for index in order:
        width = widths[index] * scale
        back = min(1.0, max(0.0, (figures[index].size - 0.7) * 0.8)) if figures[index].rank else 0.2
        y = stage.near - (stage.near - stage.far) * min(1.0, max(0.0, back + rng.uniform(-0.15, 0.15)))
        placed.append((y, x + width / 2, sizes[index] * scale, figures[index]))
        x += width + gap
    for y, centre_x, size, figure in sorted(placed, key=lambda p: p[0]):
        draw(sheet, figure, centre_x, y, size, look, shadow=True, flip=_may_flip(figure) and centre_x < sheet.w * 0.42)


def _around_the_middle(figures: list[Figure]) -> list[int]:
    """Order figures from left to right so that the first is in the middle and like stand with like."""
    order: list[int] = []
    for index in range(len(figures)):
        if index % 2:
            order.append(index)
        else:
            order.insert(0, index)
    return order


def _width(figure: Figure, height: float) -> float:
    picture = figure.picture
    return height * min(1.0, (picture.right - picture.left) / max(picture.bottom - picture.top, 1))


def _may_flip(figure: Figure) -> bool:
    return figure.habit in {Habit.ANIMAL, Habit.VEHICLE, Habit.PERSON, Habit.FLIES, Habit.SWIMS, Habit.FLOATS}


def _at_edge(sheet: Sheet, figures: list[Figure], look: Look, side: int) -> None:
    """Let portraits rise from the lower edge, as a photographer frames them."""
    if not figures:
        return
    short = min(sheet.w, sheet.h)
    size = min(
        short * (0.62 if len(figures) == 1 and not side else 0.48), sheet.w * (0.52 if side else 0.94) / len(figures)
    )
    for k, figure in enumerate(figures):
        x = sheet.w * (0.5 + 0.24 * side) + (k - (len(figures) - 1) / 2) * size * 0.96
        draw(sheet, figure, x, sheet.h + size * 0.02, size, look)


def draw(
    sheet: Sheet, figure: Figure, x: float, y: float, size: float, look: Look, *, tilt_deg: float = 0.0,
    flip: bool = False, shadow: bool = False, mirrored: bool = False,
) -> None:  # fmt: skip
    """Draw one figure, its feet at (x, y); `size` is the longer side of its visible box, in units."""
    picture = figure.picture
    scale = size / max(picture.right - picture.left, picture.bottom - picture.top, 1)
    wide, tall = (picture.right - picture.left) * scale, (picture.bottom - picture.top) * scale
    body = _coloured(figure, look)
    if shadow:
        sheet.shadow(x + wide * 0.04, y - tall * 0.01, wide * 0.56, max(tall * 0.06, wide * 0.07), 0.42)
    turned = flip and _may_flip(figure)
    middle, feet = (picture.left + picture.right) / 2, picture.bottom
    across, origin = (-scale if turned else scale), f"translate({-middle:.1f} {-feet})"
    if mirrored:
        upside = f"translate({x:.1f} {y - tall * 0.04:.1f}) scale({across:.4f} {-scale * 0.72:.4f}) {origin}"
        sheet.add(f'<g opacity="0.28" transform="{upside}">{body.replace("~", sheet.fresh_id())}</g>')
    matrix = f"translate({x:.1f} {y:.1f}) rotate({tilt_deg:.1f}) scale({across:.4f} {scale:.4f}) {origin}"
    sheet.add(f'<g transform="{matrix}">{body.replace("~", sheet.fresh_id())}</g>')
    if mirrored:
        waves = trace("M", x - wide * 0.46, y - tall * 0.035, "q", wide * 0.12, tall * 0.05, wide * 0.23, 0)
        sheet.stroke(waves + trace("t", wide * 0.23, 0) * 3, "#ffffff", max(3.0, size * 0.012), 0.8)


def _coloured(figure: Figure, look: Look) -> str:
    """Give the picture's body in the wished colour and in the light of the scene."""
    picture, wish = figure.picture, figure.subject.colour
    body = picture.body
    if wish is not None and picture.hue_deg >= 0 and hls(picture.colour)[2] > 0.2:
        body = regrade(body, towards(wish, picture.hue_deg))
    elif wish is not None:
        body = regrade(body, lambda c: tinted(c, wish))
    share = look.tint_share * (0.62 if look.dark else 1.0)
    return regrade(body, lambda c: mix(c, look.tint, round(share, 3)))
