"""Too little memory is told as that, not as a bad model file."""

import errno

import pytest

from anodeflow.errors import EngineError, out_of_memory
from anodeflow.workflows.engines.potentials import models as potentials
from anodeflow.workflows.engines.potentials.engine import PotentialEngine

LACK = [
    MemoryError(),
    MemoryError("Unable to allocate 7.45 GiB for an array with shape (1000000000,) and data type float64"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:114] data. DefaultCPUAllocator: can't allocate memory: you tried to"),
    RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    RuntimeError("std::bad_alloc"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
]


@pytest.mark.parametrize("error", LACK, ids=lambda error: str(error)[:20] or "bare")
def test_a_potential_that_finds_no_memory_says_so(error, tmp_path, monkeypatch):
    def load(path, device):
        raise error

    model = tmp_path / "model"
    model.write_text("weights")
    monkeypatch.setenv("ANODEFLOW_DEVICE", "cpu")
    monkeypatch.setitem(potentials.POTENTIALS, "hungry", potentials.Potential("ase", None, load, 1e-6, "test"))
    with pytest.raises(EngineError) as caught:
        PotentialEngine(f"hungry:{model}").calculator()
    text = str(caught.value)
    assert "the memory of this machine is not enough" in text
    assert "--workers 1" in text
    assert "check that the file is a model" not in text
    assert "\n" not in text


@pytest.mark.parametrize("error", [RuntimeError("PytorchStreamReader failed"), ValueError("x"), OSError(2, "no file")])
def test_a_bad_model_file_stays_one(error):
    assert out_of_memory(error) is None
