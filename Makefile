# Two commands do all the set-up: `make demo` runs the main job, `make test` passes the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
# Behind a proxy that terminates TLS, the system has its certificate authority.
export UV_SYSTEM_CERTS := 1
export UV_NATIVE_TLS := 1
WEB := services/gateway/web
MEMBERS := shared shared/client services/auth services/users services/gateway services/scheduler services/billing services/runner/worker services/runner cli

.PHONY: help install demo test lint format types lock docs golden client bench peers nightly simulate browser dashboard $(WEB)/openapi.json audit drill test-containers test-cloud release images compose-up compose-development compose-down clean
.DEFAULT_GOAL := help

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-16s %s\n", $$1, $$2}'

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 install"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "This Python has no venv. On Debian: apt-get install python3-venv"; exit 1; }
	@$(BIN)/pip install --quiet --disable-pip-version-check 'uv>=0.9,<1'

$(VENV)/.installed: $(UV) requirements.lock pyproject.toml $(MEMBERS:%=%/pyproject.toml)
	@echo "installing (about half a gigabyte, most of it the Claude Code binary)"
	@VIRTUAL_ENV=$(VENV) $(UV) pip install --quiet --compile-bytecode --require-hashes -r requirements.lock
	@VIRTUAL_ENV=$(VENV) $(UV) pip install --quiet --no-deps --no-build-isolation $(MEMBERS:%=-e ./%)
	@$(BIN)/python -m compileall -q $(MEMBERS:%=%/src)
	@touch $@

install: $(VENV)/.installed  ## Install everything into .venv, from the lock file

lock: $(UV)  ## Write requirements.lock from requirements.in: hashes, no addresses
	@$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--group pyproject.toml:dev --all-extras requirements.in $(MEMBERS:%=%/pyproject.toml) \
		$(foreach s,shared client auth users gateway scheduler billing runner worker,--no-emit-package remote-claude-$(s)) \
		--output-file requirements.lock
	@$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--group pyproject.toml:browser --constraint requirements.lock --output-file requirements-browser.lock
	@$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--group pyproject.toml:bench --constraint requirements.lock --output-file requirements-bench.lock
	@$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--group pyproject.toml:release --constraint requirements.lock --output-file requirements-release.lock

demo: install  ## Run one task from a failing test to an applied commit and its bill
	@$(BIN)/python deploy/demo.py

test: install  ## Lint, type-check and run every test against real servers
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/pytest -n 4 --dist loadfile --no-loadscope-reorder

nightly: install  ## What takes long: faults, standbys and the simulator at their full size
	@RCLAUDE_TEST_EXEC=1 $(BIN)/pytest -m nightly --timeout 3600 --override-ini log_cli=true

simulate: install  ## Replay one seed of the simulator: make simulate SEED=4711
	@PYTHONPATH=tests $(BIN)/python -m simulator $(SEED)

lint: install  ## Lint and check the format
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

format: install  ## Put the code into its format
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

types: install  ## Type-check every package and the tests
	@$(BIN)/mypy

docs: install  ## Generate what is generated: the AsyncAPI document, the event tables, the chart
	@$(BIN)/python -m remote_claude.runtime.reference
	@$(BIN)/python -m remote_claude.runner.egress > docs/reference/network.md
	@$(BIN)/python -m remote_claude.runner.providers
	@$(BIN)/python deploy/k8s/chart/generate.py

$(WEB)/openapi.json: install
	@PYTHONPATH=tests $(BIN)/python tests/openapi_document.py $@

browser: install  ## Install what the tests in a browser need besides Chromium: Node out of PyPI, Playwright, the page's packages
	@VIRTUAL_ENV=$(VENV) $(UV) pip install --quiet --require-hashes -r requirements-browser.lock
	@PATH="$(CURDIR)/$(BIN):$$PATH" npm --prefix $(WEB) ci --silent --no-progress

dashboard: browser $(WEB)/openapi.json  ## Build the dashboard that the gateway serves, from its sources in services/gateway/web
	@PATH="$(CURDIR)/$(BIN):$$PATH" npm --prefix $(WEB) run --silent build

golden: install  ## Write down what events have come to be published; refuses what breaks a reader
	@PYTHONPATH=tests $(BIN)/python tests/published.py

client: install  ## Generate the SDK's models and operations from the OpenAPI document
	@PYTHONPATH=tests $(BIN)/python tests/client_modules.py

peers: browser  ## Install what the benchmarks are held against: PGQueuer, Restate
	@VIRTUAL_ENV=$(VENV) $(UV) pip install --quiet --require-hashes -r requirements-bench.lock
	@PATH="$(CURDIR)/$(BIN):$$PATH" npm --prefix tests/benchmarks/peers ci --silent --no-progress

bench: peers  ## Measure, each figure against a limit of this machine; FIGURE=7,9 runs some
	@PYTHONPATH=tests $(BIN)/python tests/benchmarks/run.py $(FIGURE)

audit: install  ## Check licences, credentials in files and the age of the lock file; write the bill of materials
	@mkdir -p build
	@for check in licences secrets age; do $(BIN)/python deploy/release/supply_chain.py $$check || exit 1; done
	@$(BIN)/python deploy/release/supply_chain.py materials > build/remote-claude.cdx.json
	@echo "build/remote-claude.cdx.json"

drill: install  ## Lose an installation, restore it from its backup, and measure recovery point and time
	@$(BIN)/python deploy/drill.py

test-containers: install  ## The store suites against servers in Docker
	@bash tests/containers.sh

test-cloud: install  ## A provider against its real vendor, with your credentials: make test-cloud PROVIDER=ecs
	@PYTHONPATH=tests $(BIN)/python -m vendors $(PROVIDER)

images:  ## Build the image of each service
	@bash deploy/images/build.sh

compose-up: images  ## Bring the hosted product up with Docker Compose
	@docker compose --project-directory deploy/compose up --detach --wait
	@echo "ready: https://$${RCLAUDE_DOMAIN:-localhost}:$${RCLAUDE_HTTPS_PORT:-8443}  (docs/guides/compose.md says what next)"

compose-development:  ## The same with sign-in, mail and payment for development: nothing to set up
	@bash deploy/images/build.sh auth users gateway scheduler billing runner admin worker development
	@docker compose -f deploy/compose/compose.yaml -f deploy/compose/compose.development.yaml up --detach --wait
	@echo "ready: https://localhost:$${RCLAUDE_HTTPS_PORT:-8443}  (sign in as ada; docs/guides/compose.md says what next)"

compose-down:  ## Stop it; data stays in its volumes
	@docker compose --project-directory deploy/compose down

release: install  ## Build what is published of this version: distributions, a binary, a package, sums, a signature
	@$(BIN)/python deploy/release/release.py

clean:  ## Remove what was built; the demo's data too
	@rm -rf build dist .mypy_cache .ruff_cache .pytest_cache
