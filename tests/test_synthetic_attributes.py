"""The synthetic attribute sets: real formats, labels that speak of the pixels, and nothing but the seed decides."""

from __future__ import annotations

import hashlib
from collections import Counter
from itertools import product
from pathlib import Path

import pytest
from PIL import Image

from privadv.data import synthetic_attributes
from privadv.data.datasets import DATASETS, SHARES
from privadv.data.roots import open_root
from privadv.data.synthetic import CAST, Video
from privadv.data.synthetic_attributes import AttributesConfig, generate, look
from privadv.data.verify import verify
from privadv.errors import PrivadvError

SMALL = AttributesConfig(photos=(3, 1, 1), train_videos=2, annotated_videos=1, width=48, height=36)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic_attributes, "PLAYED_AS", {"approach": "walk", "kick": "kick"})
        patch.setattr(synthetic_attributes, "SIZES", ((48, 36), (40, 36)))
        generate(SMALL, folder / "one")
        generate(SMALL, folder / "two")
        generate(SMALL.model_copy(update={"seed": 1}), folder / "other")
    return folder


def digests(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.rglob("*") if path.is_file()}


def test_the_seed_decides_everything(made: Path) -> None:
    one, two, other = (digests(made / name) for name in ("one", "two", "other"))
    assert one == two and one.keys() == other.keys()
    pixels = [name for name in one if name.endswith((".jpg", ".mp4"))]
    assert len(pixels) == 5 + 6 and all(one[name] != other[name] for name in pixels)


def test_a_real_set_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "hmdb51" / "splits").mkdir(parents=True)
    (tmp_path / "hmdb51" / "splits" / "walk_test_split1.txt").write_text("real")
    with pytest.raises(PrivadvError, match=f"{tmp_path}/hmdb51 is there already: name a new folder"):
        generate(SMALL, tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["hmdb51", "splits", "walk_test_split1.txt"]
    with pytest.raises(PrivadvError, match=r"/proc/none/vispr: cannot be made \(.*\): name another place"):
        generate(SMALL, Path("/proc/none"))


def test_all_sets_are_sound_and_read(made: Path) -> None:
    for name, folder, counts in (("vispr", "vispr", (3, 1, 1)), ("pa_hmdb51", "hmdb51", (0, 0, 2)),
                                 ("hmdb51", "hmdb51", (4, 0, 2))):
        assert verify(name, str(made / "one" / folder), partial_copy=True).sound
        reading = DATASETS[name].read(open_root(str(made / "one" / folder)), "", SHARES, 0)
        assert tuple(len(sources) for sources in reading.splits.values()) == counts
        assert all("synthetic" in source.name for source in reading.found.sources)
    sizes = {Image.open(path).size for path in (made / "one").rglob("*.jpg")}
    assert sizes == {(48, 36), (40, 36)}


def test_attributes_change_inside_a_video_and_end_with_it(made: Path) -> None:
    reading = DATASETS["pa_hmdb51"].read(open_root(str(made / "one" / "hmdb51")), "", SHARES, 0)
    assert not any("frames, " in note for note in verify("pa_hmdb51", str(made / "one" / "hmdb51"),
                                                         partial_copy=True).notes)
    tracks = [source.annotation.tracks for source in reading.splits["test"]]  # type: ignore[attr-defined]
    assert all(len(track) == 2 and track[1].first == track[0].last + 1 for video in tracks for track in video)


def test_every_attribute_is_there_and_not_there() -> None:
    pairs = [look(Video(pair, 0, 1)) for pair in product(CAST, CAST)]
    for attribute in ("gender", "face", "nudity", "skin_color", "relationship"):
        shown = Counter(any(pair[attribute]) for pair in pairs)
        assert shown[True] >= 4 and shown[False] >= 4, attribute
    assert look(Video((2, 4), 0, 1)) == {"gender": (2,), "face": (1,), "nudity": (2,), "skin_color": (0, 1),
                                         "relationship": (0,)}
