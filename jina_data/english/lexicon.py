"""The words that negation turns on: negators, quantifiers, opposites, affixes. Written by hand, for English."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from jina_data.english.texts import listed

NEGATORS = listed(
    """
    not no never none nobody nothing nowhere neither nor without cannot ain't aint dont doesnt didnt isnt wasnt
    arent werent cant wont couldnt wouldnt shouldnt havent hasnt
    """
)
"""Words that negate by themselves; contractions with n't count too."""

WEAK_NEGATORS = listed("hardly barely scarcely rarely seldom lack lacks lacked lacking")
"""Words that nearly negate: they change the polarity of a sentence, but leave room."""

QUANTIFIER_NEGATORS = listed("no none nobody nothing nowhere neither")
"""Negators that stand for a quantity."""

QUANTIFIERS = listed(
    """
    all every each everyone everybody everything both some someone somebody something several many most much few
    multiple various numerous plenty always often sometimes two three four five six seven eight nine ten couple
    lot lots group no none nobody nothing either any anyone anybody anything one
    """
)
"""Words that say how many, how much or how often."""


def _pairs(text: str) -> list[tuple[str, str]]:
    return [(left, right) for left, right in (line.split("/") for line in text.split())]


SAFE_OPPOSITES = _pairs(
    """
    man/woman men/women boy/girl boys/girls male/female males/females husband/wife father/mother son/daughter
    brother/sister king/queen gentleman/lady gentlemen/ladies guy/girl actor/actress
    indoors/outdoors indoor/outdoor inside/outside upstairs/downstairs uphill/downhill
    standing/sitting stands/sits asleep/awake sleeping/awake young/old younger/older youngest/oldest
    open/closed opened/closed opens/closes opening/closing empty/full big/small bigger/smaller biggest/smallest
    large/small larger/smaller largest/smallest huge/tiny giant/tiny tall/short taller/shorter tallest/shortest
    happy/sad happily/sadly smiling/frowning smiles/frowns laughing/crying
    hot/cold warm/cool wet/dry sunny/cloudy day/night daytime/nighttime morning/evening winter/summer
    near/far alive/dead rich/poor wealthy/poor easy/difficult easily/hardly easier/harder simple/complicated
    fast/slow quickly/slowly faster/slower fastest/slowest quick/slow early/late earlier/later
    success/failure succeeded/failed succeeds/fails succeed/fail successful/unsuccessful
    increase/decrease increased/decreased increases/decreases increasing/decreasing rose/fell rises/falls
    rise/fall risen/fallen rising/falling gained/lost gains/losses higher/lower highest/lowest high/low
    won/lost wins/loses winning/losing winner/loser win/lose victory/defeat
    accept/reject accepted/rejected accepts/rejects accepting/rejecting approved/rejected approves/rejects
    allow/forbid allowed/forbidden allows/forbids permitted/forbidden
    begin/end began/ended begins/ends beginning/ending start/finish started/finished starts/finishes
    starting/finishing arrive/depart arrived/departed arrives/departs arriving/departing
    enter/leave entered/left enters/leaves entering/leaving buy/sell bought/sold buys/sells buying/selling
    love/hate loved/hated loves/hates loving/hating liked/disliked likes/dislikes
    remember/forget remembered/forgot remembers/forgets push/pull pushed/pulled pushes/pulls pushing/pulling
    include/exclude included/excluded includes/excludes including/excluding
    improve/worsen improved/worsened improves/worsens improving/worsening
    strengthen/weaken strengthened/weakened strengthens/weakens support/oppose supported/opposed
    supports/opposes supporting/opposing supporters/opponents acquitted/convicted guilty/innocent
    remain/leave remained/left remains/leaves stay/leave stayed/left stays/leaves
    arrested/released jailed/freed hired/fired hires/fires born/died borrow/lend
    northern/southern eastern/western north/south northeast/southwest northwest/southeast
    first/last former/current beautiful/ugly strong/weak stronger/weaker strongest/weakest
    good/bad better/worse best/worst great/terrible excellent/terrible clean/dirty safe/dangerous safely/dangerously
    cheap/expensive cheaper/costlier public/private true/false right/wrong correct/incorrect
    same/different similar/different common/rare frequently/rarely often/rarely always/never usually/rarely
    major/minor majority/minority maximum/minimum more/less most/least before/after
    above/below over/under up/down onto/off upwards/downwards forward/backward
    noisy/quiet loud/quiet loudly/quietly crowded/deserted busy/idle calm/agitated bright/dark light/dark
    thin/thick thick/thin wide/narrow deep/shallow heavy/light soft/hard smooth/rough sharp/blunt
    married/single single/married healthy/sick ill/healthy sick/healthy brave/cowardly
    generous/stingy polite/rude friendly/hostile lazy/diligent
    positive/negative optimistic/pessimistic permanent/temporary ancient/modern old/new new/old fresh/stale
    present/absent attended/missed domestic/foreign local/foreign urban/rural natural/artificial
    lost/found hid/showed hidden/visible victory/defeat profit/loss peace/war friend/enemy friends/enemies
    black/white white/black everybody/nobody everyone/nobody everything/nothing someone/nobody somebody/nobody
    something/nothing everywhere/nowhere somewhere/nowhere with/without all/none many/few
    together/apart alone/together vertical/horizontal horizontally/vertically left/right
    standing/lying moving/still silent/talking talking/silent dressed/naked clothed/naked
    fat/thin attractive/ugly pretty/ugly smart/stupid intelligent/stupid wise/foolish clever/stupid
    bored/excited boring/exciting interesting/boring funny/serious tired/energetic
    hungry/full drunk/sober pleased/annoyed satisfied/dissatisfied relaxed/tense nervous/calm angry/calm
    guilty/innocent necessary/unnecessary possible/impossible likely/unlikely
    loses/wins deny/admit denied/admitted denies/admits agree/disagree agreed/disagreed agrees/disagrees
    ignore/notice ignored/noticed trust/distrust praised/criticized praises/criticizes criticized/praised
    rejects/accepts launched/cancelled cancelled/launched suspended/reinstated banned/allowed bans/allows ban/allow
    agreed/refused agrees/refuses agree/refuse
    raised/lowered raises/lowers raise/lower lowered/raised cuts/raises reduced/increased reduces/increases
    reduce/increase expand/shrink expanded/shrunk expands/shrinks expanding/shrinking
    survived/died survives/dies killed/spared injured/unharmed wounded/unharmed
    joined/left joins/leaves join/leave created/destroyed creates/destroys built/demolished build/demolish
    attacked/defended attacks/defends attacking/defending attack/defend
    """
)
"""Words and their opposites: a text with one put for the other contradicts itself with the other put back."""

AFFIX_PAIRS = _pairs(
    """
    happy/unhappy happily/unhappily able/unable acceptable/unacceptable aware/unaware available/unavailable
    believable/unbelievable certain/uncertain clear/unclear comfortable/uncomfortable common/uncommon
    conscious/unconscious controlled/uncontrolled cooked/uncooked covered/uncovered defeated/undefeated
    dressed/undressed educated/uneducated employed/unemployed equal/unequal even/uneven expected/unexpected
    expectedly/unexpectedly fair/unfair fairly/unfairly familiar/unfamiliar finished/unfinished fit/unfit
    fortunate/unfortunate fortunately/unfortunately friendly/unfriendly harmed/unharmed healthy/unhealthy
    helpful/unhelpful important/unimportant injured/uninjured intended/unintended interested/uninterested
    interesting/uninteresting kind/unkind known/unknown lawful/unlawful likely/unlikely limited/unlimited
    lucky/unlucky married/unmarried natural/unnatural necessary/unnecessary noticed/unnoticed occupied/unoccupied
    official/unofficial opened/unopened paid/unpaid painted/unpainted pleasant/unpleasant popular/unpopular
    predictable/unpredictable prepared/unprepared protected/unprotected published/unpublished ready/unready
    realistic/unrealistic reasonable/unreasonable related/unrelated reliable/unreliable resolved/unresolved
    safe/unsafe satisfied/dissatisfied seen/unseen skilled/unskilled sold/unsold solved/unsolved stable/unstable
    steady/unsteady successful/unsuccessful successfully/unsuccessfully suitable/unsuitable supervised/unsupervised
    sure/unsure tidy/untidy touched/untouched true/untrue used/unused useful/useless usual/unusual usually/unusually
    wanted/unwanted wise/unwise willing/unwilling wrapped/unwrapped explained/unexplained affected/unaffected
    announced/unannounced answered/unanswered armed/unarmed attended/unattended attractive/unattractive
    authorized/unauthorized beaten/unbeaten biased/unbiased changed/unchanged confirmed/unconfirmed
    constitutional/unconstitutional convinced/unconvinced decided/undecided developed/undeveloped
    disturbed/undisturbed ethical/unethical eventful/uneventful fulfilled/unfulfilled identified/unidentified
    impressed/unimpressed impressive/unimpressive inhabited/uninhabited insured/uninsured invited/uninvited
    licensed/unlicensed loved/unloved manned/unmanned marked/unmarked named/unnamed planned/unplanned
    qualified/unqualified questionable/unquestionable recognized/unrecognized registered/unregistered
    restricted/unrestricted settled/unsettled shaven/unshaven signed/unsigned specified/unspecified
    tested/untested trained/untrained treated/untreated veiled/unveiled
    accurate/inaccurate active/inactive adequate/inadequate appropriate/inappropriate attentive/inattentive
    capable/incapable complete/incomplete completely/incompletely consistent/inconsistent convenient/inconvenient
    correct/incorrect correctly/incorrectly credible/incredible decent/indecent decisive/indecisive
    dependent/independent direct/indirect directly/indirectly effective/ineffective efficient/inefficient
    eligible/ineligible experienced/inexperienced expensive/inexpensive famous/infamous finite/infinite
    flexible/inflexible formal/informal frequent/infrequent frequently/infrequently justice/injustice
    secure/insecure sensitive/insensitive significant/insignificant sincere/insincere sufficient/insufficient
    tolerant/intolerant valid/invalid visible/invisible voluntary/involuntary voluntarily/involuntarily
    balanced/imbalanced mature/immature mobile/immobile moral/immoral mortal/immortal partial/impartial
    patient/impatient patiently/impatiently perfect/imperfect perfectly/imperfectly polite/impolite
    possible/impossible practical/impractical precise/imprecise probable/improbable proper/improper
    properly/improperly pure/impure legal/illegal legally/illegally legible/illegible legitimate/illegitimate
    literate/illiterate logical/illogical rational/irrational regular/irregular regularly/irregularly
    relevant/irrelevant replaceable/irreplaceable responsible/irresponsible responsibly/irresponsibly
    reversible/irreversible agree/disagree agreed/disagreed agrees/disagrees agreeing/disagreeing
    agreement/disagreement allow/disallow allowed/disallowed allows/disallows appear/disappear
    appeared/disappeared appears/disappears appearing/disappearing approve/disapprove approved/disapproved
    approves/disapproves approval/disapproval assembled/disassembled believe/disbelieve connect/disconnect
    connected/disconnected connects/disconnects continue/discontinue continued/discontinued
    continues/discontinues courage/discourage encouraged/discouraged encourages/discourages
    encouraging/discouraging encourage/discourage honest/dishonest honestly/dishonestly honor/dishonor
    interested/disinterested liked/disliked likes/dislikes loyal/disloyal obey/disobey obeyed/disobeyed
    obeys/disobeys obeying/disobeying organized/disorganized proved/disproved proves/disproves
    qualified/disqualified respectful/disrespectful respectfully/disrespectfully satisfied/dissatisfied
    similar/dissimilar trust/distrust trusted/distrusted trusts/distrusts advantage/disadvantage
    careful/careless carefully/carelessly harmful/harmless helpful/helpless hopeful/hopeless meaningful/meaningless
    painful/painless powerful/powerless thoughtful/thoughtless fearful/fearless colorful/colorless
    hairy/hairless sleeved/sleeveless sleeping/sleepless married/unmarried clothed/unclothed shirted/shirtless
    nonfiction/fiction nonprofit/profit smoker/nonsmoker smokers/nonsmokers violent/nonviolent existent/nonexistent
    toxic/nontoxic alcoholic/nonalcoholic verbal/nonverbal essential/nonessential fiction/nonfiction
    understand/misunderstand understood/misunderstood
    """
)
"""Words and the same with a negative affix, on either side."""

NOT_NEGATIVE = listed(
    """
    nonsense nonchalant nonchalantly nonetheless nonstop none nonce unless bless less lesser lesson lessons
    nevertheless regardless wireless stainless blessed blesses unanimous unanimously united unison unique
    uniquely universal universally universe university universities union unions unified uniform uniforms
    uniformed unit units unite unites uniting unity unilateral unicorn unicycle unisex uncle uncles until unto
    under undergo underway undoubtedly unveil unveils unveiled unveiling unload unloads unloaded unloading
    unlock unlocks unlocked unpack unpacks unpacking unfold unfolds unfolded unfolding untie unties undo undone
    unleash unleashed unleashes unravel unwind unwinds unrest
    """
)
"""Words that begin or end like negative ones but are not."""


def _both_ways(pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    for left, right in pairs:
        yield left, right
        yield right, left


def _partners(pairs: Iterable[tuple[str, str]]) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for left, right in _both_ways(pairs):
        found.setdefault(left, set()).add(right)
    return {word: frozenset(others) for word, others in found.items()}


OPPOSITES = _partners(SAFE_OPPOSITES)
"""The opposites of a word, in either direction."""

AFFIX_PARTNERS = _partners(AFFIX_PAIRS)
"""The partners of a word that differ by a negative affix."""

_NEGATIVE_SIDE = ("un", "in", "im", "il", "ir", "dis", "non", "mis")


def has_negative_affix(word: str) -> bool:
    """Tell whether a word carries a negative affix: a listed one, or un..., non-..., ...less by their form."""
    if word in NOT_NEGATIVE:
        return False
    for partner in AFFIX_PARTNERS.get(word, ()):
        if word.startswith(_NEGATIVE_SIDE) and any(word == prefix + partner for prefix in _NEGATIVE_SIDE):
            return True
        if word.endswith("less") and not partner.endswith("less"):
            return True
    if word.startswith("non-") or (word.startswith("non") and len(word) > 7):
        return True
    if word.endswith("less") and len(word) > 6:
        return True
    is_un = word.startswith("un") and not word.startswith(("under", "uni", "unti"))
    return is_un and len(word) > 5 and word.endswith(_UN_ENDINGS)


_UN_ENDINGS = (
    "ed",
    "able",
    "ible",
    "ful",
    "fully",
    "ing",
    "ly",
    "al",
    "ive",
    "ous",
    "wn",
    "en",
    "y",
    "ic",
    "ent",
    "ant",
)
