"""What differs from machine to machine: commands, folders of pseudopotentials, where calculations leave their files.

Read from the file that ``ANODEFLOW_SETTINGS`` names, else ``~/.config/anodeflow/settings.yaml``, else nothing;
one environment variable overrides each entry (see :data:`VARIABLES`). A study file never holds any of it.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, field_validator

from anodeflow.errors import InputError
from anodeflow.native_keys import checked_keys, pw_words
from anodeflow.yaml_input import read_yaml, validate

#: Whether imported calculations of other studies are used.
VARIABLE_OF_TRUST = "ANODEFLOW_TRUST_IMPORTED"
#: Environment variables that override an entry: (section or None, key).
VARIABLES: dict[str, tuple[str | None, str]] = {
    "ANODEFLOW_RUNS": (None, "runs"),
    VARIABLE_OF_TRUST: (None, "trust_imported"),
    "ANODEFLOW_VASP_COMMAND": ("vasp", "command"),
    "ANODEFLOW_VASP_GAMMA_COMMAND": ("vasp", "gamma_command"),
    "ANODEFLOW_VASP_BAND_COMMAND": ("vasp", "band_command"),
    "ANODEFLOW_VASP_VTST": ("vasp", "vtst"),
    "ANODEFLOW_VASP_POTENTIALS": ("vasp", "potentials"),
    "ANODEFLOW_CASTEP_COMMAND": ("castep", "command"),
    "ANODEFLOW_CASTEP_POTENTIALS": ("castep", "potentials"),
    "ANODEFLOW_QE_COMMAND": ("qe", "command"),
    "ANODEFLOW_QE_POTENTIALS": ("qe", "potentials"),
    "ANODEFLOW_GPAW_PROCESSES": ("gpaw", "processes"),
}
#: Environment variables that are neither an entry here nor an option of the command line, and what each is for.
OTHER_VARIABLES = {
    "ANODEFLOW_SETTINGS": "the settings file, in place of ~/.config/anodeflow/settings.yaml",
    "ANODEFLOW_DEVICE": "where potentials compute: auto (default: CUDA if there is a device), cpu, cuda or cuda:N",
    "ANODEFLOW_DB_PASSWORD": "password of the MongoDB server, if it is not in ~/.config/anodeflow/db-password",
    "ANODEFLOW_DEBUG": "1: an unexpected error shows its traceback",
}
#: What batch scripts tell the processes that they start; not for people.
INTERNAL_VARIABLES = ("ANODEFLOW_JOB_STARTED", "ANODEFLOW_WALLTIME")

# Parts of the file that are programs.
_SECTIONS = ("vasp", "castep", "qe", "gpaw")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Program(_Section):
    """How to start a program: a list of words, or one string that is split as a shell would, without a shell."""

    @field_validator("command", "gamma_command", "band_command", mode="before", check_fields=False)
    @classmethod
    def _words(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(shlex.split(value))
        return value


class _WithKeys(_Program):
    """A program whose inputs may hold keys of the machine's own: see :mod:`anodeflow.native_keys`."""

    section: ClassVar[str]

    keys: dict[str, Any] = Field(default_factory=dict, description="of its inputs: parallelisation, mixing, output")

    @field_validator("keys", mode="after")
    @classmethod
    def _of_no_physics(cls, keys: dict[str, Any]) -> dict[str, Any]:
        return checked_keys(cls.section, keys)


class VaspSettings(_WithKeys):
    """VASP. ``potentials`` is the folder that pymatgen calls PMG_VASP_PSP_DIR."""

    section: ClassVar[str] = "vasp"

    command: tuple[str, ...] = Field(("vasp_std",), description="starts VASP where cells have several k-points")
    gamma_command: tuple[str, ...] = Field(
        ("vasp_gam",), description="starts VASP where a cell has the point Gamma only"
    )
    band_command: tuple[str, ...] | None = Field(
        None, description="for bands, in place of both; '{images}' becomes the number of images"
    )
    vtst: bool = Field(False, description="VASP was built with the VTST tools, so that an image can climb")
    potentials: Path | None = Field(None, description="folder of POTCARs, which pymatgen calls PMG_VASP_PSP_DIR")
    potentials_of: dict[str, str] = Field(default_factory=dict, description="element: POTCAR symbol, e.g. Li: Li_sv")
    stand_in: bool = Field(False, description="the command is a test program behind VASP's files, not VASP")
    wall_time_s: float | None = Field(None, gt=0, description="VASP stops cleanly a little before it, s")


class CastepSettings(_WithKeys):
    """CASTEP. Without ``potentials`` its own on-the-fly library is asked for."""

    section: ClassVar[str] = "castep"

    command: tuple[str, ...] = Field(("castep.mpi",), description="starts CASTEP")
    potentials: Path | None = Field(
        None, description="folder of pseudopotential files; default: CASTEP's on-the-fly library"
    )
    library: str | None = Field(None, description="name of an on-the-fly library, e.g. C19")
    stand_in: bool = Field(False, description="the command is a test program behind CASTEP's files, not CASTEP")
    wall_time_s: float | None = Field(None, gt=0, description="CASTEP stops cleanly a little before it, s")


class QeSettings(_WithKeys):
    """Quantum ESPRESSO; ``potentials`` is a folder of UPF files."""

    section: ClassVar[str] = "qe"

    command: tuple[str, ...] = Field(("pw.x",), description="starts pw.x")
    potentials: Path | None = Field(None, description="folder of UPF files")
    potentials_of: dict[str, str] = Field(default_factory=dict, description="element: file name in the folder")
    wall_time_s: float | None = Field(None, gt=0, description="pw.x stops cleanly (max_seconds) a little before it")

    @property
    def words(self) -> list[str]:
        """Words of pw.x's command that say how it divides its work."""
        return pw_words(self.keys)


class GpawSettings(_Section):
    """GPAW runs in this process, or under mpiexec with several."""

    processes: int = Field(
        1, ge=1, le=4096, description="processes of GPAW: 1 runs inside anodeflow, more under mpiexec"
    )


class Settings(_Section):
    """One machine."""

    runs: Path = Field(Path("anodeflow-runs"), description="folder in which calculations leave their files")
    trust_imported: bool = Field(False, description="use imported calculations for other studies than their own")
    vasp: VaspSettings = Field(VaspSettings(), description="VASP on this machine")
    castep: CastepSettings = Field(CastepSettings(), description="CASTEP on this machine")
    qe: QeSettings = Field(QeSettings(), description="Quantum ESPRESSO on this machine")
    gpaw: GpawSettings = Field(GpawSettings(), description="GPAW on this machine")


def load_settings() -> Settings:
    """Return the settings of this machine.

    Raises
    ------
    InputError
        If the file is missing, or has a wrong key or value.
    """
    file, named = settings_file(), os.environ.get("ANODEFLOW_SETTINGS")
    if named and not file.is_file():
        raise InputError(f"ANODEFLOW_SETTINGS names '{named}', which is not a file", "correct or unset it")
    data: dict[str, Any] = read_yaml(file) if file.is_file() else {}
    for variable, (section, key) in VARIABLES.items():
        value = os.environ.get(variable)
        if value:
            place = data if section is None else data.setdefault(section, {})
            if isinstance(place, dict):
                place[key] = value
    return validate(Settings, data, file if file.is_file() else Path("settings from the environment"))


def given_in_environment() -> dict[str, str]:
    """Return the environment variables that override entries here, for a process that starts elsewhere."""
    return {name: os.environ[name] for name in ("ANODEFLOW_SETTINGS", *VARIABLES) if os.environ.get(name)}


def variable_of(section: str, key: str) -> str:
    """Return the environment variable that overrides an entry."""
    return next(name for name, place in VARIABLES.items() if place == (section, key))


def settings_file() -> Path:
    """Return the file that the settings are read from, whether or not it is there."""
    named = os.environ.get("ANODEFLOW_SETTINGS")
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "anodeflow" / "settings.yaml"
    return Path(named) if named else home


def listed_settings() -> list[dict[str, Any]]:
    """Return every setting: its name, its value, where that is from, and the environment variable that overrides it.

    Raises
    ------
    InputError
        See :func:`load_settings`.
    """
    content, file = load_settings().model_dump(mode="json"), settings_file()
    written: dict[str, Any] = read_yaml(file) if file.is_file() else {}
    variables = {place: variable for variable, place in VARIABLES.items()}
    rows = []
    for name, value in content.items():
        section = value if name in _SECTIONS else {None: value}
        for key, item in section.items():
            place = (None, name) if key is None else (name, key)
            variable = variables.get(place)
            in_file = name in written if key is None else key in (written.get(name) or {})
            source = "environment" if variable and os.environ.get(variable) else "file" if in_file else "default"
            label = name if key is None else f"{name}.{key}"
            rows.append({"setting": label, "value": item, "from": source, "variable": variable})
    return rows


def expanded(path: Path) -> Path:
    """Return a path with ``~`` resolved."""
    return path.expanduser()


def imported_runs() -> Path:
    """Return the folder of the files of calculations that came with archives."""
    return expanded(load_settings().runs).resolve() / "imported"


def places_of_run(directory: str | Path) -> tuple[Path, ...]:
    """Return where files of a calculation may be: where it ran, in the folder of runs, or unpacked from an archive."""
    ran = Path(directory)
    return ran, expanded(load_settings().runs).resolve() / ran.name, imported_runs() / ran.name
