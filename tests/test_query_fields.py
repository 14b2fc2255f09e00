"""What a filter on the results store may name, and which filters can never match."""

from __future__ import annotations

import json

import pytest

from anodeflow.cli.query_fields import check_fields, query_fields
from anodeflow.cli.results import rows_of
from anodeflow.errors import InputError
from anodeflow.workflows.store import open_job_store
from anodeflow.workflows.studies.registry import tables


@pytest.mark.parametrize("table", tables().values(), ids=lambda table: table.name)
def test_every_table_lists_fields_of_its_documents(table):
    fields = query_fields(table)
    assert {"output.engine", "output.warnings", "metadata.study_hash"} & fields.keys()
    for key in table.fields or ():
        check_fields({f"output.{key}": 1}, table)
    for name in fields:
        check_fields({name: None}, table)


@pytest.mark.parametrize(
    "criteria",
    [
        {"output.converged": False},
        {"output.engine.name": "gpaw", "$or": [{"output.energy_ev": {"$lt": -1}}, {"name": "a"}]},
        {"output.structure.lattice.a": {"$gt": 3}},
        {"output.engine.potentials.Li": {"$exists": True}},
        {"metadata": {"$exists": True}, "output.@class": "CalculationDoc"},
    ],
)
def test_fields_that_exist_are_accepted(criteria):
    check_fields(criteria, tables()["calculations"])


@pytest.mark.parametrize(
    ("criteria", "words"),
    [
        ({"converged": True}, "output.converged"),
        ({"output.energy": -1}, "output.energy_ev"),
        ({"$and": [{"output.engine.nam": "gpaw"}]}, "output.engine.name"),
        ({"output.card.name.first": 1}, None),
        ({"metadata.hash": 1}, "metadata.study_hash"),
    ],
)
def test_fields_that_do_not_exist_are_refused_with_the_nearest(criteria, words):
    if words is None:  # below a field that is text: as good as any
        check_fields(criteria, tables()["calculations"])
        return
    with pytest.raises(InputError, match=words):
        check_fields(criteria, tables()["calculations"])


def test_the_command_lists_them(command):
    status, out, _ = command("results", "--what", "sites", "--fields", "--json")
    assert status == 0
    assert any(row["field"] == "output.sites" for row in json.loads(out))


@pytest.mark.parametrize("option", ["crystal", "environment", "state"])
def test_filters_that_cannot_apply_are_refused(option, tmp_path):
    with pytest.raises(InputError, match=f"--{option} says nothing of --what studies"):
        rows_of(open_job_store(tmp_path / "store.sqlite"), "studies", **{option: "Li"})
