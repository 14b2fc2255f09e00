"""Damage to the output of programs: what disks, transfers, killed processes and hands do to a file, with a seed."""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from anodeflow.errors import AnodeflowError

#: Seconds that reading a damaged file may take.
LONGEST_S = 20.0
NUMBER = re.compile(rb"[-+]?\d+\.?\d*(?:[eE][-+]?\d+)?")
DIGIT = re.compile(rb"\d")


def _somewhere(data: bytes, chance: random.Random, pattern: re.Pattern[bytes]) -> re.Match[bytes] | None:
    """A match of a pattern behind a random place; None where there is none."""
    return pattern.search(data, chance.randrange(len(data)))


def _replaced(data: bytes, match: re.Match[bytes] | None, new: bytes) -> bytes:
    return data if match is None else data[: match.start()] + new + data[match.end() :]


def another_digit(data: bytes, chance: random.Random) -> bytes:
    match = _somewhere(data, chance, DIGIT)
    return _replaced(data, match, str(chance.randrange(10)).encode())


def lost_byte(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + data[at + 1 :]


def lost_digit(data: bytes, chance: random.Random) -> bytes:
    return _replaced(data, _somewhere(data, chance, DIGIT), b"")


def doubled_digit(data: bytes, chance: random.Random) -> bytes:
    match = _somewhere(data, chance, DIGIT)
    return data if match is None else _replaced(data, match, match[0] * 2)


def flipped_bit(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :]


def stars(data: bytes, chance: random.Random) -> bytes:
    match = _somewhere(data, chance, NUMBER)
    return data if match is None else _replaced(data, match, b"*" * len(match[0]))


def other_sign(data: bytes, chance: random.Random) -> bytes:
    match = _somewhere(data, chance, NUMBER)
    if match is None:
        return data
    return _replaced(data, match, match[0][1:] if match[0].startswith(b"-") else b"-" + match[0])


def no_number(data: bytes, chance: random.Random) -> bytes:
    words = [b"NaN", b"Infinity", b"1e400", b"-1e-400", b"1e30", b"", b"0", b"-0", b"9" * 5000, b"1_0", b"0x10", b"abc"]
    return _replaced(data, _somewhere(data, chance, NUMBER), chance.choice(words))


def merged_numbers(data: bytes, chance: random.Random) -> bytes:
    return _replaced(data, _somewhere(data, chance, re.compile(rb"(?<=\d) +(?=[-\d])")), b"")


def _lines(data: bytes, chance: random.Random, longest: int) -> tuple[list[bytes], int, int]:
    lines = data.splitlines(keepends=True)
    first = chance.randrange(len(lines))
    return lines, first, min(len(lines), first + chance.randint(1, longest))


def lost_line(data: bytes, chance: random.Random) -> bytes:
    lines, first, _ = _lines(data, chance, 1)
    return b"".join(lines[:first] + lines[first + 1 :])


def lost_lines(data: bytes, chance: random.Random) -> bytes:
    lines, first, last = _lines(data, chance, 120)
    return b"".join(lines[:first] + lines[last:])


def doubled_lines(data: bytes, chance: random.Random) -> bytes:
    lines, first, last = _lines(data, chance, 120)
    return b"".join(lines[:last] + lines[first:])


def swapped_lines(data: bytes, chance: random.Random) -> bytes:
    lines, first, _ = _lines(data, chance, 1)
    other = min(len(lines) - 1, first + chance.randint(1, 3))
    lines[first], lines[other] = lines[other], lines[first]
    return b"".join(lines)


def zeros(data: bytes, chance: random.Random) -> bytes:
    at, length = chance.randrange(len(data)), chance.choice((1, 16, 512, 4096))
    return data[:at] + b"\0" * len(data[at : at + length]) + data[at + length :]


def noise(data: bytes, chance: random.Random) -> bytes:
    at, length = chance.randrange(len(data)), chance.choice((1, 4, 64))
    return data[:at] + chance.randbytes(len(data[at : at + length])) + data[at + length :]


def cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data))]


def moved_block(data: bytes, chance: random.Random) -> bytes:
    lines, first, last = _lines(data, chance, 60)
    block, rest = lines[first:last], lines[:first] + lines[last:]
    at = chance.randrange(len(rest) + 1)
    return b"".join(rest[:at] + block + rest[at:])


KINDS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    another_digit, lost_byte, lost_digit, doubled_digit, flipped_bit, stars, other_sign, no_number, merged_numbers,
    lost_line, lost_lines, doubled_lines, swapped_lines, zeros, noise, cut, moved_block,
)  # fmt: skip


def mutations(data: bytes, number: int, seed: str) -> Iterator[tuple[str, bytes]]:
    """Yield so many damaged versions of a file, each with the kind of damage; all differ from the original."""
    chance, made = random.Random(seed), 0
    while made < number:
        kind = KINDS[made % len(KINDS)]
        damaged = kind(data, chance)
        if damaged != data:
            made += 1
            yield kind.__name__, damaged


def judged(
    data: bytes,
    number: int,
    seed: str,
    read: Callable[[bytes], Any],
    wrong: Callable[[Any, Any], list[str]],
    right: Any,
) -> Counter[str]:
    """Return how so many damages of a result came through: counts of right, flagged, error and computed again.

    `read` gives the outcome of a damaged file, None where the file is not taken for the result; `wrong` names the
    numbers in which it differs from the `right` one. An outcome that claims to be converged has none of them.
    """
    assert right.converged
    count: Counter[str] = Counter()
    for kind, damaged in mutations(data, number, seed):
        began = time.monotonic()
        try:
            found = read(damaged)
        except AnodeflowError as error:
            count["error"] += bool(one_line(error))
            continue
        assert time.monotonic() - began < LONGEST_S
        if found is None:
            count["computed again"] += 1
            continue
        assert (found.error is None) == (found.reason is None)
        if not found.converged:
            assert found.error
            assert "\n" not in found.error
            count["flagged"] += 1
            continue
        assert not wrong(found, right), f"{kind} in {seed}: {wrong(found, right)} wrong without a word"
        count["right"] += 1
    return count


def one_line(error: Exception) -> str:
    """Return an error's text, which is one line that a person can read."""
    text = str(error)
    assert "\n" not in text
    assert 0 < len(text) < 1000
    return text
