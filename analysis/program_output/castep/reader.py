"""Which line of a ``.castep`` file goes to which function, and the parameters at its start."""

from __future__ import annotations

import re

from anodeflow.analysis.program_output.castep import electrons, relaxation, tables
from anodeflow.analysis.program_output.castep.state import State

_BANNER = re.compile(rb" \| Welcome to .*CASTEP version ([\w.]+)")
_SECTION = re.compile(rb" \*+ ([A-Z][\w &-]*) Parameters \*+\s*")
_STARS = re.compile(rb"\s*\*{20,}\s*")
_SETTING = re.compile(rb" {1,3}(\S.*?)\s*: +(\S.*?)\s*")
_POTENTIAL = re.compile(rb"\s+([A-Z][a-z]?)\s+(\S+)\s*")
_IONS = re.compile(rb"\s*Total number of ions in cell =\s*(\d{1,9})\b")
_MESH = re.compile(rb"\s*MP grid size for SCF calculation is\s+(\d{1,9})\s+(\d{1,9})\s+(\d{1,9})\s*")
_SPIN = b"treating system as "


class CastepLines(State):
    """Take the lines of a ``.castep`` file one after the other; what they say is in ``runs``."""

    def feed(self, line: bytes) -> None:
        """Take one line, with or without its end.

        Raises
        ------
        DamagedLineError
            If it makes no sense where it stands, or contradicts what stands above.
        """
        self.line += 1
        line = line.rstrip(b"\r\n")
        banner = _BANNER.match(line)
        if banner:
            self.begin(banner[1].decode())
            return
        if not self.runs:
            return
        if b"\0" in line:
            raise self.wrong("NUL bytes stand in place of text")
        if self.row is not None:
            self.row(self, line)
        elif line.rstrip().endswith(b"<-- SCF"):
            electrons.on_cycle(self, line.rstrip())
        elif line.strip() and not tables.opens(self, line):
            self._single(line)

    def _single(self, line: bytes) -> None:
        if section := _SECTION.fullmatch(line):
            self._open_section(section[1].decode())
        elif self.section is not None:
            self._parameter(line)
        elif self.reading_potentials:
            match = _POTENTIAL.fullmatch(line)
            self.reading_potentials = match is not None
            if match:
                self.run.potentials[match[1].decode()] = match[2].decode("utf-8", errors="replace")
        elif line.strip() == b"Files used for pseudopotentials:":
            self.reading_potentials = True
        elif match := _IONS.match(line):
            self.run.ions = int(match[1])
        elif match := _MESH.fullmatch(line):
            self.run.mesh = (int(match[1]), int(match[2]), int(match[3]))
        elif b"SCF cycles performed but system has not reached the groundstate" in line:
            electrons.on_unconverged(self)
        elif not electrons.on_line(self, line):
            relaxation.on_line(self, line)

    def _open_section(self, name: str) -> None:
        if name in self.seen_sections:
            raise self.wrong(f"the section '{name} Parameters' for the second time in one run")
        self.seen_sections.add(name)
        self.section = name

    def _parameter(self, line: bytes) -> None:
        text = line.strip()
        if _STARS.fullmatch(line):
            self.section = None
        elif setting := _SETTING.fullmatch(line):
            name, value = (part.decode("utf-8", errors="replace") for part in setting.groups())
            self.run.settings.setdefault(name, value)
        elif text.startswith(_SPIN):
            self.run.settings["spin treatment"] = text.removeprefix(_SPIN).decode("utf-8", errors="replace")
