"""The cluster folder: what `anodeflow hpc init` writes and every other command reads."""

from __future__ import annotations

import os
import re
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from anodeflow.errors import InputError
from anodeflow.workflows.store.database import DATABASE_FILE, Database, config_folder, load_database
from anodeflow.yaml_input import read_yaml, validate

_SETTINGS_FILE = "cluster.yaml"
FOLDER_VARIABLE = "ANODEFLOW_CLUSTER"
LIGHT = "light"
PLAIN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
Scheduler = Literal["slurm", "pbs", "sge"]


_TIMES = (
    r"(?:(?P<d>\d{1,3})-)?(?P<h>\d{1,3}):(?P<m>[0-5]\d):(?P<s>[0-5]\d)",
    r"(?P<d>\d{1,3})-(?P<h>\d{1,2})(?::(?P<m>[0-5]\d))?",
    r"(?P<m>\d{1,5})(?::(?P<s>[0-5]\d))?",
)
# YAML 1.1 reads 24:00:00 as a number to the base of 60, and 1:30 as 90. A number as small may be minutes, too.
_AMBIGUOUS_BELOW_S = 3600


def walltime_seconds(text: str) -> int:
    """Return the seconds of a time as SLURM takes it.

    ``HH:MM:SS``, ``D-HH``, ``D-HH:MM``, ``D-HH:MM:SS``, ``MM:SS``, or ``MM`` alone: minutes.

    Raises
    ------
    ValueError
        If it is none of these, or zero.
    """
    for pattern in _TIMES:
        if (match := re.fullmatch(pattern, text, re.ASCII)) is not None:
            break
    else:
        raise ValueError(
            f"'{text[:40]}' is not a time; write hours:minutes:seconds, e.g. 24:00:00, or as SLURM 7-00 or 90 (minutes)"
        )
    days, hours, minutes, seconds = (int(match.groupdict().get(unit) or 0) for unit in "dhms")
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if not total:
        raise ValueError(f"'{text}' is not a time: it is zero")
    return total


def walltime_text(seconds: float) -> str:
    """``HH:MM:SS``, which every scheduler understands."""
    whole = int(seconds)
    return f"{whole // 3600:02d}:{whole % 3600 // 60:02d}:{whole % 60:02d}"


class Size(BaseModel):
    """What calculations up to a number of atoms get."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=PLAIN)
    atoms: int = Field(ge=1)
    nodes: int = Field(1, ge=1, le=10000)
    tasks_per_node: int = Field(1, ge=1, le=1024)
    cpus_per_task: int = Field(1, ge=1, le=1024)
    gpus: int = Field(0, ge=0, le=64)
    walltime: str
    parallel_environment: str | None = Field(None, pattern=PLAIN, description="SGE only")

    @field_validator("walltime", mode="before")
    @classmethod
    def _is_a_time(cls, value: Any) -> Any:
        if isinstance(value, int):
            if value < _AMBIGUOUS_BELOW_S:
                raise ValueError(
                    f"{value} may be minutes or seconds; write it in quotes: '{value}' are minutes, "
                    f"'{walltime_text(value)}' hours, minutes and seconds"
                )
            value = walltime_text(value)
        seconds = walltime_seconds(str(value))
        return value if str(value).count(":") == 2 else walltime_text(seconds)

    @property
    def cores(self) -> int:
        """Cores it takes."""
        return self.nodes * self.tasks_per_node * self.cpus_per_task

    @property
    def walltime_s(self) -> int:
        """Its longest time, s."""
        return walltime_seconds(self.walltime)


class ClusterSettings(BaseModel):
    """``cluster.yaml``."""

    model_config = ConfigDict(extra="forbid")

    version: Literal[1]
    worker: str = Field(pattern=PLAIN)
    scheduler: Scheduler
    engine: str = ""
    max_in_queue: int = Field(100, ge=1, le=100000)
    attempts: int = Field(6, ge=1, le=100)
    stop_before_s: int = Field(120, ge=0, le=3600)
    sizes: list[Size] = Field(min_length=1)
    light: Literal["here", "queue"] = "here"

    @model_validator(mode="after")
    def _ordered(self) -> ClusterSettings:
        atoms = [size.atoms for size in self.sizes]
        if atoms != sorted(set(atoms)):
            raise ValueError(f"the atoms of the sizes {atoms} do not grow")
        names = [size.name for size in self.sizes]
        if len(set(names)) != len(names) or LIGHT in names:
            raise ValueError(f"sizes {names}: give each another name, and none '{LIGHT}'")
        return self


class ClusterFolder:
    """A cluster folder.

    Parameters
    ----------
    path
        The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def settings(self) -> ClusterSettings:
        """``cluster.yaml``, validated."""
        file = self.path / _SETTINGS_FILE
        data: dict[str, Any] = read_yaml(file)
        if isinstance(data.get("version"), int) and data["version"] > 1:
            raise InputError(
                f"{file} has version {data['version']}, this anodeflow knows version 1", "update anodeflow"
            )
        return validate(ClusterSettings, data, file)

    @cached_property
    def database(self) -> Database:
        """``database.yaml``, validated."""
        return load_database(self.path / DATABASE_FILE)

    @property
    def store(self) -> Path:
        """What `open_job_store` opens for the results."""
        return self.path / DATABASE_FILE

    @property
    def launches(self) -> Path:
        """Folder that jobs are launched in."""
        return self.path / "launches"

    def file(self, name: str) -> Path:
        """One of its files.

        Raises
        ------
        InputError
            If it is not there.
        """
        file = self.path / name
        if not file.is_file():
            raise InputError(f"the cluster folder {self.path} has no {name}", "write it again: anodeflow hpc init")
        return file

    def size_for(self, atoms: int) -> Size:
        """What a calculation of so many atoms gets; the largest size if none is large enough."""
        return next((size for size in self.settings.sizes if atoms <= size.atoms), self.settings.sizes[-1])

    def environment(self) -> dict[str, str]:
        """What environment.sh sets of anodeflow's, FireWorks' and jobflow's own variables."""
        return {
            FOLDER_VARIABLE: str(self.path),
            "ANODEFLOW_SETTINGS": str(self.path / "settings.yaml"),
            "FW_CONFIG_FILE": str(self.path / "FW_config.yaml"),
            "JOBFLOW_CONFIG_FILE": str(self.path / "jobflow.yaml"),
        }


def find_folder(given: str | Path | None = None) -> ClusterFolder:
    """The cluster folder: the one given, else that of ``ANODEFLOW_CLUSTER``, else ``~/.config/anodeflow/cluster``.

    Raises
    ------
    InputError
        If there is none.
    """
    named = given or os.environ.get(FOLDER_VARIABLE)
    path = Path(named).expanduser() if named else config_folder() / "cluster"
    if not (path / _SETTINGS_FILE).is_file():
        if named:
            raise InputError(
                f"'{path}' is not a cluster folder: it has no {_SETTINGS_FILE}", "see anodeflow hpc init --help"
            )
        raise InputError(
            "no cluster folder is known",
            f"make one with anodeflow hpc init and name it with --folder or {FOLDER_VARIABLE}",
        )
    return ClusterFolder(path.resolve())
