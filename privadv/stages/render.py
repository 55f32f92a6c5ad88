"""Write the clips as one row of the evaluation stores them: lossless 8 bit, once, for every attacker to share."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator

import numpy as np
import pydantic
import torch

from privadv.config import Section
from privadv.console import progress
from privadv.data.feeds import BATCH, ClipArray, Player, to_uint8
from privadv.data.manifest import SPLITS, ClipSet
from privadv.data.shards import write_shards
from privadv.errors import PrivadvError
from privadv.evaluation.flicker import flicker
from privadv.evaluation.masking import Mask, Masking
from privadv.evaluation.rows import NOISY, of_filter, parse
from privadv.evaluation.variants import check, variant
from privadv.models.checkpoint import Trained
from privadv.models.degradation import Degradation
from privadv.models.scores import score
from privadv.stages.stage import StageContext
from privadv.stages.workbench import Workbench, filtered_batches, filtered_draws
from privadv.training import predict

CALIBRATING = 32
"""Raw training clips, from all over the set, that give an 8-bit filter its ranges."""


class Config(Section):
    """``draws``: how often training clips are released where the release draws noise; attackers learn from all of them, as
    one who holds the filter could. ``shard_megabytes``: about how large a shard of rendered clips gets. ``masking``: where the
    rows ``mask:...`` have their boxes from.
    """

    draws: int = pydantic.Field(default=4, ge=1)
    shard_megabytes: int = pydantic.Field(default=64, ge=1)
    masking: Masking | None = None


def run(
    config: Config, row: str, clips: ClipSet, seed: int, context: StageContext, game: Trained | None = None
) -> ClipSet:
    """The clip set of ``row``, with the set that labels the privacy task where that is another one.

    The filter's has the game's own readers scored on it: A_T_game and in-game leakage. Its other forms are made of the same
    draws of noise, so that they differ in nothing else.

    Raises:
        PrivadvError: the row does not exist, or the filter is asked for without a game.
    """
    if of_filter(row) and game is None:
        raise PrivadvError(
            f"render: the row '{row}' needs the game that trained it: give the manifest of train_adversarial"
        )
    check(row)  # before it names a file
    torch.set_num_threads(context.workers)
    rendered = _rendered(config, row, clips, seed, context, game, ("target",) if clips.private else ("target", "budget"))
    if clips.private is not None:
        private = _rendered(config, row, clips.private, seed + len(SPLITS), context, game, ("budget",))
        leaked = {name: value for name, value in private.metrics.items() if name == "A_B_game"}
        rendered = rendered.model_copy(update={"private": private, "metrics": rendered.metrics | leaked})
    context.tracker.metrics({name: value for name, value in rendered.metrics.items() if name != "seconds"})
    return rendered


def _rendered(
    config: Config, row: str, clips: ClipSet, seed: int, context: StageContext, game: Trained | None,
    labelled: tuple[Player, ...],
) -> ClipSet:
    """One set as ``row`` stores it; ``labelled`` are the tasks that its labels are of."""
    start, splits, metrics = time.monotonic(), {}, {}
    with (
        Workbench(context) as bench,
        progress(f"render {row}", sum(clips.count(split) for split in SPLITS)) as bar,
    ):
        filter_ = _filter(row, game, bench.open(clips, "train"), context) if game is not None and of_filter(row) else None
        for number, split in enumerate(SPLITS):
            array = bench.open(clips, split)
            draws = config.draws if split == "train" and _noisy(row, filter_) else 1
            passes = _released(config, row, array, filter_, seed + number, draws)
            tape = variant(row).tape() if of_filter(row) else None
            passes = tape.recorded(passes) if tape else passes
            rendered = array.derive(bench.folder / f"{split}-{row.replace(':', '-')}.u8", passes, draws)
            splits[split] = write_shards(
                context.store, rendered.iterate(), "raw", config.shard_megabytes << 20
            )
            bar.advance(len(array))
            if split == "test":
                metrics = _distance(array, rendered) | {"frame_step": _frame_step(array)}
                metrics |= {"kbit_per_second": tape.kbit_per_second} if tape else {}
                if row == "filter" and game is not None:
                    metrics |= _game_scores(game, rendered, context, labelled) | _pace(game, array, context)
    seconds = time.monotonic() - start
    lineage = {"raw": clips.digest(), **({"game": game.digest()} if game else {})}
    return clips.model_copy(
        update={
            "row": row,
            "encoding": "raw",
            "splits": splits,
            "lineage": lineage,
            "quarantined": (),
            "metrics": {**metrics, "seconds": seconds},
        }
    )


def _filter(row: str, game: Trained, train: ClipArray, context: StageContext) -> Degradation:
    """The game's filter in the form that the row has it in."""
    examples = (train.frames[place] for place in train.sample(CALIBRATING))
    return variant(row).open(game.degradation, context.store, examples, context.workers)


def _noisy(row: str, filter_: Degradation | None) -> bool:
    """Whether two releases of one clip differ."""
    return filter_.spec.release.noise > 0 if filter_ is not None else row.partition(":")[0] in NOISY


def _released(
    config: Config, row: str, array: ClipArray, filter_: Degradation | None, seed: int, draws: int
) -> Iterator[np.ndarray]:
    """What the row releases of all clips, ``draws`` times over."""
    if filter_ is not None:
        if draws == 1 or variant(row).precision:  # a graph paints and releases in one
            batches = itertools.chain.from_iterable(array.batches() for _ in range(draws))
            yield from filtered_batches(filter_, batches, seed)
        else:
            yield from filtered_draws(filter_, array, seed, draws)
        return
    transform, generator = parse(row), torch.Generator().manual_seed(seed)
    if isinstance(transform, Mask):
        yield from transform.released(array, config.masking)
        return
    for _ in range(draws):
        for clips, labels in zip(array.batches(), array.budget.split(BATCH), strict=True):
            yield to_uint8(transform(clips, labels, generator))


def _distance(raw: ClipArray, rendered: ClipArray) -> dict[str, float]:
    """PSNR in dB of the rendered to the raw test clips, none where they are equal; and how much they flicker, in grey levels."""
    errors = [
        np.mean((np.float32(a) - np.float32(b)) ** 2)
        for a, b in zip(raw.frames, rendered.frames, strict=True)
    ]
    error = float(np.mean(errors))
    trembling = flicker(raw.frames, rendered.frames)
    return {
        **({"psnr": 10 * math.log10(255**2 / error)} if error else {}),
        **({"flicker": trembling} if trembling is not None else {}),
    }


def _frame_step(raw: ClipArray) -> float:
    """How far apart in their video two frames of a clip typically lie; 1 where a clip is one frame."""
    steps = np.concatenate([np.diff(clip.indices) for clip in raw.iterate()])
    return float(np.median(steps)) if len(steps) else 1.0


def _game_scores(
    game: Trained, rendered: ClipArray, context: StageContext, labelled: tuple[Player, ...]
) -> dict[str, float]:
    """How the game's own readers do on the stored test clips; the in-game leakage is no evidence of privacy."""
    players = {"A_T_game": ("target", [game.target]), "A_B_game": ("budget", game.budget)}
    return {
        name: max(score(predict(ref.open(context.store), rendered), rendered.labels(player)) for ref in refs)
        for name, (player, refs) in players.items()
        if player in labelled
    }


@torch.no_grad()
def _pace(game: Trained, raw: ClipArray, context: StageContext, passes: int = 5) -> dict[str, float]:
    """Milliseconds of one CPU thread for a frame at this size, clip after clip; the quickest of some passes."""
    filter_, clip = game.degradation.open(context.store).eval(), next(iter(raw.batches()))[:1]
    torch.set_num_threads(1)
    seconds = []
    for _ in range(1 + passes):
        start = time.perf_counter()
        filter_(clip)
        seconds.append(time.perf_counter() - start)
    torch.set_num_threads(context.workers)
    return {"filter_ms_per_frame": 1000 * min(seconds[1:]) / clip.shape[2]}


if __name__ == "__main__":
    from privadv.stages.alone import main

    main("render")
