"""The words the illustrator understands beyond the names of its pictures.

Everything is lower case and singular where the plural only adds an s. The tables are read, never written.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _table(rows: Mapping[str, str]) -> Mapping[str, str]:
    """Turn `{meaning: "word word"}` into `{word: meaning}`; an underscore stands for a space."""
    return MappingProxyType({w.replace("_", " "): meaning for meaning, words in rows.items() for w in words.split()})


PLACES: Final = _table(
    {
        "sea": "sea ocean beach coast coastal shore seaside surf island harbor harbour bay lagoon tropical pier marina cruise",
        "lake": "lake river pond fjord waterfall stream loch",
        "mountains": "mountain alps alpine hill valley peak cliff canyon hiking trail volcano himalaya summit",
        "forest": "forest woods woodland jungle rainforest grove pine taiga",
        "meadow": "meadow field farm park garden countryside grass pasture prairie picnic village campsite camping savanna "
        "savannah barn orchard spring zoo playground",
        "city": "city skyline street downtown urban metropolis tokyo york london paris berlin shanghai skyscraper cityscape "
        "town road avenue traffic rooftop",
        "desert": "desert dune sahara oasis mesa egypt wasteland mars pyramid",
        "snow": "snow snowy snowfall snowing winter arctic icy ice frozen glacier christmas ski skiing polar antarctica "
        "frosty blizzard iceberg snowman igloo",
        "space": "space galaxy cosmos cosmic nebula orbit universe outer_space milky_way interstellar asteroid planet "
        "saturn astronomy starship spaceship spacecraft lunar",
        "underwater": "underwater undersea reef coral aquarium deep_sea seabed submarine scuba ocean_floor",
        "studio": "studio product packshot isolated advertisement podium pedestal commercial showcase still_life",
        "room": "room interior indoor kitchen bedroom office living_room desk table library cafe restaurant home cozy cosy "
        "sofa couch armchair fireplace windowsill classroom bar bakery lounge shelf workshop",
        "night_sky": "night_sky starry constellation aurora northern_lights stargazing meteor_shower",
        "abstract": "abstract pattern geometric gradient fluid shapes wallpaper bauhaus mandala fractal chaos harmony swirls "
        "generative",
        "ui": "dashboard ui ux interface app website webpage web_page wireframe mockup mock-up saas landing_page "
        "landing homepage analytics_page admin_panel screen screenshot login fintech",
    }
)

# Rain outweighs autumn; the rank of all others is 2.
WEATHER_RANK: Final[Mapping[str, int]] = MappingProxyType({"wind": 0, "cloudy": 1})

# Of several styles the higher rank wins; the rank of all others is 1.
STYLE_RANK: Final[Mapping[str, int]] = MappingProxyType(
    {"mono": 3, "neon": 3, "blueprint": 3, "watercolour": 2, "warm": 0, "minimal": 0}
)

# When several places are named the higher rank wins, then the first; the rank of all others is 2.
PLACE_RANK: Final[Mapping[str, int]] = MappingProxyType(
    {"ui": 4, "underwater": 3, "space": 3, "night_sky": 1, "abstract": 1}
)
WEAK_PLACE_WORDS: Final = _words(
    "tropical product table desk home office cozy cosy shapes pattern park hill trail trees "
    "grass spring gradient login screen"
)

TIMES: Final = _table(
    {
        "sunset": "sunset dusk golden_hour evening twilight",
        "night": "night midnight moonlight moonlit nighttime nocturnal starry stars aurora northern_lights dark fireworks "
        "firework halloween",
        "dawn": "dawn sunrise morning daybreak early",
        "day": "day noon sunny daylight afternoon bright summer",
    }
)

WEATHERS: Final = _table(
    {
        "rain": "rain rainy raining drizzle storm stormy thunderstorm monsoon wet",
        "snow": "snowing snowfall blizzard snowflake snowstorm",
        "fog": "fog foggy mist misty haze hazy",
        "cloudy": "cloudy overcast clouds",
        "wind": "windy autumn fall leaves",
        "aurora": "aurora northern_lights",
        "rainbow": "rainbow",
    }
)

STYLES: Final = _table(
    {
        "mono": "black_and_white black-and-white monochrome monochromatic grayscale greyscale noir b&w",
        "neon": "neon cyberpunk synthwave vaporwave retrowave",
        "pastel": "pastel kawaii dreamy soft cute gentle",
        "watercolour": "watercolor watercolour painting painted aquarelle gouache impressionist hand-painted brush",
        "vintage": "vintage retro sepia nostalgic old-fashioned antique polaroid film 1950s 1960s 1970s",
        "minimal": "minimal minimalist minimalistic simple flat",
        "blueprint": "blueprint lineart line_art line_drawing outline sketch technical_drawing schematic technical wireframe",
        "warm": "warm candlelit",
    }
)

COLOURS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "red": "#e23b3b", "scarlet": "#e23b3b", "crimson": "#c3203f", "maroon": "#7d1f2f", "blue": "#2f6fed",
        "navy": "#1d2f6f", "azure": "#3aa0ff", "cobalt": "#2348c4", "green": "#2fa84f", "emerald": "#12946a",
        "lime": "#a3d92b", "mint": "#7fdcb5", "olive": "#7d8436", "purple": "#7b3fe4", "violet": "#8f4ae8",
        "lavender": "#b7a2f0", "indigo": "#4b3fd1", "pink": "#f472b6", "magenta": "#e0339b", "orange": "#f5841f",
        "peach": "#ffb48a", "coral": "#ff7f62", "yellow": "#f7c948", "gold": "#d9a520", "golden": "#d9a520",
        "amber": "#f2a71b", "teal": "#14a89a", "turquoise": "#1fbfb8", "cyan": "#22c1e6", "brown": "#8b5e3c",
        "beige": "#dcc7a1", "gray": "#8a8f98", "grey": "#8a8f98", "white": "#fafafa", "black": "#1b1c20",
        "silver": "#c4c9d1",
    }
)  # fmt: skip

COUNTS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "two": 2, "2": 2, "pair": 2, "couple": 2, "three": 3, "3": 3, "trio": 3, "four": 4, "4": 4, "five": 5, "5": 5,
        "six": 6, "6": 6, "seven": 7, "7": 7, "eight": 8, "8": 8, "several": 4, "some": 3, "many": 7, "lots": 7,
        "group": 4, "herd": 5, "flock": 6, "swarm": 7, "school": 6, "dozen": 8, "bunch": 4, "few": 3, "family": 3,
    }
)  # fmt: skip

# A colour or a number does not reach across one of these to a later noun.
BARRIERS: Final = _words("and with on in of at by near over under behind beside to from for through into as or but")
GROUPS: Final[Mapping[str, int]] = MappingProxyType(
    {"family": 3, "herd": 5, "flock": 6, "pair": 2, "couple": 2, "group": 4}
)

# A scene paints these itself, so they call for no picture of their own in it.
PAINTED_BY: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "sea": _words("wave waves island tropical ocean sea beach bay surf sand coast water star stars"),
        "lake": _words("lake river water stream reflection tree trees mountain mountains star stars"),
        "mountains": _words("mountain mountains mount hill peak valley snow-capped star stars"),
        "forest": _words("tree trees forest wood woods pine leaf leaves star stars"),
        "meadow": _words(
            "flower flowers grass field farm garden park tree trees leaf leaves picnic camping star stars"
        ),
        "city": _words("building buildings skyscraper city street office traffic tokyo london york light lights"),
        "desert": _words("desert sand dune cactus star stars"),
        "snow": _words("snow winter ice snowflake snowing tree trees mountain mountains mount pine star stars"),
        "space": _words("star stars space galaxy nebula cosmos"),
        "underwater": _words("reef coral water ocean sea bubble bubbles seaweed"),
        "room": _words("table desk room kitchen window office bedroom home library cafe restaurant shelf plant"),
        "night_sky": _words("star stars sky"),
        "studio": _words("studio podium pedestal"),
        "abstract": _words("wave waves shape shapes circle line lines color art ribbon ribbons"),
    }
)
PAINTED_ALWAYS: Final = _words(
    "full crescent half sun moon sunset sunrise night morning evening day sky cloud clouds cloudy rain rainy storm fog weather spring summer "
    "winter autumn fall sunny rainbow wind"
)

# Words that find a picture by accident: adjectives, verbs and generic nouns.
IGNORED: Final = _words("""
    a about above across act acting air all an and any around art as asian at back background bad bag ball bar base be
    beautiful being big black blue bold bottom bound bow box branch bright brightness broken brown brush build business by
    calm cap casual catch cause center chart cheeky chill circle city classical classy clean close closed clothes cold color
    colors colour concept cool corner cozy create creative creature creativity crystal curved cut cute dark data day deck
    delicious design detail detailed digital display doing double down draw drawing dressed drop dust early east edge eight
    electric elegant empty energy epic establishing european event express face falling fancy fantasy fast favorite feature
    female film find flat flash floating flowing flying focus for force formal four frame framed fresh from front full fun
    future futuristic game giant glass glossy glow glowing gold golden good gray great green grey group grow happy hard head
    heavy here hidden high history hold holding hot hour icon idea illustration image improve in industrial input inside into
    is isolated it japanese jump kind large launch lead leader left length level lead life light lighting like line lit little
    logo long look looking loud love low lower lucky machine made magic magical main male manga many mark massive material
    medium metal middle miniature minimal mirror mock modern mood morning move moving multiple music musical mystical nature
    neutral new next nice night noble noise north note of off office old on one open orange orbit organic out outdoors over
    page pair palette paper pass pattern people perfect performance personal photo photography photorealistic picture piece
    pink place plate play player playful playing point pointing pop portrait pose position poster power present press pretty
    primary print printed professional program progress prompt public pure purple push quality quiet random rays read
    realistic record red reflection regular relax render resolution rest retro rich right ring rise rolled room rotating round
    royal rule running scale scary scene scenery scenic school screen sea season second see serene serenity set sharp shaped
    shiny shining shot show side sign silhouette silver simple single sitting six sky sleek slow small smart smooth smoke
    soft solid space sparkling speed spiral spooky sport square stack stand standing steam stick still stone stop straight
    string stripe strong structure studio stuffed style sweet symbol system table tall team tech technology text texture
    that the theme thick thin this three thread time tin tiny to tone top transparent tropical tropic turn two type
    ultra under up upward urban venue vertical very vibrant video view vintage violence vivid walking wall war warm warning
    water wear weather web weird white wide wild win wind window with wood wooden work working worn world yellow young your
    adult angle banner body bottomless camera cinematic claws climbing cloth clue composition cover cross cup crop culture
    cultural date deal deep delivery digital dramatic dying end exit eye fashion feeling feet field file filling first fix
    flavor food french friends german hand handle hands hang health hero hop indian information inspired instrument irish
    island italian join jacket-less joy key kick lab leg lift link list load location lower luxury mac match metric mexican
    model monitor mount mythical name nose number objects observation older oldschool oncoming opening organ organizing own
    packaging pad page paint painted painting park party peaceful performing pet point pole price pride product pulse punk
    quarter rank relaxed religious remove reading riding rope row rustic sale sales sand search seat send serve shade shape
    sheet short shop shopping skill slice slide sleeping smile smiling sound square stare start step stock story strange
    street strip summer support surface swirl swirling table take talk target taste tea-coloured test ticket title tool
    touch town toy travel tree-lined trend trim trunk tube unique upon user vacation view volume wait wave way weight west
    wing wings winning wise wish year office premium company brand branding startup marketing add put make change replace
    turn transform edit apply convert give swap keep engine festival season ceremony celebration event vacation frozen scientific amusement theme adventure surrounded near beside behind write written say says saying letter letters caption label title text type
    """)

# Words whose best picture is not the one the word lists would find.
ALIASES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "apple": "red-apple", "apartment": "office-building", "angel": "baby-angel", "ape": "gorilla", "backpack": "backpack",
        "bag": "handbag", "ball": "soccer-ball", "band": "guitar", "barn": "house", "bee": "honeybee", "beer": "beer-mug",
        "bike": "bicycle", "bird": "bird", "blimp": "hot-air-balloon", "boat": "sailboat", "book": "open-book", "bot": "robot",
        "bottle": "lotion-bottle", "bowl": "steaming-bowl", "bread": "bread", "bridge": "shinto-shrine", "bus": "bus",
        "cabin": "hut", "cake": "birthday-cake", "camera": "camera", "campfire": "fire", "car": "automobile",
        "cat": "cat", "chair": "chair", "cheese": "cheese-wedge", "child": "person-standing", "children": "people-holding-hands",
        "cocktail": "tropical-drink", "coffee": "hot-beverage", "cup of coffee": "hot-beverage", "coffee cup": "hot-beverage",
        "cup of tea": "teacup-without-handle", "computer": "laptop", "cottage": "house-with-garden", "couple": "people-holding-hands",
        "cow": "cow", "crow": "black-bird", "cup": "hot-beverage", "cyclist": "person-biking", "dancer": "ballet-dancer",
        "diamond": "gem-stone", "dinosaur": "t-rex", "diver": "person-swimming", "dog": "dog", "donut": "doughnut",
        "drone": "helicopter", "drum": "drum", "earth": "globe-showing-europe-africa", "elf": "elf", "falcon": "eagle",
        "fir": "evergreen-tree", "fish": "tropical-fish", "flower": "tulip", "football": "soccer-ball", "fridge": "file-cabinet",
        "gift": "wrapped-gift", "girl": "woman-standing", "boy": "man-standing", "guitarist": "singer", "hat": "top-hat",
        "hawk": "eagle", "headphones": "headphone", "heart": "red-heart", "helmet": "military-helmet", "hot air balloon": "hot-air-balloon",
        "hot-air balloon": "hot-air-balloon", "house": "house", "jet": "airplane", "key": "old-key", "king": "prince", "queen": "princess",
        "kitten": "cat", "knight": "horse-racing", "lady": "woman-standing", "lamp": "light-bulb", "lantern": "red-paper-lantern",
        "kid": "man-standing", "kids": "people-holding-hands", "drink": "tropical-drink", "sailing ship": "sailboat", "fireplace": "fire",
        "lavender": "hyacinth", "leaf": "maple-leaf", "leaves": "fallen-leaf", "man": "man-standing", "men": "people-holding-hands",
        "mermaid": "mermaid", "monk": "person-in-lotus-position", "monster": "alien-monster", "motorbike": "motorcycle",
        "mouse": "mouse", "mug": "hot-beverage", "notebook": "notebook", "ocean liner": "ship", "palm": "palm-tree",
        "parrot": "parrot", "perfume": "lotion-bottle", "person": "person-standing", "people": "people-holding-hands",
        "phone": "mobile-phone", "piano": "musical-keyboard", "pine tree": "evergreen-tree", "pirate ship": "sailboat",
        "plane": "airplane", "planet": "ringed-planet", "plant": "potted-plant", "pony": "horse", "pumpkin": "jack-o-lantern",
        "puppy": "dog", "race car": "racing-car", "ramen": "steaming-bowl", "raven": "black-bird", "ring": "ring",
        "road": "automobile", "rocket": "rocket", "rose": "rose", "sail": "sailboat", "sailor": "person-rowing-boat",
        "seagull": "dove", "sheep": "ewe", "ship": "ship", "shoe": "running-shoe", "sneaker": "running-shoe", "skater": "skateboard",
        "smartphone": "mobile-phone", "snowman": "snowman-without-snow", "sofa": "couch-and-lamp", "couch": "couch-and-lamp",
        "spaceship": "rocket", "spacecraft": "rocket", "sparrow": "bird", "speaker": "speaker-high-volume", "spaceman": "astronaut",
        "sports car": "racing-car", "star": "star", "submarine": "motor-boat", "suitcase": "luggage", "surfer": "person-surfing",
        "sushi": "sushi", "sword": "dagger", "tea": "teacup-without-handle", "teddy": "teddy-bear", "telescope": "telescope",
        "temple": "japanese-castle", "tower": "tokyo-tower", "train": "locomotive", "tram": "tram-car", "tree": "deciduous-tree",
        "truck": "delivery-truck", "tv": "television", "ufo": "flying-saucer", "umbrella": "umbrella", "van": "minibus",
        "vase": "amphora", "village": "houses", "watch": "watch", "whale": "spouting-whale",
        "wine": "wine-glass", "wizard": "mage", "witch": "mage", "woman": "woman-standing", "women": "people-holding-hands",
        "worker": "construction-worker", "yacht": "sailboat", "yoga": "person-in-lotus-position", "jogger": "person-running",
        "runner": "person-running", "burger": "hamburger", "fries": "french-fries", "ice cream": "soft-ice-cream",
        "icecream": "soft-ice-cream", "noodle": "steaming-bowl", "soup": "pot-of-food", "salad": "green-salad", "orange": "tangerine",
        "berry": "blueberries", "fruit": "grapes", "vegetable": "carrot", "toast": "bread", "chocolate": "chocolate-bar",
        "lotus": "lotus", "orchid": "hibiscus", "sakura": "cherry-blossom", "daisy": "blossom", "cherry blossom": "cherry-blossom",
        "cherry": "cherries", "butterflies": "butterfly", "ladybug": "lady-beetle", "bunny": "rabbit", "squirrel": "chipmunk",
        "lighthouse": "lighthouse", "windmill": "ferris-wheel", "castle": "castle", "church": "church", "volcano": "volcano",
        "island": "desert-island", "palace": "castle", "skyscraper": "office-building", "bank": "bank", "school": "school",
        "hospital": "hospital", "dragon": "dragon", "unicorn": "unicorn", "fairy": "fairy", "ghost": "ghost", "alien": "alien",
        "zombie": "zombie", "vampire": "vampire", "superhero": "superhero", "hero": "superhero", "samurai": "ninja",
        "musician": "singer", "doctor": "health-worker", "nurse": "health-worker", "chef": "cook", "student": "student",
        "farmer": "farmer", "artist": "artist", "painter": "artist", "scientist": "scientist", "astronaut": "astronaut",
        "firefighter": "firefighter", "policeman": "police-officer", "engineer": "mechanic", "programmer": "technologist",
        "developer": "technologist", "santa": "santa-claus", "bed": "bed", "bookshelf": "books", "clock": "mantelpiece-clock",
        "stool": "chair", "desk lamp": "light-bulb", "candle": "candle", "crystal": "gem-stone", "jewel": "gem-stone",
        "necklace": "prayer-beads", "glasses": "glasses", "sunglasses": "sunglasses", "lipstick": "lipstick", "cream": "lotion-bottle",
        "bouquet": "bouquet", "fox": "fox", "lion": "lion", "bear": "bear", "polar bear": "polar-bear", "deer": "deer",
        "stag": "deer", "swan": "swan", "octopus": "octopus", "jellyfish": "jellyfish", "shark": "shark", "turtle": "turtle",
        "dolphin": "dolphin", "crab": "crab", "frog": "frog", "owl": "owl", "monkey": "monkey", "panda": "panda",
        "wave": "water-wave", "moon": "full-moon", "sun": "sun", "cloud": "cloud", "robot": "robot", "skull": "skull",
        "pyramid": "mountain", "wand": "magic-wand", "firework": "sparkler", "popsicle": "ice-cream", "goldfish": "tropical-fish",
        "juice": "cup-with-straw", "smoothie": "cup-with-straw", "lemonade": "cup-with-straw", "milk": "glass-of-milk",
        "champagne": "bottle-with-popping-cork", "whisky": "tumbler-glass", "whiskey": "tumbler-glass", "tractor": "tractor",
        "scooter": "motor-scooter", "vespa": "motor-scooter", "caravan": "minibus", "suv": "sport-utility-vehicle",
        "pickup": "pickup-truck", "taxi": "taxi", "bulb": "light-bulb", "light bulb": "light-bulb", "lightbulb": "light-bulb",
        "painting of": "framed-picture", "wallet": "purse", "microphone": "studio-microphone", "keyboard": "keyboard",
        "cactus": "cactus", "grandmother": "old-woman", "grandfather": "old-man", "grandma": "old-woman", "baby": "baby",
        "wool": "yarn", "koi": "carp-streamer", "hen": "chicken", "rooster": "rooster", "chick": "baby-chick", "goose": "goose",
        "tent": "tent", "canoe": "canoe", "kayak": "canoe", "boots": "hiking-boot", "boot": "hiking-boot", "heels": "high-heeled-shoe",
    }
)  # fmt: skip
