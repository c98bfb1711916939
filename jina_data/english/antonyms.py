"""Words whose negated opposite says nearly the same: "not closed" and "open". Written by hand, for English.

Most are complementary: there is nothing between alive and dead. The graded ones (happy, sad) leave a middle that
neither names; "not sad" is then a paraphrase as people use it, not as logic has it. Comparatives ("not higher" may be
equal) and postures ("not standing" may be lying) are left out.
"""

from __future__ import annotations

from jina_data.english.texts import listed


def _both_ways(text: str) -> dict[str, tuple[str, ...]]:
    """Parse `a/b` (each is the opposite of the other) and `a>b` (b is one of a) into words with their opposites."""
    found: dict[str, list[str]] = {}
    for pair in text.split():
        left, sign, right = pair.partition(">")
        if not sign:
            left, _, right = pair.partition("/")
            found.setdefault(right, []).append(left)
        found.setdefault(left, []).append(right)
    return {word: tuple(dict.fromkeys(opposites)) for word, opposites in found.items()}


PREDICATES = _both_ways(
    """
    open/closed shut>open open>shut empty/full alive/dead asleep/awake sleeping>awake present/absent true/false
    right/wrong correct/incorrect correct>wrong accurate/inaccurate possible/impossible legal/illegal lawful/unlawful
    visible/invisible hidden>visible clear/unclear certain/uncertain sure/unsure able/unable aware/unaware
    conscious/unconscious available/unavailable known/unknown familiar/unfamiliar capable/incapable
    safe/dangerous safe/unsafe secure/insecure risky>safe harmless/harmful poisonous>harmless toxic>harmless
    happy/sad happy/unhappy sad>cheerful cheerful>sad miserable>happy glad>sad pleased/displeased
    satisfied/dissatisfied content>dissatisfied hopeful/hopeless optimistic/pessimistic excited/bored bored>interested
    interested/uninterested calm/nervous calm>angry angry>calm nervous>relaxed relaxed/tense
    anxious>calm afraid/unafraid scared>fearless fearless>afraid brave/cowardly patient/impatient
    polite/rude polite/impolite kind/unkind kind>cruel cruel>kind friendly/unfriendly friendly/hostile
    honest/dishonest loyal/disloyal faithful/unfaithful generous/stingy greedy>generous selfish>generous
    humble/arrogant modest>arrogant shy>outgoing outgoing>shy lazy/hardworking lazy>diligent
    smart/stupid clever/stupid intelligent>stupid wise/foolish foolish>wise sane/insane crazy>sane
    reasonable/unreasonable rational/irrational logical/illogical sensible>foolish responsible/irresponsible
    reliable/unreliable careful/careless mature/immature experienced/inexperienced skilled/unskilled
    qualified/unqualified competent/incompetent talented>untalented educated/uneducated literate/illiterate
    healthy/sick healthy/unhealthy ill>healthy sick>well fit/unfit strong/weak powerful/powerless tired>rested
    exhausted>energetic energetic>tired sober/drunk hungry>full injured/uninjured hurt>unharmed unharmed>injured
    infected/uninfected contagious>harmless curable/incurable treatable/untreatable benign/malignant fatal>harmless
    pregnant>childless blind>sighted deaf>hearing barefoot>shod dressed/undressed naked>clothed clothed>naked
    armed/unarmed married/unmarried married/single employed/unemployed retired>working famous>unknown
    guilty/innocent rich/poor wealthy>poor poor>wealthy lucky/unlucky fortunate/unfortunate
    popular/unpopular beloved>hated attractive/unattractive beautiful/ugly pretty>ugly ugly>beautiful handsome>ugly
    fat/thin slim>fat thin>fat tall>short long>short big/small large/small huge>tiny tiny>huge
    high/low deep/shallow wide/narrow broad>narrow thick/thin heavy/light fast/slow quick>slow slow>quick
    hot/cold warm/cool cold>warm warm>cold wet/dry sunny>cloudy cloudy>sunny rainy>dry humid>dry
    bright/dark dim>bright loud/quiet noisy/quiet silent>noisy quiet>noisy clean/dirty dirty>clean filthy>clean
    tidy/untidy tidy/messy neat>messy messy>neat fresh/stale ripe/unripe raw/cooked edible/inedible tasty>tasteless
    delicious>disgusting disgusting>delicious soft>hard smooth/rough sharp/blunt sharp>dull straight/crooked
    tight/loose flexible/inflexible flexible>rigid rigid>flexible solid>hollow hollow>solid transparent/opaque
    fixed>movable mobile/immobile portable>stationary stable/unstable steady/unsteady locked/unlocked
    connected/disconnected occupied/vacant occupied>unoccupied vacant>occupied inhabited/uninhabited
    crowded/deserted crowded>empty deserted>crowded busy>idle idle>busy isolated>connected
    lit>unlit broken>intact intact>broken damaged/undamaged damaged>intact complete/incomplete finished/unfinished
    perfect/imperfect flawed>flawless flawless>flawed ready>unprepared prepared/unprepared
    new/old modern>outdated modern>ancient ancient>modern outdated>modern young/old current>outdated recent>old
    easy/difficult easy/hard difficult>easy simple/complicated complex>simple straightforward>complicated
    good/bad great>terrible excellent>terrible terrible>great awful>wonderful wonderful>awful perfect>flawed
    interesting/boring interesting/uninteresting exciting/boring dull>exciting fun>boring funny>serious
    pleasant/unpleasant comfortable/uncomfortable convenient/inconvenient enjoyable>unpleasant painful/painless
    useful/useless helpful/unhelpful necessary/unnecessary important/unimportant significant/insignificant
    relevant/irrelevant essential>unnecessary optional/mandatory optional>required mandatory>optional
    compulsory>voluntary voluntary/involuntary meaningful/meaningless worthless>valuable valuable>worthless
    effective/ineffective efficient/inefficient successful/unsuccessful productive/unproductive profitable/unprofitable
    suitable/unsuitable appropriate/inappropriate acceptable/unacceptable adequate/inadequate sufficient/insufficient
    fair/unfair ethical/unethical moral/immoral valid/invalid legitimate/illegitimate
    official/unofficial formal/informal public/private secret>public domestic/foreign local>foreign
    natural/artificial natural/unnatural fake>genuine genuine>fake real>fake fake>real real>imaginary authentic>fake
    normal/abnormal typical/atypical usual/unusual common/uncommon common/rare rare>common ordinary>extraordinary
    strange>normal weird>normal odd>normal regular/irregular frequent/infrequent frequent>rare
    permanent/temporary constant>variable predictable/unpredictable probable/improbable
    identical>different equal/unequal consistent/inconsistent similar>different different>identical
    willing/unwilling willing>reluctant reluctant>willing eager>reluctant
    independent/dependent direct/indirect active/inactive active>passive positive/negative major/minor
    cheap/expensive inexpensive>costly expensive/inexpensive costly>cheap affordable/unaffordable free>occupied
    eligible/ineligible allowed>forbidden forbidden>allowed permitted>prohibited prohibited>permitted
    accepted>rejected rejected>accepted approved>rejected included>excluded excluded>included
    realistic/unrealistic credible>unbelievable believable/unbelievable plausible/implausible convincing/unconvincing
    obvious>unclear evident>unclear readable/unreadable legible/illegible understandable>incomprehensible
    vertical>horizontal horizontal>vertical indoors/outdoors inside/outside online/offline upstairs/downstairs
    together>apart apart>together fertile/infertile fertile>barren urban/rural
    """
)
"""What may be said of something behind "is", with opposites of it."""

VERBS = _both_ways(
    """
    like/dislike love>hate hate>love accept/reject accept>refuse refuse>accept agree/disagree allow/forbid
    permit>forbid remember/forget include/exclude support/oppose succeed/fail win>lose deny>admit admit>deny
    ignore>notice notice>ignore
    """
)
"""Verbs and opposites of them, by the base."""

CONTESTS = listed(
    """
    game games match matches race races war wars election elections battle battles case fight fights final finals
    series set round bet contest contests vote debate lawsuit appeal toss duel game's
    """
)
"""What may be won or lost."""

PRIZES = listed("medal medals prize prizes award awards title titles place honor honors honour gold silver bronze spot")
"""What is not lost if it is not won."""

FORBIDDEN_NEXT = {
    "full": listed("of with"),
    "dressed": listed("in for as with like"),
    "clothed": listed("in with"),
    "prepared": listed("in on at with during"),
    "ready": listed("in on at with"),
    "connected": listed("with"),
    "finished": listed("in with on at"),
    "included": listed("on in"),
    "employed": listed("in by as at with"),
    "good": listed("for about"),
    "happy": listed("about in"),
    "lit": listed("on"),
    "known": listed("to for as in by"),
    "similar": listed("to in"),
    "different": listed("in"),
    "free": listed("of from to for"),
    "clear": listed("of"),
    "hard": listed("at on"),
    "right": listed("in on at to now here there before after for with"),
    "high": listed("on in"),
    "low": listed("on in"),
    "light": listed("in on"),
    "excited": listed("to for"),
    "locked": listed("to in"),
    "married": listed("to in with for"),
    "angry": listed("at with about"),
    "sick": listed("of"),
    "open": listed("to about"),
    "present": listed("to with"),
    "current": listed("with on"),
    "responsible": listed("for"),
    "hurt": listed("that"),
    "content": listed("to"),
}
"""Words behind which a predicate means another thing."""
