"""Twelve probes of a method: whether it behaves in a run as its author means it to.

Nobody knows the right mask of a method, so the probes compare answers that must be equal (asked twice, in a batch, on
another device) or must differ in a certain way (other words, another click). Each probe is independent of the others
and uses fresh copies of the pictures. Together they take a second for a method that draws a disk, and a minute for a
network of published size on a CPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from harness.checking.asking import TIPPED, Asked, apart, checked
from harness.checking.probes import BrokenError, Outcome, Probe, UntoldError, outcomes
from harness.evaluation.probe import says_uses_text
from harness.evaluation.protocol import carried
from harness.plugins.failures import described
from harness.structures import Click, Image, Mask, Prediction, Prompt, UserError

TYPES, TWICE = "shapes and types", "the same answer twice"
ON_GPU = 5e-3
"""The largest mean share of pixels by which a GPU's answers may differ from the CPU's: 0.5 %, 61 pixels of 96 x 128.

More than `TIPPED`, since every layer rounds differently there, not only the sums over a batch. It is a mean over all
prompts, so that one mask with an unclear outline does not decide. Half precision usually stays above it.
"""

SIZES = ((1, 1), (1, 17), (17, 1), (31, 47))
"""Heights and widths that code often fails on: one pixel, one row, one column, odd numbers."""

PAIRS = (((0.7, 0.2), (0.45, 0.85)), ((0.9, 0.5), (0.15, 0.4)))
"""Pairs of clicks, x and y in shares of the shorter side, so that a click with x and y swapped is inside as well.

    . . . A . .       A: the first click, (0.7, 0.2); a: the same click with x and y swapped, (0.2, 0.7)
    . . . b . .       B: the second click, (0.45, 0.85); b: (0.85, 0.45)
    a . . . . .
    . . B . . .       The windows around the four places do not overlap.
"""


def check_method(asked: Asked) -> Iterator[Outcome]:
    """Run the twelve probes.

    Args:
        asked: The method, the pictures and prompts, and how to build it again.
    """
    return outcomes(PROBES, asked)


def shapes_and_types(asked: Asked) -> str:
    """The scorer accepts the answers, also those of `predict` for a lone click and for a list of clicks."""
    counts = set()
    for image, prompts in asked.questions:
        answer = asked.answer(image, prompts[0])
        for clicks in (*_lone(prompts[0]), [*prompts[0].clicks]):
            asked.predicted(image, clicks, prompts[0])
        # A run takes the memory of the candidate that it chose into the next round, so it looks it up by position.
        if len(answer.memory) not in (0, len(answer.masks)):
            raise BrokenError(
                f"memory has {len(answer.memory)} entries; wanted none or {len(answer.masks)}, one per mask."
            )
        if not asked.method.needs_click:
            asked.answer(image, replace(prompts[0], clicks=()))
        counts.add(len(answer.masks))
    return f"{' or '.join(map(str, sorted(counts)))} masks, bool, at the image's (h, w)"


def same_answer_twice(asked: Asked) -> str:
    """The same picture and prompt, encoded and asked a second time, get the same pixels.

    This shows dropout that was left on, a generator that takes its seed from the clock, and counters on `self`. No
    tolerance is needed: the same computation on the same device gives the same bits.
    """
    filled = 0
    for image, prompts in asked.questions:
        first, again = (asked.answer(image, prompts[0]) for _ in range(2))
        if share := apart(first, again):
            raise BrokenError(
                f"the second answer to one prompt differs from the first in {_percent(share)} of the pixels."
            )
        filled += int(first.masks.sum())
    # Empty masks are equal whatever the method does, so they prove nothing, here or in most later probes.
    if not filled:
        raise UntoldError("every mask is empty: give words that it knows (--text), or a config with its data set")
    return "equal in every pixel"


def batch_against_single(asked: Asked) -> str:
    """Several pictures with several prompts each, in one call, get the same answers as one prompt at a time.

    This shows a `segment` that uses the first picture's state for all groups, or returns the groups in another order.
    A worker batches as it likes, so such a method's rows would depend on the batch size.
    """
    images = asked.questions.images
    groups = list(zip(asked.states(images), asked.questions.prompts, strict=True))
    together = asked.answers(groups)
    for image, (_, prompts), answers in zip(images, groups, together, strict=True):
        for number, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
            share = apart(asked.answer(image, prompt), answer)
            if share > TIPPED:
                raise BrokenError(
                    f"the answer to prompt {number + 1} of a batch differs in {_percent(share)} of the pixels from "
                    "the answer to this prompt alone."
                )
    return f"{sum(map(len, together))} prompts on {len(images)} pictures"


def swapped_x_and_y(asked: Asked) -> str:
    """The pixels that another click changes are near that click, not near the point with x and y swapped.

    A single mask does not show this: it may cover both places. So the masks of two clicks are compared. Pixels in which
    they differ depend on the click; these are counted in windows around the clicks (`own`) and around the clicks with x
    and y swapped (`swapped`). For a method that draws a disk around the click, `own` is every pixel of the windows and
    `swapped` is 0; with x and y mixed up it is the other way round.
    """
    own = swapped = looked_at = 0
    for image, _ in asked.questions:
        for first, second in PAIRS:
            clicks = [_at(image, share) for share in (first, second)]
            one, other = (asked.answer(image, _prompt(asked, click, image.shape[:2])) for click in clicks)
            if one.masks.shape == other.masks.shape:
                changed = (one.masks ^ other.masks).any(axis=0)
                own += sum(_near(changed, click.x, click.y) for click in clicks)
                swapped += sum(_near(changed, click.y, click.x) for click in clicks)
                looked_at += sum(_near(np.ones_like(changed), click.x, click.y) for click in clicks)
    # A method that answers by the words alone, or with whole objects, changes little near a click. Below a twentieth of
    # the windows' pixels the two counts are chance. A factor of two is required, since objects may reach both places.
    if max(own, swapped) <= looked_at / 20:
        raise UntoldError("a click elsewhere changes few or no pixels near it")
    if swapped > 2 * own:
        raise BrokenError(f"a click elsewhere changes {swapped} pixels around (y, x), and only {own} around (x, y).")
    return "masks follow the click"


def leaking_state(asked: Asked) -> str:
    """A picture's answers do not depend on the pictures before it, and do not change when others come after.

    Nor does the second round of an object's clicks depend on the clicks on another object. It looks for four faults:

        encode(1), answer 1                           kept as it is
        encode(1), encode(2), answer 2, answer 1      1. the kept array changed: the method returns one buffer each time
                                                      2. the answer differs: `encode` leaves the picture on `self`
        new method: encode(2), answer 2               3. the answer differs: a cache still holds something of picture 1
        object A, object B, object A again            4. the answer differs: the last mask is kept on `self`
    """
    first, second = asked.questions.images[:2]
    prompt, other = asked.questions.prompts[0][0], asked.questions.prompts[1][0]
    alone = asked.answer(first, prompt)
    kept = alone.masks.copy()
    (state,) = asked.states([first])
    later = asked.answer(second, other)
    ((again,),) = asked.answers([(state, [prompt])])
    if not np.array_equal(alone.masks, kept):
        raise BrokenError(
            "the masks of one answer changed when the method answered for another picture; wanted new arrays for "
            "each answer."
        )
    if apart(again, replace(alone, masks=kept)):
        raise BrokenError("the answer for a picture changed after a second picture was encoded.")
    # Weights may load into other memory and add in another order, so this comparison has the tolerance of a batch.
    fresh = asked.another and asked.another(None)
    if fresh and apart(asked.answer(second, other, fresh), later) > TIPPED:
        raise BrokenError("the answer for a picture differs if the method answered for another picture before.")
    _check_rounds(asked)
    return "no picture changes the answer for another"


def _check_rounds(asked: Asked) -> None:
    """Refuse a method whose second answer for an object depends on the click that another object got in between."""
    try:
        alone = _second_round(asked, interrupted=False)
    except BrokenError:
        raise
    except Exception:  # A network for a fixed number of clicks refuses more; a run that asks it so has failed rows.
        return
    if apart(alone, _second_round(asked, interrupted=True)):
        raise BrokenError(
            "the answer to an object's second click differs if another object was clicked in between, as in a run."
        )


def _second_round(asked: Asked, interrupted: bool) -> Prediction:
    """The answer to a further round of clicks on the first picture's first object, from the memory of the first round.

    Args:
        asked: The method.
        interrupted: Whether another object's first round comes between the two.
    """
    image, prompt = asked.questions.images[0], asked.questions.prompts[0][0]
    other = _prompt(asked, Click(0, 0), image.shape[:2])
    (state,) = asked.states([image])
    ((first,),) = asked.answers([(state, [prompt])])
    memory = carried(checked(first, image))[1]
    if interrupted:
        asked.answers([(state, [other])])
    ((second,),) = asked.answers([(state, [replace(prompt, clicks=prompt.clicks + other.clicks, previous=memory)])])
    return checked(second, image)


def empty_text(asked: Asked) -> str:
    """Without words the method answers, or refuses by a ValueError with a sentence of its own.

    A refusal becomes a failed row with that sentence. An AttributeError because None has no `lower` is a fault.
    """
    refused = ""
    for text in (None, ""):
        for image, prompts in asked.questions:
            try:
                asked.answer(image, replace(prompts[0], text=text))
            except (ValueError, UserError) as error:
                refused = f"; refuses {text!r}: {error}"
    return f"answers or refuses None and an empty text{refused}"


def border_click(asked: Asked) -> str:
    """A click in each corner, at the middle of each side and in the centre gets an answer.

    There a window around the click is cut off. `image[y - 9 : y + 9]` at y = 3 starts at -6, which
    NumPy counts from the end, so the window is empty.
    """
    image = asked.questions.images[0]
    h, w = image.shape[:2]
    for x in (0, w // 2, w - 1):
        for y in (0, h // 2, h - 1):
            with _named(f"click ({x}, {y}) on {h} x {w} pixels"):
                asked.answer(image, _prompt(asked, Click(x, y), (h, w)))
    return "corners and sides"


def odd_sizes(asked: Asked) -> str:
    """Pictures of one pixel, one row, one column or odd sizes get an answer, and so does a view of an array."""
    whole = asked.questions.images[0]
    for h, w in SIZES:
        with _named(f"a picture of {h} x {w} pixels"):
            prompt = _prompt(asked, Click(w // 2, h // 2), (h, w))
            asked.answer(np.ascontiguousarray(np.resize(whole, (h, w, 3))), prompt)
    # A mirrored view has a negative stride. torch.from_numpy refuses it, and C code that reads the memory from its
    # start sees other pixels; then the answer differs from that to a copy, which has its pixels in order.
    mirrored, prompt = whole[:, ::-1], asked.questions.prompts[0][0]
    with _named("a mirrored view of a picture (image[:, ::-1])"):
        (state,) = asked.states([whole.copy()[:, ::-1]], copied=False)
        ((given,),) = asked.answers([(state, [prompt])])
        if share := apart(given, asked.answer(mirrored, prompt)):
            raise BrokenError(f"differs in {_percent(share)} of the pixels from its copy.")
    return ", ".join(f"{h} x {w}" for h, w in SIZES) + ", a view"


def input_left_alone(asked: Asked) -> str:
    """The picture, the list of clicks and the mask to start from are unchanged after the call.

    A run's images are read-only, but torch.from_numpy writes on them all the same. If a method normalized the picture
    in place, its next answer would be about other pixels.
    """
    for image, prompts in asked.questions:
        given, start = image.copy(), np.zeros(image.shape[:2], bool)
        clicks = [*prompts[0].clicks]
        (state,) = asked.states([given], copied=False)
        asked.answers([(state, [replace(prompts[0], initial=start)])])
        asked.method.predict(given, clicks, prompts[0].text)
        if not np.array_equal(given, image):
            raise BrokenError(
                f"changed {int((given != image).any(axis=2).sum())} pixels of the picture that it was given."
            )
        if clicks != [*prompts[0].clicks]:
            raise BrokenError(f"changed the list of clicks that it was given to {clicks}.")
        if start.any():
            raise BrokenError("changed the mask to start from, `Prompt.initial`.")
    return "pictures, clicks, masks to start from"


def uses_text_is_true(asked: Asked) -> str:
    """Other words change a mask if the class has `uses_text = True`, and change none if it has not.

    By this flag tables choose which methods are compared with and without words.
    """
    changed = any(_differ(asked, image, prompt) for image, prompts in asked.questions for prompt in prompts)
    says = says_uses_text(type(asked.method))
    told = f"uses_text = {asked.method.uses_text}" if says else "no uses_text"
    if changed != asked.method.uses_text:
        raise BrokenError(f"other words change {'its masks' if changed else 'no mask'}, but the class has {told}.")
    return f"{told}, and other words change {'its masks' if changed else 'no mask'}"


def gpu_against_cpu(asked: Asked) -> str:
    """Built on the CPU and built on the GPU, the method gives the same answers up to a few pixels.

    This shows a tensor that stays on one device, and lower precision on the GPU that nobody meant (TF32, autocast).
    """
    if not asked.gpu:
        raise UntoldError("no GPU that it could use")
    on_cpu, on_gpu = (asked.another and asked.another(device) for device in ("cpu", asked.gpu))
    if not on_cpu or not on_gpu:
        raise UntoldError("its constructor takes no `device`, so it cannot be built on both")
    shares = [
        apart(*(asked.answer(image, prompt, method) for method in (on_cpu, on_gpu)))
        for image, prompts in asked.questions
        for prompt in prompts
    ]
    if (share := float(np.mean(shares))) > ON_GPU:
        raise BrokenError(f"the answers on {asked.gpu} and on the CPU differ in {_percent(share)} of the pixels.")
    return f"{_percent(share)} of the pixels differ"


def predict_against_segment(asked: Asked) -> str:
    """`predict` gives the same answers as `encode` and `segment`, so that trying by hand shows what is benchmarked."""
    for image, prompts in asked.questions:
        # `predict` also takes a click that is not in a list, (x, y) or Click; a plugin may handle that in its own way.
        given: list[tuple[Prompt, Any, str]] = [(prompt, prompt.clicks, "") for prompt in prompts]
        given += [(prompts[0], click, " of a click that stands alone") for click in _lone(prompts[0])]
        for prompt, clicks, how in given:
            share = apart(asked.predicted(image, clicks, prompt), asked.answer(image, prompt))
            if share > TIPPED:
                what = f"predict{how} differs from encode and segment"
                raise BrokenError(f"{what} in {_percent(share)} of the pixels.")
    return "equal"


PROBES = (
    Probe(
        TYPES,
        shapes_and_types,
        "Return harness.Prediction(masks): bool (k, h, w) at the image's size, and, if k > 1, one score per mask for "
        "each ranking. A threshold turns a float array into a mask: `probability > 0.5`.",
    ),
    Probe(
        TWICE,
        same_answer_twice,
        "Call the network's .eval(), draw from np.random or torch, which a run seeds, and keep nothing between calls.",
        (TYPES,),
    ),
    Probe(
        "batch against single",
        batch_against_single,
        "In `segment`, go through all groups in their order and use each group's own state and prompts. With "
        "`predict` alone, its random numbers continue from prompt to prompt: seed them at its start, for example "
        "with cv2.setRNGSeed(0) for OpenCV's grabCut and kmeans.",
        (TYPES, TWICE),
    ),
    Probe(
        "swapped x and y",
        swapped_x_and_y,
        "A click is (x, y), x to the right; an array is indexed [y, x] and has the shape (h, w).",
        (TYPES, TWICE),
    ),
    Probe(
        "state that leaks between images",
        leaking_state,
        "Return from `encode` all that `segment` needs of the picture, and in `Prediction.memory` what the next click "
        "needs of the last mask. Keep nothing of either on `self`, and return new arrays each time. The key of a cache "
        "must be made from the picture's content, not from its size or id().",
        (TYPES, TWICE),
    ),
    Probe(
        "empty text",
        empty_text,
        "A run may give no words, and Prompt.text is then None: answer by the click alone, or raise ValueError with a "
        "sentence that says why not.",
        (TYPES,),
    ),
    Probe(
        "border click",
        border_click,
        "Clip a window around the click to the picture: max(0, x - r), min(w, x + r + 1).",
        (TYPES,),
    ),
    Probe(
        "1-pixel and odd sizes",
        odd_sizes,
        "Pad or resize to what the network takes, and bring the mask back to the image's (h, w), whatever they are. "
        "np.ascontiguousarray(image) makes an array of a view. If none of your pictures is so small, a run does not "
        "need this.",
        (TYPES, TWICE),
    ),
    Probe(
        "input left alone",
        input_left_alone,
        "Work on a copy: image.copy(), list(clicks). torch.from_numpy shares the array's memory, so in-place "
        "operations (add_, sub_, image /= 255) change the array.",
        (TYPES,),
    ),
    Probe(
        "uses_text told truly",
        uses_text_is_true,
        "Write `uses_text = True` in a class whose masks depend on the words, and False in one whose masks do not. "
        "If the method does not know these words, give others: --text.",
        (TYPES, TWICE),
    ),
    Probe(
        "GPU against CPU",
        gpu_against_cpu,
        "Compute in float32, or say in the class's docstring that half precision differs; "
        "torch.backends.cudnn.allow_tf32 = False keeps a GPU's convolutions exact.",
        (TYPES, TWICE),
    ),
    Probe(
        "predict against segment",
        predict_against_segment,
        "Write `predict` alone, or `encode` and `segment` alone: harness.Method derives the other. If you did, seed "
        "random numbers where they are drawn.",
        (TYPES, TWICE),
    ),
)
"""The probes in the order in which they run.

Probes that compare two answers come after "the same answer twice": two answers of a method that draws without a seed
always differ, which would show nothing about batches, words or devices.
"""


def _differ(asked: Asked, image: Image, prompt: Prompt) -> bool:
    """Whether another word changes a mask. Every pixel counts: words that change the scores alone do not."""
    other = next(word for word in asked.questions.words if word != prompt.text)
    own, others = (asked.answer(image, one) for one in (prompt, replace(prompt, text=other)))
    return not np.array_equal(own.masks, others.masks)


def _prompt(asked: Asked, click: Click, size: tuple[int, int]) -> Prompt:
    """The first picture's first prompt with another first positive click, on a picture of (h, w)."""
    prompt, (height, width) = asked.questions.prompts[0][0], size
    # Other clicks of the round stay where they are, or move to the edge of a smaller picture.
    clicks = [replace(one, x=min(one.x, width - 1), y=min(one.y, height - 1)) for one in prompt.clicks]
    clicks[next((place for place, one in enumerate(clicks) if one.positive), 0)] = click
    return replace(prompt, clicks=tuple(clicks))


def _lone(prompt: Prompt) -> tuple[Click, ...]:
    """The prompt's click if it has a single one, to be given without a list."""
    return prompt.clicks if len(prompt.clicks) == 1 else ()


def _at(image: Image, share: tuple[float, float]) -> Click:
    side = min(image.shape[:2])
    return Click(int(share[0] * side), int(share[1] * side))


def _near(changed: Mask, x: int, y: int) -> int:
    """How many pixels changed in a window around a point: 13 x 13 pixels on 96 x 128, less at the border."""
    reach = max(1, min(changed.shape) // 16)
    return int(changed[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1].sum())


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"


@contextmanager
def _named(what: str) -> Iterator[None]:
    """Put the failing case before the message of a probe that goes through several cases."""
    try:
        yield
    except BrokenError as reason:
        raise BrokenError(f"{what}: {reason}") from None
    except Exception as error:
        raise BrokenError(f"{what}: {described(error)}") from error
