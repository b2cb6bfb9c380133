"""The second step: from a plan to the SVG text of the whole picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from omixa.engines.illustrator import city, indoors, land, space, water
from omixa.engines.illustrator.abstract import abstract
from omixa.engines.illustrator.blueprint import blueprint
from omixa.engines.illustrator.cast import place_cast
from omixa.engines.illustrator.colour import GRADES, regrade
from omixa.engines.illustrator.finish import lettering, style_marks, weather
from omixa.engines.illustrator.library import Library
from omixa.engines.illustrator.look import Look, look_for
from omixa.engines.illustrator.plan import Plan
from omixa.engines.illustrator.sheet import SHORT_SIDE, Sheet
from omixa.engines.illustrator.stage import Stage
from omixa.engines.illustrator.subjects import Habit, habit_of
from omixa.engines.illustrator.terrain import road
from omixa.engines.illustrator.ui import interface

CLEAR_CORNER: Final = 0.08  # of the short side, how round the corners of a scene on a transparent ground are
NOWHERE: Final = "meadow"  # subjects without a ground stand, fly and sit as they do in a meadow

Backdrop = Callable[[Sheet, Plan, Look], Stage]
"""Paints what lies behind the subjects and says where subjects may go."""

BACKDROPS: Final[Mapping[str, Backdrop]] = MappingProxyType(
    {
        "sea": water.sea,
        "lake": water.lake,
        "mountains": land.mountains,
        "forest": land.forest,
        "meadow": land.meadow,
        "desert": land.desert,
        "snow": land.snow,
        "night_sky": land.night_sky,
        "city": city.city,
        "space": space.space,
        "underwater": water.underwater,
        "studio": indoors.studio,
        "room": indoors.room,
        "abstract": abstract,
    }
)


def draw_scene(plan: Plan, library: Library, width: int, height: int, *, transparent: bool = False) -> str:
    """Draw a plan as one SVG document of `width` x `height` pixels.

    On a transparent ground only the subjects and words are drawn. Where there are no subjects, the whole scene is, and its
    corners are rounded off.
    """
    sheet = Sheet(width, height, plan.rng("sheet"))
    drawn_as_it_is = plan.place == "ui" or plan.style == "blueprint"
    if transparent and plan.subjects and not drawn_as_it_is:
        _cut_out(sheet, plan, library)
    else:
        _whole_scene(sheet, plan, library)
        if transparent:
            sheet.round_off(SHORT_SIDE * CLEAR_CORNER)
    svg = sheet.document()
    grade = GRADES.get(plan.style or "")
    return svg if grade is None or drawn_as_it_is or _lit_by_itself(plan) else regrade(svg, grade)


def _whole_scene(sheet: Sheet, plan: Plan, library: Library) -> None:
    if plan.place == "ui":
        interface(sheet, plan)
        return
    if plan.style == "blueprint":
        blueprint(sheet, plan, library)
        return
    look = look_for(plan)
    stage = BACKDROPS[plan.place](sheet, plan, look)
    if any(habit_of(s.icon) is Habit.VEHICLE for s in plan.subjects) and plan.place in {
        "mountains",
        "meadow",
        "forest",
    }:
        road(sheet, look, sheet.h * 0.86)
    place_cast(sheet, plan, library, look, stage)
    weather(sheet, plan, look)
    style_marks(sheet, plan, look)
    lettering(sheet, plan, look)


def _cut_out(sheet: Sheet, plan: Plan, library: Library) -> None:
    """Draw the subjects with their shadows and the words, and nothing behind them."""
    alone = replace(plan, place=NOWHERE)
    look = look_for(plan)
    stage = Stage(far=sheet.h * 0.80, near=sheet.h * 0.84, air=sheet.h * 0.6, platform=(sheet.w / 2, sheet.w * 0.44))
    place_cast(sheet, alone, library, look, stage)
    lettering(sheet, alone, look)


def _lit_by_itself(plan: Plan) -> bool:
    """Tell whether a scene is painted in the colours of its style already."""
    return plan.style == "neon" and plan.place in {"city", "space", "night_sky", "abstract"}
