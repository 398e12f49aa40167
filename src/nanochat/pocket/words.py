"""Plain English words for spelling and counting, and made-up words that turn copying into a skill.

Made-up words matter: every word of the list becomes one token, so a held-out word would arrive as pieces that
training never showed. Random syllables and spliced words keep such pieces in use.
"""

from __future__ import annotations

from collections.abc import Sequence

from nanochat.pocket.draw import Rnd, pick


def _listed(text: str) -> tuple[str, ...]:
    return tuple(text.split())


WORDS: tuple[str, ...] = _listed(
    """
    able about accept across action active actor address adult advice afternoon again agree ahead
    airport album alarm almond almost alone along already also amount amuse anchor angle angry animal
    ankle annual answer apart apple april apron arch area arena argue arm armchair army around arrange
    arrive arrow article artist aside ask atlas attack attic attend august aunt author autumn avenue
    avoid award away baby back bacon badge bagel bake baker balance balcony ball balloon bamboo banana
    band bank barber bargain bark barrel base basic basin basket bath battery battle beach beacon bead
    beam bean bear beard beast beaver bed bedroom beef beetle beggar begin behave behind bell belong
    below belt bench bend berry beside better between beyond bicycle bird birth biscuit bite bitter
    blanket blaze bless blind blink block blossom blow blue board boat body boil bold bolt bone bonus
    book boot border borrow boss bottle bottom bounce bowl box boy brain branch brass brave bread break
    breakfast breath breeze brick bridge brief bright bring broken bronze broom brother brush bubble
    bucket buckle budget build bull bundle burger burn bus bush business busy butcher butter button
    cabbage cabin cable cactus cake calendar calm camel camera camp canal candle candy cannon canoe
    canvas canyon captain car caravan card care cargo carpet carriage carrot carry cart cartoon carve
    castle casual catch cathedral cattle cause cave ceiling celery cellar cement center central century
    cereal certain chain chair chalk chamber champion chance change channel chapel chapter charm chart
    chase cheap check cheek cheer cheese chef cherry chess chest chicken chief child chimney chin
    chocolate choice choose chorus church cinema circle circus citizen city clap class claw clay clean
    clear clerk clever cliff climate climb clock cloth cloud clover clown club coach coast coat cobweb
    coconut coffee coin collar collect college colony column comb comet comfort comic common compass
    concert cook cookie cool copper copy coral cord corn corner correct cottage cotton couch cough
    council count country couple courage course court cousin cover cradle craft crane crash crayon cream
    creature creek crew cricket crime crisp crop cross crowd crown cruel crumb crust cry crystal
    cucumber culture cup cupboard curious curl curry curtain curve cushion custom cycle daily dairy
    daisy damage damp dance danger dare dawn deal dear debate decade decide deck decorate deer defend
    degree delay delight deliver dentist depart depend depth desert design desk dessert detail devil
    diamond diary dice dictionary diet dig digital dinner direct dirt dish display distance ditch dive
    divide doctor doll dollar dolphin domino door double dough dove dozen draft dragon drama draw drawer
    dream dress drift drill drink drive drop drum dry duck dust duty dwarf eager eagle ear early earn
    earth easel east easy echo edge editor effort elbow elder electric elegant elevator embark emerald
    empire employ empty enemy energy engine enjoy enough enter entire envelope equal error escape essay
    evening event every evil exact example except exchange excite excuse exercise exist exit expect
    expert explain explore express extra eye fabric face factory fail faint fair fairy faith falcon fall
    family famous fancy farm farmer fashion father fault favor feast feather feed feel fellow female
    fence fern ferry festival fever fiber fiction fiddle field fierce fight figure file film final
    finger finish fire firm fish fist flag flame flash flat flavor flea fleet flesh flight float flock
    flood floor flour flow flower fluid flute fly foam focus fog fold folk follow food foot football
    force forest forget fork form fortune forward fossil fountain frame freedom freeze fresh friend
    frost frozen fruit fuel funny fur furnace future galaxy gallery gallop game garage garden garlic
    garment gas gate gather general gentle gesture ghost giant gift ginger giraffe girl glacier glad
    glass globe gloomy glory glove glow glue goal goat golden golf gorilla gossip govern gown grace
    grade grain grand grape graph grass grateful gravel gravity gravy great greedy green greet grill
    grin grip ground group grow guard guess guest guide guilty guitar habit hail hair half hall hammer
    hand handle happen harbor hard harvest hat hawk hazel head health heart heat heaven hedge heel
    height helmet help herb herd hero hidden hill hinge history hobby hockey hold hole holiday hollow
    holy honest honey hood hook hope horizon horn hospital host hotel hour hover human humble humor
    hundred hunger hunt hurdle hurry hurt husband hut iceberg idea idle igloo image imagine impact
    import improve inch income indoor infant inform injury ink inn innocent insect inspect instant
    instead insult intend invent invite iron island item ivory ivy jacket jaguar jail jam jaw jealous
    jelly jewel job jog join joke jolly journal journey joy judge juice jump jungle junior jury justice
    keen keep kettle keyboard kick kidney kind kingdom kiosk kiss kitchen kite kitten knee knife knight
    knit knock knot know label labor lace ladder lady lake lamb lamp land language lantern large laser
    lasso later laugh laundry lawn lawyer layer lazy leader leaf league lean learn leather leave lecture
    legal legend lemon lend length lentil leopard lesson letter lettuce level lever liberty library
    license lift limb lime limit line linen lion liquid list listen little lively liver lizard loaf
    lobster local lock locket lodge logic lonely loose lorry lost lotion lounge lovely loyal lucky
    luggage lumber lunch lung luxury machine magazine magic magnet maid mail main major make mammoth
    manage mango manner mansion mantle maple marble march margin marine mark market marriage marry mask
    mass master match math matter mattress maximum maybe mayor meadow meal mean measure meat medal
    medicine medium meet melody melon melt member memory mention menu merchant mercy merry message metal
    meteor method middle mild mile military milk mill mind mineral minor mint minute miracle mirror
    misery mister mistake mitten mix model modern modest moment monkey monster month monument mood moon
    moose morning mosaic mosque moth mother motion motor mount mouth move movie muffin mule muscle
    museum mushroom music mustard mystery myth nail narrow nation native nature naughty navy neat neck
    needle neighbor nephew nerve nest net network neutral newspaper nice nickel niece night noble noise
    noodle normal north nose notebook nothing notice novel nurse nut nylon oak oasis oat obey object
    ocean october octopus offer office officer often olive omelet onion opera opinion orange orbit
    orchard orchestra order organ origin ostrich otter oven owner oxygen oyster pack paddle page pail
    pain paint pair pajamas palace palm pancake panda panel panic pantry paper parade parcel pardon
    parent park parrot parsley part partner party pass pasta paste pastry patch path patient patrol
    pattern pause pavement payment peace peach peacock peanut pearl peasant pebble pedal pelican pencil
    penguin people pepper perfect perfume period permit person petal phone photo piano picnic picture
    piece pigeon pillar pillow pilot pinch pine pink pioneer pipe pirate pistol pitch pity pizza place
    plain plan plane plant plaster plastic plate platform play plead pleasant please plenty plot plow
    plug plumber pocket poem poet point poison polar pole police polish polite pond pony pool popcorn
    poppy popular porch port portrait position possible post poster potato pottery pouch pound powder
    power practice praise prayer preach precious prefer prepare present press pretty prevent price pride
    priest prince princess print prison private prize problem process produce profit program promise
    proper protect proud prove provide public pudding pull pulse pump pumpkin punch punish pupil puppet
    pure purple purpose purse puzzle pyramid quality quantity quarrel quarter queen quick quilt quit
    quiz rabbit raccoon race racket radar radio radish raft railway rain rainbow raise raisin ranch
    random range rapid rare raspberry rather rattle raven razor reach react ready real reason rebel
    receive recipe record recover reduce reef refuse region regret regular relax relief remain remark
    remember remind remote remove rent repair repeat reply report rescue resist rest restaurant result
    retire return reveal reward rhythm ribbon rice riddle ride rifle right ring ripe rise risk rival
    river road roast robber robe robin robot rock rocket roll roof room root rope rose rotten round
    route routine royal rubber rubbish rude rug rugby ruin rule ruler rumor runner rural rush sack
    sacred saddle safari safety sail sailor saint salad salary sale salmon salt sample sand sandal
    sandwich satin sauce saucer sausage save saxophone scale scarecrow scarf scatter scene school
    science scissors scooter score scout scrape scratch scream screen screw script sculpture season seat
    second secret section seed select senior sense sentence separate serious servant service session
    settle several shade shadow shake shallow shame shape share shark shed sheet shelf shell shelter
    shepherd shield shift shine ship shirt shock shoe shop shore shoulder shout shovel shower shrimp
    shut sick side siege sight sign signal silence silk silly silver similar simple since sing singer
    single sink siren sister skate sketch skill skin skirt skull slave sled sleep sleeve slice slide
    slipper slope slot smart smell smile smoke smooth snack snail sneeze snow soap soccer social socket
    sofa soft soil soldier solid solve song soon sorry soul sound soup source south space spade spare
    spark sparrow speak spear special speech speed spell spend spice spider spike spin spinach spirit
    splash split spoil sponge spoon sport spot spray spread spring square squash squirrel stable stadium
    staff stage stair stamp stand star start state station statue steak steal steam steel steep stem
    step stick sticker stiff still sting stir stock stomach stone stool store storm story stove stranger
    straw strawberry stream street stretch strict string stripe stroll struggle student studio study
    stuff stupid style subject submarine subway success sudden suffer sugar suggest suit suitcase summer
    summit sunflower sunrise sunset supper supply support suppose surface surprise swallow swamp swan
    swear sweater sweep swift swim swing switch sword syrup system table tablet tackle tail tailor
    talent talk tango tank tape target task taste taxi teacher team tear telephone temper temple tender
    tennis tent term terrace terrible test text texture thank theater theme theory thermos thief thigh
    thing think thirst thorn thread throat throne thumb thunder ticket tide tidy tiger timber time tiny
    tire tissue title toast tobacco today toddler toffee toilet tomato tongue tool tooth topic torch
    tornado total touch tough tour tourist towel tower town trace track tractor trade traffic trail
    train traitor transfer trap travel tray treasure treat treaty tree tremble trial triangle tribe
    trick trip trophy tropical trouble trousers trout truck trumpet trunk trust truth tulip tunnel
    turkey turtle tutor twelve twig twin twist type ugly umbrella uncle uniform union unique unit
    universe upset urban urgent useful usual vacant vacation valley value vanilla vapor vase vegetable
    vehicle veil velvet verb verse vessel victim victory video view village vinegar violet violin virtue
    visa visit visitor vitamin voice volcano volume vote vowel voyage wagon waist wait waiter wake walk
    wall wallet walnut walrus wander want ware warm warning wash wasp waste watch water waterfall wave
    wealth weapon weather weave wedding weed week weight welcome wheat wheel whip whisker whisper
    whistle whole wicked widow width wild willow wind window windmill wine wing winner winter wire
    wisdom wise wish witch witness wizard wolf woman wonder wood wool word work worker world worm worry
    worth wound wrap wreck wrist writer wrong yacht yard yawn year yellow yesterday yogurt yolk youth
    zebra zero zipper zone
    """
)

_STARTS = (
    *_listed("b bl br c ch cl cr d dr f fl fr g gl gr h j k l m n p pl pr qu r s sc sh sk sl sm sn sp st str sw"),
    *_listed("t th tr v w z"),
    "",
)
_VOWELS = _listed("a e i o u a e i o ea ee ai oo ou")
_ENDS = (*_listed("b ck d g l ll m n nd ng nt p r rn rt s ss st t tt x"), *[""] * 9)


def made_up_word(rnd: Rnd) -> str:
    """A word of one to three random syllables, 3 letters or more: `trovin`, `slea`, `bamporeng`."""
    word = "".join(pick(rnd, _STARTS) + pick(rnd, _VOWELS) + pick(rnd, _ENDS) for _ in range(1 + int(rnd() * 2.6)))
    return word if len(word) > 2 else word + pick(rnd, _STARTS[:-1]) + pick(rnd, _VOWELS)


def spliced_word(rnd: Rnd, words: Sequence[str]) -> str:
    """The beginning of one word and the end of another: `camtern` of camera and lantern."""
    while True:
        first, second = pick(rnd, words), pick(rnd, words)
        word = first[: 1 + int(rnd() * (len(first) - 1))] + second[int(rnd() * (len(second) - 1)) :]
        if 3 <= len(word) <= 11:
            return word
