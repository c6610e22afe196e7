# Every target makes what it needs, from python3 (3.11 or newer) and make alone.
PYTHON ?= python3
BIN := .venv/bin
PEERS := .venv-peers/bin
PEERS_ONLINE := .venv-peers-online/bin
EXTRA := tune
LOWEST := tests/core tests/data tests/nn tests/evaluation tests/cli
TESTS_mujoco := tests/envs/test_gymnasium_adapter.py tests/envs/test_rollout.py
TESTS_atari := tests/envs/test_atari.py
TESTS_tune := tests/experiments/test_tune.py tests/experiments/test_search_space.py
TESTS_images := tests/envs/worlds/test_digits.py
TESTS_onnx := tests/agents/externals/test_onnx_file.py tests/agents/externals/test_protobuf.py
TESTS_games := tests/labs/test_games.py tests/labs/test_selfplay.py
TESTS_trees := tests/agents/algorithms/test_regression.py tests/agents/parts/test_boosting.py tests/nn/test_forest.py
TESTS_figures := tests/reports/test_benchmark.py
export WEFT_CACHE ?= $(CURDIR)/.cache/compiled

.PHONY: demo test test-all test-slow test-commands test-lowest test-extra wheel release-check bench bench-peers coverage lint docs lock clean

demo: .venv/core.stamp
	$(BIN)/weft demo --out report.html

test: .venv/dev.stamp
	$(BIN)/pytest -q -n 2 --dist loadfile --no-loadscope-reorder

# Everything: the slow tests as well, all programs optimised, more examples of every property.
test-all: .venv/dev.stamp
	WEFT_TESTS=all $(BIN)/pytest -q -n 2 --dist loadfile --no-loadscope-reorder -m "slow or not slow" --durations 30

test-slow: .venv/dev.stamp
	WEFT_TESTS=all $(BIN)/pytest -q -m slow

# Every command on every log, as a table.
test-commands: .venv/dev.stamp
	$(BIN)/python tests/support/every_command.py

# The lowest versions that pyproject.toml allows: every public name, and the tests that look at the libraries most.
test-lowest: .venv-lowest/stamp
	.venv-lowest/bin/python tools/import_everything.py
	.venv-lowest/bin/pytest -q -n 2 --dist loadfile --no-loadscope-reorder $(LOWEST)
	.venv-lowest/bin/pytest -q -n 2 --dist loadfile --no-loadscope-reorder tests/contracts/test_algorithm.py -k "[iql- or [cql- or [bc-"

# One extra and nothing else beside the core: `make test-extra EXTRA=tune`.
test-extra: .venv-extra-$(EXTRA)/stamp
	.venv-extra-$(EXTRA)/bin/pytest -q $(TESTS_$(EXTRA))

# Build the wheel, look at what is in it, and use it in an empty environment.
wheel: .venv/dev.stamp
	rm -rf dist
	$(BIN)/uv build -q --out-dir dist
	$(BIN)/python tools/check_wheel.py dist

# May the version be released under this tag? `make release-check TAG=v0.2.0`
release-check:
	$(PYTHON) tools/check_release.py $(TAG)

# One core, d3rlpy beside; other libraries from a checkout each: see benchmarks/speed.py.
bench: .venv/dev.stamp .venv-peers/stamp
	taskset -c 0 $(BIN)/python benchmarks/speed.py --peers $(PEERS)/python \
		$(if $(CORL),--corl $(CORL)) $(if $(JAX_CORL),--jax-corl $(JAX_CORL)) \
		$(if $(UNIFLORAL),--unifloral $(UNIFLORAL)) $(if $(JAX_PEERS),--jax-peers $(JAX_PEERS))

coverage: .venv/dev.stamp
	$(BIN)/python benchmarks/coverage/run.py
	$(BIN)/python benchmarks/coverage/gate.py

bench-peers: .venv-peers/stamp .venv-peers-online/stamp

lint: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

docs: .venv/dev.stamp
	$(BIN)/python docs/generate.py
	$(BIN)/python docs/figures.py

# The lock files name versions only; `make lock` renews them.
lock: .venv/dev.stamp
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --no-annotate --no-header pyproject.toml -o requirements/core.txt
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --no-annotate --no-header --extra dev --extra mujoco --extra tune pyproject.toml -o requirements/dev.txt
	$(BIN)/uv pip compile -q --upgrade --python-version 3.11 --no-annotate --no-header --resolution lowest-direct --extra test --extra tune --extra images --extra figures --extra games pyproject.toml -o requirements/lowest.txt

.venv/made.stamp:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "weft needs Python 3.11 or newer; name one: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	touch $@

.venv/core.stamp: .venv/made.stamp requirements/core.txt pyproject.toml
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements/core.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -e .
	touch $@

.venv/dev.stamp: .venv/core.stamp requirements/dev.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements/dev.txt
	touch $@

.venv-lowest/stamp: requirements/lowest.txt pyproject.toml
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install -q --disable-pip-version-check -r requirements/lowest.txt
	.venv-lowest/bin/python -m pip install -q --disable-pip-version-check --no-deps -e .
	touch $@

.venv-extra-$(EXTRA)/stamp: requirements/dev.txt pyproject.toml
	$(PYTHON) -m venv .venv-extra-$(EXTRA)
	.venv-extra-$(EXTRA)/bin/python -m pip install -q --disable-pip-version-check -c requirements/dev.txt -e '.[test,$(EXTRA)]'
	touch $@

.venv-peers/stamp: benchmarks/peers/requirements.txt
	$(PYTHON) -m venv .venv-peers
	$(PEERS)/python -m pip install -q --disable-pip-version-check -r benchmarks/peers/requirements.txt
	touch $@

.venv-peers-online/stamp: benchmarks/peers/requirements_online.txt
	$(PYTHON) -m venv .venv-peers-online
	$(PEERS_ONLINE)/python -m pip install -q --disable-pip-version-check -r benchmarks/peers/requirements_online.txt
	touch $@

clean:
	rm -rf .venv .venv-* .cache build dist src/*.egg-info
