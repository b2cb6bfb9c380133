"""The second step: from a plan to the SVG text of the whole picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
from omixa.engines.illustrator.sheet import Sheet
from omixa.engines.illustrator.stage import Stage
from omixa.engines.illustrator.subjects import Habit, habit_of
from omixa.engines.illustrator.terrain import road
from omixa.engines.illustrator.ui import interface

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


def draw_scene(plan: Plan, library: Library, width: int, height: int) -> str:
    """Draw a plan as one SVG document of `width` x `height` pixels."""
    sheet = Sheet(width, height, plan.rng("sheet"))
    if plan.place == "ui":
        interface(sheet, plan)
        return sheet.document()
    if plan.style == "blueprint":
        blueprint(sheet, plan, library)
        return sheet.document()
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
    svg = sheet.document()
    grade = GRADES.get(plan.style or "")
    return svg if grade is None or _lit_by_itself(plan) else regrade(svg, grade)


def _lit_by_itself(plan: Plan) -> bool:
    """Tell whether a scene is painted in the colours of its style already."""
    return plan.style == "neon" and plan.place in {"city", "space", "night_sky", "abstract"}
