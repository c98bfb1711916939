"""Splits a sentence into words, finds its main verb, and replaces words in the text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from jina_data.english.verb_forms import VerbForms, base_of, gerunds, participles, pasts, thirds, verbs
from jina_data.english.word_classes import (
    ADVERBS,
    BE,
    BEFORE_AS,
    BREAKS,
    DETERMINERS,
    DO,
    HAVE,
    MODALS,
    NOUNS_IN_ING,
    NOUNS_IN_S,
    OPENERS,
    PARTICIPLE_PHRASES,
    PLURALS,
    PREPOSITIONS,
    PRONOUNS,
    RELATIVES,
    SAY,
    SUBORDINATORS,
    VAGUE_MODALS,
)

VerbKind = Literal["auxiliary", "third", "past", "base"]

HAVE_KINDS: dict[str, VerbKind] = {"has": "third", "had": "past", "have": "base"}

_WORD = re.compile(r"[^\W_]+(?:['’\-.&][^\W_]+)*['’]?")


class Verb(NamedTuple):
    """A verb: its position among the words, its kind, and its forms (None for an auxiliary)."""

    position: int
    kind: VerbKind
    forms: VerbForms | None


@dataclass(frozen=True)
class Word:
    """A word of a text, with its first character and the one after its last."""

    text: str
    start: int
    end: int

    @property
    def lower(self) -> str:
        """The word in lower case, with a straight apostrophe."""
        return self.text.lower().replace("’", "'")


class Sentence:
    """A text split into words; `seed` chooses where several changes are possible.

    Positions count words from 0; `lower` holds the words in lower case.
    """

    def __init__(self, text: str, seed: int = 0) -> None:
        self.text = text
        self.seed = seed
        self.words = [Word(match[0], match.start(), match.end()) for match in _WORD.finditer(text)]
        self.lower = [word.lower for word in self.words]

    def __len__(self) -> int:
        return len(self.words)

    def word_at(self, position: int) -> str:
        """Return the word at a position in lower case, "" outside of the text."""
        return self.lower[position] if 0 <= position < len(self.lower) else ""

    def gap(self, position: int) -> str:
        """Return the characters between a word and the previous word."""
        start = self.words[position - 1].end if position > 0 else 0
        end = self.words[position].start if position < len(self.words) else len(self.text)
        return self.text[start:end]

    def is_name(self, position: int) -> bool:
        """Tell whether a word looks like a name: capitalized, and not the first word."""
        if not 0 <= position < len(self.words) or position == 0:
            return False
        return self.words[position].text[:1].isupper() and self.words[position].text != "I"

    def edit(self, *edits: tuple[int, int, str]) -> str:
        """Return the text with runs of words replaced.

        Args:
            edits: first position, position after the last, and the new words; "" removes the words with a space.
        """
        text = self.text
        # From the end, so that the character offsets of earlier edits stay valid.
        for first, last, new in sorted(edits, reverse=True):
            start, end = self._span(first, last, is_removal=not new)
            text = text[:start] + new + text[end:]
        text = text.strip()
        if edits and min(first for first, _, _ in edits) == 0 and self.text[:1].isupper():
            text = text[:1].upper() + text[1:]
        return text

    def _span(self, first: int, last: int, *, is_removal: bool) -> tuple[int, int]:
        if first == last:
            raise ValueError("an edit replaces at least one word")
        start, end = self.words[first].start, self.words[last - 1].end
        if is_removal:
            if last < len(self.words) and self.gap(last).isspace():
                end = self.words[last].start
            elif first > 0:
                start = self.words[first - 1].end
        return start, end

    def main_verb(self) -> Verb | None:
        """Return the verb of the main clause, None if it is not certain."""
        start = self._clause_start()
        if start is None:
            return None
        auxiliary = self._first_auxiliary(start)
        lexical = self._first_lexical(start, auxiliary)
        if auxiliary is None or lexical is None:
            return auxiliary or lexical
        if auxiliary.position < lexical.position:
            return auxiliary
        if self._may_be_participle(lexical, auxiliary.position):
            return None
        return lexical if self._has_boundary(lexical, auxiliary.position) else auxiliary

    def _clause_start(self) -> int | None:
        """Return where the main clause begins: after the comma of a leading subordinate clause."""
        if not self.lower:
            return None
        if self.lower[0] not in OPENERS:
            return 0
        return next((i for i in range(1, len(self)) if "," in self.gap(i)), None)

    def _clause_end(self, start: int) -> int:
        """Return where the next clause begins; the main verb is searched for before it."""
        for i in range(start + 1, len(self)):
            if self.lower[i] in BREAKS and not (self.lower[i] == "as" and self.lower[i - 1] in BEFORE_AS):
                return i
        return len(self)

    def _is_unknown_past(self, i: int) -> bool:
        """Tell whether a word looks like the past of a verb that is not listed: then no main verb is certain."""
        word = self.lower[i]
        looks = word.endswith("ed") and len(word) > 4 and word not in pasts() and not self.is_name(i)
        return looks and i > 0 and self.word_at(i - 1) not in DETERMINERS | PREPOSITIONS and "-" not in word

    def _first_auxiliary(self, start: int) -> Verb | None:
        """Return the first auxiliary of the main clause; each relative clause before it takes one finite verb."""
        skip = 0
        for i in range(start, self._clause_end(start)):
            word = self.lower[i]
            if i > start and word in RELATIVES and not self._is_demonstrative(i):
                skip += 1
            elif self._is_auxiliary(i):
                if skip == 0:
                    return Verb(i, "auxiliary", None)
                skip -= 1
            elif skip and self._is_finite(i):
                skip -= 1
        return None

    def _is_demonstrative(self, i: int) -> bool:
        return self.lower[i] == "that" and self.word_at(i - 1) in PREPOSITIONS

    def _is_auxiliary(self, i: int) -> bool:
        word = self.lower[i]
        if word in BE or word in MODALS or word in VAGUE_MODALS:
            # A first word asks a question or is a name: "Will Smith sings".
            return (
                (i > 0 or word in BE)
                and not (word in ("will", "can", "must", "might") and self.word_at(i - 1) in DETERMINERS)
                and not (word in ("will", "may") and self.is_name(i))
            )
        if word in HAVE or word in DO:
            following = self._after_adverbs(i + 1)
            if word in HAVE:
                return following in participles() or following in ("been", "got") or following.endswith("ed")
            return following in verbs() and i > 0
        base, mark, ending = word.partition("'")
        if not mark:
            return False
        if ending in ("re", "m", "ll", "ve"):
            return True
        return (
            ending == "s"
            and self.word_at(i - 1) not in PREPOSITIONS
            and base in ("he", "she", "it", "that", "there", "who", "what", "everyone", "someone")
        )

    def _after_adverbs(self, i: int) -> str:
        while self.word_at(i) in ADVERBS or self.word_at(i).endswith("ly"):
            i += 1
        return self.word_at(i)

    def _is_finite(self, i: int) -> bool:
        word = self.lower[i]
        return (word in thirds() or word in pasts() or word in HAVE) and self.word_at(i - 1) not in DETERMINERS

    def _first_lexical(self, start: int, auxiliary: Verb | None) -> Verb | None:
        """Return the first full verb before the auxiliary; each relative clause before it takes one verb."""
        skip = 0
        for i in range(start, auxiliary.position if auxiliary else self._clause_end(start)):
            if i > start and self.lower[i] in RELATIVES and not self._is_demonstrative(i):
                skip += 1
                continue
            if self._is_unknown_past(i):
                return None
            verb = self._lexical(i, start)
            if verb is None:
                continue
            if skip:
                skip -= 1
            elif not self._is_reduced(verb, auxiliary):
                return verb
        return None

    def _lexical(self, i: int, start: int) -> Verb | None:
        """Return the verb at a position, None if its neighbours show that it is none or has no subject before it."""
        before = i - 1
        while before >= start and (self.lower[before] in ADVERBS or self.lower[before].endswith("ly")):
            before -= 1
        if before < start or self.is_name(i) or (self.word_at(before) in DETERMINERS | PREPOSITIONS):
            return None
        if (
            self._is_embedded(before, start)
            or self.word_at(i - 1) in gerunds()
            or self.word_at(i - 1) in ("got", "get", "gets")
        ):
            return None
        if (
            self.word_at(before).endswith("'s")
            or self.word_at(before).isdigit()
            or ("," in self.gap(i) and before == i - 1)
        ):
            return None
        return self._form_at(i, before)

    def _is_embedded(self, subject: int, start: int) -> bool:
        """Tell whether a pronoun is the subject of an embedded clause: "the way we use it", "makes you want"."""
        if self.word_at(subject) not in PRONOUNS or subject <= start or "," in self.gap(subject):
            return False
        return self.word_at(subject - 1) not in ("and", "but", "so", "then", "now", "today", "or", "where", "that")

    def _form_at(self, i: int, before: int) -> Verb | None:
        """Return the verb that a word can be after a subject that ends at `before`."""
        word, plural = self.lower[i], self._is_plural(before)
        if (
            self.word_at(i + 1) in ("and", "or", "")
            and (word in thirds() or word in HAVE_KINDS)
            and not self._is_sure(before)
        ):
            return None
        if word in HAVE_KINDS:
            return Verb(i, HAVE_KINDS[word], verbs()["have"])
        is_noun = word in NOUNS_IN_S and self.word_at(i + 1) not in DETERMINERS
        if (
            word in thirds()
            and not is_noun
            and (not plural or self.word_at(before) in PRONOUNS or self.is_name(before))
        ):
            return Verb(i, "third", thirds()[word])
        if word in pasts() and self.word_at(i + 1) not in PARTICIPLE_PHRASES.get(word, ()):
            forms = pasts()[word]
            return Verb(i, "base" if forms.base == word and plural else "past", forms)
        if word in verbs() and plural and word not in ("like", "back", "state", "group", "police"):
            return Verb(i, "base", verbs()[word])
        return None

    def _is_sure(self, subject: int) -> bool:
        """Tell whether a word can only be a subject: then a word in -s after it is a verb."""
        return self.word_at(subject) in PRONOUNS or self.is_name(subject) or self.word_at(subject - 1) in DETERMINERS

    def _is_plural(self, i: int) -> bool:
        word = self.word_at(i)
        if word in PLURALS:
            return True
        return len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is", "'s"))

    def _is_reduced(self, verb: Verb, auxiliary: Verb | None) -> bool:
        """Tell whether a participle describes a noun ("a man dressed in red runs") and the verb comes later."""
        if verb.kind != "past" or verb.forms is None or verb.forms.past != verb.forms.participle:
            return False
        if self.word_at(verb.position + 1) == "by":
            return True
        last = auxiliary.position if auxiliary else len(self)
        return (
            any(self._clear_finite(i) for i in range(verb.position + 1, last))
            and self.word_at(verb.position + 1) in PREPOSITIONS
        )

    def _clear_finite(self, i: int) -> bool:
        word, before = self.lower[i], self.word_at(i - 1)
        if before in DETERMINERS | PREPOSITIONS | SUBORDINATORS | PRONOUNS or "," in self.gap(i):
            return False
        if word in thirds():
            return not self._is_plural(i - 1)
        return word in pasts() and pasts()[word].past != pasts()[word].participle

    def _may_be_participle(self, lexical: Verb, until: int) -> bool:
        """Tell whether a form in -ed may describe the subject: "care introduced in Chile and Peru has helped"."""
        forms = lexical.forms
        if lexical.kind != "past" or forms is None or forms.past != forms.participle or forms.base in SAY:
            return False
        marks = SUBORDINATORS | PRONOUNS | {"but", "there"}
        if any(self.lower[i] in marks or "," in self.gap(i) for i in range(lexical.position + 1, until + 1)):
            return False
        return self.word_at(lexical.position + 1) not in DETERMINERS and not self.is_name(lexical.position + 1)

    def _has_boundary(self, lexical: Verb, until: int) -> bool:
        """Tell whether another clause begins between a verb and a later auxiliary."""
        if lexical.forms is not None and lexical.forms.base in SAY:
            return True
        marks = SUBORDINATORS | PRONOUNS | {"and", "but", "or", "to", "there"}
        parts = ((self.lower[i].partition("'")[0], self.gap(i)) for i in range(lexical.position + 1, until + 1))
        return any(word in marks or "," in gap for word, gap in parts)

    def gerund(self) -> int | None:
        """Return the position of the main participle in -ing of a caption without a verb, None if there is none."""
        for i in range(1, len(self)):
            word = self.lower[i]
            is_gerund = word in gerunds() or (word.endswith("ing") and len(word) > 5)
            if not is_gerund or word in NOUNS_IN_ING or self.is_name(i):
                continue
            if (
                self.word_at(i - 1) in DETERMINERS | PREPOSITIONS
                or self.word_at(i - 1).endswith("'s")
                or "," in self.gap(i)
            ):
                return None
            return i
        return None

    def conjoined(self, verb: Verb) -> Iterator[tuple[int, str]]:
        """Yield positions and base forms of the verbs joined to the main verb by "and" or "or"."""
        for i in range(verb.position + 1, len(self) - 1):
            if self.lower[i] in SUBORDINATORS:
                return
            if self.lower[i] not in ("and", "or"):
                continue
            position = i + 1
            while self.word_at(position) in ADVERBS or self.word_at(position).endswith("ly"):
                position += 1
            word = self.word_at(position)
            if verb.kind == "third" and word in thirds():
                yield position, thirds()[word].base
            elif verb.kind == "past" and word in pasts():
                yield position, pasts()[word].base
            elif base_of(word) is None and word in HAVE:
                yield position, "have"
