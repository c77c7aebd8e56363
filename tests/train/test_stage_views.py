"""Crops and flips of a stage reach the model: a unit's pictures are the views that were drawn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from handover_sets import pair
from stage_tables import Bench, source, stage, stages

from curate.errors import ConfigError
from curate.handover.augment import View
from curate.train.data.pixels import pixels_of
from curate.train.stages.vision import preparing

CROP = View((32, 24), (4, 2, 20, 16), True)


def test_a_units_pictures_are_the_views_that_were_drawn() -> None:
    bench = Bench(stages(stage("one", [source("pairs")])))
    sample = pair(0, ["a ball"], ["web"])
    given = bench.given(sample)
    units = [bench.collator.unit([[replace(given, view=view)]]) for view in (None, CROP, None)]
    prepare = preparing(bench.stage.resolution, bench.model.vision.size)
    pixels = pixels_of(sample.image)
    assert pixels is not None
    assert (units[0].views[0].numpy() == prepare(pixels)).all()
    assert (units[1].views[0].numpy() == prepare(np.ascontiguousarray(pixels[2:18, 4:24][:, ::-1]))).all()
    assert (units[2].views == units[0].views).all(), "a whole picture is not taken for its crop"


def test_a_stage_that_it_would_harm_is_refused() -> None:
    augment = {"min_area_ratio": 0.9, "flip_probability": 0.5}
    assert stages(stage("one", [source("pairs")], augment=augment)).stages[0].augment is not None
    with pytest.raises(ConfigError, match="augment is for pairs"):
        stages(stage("one", [source("docs")], augment=augment))
    with pytest.raises(ConfigError, match="flip_probability"):
        stages(stage("one", [source("pairs")], augment={"flip_probability": 2}))
