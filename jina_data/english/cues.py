"""Cues of negation in English text: which words negate, what turned between two texts, and how much cues give away."""

from __future__ import annotations

import difflib
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, get_args

from jina_data.english import lexicon
from jina_data.english.texts import listed, words_of

CueClass = Literal["word", "quantifier", "weak", "affix"]

FUNCTION_WORDS = listed(
    """
    a an the this that these those of to in on at by for with from as and or but so if than then there here it
    its is are was were be been being am do does did have has had having will would can could may might must
    shall should i you he she we they him her them his their my your our us me who which what when where while
    also too very any anything anyone anybody some something someone somebody yet already still ever n't 's 're
    've 'll 'd 'm
    """
)
"""Words that carry no content of their own."""

FOLDS = 5


@dataclass(frozen=True, slots=True)
class Cue:
    """A negation cue: the word in lower case, its class, and which word of the text it is."""

    word: str
    kind: CueClass
    position: int


def cues(text: str) -> list[Cue]:
    """Return the negation cues of a text, in order."""
    return list(_cues(words_of(text)))


def _cues(words: Iterable[str]) -> Iterator[Cue]:
    for position, word in enumerate(words):
        if word in lexicon.QUANTIFIER_NEGATORS:
            yield Cue(word, "quantifier", position)
        elif word in lexicon.NEGATORS or word.endswith("n't"):
            yield Cue(word, "word", position)
        elif word in lexicon.WEAK_NEGATORS:
            yield Cue(word, "weak", position)
        elif lexicon.has_negative_affix(word):
            yield Cue(word, "affix", position)


def negators(text: str) -> list[Cue]:
    """Return the cues that are words of their own: all but affixes."""
    return [cue for cue in cues(text) if cue.kind != "affix"]


def polarity(text: str) -> int:
    """Return -1 for a text with an odd number of cues, else 1: two cancel out, about."""
    return -1 if len(cues(text)) % 2 else 1


@dataclass(frozen=True, slots=True)
class Turn:
    """What turned between two texts, by their words."""

    added: tuple[Cue, ...]
    """Negators (no affixes) that only the second has."""
    removed: tuple[Cue, ...]
    opposites: tuple[tuple[str, str], ...]
    """Listed opposites, one put for the other."""
    affixes: tuple[tuple[str, str], ...]
    """Words put for the same with or without a negative affix."""
    quantifiers: tuple[tuple[str, str], ...]
    """Quantifiers put for others, such as all and few."""
    replaced: tuple[tuple[str, str], ...]
    """Content words put for others of which nothing is listed."""

    @property
    def flips(self) -> int:
        """How often the meaning turns, so far as it is listed: an even number turns it back."""
        return len(self.added) + len(self.removed) + len(self.opposites) + len(self.affixes) + len(self.quantifiers)

    @property
    def kind(self) -> Kind | None:
        """The kind of negation, by what turned; None where only unlisted words or none were replaced."""
        if any(cue.kind == "quantifier" for cue in self.added):
            return "quantifier"
        if self.added:
            return "verbal"
        if self.removed:
            return "removal"
        if self.affixes:
            return "affix"
        if self.opposites:
            return "antonym"
        return "quantifier" if self.quantifiers else None


def turn_between(first: str, second: str) -> Turn:
    """Compare two texts word by word."""
    left, right = words_of(first), words_of(second)
    ours, theirs = [cue for cue in _cues(left) if cue.kind != "affix"], [c for c in _cues(right) if c.kind != "affix"]
    added, removed = _only(theirs, ours), _only(ours, theirs)
    lost, gained = _changed(left, right)
    opposites: list[tuple[str, str]] = []
    affixes: list[tuple[str, str]] = []
    quantifiers: list[tuple[str, str]] = []
    skipped = {cue.word for cue in (*ours, *theirs)}
    for word in list(lost):
        for into, partners in ((affixes, lexicon.AFFIX_PARTNERS), (opposites, lexicon.OPPOSITES)):
            partner = next((other for other in gained if other in partners.get(word, ())), None)
            if partner is not None and not skipped & {word, partner}:
                into.append((word, partner))
                lost.remove(word)
                gained.remove(partner)
                break
    _take_quantifiers(lost, gained, quantifiers, skipped)
    _take_affixed(lost, gained, affixes)
    replaced = _replaced(lost, gained, skipped)
    return Turn(tuple(added), tuple(removed), tuple(opposites), tuple(affixes), tuple(quantifiers), tuple(replaced))


def _only(ours: list[Cue], theirs: list[Cue]) -> list[Cue]:
    """Return the cues of one text that the other lacks; "isn't" and "not" are the same one."""
    left = Counter(_plain(cue.word) for cue in theirs)
    found = []
    for cue in ours:
        if left[_plain(cue.word)]:
            left[_plain(cue.word)] -= 1
        else:
            found.append(cue)
    return found


def _plain(word: str) -> str:
    return "not" if word.endswith("n't") or word in ("cannot", "not") or word.endswith("nt") else word


def _changed(left: list[str], right: list[str]) -> tuple[list[str], list[str]]:
    """Return the words that only one of two texts has, in order, where they do not line up."""
    lost: list[str] = []
    gained: list[str] = []
    for what, start, stop, other, end in difflib.SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        if what != "equal":
            lost += left[start:stop]
            gained += right[other:end]
    moved = Counter(lost) & Counter(gained)
    for word, count in moved.items():
        for _ in range(count):
            lost.remove(word)
            gained.remove(word)
    return lost, gained


def _take_quantifiers(
    lost: list[str], gained: list[str], found: list[tuple[str, str]], skipped: frozenset[str] | set[str]
) -> None:
    """Move quantifiers of which one of each side stands for the other; "some" and "any" are the same here."""
    ours = [word for word in lost if word in lexicon.QUANTIFIERS and word not in skipped]
    theirs = [word for word in gained if word in lexicon.QUANTIFIERS and word not in skipped]
    for word, other in zip(ours, theirs, strict=False):
        same = word[:3] in ("som", "any") and other[:3] in ("som", "any")
        if not same:
            found.append((word, other))
        lost.remove(word)
        gained.remove(other)


def _take_affixed(lost: list[str], gained: list[str], found: list[tuple[str, str]]) -> None:
    """Move words that differ by a negative affix which no list has, such as unbothered and bothered."""
    for word in list(lost):
        for other in gained:
            short, long = sorted((word, other), key=len)
            if lexicon.has_negative_affix(long) and len(short) > 3 and short[:-1] in long and short[:2] != long[:2]:
                found.append((word, other))
                lost.remove(word)
                gained.remove(other)
                break


def _replaced(lost: list[str], gained: list[str], skipped: set[str]) -> list[tuple[str, str]]:
    """Return content words put for others, but for other forms of the same."""
    ours = [word for word in lost if word not in FUNCTION_WORDS and word not in skipped]
    theirs = [word for word in gained if word not in FUNCTION_WORDS and word not in skipped]
    for word in list(ours):
        same = next((other for other in theirs if same_stem(word, other)), None)
        if same is not None:
            ours.remove(word)
            theirs.remove(same)
    longer = max(len(ours), len(theirs))
    return list(zip(ours + [""] * (longer - len(ours)), theirs + [""] * (longer - len(theirs)), strict=True))


def same_stem(word: str, other: str) -> bool:
    """Tell whether two words are forms of one, as far as their letters show: plays and play, made and make."""
    if word == other:
        return True
    known = lexicon_base(word), lexicon_base(other)
    if known[0] == known[1]:
        return True
    short, long = sorted((word, other), key=len)
    shared = len(short) - (1 if short.endswith(("e", "y")) else 0)
    return shared >= 3 and long.startswith(short[:shared]) and len(long) - shared <= 4


def lexicon_base(word: str) -> str:
    """Return the base form of a verb, or the word itself."""
    from jina_data.english.verb_forms import base_of

    return base_of(word) or word


@dataclass
class CueClassifier:
    """Guesses which of two texts is the negative by cues alone: how far cues give the answer away.

    It knows of a text which cues it has and in how many pairs of the training folds texts with these cues were
    negatives. Folds are by a hash of the pair, so that the accuracy depends on the pairs alone. It holds counts only.
    """

    counts: list[Counter[tuple[str, bool]]] = field(default_factory=lambda: [Counter() for _ in range(FOLDS)])

    def add(self, entailment: str, negative: str) -> None:
        """Take in one pair."""
        digest = hashlib.blake2b(f"{entailment}\0{negative}".encode("utf-8", "surrogatepass"), digest_size=4).digest()
        fold = self.counts[int.from_bytes(digest, "big") % FOLDS]
        fold[_pattern(entailment), False] += 1
        fold[_pattern(negative), True] += 1

    @property
    def n_pairs(self) -> int:
        """The number of pairs so far."""
        return sum(fold.total() for fold in self.counts) // 2

    def accuracy(self) -> float:
        """Return the share of texts told rightly, each by a model of the other folds; 0.5 is chance."""
        total: Counter[tuple[str, bool]] = sum(self.counts, Counter())
        right = 0.0
        for fold in self.counts:
            for (pattern, is_negative), count in fold.items():
                negatives = total[pattern, True] - fold[pattern, True]
                positives = total[pattern, False] - fold[pattern, False]
                if negatives == positives:
                    right += count * 0.5
                else:
                    right += count * ((negatives > positives) is is_negative)
        return right / n_texts if (n_texts := 2 * self.n_pairs) else 0.5


def _pattern(text: str) -> str:
    """Name the cues of a text: its words of negation each, affixes together."""
    found = {_plain(cue.word) if cue.kind != "affix" else "affix" for cue in cues(text)}
    return " ".join(sorted(found))


def cue_accuracy(pairs: Iterable[tuple[str, str]]) -> float:
    """Return how often cues alone tell negative from entailment, cross-validated, over (entailment, negative)."""
    classifier = CueClassifier()
    for entailment, negative in pairs:
        classifier.add(entailment, negative)
    return classifier.accuracy()


Kind = Literal["verbal", "quantifier", "antonym", "affix", "removal"]
"""How a negative contradicts: a negated verb ("is not"), another quantifier ("no", "few"), an opposite ("open" and
"closed"), an affix ("unhappy", "useless"), or a negation taken away from a text that has one."""


KINDS: tuple[Kind, ...] = get_args(Kind)
