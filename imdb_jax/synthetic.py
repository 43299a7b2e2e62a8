"""A corpus of invented film reviews, for when IMDb cannot be downloaded, for tests and for demos.

Nothing is stored: a small grammar writes the reviews, in pure NumPy, and the same call gives the
same reviews everywhere. The corpus is made to be learnable but not trivial, as the real one is:

* lengths, Zipf-like word frequencies, names, HTML line breaks and typing errors as in IMDb;
* a review holds praise and blame at once; their balance, the strength of the words and a verdict at
  the end lean towards its label, in short reviews often not enough;
* negation ("hardly a masterpiece") and pairs of words whose meaning lies in the pair alone reward
  models that see word order;
* one label in twenty-five is wrong, so no model is right about every test review.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from imdb_jax.errors import UserError

SPLIT_SIZES: Final = {"train": 10_000, "test": 5_000, "unsupervised": 10_000}
"""The splits, and how many reviews each holds unless told otherwise."""

_SEED: Final = 1895
_CHUNK: Final = 500  # reviews made together; even, so that chunks hold whole pairs
_MEAN_SENTENCE: Final = 12.85  # words in an average sentence, line breaks included
_LOG_LENGTH: Final = (5.233, 0.66)  # mean and deviation of the logarithm of a review's length
_OPINIONATED: Final = 0.65  # share of sentences that hold an opinion
_LEAN: Final = (0.7, 1.0)  # range of the share of a review's opinions that agree with its label
_VERDICT: Final = (0.5, 0.9)  # share of reviews that end in a verdict; share of those that agree
_STRONG: Final = (0.30, 0.55)  # share of strong words in opinions against and with the label
_CONTRAST: Final = 0.15  # share of the opinions that weigh two things against each other
_LABEL_NOISE: Final = 0.04
_TYPING_ERRORS: Final = 0.03  # share of sentences with one
_SHOUTING: Final = 0.01  # share of sentences in capitals
_BREAKS: Final = 0.2  # share of sentences that end a paragraph

# A slot <name> in a sentence takes a word of the list, or a sentence of the grammar, with that
# name. <a_name> puts "a" or "an" in front of a word; <-name> takes it with the opposite sentiment.
_GRAMMAR: Final = {
    "view": """<statement>|<statement>|<opener> <statement>|<statement> and <statement>
        |<statement>, <aside>|when the <noun> <did> the <noun>, <statement>
        |<statement>, <statement>, <aside>|<statement>, so <plea>""",
    "contrast": """although <-statement>, <statement>|<-statement>, but <statement>
        |even if <-statement>, <opener> <statement>|<statement>, even though <-statement>
        |<-statement>; still, <statement>|<statement> despite the fact that <-statement>""",
    "verdict": """overall, <a_quality> <film>|<a_quality> <film>, not <-a_quality> one
        |in the end this is <a_quality> <film> and I <felt> it|all in all I <felt> the <film>
        |if you like a <noun> or <a_noun>, <plea>|<plea>, it is <a_thing>|so, <plea>
        |my verdict: <quality> and <manner> <made>|this is not <-a_thing>, <plea>""",
    "statement": """the <part> <is> <quality>|the <part> <is> <degree> <quality>
        |the <part> of the <film> <is> <quality>|I <felt> the <part>|this <film> is <a_thing>
        |the <film> is <manner> <made>|<first> <name> is <quality> as the <noun>
        |it is <a_quality> <film> with <a_quality> <part>|the <part> <is> <quality> and <quality>
        |we <felt> <name> as the <noun>, <degree> <quality>|such <a_quality> <part>
        |the <film> is <quality> and <manner> <made>|the <part> is <a_thing>, <manner> <made>
        |the <part> <is> not only <quality> but <quality>|<quality> <part>, <quality> <part>
        |<first> <name> is <quality>, the <part> <quality>, the <part> <degree> <quality>
        |the <quality> <part> and the <quality> <part> make it <a_quality> <film>
        |the <part> is <quality>, <quality> and <quality>|I <felt> every <quality> minute of it
        |the <pairing> of the <noun> stays with me
        |the <part> <is> <negator> <-quality>|the <part> <denies> <-quality>
        |this <film> is <negator> <-a_thing>|there is not <-a_quality> moment in it
        |I <never> <-felt> the <part>|the <film> is not <-manner> <made>""",
    "story": """<first> <name> <did> the <noun> <where>|it is about <a_noun> who <did> the <noun>
        |<first> <name> plays <a_noun> from <name>, and <name> is the <noun>
        |when the <noun> <did> the <noun>, <first> must find the <noun> and the <nouns> <where>
        |I saw this <film> with my <noun> <where> and there were <nouns> in it
        |the <nouns> of the <noun> and the <noun> of the <nouns> are in the <part>
        |the <noun> is not what it seems, and <first> <never> <did> the <nouns> <where>
        |as for the <part>, it was <made> by <first> <name> in <name>
        |he <did> her <noun>, she <did> his <nouns>, and they all end up <where>
        |there is a scene in which the <noun> <did> <a_noun> and then <a_noun> <where>
        |the <film> was <made> for <nouns>, and it has <a_noun> in it that <did> the <noun>
        |at first the <nouns> and <first> don't know that the <noun> <did> the <noun>
        |if you have seen the <nouns> of <name> you know what <first> <name> does with <a_noun>
        |<first> <name>, <first> <name> and <first> <name> are in the cast
        |I have read that the <film> is based on a book by <first> <name> about <nouns> and <nouns>
        |you can see the <noun>, the <nouns> and the <noun> of <name> for about an hour
        |<first> says "<nouns>, <nouns>" to the <noun>, but that's not all there is to it
        |one day <first>'s <noun> is <made> <where> and so the <noun> has to be <made> again
        |the <part> reminds me of another <film> by <name>, the one with the <nouns> <where>""",
}

# Words common to all reviews, the most frequent first.
_NEUTRAL: Final = {
    "part": """story acting plot cast script ending music direction dialogue camera_work humor
        action score soundtrack photography editing pace screenplay romance production lighting
        first_half second_half finale performance main_role character set_design costume makeup
        chemistry villain hero heroine opening sequel premise atmosphere narration""",
    "film": """movie film movie film picture show comedy thriller drama western documentary horror
        flick musical cartoon adaptation feature mystery remake series""",
    "noun": """man woman family life people time world house girl boy father mother friend war town
        police night day children school wife husband city country doctor car brother sister death
        money killer crime job king soldier dog island ship train secret letter murder gun student
        teacher village party wedding island prison hotel lawyer writer singer farm river mountain
        forest road horse army captain church priest ghost monster robot alien planet castle queen
        prince witch vampire zombie cop detective thief gang boss bank bomb plane boat storm winter
        summer neighbor stranger baby couple son daughter uncle aunt cousin nurse patient hospital
        accident memory dream photograph book diary newspaper telephone window door kitchen garden
        bridge desert beach lake cave tunnel tower market shop factory office theater stage""",
    "did": """finds meets follows leaves saves kills sees takes helps loses hides steals watches
        chases knows needs wants calls visits joins fights believes remembers forgets marries owns
        buys sells brings keeps builds burns hears tells asks teaches paints opens breaks carries
        haunts protects betrays hires trusts pays warns catches replaces photographs escorts""",
    "first": """John Mary James Anna Robert Laura David Helen Michael Susan Peter Alice Paul Emma
        George Julia Tom Kate Frank Sarah Jack Rose Henry Grace Charles Ruth Martin Nora Simon Clara
        Walter Irene Victor Edith Oscar Vera Hugo Ida Leon Mabel Otto Olga Felix Hazel Ivan Stella
        Arthur Lucy Edgar Dora Ralph Elsa Boris Greta Conrad Wanda Rupert Thelma Basil Winifred""",
    "is": "is was seems is was felt looks remains turns_out_to_be",
    "degree": "very really so quite pretty truly rather just simply always utterly somewhat",
    "negator": """not never hardly not_really not_exactly far_from anything_but by_no_means
        not_at_all scarcely no_longer""",
    "denies": "isn't wasn't doesn't_seem never_gets didn't_feel ain't can't_be_called won't_look",
    "never": "never didn't_once hardly_ever never_really never",
    "made": "acted written directed made shot filmed edited played staged paced told produced cast",
    "where": """in_the_end at_night in_the_house on_the_road for_the_first_time in_New_York
        at_the_hospital after_the_war in_a_small_town before_it's_too_late by_the_sea on_his_own
        with_her_family years_later in_the_desert at_the_same_time in_the_1950s under_the_bridge""",
    "opener": """I_think I_must_say_that in_my_opinion to_be_honest, I_found_that for_me, frankly,
        let's_face_it, as_I_said, and_yes, what's_more, you'll_find_that on_the_whole""",
    "aside": """if_you_ask_me I_guess at_least_for_me and_that's_that you_know to_say_the_least
        as_usual or_so_I'm_told as_they_say I_suppose and_I've_seen_a_lot_of_them""",
}

# Words of praise and of blame; in each list the first half is strong, the second half mild.
_SENTIMENT: Final = {
    "quality": (
        """great excellent wonderful brilliant superb perfect amazing fantastic beautiful hilarious
        outstanding masterful unforgettable stunning terrific magnificent incredible flawless
        gripping exquisite breathtaking riveting marvelous delightful captivating sublime
        good nice fun interesting entertaining enjoyable funny clever sweet solid charming smart
        touching decent effective original moving likable fresh believable engaging watchable subtle
        warm pleasant thoughtful""",
        """bad terrible awful horrible inept stupid ridiculous pathetic dreadful laughable atrocious
        unwatchable abysmal appalling worthless idiotic dismal unbearable wretched insulting lousy
        embarrassing disgusting horrendous excruciating hopeless
        boring dull weak predictable silly slow poor disappointing flat forgettable cheap annoying
        tedious bland contrived lame clumsy shallow pointless tired confusing dated uneven wooden
        unconvincing muddled""",
    ),
    "thing": (
        """masterpiece triumph classic gem treasure must-see delight winner pleasure treat surprise
        success crowd-pleaser charmer""",
        """disaster waste_of_time travesty mess insult turkey abomination bore failure letdown dud
        disappointment chore misfire""",
    ),
    "manner": (
        """wonderfully brilliantly superbly beautifully perfectly masterfully
        nicely cleverly skillfully tastefully convincingly lovingly""",
        """badly terribly horribly awfully atrociously dreadfully
        poorly clumsily carelessly lazily cheaply sloppily""",
    ),
    "felt": (
        "loved adored treasured cherished enjoyed liked admired appreciated",
        "hated despised loathed detested disliked regretted dreaded resented",
    ),
    "plea": (
        """don't_miss_it see_it_twice I_recommend_it_highly watch_it_tonight
        give_it_a_chance it's_worth_your_time rent_it I_would_see_it_again""",
        """avoid_it don't_bother stay_away burn_every_copy
        skip_it save_your_money I_can't_recommend_it read_a_book_instead""",
    ),
}

# Rare words are put together from these: "moonkeeper", "Karlinsky".
_STEMS: Final = """fire moon rain snow river stone night day sun star sea sand wind storm wood iron
    gold silver copper glass paper salt honey corn bread apple bird wolf fox bear horse fish snake
    frog goose cow bee oak pine thorn rose grass hill lake ice cloud shadow blood bone heart hand
    foot head eye milk clock book song drum bell candle lamp rope coal ash brick tin steel clay
    straw lace silk wool velvet button"""
_ENDINGS: Final = """house light hall garden yard side work maker keeper hunter dealer walker
    singer rider catcher field land port shore bridge gate road path tower cellar room bed table
    chair wagon wheel cart boat ship mill shop market town stand boy girl king queen tamer bearer
    painter master seller watcher dancer breaker teller reader finder digger"""
_SYLLABLES: Final = (
    """Kar Mar Bel Dor Fen Gar Hal Ist Jor Kol Lam Mon Nor Ost Pel Quin Ros Sal Tor Ulm Ver Wil Yar
    Zan Bran Cold Dran Frey Grim Hart Kest Lund Morg Prent Stav Thorn Val Whit""",
    """linsky son berg ton field mann etti ard ova escu ley ington ström wood enko ides quist heim
    ado ault bury by camp dale ell feld gren ham ier kin low more ner oni pole rick sen tel under
    vaud well win zak arez ero ic ini off ow""",
)
# Whether a pairing of one word from each list is praise or blame depends on both words.
_PAIRINGS: Final = (
    "dark simple strange cold loud quiet long wild heavy small raw odd plain big",
    "mood tone heart look voice style edge touch charge spirit twist rhythm",
)


def synthetic_reviews(
    split: str, num_reviews: int | None = None
) -> tuple[list[str], NDArray[np.int8]]:
    """Invented film reviews and their labels, the same at every call.

    A review does not depend on how many are asked for: the first `n` of a longer list are the
    list of `n`. Reviews come in pairs of one positive and one negative in random order, so that
    every even number of them is balanced. In the default sizes no two splits share a review.

    Args:
        split: "train", "test" or "unsupervised".
        num_reviews: how many, at least 1; `SPLIT_SIZES[split]` by default. There is no upper limit.

    Returns:
        The texts, and their labels as int8 of shape (num_reviews,): 1 positive, 0 negative, and -1
        throughout for "unsupervised".

    Raises:
        UserError: there is no such split, or `num_reviews` is less than 1.
    """
    if split not in SPLIT_SIZES:
        raise UserError(f"no split {split!r}: the synthetic corpus has {', '.join(SPLIT_SIZES)}")
    size = SPLIT_SIZES[split] if num_reviews is None else num_reviews
    if size < 1:
        raise UserError(f"num_reviews is {size}: ask for at least 1 review")
    texts: list[str] = []
    labels: list[NDArray[np.int8]] = []
    split_number = list(SPLIT_SIZES).index(split)
    for chunk in range(-(-size // _CHUNK)):
        seed = (_SEED, split_number, chunk)
        chunk_texts, chunk_labels = _chunk(np.random.Generator(np.random.PCG64(seed)))
        texts += chunk_texts
        labels.append(chunk_labels)
    if split == "unsupervised":
        return texts[:size], np.full(size, -1, np.int8)
    return texts[:size], np.concatenate(labels)[:size]


def _chunk(rng: np.random.Generator) -> tuple[list[str], NDArray[np.int8]]:
    """`_CHUNK` reviews and their labels, by way of all their sentences at once."""
    first_of_pair = rng.random(_CHUNK // 2) < 0.5
    positive = np.stack([first_of_pair, ~first_of_pair], axis=1).ravel()
    # A sum of twelve uniform numbers is close to normal and needs nothing but `random`.
    normal = rng.random((_CHUNK, 12)).sum(axis=1) - 6.0
    lengths = np.exp(_LOG_LENGTH[0] + _LOG_LENGTH[1] * normal).clip(10, 2500)
    counts = np.rint(lengths / _MEAN_SENTENCE).astype(np.int64).clip(1)
    ends = counts.cumsum()
    sentences = _sentences(np.where(positive, 1, -1), counts, rng)
    texts = [
        "".join(sentences[end - count : end]).removesuffix("<br /><br />").rstrip()
        for end, count in zip(ends, counts, strict=True)
    ]
    # Both labels of a pair are wrong or neither is, which keeps the classes balanced.
    wrong = np.repeat(rng.random(_CHUNK // 2) < _LABEL_NOISE, 2)
    return texts, (positive ^ wrong).astype(np.int8)


def _sentences(
    sides: NDArray[np.int64], counts: NDArray[np.int64], rng: np.random.Generator
) -> list[str]:
    """The sentences of reviews that are positive (side 1) or negative (-1), in reading order."""
    total = int(counts.sum())
    lean = np.repeat(_LEAN[0] + (_LEAN[1] - _LEAN[0]) * rng.random(len(counts)), counts)
    opinion = rng.random(total) < _OPINIONATED
    contrast = opinion & (rng.random(total) < _CONTRAST)
    last = np.zeros(total, bool)
    last[counts.cumsum() - 1] = True
    verdict = last & (rng.random(total) < _VERDICT[0])
    kinds = np.select([verdict, contrast, opinion], ["verdict", "contrast", "view"], "story")
    agrees = rng.random(total) < np.where(verdict, _VERDICT[1], lean)
    strong = rng.random(total) < np.where(agrees, _STRONG[1], _STRONG[0])
    tones = np.repeat(sides, counts) * np.where(agrees, 1, -1) * np.where(strong, 2, 1)

    sentences = np.empty(total, object)
    for kind in ("verdict", "contrast", "view", "story"):
        for tone in (-2, -1, 1, 2):
            (chosen,) = np.nonzero((kinds == kind) & (tones == tone))
            sentences[chosen] = _expand(kind, tone, len(chosen), rng)
    return _typeset(sentences.tolist(), rng)


def _typeset(sentences: list[str], rng: np.random.Generator) -> list[str]:
    """Sentences with capitals, end marks, line breaks and a few typing errors."""
    total = len(sentences)
    for index in np.nonzero(rng.random(total) < _TYPING_ERRORS)[0]:
        sentences[index] = _mistype(sentences[index], rng)
    for index in np.nonzero(rng.random(total) < _SHOUTING)[0]:
        sentences[index] = sentences[index].upper()
    marks = _draw([".", "!", "...", ".", "?", "!!"], total, rng)
    gaps = np.where(rng.random(total) < _BREAKS, "<br /><br />", " ").tolist()
    return [
        sentence[0].upper() + sentence[1:] + mark + gap
        for sentence, mark, gap in zip(sentences, marks, gaps, strict=True)
    ]


def _mistype(sentence: str, rng: np.random.Generator) -> str:
    """The sentence with two neighbours of its later characters swapped, or one left out."""
    at = int(rng.integers(1, len(sentence) - 1))
    swapped = sentence[at + 1] + sentence[at] if rng.random() < 0.5 else sentence[at + 1]
    return sentence[:at] + swapped + sentence[at + 2 :]


def _expand(symbol: str, tone: int, count: int, rng: np.random.Generator) -> list[str]:
    """`count` phrases for a slot; `tone` is -2, -1, 1 or 2 for strong blame to strong praise."""
    if symbol not in _GRAMMAR:
        return _draw(_lexicon()[symbol, tone], count, rng)
    rules = _rules()[symbol]
    choices = rng.integers(len(rules), size=count)
    phrases = np.empty(count, object)
    for number, (template, slots) in enumerate(rules):
        (chosen,) = np.nonzero(choices == number)
        if len(chosen):  # a rule may lead to others: don't walk down for nothing
            columns = [_expand(name, sign * tone, len(chosen), rng) for sign, name in slots]
            phrases[chosen] = list(map(template.format, *columns))
    expanded: list[str] = phrases.tolist()
    return expanded


def _draw(words: list[str], count: int, rng: np.random.Generator) -> list[str]:
    """`count` words, with frequencies after Zipf and Mandelbrot: 1 / (rank + offset)."""
    found = np.searchsorted(_cumulative(len(words)), rng.random(count), side="right")
    return [words[index] for index in found.tolist()]


@cache
def _cumulative(size: int) -> NDArray[np.float64]:
    # A long list needs the larger offset: its few real words would drown the composed ones.
    weights = 1.0 / (np.arange(size) + 3.0 + size / 60)
    cumulative = weights.cumsum()
    return cumulative / cumulative[-1]  # ends in exactly 1, which `random` never reaches


@cache
def _rules() -> dict[str, list[tuple[str, list[tuple[int, str]]]]]:
    """The grammar with every rule as a `str.format` template and its slots: (sign, name)."""
    slot = re.compile(r"<(-?)(\w+)>")
    return {
        symbol: [
            (slot.sub("{}", rule), [(-1 if sign else 1, name) for sign, name in slot.findall(rule)])
            for rule in map(str.strip, text.split("|"))
        ]
        for symbol, text in _GRAMMAR.items()
    }


@cache
def _lexicon() -> dict[tuple[str, int], list[str]]:
    """The words of each (slot, tone)."""
    rng = np.random.Generator(np.random.PCG64(_SEED))
    neutral = {name: _words(text) for name, text in _NEUTRAL.items()}
    compounds = [stem + ending for stem in _words(_STEMS) for ending in _words(_ENDINGS)]
    neutral["noun"] += _shuffled(compounds, rng)
    neutral["nouns"] = _shuffled([word + "s" for word in compounds], rng)
    starts, ends = map(_words, _SYLLABLES)
    neutral["name"] = _shuffled([start + end for start in starts for end in ends], rng)
    lexicon = {(name, tone): neutral[name] for name in neutral for tone in (-2, -1, 1, 2)}
    for name, texts in _SENTIMENT.items():
        for sign, words in zip((1, -1), map(_words, texts), strict=True):
            half = len(words) // 2
            lexicon[name, 2 * sign], lexicon[name, sign] = words[:half], words[half:]
    for sign in (1, -1):
        lexicon["pairing", sign] = lexicon["pairing", 2 * sign] = _shuffled(_pairings(sign), rng)
    with_article = {
        ("a_" + name, tone): [("an " if word[0] in "aeiou" else "a ") + word for word in words]
        for (name, tone), words in lexicon.items()
    }
    return lexicon | with_article


def _pairings(sign: int) -> list[str]:
    """Half of all pairs of words, such that neither word alone tells which half."""
    firsts, seconds = map(_words, _PAIRINGS)
    return [
        f"{first} {second}"
        for row, first in enumerate(firsts)
        for column, second in enumerate(seconds)
        if (-1) ** (row + column) == sign
    ]


def _words(text: str) -> list[str]:
    return [word.replace("_", " ") for word in text.split()]


def _shuffled(words: Iterable[str], rng: np.random.Generator) -> list[str]:
    listed = list(words)
    return [listed[index] for index in np.argsort(rng.random(len(listed)), kind="stable")]
