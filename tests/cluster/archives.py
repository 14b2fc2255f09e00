"""Archives with other files than they were written with."""

import zipfile


def rewrite(archive, goal, change):
    """The archive at another place after `change` of its {name: bytes}."""
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(goal, "w") as sink:
        files = {name: source.read(name) for name in source.namelist()}
        change(files)
        for name, data in files.items():
            sink.writestr(name, data)
    return goal
