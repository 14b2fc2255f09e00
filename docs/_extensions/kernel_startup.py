"""Run in the kernel of the tutorials before their first cell: cells see a plain terminal of 88 columns.

``%%bash`` of IPython hands on what a command prints in pieces of 100 bytes, which the page would show as lines, and
lets a command that fails pass unless it is the last. Here it is one piece, and the first failure is the cell's.
"""

import os
import subprocess

from IPython.core.magic import register_cell_magic

# ipykernel asks for colours, and a bar that moves is many lines on a page
os.environ.update(TERM="dumb", COLUMNS="88")


@register_cell_magic
def bash(line, cell):
    """Run a cell with bash."""
    words = ["bash", "-e", "-c", cell]
    done = subprocess.run(words, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    print(done.stdout.strip("\n"))
    done.check_returncode()
