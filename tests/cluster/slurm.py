"""A real SLURM of two nodes on this machine, for the tests: no systemd, no cgroups, nothing outside one folder."""

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "scancel", "scontrol")
NODES = 2
CONFIGURATION = """
ClusterName=anodeflowtests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_min_interval=0,batch_sched_delay=0
ReturnToService=2
JobRequeue=1
KillWait=4
MinJobAge=10
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
"""


def missing_program():
    """Name of the first program that is not installed; None where all are there."""
    return next((name for name in PROGRAMS if shutil.which(name) is None), None)


class Slurm:
    """The daemons, and the commands to ask them."""

    def __init__(self, folder: Path, ports, cpus=1):
        self.folder = folder
        self.environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}
        self.started = []
        host = socket.gethostname().partition(".")[0]
        controller, *nodes = ports
        text = CONFIGURATION.format(host=host, controller=controller, folder=folder)
        for number, port in enumerate(nodes, 1):
            (folder / f"spool.n{number}").mkdir()
            text += (
                f"NodeName=n{number} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} RealMemory=2000\n"
            )
        text += "PartitionName=normal Nodes=ALL Default=YES MaxTime=60 DefaultTime=10 PriorityTier=1\n"
        text += "PartitionName=urgent Nodes=ALL MaxTime=60 DefaultTime=10 PriorityTier=10 PreemptMode=OFF\n"
        (folder / "state").mkdir()
        (folder / "slurm.conf").write_text(text)
        (folder / "munge.key").write_bytes(os.urandom(1024))
        (folder / "munge.key").chmod(0o600)

    def start(self):
        folder = self.folder
        self._daemon("munged", "--foreground", f"--key-file={folder}/munge.key", f"--socket={folder}/munge.socket",
                     f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log",
                     f"--seed-file={folder}/munge.seed", "--force")  # fmt: skip
        self._wait("munge's socket", lambda: (folder / "munge.socket").exists())
        self._daemon("slurmctld", "-D")
        for number in range(1, NODES + 1):
            self._daemon("slurmd", "-D", "-N", f"n{number}")
        self._wait("idle nodes", lambda: self.ask("sinfo", "-h", "-N", "-t", "idle", "-o", "%N").split().count("n1"))

    def _daemon(self, *command):
        log = (self.folder / f"{command[0]}.out").open("ab")
        self.started.append(
            subprocess.Popen(command, env=self.environment, stdout=log, stderr=log, start_new_session=True)
        )

    def _wait(self, what, reached, seconds=40):
        deadline = time.monotonic() + seconds
        while not reached():
            if time.monotonic() > deadline:
                logs = "\n".join(f"{f.name}: {f.read_text(errors='replace')[-600:]}" for f in self.folder.glob("*.log"))
                raise RuntimeError(f"no {what} within {seconds} s\n{logs}")
            time.sleep(0.2)

    def ask(self, *command):
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=30, check=False)
        return done.stdout

    def jobs(self):
        """Id and state of every job in the queue."""
        return dict(line.split("|") for line in self.ask("squeue", "-h", "-o", "%A|%T").split())

    def stop(self):
        self.ask("scancel", "--user=root", "--signal=KILL", "--full")
        self.ask("scancel", "--user=root")
        time.sleep(0.5)
        for process in reversed(self.started):
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
