"""Made-up documents of a study, and archives with other files than they were written with."""

import zipfile

STUDY = "0123456789abcdef"


def document(number, label, output):
    """A finished job of the study as the store keeps it."""
    metadata = {"study_hash": STUDY, "label": label, "study": "binding-energy"}
    return {"uuid": f"u{number}", "index": 1, "name": label, "metadata": metadata, "output": output,
            "completed_at": f"2026-01-0{number}T00:00:00"}  # fmt: skip


def rewrite(archive, goal, change):
    """The archive at another place after `change` of its {name: bytes}."""
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(goal, "w") as sink:
        files = {name: source.read(name) for name in source.namelist()}
        change(files)
        for name, data in files.items():
            sink.writestr(name, data)
    return goal
