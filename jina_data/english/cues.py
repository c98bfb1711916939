"""Finds negation cues in English texts, compares two texts by them, and measures how much cues alone give away."""

from __future__ import annotations

import difflib
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, get_args

from jina_data.english import lexicon
from jina_data.english.texts import word_set, words_of

CueClass = Literal["word", "quantifier", "weak", "affix"]

Kind = Literal["verbal", "quantifier", "antonym", "affix", "removal"]
"""How a negative contradicts: a negated verb ("is not"), another quantifier ("no", "few"), an opposite ("open" and
"closed"), an affix ("unhappy", "useless"), or the removal of the negation of a text."""

KINDS: tuple[Kind, ...] = get_args(Kind)

FUNCTION_WORDS = word_set(
    """
    a an the this that these those of to in on at by for with from as and or but so if than then there here it
    its is are was were be been being am do does did have has had having will would can could may might must
    shall should i you he she we they him her them his their my your our us me who which what when where while
    also too very any anything anyone anybody some something someone somebody yet already still ever n't 's 're
    've 'll 'd 'm
    """
)
"""Words without content."""

FOLDS = 5
"""Folds of the cross-validation of `CueClassifier`."""


@dataclass(frozen=True, slots=True)
class Cue:
    """A negation cue: the word in lower case, its class, and its position among the words of the text."""

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
    """Return the cues that are separate words: all except affixes."""
    return [cue for cue in cues(text) if cue.kind != "affix"]


def polarity(text: str) -> int:
    """Return -1 for a text with an odd number of cues, else 1: two cues usually cancel out."""
    return -1 if len(cues(text)) % 2 else 1


@dataclass(frozen=True, slots=True)
class NegationDiff:
    """The differences between two texts that change the meaning, by their words."""

    added: tuple[Cue, ...]
    """Negators (no affixes) that only the second text has."""
    removed: tuple[Cue, ...]
    """Negators (no affixes) that only the first text has."""
    opposites: tuple[tuple[str, str], ...]
    """Words of the first text replaced by a listed opposite."""
    affixes: tuple[tuple[str, str], ...]
    """Words replaced by the same word with or without a negative affix."""
    quantifiers: tuple[tuple[str, str], ...]
    """Quantifiers replaced by others, such as all and few."""
    replaced: tuple[tuple[str, str], ...]
    """Content words replaced by words that are not listed as opposites."""

    @property
    def flips(self) -> int:
        """The number of listed changes that invert the meaning: an even number restores it."""
        return len(self.added) + len(self.removed) + len(self.opposites) + len(self.affixes) + len(self.quantifiers)

    @property
    def kind(self) -> Kind | None:
        """The kind of negation; None if no word or only unlisted words were replaced."""
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


def negation_diff(first: str, second: str) -> NegationDiff:
    """Compare two texts word by word."""
    first_words, second_words = words_of(first), words_of(second)
    first_cues = [cue for cue in _cues(first_words) if cue.kind != "affix"]
    second_cues = [cue for cue in _cues(second_words) if cue.kind != "affix"]
    lost, gained = _changed_words(first_words, second_words)
    opposites: list[tuple[str, str]] = []
    affixes: list[tuple[str, str]] = []
    quantifiers: list[tuple[str, str]] = []
    skipped = {cue.word for cue in (*first_cues, *second_cues)}
    # A word is matched once, and leaves both lists then: first with a listed partner, then as a quantifier, then by the
    # form of its affix. What remains was replaced by something that is not listed.
    for word in list(lost):
        for matches, partners in ((affixes, lexicon.AFFIX_PARTNERS), (opposites, lexicon.OPPOSITES)):
            partner = next((other for other in gained if other in partners.get(word, ())), None)
            if partner is not None and not skipped & {word, partner}:
                matches.append((word, partner))
                lost.remove(word)
                gained.remove(partner)
                break
    _match_quantifiers(lost, gained, quantifiers, skipped)
    _match_affixed(lost, gained, affixes)
    return NegationDiff(
        added=tuple(_cues_without(second_cues, first_cues)),
        removed=tuple(_cues_without(first_cues, second_cues)),
        opposites=tuple(opposites),
        affixes=tuple(affixes),
        quantifiers=tuple(quantifiers),
        replaced=tuple(_replaced(lost, gained, skipped)),
    )


def _cues_without(cues: list[Cue], others: list[Cue]) -> list[Cue]:
    """Return the cues without those that the other text also has; "isn't" and "not" count as the same."""
    unmatched = Counter(_normalized(cue.word) for cue in others)
    missing = []
    for cue in cues:
        if unmatched[_normalized(cue.word)]:
            unmatched[_normalized(cue.word)] -= 1
        else:
            missing.append(cue)
    return missing


def _normalized(word: str) -> str:
    return "not" if word.endswith("n't") or word in ("cannot", "not") or word.endswith("nt") else word


def _changed_words(first: list[str], second: list[str]) -> tuple[list[str], list[str]]:
    """Return the words that only the first or only the second text has, in order; moved words are in neither list."""
    lost: list[str] = []
    gained: list[str] = []
    for tag, i1, i2, j1, j2 in difflib.SequenceMatcher(None, first, second, autojunk=False).get_opcodes():
        if tag != "equal":
            lost += first[i1:i2]
            gained += second[j1:j2]
    moved = Counter(lost) & Counter(gained)
    for word, count in moved.items():
        for _ in range(count):
            lost.remove(word)
            gained.remove(word)
    return lost, gained


def _match_quantifiers(
    lost: list[str], gained: list[str], matches: list[tuple[str, str]], skipped: frozenset[str] | set[str]
) -> None:
    """Move pairs of quantifiers from both lists to `matches`; "some" and "any" are a pair, but no change."""
    ours = [word for word in lost if word in lexicon.QUANTIFIERS and word not in skipped]
    theirs = [word for word in gained if word in lexicon.QUANTIFIERS and word not in skipped]
    for word, other in zip(ours, theirs, strict=False):
        same = word[:3] in ("som", "any") and other[:3] in ("som", "any")
        if not same:
            matches.append((word, other))
        lost.remove(word)
        gained.remove(other)


def _match_affixed(lost: list[str], gained: list[str], matches: list[tuple[str, str]]) -> None:
    """Move unlisted pairs that differ by a negative affix, such as unbothered and bothered, to `matches`."""
    for word in list(lost):
        for other in gained:
            short, long = sorted((word, other), key=len)
            if lexicon.has_negative_affix(long) and len(short) > 3 and short[:-1] in long and short[:2] != long[:2]:
                matches.append((word, other))
                lost.remove(word)
                gained.remove(other)
                break


def _replaced(lost: list[str], gained: list[str], skipped: set[str]) -> list[tuple[str, str]]:
    """Return the pairs of replaced content words, without other forms of the same word; "" where one side is longer."""
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
    """Tell whether two words are forms of the same word, by verb forms and spelling: plays and play, made and make."""
    if word == other:
        return True
    if verb_base(word) == verb_base(other):
        return True
    short, long = sorted((word, other), key=len)
    shared = len(short) - (1 if short.endswith(("e", "y")) else 0)
    return shared >= 3 and long.startswith(short[:shared]) and len(long) - shared <= 4


def verb_base(word: str) -> str:
    """Return the base form of a verb, or the word itself."""
    from jina_data.english.verb_forms import base_of

    return base_of(word) or word


@dataclass
class CueClassifier:
    """Predicts from negation cues alone whether a text is the negative of its pair: a measure of label leakage.

    The only feature of a text is its set of cues. A text is predicted to be a negative if most texts with the same cues
    were negatives in the other folds. The fold of a pair is a hash of its texts, so the accuracy does not depend on the
    order of the pairs. Only counts are stored.
    """

    counts: list[Counter[tuple[str, bool]]] = field(default_factory=lambda: [Counter() for _ in range(FOLDS)])

    def add(self, entailment: str, negative: str) -> None:
        """Count a pair."""
        digest = hashlib.blake2b(f"{entailment}\0{negative}".encode("utf-8", "surrogatepass"), digest_size=4).digest()
        fold = self.counts[int.from_bytes(digest, "big") % FOLDS]
        fold[_pattern(entailment), False] += 1
        fold[_pattern(negative), True] += 1

    @property
    def n_pairs(self) -> int:
        """The number of pairs counted."""
        return sum(fold.total() for fold in self.counts) // 2

    def accuracy(self) -> float:
        """Return the cross-validated share of correct predictions; a tie counts one half, and 0.5 is chance."""
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
    """Return the set of cues of a text as a string: each negation word, and "affix" for any affix."""
    pattern = {_normalized(cue.word) if cue.kind != "affix" else "affix" for cue in cues(text)}
    return " ".join(sorted(pattern))


def cue_accuracy(pairs: Iterable[tuple[str, str]]) -> float:
    """Return the accuracy of a `CueClassifier` over pairs of entailment and negative."""
    classifier = CueClassifier()
    for entailment, negative in pairs:
        classifier.add(entailment, negative)
    return classifier.accuracy()
