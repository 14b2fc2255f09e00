"""How the site is built: ``sphinx-build -W -n --keep-going docs docs/_build/site`` (see CONTRIBUTING.md)."""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

import anodeflow

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_extensions"))
# what the kernel of the tutorials runs first
ipython = Path(tempfile.mkdtemp(prefix="anodeflow-docs-"))
atexit.register(shutil.rmtree, ipython, ignore_errors=True)
(ipython / "profile_default").mkdir()
(ipython / "profile_default" / "ipython_kernel_config.py").write_text(
    f"get_config().InteractiveShellApp.exec_files = [{str(HERE / '_extensions' / 'kernel_startup.py')!r}]\n"
)
os.environ["IPYTHONDIR"] = str(ipython)
# the notebooks call `anodeflow` of this environment, and one thread of each library is enough for their small cells
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
os.environ.setdefault("OMP_NUM_THREADS", "1")

project = "anodeflow"
author = "the authors of anodeflow"
project_copyright = "the authors of anodeflow; MIT licence, crystal data of others under their own"
version = release = anodeflow.__version__
language = "en"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "from_models",
    "api_pages",
    "links_to_the_tree",
]
exclude_patterns = ["_build", "_extensions", "jupyter_execute"]

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 4

# A notebook runs in an empty folder, again when its cells change; an error in a cell is an error of the build.
nb_execution_mode = "cache"
nb_execution_in_temp = True
nb_execution_timeout = 600
nb_execution_raise_on_error = True
# a notebook that was not run (-D nb_execution_mode=off) does not say in which language it is
suppress_warnings = ["myst-nb.lexer"]

autodoc_typehints = "description"
autodoc_member_order = "bysource"
napoleon_numpy_docstring = True
napoleon_google_docstring = False

html_theme = "furo"
html_title = f"anodeflow {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
# modules of a page are in its contents, not each of their functions
toc_object_entries = False

# Names of other packages are not looked up: their sites cannot be asked where there is no network.
nitpick_ignore_regex = [("py:.*", r"(?!anodeflow\.).*")]
