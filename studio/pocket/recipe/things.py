"""The 174 things that the pocket model knows and the words for each. A thing is called as its icon is: `cat-face`."""

import random

GROUPS = {
    "food": """
        red-apple green-apple banana pear lemon tangerine strawberry grapes watermelon cherries peach pineapple avocado eggplant
        carrot ear-of-corn hot-pepper broccoli mushroom bread croissant pretzel cheese-wedge pizza hamburger french-fries
        hot-dog taco egg doughnut cookie birthday-cake cupcake ice-cream soft-ice-cream lollipop candy beer-mug wine-glass
        hot-beverage
    """,
    "animals": """
        cat-face dog-face mouse-face rabbit-face fox bear panda koala tiger-face lion cow-face pig-face frog monkey-face chicken
        penguin owl unicorn horse-face fish tropical-fish octopus whale dolphin crab turtle snail butterfly lady-beetle spider
        honeybee duck snake elephant
    """,
    "vehicles": """
        automobile bus taxi police-car fire-engine delivery-truck bicycle motorcycle airplane rocket sailboat helicopter
        locomotive tractor
    """,
    "objects": """
        house castle tent umbrella balloon wrapped-gift key locked bell guitar drum trumpet camera mobile-phone laptop
        television light-bulb blue-book pencil scissors hammer bomb crown glasses t-shirt dress jeans backpack top-hat
        billed-cap running-shoe high-heeled-shoe ring gem-stone trophy soccer-ball basketball alarm-clock hourglass-done magnet
        candle door chair bed toilet
    """,
    "nature": """
        tulip rose sunflower cherry-blossom cactus palm-tree evergreen-tree deciduous-tree maple-leaf four-leaf-clover sun
        crescent-moon star cloud rainbow fire snowman snowflake high-voltage droplet mountain volcano
    """,
    "faces": """
        grinning-face smiling-face-with-sunglasses smiling-face-with-heart-eyes crying-face angry-face winking-face
        face-with-tongue sleeping-face face-with-tears-of-joy robot ghost alien skull clown-face jack-o-lantern santa-claus
    """,
    "shapes": "red-heart red-circle red-square",
}
THINGS = tuple(thing for group in GROUPS.values() for thing in group.split())
"""Their order is the order of the judge's classes."""

TEMPLATES = ("{a}", "{a}", "{p}", "an emoji of {a}", "a picture of {a}")
"""What a training caption looks like; `{p}` is a phrase and `{a}` the phrase with its article. The plain form counts twice."""

_PHRASES = {
    "automobile": "car",
    "tangerine": "orange fruit",
    "ear-of-corn": "corn",
    "hot-pepper": "chili pepper",
    "cheese-wedge": "cheese",
    "hot-beverage": "cup of coffee",
    "high-voltage": "lightning bolt",
    "delivery-truck": "truck",
    "locomotive": "train",
    "wrapped-gift": "gift",
    "locked": "padlock",
    "mobile-phone": "phone",
    "billed-cap": "cap",
    "high-heeled-shoe": "high heel",
    "gem-stone": "diamond",
    "evergreen-tree": "pine tree",
    "deciduous-tree": "tree",
    "lady-beetle": "ladybug",
    "honeybee": "bee",
    "four-leaf-clover": "clover",
    "hourglass-done": "hourglass",
    "crescent-moon": "moon",
    "smiling-face-with-sunglasses": "cool face",
    "smiling-face-with-heart-eyes": "heart eyes face",
    "face-with-tongue": "tongue face",
    "face-with-tears-of-joy": "laughing face",
    "jack-o-lantern": "pumpkin",
    "t-shirt": "t-shirt",
}
_SYNONYMS = {
    "automobile": ["automobile"],
    "doughnut": ["donut"],
    "television": ["tv"],
    "cat-face": ["cat", "kitty"],
    "dog-face": ["dog", "puppy"],
    "rabbit-face": ["rabbit", "bunny"],
    "mouse-face": ["mouse"],
    "tiger-face": ["tiger"],
    "cow-face": ["cow"],
    "pig-face": ["pig"],
    "monkey-face": ["monkey"],
    "horse-face": ["horse"],
    "grinning-face": ["happy face", "smiling face"],
    "crying-face": ["sad face"],
    "angry-face": ["angry emoji"],
    "hamburger": ["burger"],
    "airplane": ["plane"],
    "sailboat": ["boat"],
    "mobile-phone": ["smartphone"],
    "santa-claus": ["santa"],
    "bicycle": ["bike"],
    "motorcycle": ["motorbike"],
    "wrapped-gift": ["present"],
    "glasses": ["eyeglasses"],
    "droplet": ["water drop"],
    "red-heart": ["heart"],
    "red-circle": ["circle"],
    "red-square": ["square"],
    "red-apple": ["apple"],
    "light-bulb": ["lamp"],
}


def phrase(thing: str) -> str:
    """The usual words for a thing: `automobile` → "car", `cat-face` → "cat face"."""
    return _PHRASES.get(thing, thing.replace("-", " "))


def phrases(thing: str) -> list[str]:
    """All words that the model learns for a thing, the usual ones first."""
    return [phrase(thing), *_SYNONYMS.get(thing, [])]


def with_article(words: str) -> str:
    """`words` after "a" or "an"."""
    return ("an " if words[0] in "aeiou" else "a ") + words


def caption(thing: str) -> str:
    """The caption of a thing in the sample sets, and the prompt that draws it: `automobile` → "a car"."""
    return with_article(phrase(thing))


def sample_things() -> list[str]:
    """The 40 things of the sample sets."""
    return _shuffled()[:40]


def held_out_things() -> list[str]:
    """The 32 things that a LoRA trained on a sample set is measured on; none of them is in the set."""
    return _shuffled()[60:92]


def _shuffled() -> list[str]:
    things = list(THINGS)
    random.Random(5).shuffle(things)
    return things
