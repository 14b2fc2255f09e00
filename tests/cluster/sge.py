"""A real SGE (Debian's gridengine) of one node on this machine, for the tests: nothing outside one folder."""

import os
import shutil
import socket
from pathlib import Path

from daemons import Daemons

TOOLS = Path("/usr/lib/gridengine")
SHARE = Path("/usr/share/gridengine")
PROGRAMS = ("sge_qmaster", "sge_execd", "qconf", "qsub", "qstat", "qdel")
BOOTSTRAP = """admin_user root
default_domain none
ignore_fqdn true
spooling_method classic
spooling_lib libspoolc
spooling_params {folder}/default/common;{folder}/spool
binary_path /usr/sbin
qmaster_spool_dir {folder}/spool
security_mode none
listener_threads 2
worker_threads 2
scheduler_threads 1
"""
# qconf lets an editor change its forms, and looks at the time of the file.
EDITOR = """#!/bin/sh
sleep 1.1
sed -i 's/^slots  *[0-9].*/slots 2/; s/^hostlist .*/hostlist {host}/; s/^load_thresholds .*/load_thresholds NONE/;
    s/^pe_list .*/pe_list mpi/; s/^notify .*/notify 00:00:10/; s/^schedule_interval .*/schedule_interval 0:0:2/;
    s/^flush_submit_sec .*/flush_submit_sec 1/; s/^flush_finish_sec .*/flush_finish_sec 1/' "$1"
"""


def missing_program():
    """Name of the first program that is not installed; None where all are there."""
    if not TOOLS.is_dir():
        return "sge_qmaster"
    return next((name for name in PROGRAMS if shutil.which(name) is None), None)


class Sge(Daemons):
    """The daemons, and the commands to ask them."""

    def __init__(self, folder, ports):
        self.folder, self.started = folder, []
        master, node = ports
        self.host = socket.gethostname()
        self.environment = os.environ | {
            "SGE_ROOT": str(folder), "SGE_CELL": "default", "SGE_QMASTER_PORT": str(master),
            "SGE_EXECD_PORT": str(node), "SGE_ND": "1", "EDITOR": str(folder / "editor"),
        }  # fmt: skip

    def start(self):
        folder = self.folder
        for name in ("default/common", "spool/job_scripts", "execd"):
            (folder / name).mkdir(parents=True)
        for file in SHARE.iterdir():
            (folder / file.name).symlink_to(file)
        (folder / "default/common/bootstrap").write_text(BOOTSTRAP.format(folder=folder))
        (folder / "default/common/act_qmaster").write_text(f"{self.host}\n")
        # Where the name of the machine leads to 127.0.0.1, and 127.0.0.1 to localhost.
        (folder / "default/common/host_aliases").write_text(f"{self.host} localhost\n")
        (folder / "editor").write_text(EDITOR.format(host=self.host))
        (folder / "editor").chmod(0o755)
        text = (SHARE / "default-configuration").read_text().replace("/var/spool/gridengine/execd", f"{folder}/execd")
        # No login shells: a profile that takes a lock and is killed with its job would hold up all that follow.
        values = {"min_uid": "0", "min_gid": "0", "load_report_time": "00:00:05", "login_shells": "none"}
        for name, value in values.items():
            text = "\n".join(f"{name} {value}" if line.split()[:1] == [name] else line for line in text.splitlines())
        (folder / "configuration").write_text(f"{text}\n")
        self.ask(TOOLS / "spoolinit", "classic", "libspoolc", f"{folder}/default/common;{folder}/spool", "init")
        for what, source in (("configuration", folder / "configuration"), ("managers", "root"),
                             ("complexes", SHARE / "util/resources/centry"),
                             ("usersets", SHARE / "util/resources/usersets")):  # fmt: skip
            self.ask(TOOLS / "spooldefaults", what, source)
        self.daemon("sge_qmaster")
        self.wait("a master", lambda: self.host in self.ask("qconf", "-sh"))
        for arguments in (["-as", self.host], ["-ap", "mpi"], ["-ap", "smp"], ["-ap", "make"], ["-aq", "all.q"],
                          ["-msconf"]):  # fmt: skip
            self.ask("qconf", *arguments)
        self.daemon("sge_execd")
        self.wait("a node", lambda: self._node_is_ready())
        # A node that is ready may still run nothing, where the machine's name or users are odd.
        proof = self.folder / "proof"
        self.ask("qsub", "-b", "y", "-o", "/dev/null", "-e", "/dev/null", "touch", proof)
        self.wait("first job", proof.exists)

    def _node_is_ready(self):
        lines = [line.split() for line in self.ask("qstat", "-f").splitlines() if line.startswith("all.q@")]
        return bool(lines) and len(lines[0]) == 5 and "NA" not in lines[0][3]

    def jobs(self):
        """Id and state of every job in the queue."""
        rows = [line.split() for line in self.ask("qstat", "-u", "*").splitlines()]
        return {row[0]: row[4] for row in rows if row and row[0].isdigit()}

    def stop(self):
        for job in self.jobs():
            self.ask("qdel", "-f", job)
        self.end()
