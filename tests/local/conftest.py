"""What the tests of local runs share."""

import pytest
import yaml
from runs import SITE, TINY


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a study, in which commands find the test engines."""
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    monkeypatch.setenv("PYTHONPATH", str(SITE))
    monkeypatch.setenv("ANODEFLOW_TEST_LOG", str(tmp_path / "computed"))
    return tmp_path
