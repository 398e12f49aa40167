"""How each fact is stated, asked and answered.

A `Relation` is a table of facts (subject, answer) with its sentences. In templates `{x}` is the subject,
`{y}` the answer, `{X}` and `{Y}` the same with a capital first letter. `val_questions` and `test_questions` are
never written in training text: the first are for choosing a recipe, the second for its score. Each relation has
one form of answer: a model of three million parameters learns one form fast.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from nanochat.pocket import facts
from nanochat.pocket.facts import with_article
from nanochat.pocket.numerals import in_words


def capitalised(text: str) -> str:
    """The text with a capital first letter."""
    return text[:1].upper() + text[1:]


@dataclass(frozen=True, slots=True)
class Relation:
    """One kind of fact: its table and its sentences.

    Attributes:
        weight: how often it is drawn beside the others.
        phrase: the answer's name, which the frames ask for: "the capital of {x}".
        questions: beside those of the frames.
        after_lead: a question without its subject, which a sentence before it names.
        pool: the different answers, sorted; wrong choices come from here.
    """

    name: str
    facts: tuple[tuple[str, str], ...]
    weight: int
    phrase: str
    answer: str
    statements: tuple[str, ...]
    questions: tuple[str, ...]
    val_questions: tuple[str, ...]
    test_questions: tuple[str, ...]
    after_lead: str = ""
    pool: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pool", tuple(sorted({answer for _, answer in self.facts})))
        for name, frames in (("questions", _ASK), ("val_questions", _ASK_VAL), ("test_questions", _ASK_TEST)):
            asked = (*_framed(frames, self.phrase), *getattr(self, name))
            object.__setattr__(self, name, tuple(dict.fromkeys(asked)))
        if self.after_lead:
            object.__setattr__(
                self, "questions", self.questions + tuple(f"{lead} {self.after_lead}" for lead in _LEADS)
            )


def fill(template: str, subject: str, answer: str) -> str:
    """A template with its subject and answer."""
    return template.format(x=subject, y=answer, X=capitalised(subject), Y=capitalised(answer))


def _named(table: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((with_article(subject), answer) for subject, answer in table.items())


def _neighbours(names: tuple[str, ...], step: int) -> tuple[tuple[str, str], ...]:
    return tuple((name, names[(i + step) % len(names)]) for i, name in enumerate(names))


def _sizes() -> Iterable[tuple[str, str]]:
    names = [with_article(name) for name in facts.BY_SIZE]
    for i, small in enumerate(names):
        for big in names[i + 1 :]:
            yield f"{small} or {big}", big
            yield f"{big} or {small}", big


# Frames around a noun phrase such as "the capital of {x}".
_ASK = (
    "What is {np}?", "What's {np}?", "Tell me {np}.", "Do you know {np}?", "Can you tell me {np}?",
    "I want to know {np}.", "Please give me {np}.", "{NP}?", "Say {np}, please.", "What is {np} called?",
    "I need {np}.", "I do not know {np}. What is it?", "I cannot remember {np}. Can you help me?",
    "Help me with {np}.", "Remind me of {np}.", "My friend asked for {np}. What should I say?",
    "{NP}, please.", "I wonder what {np} is.", "Please tell me what {np} is.", "Here is a question: what is {np}?",
    "Write down {np}.", "{NP}: what is it?", "We want to learn {np}. What is it?", "Find {np}.",
)  # fmt: skip
_ASK_VAL = ("Name {np}.", "Could you say what {np} is?", "I forgot {np}. What was it again?")
_ASK_TEST = ("Could you remind me what {np} is?", "Let me hear {np}.", "I am looking for {np}. Do you know it?")

_LEADS = ("Take {x}.", "Think of {x}.", "This is about {x}.", "I have a question about {x}.", "I read about {x}.")


def _framed(frames: tuple[str, ...], phrase: str) -> tuple[str, ...]:
    return tuple(frame.replace("{np}", phrase).replace("{NP}", capitalised(phrase)) for frame in frames)


RELATIONS: tuple[Relation, ...] = (
    Relation(
        "capital",
        tuple(facts.CAPITALS.items()),
        24,
        "the capital of {x}",
        "The capital of {x} is {y}.",
        ("{Y} is the capital of {x}.", "The capital city of {x} is {y}.", "In {x} the capital is {y}."),
        ("Which city is the capital of {x}?", "What is the capital city of {x}?", "Tell me the capital city of {x}.",
        "Do you know the capital city of {x}?",
         "What is the name of the capital of {x}?", "{X} has what capital?", "Which capital does {x} have?",
         "{X} is a country. What is its capital?", "Which city does {x} have as its capital?",
         "In {x}, which city is the capital?", "What city is the capital in {x}?"),
        ("{X} has which city as its capital?",),
        ("{X} has a capital. Which city is it?",),
        "Which city is its capital?",
    ),
    Relation(
        "continent",
        tuple(facts.CONTINENTS.items()),
        14,
        "the continent of {x}",
        "{X} is in {y}.",
        ("{X} is a country in {y}.", "The continent of {x} is {y}.", "{X} lies in {y}."),
        ("Which continent is {x} in?", "On which continent is {x}?", "What continent is {x} in?",
        "Where is {x}?",
         "What is the continent of {x}?", "Tell me the continent of {x}.", "Where in the world is {x}?",
         "In which part of the world is {x}?", "Do you know the continent of {x}?",
         "{X} is in which continent?", "{X} is a country. What is its continent?"),
        ("{X} belongs to which continent?", "Name the continent of {x}.",
        "Where on Earth is {x}? Which continent?"),
        ("If I travel to {x}, on which continent am I?",),
        "Which continent is it in?",
    ),
    Relation(
        "country",
        tuple((capital, country) for country, capital in facts.CAPITALS.items()),
        14,
        "the country of {x}",
        "{X} is the capital of {y}.",
        ("{X} is the capital city of {y}.", "{X} is in {y}."),
        ("{X} is the capital of which country?", "Which country has {x} as its capital?",
        "In which country is {x}?",
         "What country is {x} the capital of?", "What country is {x} in?", "Tell me the country of {x}.",
         "{X} is in which country?", "Which country is {x} in?", "Do you know the country of {x}?"),
        ("Name the country of {x}.", "{X} is the capital city of what country?",
        "To which country does {x} belong?"),
        ("I am in {x}. Which country am I in?",),
        "Which country is it in?",
    ),
    Relation(
        "sound",
        _named(facts.SOUNDS),
        6,
        "the sound of {x}",
        "{X} {y}.",
        ("The sound of {x}: it {y}.", "When {x} makes a sound, it {y}."),
        ("What sound does {x} make?", "What noise does {x} make?", "Which sound does {x} make?",
         "Tell me the sound of {x}.", "What does {x} say?", "What is the sound of {x}?",
         "How does {x} sound?",
         "Do you know the sound of {x}?", "Do you know what sound {x} makes?"),
        ("Name the sound of {x}.", "What kind of sound comes from {x}?", "Which noise does {x} make?"),
        ("I hear {x}. What sound is it?",),
        "What sound does it make?",
    ),
    Relation(
        "baby",
        _named(facts.BABIES),
        5,
        "the name for the baby of {x}",
        "The baby of {x} is called a {y}.",
        ("A {y} is the baby of {x}.", "A baby of {x} is a {y}."),
        ("What is the baby of {x} called?", "What do you call the baby of {x}?", "What is the baby of {x}?",
         "Tell me the name for the baby of {x}.", "Tell me what the baby of {x} is called.",
         "What is the young of {x} called?",
         "Do you know what the baby of {x} is called?", "Which word means the baby of {x}?",
         "What name does the baby of {x} have?"),
        ("Name the baby of {x}.", "What do people call the baby of {x}?",
        "What is the word for the baby of {x}?"),
        ("{X} has a baby. What is it called?",),
        "What is its baby called?",
    ),
    Relation(
        "class",
        _named(facts.CLASSES),
        8,
        "the kind of animal that {x} is",
        "{X} is a kind of {y}.",
        ("{X} belongs to the group {y}.", "The group of {x} is {y}."),
        ("What kind of animal is {x}?", "Which kind of animal is {x}?", "What type of animal is {x}?",
         "To which group of animals does {x} belong?", "What is {x}?", "What group of animals is {x} in?",
         "Tell me what kind of animal {x} is.", "Do you know what kind of animal {x} is?",
         "{X} is what kind of animal?"),
        ("Name the kind of animal that {x} is.", "What sort of animal is {x}?",
        "{X} is which type of animal?"),
        ("{X} is an animal. Of what kind?",),
        "What kind of animal is it?",
    ),
    Relation(
        "legs",
        _named(facts.LEGS),
        6,
        "the number of legs of {x}",
        "{X} has {y} legs.",
        ("The number of legs of {x}: {y}.", "Count the legs of {x}: it has {y}."),
        ("How many legs does {x} have?", "How many legs has {x}?", "What number of legs does {x} have?",
         "Tell me how many legs {x} has.", "Do you know how many legs {x} has?", "{X} has how many legs?",
         "Can you tell me how many legs {x} has?", "Please tell me how many legs {x} has.",
         "What is the number of legs of {x}?"),
        ("Count the legs of {x}. How many are there?", "How many legs are there on {x}?",
         "Say how many legs {x} has."),
        ("{X} stands on how many legs?",),
        "How many legs does it have?",
    ),
    Relation(
        "home",
        _named(facts.HOMES),
        4,
        "the home of {x}",
        "{X} lives in a {y}.",
        ("The home of {x} is a {y}.", "In a {y} you may find {x}."),
        ("Where does {x} live?", "What is the home of {x}?", "In what kind of place does {x} live?",
        "Tell me where {x} lives.",
         "Where is the home of {x}?", "Do you know where {x} lives?", "Where can you find {x}?",
         "What is the home of {x} called?", "In which place does {x} live?"),
        ("Name the home of {x}.", "Where would {x} live?", "What place is the home of {x}?"),
        ("In what kind of home does {x} live?",),
        "Where does it live?",
    ),
    Relation(
        "colour",
        tuple(facts.COLOURS.items()),
        9,
        "the colour of {x}",
        "The colour of {x} is {y}.",
        ("{X} is {y}.", "{Y} is the colour of {x}."),
        ("What colour is {x}?", "What is the colour of {x}?", "Which colour is {x}?", "What color is {x}?",
         "Tell me the colour of {x}.", "Which colour does {x} have?", "Do you know the colour of {x}?",
         "What colour does {x} have?", "What is the color of {x}?", "{X} has what colour?"),
        ("Name the colour of {x}.", "In what colour do we see {x}?", "Could you say what colour {x} is?"),
        ("If I look at {x}, what colour do I see?",),
        "What colour is it?",
    ),
    Relation(
        "symbol",
        tuple((name, symbol) for name, symbol, _, _ in facts.ELEMENTS),
        8,
        "the symbol of {x}",
        "The symbol of {x} is {y}.",
        ("{Y} is the symbol of {x}.", "The chemical symbol of {x} is {y}.", "Chemists write {x} as {y}."),
        ("What is the chemical symbol of {x}?", "Tell me the chemical symbol of {x}.", "Which symbol has {x}?",
         "Which symbol stands for {x}?", "What symbol do you use for {x}?", "How is {x} written in chemistry?",
         "{X} has which symbol?", "{X} has a symbol of its own. What is it?",
         "What do people write for {x} in a formula?", "With which symbol do we write {x}?"),
        ("Which symbol do chemists use for {x}?",),
        ("How do chemists write {x}?",),
        "What is its symbol?",
    ),
    Relation(
        "atomic_number",
        tuple((name, str(number)) for name, _, number, _ in facts.ELEMENTS),
        8,
        "the atomic number of {x}",
        "The atomic number of {x} is {y}.",
        ("{X} has the atomic number {y}.", "Element number {y} is {x}."),
        ("Which atomic number does {x} have?",
         "What atomic number has {x}?", "{X} has which atomic number?", "Which element number is {x}?",
         "Take the element {x}. Which atomic number is its own?"),
        ("Which atomic number belongs to {x}?",),
        ("{X} is an element. What is its atomic number?",),
        "Which atomic number does it have?",
    ),
    Relation(
        "day_after",
        _neighbours(facts.DAYS, 1),
        2,
        "the day after {x}",
        "The day after {x} is {y}.",
        ("After {x} comes {y}.", "{Y} follows {x}."),
        ("What day comes after {x}?", "What is the day after {x}?", "Which day comes after {x}?",
         "Which day follows {x}?", "Tell me the day after {x}.", "What day is after {x}?",
         "What comes after {x}?",
         "Today is {x}. What day is tomorrow?", "Do you know the day after {x}?"),
        ("Name the day after {x}.", "If today is {x}, which day is tomorrow?",
        "Which day is next after {x}?"),
        ("Yesterday was {x}. What day is today?",),
        "Which day comes next?",
    ),
    Relation(
        "day_before",
        _neighbours(facts.DAYS, -1),
        2,
        "the day before {x}",
        "The day before {x} is {y}.",
        ("Before {x} comes {y}.",),
        ("What day comes before {x}?", "What is the day before {x}?", "Which day comes before {x}?",
         "Tell me the day before {x}.", "What day is before {x}?", "What comes before {x}?",
         "Today is {x}. What day was yesterday?", "Do you know the day before {x}?"),
        ("Name the day before {x}.", "If today is {x}, which day was yesterday?",
        "Which day is just before {x}?"),
        ("Tomorrow is {x}. What day is today?",),
        "Which day was before it?",
    ),
    Relation(
        "month_after",
        _neighbours(facts.MONTHS, 1),
        3,
        "the month after {x}",
        "The month after {x} is {y}.",
        ("After the month of {x} comes {y}.", "The month that follows {x} is {y}."),
        ("What month comes after {x}?", "What is the month after {x}?", "Which month comes after {x}?",
         "Which month follows {x}?", "Tell me the month after {x}.", "What month is after {x}?",
         "It is {x}. What month is next?", "Do you know the month after {x}?"),
        ("Name the month after {x}.", "If it is {x} now, which month comes next?",
        "Which month is next after {x}?"),
        ("{X} is over. Which month begins?",),
        "Which month comes next?",
    ),
    Relation(
        "month_before",
        _neighbours(facts.MONTHS, -1),
        3,
        "the month before {x}",
        "The month before {x} is {y}.",
        ("Before the month of {x} comes {y}.",),
        ("What month comes before {x}?", "What is the month before {x}?", "Which month comes before {x}?",
         "Tell me the month before {x}.", "What month is before {x}?",
         "It is {x}. What month was the last one?",
         "Do you know the month before {x}?", "Can you tell me the month before {x}?"),
        ("Name the month before {x}.", "If it is {x} now, which month was before?",
         "Which month is just before {x}?"),
        ("{X} begins. Which month is over?",),
        "Which month was before it?",
    ),
    Relation(
        "month_order",
        tuple(zip(facts.ORDINALS, facts.MONTHS, strict=True)),
        3,
        "the {x} month of the year",
        "The {x} month of the year is {y}.",
        ("{Y} is the {x} month of the year.", "{Y} is the {x} month."),
        ("Which month is the {x} month?",
         "Which month of the year is the {x}?"),
        ("Which month comes {x} in the year?",),
        ("Of the twelve months, which is the {x} one?",),
    ),
    Relation(
        "month_days",
        tuple((month, str(days)) for month, days in zip(facts.MONTHS, facts.MONTH_DAYS, strict=True)),
        3,
        "the number of days in {x}",
        "{X} has {y} days.",
        ("There are {y} days in {x}.", "The month of {x} has {y} days."),
        ("How many days does {x} have?", "How many days are in {x}?", "How many days has {x}?",
         "How many days are there in {x}?", "Tell me how many days {x} has.", "How long is {x} in days?",
         "Do you know how many days {x} has?", "{X} has how many days?"),
        ("Count the days of {x}. How many are there?", "Say how many days {x} has.",
         "What number of days does {x} have?"),
        ("How many days go by in {x}?",),
        "How many days does it have?",
    ),
    Relation(
        "opposite",
        tuple(facts.OPPOSITES.items()),
        16,
        "the opposite of {x}",
        "The opposite of {x} is {y}.",
        ("{Y} is the opposite of {x}.", "{X} and {y} are opposites."),
        ("Which word is the opposite of {x}?",
         "What word means the opposite of {x}?", "Give me the opposite of {x}.", "{X} is the opposite of what?",
         "{X} and which word are opposites?", "{X} has which opposite?", "Not {x}, the opposite: what is it?",
         "Something is the opposite of {x}. What is it?", "If it is the opposite of {x}, what is it?"),
        ("If something is not {x} but the opposite, what is it?",),
        ("What is not {x} but the opposite of it?",),
        "What is its opposite?",
    ),
    Relation(
        "bigger",
        tuple(_sizes()),
        5,
        "the bigger one, {x}",
        "{Y} is bigger.",
        ("Which is bigger, {x}? {Y} is bigger.",),
        ("Which is bigger, {x}?", "What is bigger, {x}?", "Is {x} bigger?", "Which one is bigger, {x}?",
         "Tell me which is bigger, {x}.", "Which is larger, {x}?", "Do you know which is bigger, {x}?",
         "Which of the two is bigger, {x}?"),
        ("Say which one is bigger: {x}?", "Compare the two: {x}. Which is bigger?",
         "Of these two, which is bigger, {x}?"),
        ("Look at the two, {x}. Which is the bigger one?",),
    ),
    Relation(
        "in_words",
        tuple((str(number), in_words(number)) for number in range(100)),
        6,
        "the word for {x}",
        "The number {x} in words is {y}.",
        ("{Y} is the number {x}.", "{X} is written {y}.", "The word for {x} is {y}."),
        ("How do you write {x} in words?", "What is {x} in words?", "Write {x} in words.",
        "Write {x} as a word.",
         "What is the word for {x}?", "Which word means {x}?", "Tell me the word for {x}.",
         "Please write {x} in words.", "How is {x} written in words?"),
        ("Spell out {x} in words.", "Put the number {x} in words.", "What is the number {x} as a word?"),
        ("How would you say {x} in words?",),
        "How is it written in words?",
    ),
)  # fmt: skip

BY_NAME: dict[str, Relation] = {relation.name: relation for relation in RELATIONS}
