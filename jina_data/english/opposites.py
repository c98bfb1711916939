"""Replacements that the rules make, with the neighbours that forbid them: opposites, affixes, gender, "with"."""

from __future__ import annotations

from jina_data.english.texts import word_set
from jina_data.english.word_lists import read_neighbours, read_replacements, read_words

PEOPLE = word_set(
    """
    man woman boy girl person people men women lady gentleman guy couple child children kid kids dog cat horse
    adult couple ladies gentlemen guys boys girls baby fellow male female
    """
)

GENDER = dict(read_replacements("swaps_gender.txt"))
"""The replacement of a word for a person, used only if the text mentions no one else."""

KIN = word_set("father mother son daughter brother sister brothers sisters husband wife")
"""Words for relatives: a pronoun in the text may refer to the person they are related to."""

OPPOSITES = dict(read_replacements("swaps_opposite.txt"))
"""The opposite that replaces a word."""

AFFIXES = dict(read_replacements("swaps_affix.txt"))
"""The word with or without a negative affix that replaces a word."""

LINKING = read_words("linking.txt")
"""Words after which an adjective describes the subject."""

ATTRIBUTIVE = read_words("attributive.txt")
"""Adjectives that can also be replaced by their partner in `AFFIXES` before a noun."""

NEXT_FORBIDS = read_neighbours("swap_next_forbids.tsv")
"""For a word, the next words that forbid its replacement."""

PREVIOUS_FORBIDS = read_neighbours("swap_previous_forbids.tsv")
"""For a word, the previous words that forbid its replacement."""

ALWAYS_FORBIDDEN_BEFORE = word_set("more most less least so too as how")
PREDICATIVE = word_set("wrong right injured wounded unharmed")
ALSO_NOUNS = word_set("safe cold light major minor public good dark")
VALUES = word_set("good bad great terrible excellent better worse beautiful ugly")
"""Judgements: "There is a good X" does not contradict "There is a bad X"."""

WITH_FORBIDS = read_words("with_forbids.txt")
"""Words before "with" that give it another meaning than "having", so that "without" is no negation of it."""

POSTURES = word_set("standing sitting stands sits asleep awake sleeping smiling frowning happy sad young")
LIVING = PEOPLE | read_words("living.txt")
"""Who can stand, sit or sleep: a vase that is not standing may be sitting."""

PERSONAL = word_set(
    """
    him her them me us you it each one another himself herself themselves whom which what
    """
)
