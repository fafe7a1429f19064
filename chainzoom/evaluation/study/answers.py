"""Answer files: read, checked against the study's key, and refused by name when they cannot count."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chainzoom.errors import InputError, OutputError
from chainzoom.evaluation.study.design import SCHEMA as KEY_SCHEMA
from chainzoom.evaluation.study.design import Study

SCHEMA = "chainzoom.study.answers/1"
_LARGEST = 1 << 24


class AnswersError(InputError):
    """An answer file cannot count; the message says why."""


@dataclass(frozen=True, slots=True)
class Answers:
    """One rater's scores, 1 to 5, by item id, and the seconds spent by set id."""

    file: str
    rater: str
    finished: str
    scores: dict[str, int]
    seconds: dict[str, float]


@dataclass(frozen=True, slots=True)
class Refused:
    """A file that does not count and why: ``damaged``, ``foreign`` (of another study), ``unfinished`` or ``duplicate``."""

    file: str
    kind: str
    reason: str


def load_key(path: Path) -> Study:
    """The study's key. Raises OutputError when it is not one."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["schema"] != KEY_SCHEMA:
            raise OutputError(f"{path} should have the schema {KEY_SCHEMA}; it says {data['schema']!r}")
        return Study.from_json(data)
    except OSError as error:
        raise OutputError(f"cannot read the study's key {path}: {error.strerror}; name it with --key") from None
    except (ValueError, KeyError, TypeError) as error:
        raise OutputError(f"{path} is not the key of a study ({type(error).__name__}: {error}); name the right file with --key") from None


def find_key(files: Sequence[Path]) -> Path:
    """The key.json beside the answers or one folder up. Raises OutputError."""
    for folder in dict.fromkeys(place for file in files for place in (file.absolute().parent, file.absolute().parents[1])):
        if (folder / "key.json").is_file():
            return folder / "key.json"
    raise OutputError("the study's key.json is neither beside the answers nor one folder up; name it with --key")


def load_answers(files: Sequence[Path], study: Study) -> tuple[list[Answers], list[Refused]]:
    """The answers that count, by rater, and the refused files. Of several whole files of one rater the first finished counts."""
    good: list[Answers] = []
    refused: list[Refused] = []
    for file in files:
        try:
            good.append(_read(file, study))
        except AnswersError as error:
            kind, _, reason = str(error).partition(": ")
            refused.append(Refused(str(file), kind, reason))
    kept: dict[str, Answers] = {}
    for one in sorted(good, key=lambda one: (one.finished, one.file)):
        if one.rater in kept:
            same = one.scores == kept[one.rater].scores
            what = "the same scores" if same else "other scores, finished later,"
            refused.append(Refused(one.file, "duplicate", f"{what} by rater {one.rater}, who counts with {kept[one.rater].file}"))
        else:
            kept[one.rater] = one
    order = {str(file): k for k, file in enumerate(files)}
    return [kept[code] for code in study.raters if code in kept], sorted(refused, key=lambda one: order[one.file])


def _read(file: Path, study: Study) -> Answers:
    try:
        if file.stat().st_size > _LARGEST:
            raise AnswersError(f"damaged: {file.stat().st_size} bytes are too many for answers")
        data: Any = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise AnswersError(f"damaged: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError):
        raise AnswersError("damaged: not valid JSON, perhaps cut off") from None
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        found = data.get("schema") if isinstance(data, dict) else type(data).__name__
        raise AnswersError(f"damaged: expected the schema {SCHEMA}, got {found!r}")
    if data.get("study") != study.id:
        raise AnswersError(f"foreign: answers of study {data.get('study')!r}, this is {study.id}")
    if data.get("rater") not in study.raters:
        raise AnswersError(f"foreign: rater {data.get('rater')!r} is not of this study")
    scores, seconds = data.get("scores"), data.get("seconds", {})
    if not isinstance(scores, dict) or not isinstance(seconds, dict) or not isinstance(data.get("finished"), str | None):
        raise AnswersError("damaged: scores, seconds or finished have the wrong type")
    expected = {item.id for one in study.sets for item in one.items}
    if unknown := scores.keys() - expected:
        raise AnswersError(f"damaged: {len(unknown)} scores for items that the study does not have")
    wrong = [value for value in scores.values() if type(value) is not int or not 1 <= value <= 5]
    if wrong:
        raise AnswersError(f"damaged: scores are whole numbers from 1 to 5; got {wrong[0]!r}")
    if len(scores) < len(expected) or data.get("complete") is not True or not data.get("finished"):
        raise AnswersError(f"unfinished: {len(scores)} of {len(expected)} scores")
    times = {str(k): float(v) for k, v in seconds.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    return Answers(str(file), data["rater"], data["finished"], scores, times)
