"""List the words, phrases and key patterns that passwords are made of when they are weak.

Judged by ``appliance.directory.guessing``: a password that consists of a few of these, of
their repetitions, dates and runs, is refused however long it is. Letters are lower-case;
swaps such as ``p@ssw0rd`` are undone before the look-up.
"""

from __future__ import annotations

from typing import Final

_ACCESS = """
password passwort passwd passphrase passcode pass kennwort motdepasse contrasena parola senha
mima secret geheim topsecret private personal keyword access login logon signin signon user
username account admin administrator root superuser sysadmin system operator manager master
owner guest visitor test tester testing demo temp temporary changeme change default example
sample setup install update service support helpdesk backup server client network internet
intranet security secure safe lock locked unlock open letmein welcome hello goodbye please
whatever nothing something anything blank none null unknown computer laptop desktop notebook
windows linux ubuntu debian android iphone samsung google apple microsoft office outlook
facebook twitter instagram youtube amazon netflix wechat weixin alipay taobao tencent baidu
qq123 oracle cisco database mysql postgres website webmaster email mail message messenger chat
strongroom vault mobile phone number code pin token key keys keyboard mouse screen printer
"""

_WORK = """
hospital clinic doctor nurse patient medical medicine medic surgery surgeon health healthcare
care ward emergency ambulance pharmacy therapy dentist cardio cardiology oncology radiology
bank banker banking finance financial money cash credit debit payment trader trading broker
market invest investor stock stocks bond bonds fund wealth capital insurance audit auditor
compliance officer director president chief boss employee staff team teamwork company business
corporate enterprise branch headquarters department reception front desk meeting project
customer sales marketing accounting payroll personnel human resources legal lawyer police
teacher student school university college library science engineer driver soldier captain
pilot cook chef farmer
"""

_LOVE = """
iloveyou ilovegod iloveme iloveu loveyou lover lovers love loving loveme lovely mylove
sweetheart sweetie sweet honey baby babygirl babyboy darling dearest angel angels princess
prince queen king kitty kitten puppy cutie beautiful pretty gorgeous handsome sexy hottie
friend friends friendship bestfriend forever always family mother father mommy daddy mama papa
mummy sister brother grandma grandpa auntie uncle cousin husband wife boyfriend girlfriend
children child happy smile smiley lucky luckyone peace freedom hope faith believe trust jesus
christ god heaven church bible blessed blessing grace amen allah buddha karma spirit soul
heart hearts kiss kisses hugs
"""

_ANIMALS = """
monkey dragon tiger lion panther leopard jaguar puma cheetah eagle falcon hawk raven phoenix
dolphin whale shark turtle penguin butterfly spider scorpion snake cobra python viper lizard
horse pony mustang stallion unicorn donkey cow bull sheep goat lamb chicken rooster duck goose
turkey rabbit bunny hamster squirrel mouse rat bear panda koala wolf wolves fox badger beaver
deer elephant giraffe zebra camel gorilla dog doggy doggie cat cats dogs bird birds fish frog
froggy ladybug bumblebee bee pig piglet
"""

_NATURE = """
sunshine moonlight starlight sunset sunrise rainbow summer winter spring autumn season
january february march april may june july august september october november december monday
tuesday wednesday thursday friday saturday sunday weekend morning evening midnight tonight
today tomorrow yesterday christmas easter halloween holiday holidays birthday newyear
snow snowball snowman snowflake rain storm thunder lightning hurricane tornado ocean river
lake island beach mountain forest jungle desert garden flower flowers rose roses lily daisy
violet jasmine orchid tulip sunflower tree trees nature earth world planet universe galaxy
cosmos star stars moon sun mars venus jupiter saturn mercury pluto neptune fire water wind
stone diamond silver gold golden crystal pearl ruby emerald sapphire amber
"""

_COLOURS_FOOD = """
black white red blue green yellow orange purple pink brown gray grey scarlet magenta turquoise
chocolate cookie cookies candy sugar cupcake cake icecream vanilla strawberry cherry banana
apple apples lemon lime mango peach melon watermelon pineapple coconut grape berry blueberry
cheese butter bread pizza pasta burger noodle noodles rice coffee espresso tea beer wine
whiskey vodka cola pepsi juice milk pepper salt ginger cinnamon garlic onion potato tomato
carrot pumpkin peanut popcorn bacon
"""

_SPORTS_GAMES = """
football soccer baseball basketball hockey tennis golf golfer rugby cricket volleyball
swimming swimmer running runner cycling cyclist boxing karate kungfu judo skating skater
skiing surfing surfer racing racer fishing hunting hunter camping dancing dancer dance
barcelona realmadrid chelsea arsenal liverpool manchester united juventus bayern ronaldo messi
beckham jordan lakers celtics bulls yankees redsox dodgers giants cowboys steelers packers
eagles raiders broncos patriots rangers champion champions winner winners victory player gamer
game games gaming pokemon pikachu mario nintendo playstation xbox minecraft fortnite warcraft
starcraft counterstrike halo zelda sonic tetris matrix starwars skywalker yoda vader jedi
startrek enterprise spock batman superman spiderman ironman captainamerica hulk wolverine
avengers marvel joker harley hogwarts potter harrypotter gandalf hobbit frodo merlin wizard
magic magical ninja samurai warrior knight legend hero heroes killer hunter slayer shadow
ghost phantom demon devil vampire zombie monster pirate rebel outlaw gangster bandit ranger
trooper sniper commander general major sergeant soldier army navy marine marines airforce
"""

_MUSIC_CARS = """
music musica guitar guitarist piano drummer drums bass violin singer song melody rock rocknroll
metal metallica nirvana slipknot acdc beatles queen elvis eminem rihanna beyonce madonna
michael jackson blink182 greenday ferrari porsche mercedes bmw audi volkswagen golf toyota
honda civic nissan mazda subaru suzuki yamaha kawasaki harleydavidson ducati chevrolet chevy
camaro corvette mustang dodge viper jeep ford cadillac lexus tesla maserati lamborghini bugatti
racecar truck trucker bike biker motorbike airplane train
"""

_NAMES = """
james john robert michael william david richard joseph thomas charles christopher daniel
matthew anthony mark donald steven andrew paul joshua kenneth kevin brian george timothy
ronald jason edward jeffrey ryan jacob gary nicholas eric jonathan stephen larry justin scott
brandon benjamin samuel gregory alexander patrick frank raymond jack dennis jerry tyler aaron
jose adam nathan henry zachary douglas peter kyle noah ethan jeremy christian walter keith
austin roger terry sean gerald carl dylan harold jordan jesse bryan lawrence arthur gabriel
bruce logan albert willie elijah alan juan carlos luis miguel pedro pablo diego jorge antonio
manuel francisco mary patricia jennifer linda elizabeth barbara susan jessica sarah karen
lisa nancy betty sandra margaret ashley kimberly emily donna michelle carol amanda melissa
deborah stephanie dorothy rebecca sharon laura cynthia amy kathleen angela shirley brenda
emma anna pamela nicole samantha katherine christine helen debra rachel carolyn janet maria
catherine heather diane olivia julie joyce victoria ruth virginia lauren kelly christina joan
evelyn judith andrea hannah megan cheryl jacqueline martha madison teresa gloria sara janice
ann kathryn abigail sophia frances jean alice judy isabella julia denise marilyn natalie
charlotte sophie chloe claire daniela valentina camila lucia paula carmen rosa elena marta
hans peter klaus jurgen wolfgang stefan andreas thomas sabine petra monika ursula heike birgit
pierre jean jacques philippe nicolas camille marie sylvie isabelle giovanni giuseppe marco
luca francesca giulia ivan dmitri sergei natasha olga tatiana mohammed ahmed ali hassan fatima
buddy charlie max maxwell bailey lucky rocky rusty sparky shadow ginger molly daisy sophie
oliver simba oscar toby teddy coco bella luna duke prince princess smokey tigger snoopy
scooby garfield mickey minnie donald goofy bambi nemo dumbo barney elmo
"""

_PINYIN = """
woaini woaiwo woaiwojia woaibaobei woaizhongguo aini aiwo baobao baobei xiaobao laopo laogong
nihao zaijian xiexie zhongguo beijing shanghai guangzhou shenzhen hangzhou nanjing tianjin
chongqing chengdu wuhan xian taiwan taibei hongkong aomen wang zhang chen yang zhao huang zhou
xu sun zhu lin guo luo liang song zheng xie han tang feng cheng cao peng zeng xiao tian dong
pan yuan cai jiang yu du ye wei su lu ding ren shen yao cui tan liao fan jin qiu xia xiaoming
xiaohong xiaoli xiaoyu xiaowei liwei wangwei zhangwei zhangli lina wangfang lijun gongsi
yiyuan yisheng hushi yinhang mima denglu yonghu guanli guanliyuan fuwuqi dianhua shouji
jintian mingtian shengri kuaile xingfu pengyou xuesheng laoshi
"""

_PHRASES = """
correcthorsebatterystaple thequickbrownfox thequickbrownfoxjumps jumpsoverthelazydog
tobeornottobe maytheforcebewithyou iamyourfather winteriscoming onceuponatime opensesame
inthebeginning ourfatherwhoart hallowedbethyname romeoandjuliet happybirthday happynewyear
merrychristmas goodmorning goodnight thankyou loveisall ihatepasswords thisismypassword
mypassword mynameis whatismypassword enterpassword newpassword oldpassword yourpassword
nopassword passwordispassword letmeinplease letmeinnow icantremember idontknow donotforget
welcomehome hellokitty helloworld rockyou fuckyou fuckoff bullshit asshole bitch trustno
trustnoone qwertyuiop asdfghjkl zxcvbnm qazwsx qazwsxedc wsxedc asdf zxcv qwer qwert qwerty
azerty qwertz abcd abcdef aabbcc abcabc onetwothree onetwothreefour livelaughlove carpediem
hakunamatata hastalavista nevergiveup neversaynever justdoit stayhungry staystrong
"""

_PLACES_THINGS = """
america american canada mexico brazil brasil argentina england britain london scotland ireland
irish france paris germany berlin hamburg munich deutschland italy roma milano spain madrid
portugal lisbon russia moscow poland polska warsaw turkey istanbul greece athens egypt africa
nigeria india delhi mumbai pakistan japan tokyo korea china taiwan thailand bangkok vietnam
indonesia philippines manila australia sydney melbourne newyork chicago boston texas dallas
houston austin miami florida california losangeles hollywood vegas denver phoenix seattle
house home castle kitchen bedroom window door table chair bottle pencil paper book books story
picture camera radio television movie movies action danger power energy force speed rocket
bullet gun sword shield crown treasure island secret garden jewel number one two three four
five six seven eight nine ten hundred thousand million first second third last single double
alpha beta gamma delta omega sigma zulu bravo tango foxtrot echo november romeo juliet victor
super mega ultra hyper turbo extreme awesome amazing perfect great good best better cool crazy
funny silly little big small fat lazy smart genius stupid idiot boring simple easy hard strong
stronger strongest brave quick fast slow hot cold fresh new old young dead alive angel death
blood skull bones hell evil dark darkness light bright shine dream dreams dreamer believer
girl girls boys boy man men woman women guy dude people person
"""

_SMALL = """
the and for you your our his her with from this that are was were not but has have had will can
all any who how what when where why to of in is it my me we he she at on by no so do go up be
as or an if us am very much many more most only just like want need know make take get let
"""

_NUMBERS = """
520 521 1314 5201314 1314520 5211314 1314521 5200 9420 7758 7758521 3344520 588 668 688 886 168
666 777 888 999 6666 8888 9999 666666 888888 007 069 420 911 112 110 119 120 123123 123321
112233 121212 131313 159753 147258 147852 741852 789456 456789 101010 102030 13579 24680
"""

_GROUPS = (
    _ACCESS,
    _WORK,
    _LOVE,
    _ANIMALS,
    _NATURE,
    _COLOURS_FOOD,
    _SPORTS_GAMES,
    _MUSIC_CARS,
    _NAMES,
    _PINYIN,
    _PHRASES,
    _PLACES_THINGS,
    _SMALL,
    _NUMBERS,
)

WORDS: Final[frozenset[str]] = frozenset(word for group in _GROUPS for word in group.split())
"""Words and phrases that people choose first."""

_ROWS = (
    "`1234567890-=",
    "~!@#$%^&*()_+",
    "qwertyuiop[]\\",
    "asdfghjkl;'",
    "zxcvbnm,./",
    "azertyuiop",
    "qsdfghjklm",
    "wxcvbn",
    "qwertzuiop",
    "yxcvbnm",
)
_COLUMNS = tuple("".join(keys) for keys in zip("1234567890", *_ROWS[2:5], strict=False))
_UPWARD = ("zse4", "xdr5", "cft6", "vgy7", "bhu8", "nji9", "mko0", "qaw", "wse", "edr", "rft")
_KEYPAD = ("147", "258", "369", "159", "357", "789", "456", "1470", "2580", "3690", "7410")
_ORDERS = ("abcdefghijklmnopqrstuvwxyz", "01234567890", "02468", "13579", "13579", "2468")

RUNS: Final[tuple[str, ...]] = tuple(
    run for line in (*_ROWS, *_COLUMNS, *_UPWARD, *_KEYPAD, *_ORDERS) for run in (line, line[::-1])
)
"""Lines along a keyboard or an alphabet, both ways: any three neighbours make a pattern."""
