"""What training a Qwen2.5-VL takes on one GPU, worked out from its shape: memory and time. Nothing
here was measured on a GPU; no torch.

    cost = estimate(config, PUBLISHED["qwen2.5-vl-3b"])
    print(*lines(cost), sep="\\n")

What is exact: parameters and FLOPs (models/vlm_shape.py), the cache, LoRA and its optimiser. What
was counted on small models of the real classes, tensor by tensor (`tests/bench/rarl_cost.py`): the
bytes that a token keeps for the backward pass of a layer, those that pass through a layer at most,
the operations of a layer. What is assumed, and named in `lines`: the fields of `Gpu`, `RESERVE`,
how long answers are (`THOUGHT`, `ITEM`) and that every picture is as large as max_pixels.

A step (train/rarl.py): the answers are drawn in lots of `generate_at_once`, each token reading all
weights once and waiting for each operation to be started; then, in lots of `at_once`, a pass by the
start of the stage if `kl` is not 0, one by the policy, and the way back. The vision tower does not
learn: it has no way back. Lots of different prompts are padded; that is not counted.

What follows for `recipes/rarl.toml` (at_once 4, generate_at_once 64 and then 16, checkpointing,
200,704 pixels, 512 tokens) and 24 GB:
* 3B with LoRA fits: 20 GB; without checkpointing it would be 88. Most of the time goes into writing
  answers, and most of that into starting operations, so larger lots are what helps: the first
  stage, with one picture a prompt, draws all 64 answers of a step together (17 GB, half the time of
  lots of 16). The second has no room for that, since the vision tower sees 8 pictures of each
  answer, unless they are small: UTKFace's of 40,000 pixels need 20 GB in lots of 64.
* 7B with LoRA: 16.6 GB are weights, 1.3 LoRA, which leaves 4.6. Both stages fit with at_once 1,
  lots of 8 and pictures of half the size: 23 GB, with next to nothing to spare. With the recipe as
  it is they take 32: a GPU of 40 or 48 GB.
* full fine-tuning of 3B takes 84 GB.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from imgrank.models.vlm_shape import Shape
from imgrank.train.rarl_recipe import Config, Stage, Tuning
from imgrank.train.sft_recipe import Config as Supervised

__all__ = ["RTX_4090", "Cost", "Gpu", "Part", "estimate", "lines"]

TEXT = 220  # tokens of a prompt without its pictures
LABEL = 6  # "Image k: " and the marks around a picture
THOUGHT, ITEM = 150, 14  # tokens of an answer: what it thinks, and an item of its list
LONGEST = 1.5  # the longest answer of a lot over the mean one
RESERVE = 1.5e9  # bytes: the GPU's own context, and what lies in pieces too small to be used
OPERATIONS, WITH_LORA = 40, 82  # of a layer in a pass, as counted; views are none
KEPT_LORA = (36, 10, 4, 28)  # bytes a token: per width, inner, key width and rank, in bfloat16
KEPT_FULL = (30, 8, 4, 0)
PASSING_LORA, PASSING = (13, 12), (9, 6)  # bytes a token at most: per width and inner
SEEING = 38  # bytes a patch at most: per width of the vision tower
ONLY = "only"  # name of the one stage of plain fine-tuning
PIXELS = 4  # bytes of a number of a patch


@dataclass(frozen=True, slots=True)
class Gpu:
    """memory in bytes; flops: bfloat16, dense, a second; bandwidth: bytes a second.

    use, reads: the share of both that is reached. start: seconds until an operation is under way,
    which is what eager PyTorch waits for when it writes token by token.
    """

    name: str
    memory: float
    flops: float
    bandwidth: float
    use: float = 0.35
    reads: float = 0.6
    start: float = 20e-6


RTX_4090 = Gpu("GeForce RTX 4090", 24e9, 165e12, 1008e9)
"""24 GB, 165 TFLOP/s in bfloat16 summed in float32, 1,008 GB/s: as lists of GPUs give them. Its 24
are GiB, 25.8e9 bytes; other GPUs of the size have 23.6e9."""


@dataclass(frozen=True, slots=True)
class Part:
    """One stage. memory: bytes of each of its phases, beside what is always there; seconds a step
    in each."""

    name: str
    steps: int
    memory: Mapping[str, float]
    seconds: Mapping[str, float]

    @property
    def step(self) -> float:
        return sum(self.seconds.values())


@dataclass(frozen=True, slots=True)
class Cost:
    """always: bytes that are there all the time, by what they are. answer: tokens assumed."""

    config: Tuning
    shape: Shape
    gpu: Gpu
    always: Mapping[str, float]
    parts: tuple[Part, ...]

    @property
    def memory(self) -> float:
        """Bytes at the worst moment."""
        phases = [size for part in self.parts for size in part.memory.values()]
        return sum(self.always.values()) + max(phases) + RESERVE

    @property
    def seconds(self) -> float:
        """Of the whole recipe."""
        return sum(part.steps * part.step for part in self.parts)


def estimate(config: Tuning, shape: Shape, gpu: Gpu = RTX_4090) -> Cost:
    """Of a recipe of RARL or of plain fine-tuning, in one process, on one GPU."""
    number = 4 if config.precision == "float32" else 2
    always = _always(config, shape, number)
    if isinstance(config, Config):
        stages = config.chosen()
    else:
        assert isinstance(config, Supervised)
        stages = ((ONLY, Stage(config.steps, config.sizes)),)
    parts = tuple(
        Part(
            name,
            stage.steps,
            _memory(config, shape, number, max(stage.sizes), _lot(config, stage)),
            _mean(
                [_seconds(config, shape, number, gpu, n, _lot(config, stage)) for n in stage.sizes]
            ),
        )
        for name, stage in stages
    )
    return Cost(config, shape, gpu, always, parts)


def lines(cost: Cost) -> list[str]:
    """For people: memory, time of each stage, and what both rest on."""
    config, shape, gpu = cost.config, cost.shape, cost.gpu
    how = "all weights of the language model"
    if not config.full:
        how = f"LoRA of rank {config.rank}, {shape.lora(config.rank) / 1e6:.0f} million more"
    always = ", ".join(f"{name} {size / 1e9:.1f}" for name, size in cost.always.items())
    phases: dict[str, float] = {}
    for part in cost.parts:
        for name, size in part.memory.items():
            phases[name] = max(size, phases.get(name, 0))
    passing = " or ".join(f"{name} {size / 1e9:.1f}" for name, size in phases.items())
    fits = "fits" if cost.memory <= gpu.memory else "does NOT fit"
    found = [
        f"Estimated, not measured: {shape.parameters / 1e9:.2f} billion parameters; {how}",
        f"memory {cost.memory / 1e9:.1f} GB: {always}, {passing}, in reserve {RESERVE / 1e9:.1f}; "
        f"{fits} into {gpu.memory / 1e9:.0f} GB",
    ]
    for part in cost.parts:
        of = ", ".join(f"{name} {seconds:.0f}" for name, seconds in part.seconds.items())
        stage = "" if part.name == ONLY else f"{part.name} stage: "
        hours = part.steps * part.step / 3600
        found.append(
            f"{stage}{part.steps} steps of {part.step:.0f} s ({of}): about {hours:.1f} hours"
        )
    pixels, thought = f"{config.max_pixels:,}", f"{THOUGHT} + {ITEM} a picture"
    return [
        *found,
        f"assumed: a {gpu.name}, {gpu.use:.0%} of its {gpu.flops / 1e12:.0f} TFLOP/s, "
        f"{gpu.reads:.0%} of its {gpu.bandwidth / 1e9:,.0f} GB/s, {gpu.start * 1e6:.0f} µs to "
        f"start an operation; pictures of {pixels} pixels; answers of {thought} tokens, the "
        f"longest {LONGEST} times as long",
        *_advice(cost),
    ]


def _advice(cost: Cost) -> list[str]:
    """What takes less memory, of what is not set so already."""
    config = cost.config
    if cost.memory <= cost.gpu.memory:
        return []
    less = [] if config.checkpointing else ["checkpointing=true"]
    less += ["full=false"] if config.full else []
    less += ["at_once=1"] if config.at_once != 1 else []
    if isinstance(config, Config) and any(
        _lot(config, stage) > config.group for _, stage in config.chosen()
    ):
        less.append(f"generate_at_once={config.group}")
    less.append(f"max_pixels={config.max_pixels // 2}")
    return ["less memory: " + " ".join(f"--set {each}" for each in less)]


# ---- memory --------------------------------------------------------------------------------------


def _always(config: Tuning, shape: Shape, number: int) -> dict[str, float]:
    """A trained number has 4 bytes itself, 4 of its gradient, 8 of AdamW's two means."""
    if not config.full:
        trained = 16 * shape.lora(config.rank)
        return {"weights": number * shape.parameters, "LoRA and its optimiser": trained}
    found = {"weights": 4.0 * shape.parameters, "gradients and optimiser": 12.0 * shape.language}
    if number == 2:  # autocast keeps them from the first use in a pass to its end
        found["the weights in bfloat16"] = 2.0 * shape.language
    if isinstance(config, Config) and config.kl:
        found["the start of the stage"] = 4.0 * shape.parameters
    return found


def _memory(config: Tuning, shape: Shape, number: int, pictures: int, lot: int) -> dict[str, float]:
    """Of prompts of so many pictures, with answers of max_new_tokens. lot: drawn together."""
    tokens = shape.picture_tokens(config.max_pixels)
    prompt, answer = _prompt(pictures, tokens), config.max_new_tokens
    found = {}
    pixels = PIXELS * shape.colours * shape.time * shape.patch**2  # of a patch
    patches = pictures * tokens * shape.merge**2
    shown = config.prompts * patches * pixels  # the prompts of a step
    seeing = patches * (2 * pixels + number / 2 * SEEING * shape.v_width)
    if isinstance(config, Config):
        reading = prompt * number / 2 * _passing(config, shape)
        cache = (prompt + answer) * shape.cached * number
        found["drawing"] = shown + lot * (cache + max(seeing, reading))
    rows = min(config.at_once or _answers(config), _answers(config))
    kept = _kept(config, shape, number) * (prompt + answer)
    if config.checkpointing:  # a layer's input each, and one layer at a time
        kept += number * shape.width * (prompt + answer) * shape.layers
    else:
        kept *= shape.layers
    chances = 2 * number * answer * shape.words  # what foretells a word, and its gradient
    found["learning"] = shown + rows * (kept + chances) + 4 * 256 * 4 * shape.words
    return found


def _kept(config: Tuning, shape: Shape, number: int) -> float:
    """Bytes that a token keeps in a layer for the way back."""
    width, inner, keys, rank = KEPT_FULL if config.full else KEPT_LORA
    return (
        number
        / 2
        * (
            width * shape.width
            + inner * shape.inner
            + keys * shape.key_heads * shape.head
            + rank * config.rank
        )
    )


def _passing(config: Tuning, shape: Shape) -> float:
    width, inner = PASSING if config.full else PASSING_LORA
    return width * shape.width + inner * shape.inner


# ---- time ----------------------------------------------------------------------------------------


def _seconds(
    config: Tuning, shape: Shape, number: int, gpu: Gpu, pictures: int, lot: int
) -> dict[str, float]:
    """Of a step with prompts of so many pictures. lot: answers that are drawn together."""
    tokens = shape.picture_tokens(config.max_pixels)
    prompt = _prompt(pictures, tokens)
    answer = min(LONGEST * (THOUGHT + ITEM * pictures), config.max_new_tokens)
    count, reached = _answers(config), gpu.use * gpu.flops * (1 if number == 2 else 0.5)
    see = pictures * shape.vision_flops(tokens)
    whole = ceil(prompt + answer)
    read = shape.language_flops(whole, whole, ceil(answer))
    back = read * ((2 if config.full else 1) + (1 if config.checkpointing else 0))
    found = {}
    if isinstance(config, Config):
        first = (see + shape.language_flops(prompt, prompt, 1)) * count / reached
        cache = lot * (prompt + answer / 2) * shape.cached * number
        bytes_ = number * (shape.language - (0 if shape.tied else shape.embeddings // 2)) + cache
        each = OPERATIONS if config.full else WITH_LORA
        token = max(bytes_ / (gpu.reads * gpu.bandwidth), shape.layers * each * gpu.start)
        found["drawing"] = first + ceil(count / lot) * answer * token
        if config.kl:
            found["comparing"] = count * (see + read) / reached
    found["learning"] = count * (see + read + back) / reached
    return found


def _mean(each: list[dict[str, float]]) -> dict[str, float]:
    return {name: sum(one[name] for one in each) / len(each) for name in each[0]}


def _prompt(pictures: int, tokens: int) -> int:
    return TEXT + pictures * (LABEL + tokens)


def _lot(config: Tuning, stage: Stage) -> int:
    """Answers that are drawn together: whole groups, as `rarl.roll_out` takes them."""
    if not isinstance(config, Config) or not stage.generate_at_once:
        return _answers(config)
    groups = max(1, stage.generate_at_once // config.group)
    return min(groups * config.group, _answers(config))


def _answers(config: Tuning) -> int:
    """That go through the model in a step."""
    return config.prompts * (config.group if isinstance(config, Config) else 1)
