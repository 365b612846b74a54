"""Words that several domains draw from."""

from __future__ import annotations

NAMES = (
    "Amara", "Bruno", "Carla", "David", "Elena", "Farid", "Greta", "Hugo", "Ines", "Jonas",
    "Karim", "Laura", "Marta", "Nadia", "Oscar", "Priya", "Rosa", "Samir", "Tessa", "Viktor",
)  # fmt: skip

WORDS = (
    "blanket", "bottle", "bridge", "button", "cabinet", "candle", "carpet", "castle", "chimney",
    "circus", "comet", "cottage", "curtain", "desert", "diamond", "drawer", "engine", "feather",
    "forest", "fountain", "garden", "glacier", "hammock", "harbour", "island", "jacket", "journal",
    "kettle", "kitchen", "ladder", "lantern", "library", "machine", "magnet", "market", "meadow",
    "mirror", "monument", "mountain", "museum", "napkin", "needle", "orchard", "package", "palace",
    "pencil", "pepper", "picture", "pillow", "planet", "pocket", "puzzle", "rabbit", "ribbon",
    "river", "saddle", "shelter", "spider", "station", "summer", "teapot", "ticket", "tunnel",
    "umbrella", "valley", "village", "volcano", "wallet", "window", "wizard",
)  # fmt: skip

ORDINALS = ("first", "second", "third", "fourth", "fifth")

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip

# No word fits two categories: silver is a colour as well, so it is not a metal here.
CATEGORIES = {
    "fruit": ("apple", "banana", "cherry", "mango", "pear", "melon", "grape", "strawberry"),
    "vegetable": ("carrot", "onion", "cabbage", "spinach", "potato", "leek", "broccoli"),
    "bird": ("robin", "sparrow", "eagle", "owl", "pigeon", "crow", "parrot"),
    "insect": ("ant", "beetle", "butterfly", "mosquito", "wasp", "moth"),
    "tool": ("hammer", "saw", "wrench", "chisel", "pliers", "screwdriver"),
    "furniture": ("chair", "table", "sofa", "bed", "wardrobe", "bookcase"),
    "vehicle": ("car", "bus", "truck", "tram", "van", "motorcycle"),
    "instrument": ("guitar", "violin", "flute", "trumpet", "piano", "cello", "harp"),
    "clothing": ("shirt", "jacket", "sock", "scarf", "coat", "skirt", "glove"),
    "colour": ("red", "blue", "green", "purple", "yellow", "brown", "grey"),
    "metal": ("iron", "zinc", "aluminium", "nickel", "titanium", "platinum"),
    "sport": ("tennis", "football", "hockey", "rugby", "golf", "basketball"),
    "profession": ("teacher", "nurse", "plumber", "baker", "lawyer", "farmer", "dentist"),
}
