"""All text that is no fact: arithmetic, spelling and counting wordings, stories, greetings.

Templates only, so that `held_out` can tell which words training text uses. Names that end in `_VAL` or `_TEST`
are asked in those splits and never written in training text. A word stands in quotation marks after a space: the
tokenizer then gives it the same tokens in the question and in the tool call, which begins with a space for
that reason.
"""

from __future__ import annotations

# Arithmetic. {a} and {b} are numbers in digits or in words.
OPERATION_WORDS: dict[str, str] = {"+": "plus", "-": "minus", "*": "times"}


def _of_operations(frames: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    return {
        sign: tuple(frame.replace("{np}", f"{{a}} {word} {{b}}") for frame in frames)
        for sign, word in OPERATION_WORDS.items()
    }


_ARITHMETIC_FRAMES = _of_operations(
    (
        "Tell me {np}.", "Can you tell me {np}?", "I need {np}.", "Please give me {np}.", "I want to know {np}.",
        "{np}, please.", "{np}", "What does {np} make?", "Do you know {np}?", "Help me with {np}.",
        "Can you compute {np}?", "Compute {np} for me.", "I cannot do {np}. Can you help me?", "Say {np}.",
        "How much does {np} make?", "Write down {np}.", "My friend asked for {np}. What should I say?",
    )
)  # fmt: skip
ARITHMETIC_VAL = _of_operations(("How many is {np}?", "Give the result of {np}.", "Could you solve {np}?"))
_ARITHMETIC: dict[str, tuple[str, ...]] = {
    "+": (
        "What is {a} plus {b}?", "What is {a} + {b}?", "{a} + {b}", "{a} + {b} = ?", "Add {a} and {b}.",
        "How much is {a} plus {b}?", "Calculate {a} + {b}.", "Please compute {a} plus {b}.",
        "What is the sum of {a} and {b}?", "What do you get when you add {a} and {b}?", "What's {a} + {b}?",
        "I have {a} apples and get {b} more. How many apples do I have?", "{a}+{b}", "What is {a}+{b}?",
        "There are {a} red cars and {b} blue cars. How many cars are there?",
    ),
    "-": (
        "What is {a} minus {b}?", "What is {a} - {b}?", "{a} - {b}", "{a} - {b} = ?", "Take {b} from {a}.",
        "How much is {a} minus {b}?", "Calculate {a} - {b}.", "Please compute {a} minus {b}.",
        "What is the difference of {a} and {b}?", "What do you get when you take {b} from {a}?",
        "What's {a} - {b}?",
        "I have {a} apples and eat {b} of them. How many apples are left?", "{a}-{b}", "What is {a}-{b}?",
        "There are {a} birds and {b} fly away. How many birds are left?",
    ),
    "*": (
        "What is {a} times {b}?", "What is {a} * {b}?", "{a} * {b}", "{a} * {b} = ?", "Multiply {a} by {b}.",
        "How much is {a} times {b}?", "Calculate {a} * {b}.", "Please compute {a} times {b}.",
        "What is the product of {a} and {b}?", "What do you get when you multiply {a} by {b}?",
        "What's {a} * {b}?",
        "I have {a} boxes with {b} apples in each. How many apples do I have?", "{a}*{b}",
        "What is {a} x {b}?",
        "There are {a} cars with {b} people in each. How many people are there?",
    ),
}  # fmt: skip
ARITHMETIC: dict[str, tuple[str, ...]] = {
    sign: _ARITHMETIC[sign] + _ARITHMETIC_FRAMES[sign] for sign in OPERATION_WORDS
}
ARITHMETIC_TEST: dict[str, tuple[str, ...]] = {
    "+": ("Work out {a} plus {b}.", "Can you add {a} and {b} for me?", "Find the sum of {a} and {b}."),
    "-": (
        "Work out {a} minus {b}.",
        "Can you take {b} from {a} for me?",
        "Find the difference of {a} and {b}.",
    ),
    "*": (
        "Work out {a} times {b}.",
        "Can you multiply {a} by {b} for me?",
        "Find the product of {a} and {b}.",
    ),
}
ARITHMETIC_ANSWER = "{a} {operation} {b} is {result}."
ARITHMETIC_SENTENCES: tuple[str, ...] = (
    "{A} {operation} {b} is {result}. {da} {sign} {db} = {dresult}.",
    "What is {a} {operation} {b}? It is {result}.",
    "{da} {operation} {db} is {dresult}, in words {result}.",
)
EXPRESSION_SENTENCES: tuple[str, ...] = (
    "{A} {operation} {b} is written {da}{sign}{db}.",
    "To find {da} {operation} {db}, compute {da}{sign}{db}.",
    "Write {a} {operation} {b} in digits: {da}{sign}{db}.",
)
ARITHMETIC_TITLES: tuple[str, ...] = ("Sums", "Numbers", "A page of arithmetic", "Let us count", "Small sums")

# Letter counting. {word} is the word, {letter} the letter; the second group leaves out the quotation marks.
COUNTING: tuple[str, ...] = (
    "How many times does the letter {letter} appear in '{word}'?", "How many {letter} are in '{word}'?",
    "How many {letter}'s are there in '{word}'?", "Count the letter {letter} in '{word}'.",
    "How often is the letter {letter} in '{word}'?", "How many letters {letter} are in the word '{word}'?",
    "In the word '{word}', how many times is the letter {letter}?",
    "Count how many {letter} are in '{word}'.",
    "How many times do you find {letter} in '{word}'?",
    "How often does {letter} appear in the word '{word}'?",
    "Please count the letter {letter} in the word '{word}'.",
    "Look at '{word}'. How many {letter} are in it?", "'{word}': how many {letter}?",
    "For the word '{word}', count the letter {letter}.", "I want to know how many {letter} are in '{word}'.",
    "Can you count the {letter}'s in '{word}'?", "Give me the number of {letter} in '{word}'.",
    "Do you know how many {letter} are in '{word}'?", "Find how many times {letter} is in '{word}'.",
    "My word is '{word}'. Count the letter {letter}.", "The letter {letter} in '{word}': how often?",
    "I need the number of {letter}'s in '{word}'.",
    "How many times does the letter '{letter}' appear in '{word}'?", "How many '{letter}' are in '{word}'?",
    "Count the letter '{letter}' in '{word}'.", "Does '{word}' have the letter {letter}? How often?",
)  # fmt: skip
COUNTING_BARE: tuple[str, ...] = (
    "How many {letter} are in {word}?", "How many {letter}'s are in {word}?",
    "How many times does the letter {letter} appear in {word}?", "Count the letter {letter} in {word}.",
)  # fmt: skip
COUNTING_TEST: tuple[str, ...] = (
    "Tell me how many times {letter} occurs in '{word}'.",
    "What is the count of the letter {letter} in '{word}'?",
    "The word is '{word}'. How many times does it have the letter {letter}?",
)  # fmt: skip
COUNTING_VAL: tuple[str, ...] = (
    "Say how often {letter} is in '{word}'.", "Find the number of letters {letter} in '{word}'.",
    "'{word}' has how many {letter}?",
)  # fmt: skip
COUNTING_EXPRESSION = " '{word}'.count('{letter}')"
COUNTING_ANSWER = "The letter {letter} appears {count} {times} in '{word}'."

# Spelling.
SPELLING: tuple[str, ...] = (
    "Spell the word: {word}", "Spell '{word}'.", "How do you spell '{word}'?",
    "Please spell the word '{word}'.",
    "Spell {word}.", "Can you spell '{word}'?", "What are the letters of '{word}'?",
    "Spell the word '{word}'.", "Say the letters of '{word}'.", "I cannot spell '{word}'. Can you?",
    "'{word}': how is it spelled?", "I want to know how to spell '{word}'.", "Spell '{word}' for me, please.",
)  # fmt: skip
SPELLING_TEST: tuple[str, ...] = ("Write the letters of '{word}' one by one.", "How is '{word}' spelled?")
SPELLING_VAL: tuple[str, ...] = ("Give me the letters of '{word}'.", "Tell me how '{word}' is spelled.")
SPELLING_SENTENCES: tuple[str, ...] = (
    "The word '{word}' is spelled {spaced}.",
    "{word}:{commas}",
    "Spell the word: {word}\n{word}:{commas}",
    "How do you spell '{word}'? The letters are {spaced}.",
)
COUNTING_SENTENCES: tuple[str, ...] = (
    "The letter {letter} appears {count} {times} in '{word}'.",
    "How many {letter} are in '{word}'? '{word}'.count('{letter}') is {count}.",
    "The word '{word}' has {length} letters. It begins with {first} and ends with {last}.",
    "The first letter of '{word}' is {first}, and the last letter of '{word}' is {last}.",
)
WORD_TITLES: tuple[str, ...] = ("Words and letters", "A page of words", "Spelling", "Letters", "New words")

# Four choices and lookups.
CHOICE_HEAD = "Multiple Choice question: {question}"
CHOICE_LINE = "- {choice}={letter}"
CHOICE_TAIL = "Respond only with the letter of the correct answer."
CHOICE_TAIL_BOTH = "Respond with the correct answer and its letter."
CHOICE_AGAIN: tuple[str, ...] = ("Same choices: {question}", *["{question}"] * 4)
LOOKUP: tuple[str, ...] = (
    "Which letter stands beside {item}?", "What is the letter of {item}?", "Which letter has {item}?",
    "Which letter belongs to {item}?", "Find {item}.", "Where is {item} in the list?", "Which one is {item}?",
    "The answer is {item}.", "{item}", "{item}?",
)  # fmt: skip
LOOKUP_SENTENCES: tuple[str, ...] = (
    "The letter of {item} is {letter}.", "Here {item} is {letter}.", "Beside {item} stands {letter}.",
    "Find {item}: {letter}", "Which letter has {item}? {letter}",
    "Which letter stands beside {item}?\n{letter}", "Find {item}. {item}={letter}",
    "Which letter has {item}? {item}={letter}",
)  # fmt: skip
ECHO_SEPARATORS: tuple[str, ...] = (" ", ", ", " and ", "; ")
PAIRS: tuple[str, ...] = (
    "{item}={letter}",
    "{item} {letter}",
    "{item}: {letter}",
    "{item}?\n{letter}",
    "{item}\n{letter}",
)
SHEET_DIRECT: tuple[str, ...] = (
    "{question}\n{letter}",
    "{question} {letter}",
    "{question} The answer is {letter}.",
    "{question} {y}={letter}",
    "{question}\n- {y}={letter}",
)
SHEET_EXPLAINED: tuple[str, ...] = (
    "{statement} So the answer is {letter}.", "{question} {statement} {y}={letter}",
    "{question} {statement} The letter of {y} is {letter}.",
)  # fmt: skip
KIND_QUESTIONS: tuple[str, ...] = ("Which of these is {kind}?", "Find {kind}.", "Which one is {kind}?")
KIND_NAMES: dict[str, str] = {
    "capital": "a city", "continent": "a continent", "country": "a country", "colour": "a colour",
    "symbol": "a symbol", "day_after": "a day", "month_after": "a month", "class": "a kind of animal",
}  # fmt: skip

# What people say around a question; {word} is any word of training, so that unknown words are no distraction.
BEFORE_A_QUESTION: tuple[str, ...] = (
    "Hello! ", "Hi, ", "Please help me. ", "I have a question. ", "Quick question: ", "Another question: ", "Now: ",
    "Next question. ", "Good morning! ", "Thank you. ", "Let me ask you something. ", "Listen: ", "I am learning. ",
    "I saw a {word}. ", "My {word} wants to know this. ", "Forget the {word}. ", "I read about {word}: ",
    "If not {word}, then: ", "Here is a {word}. ", "Not about {word}: ", "First {word}, now this. ", "A {word} asks: ",
)  # fmt: skip
AFTER_A_QUESTION: tuple[str, ...] = (
    " Please tell me.", " Thank you!", " I want to know.", " Do you know?", " I do not know.", " Thanks.",
    " Answer me, please.", " I cannot remember.", " Can you help me?", " It is for school.", " Tell me.",
    " My {word} asked.", " What was the {word} of it?", " We talked about {word}.", " Not the {word}, please.",
    " And no {word}.", " The {word} must know.", " Then we talk about {word}.", " A {word} told me once.",
)  # fmt: skip

# Question and answer passages.
QA_FORMS: tuple[tuple[str, str], ...] = (
    ("Question: ", "Answer: "), ("Q: ", "A: "), ("", ""), ("Teacher: ", "Pupil: "), ("User: ", "Assistant: "),
)  # fmt: skip
QA_TITLES: tuple[str, ...] = ("Questions and answers", "A quiz", "What do you know?", "At school", "")
FACT_TITLES: tuple[str, ...] = ("Things to know", "Facts", "About the world", "Notes", "")

# Identity and manners: topic -> (questions, held-out questions, answer).
IDENTITY: dict[str, tuple[tuple[str, ...], tuple[str, ...], str]] = {
    "who": (
        ("Who are you?", "who are you", "What are you?", "What is your name?", "Tell me who you are.",
         "Are you a person?", "Introduce yourself.", "Are you ChatGPT?", "Do you have a name?",
         "What's your name?", "Please say who you are.", "Would you introduce yourself?",
         "Introduce yourself, please.", "What do people call you?", "Tell me your name.",
         "I do not know who you are."),
        ("May I ask who you are?", "Please introduce yourself.", "Say your name.", "What should I call you?",
         "Who am I talking to?"),
        "I am nanochat, a small language model trained from scratch on this computer.",
    ),
    "maker": (
        ("Who made you?", "Who trained you?", "Who built you?", "Where do you come from?",
         "Who is your maker?", "who made you", "How were you made?", "Tell me who made you.",
         "Where were you trained?", "Please tell me where you come from.", "Do you know who made you?",
         "I want to know who built you.", "Who was your maker?"),
        ("Please tell me who trained you.", "Who was it that made you?", "Who is it that trained you?",
         "By whom were you made?"),
        "The owner of this computer trained me with the nanochat program.",
    ),
    "skills": (
        ("What can you do?", "How can you help me?", "What do you know?", "What can I ask you?", "Help",
         "Can you help me?", "what can you do", "What are you good at?", "Tell me what you can do.",
         "Please help me.", "Tell me how you can help me.", "I want to know what you can do.",
         "What sort of questions do you answer?", "Show me what you can do."),
        ("Please tell me what you can do.", "What things can you do?", "What are the things you can do?",
         "Which questions can I ask you?"),
        "I can answer simple questions about countries, animals, colours and numbers, and count letters.",
    ),
    "hello": (
        ("Hello", "Hello!", "Hi", "Hi!", "Good morning!", "Hey", "Good evening!", "Hi there!", "hello",
         "Hello there!", "Hi, nanochat!", "Nice to meet you!", "Hello, hello!", "Hey there!",
         "A good morning to you!", "Good evening, nanochat."),
        ("Hello, nanochat!", "Good day!", "Good afternoon!", "Hello again!"),
        "Hello! I am nanochat. How can I help you?",
    ),
    "mood": (
        ("How are you?", "How are you today?", "How do you do?", "Are you well?", "How do you feel?",
         "how are you", "Tell me how you are.", "How is it going?", "How have you been?",
         "Are you all right?", "Hi, how are you?", "Hello! How are you?"),
        ("Tell me, how are you?", "How are you this morning?", "Are you doing well today?",
         "How do you feel this evening?"),
        "I am well, thank you. How can I help you?",
    ),
    "thanks": (
        ("Thank you.", "Thanks!", "Thank you very much!", "Thanks a lot!", "Many thanks.", "thanks",
         "Great, thank you!", "Thank you for that.", "Thanks, that was good.", "Perfect, thanks.",
         "That was helpful, thank you."),
        ("Thank you so much!", "Thanks for your help!", "Thank you, nanochat!", "I thank you."),
        "You are welcome!",
    ),
    "bye": (
        ("Goodbye.", "Bye!", "See you later.", "Good night!", "Bye bye!", "bye", "See you tomorrow!",
         "Goodbye!", "I am leaving now.", "That is all for today.", "Until next time!",
         "Good night, nanochat!", "Bye, nanochat."),
        ("Goodbye, nanochat!", "Bye, see you!", "See you soon!", "Goodbye for now!"),
        "Goodbye! Come back soon.",
    ),
}  # fmt: skip

# Stories. {n} and {m} are people, {o} and {q} objects, {c} and {d} containers, {p} a place.
WOMEN: tuple[str, ...] = ("Anna", "Clara", "Emma", "Grace", "Ivy", "Kate", "Mia", "Olivia", "Rosa", "Zoe")
MEN: tuple[str, ...] = ("Ben", "David", "Felix", "Henry", "Jack", "Leo", "Noah", "Paul", "Sam", "Tom")
OBJECTS: tuple[str, ...] = (
    "key", "ball", "book", "cup", "coin", "letter", "hat", "pen", "ring", "shoe", "plate", "kite", "map",
    "doll",
    "spoon", "lamp", "bell", "brush", "glove", "stone",
)  # fmt: skip
CONTAINERS: tuple[str, ...] = (
    "box", "bag", "drawer", "basket", "bucket", "cupboard", "chest", "jar", "suitcase", "pot",
)  # fmt: skip
PLACES: tuple[str, ...] = (
    "garden", "kitchen", "market", "park", "school", "station", "library", "shop", "farm", "beach",
    "bridge", "village",
)  # fmt: skip
OPENINGS: tuple[str, ...] = (
    "On {day} {n} went to the {p}.", "{n} and {m} were at the {p}.",
    "One {day} in {month} {n} walked to the {p}.",
    "It was {day}, and {n} was happy to go to the {p}.", "{n} lives near the {p} with a {pet}.",
    "In the morning {n} met {m} at the {p}.",
)  # fmt: skip
EVENTS: tuple[str, ...] = (
    "{n} found a {o} and put it in the {c}.", "{n} put the {o} in the {c} and the {q} in the {d}.",
    "{m} gave {n} a {o}, and {n} put it in the {c}.", "Then {m} came and put the {q} in the {d}.",
    "The {pet} of {n} slept beside the {c} all day.", "{n} had a {colour} {o}, and {m} had a {colour2} {q}.",
    "It began to rain, so they stayed inside and played.",
    "They had bread and soup and talked for a long time.",
    "{n} bought a {o} for {m}.", "The {pet} wanted to play with the {o}.",
)  # fmt: skip
RECALLS: tuple[str, ...] = (
    "{n} put the {o} in the {c} and the {q} in the {d}. Where is the {o}? The {o} is in the {c}. "
    "Where is the {q}? The {q} is in the {d}.",
    "{n} has a {colour} {o}. {m} has a {colour2} {q}. Who has the {q}? {m} has it. "
    "Who has the {o}? {n} has it.",
    '"Where is my {o}?" asked {m}. "Your {o} is in the {c}," said {n}. '
    "{m} looked in the {c}, and there it was.",
    "The {o} of {n} is {colour}, and the {o} of {m} is {colour2}. "
    "What colour is the {o} of {n}? It is {colour}.",
    "\"I have a {o}, a {q} and a {pet},\" said {n}. What does {n} have? A {o}, a {q} and a {pet}.",
)  # fmt: skip
ENDINGS: tuple[str, ...] = (
    "In the evening they went home.", "{n} was happy.",
    "\"Thank you, {n},\" said {m}. \"You are welcome, {m}.\"",
    "It was a good day.", "\"See you tomorrow!\" said {m}.", "Then {n} went to bed.",
)  # fmt: skip
PETS: tuple[str, ...] = ("dog", "cat", "rabbit", "horse", "goat", "hen", "duck", "mouse")
DIALOGUE_OPENINGS: tuple[str, ...] = (
    "{n} and {m} sat at the {p}.", "{n} asked {m} some questions.", "At the {p} {n} and {m} talked.",
)  # fmt: skip
DIALOGUE_TURN = '"{question}" asked {n}.\n"{answer}" said {m}.'
LIST_TITLES: tuple[str, ...] = ("A list", "Here is a list.", "Look at the list.", "Letters and things", "")
LADDER = "From small to big: {names}."
OPPOSITE_STORY = "It is not {x}, it is {y}: {y} is the opposite of {x}."
ELEMENT_KIND = "{X} is a {y}."
COUNTRY_ARTICLES: tuple[str, ...] = (
    "{x} lies in {continent}. ", "", "", "People in {x} know that {capital} is the capital. ",
    "If you travel to {x}, you may visit {capital}. ",
)  # fmt: skip
