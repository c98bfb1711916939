"""Words that the rules put for others: opposites and affixes that hold in most sentences, with what forbids them."""

from __future__ import annotations

from jina_data.english.texts import listed

_PEOPLE = listed(
    """
    man woman boy girl person people men women lady gentleman guy couple child children kid kids dog cat horse
    adult couple ladies gentlemen guys boys girls baby fellow male female
    """
)


def _directed(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in text.split():
        left, sign, right = pair.partition(">")
        if not sign:
            left, _, right = pair.partition("/")
            found[right] = left
        found[left] = right
    return found


GENDER = _directed(
    """
    man/woman men/women boy/girl boys/girls male/female males/females husband/wife father/mother son/daughter
    brother/sister brothers/sisters gentleman/lady gentlemen/ladies guy>girl guys>girls actor/actress
    """
)
"""Persons put for others: only where nobody else in the text would get mixed up with them."""

KIN = listed("father mother son daughter brother sister brothers sisters husband wife")
"""Persons who are somebody's: a pronoun beside one may be of that one."""

OPPOSITES = _directed(
    """
    indoors/outdoors indoor/outdoor inside/outside upstairs/downstairs uphill/downhill standing/sitting stands/sits
    asleep/awake sleeping>awake younger/older youngest/oldest young>old closed>open opened/closed opens/closes
    big/small bigger/smaller biggest/smallest large/small larger/smaller largest/smallest huge>tiny giant>tiny
    tiny>huge
    tall>short taller>shorter tallest>shortest happy/sad happily/sadly smiling/frowning smiles/frowns
    laughing>crying crying>laughing hot/cold warm/cool wet/dry sunny>cloudy cloudy>sunny daytime/nighttime
    alive/dead rich/poor wealthy>poor easy/difficult easily>hardly easier/harder hard>easy simple>complicated
    complicated>simple fast/slow quickly/slowly faster/slower fastest/slowest quick>slow early/late earlier/later
    success/failure succeeded/failed succeeds/fails successful>unsuccessful increase/decrease increased/decreased
    increases/decreases increasing/decreasing higher/lower highest/lowest high/low won>lost wins>loses
    winning>losing victory/defeat accepted/rejected accepts/rejects accepting/rejecting accept/reject
    approved>rejected approves>rejects allowed>forbidden allows>forbids allow>forbid forbidden>allowed
    began/ended begins/ends started>finished starts>finishes arrived>departed arrives>departs arriving>departing
    entered>left enters>leaves entering>leaving bought/sold buys/sells buying/selling buy/sell loved/hated loves/hates
    remembers/forgets remembered/forgot pushing/pulling pushes/pulls pushed/pulled push/pull included>excluded
    includes>excludes including>excluding improved/worsened improves/worsens improving/worsening
    strengthened/weakened strengthens/weakens supported/opposed supports/opposes supporters/opponents
    acquitted/convicted guilty/innocent arrested>released jailed>freed hired>fired northern/southern eastern/western
    north/south northeast>southwest northwest>southeast southeast>northwest southwest>northeast
    former/current beautiful>ugly ugly>beautiful strong/weak stronger/weaker strongest/weakest good/bad
    better/worse best/worst great>terrible excellent>terrible terrible>excellent clean/dirty safe>dangerous
    dangerous>safe safely>dangerously cheap>expensive expensive>cheap private/public true>false false>true wrong>right
    correct>incorrect similar>different common>rare rare>common frequently>rarely often>rarely usually>rarely
    rarely>often major/minor majority/minority maximum/minimum before/after above/below noisy/quiet loud>quiet
    loudly/quietly crowded>deserted deserted>crowded busy>quiet bright>dark dark>bright thin/thick wide/narrow
    deep/shallow heavy>light smooth/rough healthy>sick sick>healthy brave>cowardly generous>stingy polite>rude
    rude>polite
    friendly>hostile lazy>diligent positive/negative optimistic/pessimistic permanent/temporary ancient>modern
    modern>ancient domestic/foreign urban/rural natural>artificial artificial>natural black/white together>apart
    vertical/horizontal talking>silent silent>talking naked>clothed fat>thin attractive>ugly smart>stupid
    intelligent>stupid stupid>intelligent wise>foolish foolish>wise bored>excited excited>bored boring>exciting
    exciting>boring interesting>boring funny>serious tired>energetic hungry>full drunk>sober sober>drunk relaxed>tense
    angry>calm attended>missed criticized>praised praised>criticized banned>allowed
    bans>allows reduced>increased reduces>increases reduce>increase expanded>shrunk expands>shrinks
    expanding>shrinking
    expand>shrink survived>died survives>dies joined>left joins>leaves joining>leaving attacked>defended
    confirmed>denied confirms>denies denied>confirmed denies>confirms admitted>denied admits>denies
    unlikely>likely likely>unlikely suspended>reinstated injured>unharmed wounded>unharmed
    unharmed>injured gained>lost
    """
)
"""One opposite to put for a word."""

OLD = {"old": ("young", _PEOPLE, "new")}
"""Of people and animals another opposite than of things."""

AFFIXES = _directed(
    """
    happy/unhappy happily>unhappily able/unable aware/unaware available>unavailable comfortable/uncomfortable
    common>uncommon uncommon>common conscious/unconscious employed/unemployed
    equal/unequal familiar>unfamiliar unfamiliar>familiar friendly/unfriendly healthy/unhealthy helpful/unhelpful
    important>unimportant interested>uninterested interesting>uninteresting likely/unlikely lucky/unlucky
    necessary/unnecessary pleasant/unpleasant popular/unpopular
    possible/impossible predictable/unpredictable realistic/unrealistic reasonable/unreasonable
    reliable/unreliable safe/unsafe satisfied>dissatisfied dissatisfied>satisfied stable/unstable
    successful/unsuccessful
    successfully>unsuccessfully suitable/unsuitable sure>unsure unsure>sure true>untrue usual/unusual
    usually>unusually
    useful/useless willing/unwilling known>unknown unknown>known accurate/inaccurate accurately>inaccurately
    adequate/inadequate appropriate/inappropriate capable/incapable
    incomplete>complete consistent/inconsistent convenient/inconvenient correct/incorrect
    correctly/incorrectly dependent/independent effective/ineffective efficient/inefficient eligible/ineligible
    expensive/inexpensive frequent/infrequent secure/insecure
    significant>insignificant sufficient/insufficient valid/invalid visible/invisible
    mature/immature patiently>impatiently practical/impractical polite/impolite
    legal/illegal legally/illegally legitimate>illegitimate logical/illogical rational/irrational
    relevant/irrelevant agree/disagree
    agreed/disagreed
    agrees/disagrees agreeing/disagreeing encouraged>discouraged encourages>discourages encouraging>discouraging
    encourage>discourage discouraged>encouraged honest/dishonest loyal/disloyal obeys/disobeys obeyed/disobeyed
    respectful/disrespectful careful>careless
    careless>careful carefully>carelessly harmful/harmless hopeful>hopeless hopeless>hopeful meaningful>meaningless
    painful>painless powerful>powerless powerless>powerful constitutional/unconstitutional ethical/unethical
    fair>unfair unfair>fair fairly>unfairly unfairly>fairly clear>unclear unclear>clear
    armed/unarmed dissatisfied>satisfied
    """
)
"""One partner with or without a negative affix to put for a word."""

LINKING = listed(
    """
    is are was were am be been being become became becomes seem seems seemed look looks looked feel feels felt sound
    sounds sounded remain remains remained very quite really extremely always still now it's that's he's she's
    they're you're i'm
    """
)
"""Words behind which an adjective says how something is."""

BESIDE_NOUNS = listed(
    """
    happy unhappy comfortable uncomfortable friendly unfriendly healthy unhealthy safe unsafe useful useless popular
    unpopular expensive inexpensive successful unsuccessful reliable unreliable powerful powerless important pleasant
    unpleasant unusual helpful unhelpful harmful harmless careful careless hopeful hopeless honest dishonest visible
    polite impolite lucky unlucky effective ineffective efficient inefficient significant accurate inaccurate realistic
    unknown unfamiliar unarmed armed employed unemployed unhappy dishonest immature fair unfair appropriate
    """
)
"""Adjectives whose partner by affix may stand before a noun as well."""

NEXT_FORBIDS: dict[str, frozenset[str]] = {
    word: frozenset(following.split())
    for word, following in {
        "white": "wine house rice water bread tiger collar board paper",
        "black": "belt market pepper hole friday bear panther and",
        "high": "command pressure school five speed schools court rise end street tech profile level chair chairs "
        "school's fives jump",
        "low": "income cost level rise pressure command",
        "hot": "seat spring springs dog dogs air tub chocolate sauce",
        "cold": "war case",
        "fast": "food asleep",
        "new": "york year zealand orleans jersey mexico england delhi hampshire year's testament",
        "good": "luck morning night deal samaritan friday",
        "great": "terror britain deal number many wall depression white lakes dane",
        "best": "friend friends known selling western buy picture of actor",
        "open": "field fields air area water ocean space road mind plain range source grassy market court",
        "standing": "ovation next water",
        "stands": "for to in out up accused by",
        "sits": "on atop",
        "sleeping": "bag bags",
        "talking": "to about on with into over and at",
        "dead": "end line sea",
        "major": "league general",
        "common": "wealth law sense man people",
        "hard": "currency cash drive hat hats rock disk copy at by work working hit",
        "deep": "fried sea dish freeze south",
        "smart": "phone phones tv watch",
        "light": "bulb bulbs house",
        "public": "opinion school schools relations radio prosecutor sector health service",
        "private": "sector school schools equity parts",
        "domestic": "violence product gross abuse",
        "foreign": "direct language languages trade minister affairs ministry secretary exchange policy",
        "natural": "gas resources history disaster selection disasters",
        "late": "father husband wife president singer actor",
        **dict.fromkeys(("failed", "fails", "succeeds", "succeeded"), "to in"),
        **dict.fromkeys(("boy", "girl"), "band bands scout scouts"),
        "minor": "league leagues",
        "minimum": "wage wages",
        "maximum": "security",
        "pulled": "pork out up over off from",
        "pulling": "out up over off from",
        "pulls": "out up over off from",
        "push": "for up back",
        "pushing": "for up back",
        "pushed": "for up back",
        "entered": "into",
        "enters": "into",
        "friendly": "match matches against is with",
        "gained": "entry access fame",
        "suspended": "in from by over above on for",
        "together": "with",
        "before": "long the court parliament a judge him her",
        "after": "all a school",
        "north": "korea america carolina dakota korean sea pole west east african american",
        "south": "korea africa america carolina dakota korean african american east west pole australia",
        "northern": "ireland lights",
        "eastern": "conference",
        "western": "conference union",
        "negative": "impact",
        "better": "than known off",
        "worse": "off",
        "wins": "over and",
        "won": "over t",
        "sold": "out",
        "quiet": "down",
        "started": "to working his her as with off",
        "starts": "to as with off",
        "began": "to with as",
        "begins": "to with as",
        "closed": "circuit door doors on at up",
        "opened": "fire for up his her the at",
        "increase": "the",
        "true": "love blood detective",
        "thin": "air",
        "clean": "up out and shaven energy",
        "heavy": "metal weight duty",
        "dry": "cleaning",
        "cool": "down",
        "warm": "up",
        "hungry": "for",
        "included": "on",
        "former": "yugoslavia",
        "current": "affairs",
        "complete": "the a his her their with",
        "perfect": "for the a",
        "clear": "the a of skies out up sky",
        "certain": "a people types amount parts things",
        "known": "as for",
        "agreed": "to on upon",
        "agrees": "to",
        "agree": "to",
        "agreeing": "to",
        "fair": "and grounds",
        "interested": "",
        "sure": "",
        "secure": "the a",
        "usual": "",
        "responsible": "",
        "regular": "season",
        "native": "american",
        "smiling": "at",
        "young": "living",
        "giant": "panda slalom",
        "early": "childhood",
    }.items()
}
"""What may not follow a word that is to be swapped."""

BEFORE_FORBIDS: dict[str, frozenset[str]] = {
    word: frozenset(before.split())
    for word, before in {
        "old": "years year months month days weeks year-old",
        "late": "the too",
        "public": "the go goes going went",
        "friendly": "user",
        "silent": "very",
        "private": "a",
        "after": "look looks looking named soon day year shortly run goes go took take taken ever",
        "before": "day night ever year week",
        "black": "and",
        "white": "and",
        "good": "very",
        "high": "an",
        "best": "at",
        "hard": "work works working worked",
        "inside": "",
        "north": "the",
        "south": "the",
        "early": "an",
        "positive": "tested tests test",
        "increase": "the an",
        "clear": "made makes make",
        "sure": "make makes made making for",
        "certain": "a",
        "wrong": "gone went goes what",
        "great": "so",
        "fast": "how",
        "known": "well best better formerly also previously commonly",
        "usual": "as",
        "together": "get come put work came gets comes",
        "hot": "red",
        "suspended": "a the",
        "injured": "been",
        "wounded": "been",
        "remembered": "be been is are was were",
        "better": "to",
        "slow": "to help helped helps will can could would",
        "lower": "to will can could would",
        "likely": "most more",
        "opened": "being",
    }.items()
}
"""What may not stand before a word that is to be swapped."""

NEVER_BEFORE_FORBIDS = listed("more most less least so too as how")
SAID_OF_SUBJECTS = listed("wrong right injured wounded unharmed")
NOUNS_TOO = listed("safe cold light major minor public good dark")
VALUES = listed("good bad great terrible excellent better worse beautiful ugly")
"""Words of which one being there does not keep its opposite from being there, too."""


WITH_FORBIDS = listed(
    """
    filled covered playing plays play played talking talks talk surrounded lined dealing along together
    decorated topped loaded packed stuffed equipped adorned crowded mixed interacting fighting meet meets met
    agree agreed agrees working works work help compared associated charged begin begins began start starts
    started up out over away ends deal deals dealt struggling struggles fought sign signed signs sharing shared
    shares compete competing competes live living lives charged infected affected diagnosed patterned speaks
    speaking spoke speak cope coping meeting conversation interview chatting visiting visits hanging fun contact
    relationship problem problems familiar popular happy pleased satisfied concerned faced faces presented
    provided covered dance dancing dances cooperate contract ties talks match deal match game date dealing
    wrestling wrestles racing races flirting in conjunction accordance line keeping interviewed replaced wrong
    provide provides supply supplies strewn littered cluttered dotted armed
    """
)
"""Words behind which "with" is no "having" that "without" could replace."""

POSTURES = listed("standing sitting stands sits asleep awake sleeping smiling frowning happy sad young")
LIVING = _PEOPLE | listed(
    """
    player players worker workers student students toddler toddlers teenager teenagers crowd group family team cats dogs
    horses animal animals bird birds cow cows zebra zebras giraffe giraffes elephant elephants bear bears sheep puppy
    puppies kitten he she they someone somebody everyone baby babies surfer skateboarder skier cyclist musician band
    bride groom friends soldier soldiers officer police tourists passengers audience spectators performers artist chef
    waiter teacher mother father son daughter brother sister individual individuals human humans male males female
    females rider batter catcher
    """
)
"""Who can stand, sit or sleep: a vase that is not standing may be sitting."""

PERSONAL = listed(
    """
    him her them me us you it each one another himself herself themselves whom which what
    """
)
PEOPLE = _PEOPLE
