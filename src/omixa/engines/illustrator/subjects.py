"""What the subjects are like in the world: how big, and whether they fly, swim or stand."""

from __future__ import annotations

from enum import Enum
from typing import Final, TypeVar


class Habit(Enum):
    """Where a subject belongs in a scene."""

    FLIES = "flies"
    SWIMS = "swims"
    FLOATS = "floats"
    CELESTIAL = "celestial"
    SPACE = "space"
    VEHICLE = "vehicle"
    BUILDING = "building"
    ANIMAL = "animal"
    PERSON = "person"
    BUST = "bust"
    THING = "thing"


_HABITS: Final = {
    Habit.FLIES: """airplane small-airplane helicopter balloon hot-air-balloon kite parachute bat bird black-bird
        butterfly monarch-butterfly
        dove eagle honeybee fly mosquito parrot phoenix dragon fairy man-fairy woman-fairy superhero woman-superhero
        man-superhero baby-angel flying-disc goose genie""",
    Habit.SWIMS: """fish tropical-fish blowfish shark octopus squid jellyfish dolphin whale spouting-whale orca turtle seal
        lobster shrimp coral oyster mermaid merman""",
    Habit.FLOATS: """sailboat ship ferry passenger-ship speedboat motor-boat canoe duck swan person-rowing-boat person-surfing
        woman-surfing ring-buoy person-swimming""",
    Habit.CELESTIAL: """sun full-moon crescent-moon new-moon star glowing-star sparkles cloud rainbow comet meteor ringed-planet
        globe-showing-americas globe-showing-asia-australia globe-showing-europe-africa snowflake droplet
        high-voltage""",
    Habit.SPACE: "rocket flying-saucer satellite alien alien-monster",
    Habit.VEHICLE: """ambulance articulated-lorry auto-rickshaw automobile bicycle bullet-train bus delivery-truck fire-engine
        high-speed-train kick-scooter light-rail locomotive minibus monorail motor-scooter motorcycle oncoming-automobile
        pickup-truck police-car racing-car railway-car sport-utility-vehicle taxi tractor train tram tram-car trolleybus
        person-biking woman-biking skateboard horse-racing sled""",
    Habit.BUILDING: """bank building-construction carousel-horse castle church circus-tent classical-building convenience-store
        department-store derelict-house factory ferris-wheel fountain hindu-temple hospital hotel house house-with-garden houses
        hut japanese-castle japanese-post-office lighthouse mosque mount-fuji mountain office-building palm-tree
        post-office rock roller-coaster school shinto-shrine snow-capped-mountain stadium statue-of-liberty synagogue tent
        tokyo-tower volcano deciduous-tree evergreen-tree christmas-tree leafless-tree cactus camping desert-island snowman
        snowman-without-snow moai tanabata-tree playground-slide aerial-tramway tornado""",
    Habit.ANIMAL: """ant baby-chick badger bear beaver beetle bison black-cat boar bug camel cat chicken chipmunk cockroach
        cow crab cricket crocodile deer dodo dog donkey elephant ewe flamingo frog front-facing-baby-chick giraffe goat gorilla
        guide-dog hamster hedgehog hippopotamus horse kangaroo koala lady-beetle leopard lion lizard llama mammoth moose
        monkey mouse orangutan otter owl ox panda peacock penguin pig polar-bear poodle rabbit raccoon ram rat rhinoceros
        rooster sauropod scorpion service-dog skunk sloth snail snake spider t-rex tiger turkey two-hump-camel
        unicorn water-buffalo wolf worm zebra fox hatching-chick bouquet tulip rose sunflower hibiscus blossom cherry-blossom
        hyacinth lotus white-flower wilted-flower mushroom brown-mushroom seedling herb shamrock four-leaf-clover""",
    Habit.PERSON: """ballet-dancer man-dancing man-in-suit-levitating man-running man-standing man-walking people-holding-hands
        person-bouncing-ball person-cartwheeling person-climbing person-fencing person-golfing person-lifting-weights
        person-in-lotus-position woman-in-lotus-position person-playing-handball person-running person-standing person-walking
        skier snowboarder supervillain troll woman-and-man-holding-hands woman-dancing woman-running woman-standing
        woman-walking robot ghost person-in-bed person-taking-bath""",
    Habit.BUST: """artist astronaut baby boy construction-worker cook detective elf factory-worker farmer firefighter girl guard
        health-worker judge mage man mechanic ninja office-worker old-man old-woman person person-juggling pilot police-officer
        prince princess santa-claus scientist singer student teacher technologist vampire woman zombie
        cat-face dog-face cow-face dragon-face frog-face horse-face monkey-face mouse-face pig-face rabbit-face tiger-face panda
        koala hamster lion bear polar-bear wolf fox frog clown-face goblin ogre skull unicorn moose""",
}
_FACES: Final = frozenset(
    ("panda", "koala", "hamster", "lion", "bear", "polar-bear", "wolf", "fox", "frog", "unicorn", "moose")
)

_SIZES: Final = {
    0.30: "ant honeybee fly mosquito beetle lady-beetle bug cricket worm ring gem-stone old-key paperclip pill coin nut-and-bolt",
    0.42: """butterfly monarch-butterfly mouse snail spider baby-chick front-facing-baby-chick hatching-chick hamster frog lizard
        red-apple green-apple cherries strawberry lemon lime candy cookie key egg chestnut shrimp tropical-fish fish
        crab scorpion lipstick bird black-bird dove mushroom brown-mushroom blueberries mosquito star sparkles""",
    0.60: """cat black-cat rabbit chicken rooster duck goose parrot owl fox hedgehog squirrel chipmunk raccoon skunk turtle
        hot-beverage teacup-without-handle cupcake doughnut hamburger open-book camera mobile-phone watch running-shoe soccer-ball
        balloon kite teapot tulip rose sunflower octopus jellyfish blowfish lobster penguin alarm-clock potted-plant""",
    0.80: """dog poodle guide-dog service-dog wolf pig ewe ram goat swan eagle peacock flamingo turkey beaver otter badger monkey
        laptop television guitar birthday-cake amphora kick-scooter skateboard snowman snowman-without-snow baby boy girl""",
    1.30: """horse cow ox deer moose camel two-hump-camel lion tiger leopard bear polar-bear gorilla zebra donkey llama boar
        bison water-buffalo kangaroo crocodile motorcycle motor-scooter bicycle person-biking unicorn shark dolphin seal canoe
        couch-and-lamp bed dragon horse-racing cactus tent rock flying-saucer""",
    1.60: """automobile oncoming-automobile racing-car taxi police-car sport-utility-vehicle pickup-truck minibus tractor
        auto-rickshaw elephant rhinoceros hippopotamus giraffe sailboat speedboat motor-boat rocket small-airplane helicopter
        spouting-whale whale orca mammoth hot-air-balloon""",
    2.00: """bus delivery-truck articulated-lorry fire-engine ambulance tram tram-car trolleybus train locomotive bullet-train
        high-speed-train railway-car light-rail monorail house house-with-garden hut houses deciduous-tree evergreen-tree
        palm-tree christmas-tree leafless-tree t-rex sauropod airplane carousel-horse statue-of-liberty shinto-shrine
        fountain camping""",
    2.50: """castle japanese-castle church mosque synagogue hindu-temple lighthouse ship ferry passenger-ship ferris-wheel
        tokyo-tower roller-coaster stadium factory hospital hotel school bank classical-building office-building
        department-store circus-tent volcano mountain mount-fuji snow-capped-mountain desert-island building-construction
        derelict-house""",
}  # fmt: skip
NATURAL_SIZE: Final = 1.0
_Key = TypeVar("_Key")


def _inverted(table: dict[_Key, str]) -> dict[str, _Key]:
    return {name: key for key, names in table.items() for name in names.split()}


_HABIT_BY_ICON: Final = _inverted(_HABITS)
_SIZE_BY_ICON: Final = _inverted(_SIZES)


def habit_of(icon: str) -> Habit:
    """Give where a subject belongs; anything unknown is a thing."""
    return _HABIT_BY_ICON.get(icon, Habit.THING)


def is_face(icon: str) -> bool:
    """Tell whether an animal's picture shows its head only."""
    return icon in _FACES or icon.endswith("-face")


def size_of(icon: str) -> float:
    """Give the size of a subject relative to a person, 0.3 (a bee) to 2.5 (a castle), compressed as in a picture book."""
    return _SIZE_BY_ICON.get(icon, 0.6 if habit_of(icon) is Habit.THING else NATURAL_SIZE)
