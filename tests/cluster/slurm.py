"""A real SLURM of two nodes on this machine, for the tests: no systemd, no cgroups, nothing outside one folder."""

import os
import shutil
import socket
import time
from pathlib import Path

from daemons import Daemons

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


class Slurm(Daemons):
    """The daemons, and the commands to ask them."""

    def __init__(self, folder: Path, ports, cpus=1):
        self.folder = folder
        # Job scripts start a login shell. A profile that takes a lock (pyenv's does) and is killed with its job leaves
        # the lock, and every later shell waits a minute for it.
        self.environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf"), "HOME": str(folder / "home")}
        (folder / "home").mkdir()
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
        self.daemon("munged", "--foreground", f"--key-file={folder}/munge.key", f"--socket={folder}/munge.socket",
                     f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log",
                     f"--seed-file={folder}/munge.seed", "--force")  # fmt: skip
        self.wait("munge's socket", lambda: (folder / "munge.socket").exists())
        self.daemon("slurmctld", "-D")
        for number in range(1, NODES + 1):
            self.daemon("slurmd", "-D", "-N", f"n{number}")
        self.wait("idle nodes", lambda: self.ask("sinfo", "-h", "-N", "-t", "idle", "-o", "%N").split().count("n1"))

    def jobs(self):
        """Id and state of every job in the queue."""
        return dict(line.split("|") for line in self.ask("squeue", "-h", "-o", "%A|%T").split())

    def stop(self):
        self.ask("scancel", "--user=root", "--signal=KILL", "--full")
        self.ask("scancel", "--user=root")
        time.sleep(0.5)
        self.end()
