"""A stage as tables, in spans that are read apart, and as a source of Ray Data."""

import json
import os
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest
from handover_sets import make_handover, page, pair
from loader_stages import stage
from ray_clusters import cluster, environment

import curate
from curate.errors import ConfigError
from curate.handover.stages import MixtureSource
from curate.train.data import OK, Loader, open_handover
from curate.train.data.tables import BATCH_SCHEMA, batch_table, span_tables, spans

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    sources = {"pairs": [pair(n, ["one", "two words"], ["web", "model"]) for n in range(25)]}
    sources["pages"] = [page(n) for n in range(8)]
    return make_handover(tmp_path_factory.mktemp("tables") / "set", sources)


def load(folder, **settings):
    own = {"packing": True, "sequence_tokens": 60, "epochs": 2, **settings}
    chosen = stage(MixtureSource("pairs", "pairs", captions={"web": 1.0, "model": 1.0}), PAGES, **own)
    return Loader(open_handover(str(folder)), chosen, seed=0, batch=2, threads=0, open_rows=3)


PAGES = MixtureSource("pages", "interleaved")


def test_spans_that_are_read_apart_are_the_stage(folder):
    own = load(folder)
    parts = spans(own, 3)
    assert sum(part.examples for part in parts) == 66
    whole = pa.concat_tables([batch_table(batch) for batch in load(folder)])
    for order in (parts, parts[::-1]):
        found = pa.concat_tables([table for part in order for table in span_tables(own, part)])
        assert found.schema == BATCH_SCHEMA
        assert found.sort_by([("batch", "ascending")]).to_pylist() == whole.to_pylist()
    assert own.state()["batches"] == 0


def test_a_table_has_what_the_tar_has(folder):
    table = batch_table(next(iter(load(folder, packing=False, sequence_tokens=0, epochs=1))))
    rows = pa.concat_tables(
        [table, *(batch_table(b) for b in load(folder, packing=False, sequence_tokens=0, epochs=1))]
    ).to_pylist()
    one = next(row for row in rows if row["kind"] == "pairs")
    assert one["picture_names"] == ["jpg"]
    assert one["caption"] in json.loads(one["json"])["captions"]
    two = next(row for row in rows if row["kind"] == "interleaved")
    names = [name for name in json.loads(two["json"])["images"] if name]
    assert two["picture_names"] == names
    assert [data[:2] for data in two["pictures"]] == [b"\xff\xd8"] * 2
    assert two["caption"] is None


def test_a_hole_is_a_row_without_json(folder, tmp_path):
    other = make_handover(tmp_path / "set", {"pairs": [pair(1)], "pages": [page(1)]})
    (other / "00000.tar").unlink()
    rows = [row for batch in load(other, epochs=1) for row in batch_table(batch).to_pylist()]
    (hole,) = [row for row in rows if row["status"] != OK]
    assert hole["json"] is None
    assert hole["pictures"] == []


def test_a_stage_without_an_end_has_no_spans(folder):
    with pytest.raises(ConfigError, match="does not say how long it is"):
        spans(load(folder, epochs=0), 2)


@pytest.fixture(scope="module")
def ray():
    """Ray on this machine with one CPU, blocks in the order of the parts."""
    ray = pytest.importorskip("ray")
    with environment(PYTHONPATH=f"{HERE.parents[1]}{os.pathsep}{HERE}"), cluster({"num_cpus": 1}) as made:
        ray.init(made.address, logging_level="ERROR", log_to_driver=False)
        ray.data.DataContext.get_current().execution_options.preserve_order = True
        yield ray


@pytest.mark.slow
def test_ray_data_reads_the_stage(folder, ray):
    from curate.run.ray_data import PartsDatasource

    own = load(folder)
    parts = spans(own, 9)
    source = PartsDatasource(partial(span_tables, own), parts, [part.examples for part in parts])
    rows = ray.data.read_datasource(source).take_all()
    expected = [row for batch in load(folder) for row in batch_table(batch).to_pylist()]
    names = ("batch", "row", "key", "caption", "status", "tokens")
    assert [[row[name] for name in names] for row in rows] == [[row[name] for name in names] for row in expected]
    assert [list(row["pictures"]) for row in rows] == [row["pictures"] for row in expected]


@pytest.mark.slow
def test_ray_data_reads_the_columns_of_a_data_set(folder, ray):
    data = curate.open(folder)
    found = data.to_ray("kind", "key", "captions")
    assert found.take_all() == data.to_arrow("kind", "key", "captions").to_pylist()
    assert found.count() == 33
