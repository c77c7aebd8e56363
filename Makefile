# What a developer types, and all that CI runs. Each target makes the environment it needs, once.
PYTHON ?= python3
BIN := .venv/bin
export OMP_NUM_THREADS ?= 1
export RAY_USAGE_STATS_ENABLED ?= 0

.PHONY: demo test lint format docs bench clean

demo: .venv/.core  ## a small web with known truth: crawl, shard, filter, explain, caption, hand over; a tiny model on raw and on curated
	$(BIN)/curate run configs/demo.toml --out data/demo --format table
	$(BIN)/curate run configs/interleaved_demo.toml --out data/interleaved_demo --format table
	$(BIN)/curate run configs/copies_demo.toml --out data/copies_demo --format table
	$(BIN)/curate run configs/capfilt_demo.toml --out data/capfilt_demo --format table
	$(BIN)/curate report data/demo --out data/demo.html --format table
	$(BIN)/curate report data/interleaved_demo --out data/interleaved_demo.html --format table
	$(BIN)/curate report data/capfilt_demo --out data/capfilt_demo.html --format table
	$(BIN)/curate plan configs/stages/llava15.toml data/capfilt_demo --format table
	$(BIN)/curate run configs/handover_demo.toml --out data/handover_demo --format table
	$(BIN)/curate export --verify data/handover_demo --format table
	rm -rf data/handover_models data/handover_models.training
	$(BIN)/curate train data/handover_demo/stages.toml --data data/handover_demo --out data/handover_models --evaluate toy --format table

test: .venv/.test  ## every test, the slow ones too, three files at a time: half of the time of two is waiting
	RAY_AUTH_MODE=disabled $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder --hypothesis-profile repeatable

lint: .venv/.test  ## style and strict types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/.test  ## put the code in the house's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .venv/.test  ## what is generated of docs/, and README's picture of a report
	$(BIN)/python -m docs.generate
	$(BIN)/curate run configs/demo.toml --out data/demo --format table
	$(BIN)/curate report data/demo --out data/demo.html --screenshot docs/report.png --format table

bench: .venv/.bench  ## side by side with the peers, in one run
	$(BIN)/python -m bench.peers
	$(BIN)/python -m bench.pictures
	$(BIN)/python -m bench.fetch
	$(BIN)/python -m bench.selection
	$(BIN)/python -m bench.extraction
	$(BIN)/python -m bench.preset_differences
	$(BIN)/python -m bench.frequency
	$(BIN)/python -m bench.clip
	$(BIN)/python -m bench.toy
	$(BIN)/python -m bench.minhash
	$(BIN)/python -m bench.components
	$(BIN)/python -m bench.hamming
	$(BIN)/python -m bench.perceptual
	$(BIN)/python -m bench.balance
	$(BIN)/python -m bench.semantic
	$(BIN)/python -m bench.bloom
	$(BIN)/python -m bench.copies
	$(BIN)/python -m bench.captioner
	$(BIN)/python -m bench.recaption
	$(BIN)/python -m bench.coca
	$(BIN)/python -m bench.toy_captioner
	$(BIN)/python -m bench.capfilt
	$(BIN)/python -m bench.loader
	$(BIN)/python -m bench.handover_effect
	$(BIN)/python -m bench.million bench/data/million
	$(BIN)/python -m bench.report --data bench/data/million
	$(BIN)/python -m bench.browse bench/data/million

.venv/bin/python:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check "pip>=23"

.venv/.core: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[web,models,dedup,report]'
	touch $@

.venv/.test: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[test]'
	touch .venv/.core $@

.venv/.bench: .venv/.core pyproject.toml constraints.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[bench,report]'
	touch $@

clean:  ## remove the environment and what the demo wrote
	rm -rf .venv data/demo data/interleaved_demo data/copies_demo data/capfilt_demo data/handover_demo data/handover_models data/*demo.html
