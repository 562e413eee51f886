"""The generated data: its promises about splits, alignments, constructions and ambiguous words."""

import itertools
import re
import subprocess
import sys
from collections import Counter
from random import Random

import pytest

from attention_apps.running.command import UserError
from translation import synthetic
from translation.grammar.composition import compose, draw_constructions
from translation.grammar.derivation import derive
from translation.grammar.lexicon import matching
from translation.grammar.splits import (
    HELD_OUT,
    SHARES,
    is_held_out,
    split_of_source,
    split_of_structure,
    split_of_target,
)
from translation.grammar.structure import CONSTRUCTIONS, Personal, clauses, constructions
from translation.synthetic import SPLITS, Example, GeneratedTranslation, generate, main


def listed(words):
    return set(words.split())


@pytest.fixture(scope="module")
def training():
    return list(generate("train", size=20_000, seed=0))


@pytest.fixture(scope="module")
def held_out():
    return list(generate("test_constructions", size=600, seed=0))


def test_the_same_seed_gives_the_same_pairs_and_a_smaller_size_the_first_of_them():
    some = list(generate("validation", size=50, seed=3))
    assert some == list(generate("validation", size=50, seed=3))
    assert some[:20] == list(generate("validation", size=20, seed=3))
    assert some[:20] == list(itertools.islice(generate("validation", size=None, seed=3), 20))
    assert some != list(generate("validation", size=50, seed=4))


def test_generation_leaves_the_global_generator_alone():
    import random

    random.seed(5)
    expected = random.random()
    random.seed(5)
    list(generate("train", size=5, seed=0))
    assert random.random() == expected


def test_processes_agree():
    code = "from translation.synthetic import generate; print(*generate('test', size=3, seed=1))"
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert other.stdout.strip() == " ".join(map(str, generate("test", size=3, seed=1)))


@pytest.mark.parametrize(("split", "size", "told"), [("dev", 3, "'dev'"), ("train", -1, "-1")])
def test_a_split_or_size_that_there_is_not(split, size, told):
    with pytest.raises(ValueError, match=f"Received: {told}"):
        generate(split, size=size, seed=0)


def test_pairs_are_distinct_in_both_languages(training):
    assert len({example.source for example in training}) == 20_000
    assert len({example.target for example in training}) == 20_000


@pytest.mark.verify
def test_100_000_pairs_are_distinct():
    pairs = list(generate("train", size=100_000, seed=0))
    assert len({p.source for p in pairs}) == len({p.target for p in pairs}) == 100_000


def test_no_sentence_is_in_two_splits_whatever_the_seed(training, held_out):
    sentences = {split: set() for split in SPLITS}
    for split, seed in itertools.product(SPLITS, (1, 2)):
        for example in generate(split, size=150, seed=seed):
            sentences[split] |= {example.source, example.target}
    sentences["train"].update(text for p in training for text in (p.source, p.target))
    sentences["test_constructions"].update(text for p in held_out for text in (p.source, p.target))
    for one, other in itertools.combinations(SPLITS, 2):
        assert sentences[one].isdisjoint(sentences[other])


def test_either_sentence_alone_tells_the_split():
    random = Random(1)
    seen = Counter()
    while seen.total() < 2_000:
        sentence = compose(random, draw_constructions(random))
        if sentence is not None:
            source, target, _ = derive(sentence)
            split = split_of_structure(sentence)
            assert split == split_of_source(source) == split_of_target(target), source
            seen[split] += 1
    assert set(seen) == set(SHARES)
    assert 0.6 < seen["train"] / 2_000 < 0.8


def test_the_split_depends_on_the_nouns_alone():
    same = [
        "The dog sees the cat .",
        "Yesterday a big cat did not follow two old dogs .",
    ]
    assert len({split_of_source(source) for source in same}) == 1
    assert split_of_source(same[0]) == split_of_target("Die Hunde hören meine kleine Katze .")


def test_sentences_look_as_promised(training, held_out):
    for example in (*training, *held_out):
        for sentence in (example.source, example.target):
            assert sentence[0].isupper(), sentence
            assert sentence.endswith(" ."), sentence
            assert sentence == " ".join(sentence.split()), sentence
            assert sentence.count(".") == 1, sentence
            assert ", ," not in sentence, sentence
            assert ", ." not in sentence, sentence
    lengths = [len(example.source.split()) for example in training]
    assert 9 <= sum(lengths) / len(lengths) <= 10.5
    assert sum(4 <= length <= 20 for length in lengths) > 0.97 * len(lengths)
    assert max(lengths) <= 24


def test_every_word_is_linked_and_punctuation_to_punctuation(training, held_out):
    for example in (*training, *held_out):
        source, target = example.source.split(), example.target.split()
        assert list(example.alignment) == sorted(set(example.alignment))
        for one, other in example.alignment:
            pair = source[one], target[other]
            assert (pair[0] in ",.") == (pair[1] in ",."), example
            assert pair[0] == pair[1] or pair[0] not in ",.", example
        linked = [{link[side] for link in example.alignment} for side in (0, 1)]
        for words, indexes in zip((source, target), linked, strict=True):
            missing = [word for i, word in enumerate(words) if i not in indexes]
            assert set(missing) <= {","}, example
            assert all(0 <= i < len(words) for i in indexes)
    # English has no comma that German lacks.
    assert not any(
        word == "," and i not in {one for one, _ in example.alignment}
        for example in training
        for i, word in enumerate(example.source.split())
    )


def test_commas_surround_german_clauses(training):
    for example in training:
        words = example.target.split()
        for conjunction in ("weil", "obwohl", "dass", "ob", "wenn", "als", "bevor", "sobald"):
            if conjunction in words[1:]:
                assert words[words.index(conjunction) - 1] == ",", example


# Constructions

MODAL_WORDS = listed("can cannot could must should may want wants wanted")


def test_labels_say_what_the_sentences_have(training, held_out):
    for example in (*training, *held_out):
        label = set(example.construction.split("+"))
        source = example.source.split()
        lower = {word.lower() for word in source}
        assert ("negation" in label) == bool(lower & {"not", "cannot"}), example
        assert ("future" in label) == ("will" in lower), example
        to = {(a, b) for a, b in itertools.pairwise(source)}
        has_to = any(word in ("has", "have", "had") and b == "to" for word, b in to)
        assert ("modal" in label) == (bool(lower & MODAL_WORDS) or has_to), example
        assert ("genitive" in label) == ("'s" in lower or _owned(example)), example
        if "subordinate" not in label and "relative" not in label:
            assert not lower & {"because", "although", "while", "whether", "if"}, example
        if "perfect" in label:
            assert lower & {"has", "have"}, example
        if "passive" in label:
            target = set(example.target.casefold().split())
            assert target & {"wird", "werden", "wirst", "werde", "wurde", "wurden"}, example


def _owned(example):
    """Whether an `of` is linked to a German article in the genitive (and no partitive)."""
    source, target = example.source.split(), example.target.split()
    articles = ("des", "der", "dieses", "dieser", "eines", "einer")
    possessives = tuple(
        f"{stem}{ending}"
        for stem in ("mein", "dein", "sein", "ihr", "unser")
        for ending in ("es", "er")
    )
    before_noun = [
        target[other]
        for one, other in example.alignment
        if source[one] == "of" and source[one - 1] not in ("think", "thinks", "thought", "dream")
    ]
    return any(word in articles + possessives for word in before_noun)


def test_held_out_constructions_never_meet_in_training_but_all_of_them_are_there(
    training, held_out
):
    assert HELD_OUT
    seen = Counter(name for example in training for name in example.construction.split("+"))
    assert set(seen) == {*CONSTRUCTIONS, "plain"}
    assert min(seen.values()) > 300
    for split in ("train", "validation", "test"):
        examples = training if split == "train" else generate(split, size=300, seed=0)
        for example in examples:
            assert not is_held_out(frozenset(example.construction.split("+"))), example
            words = example.source.split()
            perfect = any(
                word in ("has", "have") and after == "not"
                for word, after in itertools.pairwise(words)
            )
            assert not perfect, example
    met = Counter(
        pair for e in held_out for pair in HELD_OUT if pair <= set(e.construction.split("+"))
    )
    assert all(any(pair <= set(e.construction.split("+")) for pair in HELD_OUT) for e in held_out)
    assert set(met) == set(HELD_OUT)
    assert min(met.values()) >= 20


def test_composition_has_exactly_the_constructions_that_are_wanted():
    random = Random(2)
    for wanted in (frozenset(), frozenset(("modal",)), frozenset(("relative", "separable"))):
        made = [sentence for _ in range(60) if (sentence := compose(random, wanted)) is not None]
        assert len(made) > 10
        assert all(constructions(sentence) == wanted for sentence in made)


# Ambiguous words: English form, and for each sense the German words and what in the sentence tells


def nouns(*tags):
    """English forms of the nouns that have one of the tags."""
    entries = [entry for tag in tags for entry in matching(tag)]
    forms = {form for e in entries for form in (e.english, getattr(e, "english_plural", ""))}
    return forms - {""}


def forms(base, *irregular):
    return {base, base + "s", *irregular}


PEOPLE, ANIMALS = nouns("person"), nouns("animal")
STATES = listed("happy sad tired hungry thirsty sick angry nervous lonely")
WON = {
    *forms("win", "won", "winning"),
    *forms("lose", "lost", "losing"),
    "begin",
    "begins",
    "began",
}
WON |= {"begun", "beginning", "watch", "watches", "watched", "watching"}
MAIL = listed("write read open send bring show answer wait take understand important short")
MAIL |= {"strange", "difficult", "boring", "long", "interesting"}
MAIL |= {f"{verb}{end}" for verb in MAIL for end in ("s", "ed", "ing")}
MAIL |= listed("wrote written writing sent brought showed shown took taken taking understood")
FOUND = listed("find found looking look looked lose lost forget forgot forgotten give gave given")
FOUND |= {f"{verb}s" for verb in FOUND} | {"giving", "losing", "finding", "forgetting"}
WORDS = {
    "bank": {
        r"Bank(en)?": {*forms("work", "worked", "working"), "money", "coin", "coins"},
        r"Ufers?": {"river", "lake"},
    },
    "bats?": {
        r"Fledermaus|Fledermäusen?": {
            *forms("fly", "flies", "flew", "flown", "flying"),
            "cave",
            "caves",
            "tree",
            "trees",
        },
        r"Schlägern?s?": {"player", "players"},
    },
    "walls?": {
        r"Wand|Wänden?": nouns("room", "=house"),
        r"Mauern?": nouns("=garden", "=castle", "=city"),
    },
    "letters?": {r"Buchstaben?s?": {"word"}, r"Brief(e|en|es)?": MAIL},
    "match(es)?": {
        r"Spiel(e|en|s)?": WON,
        r"Streich(holz(es)?|hölzern?)": {"strike", "strikes", "struck", "striking"},
    },
    "keys?": {
        r"Tasten?": {"press", "presses", "pressed", "pressing"},
        r"Schlüsseln?s?": FOUND,
    },
    "know|knows|knew|known": {
        r"kenn\w*|kann\w+|gekannt": nouns(
            "person",
            "sight",
            "known",
            "metropolis",
            "=song",
            "=story",
            "=book",
            "=film",
            "=secret",
            "=joke",
            "=hotel",
            "=restaurant",
            "=village",
            "=street",
        ),
        r"weißt?|wiss\w+|wuss\w+|gewusst": {"that", "whether"},
    },
    "put|puts|putting": {
        r"(ge)?stell\w+": nouns("upright", "=chair", "=bicycle", "=table"),
        r"(ge)?leg\w+": nouns("flat"),
        r"(ge)?setz\w+": nouns("=child", "=doll", "=cat", "=rabbit"),
        r"(zieh\w*|zog\w*) an|an(zu)?(zieh|zog|gezog)\w*": {"on"},
    },
    "eat|eats|ate|eaten|eating": {
        r"ess\w+|isst|aß(en)?|gegessen": PEOPLE,
        r"(ge)?fress\w+|frisst|fraß(en)?": ANIMALS,
    },
    "leave|leaves|left|leaving": {
        r"verlass\w*|verlässt|verließ\w*": nouns(
            "building", "room", "=city", "=village", "=island", "=forest", "=garden"
        ),
        r"(fähr|fahr|fuhr)\w* ab|ab(zu|ge)?(fähr|fahr|fuhr)\w*": nouns("public"),
    },
    "call|calls|called|calling": {
        r"(ruf|rief)\w* an|an(zu|ge)?(ruf|rief)\w*": PEOPLE,
        r"(ge)?(ruf|rief)\w*": nouns("pet"),
    },
    "spend|spends|spent|spending": {
        r"(geb|gib|gab)\w* aus|aus(zu|ge)?(geb|gib|gab)\w*": {"money"},
        r"verbring\w+|verbrach\w+": {"evening", "weekend", "afternoon", "holiday"},
    },
    "watch|watches|watched|watching": {
        r"seh\w*|sieh\w*|sah(en)?|gesehen": nouns("=film", "game"),
        r"beobacht\w+": PEOPLE | ANIMALS,
    },
    "miss|misses|missed|missing": {
        r"verpass\w+": nouns("=bus", "=train", "=tram", "=plane", "=film"),
        r"vermiss\w+": PEOPLE | nouns("pet"),
    },
    "save|saves|saved|saving": {
        r"(ge)?rett\w+": PEOPLE | nouns("tame"),
        r"(ge)?spar\w+": {"money"},
        r"(ge)?speicher\w+": {"file", "files"},
    },
    "ride|rides|rode|ridden|riding": {
        r"(ge)?(reit|ritt)\w*": nouns("=horse", "=donkey", "=elephant"),
        r"(ge)?(fähr|fahr|fuhr)\w*": {"bicycle", "bicycles"},
    },
    "paint|paints|painted|painting": {
        r"(ge)?mal\w+": nouns("=picture", "=painting"),
        r"(ge)?(streich|strich)\w*": nouns(
            "=fence", "=door", "=gate", "=kitchen", "=room", "=house", "=office", "inner-wall"
        ),
        r"Gemäldes?": {"painting"},
    },
    "grow|grows|grew|grown|growing": {
        r"(ge)?(wachs|wächs|wuchs)\w*": nouns("plant", "crop"),
        r"bau\w* an|an(zu|ge)?bau\w*": {"farmer", "farmers", "gardener", "gardeners"},
    },
    "run|runs|ran|running": {
        r"(ge)?(lauf|läuf|lief)\w*": {"to", "into", "onto"},
        r"(ge)?leit\w+": nouns(
            "=hotel", "=restaurant", "=school", "=library", "=museum", "firm", "=café"
        ),
    },
    "answer|answers|answered|answering": {
        r"(ge)?antwort\w+": PEOPLE,
        r"beantwort\w+": {"question", "questions", "letter", "letters"},
        r"Antwort(en)?": {"answer", "answers"},
    },
    "ask|asks|asked|asking": {
        r"bitt\w+|bat(en)?|gebeten": {"for"},
        r"(ge)?frag\w+": PEOPLE | {"whether"},
    },
    "look|looks|looked|looking": {
        r"(ge)?such\w+": {"for"},
        r"schau\w* an|an(zu|ge)?schau\w*|schau\w*|geschaut": {"at"},
        r"(seh|sieh|sah)\w* aus|aus(ge)?(seh|sieh|sah)\w*": STATES,
    },
    "light": {
        r"hell\w*": nouns("=room", "=kitchen", "=office"),
        r"leicht\w*": nouns("=suitcase", "=box", "=bag", "=basket", "=chair", "=tent"),
    },
    "hard": {
        r"schwierig\w*": {"question", "questions", "problem", "problems", "exam", "exams"},
        r"hart\w*": nouns("=bread", "=chair", "=bench", "=bed", "=pillow", "=nut"),
    },
    "short": {
        r"klein\w*": PEOPLE,
        r"kurz\w*": nouns("text", "show", "=skirt", "=dress", "=street", "=song", "=rope"),
    },
}


def test_the_sentence_tells_the_sense_of_an_ambiguous_word(training):
    seen = Counter()
    for example in training:
        source, target = example.source.split(), example.target.split()
        words = set(source) | {source[0].lower()}
        for form, senses in WORDS.items():
            for index, word in enumerate(source):
                if not re.fullmatch(form, word):
                    continue
                linked = " ".join(target[j] for i, j in example.alignment if i == index)
                fitting = [sense for sense in senses if re.fullmatch(sense, linked)]
                assert len(fitting) == 1, (word, linked, example)
                assert words & senses[fitting[0]], (word, linked, example)
                seen[form, fitting[0]] += 1
    missing = {(form, sense) for form, senses in WORDS.items() for sense in senses} - set(seen)
    assert not missing
    assert len(WORDS) >= 20


def test_what_tells_a_sense_is_never_a_pronoun():
    random = Random(3)
    told = Counter()
    for wanted in itertools.islice(
        itertools.cycle(map(frozenset, ([], ["infinitive"], ["subordinate"], ["coordination"]))),
        12_000,
    ):
        sentence = compose(random, wanted)
        if sentence is None:
            continue
        # An infinitive and a joined clause have the subject of the main clause.
        above = sentence.main.subject
        for clause in clauses(sentence):
            telling = clause.verb.telling
            if telling == "object":
                assert not isinstance(clause.object, Personal), derive(sentence)
            elif telling == "subject":
                assert not isinstance(clause.subject or above, Personal), derive(sentence)
            told[telling] += 1
    assert told["object"] > 300
    assert told["subject"] > 100


def test_when_translates_by_the_time_of_its_clause(training):
    present = past = 0
    for example in training:
        source, target = example.source.split(), example.target.split()
        for index, word in enumerate(source):
            if word in ("when", "When"):
                (other,) = (target[j] for i, j in example.alignment if i == index)
                is_past = other.lower() == "als"
                verbs = re.search(r"\b(was|were|did|\w+ed|went|saw|had)\b", example.source)
                present, past = present + (not is_past), past + is_past
                assert other.lower() in ("wenn", "als")
                if re.search(r"\b(is|are|will|does|can|may|must|should)\b", example.source):
                    assert not is_past, example
                assert is_past or not (verbs and verbs[0] in ("was", "were", "did")), example
    assert present > 10
    assert past > 10


# The builder and the command


def test_the_builder_stores_what_is_generated(tmp_path, monkeypatch):
    monkeypatch.setattr(
        GeneratedTranslation, "SIZES", {"small": (30, 7), "full": (0, 0), "tiny": (0, 0)}
    )
    builder = GeneratedTranslation(config="small", data_dir=tmp_path)
    builder.download_and_prepare()
    for split in SPLITS:
        size = 30 if split == "train" else 7
        stored = {
            Example(
                source=row["source"].decode(),
                target=row["target"].decode(),
                alignment=tuple((int(one), int(other)) for one, other in row["alignment"]),
                construction=row["construction"].decode(),
            )
            for row in builder.as_dataset(split=split).as_numpy_iterator()
        }
        assert stored == set(generate(split, size=size, seed=0))


def test_the_builder_knows_the_promised_sizes():
    assert GeneratedTranslation.SIZES == {
        "full": (100_000, 1_000),
        "small": (20_000, 500),
        "tiny": (2_000, 100),
    }
    assert {config.name for config in GeneratedTranslation.BUILDER_CONFIGS} == {
        "full",
        "small",
        "tiny",
    }


def test_the_command_prints_examples_with_their_alignment(capsys):
    main(["--show", "2", "--split", "test", "--seed", "4"])
    printed = capsys.readouterr().out
    for example in generate("test", size=2, seed=4):
        assert f"{example.construction}\n{example.source}\n{example.target}\n" in printed
    one, other = next(generate("test", size=1, seed=4)).alignment[0]
    example = next(generate("test", size=1, seed=4))
    assert f"{example.target.split()[other]}[{example.source.split()[one]}" in printed


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--show", "0"], "Received: 0"),
        (["--show", "many"], "many"),
        (["--split", "dev"], "dev"),
        (["--colour"], "--colour"),
    ],
)
def test_the_command_refuses_bad_input(arguments, told):
    with pytest.raises(UserError, match=told):
        main(arguments)


def test_a_refusal_is_one_line_and_status_2():
    command = [sys.executable, "-m", synthetic.__name__, "--show", "-3"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1
    assert "Received: -3" in ended.stderr
