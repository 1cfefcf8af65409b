# Needs python3 (3.11 or newer) with venv and pip, make, and a way to the Python package index. Everything else it sets up.
PYTHON ?= python3
BIN    := .venv/bin
READY  := .venv/.ready
UV     := 0.13.9

.PHONY: demo secrets test test-slow test-all check format lock bench bench-long fuzz shots clean help

help:            ## what can be made
	@grep -hE '^[a-z-]+: .*##|^[a-z-]+:  *##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("python 3.11 or newer is wanted; set PYTHON=") if sys.version_info < (3, 11) else None'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip -q
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV)
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e .
	@touch $@

demo: $(READY)   ## a simulated hall, live at the printed address
	@$(BIN)/dcim demo $(ARGS)

secrets:         ## passwords and tokens for docker compose, those that are missing
	@umask 077 && mkdir -p secrets && for name in collector_password publisher_password \
	  influx_admin_password influx_admin_token grafana_admin_password; do \
	  test -s secrets/$$name || $(PYTHON) -c 'import secrets; print(secrets.token_hex(24))' > secrets/$$name; done

test: $(READY)   ## the quick tests: three minutes on two cores
	$(BIN)/python -m pytest -q -n auto --dist loadfile -m "not slow" $(ARGS)

test-slow: $(READY)   ## browsers, restarts, outages and long stories, and every property with all its examples: a quarter of an hour
	DCIM_THOROUGH=1 $(BIN)/python -m pytest -q -n auto --dist loadfile -m "not slow" tests/properties $(ARGS)
	DCIM_THOROUGH=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile -m slow $(ARGS)

test-all: test test-slow   ## both

check: $(READY)  ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@if docker compose version >/dev/null 2>&1; then \
	  DCIM_UID=0 DCIM_GID=0 docker compose --profile demo config --quiet; fi

format: $(READY) ## put the code into form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: $(READY)   ## resolve the dependencies anew into requirements.lock
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --group dev --extra postgres --extra apprise pyproject.toml -o requirements.lock

bench: $(READY)  ## what it costs, as ratios within one run
	$(BIN)/python -m tests.benchmarks

bench-long: $(READY)  ## one collector at 200,000 points, and ten minutes at half of its pace: three quarters of an hour
	$(BIN)/python -m tests.benchmarks.bench_line --points 200000 --soak 600 --warm 720

shots: $(READY)  ## pictures of the console's main views, into docs/pictures; needs chromium
	$(BIN)/python -m tests.browser.shots $(ARGS)

evaluate: $(READY)  ## how well the detectors do, into docs/evaluation.md: minutes
	$(BIN)/python -m tests.evaluation $(ARGS)

fuzz: $(READY)   ## what no test has tried yet: hostile input to wire and codecs, 200,000 each, and new examples for every property
	$(BIN)/python -m tests.benchmarks.fuzz_wire --inputs 200000
	$(BIN)/python -m tests.benchmarks.fuzz_codec --inputs 200000
	DCIM_THOROUGH=1 DCIM_EXPLORE=1 $(BIN)/python -m pytest -q -n auto --dist loadfile tests/properties $(ARGS)

clean:           ## remove what was made here
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist data
