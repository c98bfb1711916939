"""Classes of English words: auxiliaries, determiners, prepositions, quantifiers, words that begin a clause."""

from __future__ import annotations

from jina_data.english.texts import word_set

BE = word_set("is are was were am")
MODALS = word_set("will would can could should must shall")
VAGUE_MODALS = frozenset({"may", "might"})
HAVE = word_set("has have had")
DO = word_set("do does did")
SUBORDINATORS = word_set(
    """
    because if although though unless until since while when whenever whereas after before as once where
    wherever that whether how what why who whom whose which
    """
)
RELATIVES = word_set("who which that whose whom where when")
BREAKS = word_set("as while because if although though unless until")
"""Words that begin a subordinate clause: a verb after one is not the main verb."""

BEFORE_AS = word_set("such known well as described same regarded seen used served")
OPENERS = word_set(
    """
    when while if because although though since as after before unless until once whereas
    """
)
PRONOUNS = word_set("i you he she we they it")
DETERMINERS = word_set(
    """
    a an the this these those my your his her its our their some any every each all both no another several many
    few more most much other such two three four five six seven eight nine ten one first second third last next
    new old own same different various
    """
)
PREPOSITIONS = word_set(
    """
    of in on at by for with from into onto over under about between through during without within against among
    near behind beside besides beyond toward towards around across along inside outside above below than per via
    upon like off down up out to and or but nor
    """
)
ADVERBS = word_set(
    """
    also still now then already often always never sometimes usually just only even soon later currently
    recently once again first finally eventually originally previously formerly actually really probably likely
    generally mostly mainly largely nearly almost both all either not so far today yesterday
    """
)
PLURALS = word_set(
    """
    people men women children they we you i kids police persons folks ladies guys feet teeth
    """
)
SAY = word_set(
    """
    say think believe claim know announce report suggest argue state hope admit warn insist
    """
)
NOUNS_IN_ING = word_set(
    """
    building ceiling morning evening wedding clothing painting string spring king ring wing thing something
    nothing anything everything railing awning crossing parking living dining swimming during lightning frosting
    topping stuffing icing filling dressing flooring lighting seating bedding being according including
    regarding following meeting feeling sibling pudding landing opening beginning ending training meaning
    clearing sling bring fling cling sterling outing housing engineering marketing advertising gathering booking
    concerning leading skating boxing shopping cutting mooring surrounding surroundings drawing sewing washing
    wrestling racing offering serving helping setting boarding
    """
)
"""Words in -ing that are mostly nouns, prepositions or parts of compounds."""

NOUNS_IN_S = word_set(
    """
    shares forces monitors signs steps jumps studies colors colours approaches requests reports increases
    decreases starts bombs lights rates reviews values views
    """
)
"""Words in -s that are mostly nouns; they are verbs only before an object."""

PARTICIPLE_PHRASES = {
    "compared": ("to", "with"),
    "based": ("on", "in", "upon"),
    "used": ("to", "for", "by"),
    "given": ("the", "that"),
    "followed": ("by",),
    "related": ("to",),
    "associated": ("with",),
}
"""Participles that begin a phrase before the given words, and are not the verb of the clause there."""

NUMBERS = word_set("two three four five six seven eight nine ten")
SOME = word_set("some several many various multiple numerous few") | NUMBERS
CROWDS = word_set("hundreds thousands millions dozens tens scores")
