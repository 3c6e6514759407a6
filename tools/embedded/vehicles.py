"""What the sentence and story grammar knows about the 30 means of transportation.

One block a vehicle, one field a line, alternatives separated by `;`:

  label   the category, as in experiments/transportation/sentences.jsonl
  agent   who operates it
  verb    what that person does to it (past tense; the vehicle follows)
  inside  how one is in or on it
  adj     what kind of one it is
  part    parts that can be looked at, touched or break
  place   where it stands when it is not under way
  move    what it does under way (past tense; the vehicle precedes)
  trouble what goes wrong = what someone does about it (past tense; a person precedes the second half)
  sight   what is seen or heard from it
  open    opening sentences of its own ({p} a person, {v} the label)
"""

TEXT = """
label   car
agent   driver; mechanic; owner
verb    drove; steered; started; parked; repaired
inside  in
adj     old; red; little; silver; rusty; family; electric; borrowed
part    engine; steering wheel; trunk; windshield; glove box; rear window; left headlight; radio
place   in the garage; at the gas station; in the driveway; outside the hotel; at a red light; beside the highway
move    rolled down the empty highway; turned onto the coast road; stopped at the crossing; crept through the traffic; climbed the winding road; pulled into the parking lot
trouble a tire went flat on the gravel = changed the wheel in the dark; the engine overheated on the hill = poured cold water into the radiator; the fuel gauge dropped to empty = pushed it to the next gas station; the wipers stopped in heavy rain = cleaned the windshield with a sleeve; the key broke in the lock = opened the door with a bent wire; the brakes began to squeal = slowed down and shifted into low gear
sight   the road curved along the sea; the headlights lit a row of trees; the traffic lights turned green one by one; the engine purred all the way
open    {p} found a letter in the glove box of the {v}.; The {v} needed new tires, but {p} had only ten dollars.; The horn of the {v} would not stop, and the whole street woke up.; {p} turned the key, and the {v} answered with a cough.; Nobody had driven the {v} since {p} moved away.

label   bus
agent   bus driver; inspector; mechanic
verb    drove; caught; missed; boarded; waited for
inside  on
adj     crowded; yellow; late; blue; early; rattling; empty; double-decker
part    front door; back seat; aisle; ticket machine; stop button; rear window; engine; sign
place   at the bus stop; at the depot; in front of the school; at the last stop; at the corner of the market
move    turned into the station; stopped at every corner; rolled through the suburbs; pulled away from the curb; climbed the road to the village; followed its route across town
trouble the doors refused to open = pulled the emergency handle; the engine died between two stops = asked the passengers to push; the ticket machine swallowed the coins = let everyone ride for free; a fallen tree blocked the road = found another route through the hills; the driver lost the way in the fog = read the map aloud from the front seat; the heating failed in the snow = shared blankets and hot tea
sight   schoolchildren sang on the back seats; the stops went by one after another; passengers held on to the straps; rain ran down the wide windows
open    {p} took the same {v} to work every day and always sat in the third row.; The {v} was full, yet one more passenger climbed on.; At the last stop, {p} was still asleep on the {v}.; {p} counted the coins for the {v} twice and was still short.; The route of the {v} had changed, and {p} did not know it.

label   truck
agent   truck driver; loader; mechanic
verb    drove; loaded; unloaded; parked; steered
inside  in
adj     heavy; dusty; red; old; loaded; muddy; blue; huge
part    cab; trailer; cargo bed; bumper; exhaust pipe; load; mirror; horn
place   at the warehouse; at the truck stop; beside the loading dock; in the market square; at the construction site
move    rumbled along the interstate; carried a load of melons to the city; crossed the desert overnight; backed up to the loading dock; pulled its trailer over the pass; splashed through the muddy road
trouble the load began to slip = tied the ropes twice as tight; the trailer stuck in the mud = laid boards under the wheels; a belt snapped under the hood = fixed it with an old stocking; the bridge was too low = let air out of the tires; the brakes grew hot on the descent = stopped at the gravel ramp; a crate of chickens fell open = caught them all before noon
sight   the trailer swayed in the wind; diesel smoke hung in the air; the crates rattled in the back; the long road lay straight ahead
open    {p} loaded the {v} with cement before the sun was up.; The {v} was carrying apples, and half of them were missing.; {p} wrote postcards in the cab of the {v}.; The {v} was too tall for the tunnel by the width of a hand.; {p} had borrowed the {v} to move one piano.

label   motorcycle
agent   rider; mechanic; biker
verb    rode; started; repaired; polished; raced
inside  on
adj     black; old; fast; vintage; loud; chrome; secondhand; red
part    handlebars; exhaust; saddle; headlight; fuel tank; front wheel; throttle; sidecar
place   outside the diner; in the shed; in front of the garage; at the edge of the canyon; under the awning
move    roared down the valley; leaned into every curve; sped past the fields; thundered through the village; raced along the cliff road; growled up the mountain pass
trouble the chain came loose on the bend = tightened it with a borrowed wrench; the front tire hit a nail = patched it beside the road; rain turned the road to glass = slowed down and put both boots out; the fuel tank ran dry = pushed it two miles to a farm; the headlight went out at dusk = followed the tail lights of a truck; the engine would not start = kicked the starter twenty times
sight   the wind tore at the leather jacket; the engine echoed from the rocks; the road was warm and empty; the helmet visor glowed in the sunset
open    {p} put on a helmet and kicked the {v} awake.; The {v} had a sidecar, and in it sat a very calm dog.; {p} learned to ride a {v} on a gravel road.; The exhaust of the {v} shook the windows of the whole street.; {p} crossed three countries on a {v} with one change of clothes.

label   bicycle
agent   cyclist; rider; messenger
verb    rode; pedaled; pushed; repaired; painted
inside  on
adj     green; old; light; squeaky; racing; yellow; borrowed; wobbly
part    pedals; chain; bell; basket; saddle; front wheel; handlebars; spokes
place   against the fence; outside the bakery; in the hallway; by the river path; under the bridge
move    coasted down the lane; wobbled across the square; rolled along the canal; flew past the orchard; climbed the hill in the lowest gear; followed the bike path to the sea
trouble the chain fell off on the hill = put it back with oily fingers; a tire lost all its air = pumped until it was hard again; the brakes were wet and weak = dragged one shoe along the ground; the saddle came loose = rode home standing on the pedals; a dog ran after the wheels = pedaled twice as fast; the front wheel bent in a pothole = straightened it with a stone
sight   the spokes flashed in the sun; the bell rang at every corner; the wind pushed from behind; bread stuck out of the basket
open    {p} delivered newspapers on a {v} with no brakes.; The bell of the {v} sounded like a small bird.; {p} tied a kite to the {v} and started to pedal.; The {v} was far too big for {p}, but it was free.; Somebody had hung flowers on the handlebars of the {v}.

label   scooter
agent   rider; courier; student
verb    rode; parked; charged; rented; started
inside  on
adj     red; electric; tiny; dented; mint green; rented; noisy; shiny
part    handlebar; battery; footboard; helmet; rear wheel; mirror; seat; throttle
place   on the sidewalk; outside the cafe; in the courtyard; beside the fountain; at the charging station
move    hummed through the narrow lanes; zipped past the waiting cars; slipped between two buses; buzzed along the seafront; bounced over the cobblestones; turned into the market street
trouble the battery went flat at noon = pushed it to the next socket; the tiny wheels caught in the rails = jumped off just in time; the mirror fell off = stuck it on with chewing gum; a sudden shower soaked the seat = waited under a shop awning; the throttle stuck = steered into a pile of leaves; the rental app stopped working = walked it home like a dog
sight   a scarf fluttered behind; the streets smelled of coffee; pigeons hopped out of the way; the little motor hummed
open    {p} carried two pizzas on a {v} and dropped neither.; The {v} cost less than a good coat, and {p} loved it more.; {p} rode the {v} to the opera in a long dress.; The {v} fit in the elevator, so {p} took it upstairs.; Every courier in town knew the {v} with the missing mirror.

label   train
agent   engine driver; conductor; stationmaster
verb    caught; missed; drove; boarded; waited for
inside  on
adj     long; late; express; old; crowded; night; slow; regional
part    locomotive; last carriage; dining car; window seat; whistle; brakes; window; luggage rack
place   at the platform; in the station; at the signal; in the middle of the tunnel; on the siding
move    left the station on time; thundered over the bridge; wound through the mountains; stopped at every village; crossed the plain all night; pulled into the terminal
trouble the signal stayed red for an hour = walked along the track to the signal box; a cow stood on the rails = led it away with a bunch of hay; the locomotive lost its steam = shoveled coal with the stoker; the last carriage came uncoupled = pulled the emergency brake; snow covered the switch = cleared it with a broom; the tickets blew out of the window = let everyone ride on trust
sight   the wheels clicked over the joints; fields slid past the window; the whistle echoed in the tunnel; the conductor checked every ticket
open    {p} had a ticket for a {v} that was not on the timetable.; The {v} stopped in the middle of a field, and the doors opened.; {p} ran down the platform beside the moving {v}.; Two suitcases had been exchanged on the {v} to the coast.; The conductor of the {v} sang the name of every station.

label   tram
agent   tram driver; conductor; inspector
verb    caught; drove; boarded; missed; waited for
inside  on
adj     yellow; old; crowded; early; wooden; rattling; green; last
part    bell; overhead wire; wooden bench; rear platform; rails; folding door; pole; fare box
place   at the terminus; at the opera stop; in the depot; in front of the town hall; at the crossing
move    clanged around the corner; climbed the steep street; glided along its rails; squealed into the square; crossed the old bridge; swayed through the old town
trouble the pole jumped off the wire = pulled it back with the rope; leaves made the rails slippery = threw sand under the wheels; a parked van blocked the rails = rang the bell until the owner came; the power went off = lit a lantern for the passengers; the switch was frozen = thawed it with hot tea; the bell fell silent = shouted at every crossing
sight   the bell rang at each stop; blue sparks jumped from the wire; people waved from the pavement; the rails gleamed between the stones
open    {p} rode the {v} to the end of the line just to see the river.; The bell of the {v} was broken, so {p} sang instead.; A wedding party filled the {v} from end to end.; {p} had left a violin on the {v} to the old town.; The {v} was older than anyone who rode on it.

label   subway
agent   subway driver; guard; station agent
verb    rode; took; caught; missed; waited for
inside  on
adj     crowded; early; last; hot; downtown; delayed; empty; rattling
part    sliding doors; turnstile; tunnel lights; escalator; map; third rail; platform; loudspeaker
place   at the platform; beneath the square; at the transfer station; under the river; at the end of the line
move    rushed into the station; rumbled under the avenue; stopped between two stations; raced through the dark tunnel; carried half the city to work; screeched around a curve
trouble the doors jammed on a backpack = pulled with both hands until it came free; the lights flickered and went out = switched on a flashlight and told a joke; water dripped onto the tracks = called the control room; the train skipped the stop = walked back through the tunnel; the turnstile refused the ticket = crawled under it with an apology; a wallet fell on the tracks = fished it out with chewing gum on a stick
sight   the tunnel wind smelled of iron; commuters read over each other's shoulders; the station names flashed by; a saxophone played on the platform
open    {p} changed the {v} line four times to avoid one old friend.; Someone was painting flowers on the walls of the {v}.; {p} read the last page of the book just as the {v} arrived.; The {v} stopped at a station that was closed years ago.; Every Monday {p} gave the {v} musician a coin and a smile.

label   taxi
agent   taxi driver; passenger; dispatcher
verb    drove; hailed; called; waited for; shared
inside  in
adj     yellow; black; old; waiting; shared; airport; clean; night
part    meter; back seat; roof light; trunk; rearview mirror; door handle; radio; fare
place   at the taxi stand; outside the theater; in front of the airport; at the curb; near the hospital
move    turned into the avenue; raced to the station; crawled through the rush hour; stopped under a streetlamp; took the longest way; crossed the bridge to the airport
trouble the meter began to run backward = agreed on a price with a handshake; the passenger had no money = took a song as the fare; the address did not exist = asked at every corner; the traffic stood still = found a shortcut through the market; a wallet lay on the back seat = drove back to return it; a baby decided to come early = ran every light to the hospital
sight   the meter ticked like a clock; the radio called a dozen addresses; city lights slid over the roof; the driver hummed an old tune
open    {p} waved at the {v}, but it was already taken.; The fare was twelve dollars, and {p} had eleven in the {v}.; {p} told the {v} driver to drive anywhere at all.; A parrot had been left behind in the {v}.; The {v} waited outside the theater with its light off.

label   van
agent   van driver; owner; courier
verb    drove; packed; unloaded; parked; painted
inside  in
adj     white; old; camper; delivery; green; dented; crowded; blue
part    sliding door; back seats; roof rack; rear doors; heater; shelves; curtains; cargo space
place   behind the shop; at the campground; outside the school; on the beach; in the alley
move    rattled down the farm road; carried the band to its next show; followed the coast south; delivered bread before dawn; turned into the campground; stopped behind the theater
trouble the sliding door would not close = tied it shut with a belt; the back was too full of drums = left two speakers at the hotel; the heater broke in the hills = wrapped everyone in sleeping bags; a box of eggs tipped over = cleaned the floor with old newspapers; the wheels sank into the sand = dug them out with a frying pan; the parcels had the wrong labels = rang every bell in the street
sight   the luggage shook on the roof rack; six friends sang in the back; the curtains swung at every turn; boxes slid from side to side
open    {p} packed the {v} with tents, pots, and three sleepy children.; The {v} smelled of fresh bread and paint.; {p} lived in a {v} by the sea for one whole year.; Nobody knew what was under the blanket in the {v}.; The {v} had seats for eight, but eleven people climbed in.

label   ambulance
agent   paramedic; ambulance driver; nurse
verb    drove; called; waited for; steered; loaded
inside  in
adj     white; speeding; old; county; waiting; brand-new; night; small
part    siren; stretcher; rear doors; oxygen tank; blue lights; radio; first aid box; back window
place   at the hospital entrance; outside the stadium; at the fire station; beside the playground; in front of the clinic
move    raced toward the hospital; sped through the red light; wailed along the main street; hurried to the farm; weaved through the traffic; brought the patient to the emergency room
trouble the siren failed at the crossing = leaned on the horn; the stretcher was stuck = carried the patient by hand; the road to the hospital was flooded = turned around and took the hill; the radio went silent = used a phone to call the doctors; the patient stopped breathing = pressed the chest until a breath came; the address was wrong = knocked at every door in the street
sight   the siren rose and fell; blue light flashed on the houses; the monitor beeped steadily; cars moved aside
open    {p} held the old woman's hand all the way in the {v}.; The {v} was called for a man, but it was his horse that was ill.; {p} restocked the {v} before the night began.; The siren of the {v} came closer and then stopped at our door.; {p} had never been inside an {v} before that evening.

label   fire truck
agent   firefighter; fire captain; driver
verb    drove; washed; polished; boarded; followed
inside  on
adj     red; old; gleaming; big; new; volunteer; parked; roaring
part    ladder; hose; siren; bell; water tank; pump; red lights; ax
place   at the fire station; behind the town hall; at the hydrant; in the parade; in front of the school
move    roared out of the station; raced toward the smoke; turned into the burning street; led the parade through town; stopped beside the hydrant; sped down the hill with its siren on
trouble the hydrant was frozen = pumped water from the pond; the ladder was a step too short = climbed the last part by rope; the hose had a hole = wrapped it with a raincoat; flames blocked the stairs = carried the family out of the window; the pump stopped = formed a line with buckets; a cat would not leave the roof = climbed up with a can of fish
sight   the siren howled; smoke rose above the roofs; the red paint shone; water shot from the hose
open    {p} slid down the pole and jumped onto the {v}.; The {v} was washed every Saturday by the children of the town.; The {v} came to our school, and {p} rang the bell.; {p} heard the {v} long before seeing any smoke.; The {v} carried water to the elephants on the hottest day of summer.

label   tractor
agent   farmer; farmhand; mechanic
verb    drove; started; repaired; parked; steered
inside  on
adj     green; old; red; muddy; rusty; huge; loud; faithful
part    plow; big rear wheels; engine; seat; trailer; exhaust pipe; steering wheel; hitch
place   in the barn; at the edge of the field; beside the hay bales; in the farmyard; by the creek
move    pulled the plow across the field; crawled along the country road; carried hay to the barn; chugged up the lane; turned at the end of the furrow; dragged a log out of the woods
trouble the plow struck a stone = dug it out with a spade; the wheels sank into the mud = laid straw under them; the engine smoked and stopped = cleaned the filter with a feather; the trailer lost its hay = loaded it again by moonlight; a lamb lay in the furrow = carried it back to its mother; the fuel ran out at harvest = borrowed a can from the neighbor
sight   crows followed the plow; the smell of fresh earth rose; the engine chugged slowly; dust hung over the wheat
open    {p} plowed the last field with the {v} by moonlight.; The {v} was worth more than the house, and {p} knew it.; {p} drove the {v} to school on the last day of class.; Three hens lived under the seat of the {v}.; The {v} pulled a wagon full of pumpkins through the village.

label   airplane
agent   pilot; flight attendant; copilot
verb    flew; boarded; landed; missed; waited for
inside  on
adj     small; silver; crowded; delayed; old; two-engine; white; passenger
part    left wing; propeller; cockpit; window; landing gear; cabin; runway lights; seat belt
place   at the gate; on the runway; in the hangar; above the clouds; at the end of the airfield
move    climbed above the clouds; took off into the wind; circled over the airport; landed on the wet runway; crossed the ocean by night; shook in the storm
trouble ice formed on the wings = descended into warmer air; one engine fell silent = landed safely with the other; the runway lights went out = landed by the lights of parked cars; the landing gear was stuck = pumped it down by hand; a storm stood in the way = flew around it to the south; the coffee spilled over the map = asked the tower for directions
sight   the wings glowed in the sunrise; the clouds looked like a white sea; the engines droned softly; the runway came into view
open    {p} sat in the last row of the {v} and counted the clouds.; The {v} was ready for takeoff, but the captain was missing.; {p} had built the {v} in a barn from a plan in a magazine.; From the window of the {v}, {p} could see the roof of home.; The {v} turned back because of a mouse in the cockpit.

label   helicopter
agent   pilot; rescuer; mechanic
verb    flew; landed; boarded; followed; waited for
inside  in
adj     yellow; rescue; small; noisy; police; old; hovering; orange
part    rotor; tail; winch; cockpit; landing skids; rope ladder; searchlight; blades
place   on the helipad; on the hospital roof; in the clearing; at the mountain hut; on the deck
move    hovered above the cliff; rose straight into the air; circled over the forest; landed on the hospital roof; searched the valley with its light; swung around the summit
trouble the winch jammed = lowered a rope by hand; fog hid the landing place = waited for a flare from below; the wind pushed it toward the rocks = turned the nose into the gale; the rotor began to shake = set down in a meadow; the fuel was nearly gone = landed beside a mountain hut; the climber could not reach the ladder = flew lower until the blades touched the snow
sight   the rotor beat the air; grass bent flat below; the searchlight swept the trees; the blades turned into a silver circle
open    {p} waved a red scarf at the {v} from the flooded roof.; The {v} hovered over the garden and blew away all the laundry.; {p} lowered a basket of food from the {v}.; The blades of the {v} slowed, and {p} stepped out.; A piano hung below the {v} as it crossed the city.

label   hot air balloon
agent   balloonist; pilot; crew
verb    flew; boarded; followed; inflated; landed
inside  in
adj     striped; red; enormous; silent; colorful; golden; patched; festival
part    basket; burner; ropes; sandbags; silk; flame; gas bottle; anchor line
place   in the meadow; behind the church; at the festival; on the hilltop; in the vineyard
move    rose above the rooftops; drifted over the valley; floated toward the sea; sank slowly into a field; hung still above the river; sailed over the forest without a sound
trouble the burner went out = lit it again with the last match; the wind carried it toward the sea = let out hot air and came down; the basket brushed the treetops = threw two sandbags over the edge; a rope caught on the steeple = cut it with a bread knife; the silk began to tear = sewed the hole in midair; the clouds hid the ground = listened for church bells below
sight   the flame hissed above the basket; the fields looked like a quilt; the shadow slid over the hills; cows looked up in surprise
open    {p} threw the last sandbag out of the {v}.; The {v} rose so gently that {p} did not notice it.; {p} packed a picnic for the {v} and forgot the matches.; A {v} landed in our orchard, and a woman asked for tea.; The flame of the {v} hissed, and the ropes grew tight.

label   rocket
agent   astronaut; engineer; launch director
verb    launched; designed; built; tested; boarded
inside  in
adj     tall; white; silver; experimental; giant; homemade; reusable; gleaming
part    fuel tank; nose cone; boosters; engines; hatch; control panel; launch clamps; fins
place   on the launch pad; in the desert; at the space center; in the hangar; on the test stand
move    lifted off in a cloud of steam; climbed into the dark sky; dropped its first stage; broke through the clouds; headed for the moon; shook the whole launch pad
trouble the countdown stopped at three = found a loose cable and fixed it; a valve froze shut = warmed it with a spare glove; the booster failed to ignite = restarted it by hand; the computer went blank = steered by the stars; a seagull sat on the nose cone = waited until it flew away; the fuel began to leak = closed the tank in the last second
sight   flames lit the desert; the ground shook for miles; a white trail crossed the sky; the boosters fell away
open    {p} pressed the button, and the {v} did not move.; The {v} was taller than the church and twice as quiet.; {p} had painted a tiny bird on the side of the {v}.; The countdown for the {v} reached five and stopped.; {p} watched the {v} from the roof of the school.

label   ship
agent   captain; sailor; helmsman
verb    steered; boarded; sailed; commanded; repaired
inside  on
adj     old; white; huge; gray; cargo; proud; lonely; sinking
part    anchor; bridge; hull; deck; cargo hold; ship's bell; rudder; engine room
place   in the harbor; at the pier; off the coast; in the dry dock; at anchor in the bay
move    sailed out of the harbor; crossed the stormy ocean; dropped anchor in the bay; rounded the cape at night; steamed toward the north; docked at the foreign port
trouble the anchor was stuck on a wreck = dived down and freed it; water came into the hold = worked the pumps all night; the compass stopped turning = steered by the north star; a storm broke the rudder = tied an oar in its place; fog covered the rocks = rang the bell every minute; the cargo shifted in the waves = moved the barrels one by one
sight   gulls circled above the deck; waves broke over the bow; the harbor lights came into view; salt dried on the railing
open    {p} went aboard the {v} with one bag and no ticket.; The {v} carried wheat, mail, and a secret.; The bell of the {v} rang, though no one had touched it.; {p} wrote a letter on the deck of the {v}.; The {v} was named after {p}'s grandmother.

label   ferry
agent   ferry captain; deckhand; ticket seller
verb    caught; missed; steered; boarded; waited for
inside  on
adj     white; old; crowded; slow; morning; island; small; last
part    ramp; upper deck; railing; car deck; horn; lifeboats; ticket window; bow
place   at the landing; at the dock; on the far shore; in the little harbor; at the island pier
move    crossed the bay; left the landing at noon; carried cars to the island; turned its bow toward the far shore; bumped gently against the pier; blew its horn and slowed down
trouble the ramp would not come down = laid planks across the gap; the current pushed it off course = let the anchor go; a car had no handbrake = put stones behind its wheels; the horn broke in the fog = beat on a cooking pot; the last passenger was late = held the rope for one more minute; the engine stopped in midstream = waved to a fishing boat for a tow
sight   gulls begged for bread; the island grew larger; cars stood in rows on the deck; the wake stretched back to the pier
open    {p} missed the {v} by the length of a shoe.; The {v} carried forty cars, two horses, and a wedding cake.; {p} worked on the {v} and knew every wave of the bay.; The horn of the {v} called the whole island to the pier.; There was no bridge, so {p} took the {v} to school.

label   sailboat
agent   sailor; skipper; boat builder
verb    sailed; steered; anchored; built; repaired
inside  on
adj     white; little; wooden; fast; blue; old; graceful; leaking
part    mast; mainsail; tiller; rudder; boom; anchor; keel; ropes
place   in the bay; at the wooden pier; in the boathouse; off the island; in the quiet cove
move    tacked against the wind; heeled in a sudden gust; glided across the bay; ran before the wind; slipped between the islands; drifted with loose sails
trouble the mainsail tore in a gust = sewed it with fishing line; the wind fell to nothing = rowed home with a floorboard; the boom swung across = ducked and let the rope run; the keel touched the sand = leaned out until it came free; the tiller broke = steered with an oar; the anchor would not hold = tied up to a rock
sight   the sails filled with wind; spray flew over the bow; the mast pointed at the moon; the ropes sang in the breeze
open    {p} raised the sail, and the {v} woke up.; The {v} leaned so far that {p} could touch the water.; {p} taught the children to tie knots on the {v}.; There was no engine on the {v}, only the wind.; The {v} waited in the cove with its sails rolled up.

label   canoe
agent   paddler; guide; fisherman
verb    paddled; carried; steered; carved; launched
inside  in
adj     red; birch; old; narrow; wooden; silent; borrowed; green
part    paddle; bow; stern; seat; hull; rope; wet floor; side
place   on the sandy shore; under the willow; at the lake cabin; beside the beaver dam; on the riverbank
move    slid down the river; cut through the still water; bounced over the rapids; drifted under the willows; turned slowly in the current; crossed the lake at dawn
trouble the paddle floated away = paddled on with a frying pan; the rapids turned it around = rode through them backward; water seeped through a crack = sealed it with pine tar; a log blocked the river = carried it around through the woods; the wind pushed it off the shore = knelt low and paddled hard; a moose stood in the stream = waited without a word
sight   the paddle dipped without a splash; loons called across the lake; pine trees leaned over the water; fish jumped beside the bow
open    {p} dipped the paddle, and the {v} moved without a sound.; The {v} was made of bark and patience.; {p} slept under the {v} when the rain came.; A duck followed the {v} all the way to camp.; {p} stood up in the {v}, which was a mistake.

label   submarine
agent   captain; sonar officer; navigator
verb    commanded; steered; boarded; designed; repaired
inside  aboard
adj     gray; silent; old; nuclear; tiny; yellow; deep-sea; secret
part    periscope; hatch; torpedo room; sonar; ballast tanks; propeller; hull; depth gauge
place   in the naval base; on the ocean floor; under the ice; at the hidden dock; below the storm
move    dived under the ice; rose slowly to the surface; slid through the dark water; hid in an underwater canyon; followed the whales; sank deeper than ever before
trouble the sonar went dead = listened with an ear against the hull; the ballast tank jammed = turned the valve with a pipe; the air grew thin = ordered everyone to lie still; the propeller caught a net = swam out and cut it free; the depth gauge cracked = counted the seconds instead; a leak sprayed into the engine room = hammered a wooden plug into it
sight   the sonar pinged in the dark; strange fish glowed outside; the hull groaned under the pressure; the periscope broke the surface
open    {p} closed the hatch, and the {v} began to dive.; The {v} lay on the sea floor, waiting for a signal.; {p} raised the periscope of the {v} and saw a sailboat.; There was one window in the {v}, and everyone wanted it.; Whales had followed the {v} for eleven days.

label   yacht
agent   skipper; deckhand; owner
verb    sailed; steered; rented; bought; polished
inside  on
adj     white; luxury; sleek; private; golden; rented; famous; empty
part    sun deck; cabin; polished railing; anchor; helm; swimming ladder; champagne cooler; bow
place   at the marina; in the blue bay; off the island; at the royal harbor; beside the fishing boats
move    glided into the marina; cruised along the coast; rocked gently in the bay; left the harbor at sunset; passed the fishing boats; raced toward the lighthouse
trouble the anchor dragged in the night = started the engines and moved out; the chef fell overboard = threw a ring and a towel; a reef scratched the hull = patched it before the party; the guests grew seasick = served ginger tea and dry toast; the keys fell into the bay = dived for them in a tuxedo; a storm warned from the west = brought it behind the lighthouse
sight   lanterns glowed on the deck; glasses clinked in the cabin; the marina shone with lights; music drifted over the water
open    {p} polished the {v} of a man nobody had ever seen.; The {v} had four decks, two pools, and no books.; {p} was invited to the {v} by mistake.; A small dog was the true captain of the {v}.; The {v} left the marina with the wrong guests on board.

label   horse carriage
agent   coachman; driver; stable boy
verb    drove; boarded; followed; repaired; hired
inside  in
adj     black; royal; old; open; wedding; creaking; golden; elegant
part    reins; wooden wheels; velvet seat; lanterns; harness; whip; door; horses
place   at the palace gate; outside the church; in front of the inn; in the stable yard; on the cobbled square
move    rolled over the cobblestones; trotted through the park; stopped before the palace; turned in at the old inn; clattered across the bridge; passed slowly through the gates
trouble a horse lost its shoe = led it to the blacksmith on foot; a wheel slid into the ditch = lifted it out with a fence post; the reins snapped = calmed the horses with a song; the bridge was too weak = crossed it one horse at a time; the lanterns blew out = let the horses find the way; a fallen branch scared the mare = held her head and whispered
sight   hooves rang on the stones; the horses shook their manes; the lanterns swung in the dark; the harness bells jingled
open    {p} held the reins of the {v} for the first time.; The horses knew the way, so the {v} needed no driver.; {p} arrived at the ball in a {v} borrowed from the baker.; The {v} stood outside the church with ribbons on its wheels.; {p} brushed the horses before the {v} was called.

label   sled
agent   musher; sled driver; boy with the rope
verb    pulled; steered; rode; built; pushed
inside  on
adj     wooden; red; old; fast; homemade; long; little; heavy
part    runners; rope; harness; lead dog; brake; blanket; front board; load
place   at the top of the hill; outside the cabin; beside the frozen lake; in the barn; by the fire
move    flew down the snowy hill; slid across the frozen lake; raced behind eight dogs; bumped over the icy ruts; glided through the silent forest; came to rest in a snowdrift
trouble a runner split on a rock = bound it with a leather strap; the ice began to crack = turned the dogs toward the shore; the snow covered the trail = trusted the nose of the lead dog; the rope broke halfway up = carried it the rest of the way; a tree came closer and closer = rolled off into the soft snow; the dogs were tired = walked in front and broke the trail
sight   the runners hissed over the snow; the dogs barked with joy; snow sprayed into every face; the breath of the dogs steamed
open    {p} waxed the runners of the {v} until they shone.; The dogs pulled the {v} through a night without stars.; {p} sat at the front of the {v} and closed both eyes.; There was room for two on the {v}, but four jumped on.; The first snow fell, and {p} ran for the {v}.

label   skateboard
agent   skater; boy; girl with the helmet
verb    rode; pushed; carried; painted; repaired
inside  on
adj     old; scratched; new; homemade; green; fast; wobbly; broken
part    deck; wheels; grip tape; tail; nose; bearings; front truck; stickers
place   at the skate park; on the school steps; under the bridge; in the empty pool; at the top of the ramp
move    clattered down the steps; rolled through the skate park; shot up the ramp; flew over the curb; coasted along the pier; spun once in the air
trouble a wheel locked on a pebble = landed on two bruised knees and laughed; the deck cracked in the middle = glued it under a pile of books; the ramp was too steep = tried it again and again; a guard blew a whistle = picked it up and ran; the bearings were full of sand = cleaned them with lemon juice; the trick failed nine times = nailed it on the tenth
sight   the wheels hummed on the concrete; friends cheered from the ramp; the board snapped into the air; sneakers scraped on the ground
open    {p} stood at the top of the ramp with one foot on the {v}.; The {v} had belonged to a champion, or so {p} said.; {p} fell off the {v} twelve times before lunch.; The wheels of the {v} were worn down to small stones.; A police officer borrowed the {v} and gave it back smiling.

label   cable car
agent   operator; conductor; mechanic
verb    boarded; rode; missed; operated; waited for
inside  in
adj     red; old; glass; swinging; crowded; silver; last; small
part    cable; cabin; sliding door; pulley; brake lever; bell; window; gripping arm
place   at the valley station; at the summit; above the gorge; at the turntable; halfway up the mountain
move    rose above the pine trees; swung over the gorge; climbed toward the summit; stopped at the middle station; hung still in the wind; went down into the fog
trouble the cable jerked and stopped = climbed onto the roof to free the wheel; the wind grew too strong = slowed the motor to a crawl; the door swung open = tied it shut with a scarf; the power failed over the gorge = wound the crank by hand; ice covered the cable = knocked it off with a pole; the bell did not answer = waved a red jacket at the station
sight   the valley shrank below; the cabin swayed in the wind; skis leaned against the window; the cable hummed overhead
open    {p} shared the {v} with six skiers and a goat.; The {v} was the only way up to the village.; {p} closed the door of the {v} and looked down.; Halfway to the summit, the {v} began to swing.; {p} had operated the {v} since the day it opened.

label   monorail
agent   operator; engineer; attendant
verb    boarded; rode; designed; took; waited for
inside  on
adj     silver; new; sleek; driverless; white; empty; quiet; futuristic
part    single rail; front window; doors; control panel; concrete beam; speaker; pillar; last car
place   at the airport station; above the fairground; at the platform; over the river; in the terminal
move    glided above the streets; curved around the tower; slid into the airport station; passed over the river; circled the park all day; sped along its single rail
trouble the single rail iced over = walked the beam with a bag of salt; the doors opened on the wrong side = told everyone to sit down; the computer stopped it over the lake = restarted it with an old key; a kite wrapped around the beam = cut the string with a pocketknife; the brakes locked near the tower = lowered a ladder to the street; the voice named the wrong stations = called out the right ones
sight   the city lay below like a toy; the towers slid past; the beam curved into the distance; the cars made almost no sound
open    {p} rode the {v} around the park until closing time.; The {v} ran on one rail and a great deal of hope.; {p} waved from the front window of the {v}.; No one was driving the {v}, and {p} liked it that way.; The {v} stopped above the lake at the best possible moment.

label   spaceship
agent   captain; navigator; astronaut
verb    flew; steered; boarded; commanded; repaired
inside  aboard
adj     silver; lonely; old; tiny; alien; glowing; damaged; gigantic
part    airlock; engines; bridge; cargo bay; oxygen tank; control panel; shield; star map
place   in orbit; on the red planet; at the space station; behind the moon; in the asteroid belt
move    drifted past Saturn; jumped to light speed; landed on the dusty planet; circled the blue star; left the solar system; docked at the space station
trouble a meteor tore the outer wall = sealed the hole with a dinner tray; the engines lost power near Mars = used the gravity of the planet; the oxygen ran low = asked the plants for patience and slept; the star map was out of date = drew a new one by hand; the airlock would not close = pulled the door with both arms; an alien asked for directions = shared a cup of tea and the star map
sight   stars streamed past the window; a blue planet turned below; the engines glowed softly; silence lay all around
open    {p} woke up aboard the {v} a hundred years too early.; The {v} sent a greeting, and the moon answered.; {p} grew strawberries in the cargo bay of the {v}.; The crew of the {v} voted to go home by the long way.; {p} could see two suns from the bridge of the {v}.
"""


def _block(text):
    v = {}
    for line in text.strip().splitlines():
        name, rest = line.split(None, 1)
        v[name] = [s.strip() for s in rest.split(";")]
    v["label"] = v["label"][0]
    v["trouble"] = [tuple(s.strip() for s in t.split("=")) for t in v["trouble"]]
    return v


VEHICLES = {v["label"]: v for v in map(_block, TEXT.strip().split("\n\n"))}
assert len(VEHICLES) == 30


def a(noun_phrase):
    """`noun_phrase` with its indefinite article."""
    first = noun_phrase.lower()
    an = first[0] in "aeiou" and not first.startswith(("uni", "use", "one", "eu"))
    return ("an " if an else "a ") + noun_phrase
