"""What baselines and planted controls do to clips."""

from __future__ import annotations

import pytest
import torch

from privadv.data.feeds import to_uint8
from privadv.errors import PrivadvError
from privadv.evaluation.rows import NOISY, PLANT, ROWS, parse

CLIPS = torch.rand(4, 3, 6, 24, 20, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 12])
ALL = [
    "raw",
    "gray",
    "down:2",
    "down:8",
    "down:28",
    "blur:1",
    "blur:4",
    "pixelate:8",
    "framediff",
    "framediff3",
    "planted:spatial",
    "planted:temporal",
    "noise:0.15",
    "noisydiff:0.15",
    "scaleddiff:0.15",
    "coarsediff:4:0.15",
    "buried:8",
]


def shown(row: str, clips: torch.Tensor, seed: int = 0) -> torch.Tensor:
    return parse(row)(clips, LABELS, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("row", ALL)
def test_every_row_keeps_shape_and_range(row: str) -> None:
    out = shown(row, CLIPS)
    assert out.shape == CLIPS.shape and out.min() >= 0 and out.max() <= 1


@pytest.mark.parametrize("row", ALL)
def test_a_row_that_draws_noise_says_so(row: str) -> None:
    """Its training clips are then released several times, so that an attacker can average the noise away."""
    drawn = not torch.equal(shown(row, CLIPS, 0), shown(row, CLIPS, 1))
    assert drawn == (row.partition(":")[0] in NOISY)


def test_every_row_is_held_to_the_contract() -> None:
    assert {row.partition(":")[0] for row in ALL} == ROWS.keys() - {"mask"}  # which needs boxes: tests/test_masking.py


@pytest.mark.parametrize(
    "row",
    ["sepia", "down", "down:x", "down:-2", "gray:3", "planted", "planted:both", "filter", "coarsediff", "coarsediff:4",
     "coarsediff:0:0.5", "coarsediff:4:0", "coarsediff:4:inf", "coarsediff:4:0.5:1"],
)
def test_no_such_row_is_one_line(row: str) -> None:
    with pytest.raises(PrivadvError, match="row"):
        parse(row)


def test_raw_gray_and_pixelate_by_hand() -> None:
    assert torch.equal(shown("raw", CLIPS), CLIPS)
    assert torch.allclose(shown("gray", CLIPS)[:, 1], CLIPS.mean(1))
    block = shown("pixelate:4", CLIPS)[:, :, :, :4, :4]
    assert torch.allclose(
        block, CLIPS[:, :, :, :4, :4].mean((3, 4), keepdim=True).expand_as(block), atol=1e-6
    )


def test_blur_keeps_flat_clips_and_softens_noise() -> None:
    flat = torch.full_like(CLIPS, 0.3)
    assert torch.allclose(shown("blur:2", flat), flat, atol=1e-5)
    assert shown("blur:2", CLIPS).var() < 0.1 * CLIPS.var()


def test_frame_difference_is_signed_and_still_clips_are_middle_grey() -> None:
    still = CLIPS[:, :, :1].expand_as(CLIPS)
    assert torch.allclose(shown("framediff", still), torch.full_like(CLIPS, 0.5))
    rising = still * 0 + torch.arange(6).view(1, 1, 6, 1, 1) * 0.1
    assert torch.allclose(shown("framediff", rising), torch.full_like(CLIPS, 0.6), atol=1e-6)
    assert len(shown("framediff3", CLIPS).unique()) == 3


def test_planted_controls_differ_by_two_grey_levels_and_by_class_alone() -> None:
    for kind in ("spatial", "temporal"):
        same = CLIPS[:1].expand_as(CLIPS)
        out = shown(f"planted:{kind}", same)
        hidden = shown("gray", shown("down:28", same))
        assert torch.allclose((out - hidden).abs(), torch.full_like(out, PLANT), atol=1e-4)
        signs = (out - hidden).sign()
        assert all(not torch.equal(signs[i], signs[j]) for i in range(4) for j in range(i))
    temporal = shown("planted:temporal", same) - hidden
    assert (temporal.std((3, 4)) < 1e-4).all()


def test_noise_is_what_a_noisy_release_draws() -> None:
    flat = torch.full((4, 3, 6, 24, 20), 0.5)
    noisy = shown("noise:0.1", flat)
    assert torch.equal(noisy[:, 0], noisy[:, 2]) and abs(noisy.std().item() - 0.1) < 0.01
    assert torch.equal(noisy, shown("noise:0.1", flat)) and not torch.equal(noisy, shown("noise:0.1", flat, 1))
    still = CLIPS[:, :, :1].expand_as(CLIPS)
    assert torch.equal(shown("noisydiff:0.1", still), noisy)


def test_a_scaled_difference_stands_as_far_above_the_noise_however_faint_it_was() -> None:
    moving = torch.rand(CLIPS.shape, generator=torch.Generator().manual_seed(5))
    faint = 0.5 + (moving - 0.5) / 4
    strong, weak = (shown("scaleddiff:0.1", clips) for clips in (moving, faint))
    assert torch.allclose(strong, weak, atol=0.05)
    assert strong.std() > 0.2 > 0.15 > shown("noisydiff:0.1", faint).std()


def test_a_coarse_difference_keeps_what_moves_and_no_fine_pattern() -> None:
    """A striped and a plain square that move alike: the stripes' share of what changes goes away."""
    x = torch.arange(48)
    clips = torch.zeros(2, 3, 6, 48, 48)
    for frame in range(6):
        left = 4 + 4 * frame
        clips[:, :, frame, 8:24, left : left + 16] = 0.5
        clips[1, :, frame, 8:24, left : left + 16] += 0.5 * (((x[:16] - left) // 2 % 2) * 2 - 1)
    apart = {}
    for row in ("scaleddiff:0.001", "coarsediff:8:0.001"):
        plain, striped = parse(row)(clips, LABELS[:2], torch.Generator().manual_seed(0))[:, 0]
        apart[row] = torch.corrcoef(torch.stack([plain.flatten(), striped.flatten()]))[0, 1]
    assert apart["coarsediff:8:0.001"] > 0.9 > apart["scaleddiff:0.001"]


def test_a_buried_pattern_comes_out_in_the_mean_of_many_draws() -> None:
    flat = torch.full((4, 3, 6, 24, 20), 0.5)
    mean = torch.stack([shown("buried:16", flat, seed) for seed in range(60)]).mean((0, 3))[:, 0]
    pattern = shown("planted:spatial", flat)[:, 0, 0] - 0.5
    assert ((mean - 0.5).sign() == pattern.sign()).float().mean() > 0.99


def test_a_single_frame_has_no_difference() -> None:
    still = CLIPS[:, :, :1]
    assert torch.equal(shown("framediff", still), torch.full_like(still, 0.5))


def test_attributes_are_planted_as_one_code_a_combination() -> None:
    """The first six of seven attributes: clips that differ in the last alone look alike."""
    labels = torch.tensor([[0, 0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, 1, 1]])
    flat = torch.full((4, 3, 6, 24, 20), 0.5)
    out = parse("planted:spatial")(flat, labels, torch.Generator())
    assert torch.equal(out[2], out[3]) and not torch.equal(out[0], out[1]) and not torch.equal(out[1], out[2])
    assert torch.equal(out[1], parse("planted:spatial")(flat, torch.tensor([0, 1, 2, 3]), torch.Generator())[1])


def test_what_is_no_number_is_not_stored_as_black() -> None:
    clips = CLIPS.clone()
    clips[1, 0, 2, 3, 4] = float("nan")
    with pytest.raises(PrivadvError, match="no numbers: its filter or baseline has diverged"):
        to_uint8(clips)
