"""What tests of the VASP engine share: made-up POTCARs, and settings that put the stand-in in its place."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import yaml

STAND_IN = Path(__file__).with_name("vasp_stand_in.py")
# symbol: electrons, element, ENMAX, ENMIN; the numbers of the released files, nothing else of them
POTCARS = {
    "Li_sv": (3, "Li", 499.0, 374.0), "Li": (1, "Li", 140.0, 105.0), "Al": (3, "Al", 240.3, 180.2),
    "P": (5, "P", 255.0, 191.3), "S": (6, "S", 258.7, 194.0), "Cl": (7, "Cl", 262.5, 196.9),
}  # fmt: skip


def potcar(symbol, valence, element, enmax, enmin, functional="PE"):
    """The text of a POTCAR that is a header and nothing behind it."""
    return f"""  PAW_PBE {symbol} 01Jan2000
   {valence:.14f}
 parameters from PSCTR are:
   VRHFIN ={element}: made up
   LEXCH  = {functional}
   EATOM  =     1.0000 eV,    1.0000 Ry

   TITEL  = PAW_PBE {symbol} 01Jan2000
   LULTRA =        F    use ultrasoft PP ?
   LPAW   =        T    paw PP
   POMASS =    1.000; ZVAL   =   {valence:6.3f}    mass and valenz
   ENMAX  =  {enmax:8.3f}; ENMIN  =  {enmin:8.3f} eV
   END of PSCTR-controll parameters
  local part
   1.0 2.0 3.0
  End of Dataset
"""


def write_potcars(folder):
    """A folder as PMG_VASP_PSP_DIR has it."""
    library = Path(folder) / "POT_GGA_PAW_PBE_54"
    library.mkdir(parents=True, exist_ok=True)
    for symbol, values in POTCARS.items():
        (library / f"POTCAR.{symbol}").write_text(potcar(symbol, *values))
    return Path(folder)


def environment(folder, **vasp):
    """Environment variables of a machine whose VASP is the stand-in; keys of the section vasp override."""
    folder = Path(folder)
    section = {
        "command": [sys.executable, str(STAND_IN)],
        "gamma_command": [],
        "potentials": str(write_potcars(folder / "potcars")),
        "stand_in": True,
    } | vasp
    file = folder / "settings.yaml"
    file.write_text(yaml.safe_dump({"runs": str(folder / "runs"), "vasp": section}))
    return {"ANODEFLOW_SETTINGS": str(file), "OMP_NUM_THREADS": "1"}


def use_stand_in(monkeypatch, folder, **vasp):
    """Let this process find the stand-in in VASP's place, and look at it more often than at a VASP."""
    from anodeflow.workflows.engines.vasp import process

    for name, value in environment(folder, **vasp).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(process, "POLL_S", 0.05)


def kill_with_children(process, deadline):
    """SIGKILL to a forked child; back when the programs that it had started are gone, too."""
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process)], capture_output=True, text=True, check=False)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    while any(os.path.exists(f"/proc/{pid}") for pid in listed.stdout.split()) and time.monotonic() < deadline:
        time.sleep(0.05)
