"""What a tuning file may say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PrivateAttr, model_validator

from anodeflow.errors import InputError
from anodeflow.workflows.jobs.audit import PHASES
from anodeflow.yaml_input import Layers, Miller, Seed, Written, read_yaml, validate

_Share = Annotated[float, Field(gt=0.0, lt=1.0)]


class DataSource(Written):
    """Where labels are: a results store, or an archive of a study."""

    store: str | None = Field(None, description="a results store; its calculations with electrons are taken")
    study: str | None = Field(None, description="of the store, one study alone: its hash or the first digits")
    archive: str | None = Field(None, description="an archive (.zip) that `anodeflow export` wrote")

    @model_validator(mode="after")
    def _one_place(self) -> DataSource:
        if (self.store is None) == (self.archive is None):
            raise ValueError("give either store or archive")
        if self.study is not None and self.store is None:
            raise ValueError("an archive holds one study: leave study out")
        return self


class _ReplayedSlab(Written):
    """A slab with the base model's labels."""

    crystal: str = Field(description="of the catalogue, or a structure file")
    miller: Miller = Field(description="index of its faces")
    layers: Layers = Field(description="planes of atoms")
    because: str = Field(min_length=10, description="how it is known that the base model is right about this face")

    @property
    def label(self) -> str:
        """Crystal, face and planes."""
        return f"{self.crystal}({''.join(map(str, self.miller))}), {self.layers} layers"


class Replay(Written):
    """Cells that the base model labels, so that tuning neither forgets what it knew nor digs holes beside the data."""

    crystals: list[str] = Field(list(PHASES), description="of the catalogue, or structure files; none for no replay")
    frames: int = Field(4, ge=2, le=200, description="cells of each crystal and slab; the last one validates")
    displacement_angstrom: float = Field(0.1, ge=0.001, le=0.5, description="length that every atom is moved by")
    strain: float = Field(0.02, ge=0.0, le=0.1, description="largest component of the random strain of each cell")
    pair_distances: int = Field(
        10, ge=0, le=100, description="of each two elements in vacuum, from apart to 1 Å or where the base has a hole"
    )
    pushed: int = Field(2, ge=0, le=100, description="cells of each crystal with two neighbours as near as that")
    compressed: int = Field(
        1, ge=0, le=100, description="cells of each crystal, displaced by 0.2 to 0.6 Å and compressed by up to 20 %"
    )
    slabs: list[_ReplayedSlab] = Field(
        default_factory=list, description="faces about which the base is known to be right"
    )
    weight: float = Field(1.0, gt=0, le=100, description="of a replayed cell in the loss, where a label has 1")

    def hashed(self) -> dict[str, Any]:
        """Return what decides the cells, without what is not asked for: such trainings are those of before."""
        content = self.model_dump(mode="json")
        return {key: value for key, value in content.items() if key not in _LATER or value != _LATER[key]}


#: Keys that came later, with what leaves a training as it was.
_LATER: dict[str, Any] = {"pair_distances": 0, "pushed": 0, "compressed": 0, "slabs": [], "weight": 1.0}


class Training(Written):
    """How the model's own trainer is asked to train."""

    epochs: int = Field(50, ge=1, le=10_000, description="passes over the training frames at most")
    patience: int = Field(
        10, ge=1, le=10_000, description="epochs without a lower validation loss, after which it ends"
    )
    batch_size: int = Field(4, ge=1, le=1024, description="frames a step")
    learning_rate: float = Field(1e-3, gt=0, le=0.1, description="of Adam, at the beginning")
    decay: float = Field(0.97, gt=0.1, le=1.0, description="factor of the learning rate from epoch to epoch")
    force_weight: float = Field(1.0, ge=0, le=1e4, description="in the loss, beside energies per atom with 1")
    stress_weight: float = Field(0.1, ge=0, le=1e4, description="in the loss, of stresses in GPa; 0: not trained on")


class Tuning(Written):
    """A tuning: a base model, data with electrons, how they are split, and how long it is trained."""

    tune: str = Field(description="engine to tune: sevennet-0, chgnet, or sevennet:PATH")
    title: str = Field("", description="as it shall stand in the card of the model")
    data: list[DataSource] = Field(min_length=1, description="where the labels are")
    engine: str | None = Field(None, description="take calculations of this engine alone")
    card: str | None = Field(None, description="take calculations with this card alone")
    exclude: list[str] = Field(default_factory=list, description="labels of calculations to leave out (`*` for any)")
    steps: int | None = Field(
        None, ge=1, le=10_000, description="geometries of each relaxation at most, spread evenly, the last one always"
    )
    systems: dict[str, list[str]] = Field(
        default_factory=dict, description="systems by name, with the labels of their calculations (`*` for any)"
    )
    test: list[str] = Field(min_length=1, description="systems that are not trained on, to measure errors with")
    validation: _Share | Annotated[list[str], Field(min_length=1)] = Field(
        0.2, description="systems that decide when training ends, or the share of systems that chance picks"
    )
    replay: Replay = Field(default_factory=Replay, description="crystals that are not to be forgotten")
    training: Training = Field(default_factory=Training, description="how it is trained")
    seed: Seed = Field(1, description="of everything that chance decides")

    _folder: Path = PrivateAttr(default_factory=Path.cwd)

    def beside(self, name: str) -> Path:
        """Return a path, relative ones from the folder of the tuning file."""
        return (self._folder / Path(name).expanduser()).resolve()

    def hashed(self) -> dict[str, Any]:
        """Return the settings that decide what the model becomes; data are hashed by their content."""
        left_out = {"title", "data", "engine", "card", "exclude", "steps", "tune"}
        return self.model_dump(mode="json", exclude=left_out) | {"replay": self.replay.hashed()}


def load_tuning(file: Path) -> Tuning:
    """Read a tuning file.

    Raises
    ------
    InputError
        Naming file, line, key and what would be right.
    """
    data = read_yaml(file)
    if "study" in data:
        raise InputError(f"'{file}' is a study", f"anodeflow run {file}")
    tuning = validate(Tuning, data, file)
    tuning._folder = file.resolve().parent
    return tuning
