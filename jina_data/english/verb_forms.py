"""The forms of common English verbs: enough to put "does not" in front of one, and to take it away again."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from jina_data.english.texts import listed

_REGULAR = """
abandon absorb abuse accept accompany accuse achieve acknowledge acquire acquit act adapt add address adjust admire
admit adopt advance advertise advise affect afford agree aim air alert allege allow alter amend amuse analyze anchor
announce annoy answer apologize appeal appear apply appoint apprehend approach approve argue arm arrange arrest arrive
ask assassinate assault assert assess assign assist assume assure attach attack attain attempt attend attract
attribute auction authorize avoid await award axe back backfire bake balance ban bark base bat bathe battle beg behave
believe belong benefit blame blast blend bless block board boast boil bolster bomb boost bore bother bounce bow box
brag brand breach breathe brew brush bully bump burn bury bus buzz calculate call camp campaign cancel cap capture
care carry carve cash cater cause celebrate center centre certify challenge champion change charge chart chase chat
cheat check cheer chew choke chop circle cite claim clap clarify clash classify claw clean clear click climb clip
close coach coin collaborate collapse collect collide color comb combat combine comfort command commence comment
commission commit communicate compare compensate compete compile complain complement complete comply compose compress
comprise conceal concede conceive concentrate concern conclude condemn conduct confess confirm confront confuse
connect conquer consider consist consolidate constitute construct consult consume contact contain contend contest
continue contract contribute control convert convict convince cook cool cooperate cope copy correct cough count
counter cover crack crash crave crawl create credit criticize cross crouch crowd cruise crush cry curb curl customize
cycle damage dance dangle dare dash date debate debut decide declare decline decorate decrease dedicate deem defeat
defend defer define defraud delay delete deliver demand demolish demonstrate dent deny depart depend depict deploy
deposit deprive derail derive descend describe desert deserve design desire destroy detail detain detect deter
determine devastate develop devote dictate die differ diminish dine dip direct disable disagree disappear disappoint
disclose discourage discover discuss dislike dismiss dispatch displace display dispute distribute dive divide divorce
dock dodge dominate donate double doubt download draft drag drain dress drift drill drop drown dry dump earn ease edge
edit educate elect elevate eliminate embark embed embrace emerge emphasize employ enable enact encompass encounter
encourage end endanger endorse endure enforce engage enhance enjoy enlist enroll ensure enter entertain entitle
envision equip erupt escape establish estimate evacuate evaluate evolve examine exceed exchange exclude excuse execute
exempt exercise exhaust exhibit exist exit expand expect expel experience expire explain explode exploit explore
export expose express extend extract face fade fail faint falter fashion fasten favor fear feature fetch file fill
film finance fine finish fire fish fix flap flash flatten flavor flip float flock flood flow focus foil fold follow
force forge form foster found frame freelance frown fry fuel fulfil fulfill function fund furnish gain gallop gamble
gather gaze generate glance glide govern grab grace graduate grant grasp graze greet grill grin grip groom guarantee
guard guess guide halt halve hammer hand handle happen harass harm harvest hate haul head heal heat help hike hinder
hire honor hop hope host hover hug hunt hurry identify idle ignore illustrate imagine implement imply import impose
impress improve inaugurate incite include incorporate increase incur indicate infect inflict influence inform inhabit
inherit initiate injure insert insist inspect inspire install instruct insult insure integrate intend intensify
interact interest interfere interpret interrupt intervene interview introduce invade invent invest investigate invite
invoke involve iron isolate issue jail jog join joke jostle judge juggle jump justify kayak kick kidnap kill kiss
knock label lack lag land lash last laugh launch leak leap learn lease lecture level license lick lift like limit line
link list listen live load lobby locate lock lodge look loom loot lounge love lower maintain manage manufacture march
mark market marry match matter measure melt mention merge migrate mimic minimize mirror miss misuse mix moan mock
modify monitor motivate mount mourn move mow multiply murder name nap narrate narrow need neglect negotiate nest nod
nominate note notice notify nurse obey object oblige observe obtain occupy occur offer open operate oppose order
organize originate oust outline overhaul overlook overturn overwhelm owe own pack paddle paint parade park participate
partner pass paste pat patrol pause pave peak pedal peek peel peer perch perform permit persuade phone photograph pick
picture pile pin pitch place plan plant play plead please pledge plot plow plunge point poke polish poll pop populate
portray pose position possess post postpone pound pour practice praise pray preach predict prefer premiere prepare
present preserve press presume pretend prevail prevent print probe proceed process proclaim produce profit program
promise promote prompt pronounce propose prosecute protect protest prove provide publish pull pump punch punish
purchase pursue push quell question quote race raid raise rally rank rap rate rattle reach react reaffirm realize
rebound recall receive reckon recognize recommend reconsider record recount recover recruit recycle redeem reduce
refer reflect refrain refuse refute regain regard register regret regulate reign reinforce reiterate reject relate
relax release relocate rely remain remember remind remove render renew renovate rent repair repeat replace replicate
reply report represent request require rescue resemble reserve reshape reside resign resist resolve respond rest
restore restrict result resume retail retain retire retract retreat return reunite revamp reveal reverse revert review
revise revive revolve reward rinse roam roar roast rob rock roll rotate row rub ruin rule rush sack sail salute sample
sanction satisfy save scale scare schedule score scrap scrape scratch scream screen scrub seal search season secure
seem seize select sentence separate serve settle shape share shatter shave shelter shift ship shop shout shovel shower
shrug shuffle sign signal simulate sip skate skateboard ski skip slam slash slice slip slow smash smell smile smoke
smuggle snap snatch sneeze sniff snow snowboard soak soar solve sort sound span spare spark specify splash spoil
sponsor spot spray sprint spy squat stab stack stage stain stall stamp stare start state stay steer stem step stir
stop store straddle strap stream strengthen stress stretch stroll struggle study stuff stumble stun submit succeed
suck sue suffer suggest suit sum summon supervise supplement supply support suppose surf surface surge surpass
surprise surrender surround survive suspect suspend sustain swamp swap sway swerve swirl switch symbolize tackle
tailor talk tap target taste tattoo tax team tease tend terminate test testify thank thrash threaten thrive thwart tie
tighten tip toast top topple torture toss total touch tour tow trace track trade trail train trample transfer
transform translate transmit transplant transport trap travel treat trek trick trigger trim trip triple triumph trust
try tug tumble tune turn type undermine unite unload unveil update upgrade upload urge use usher utilize vacate
vacation value vanish vary veto vie view violate visit volunteer vote vow wade wage wait waive walk wander want warm
warn warrant wash watch water wave weaken weigh welcome whack whip whisper whistle widen wield wink wipe wish witness
wonder work worry worsen wrap wreck wrestle yawn yearn yell yield zoom decode strangle
"""

_IRREGULAR = """
arise-arose-arisen awake-awoke-awoken bear-bore-born beat-beat-beaten become-became-become begin-began-begun
bend-bent-bent bet-bet-bet bid-bid-bid bind-bound-bound bite-bit-bitten bleed-bled-bled blow-blew-blown
break-broke-broken breed-bred-bred bring-brought-brought broadcast-broadcast-broadcast build-built-built
burst-burst-burst buy-bought-bought cast-cast-cast catch-caught-caught choose-chose-chosen cling-clung-clung
come-came-come cost-cost-cost creep-crept-crept cut-cut-cut deal-dealt-dealt dig-dug-dug draw-drew-drawn
drink-drank-drunk drive-drove-driven eat-ate-eaten fall-fell-fallen feed-fed-fed feel-felt-felt fight-fought-fought
find-found-found flee-fled-fled fling-flung-flung fly-flew-flown forbid-forbade-forbidden forecast-forecast-forecast
forget-forgot-forgotten forgive-forgave-forgiven freeze-froze-frozen get-got-gotten give-gave-given go-went-gone
grind-ground-ground grow-grew-grown hang-hung-hung hear-heard-heard hide-hid-hidden hit-hit-hit hold-held-held
hurt-hurt-hurt keep-kept-kept kneel-knelt-knelt know-knew-known lay-laid-laid lead-led-led leave-left-left
lend-lent-lent let-let-let lie-lay-lain light-lit-lit lose-lost-lost make-made-made mean-meant-meant meet-met-met
mistake-mistook-mistaken overcome-overcame-overcome overtake-overtook-overtaken pay-paid-paid put-put-put
quit-quit-quit read-read-read rebuild-rebuilt-rebuilt ride-rode-ridden ring-rang-rung rise-rose-risen run-ran-run
say-said-said see-saw-seen seek-sought-sought sell-sold-sold send-sent-sent set-set-set sew-sewed-sewn
shake-shook-shaken shed-shed-shed shine-shone-shone shoot-shot-shot show-showed-shown shrink-shrank-shrunk
shut-shut-shut sing-sang-sung sink-sank-sunk sit-sat-sat sleep-slept-slept slide-slid-slid sling-slung-slung
speak-spoke-spoken speed-sped-sped spend-spent-spent spin-spun-spun spit-spat-spat split-split-split
spread-spread-spread spring-sprang-sprung stand-stood-stood steal-stole-stolen stick-stuck-stuck sting-stung-stung
stink-stank-stunk strike-struck-struck strive-strove-striven swear-swore-sworn sweep-swept-swept swim-swam-swum
swing-swung-swung take-took-taken teach-taught-taught tear-tore-torn tell-told-told think-thought-thought
throw-threw-thrown undergo-underwent-undergone understand-understood-understood undertake-undertook-undertaken
uphold-upheld-upheld upset-upset-upset wake-woke-woken wear-wore-worn weave-wove-woven weep-wept-wept win-won-won
wind-wound-wound withdraw-withdrew-withdrawn withstand-withstood-withstood write-wrote-written
oversee-oversaw-overseen mislead-misled-misled foresee-foresaw-foreseen do-did-done have-had-had
offset-offset-offset redo-redid-redone resell-resold-resold outdo-outdid-outdone overthrow-overthrew-overthrown
stride-strode-stridden partake-partook-partaken
"""

_DOUBLING = listed(
    """
    admit ban bat beg chat chop clap clip commit compel control cap chip confer defer deter dip drag drip drop
    drum dub equip expel fit flap flip grab grin grip hop hug jog knit lag map mop nap nod occur omit outwit pat
    patrol pet pin plan plot plug pop prefer propel put quit rap rebel refer regret rip rob rub scan scrap scrub
    ship shop shrug sip skip slam slap slip snap spot squat stab star stem step stir stop strap stun submit swap
    tag tap tip top transfer transmit trap trek trim trip tug wed whip wrap zip acquit dim slot spur span trod
    """
)
"""Regular verbs whose last consonant is doubled before -ed and -ing."""

STATIVE_PARTICIPLES = listed(
    """
    parked seated dressed covered filled surrounded placed topped displayed stacked loaded piled decorated shown
    gathered mounted attached lined located posed perched equipped painted made set built tied lit served
    wrapped cut sliced arranged plugged situated lined laid held seen taken written driven drawn worn eaten hung
    fenced crowded cooked furnished stuffed based named called known born given
    """
)
"""Participles that in a caption without a verb say how something is."""


class Forms(NamedTuple):
    """The forms of one verb."""

    base: str
    third: str
    past: str
    participle: str
    gerund: str


@cache
def verbs() -> dict[str, Forms]:
    """Return the forms of every known verb, by its base."""
    found = {}
    for base in _REGULAR.split():
        past = _past(base)
        found[base] = Forms(base, _third(base), past, past, _gerund(base))
    for entry in _IRREGULAR.split():
        base, past, participle = entry.split("-")
        found[base] = Forms(base, _third(base), past, participle, _gerund(base))
    return found


@cache
def _by_form() -> dict[str, tuple[Forms, ...]]:
    """Return the verbs that have a form, likelier ones first."""
    found: dict[str, list[Forms]] = {}
    for forms in verbs().values():
        for form in dict.fromkeys(forms):
            found.setdefault(form, []).append(forms)
    return {form: tuple(of_form) for form, of_form in found.items()}


def base_of(word: str) -> str | None:
    """Return the base form of a verb in any form, None for a word that is none that is known."""
    found = _by_form().get(word)
    return found[0].base if found else None


def forms_of(base: str) -> Forms | None:
    """Return the forms of a verb by its base."""
    return verbs().get(base)


@cache
def thirds() -> dict[str, Forms]:
    """Return the verbs by their form in -s."""
    return {forms.third: forms for forms in verbs().values()}


@cache
def pasts() -> dict[str, Forms]:
    """Return the verbs by their past form."""
    found: dict[str, Forms] = {}
    for forms in verbs().values():
        # "found" is the past of find, "lay" that of lie, "saw" that of see: irregular verbs come last and win.
        found[forms.past] = forms
    return found


@cache
def gerunds() -> dict[str, Forms]:
    """Return the verbs by their form in -ing."""
    return {forms.gerund: forms for forms in verbs().values()}


@cache
def participles() -> frozenset[str]:
    """Return the past participles of all verbs."""
    return frozenset(forms.participle for forms in verbs().values())


def _third(base: str) -> str:
    if base in ("do", "go", "undergo", "redo", "outdo", "veto"):
        return base + "es"
    if base == "have":
        return "has"
    if base.endswith(("s", "sh", "ch", "x", "z")):
        return base + ("zes" if base == "quiz" else "es")
    return base[:-1] + "ies" if _has_consonant_y(base) else base + "s"


def _past(base: str) -> str:
    if base.endswith("e"):
        return base + "d"
    if _has_consonant_y(base):
        return base[:-1] + "ied"
    return base + (base[-1] if base in _DOUBLING else "") + "ed"


def _gerund(base: str) -> str:
    if base.endswith("ie"):
        return base[:-2] + "ying"
    if base.endswith("e") and not base.endswith(("ee", "oe", "ye")) and len(base) > 2:
        return base[:-1] + "ing"
    doubled = base in _DOUBLING or base in _DOUBLING_IRREGULAR
    return base + (base[-1] if doubled else "") + "ing"


_DOUBLING_IRREGULAR = listed(
    """
    begin bet bid cut dig forbid forget get hit let put quit rid run set shed shut sit spin spit split swim win
    upset offset
    """
)


def _has_consonant_y(base: str) -> bool:
    return base.endswith("y") and len(base) > 1 and base[-2] not in "aeiou"
