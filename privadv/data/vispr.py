"""VISPR: photographs and the privacy attributes that each shows.

Reads ``train2017/NAME.jpg`` (val2017, test2017) and one ``train2017/NAME.json`` for each, at any depth. A photo
is a source of one image, so that a clip of it repeats that image. The ids of attributes have gaps: an index is
a place in :data:`LABELS`, never the number in the id. A photo without any chosen attribute is all zeros.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping

from privadv.data.manifest import SPLITS, Found, Quarantined, Source, Task
from privadv.data.reading import Reading, on_both_sides, one_copy, visible
from privadv.errors import PrivadvError

NAMES = """
    a0_safe a1_age_approx a2_weight_approx a3_height_approx a4_gender a5_eye_color a6_hair_color a7_fingerprint
    a8_signature a9_face_complete a10_face_partial a11_tattoo a12_semi_nudity a13_full_nudity a16_race a17_color
    a18_ethnic_clothing a19_name_full a20_name_first a21_name_last a23_birth_city a24_birth_date a25_nationality
    a26_handwriting a27_marital_status a29_ausweis a30_credit_card a31_passport a32_drivers_license
    a33_student_id a35_mail a37_receipt a38_ticket a39_disability_physical a41_injury a43_medicine
    a46_occupation a48_occassion_work a49_phone a55_religion a56_sexual_orientation a57_culture a58_hobbies
    a59_sports a60_occassion_personal a61_opinion_general a62_opinion_political a70_education_history
    a99_legal_involvement a64_rel_personal a65_rel_social a66_rel_professional a67_rel_competitors
    a68_rel_spectators a69_rel_views a73_landmark a74_address_current_complete a75_address_current_partial
    a78_address_home_complete a79_address_home_partial a82_date_time a85_username a90_email a92_email_content
    a97_online_conversation a102_vehicle_ownership a103_license_plate_complete
    a104_license_plate_partial"""
LABELS = tuple(NAMES.split())

Choice = Mapping[str, tuple[str, ...]]

FIVE: Choice = {
    "gender": ("a4_gender",), "face": ("a9_face_complete", "a10_face_partial"), "nudity": ("a12_semi_nudity",),
    "skin color": ("a17_color",), "relationship": ("a64_rel_personal", "a65_rel_social")}
SEVEN: Choice = {label: (label,) for label in (
    "a17_color", "a4_gender", "a9_face_complete", "a10_face_partial", "a12_semi_nudity", "a64_rel_personal",
    "a65_rel_social")}
ALL: Choice = {label: (label,) for label in LABELS}

PHOTO = re.compile(r"(?:.*/)?((?:train|val|test)2017/[^/]+)\.(?:jpe?g|png)", re.IGNORECASE)
LABEL_FILE = re.compile(r"(?:.*/)?((?:train|val|test)2017/[^/]+)\.json")

WHOLE = {"training": 10000, "validation": 4167, "test": 8000}


def task(choice: Choice) -> Task:
    """The multi-label task of a choice of attributes, each present where any of its labels is."""
    return Task(name="privacy attributes", classes=tuple(choice), multi_label=True)


def label_files(names: Iterable[str]) -> list[str]:
    """The photos' label files among ``names``, the least deeply nested of several copies."""
    return list(one_copy((match[1], name) for name in visible(names)
                         if (match := LABEL_FILE.fullmatch(name))).values())


def vector(labels: Iterable[str], choice: Choice) -> tuple[int, ...]:
    """One 0 or 1 for each attribute of ``choice``."""
    shown = set(labels)
    return tuple(int(not shown.isdisjoint(any_of)) for any_of in choice.values())


def scan(names: Iterable[str], texts: Mapping[str, str], choice: Choice = FIVE) -> Reading:
    """Put photos and their labels, the content of :func:`label_files`, together; unusable ones with the reason.

    Raises:
        PrivadvError: there is no photo with labels.
    """
    found = [(match[1], name) for name in visible(names) if (match := PHOTO.fullmatch(name))]
    photos, unusable = one_copy(found), []
    splits: dict[str, list[Source]] = {split: [] for split in SPLITS}
    labels = {match[1]: name for name in texts if (match := LABEL_FILE.fullmatch(name))}
    for key in sorted(photos.keys() | labels.keys()):
        name = photos.get(key) or labels[key]
        reason, shown = _labels(key, texts[labels[key]]) if key in labels else ("has no label file", [])
        if not reason and key not in photos:
            reason = "is a label file without its photo"
        if reason:
            unusable.append(Quarantined(source=name, reason=reason))
        else:
            # Its name is not its file's: so it is read as a folder of images, here of one.
            source = Source(key, name.rpartition(".")[0], (name,), 0, vector(shown, choice))
            splits[key.partition("2017/")[0]].append(source)
    sources = tuple(source for split in SPLITS for source in splits[split])
    if not sources:
        raise PrivadvError("root holds no VISPR photo with labels (train2017/NAME.jpg and train2017/NAME.json)")
    counts = {part: len(splits[split]) for part, split in zip(WHOLE, SPLITS, strict=True)}
    bare = sum(not any(source.budget) for source in sources if isinstance(source.budget, tuple))
    notes = (f"{bare} photos show none of the {len(choice)} attributes: all zeros",)
    return Reading(Found(sources, tuple(unusable), len(found) - len(photos)), splits, counts, WHOLE,
                   tuple(on_both_sides(splits, _photo)), notes)


def _labels(key: str, text: str) -> tuple[str, list[str]]:
    """Why the labels of photo ``key`` cannot be used, and they."""
    try:
        facts = json.loads(text)
        path, labels = facts["image_path"], facts["labels"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return "its label file is not {image_path, labels}", []
    if not isinstance(path, str) or not isinstance(labels, list):
        return "its label file is not {image_path, labels}", []
    match = PHOTO.fullmatch(path)
    if match is None or match[1] != key:
        return f"its label file speaks of another photo ({path})", []
    unknown = [label for label in labels if label not in LABELS]
    return (f"its label {unknown[0]!r} is no attribute of VISPR", []) if unknown else ("", labels)


def _photo(source: Source) -> str:
    return f"photo {source.id.partition('/')[2]}"
