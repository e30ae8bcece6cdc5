# The project's verbs, for people and CI alike. `make` lists them.
PY := .venv/bin/python
# Who may lead, what commits, what is durable, when a read is true: an untested branch here may lose a write.
SAFETY := $(foreach module,guard wal readindex election,raft/holdfast_raft/$(module).py)
.DEFAULT_GOAL := help

help:    ## list the verbs
	@sed -n 's/^\([a-z-]*\):.*## /  make \1	/p' Makefile | expand -t 22
setup: .venv/.ready ## create .venv and install the project with everything it needs
run: setup ## start a 3-node cluster on this machine (state in ./.holdfast, Ctrl-C stops it)
	@exec .venv/bin/holdfast dev --data ./.holdfast $(ARGS)
test: setup ## every test: unit, property, simulation, integration with real processes
	$(PY) -m pytest $(ARGS)
coverage: setup $(SAFETY) ## branches of raft/ its unit tests take; fails unless those of SAFETY are all taken
	$(PY) -m coverage run -m pytest tests/unit/holdfast_raft
	$(PY) -m coverage report
	$(PY) -m coverage report --fail-under=100 $(SAFETY)
check: setup lint types ## what must hold before a commit: lint, types, floors, stubs, protos, repository rules
	$(PY) tests/repo/stubs.py
	.ci/buf lint
	$(PY) -m pytest tests/repo
lint: setup ## ruff and the floors of ARCHITECTURE.md
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/lint-imports --no-cache --no-logo
types: setup ## mypy --strict
	.venv/bin/mypy
format: setup ## let ruff rewrite what it can
	.venv/bin/ruff check --fix-only .
	.venv/bin/ruff format .
proto: setup ## make the committed stubs from proto/
	$(PY) tests/repo/stubs.py --write
docs: setup ## make the tables of docs/reference from the code
	$(PY) tests/repo/reference.py --write
sim: setup ## simulated clusters under seeded faults: SEEDS=3000 or FIRST:END, PROFILE=, REPLICAS=1|3|5, RESULTS=file
	$(PY) -m tests.sim run --seeds $(or $(SEEDS),300) $(if $(PROFILE),--profile $(PROFILE)) \
	  $(if $(REPLICAS),--replicas $(REPLICAS)) $(if $(RESULTS),--results $(RESULTS))
sim-planted: setup ## find every planted bug by the simulator (ARGS=--recorded: at its recorded seed, a minute)
	$(PY) -m tests.planted.search $(ARGS)
chaos: setup ## break a real 3-node cluster, every nemesis that has room, in turn: CHAOS_SECONDS=600, SEED=, OUT=a new folder
	$(PY) -m holdfast_chaos run --scenario all --time $(or $(CHAOS_SECONDS),600) --rate-min $(or $(CHAOS_RATE),50) \
	  --rate 1200 $(if $(SEED),--seed $(SEED)) $(if $(OUT),--out $(OUT)) $(ARGS)
bench: setup ## measure beside etcd and Redis, about 15 min (ROWS=put-256,...: a part; ARGS=--help; needs Go)
	$(PY) -m tests.bench $(if $(ROWS),--rows $(ROWS)) $(ARGS)
bench-scale: setup ## curves: shards, keys, values, callers, watchers, connections, hot, overload, churn (CURVES=, POINTS=)
	$(PY) -m tests.bench.scale $(if $(CURVES),--curves $(CURVES)) $(if $(POINTS),--points $(POINTS)) $(ARGS)

.venv/.ready: pyproject.toml .ci/venv
	@PYTHON="$(PYTHON)" .ci/venv

.PHONY: help setup run test coverage check lint types format proto docs sim sim-planted chaos bench bench-scale
