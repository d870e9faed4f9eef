"""Which files of which packages are photographs: every one was looked at.

Paths are below /usr/share of the package, or inside its Qt resource files; wheels' paths are inside the wheel.
Renderings, paintings, drawings, logos and repeats of the same picture were left out by eye.
"""

from __future__ import annotations

from photo_packages import Credit

_GCOMPRIS = "gcompris/src/activities"
_DETAILS = [
    "Chenonceau",
    "EgeskovSlotSpejling",
    "EilanDonanCastle",
    "FanoeWindmill",
    "GizahPyramids",
    "Louvre_2007_02_24_c",
    "NDP",
    "Nagoya",
    "Neuschwanstein",
    "OperaSidney",
    "TajMahal",
    "TourEiffel",
    "TowerBridgeLondon",
]
_OBJECTS = [
    "others/bucket",
    "others/igloo",
    "others/pan",
    "others/pillow",
    "others/baseball",
    "tools/hammer3",
    "tools/hammer4",
    "tools/scissors2",
    "tools/nailCutter",
    "tools/screwDriver",
    "tools/sickle",
    "tools/tweezer",
    "tools/wrench1",
    "tools/sideCutter1",
]
_LXQT = [
    "Butterfly-Kenneth-Wimer.jpg",
    "Valendas.png",
    "after-the-rain.jpg",
    "appleflower.png",
    "beam.png",
    "butterfly.png",
    "cloud.png",
    "drop.png",
    "flowers.png",
    "fog.jpg",
    "this-is-not-windows.jpg",
]
_PLASMA = [
    "BytheWater",
    "ColdRipple",
    "ColorfulCups",
    "DarkestHour",
    "EveningGlow",
    "FallenLeaf",
    "Grey",
    "Kite",
    "OneStandsOut",
    "Path",
    "summer_1am",
]
_OPENCV = [
    "alphamat/input_images/plant.jpg",
    "data/aero1.jpg",
    "data/aero3.jpg",
    "data/aloeL.jpg",
    "data/baboon.jpg",
    "data/board.jpg",
    "data/building.jpg",
    "data/butterfly.jpg",
    "data/fruits.jpg",
    "data/graf1.png",
    "data/home.jpg",
    "data/leuvenA.jpg",
    "data/messi5.jpg",
    "data/rubberwhale1.png",
    "data/squirrel_cls.jpg",
    "data/smarties.png",
    "data/ela_original.jpg",
    "hfs/data/000.jpg",
    "reg/home.png",
    "dnn_superres/butterfly.png",
    "text/scenetext0[1-6].jpg",
    "text/scenetext_segmented_word0[1-4].jpg",
]
_LOMIRI = [
    "Bridge_by_Sander_Klootwijk",
    "Dragonfly_by_Bolly",
    "Picture_0B_by_freespace",
    "Picture_1A_by_freespace",
    "Wine_by_Jakkub_Mede",
    "aitzgorri_by_Aitzol_Berasategi",
    "free_by_Peter_Nerlich",
    "friends_by_Aitzol_Berasategi",
    "greentock_by_Peter_Nerlich",
    "life_by_Aitzol_Berasategi",
    "picosdeeuropa_by_Aitzol_Berasategi",
    "seeding_by_Clements_Engelhardt",
    "sunset_by_Aitzol_Berasategi",
]

DEBIAN: dict[str, list[str]] = {
    "gcompris-qt-data": [
        f"{_GCOMPRIS}/erase/resource/*.webp",
        f"{_GCOMPRIS}/explore_farm_animals/resource/animals/*.webp",
        f"{_GCOMPRIS}/explore_monuments/resource/*/*.webp",
        f"{_GCOMPRIS}/explore_world_animals/resource/animals/*.webp",
        f"{_GCOMPRIS}/explore_world_music/resource/music/*.webp",
        f"{_GCOMPRIS}/clickgame/resource/sea?.webp",
        *(f"{_GCOMPRIS}/details/resource/image/{name}_background.webp" for name in _DETAILS),
        *(f"{_GCOMPRIS}/categorization/resource/images/{kind}/*.webp" for kind in ("fishes", "monuments", "renewable")),
        *(f"{_GCOMPRIS}/categorization/resource/images/{name}.webp" for name in _OBJECTS),
    ],
    "lomiri-wallpapers-16.04": [f"backgrounds/{name}.jpg" for name in _LOMIRI],
    "lomiri-wallpapers-20.04": ["backgrounds/Kleiber_by_Lukas_Baubkus.jpg"],
    "mate-backgrounds": ["backgrounds/mate/nature/*.jpg"],
    "plasma-workspace-wallpapers": [f"wallpapers/{name}/contents/images/2560x1600.jpg" for name in _PLASMA],
    "lxqt-themes": [f"lxqt/wallpapers/{name}" for name in _LXQT],
    "opencv-doc": [f"doc/opencv-doc/examples/{name}" for name in _OPENCV],
    "palapeli-data": ["palapeli/collection/*.jpg"],
}
"""Package → patterns of its photographs. ukui-wallpapers and gnome-backgrounds hold renderings only."""

WHEELS: dict[str, dict[str, Credit]] = {
    "scikit-image": {
        "skimage/data/astronaut.png": Credit("NASA", "Public-Domain", "NASA Great Images database"),
        "skimage/data/brick.png": Credit("CC0Textures", "CC0-1.0", "https://cc0textures.com/view.php?tex=Bricks25"),
        "skimage/data/chelsea.png": Credit("Stéfan van der Walt", "CC0-1.0"),
        "skimage/data/coffee.png": Credit("Rachel Michetti", "CC0-1.0"),
        "skimage/data/gravel.png": Credit("CC0Textures", "CC0-1.0", "https://cc0textures.com/view.php?tex=Gravel04"),
        "skimage/data/rocket.jpg": Credit(
            "SpaceX", "Public-Domain", "https://www.flickr.com/photos/spacexphotos/16511594820/in/photostream/"
        ),
        "skimage/data/motorcycle_left.png": Credit("D. Scharstein et al. (Middlebury Stereo 2014)", "unknown"),
    },
    "scikit-learn": {
        "sklearn/datasets/images/china.jpg": Credit(
            "danielbuechele",
            "CC-BY-2.0",
            "https://www.flickr.com/photos/danielbuechele/6061409035/sizes/z/in/photostream/",
        ),
        "sklearn/datasets/images/flower.jpg": Credit(
            "vultilion", "CC-BY-2.0", "https://www.flickr.com/photos/vultilion/6056698931/sizes/z/in/photostream/"
        ),
    },
}
"""Installed wheel → its photographs with the credit that its own documentation gives."""

_ERASE = [
    "bee",
    "butterfly",
    "calf",
    "chamaeleon",
    "cheetah",
    "crab",
    "giraffe",
    "gorilla",
    "heron",
    "kingfisher",
    "kitten",
    "meerkats",
    "penguin",
    "pika",
    "red_panda",
    "toucan",
]
_FARM = ["cat", "chicken", "cow", "owl", "sheep"]
_WORLD = ["bison", "crocodile", "hedgehog", "jaguar", "lemur", "scarlet_macaw"]
_MUSIC = ["africa", "australia", "italy", "mexico"]
_MONUMENTS = [
    "france/arlesAmphitheater",
    "france/palaisdesPapes",
    "france/pontduGard",
    "france/reimsCathedral",
    "france/rocamadour",
    "germany/berlinCathedral",
    "germany/schwerinPalace",
    "india/charminar",
    "india/gatewayofIndia",
    "india/hawaMahal",
    "india/konarkSunTemple",
    "usa/canyondeChelly",
    "usa/castleClinton",
    "usa/navajo",
    "wonders/chichenItza",
    "wonders/greatWallofChina",
    "wonders/machuPicchu",
    "wonders/petra",
]
_COMMITTED_LOMIRI = [
    "Bridge_by_Sander_Klootwijk",
    "Dragonfly_by_Bolly",
    "Picture_0B_by_freespace",
    "Picture_1A_by_freespace",
    "Wine_by_Jakkub_Mede",
    "aitzgorri_by_Aitzol_Berasategi",
    "life_by_Aitzol_Berasategi",
    "picosdeeuropa_by_Aitzol_Berasategi",
    "seeding_by_Clements_Engelhardt",
    "sunset_by_Aitzol_Berasategi",
]

COMMITTED: dict[str, list[str]] = {
    "gcompris-qt-data": [
        *(f"{_GCOMPRIS}/erase/resource/{name}.webp" for name in _ERASE),
        *(f"{_GCOMPRIS}/explore_farm_animals/resource/animals/{name}.webp" for name in _FARM),
        *(f"{_GCOMPRIS}/explore_world_animals/resource/animals/{name}.webp" for name in _WORLD),
        *(f"{_GCOMPRIS}/explore_world_music/resource/music/{name}.webp" for name in _MUSIC),
        *(f"{_GCOMPRIS}/explore_monuments/resource/{name}.webp" for name in _MONUMENTS),
        *(
            f"{_GCOMPRIS}/details/resource/image/{name}_background.webp"
            for name in ("EgeskovSlotSpejling", "EilanDonanCastle", "TowerBridgeLondon")
        ),
        f"{_GCOMPRIS}/clickgame/resource/sea3.webp",
        f"{_GCOMPRIS}/clickgame/resource/sea6.webp",
    ],
    "lomiri-wallpapers-16.04": [f"backgrounds/{name}.jpg" for name in _COMMITTED_LOMIRI],
    "palapeli-data": [
        "palapeli/collection/cincinnati-bridge.jpg",
        "palapeli/collection/citrus-fruits.jpg",
        "palapeli/collection/european-honey-bee.jpg",
    ],
    "scikit-image": [
        f"skimage/data/{name}" for name in ("astronaut.png", "brick.png", "chelsea.png", "coffee.png", "gravel.png")
    ],
    "scikit-learn": ["sklearn/datasets/images/china.jpg", "sklearn/datasets/images/flower.jpg"],
}
"""The small set under data/photos: varied, each CC0, public domain, CC-BY or CC-BY-SA by the word of its package."""
