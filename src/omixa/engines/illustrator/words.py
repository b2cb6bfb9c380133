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
        "snow": "snow snowy snowfall snowing winter arctic icy frozen glacier christmas ski skiing polar antarctica "
        "frosty blizzard iceberg snowman igloo",
        "space": "space galaxy cosmos cosmic nebula orbit universe outer_space interstellar asteroid planet "
        "saturn astronomy starship spaceship spacecraft lunar",
        "underwater": "underwater undersea reef coral aquarium deep_sea seabed submarine scuba ocean_floor",
        "studio": "studio product packshot isolated advertisement podium pedestal commercial showcase still_life",
        "room": "room interior indoor kitchen bedroom office living_room desk table library cafe restaurant home cozy cosy "
        "sofa couch armchair fireplace windowsill classroom bar bakery lounge shelf workshop",
        "night_sky": "night_sky milky_way starry constellation aurora northern_lights stargazing meteor_shower",
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
        "snow": _words("snow winter ice iceberg snowflake snowing tree trees mountain mountains mount pine star stars"),
        "space": _words("star stars space galaxy nebula cosmos"),
        "underwater": _words("reef coral water ocean sea bubble bubbles seaweed"),
        "room": _words(
            "table desk room kitchen window office bedroom home library cafe restaurant shelf plant classroom bakery"
        ),
        "night_sky": _words("star stars sky milky way"),
        "studio": _words("studio podium pedestal"),
        "abstract": _words("wave waves shape shapes circle line lines color art ribbon ribbons"),
    }
)
PAINTED_ALWAYS: Final = _words(
    "full crescent half firework fireworks sun moon "
    " sunset sunrise night morning evening day sky cloud clouds cloudy rain rainy storm fog weather "
    "spring summer winter autumn fall sunny rainbow wind"
)

# Words that find a picture by accident: adjectives, verbs and generic nouns.
IGNORED: Final = _words(
    """
    a about above across act acting add adult adventure air all amusement an and angle any apply around art as asian
    at back background bad bag ball banner bar base be beautiful behind being beside big black blue body bold bottom
    bottomless bound bow box branch brand branding bright brightness broken brown brush build business by calm
    camera cap caption casual catch cause celebration center ceremony change chart cheeky chill cinematic circle
    city classical classy claws clean climbing close closed cloth clothes clue cold color colors colour company
    composition concept convert cool corner cover cozy create creative creativity creature crop cross crystal
    cultural culture cup curved cut cute dark data date day deal deck deep delicious delivery design detail detailed
    digital display doing double down dramatic draw drawing dressed drop dust dying early east edge edit eight
    electric elegant empty end energy engine epic establishing european event exit express eye face falling fancy
    fantasy fashion fast favorite feature feeling feet female festival field file filling film find first fix flash
    flat flavor floating flowing flying focus food for force formal four frame framed french fresh friends from
    front frozen full fun future futuristic game german giant give glass glossy glow glowing gold golden good gray
    great green grey group grow hand handle hands hang happy hard head health heavy here hero hidden high history
    hold holding hop hot hour icon idea illustration image improve in indian industrial information input inside
    inspired instrument into irish is island isolated it italian jacket-less japanese join joy jump keep key kick
    kind lab label large launch lead leader left leg length letter letters level life lift light lighting like line
    link list lit little load location logo long look looking loud love low lower lucky luxury mac machine made
    magic magical main make male manga many mark marketing massive match material medium metal metric mexican middle
    miniature minimal mirror mock model modern monitor mood morning mount move moving multiple music musical
    mystical mythical name nature near neutral new next nice night noble noise north nose note number objects
    observation of off office old older oldschool on oncoming one open opening orange orbit organ organic organizing
    out outdoors over own packaging pad page paint painted painting pair palette paper park party pass pattern
    peaceful people perfect performance performing personal pet photo photography photorealistic picture piece pink
    place plate play player playful playing point pointing pole pop portrait pose position poster power premium
    present press pretty price pride primary print printed product professional program progress prompt public pulse
    punk pure purple push put quality quarter quiet random rank rays read reading realistic record red reflection
    regular relax relaxed religious remove render replace resolution rest retro rich riding right ring rise rolled
    room rope rotating round row royal rule running rustic sale sales sand say saying says scale scary scene scenery
    scenic school scientific screen sea search season seat second see send serene serenity serve set shade shape
    shaped sharp sheet shining shiny shop shopping short shot show side sign silhouette silver simple single sitting
    six skill sky sleek sleeping slice slide slow small smart smile smiling smoke smooth soft solid sound space
    sparkling speed spiral spooky sport square stack stand standing stare start startup steam step stick still stock
    stone stop story straight strange street string strip stripe strong structure studio stuffed style summer
    support surface surrounded swap sweet swirl swirling symbol system table take talk tall target taste
    tea-coloured team tech technology test text texture that the theme thick thin this thread three ticket time tin
    tiny title to tone tool top touch town toy transform transparent travel tree-lined trend trim tropic tropical
    trunk tube turn two type ultra under unique up upon upward urban user vacation venue vertical very vibrant video
    view vintage violence vivid volume wait walking wall war warm warning water wave way wear weather web weight
    weird west white wide wild win wind window wing wings winning wise wish with wood wooden work working world worn
    write written year yellow young your
    """
)

# Words whose best picture is not the one the word lists would find.
ALIASES: Final = _table(
    {
        "airplane": "jet plane", "alien": "alien", "troll": "monster", "amphora": "vase",
        "artist": "artist painter", "astronaut": "spaceman astronaut", "automobile": "car", "baby": "baby",
        "baby-angel": "angel", "baby-chick": "chick", "backpack": "backpack", "ballet-dancer": "dancer",
        "bank": "bank", "bear": "bear", "bed": "bed", "beer-mug": "beer", "bicycle": "bike", "bird": "bird sparrow",
        "birthday-cake": "cake", "black-bird": "crow raven", "blossom": "daisy", "blueberries": "berry",
        "books": "bookshelf", "bottle-with-popping-cork": "champagne", "bouquet": "bouquet", "bread": "bread toast",
        "bus": "bus", "butterfly": "butterflies", "cactus": "cactus", "camera": "camera", "candle": "candle",
        "canoe": "canoe kayak", "carp-streamer": "koi", "carrot": "vegetable", "castle": "castle palace",
        "cat": "cat kitten", "chair": "chair stool", "cheese-wedge": "cheese", "cherries": "cherry",
        "cherry-blossom": "sakura cherry_blossom", "chicken": "hen", "chipmunk": "squirrel",
        "chocolate-bar": "chocolate", "church": "church", "cloud": "cloud", "construction-worker": "worker",
        "cook": "chef", "couch-and-lamp": "sofa couch", "cow": "cow", "crab": "crab",
        "cup-with-straw": "juice smoothie lemonade", "dagger": "sword", "deciduous-tree": "tree",
        "deer": "deer stag", "delivery-truck": "truck", "desert-island": "island", "dog": "dog puppy",
        "dolphin": "dolphin", "doughnut": "donut", "dove": "seagull", "dragon": "dragon", "drum": "drum",
        "eagle": "falcon hawk", "elf": "elf", "evergreen-tree": "fir pine_tree", "ewe": "sheep", "fairy": "fairy",
        "fallen-leaf": "leaves", "farmer": "farmer", "ferris-wheel": "windmill", "file-cabinet": "fridge",
        "fire": "campfire fireplace", "firefighter": "firefighter", "flying-saucer": "ufo", "fox": "fox",
        "french-fries": "fries", "frog": "frog", "full-moon": "moon", "gem-stone": "diamond crystal jewel",
        "ghost": "ghost", "glass-of-milk": "milk", "glasses": "glasses", "globe-showing-europe-africa": "earth",
        "goose": "goose", "gorilla": "ape", "grapes": "fruit", "green-salad": "salad", "guitar": "band",
        "hamburger": "burger", "handbag": "bag", "headphone": "headphones", "health-worker": "doctor nurse",
        "helicopter": "drone", "hibiscus": "orchid", "high-heeled-shoe": "heels", "hiking-boot": "boots boot",
        "honeybee": "bee", "horse": "pony", "horse-racing": "knight", "hospital": "hospital",
        "hot-air-balloon": "blimp hot_air_balloon hot-air_balloon",
        "hot-beverage": "coffee cup_of_coffee coffee_cup cup mug", "house": "barn house",
        "house-with-garden": "cottage", "houses": "village", "hut": "cabin", "hyacinth": "lavender",
        "ice-cream": "popsicle", "jack-o-lantern": "pumpkin", "japanese-castle": "temple", "jellyfish": "jellyfish",
        "keyboard": "keyboard", "lady-beetle": "ladybug", "laptop": "computer",
        "light-bulb": "lamp desk_lamp bulb light_bulb lightbulb", "lighthouse": "lighthouse", "lion": "lion",
        "lipstick": "lipstick", "locomotive": "train", "lotion-bottle": "bottle perfume cream", "lotus": "lotus",
        "luggage": "suitcase", "mage": "wizard witch", "magic-wand": "wand", "man-standing": "boy kid man",
        "mantelpiece-clock": "clock", "maple-leaf": "leaf", "mechanic": "engineer", "mermaid": "mermaid",
        "military-helmet": "helmet", "minibus": "van caravan", "mobile-phone": "phone smartphone",
        "monkey": "monkey", "motor-boat": "submarine", "motor-scooter": "scooter vespa", "motorcycle": "motorbike",
        "mountain": "pyramid", "mouse": "mouse", "musical-keyboard": "piano", "ninja": "samurai",
        "notebook": "notebook", "octopus": "octopus", "office-building": "apartment skyscraper", "old-key": "key",
        "old-man": "grandfather", "old-woman": "grandmother grandma", "open-book": "book", "owl": "owl",
        "palm-tree": "palm", "panda": "panda", "parrot": "parrot",
        "sheaf-of-rice": "wheat grain",
        "people-holding-hands": "family children couple kids men people women", "person-biking": "cyclist",
        "person-in-lotus-position": "monk yoga", "person-rowing-boat": "sailor", "person-running": "jogger runner",
        "person-standing": "child person", "person-surfing": "surfer", "person-swimming": "diver",
        "pickup-truck": "pickup", "polar-bear": "polar_bear", "police-officer": "policeman", "pot-of-food": "soup",
        "potted-plant": "plant", "prayer-beads": "necklace", "prince": "king", "princess": "queen",
        "purse": "wallet", "rabbit": "bunny", "racing-car": "race_car sports_car", "red-apple": "apple",
        "red-heart": "heart", "red-paper-lantern": "lantern", "ring": "ring", "ringed-planet": "planet",
        "robot": "bot robot", "rocket": "rocket spaceship spacecraft", "rooster": "rooster", "rose": "rose",
        "running-shoe": "shoe sneaker", "sailboat": "boat sailing_ship pirate_ship sail yacht",
        "santa-claus": "santa", "school": "school", "scientist": "scientist", "shark": "shark",
        "shinto-shrine": "bridge", "ship": "ocean_liner ship", "singer": "guitarist musician",
        "skateboard": "skater", "skull": "skull", "snowman-without-snow": "snowman", "soccer-ball": "ball football",
        "soft-ice-cream": "ice_cream icecream", "speaker-high-volume": "speaker",
        "sport-utility-vehicle": "suv", "spouting-whale": "whale", "star": "star",
        "steaming-bowl": "bowl ramen noodle", "student": "student", "studio-microphone": "microphone", "sun": "sun",
        "sunglasses": "sunglasses", "superhero": "superhero hero", "sushi": "sushi", "swan": "swan",
        "t-rex": "dinosaur", "tangerine": "orange", "taxi": "taxi", "teacup-without-handle": "cup_of_tea tea",
        "technologist": "programmer developer", "teddy-bear": "teddy", "telescope": "telescope", "television": "tv",
        "tent": "tent", "tokyo-tower": "tower", "top-hat": "hat", "tractor": "tractor", "tram-car": "tram",
        "tropical-drink": "cocktail drink", "tropical-fish": "fish goldfish", "tulip": "flower",
        "tumbler-glass": "whisky whiskey", "turtle": "turtle", "umbrella": "umbrella", "unicorn": "unicorn",
        "vampire": "vampire", "volcano": "volcano", "watch": "watch", "water-wave": "wave", "wine-glass": "wine",
        "woman-standing": "girl lady woman", "wrapped-gift": "gift", "yarn": "wool", "zombie": "zombie",
    }
)  # fmt: skip
