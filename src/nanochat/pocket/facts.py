"""Tables of the small true world: countries, animals, colours, elements, the calendar, opposites, sizes.

Left out on purpose: countries whose capital or continent people argue about, and words with several good
opposites.
"""

from __future__ import annotations


def _rows(text: str) -> tuple[tuple[str, ...], ...]:
    """Rows of a table written as `a/b/c; d/e/f`."""
    return tuple(tuple(" ".join(cell.split()) for cell in row.split("/")) for row in text.split(";") if row.strip())


def _table(text: str) -> dict[str, str]:
    """A table of two columns."""
    return {row[0]: row[1] for row in _rows(text)}


# country / capital
_BY_CONTINENT = {
    "Europe": """
        France/Paris; Germany/Berlin; Italy/Rome; Spain/Madrid; Portugal/Lisbon; Norway/Oslo;
        Sweden/Stockholm; Finland/Helsinki; Denmark/Copenhagen; Iceland/Reykjavik; Ireland/Dublin;
        Poland/Warsaw; Austria/Vienna; Hungary/Budapest; Greece/Athens; Bulgaria/Sofia;
        Romania/Bucharest; Serbia/Belgrade; Croatia/Zagreb; Ukraine/Kyiv; Belgium/Brussels;
        Switzerland/Bern; Latvia/Riga; Lithuania/Vilnius; Czechia/Prague; the Netherlands/Amsterdam; the
        United Kingdom/London
        """,
    "Asia": """
        Japan/Tokyo; China/Beijing; India/New Delhi; South Korea/Seoul; Thailand/Bangkok; Vietnam/Hanoi;
        Nepal/Kathmandu; Mongolia/Ulaanbaatar; Iran/Tehran; Iraq/Baghdad; Pakistan/Islamabad;
        Cambodia/Phnom Penh; Malaysia/Kuala Lumpur; the Philippines/Manila; Jordan/Amman; Saudi
        Arabia/Riyadh; Afghanistan/Kabul
        """,
    "Africa": """
        Egypt/Cairo; Kenya/Nairobi; Nigeria/Abuja; Ghana/Accra; Ethiopia/Addis Ababa; Morocco/Rabat;
        Algeria/Algiers; Tunisia/Tunis; Libya/Tripoli; Sudan/Khartoum; Uganda/Kampala; Senegal/Dakar;
        Angola/Luanda; Zambia/Lusaka; Rwanda/Kigali; Zimbabwe/Harare
        """,
    "North America": """
        Canada/Ottawa; the United States/Washington; Mexico/Mexico City; Cuba/Havana; Jamaica/Kingston;
        Costa Rica/San Jose
        """,
    "South America": """
        Brazil/Brasilia; Argentina/Buenos Aires; Chile/Santiago; Peru/Lima; Colombia/Bogota;
        Ecuador/Quito; Uruguay/Montevideo; Venezuela/Caracas
        """,
    "Oceania": "Australia/Canberra; New Zealand/Wellington; Fiji/Suva; Samoa/Apia",
}

CAPITALS: dict[str, str] = {country: capital for table in _BY_CONTINENT.values() for country, capital in _rows(table)}
CONTINENTS: dict[str, str] = {
    country: continent for continent, table in _BY_CONTINENT.items() for country, _ in _rows(table)
}

CLASSES: dict[str, str] = {
    animal: name
    for name, animals in {
        "mammal": "dog cat cow horse sheep pig goat lion wolf bear mouse elephant donkey rabbit deer fox "
        "kangaroo whale dolphin",
        "bird": "duck hen owl crow goose turkey pigeon swan eagle rooster",
        "fish": "salmon shark trout herring",
        "insect": "bee ant butterfly beetle mosquito",
        "reptile": "snake lizard crocodile turtle",
        "amphibian": "frog toad newt",
    }.items()
    for animal in animals.split()
}
_LEGLESS = ("whale", "dolphin", "snake", "salmon", "shark", "trout", "herring")
_LEGS_OF_CLASS = {"mammal": "four", "bird": "two", "insect": "six", "reptile": "four", "amphibian": "four"}
LEGS: dict[str, str] = {
    **{animal: _LEGS_OF_CLASS[name] for animal, name in CLASSES.items() if animal not in (*_LEGLESS, "kangaroo")},
    **dict.fromkeys(_LEGLESS, "no"),
    "spider": "eight",
    "scorpion": "eight",
}
SOUNDS: dict[str, str] = _table(
    """
        dog/barks; cat/meows; cow/moos; horse/neighs; sheep/bleats; pig/oinks; lion/roars; wolf/howls;
        bear/growls; mouse/squeaks; elephant/trumpets; donkey/brays; frog/croaks; duck/quacks;
        hen/clucks; rooster/crows; owl/hoots; crow/caws; goose/honks; turkey/gobbles; pigeon/coos;
        bee/buzzes; snake/hisses
        """
)
BABIES: dict[str, str] = _table(
    """
        dog/puppy; cat/kitten; cow/calf; horse/foal; sheep/lamb; pig/piglet; goat/kid; lion/cub;
        duck/duckling; hen/chick; goose/gosling; owl/owlet; swan/cygnet; eagle/eaglet; deer/fawn;
        kangaroo/joey; frog/tadpole; butterfly/caterpillar
        """
)
HOMES: dict[str, str] = _table(
    """
        dog/kennel; cow/barn; horse/stable; pig/sty; lion/den; rabbit/burrow; bee/hive; hen/coop;
        spider/web; eagle/nest; trout/river; deer/forest; frog/pond
        """
)

COLOURS: dict[str, str] = {
    thing: colour
    for colour, things in {
        "green": "grass/spinach/broccoli/a cucumber/a lime/a pea/an emerald",
        "white": "snow/milk/salt/cotton/a swan/a polar bear",
        "black": "coal/a raven/tar/a panther",
        "red": "blood/a strawberry/a tomato/a ruby/a fire engine/a cherry",
        "blue": "the sky/the sea/a sapphire/a blueberry",
        "yellow": "the sun/a banana/a lemon/butter/a canary",
        "orange": "a carrot/a pumpkin/a tangerine",
        "brown": "chocolate/mud/coffee/a chestnut",
        "purple": "lavender/an eggplant/a plum",
        "pink": "a flamingo/a piglet/bubble gum",
        "gray": "ash/an elephant/a dolphin/concrete",
    }.items()
    for thing in things.split("/")
}

ELEMENTS: tuple[tuple[str, str, int, str], ...] = tuple(  # name, symbol, atomic number, what it is
    (name, symbol, int(number), kind)
    for name, symbol, number, kind in _rows(
        """
        hydrogen/H/1/gas; helium/He/2/gas; lithium/Li/3/metal; carbon/C/6/solid; nitrogen/N/7/gas;
        oxygen/O/8/gas; fluorine/F/9/gas; neon/Ne/10/gas; sodium/Na/11/metal; magnesium/Mg/12/metal;
        aluminium/Al/13/metal; silicon/Si/14/solid; phosphorus/P/15/solid; sulfur/S/16/solid;
        chlorine/Cl/17/gas; argon/Ar/18/gas; potassium/K/19/metal; calcium/Ca/20/metal;
        titanium/Ti/22/metal; chromium/Cr/24/metal; iron/Fe/26/metal; cobalt/Co/27/metal;
        nickel/Ni/28/metal; copper/Cu/29/metal; zinc/Zn/30/metal; silver/Ag/47/metal; tin/Sn/50/metal;
        iodine/I/53/solid; tungsten/W/74/metal; platinum/Pt/78/metal; gold/Au/79/metal;
        mercury/Hg/80/metal; lead/Pb/82/metal; uranium/U/92/metal
        """
    )
)

DAYS: tuple[str, ...] = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS: tuple[str, ...] = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
MONTH_DAYS: tuple[int, ...] = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
ORDINALS: tuple[str, ...] = (
    "first", "second", "third", "fourth", "fifth", "sixth",
    "seventh", "eighth", "ninth", "tenth", "eleventh", "twelfth",
)  # fmt: skip

_OPPOSITE_PAIRS = _rows(
    """
        hot/cold; big/small; tall/short; fast/slow; up/down; left/right; day/night; black/white;
        good/bad; happy/sad; old/new; open/closed; full/empty; hard/soft; heavy/light; high/low; in/out;
        long/brief; loud/quiet; near/far; rich/poor; rough/smooth; strong/weak; sweet/sour; thick/thin;
        top/bottom; true/false; wet/dry; wide/narrow; early/late; easy/difficult; first/last;
        front/back; inside/outside; love/hate; more/less; north/south; east/west; push/pull;
        question/answer; safe/dangerous; start/finish; win/lose; young/elderly; clean/dirty;
        dark/bright; deep/shallow; always/never; above/below; before/after; begin/end; buy/sell;
        give/take; asleep/awake; alive/dead; sharp/blunt; brave/cowardly; tight/loose
        """
)
OPPOSITES: dict[str, str] = {a: b for pair in _OPPOSITE_PAIRS for a, b in (pair, pair[::-1])}

BY_SIZE: tuple[str, ...] = (  # smallest first
    "ant", "bee", "mouse", "rabbit", "sheep", "pig", "cow", "elephant", "whale", "house", "mountain",
    "planet",
)  # fmt: skip


def with_article(noun: str) -> str:
    """`an owl`, `a dog`."""
    return f"an {noun}" if noun[0] in "aeio" else f"a {noun}"
