# Everything that one does with Carryout; `make` lists it.

# The Python that .venv was made with goes on, so that PYTHON is named once.
PYTHON ?= $(firstword $(wildcard .venv/bin/python) python3)
BIN := .venv/bin
UV := $(PYTHON) infra/environments.py uv
ENVIRONMENT := $(PYTHON) infra/environments.py make
COMPILE := $(UV) pip compile -q --universal --python-version 3.11 --generate-hashes \
  --no-annotate --no-header pyproject.toml

# uv leaves compiling to the first import; unless that is kept, every process compiles everything.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help setup demo run test faults soak mutants coverage bench browser lighthouse servers image-check fuzz \
  audit attack openapi-lint deploy destroy package package-check translations check lock

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

setup: ## create .venv with everything the other commands need (PYTHON=python3)
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' || { \
	  echo "Carryout needs Python 3.11 to 3.14; name one: make setup PYTHON=python3.13" >&2; exit 1; }
	@$(ENVIRONMENT) .venv requirements-dev.txt

demo: setup ## watch an export run, from request to email
	@exec $(BIN)/python -m infra.local demo

run: setup ## run everything in the foreground (PORT=8000 DATA_DIR=.local WORKERS=1 TRACES=)
	@exec $(BIN)/python -m infra.local run

# One process for each core. A module stays in one of them, with the servers that it starts, and the
# modules keep their order: the slow ones come first, so that no process waits long for another.
test: setup ## run every test that this machine can run (ARGS=... for pytest)
	@$(BIN)/pytest -n logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder $(ARGS)

faults: setup ## kill, stop and starve every part, then check the outcome (SEED=, ONLY=, QUICK=1)
	@$(BIN)/python -m tests.faults $(if $(SEED),--seed $(SEED)) $(if $(ONLY),--only $(ONLY)) \
	  $(if $(QUICK),--quick)

soak: setup ## let users, faults and deploys go on for an hour, and see that nothing grows (MINUTES=, SEED=)
	@$(BIN)/python -m tests.faults.soak $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED))

mutants: setup ## change code at random, and say which changes no test notices (ARGS="--most 10 --module ...")
	@$(ENVIRONMENT) .venv-mutants tests/mutants.txt
	@$(BIN)/python -m tests.faults.mutants $(ARGS)

coverage: setup ## run the tests of one process, and show branches and the kernel's lines without a test (ARGS=)
	@$(ENVIRONMENT) .venv-coverage tests/coverage.txt
	@PYTHONPATH=$$(echo .venv-coverage/lib/python*/site-packages) $(BIN)/python -m tests.coverage $(ARGS)

attack: setup ## flood the application as one account and one network, and look at the others
	@$(BIN)/pytest -s -m attack tests/security $(ARGS)

# Without the other libraries, when they cannot be had, the benchmark says that they are left out.
bench: setup ## measure everything against its peers (QUICK=1, ONLY=, DATA_DIR=.local, ARGS="--markdown --strict")
	@$(if $(ONLY),$(if $(findstring throughput,$(ONLY)),,exit 0;)) \
	  $(ENVIRONMENT) .venv-bench tests/bench/requirements.txt || rm -rf .venv-bench
	@$(BIN)/python -m tests.bench $(if $(QUICK),--quick) $(if $(ONLY),--only $(ONLY)) $(ARGS)

browser: setup ## run the Chromium tests, which `test` includes if Chromium is there (screenshots: build/screens)
	@BROWSER_TESTS=required SCREENS=on $(BIN)/pytest tests/browser $(ARGS)

lighthouse: setup ## measure every page with Lighthouse, in ten minutes or more (needs npm)
	@npm install --silent --no-audit --no-fund --prefix build/lighthouse lighthouse@12.8.2
	@LIGHTHOUSE=build/lighthouse/node_modules/.bin/lighthouse BROWSER_TESTS=required \
	  $(BIN)/pytest -s tests/browser/test_lighthouse.py $(ARGS)

servers: setup ## test supervisord, honcho, Compose's commands and an upgrade, each with a real export
	@$(BIN)/pytest -m servers tests/deployed $(ARGS)

image-check: setup ## build the container image and run an export in it (as root, with buildah and mmdebstrap)
	@$(BIN)/pytest -m image tests/deployed $(ARGS)

fuzz: setup ## fuzz the running stack with Schemathesis and malformed HTTP, and imports with damaged files
	@FUZZ=1 $(BIN)/pytest -s tests/security/test_schemathesis.py tests/security/test_raw_http.py \
	  tests/unit/test_import_fuzz.py $(ARGS)

# Two linters that nobody here wrote; they come from npm, so that CI does without them.
openapi-lint: setup ## lint the OpenAPI document with Spectral and Redocly (needs npm)
	@mkdir -p build/openapi
	@$(BIN)/python -c 'import json, app; from chalicelib.web.openapi import document; \
	  print(json.dumps(document(app.app.endpoints, prefix="")))' > build/openapi/openapi.json
	@npm install --silent --no-audit --no-fund --prefix build/openapi \
	  @redocly/cli@2.77.0 @stoplight/spectral-cli@6.16.3
	@build/openapi/node_modules/.bin/spectral lint --fail-severity hint \
	  --ruleset tests/openapi/spectral.yaml build/openapi/openapi.json
	@build/openapi/node_modules/.bin/redocly lint --config tests/openapi/redocly.yaml \
	  --format json --max-problems 1000 build/openapi/openapi.json > build/openapi/redocly.json
	@$(BIN)/python -c 'import json; found = json.load(open("build/openapi/redocly.json"))["problems"]; \
	  print(*(one["message"] for one in found), sep="\n"); raise SystemExit(bool(found))'

# uv audits projects, so the locked packages become one. It exits with 1 for a vulnerability alone.
audit: setup ## check the locked dependencies for known vulnerabilities (ARGS=--or-say-so)
	@mkdir -p build/audit && rm -f build/audit/uv.lock
	@printf '[project]\nname = "locked"\nversion = "1"\nrequires-python = ">=3.11"\n' \
	  > build/audit/pyproject.toml
	@{ $(UV) add --quiet --project build/audit --no-sync --requirements requirements-dev.txt && \
	  $(UV) audit --project build/audit --frozen --preview-features audit-command; } || { \
	  test $$? != 1 && \
	  echo "NOT AUDITED: the source of advisories is out of reach; this is no clean bill" >&2 && \
	  test "$(ARGS)" = --or-say-so; }

deploy: package ## create or update a stage on AWS (STAGE=, YES=1 for fewer questions; infra/README.md)
	@$(BIN)/python -m infra.aws deploy $(if $(YES),--yes) "$(STAGE)"

destroy: setup ## delete a stage on AWS but keep its data (STAGE=, YES=1)
	@mkdir -p build && cp infra/aws/foundation.yaml build/
	@$(BIN)/python -m infra.aws destroy $(if $(YES),--yes) "$(STAGE)"

package: setup ## build and check the Lambda package and the templates (ARCHITECTURE=x86_64 RUNTIME=3.13)
	@$(BIN)/python -m infra.package $(if $(ARCHITECTURE),--architecture $(ARCHITECTURE)) \
	  $(if $(RUNTIME),--python $(RUNTIME))

package-check: package ## test the package as Lambda runs it, cold start included
	@$(BIN)/pytest -m package tests/package $(ARGS)

# $(1): the folders that hold the messages, $(2): that of the catalogues, $(3): what is passed over.
define CATALOGUE
@$(BIN)/pybabel --quiet extract --keyword NN_:1,2 --mapping pyproject.toml --project Carryout \
  --version 1 --add-location file --sort-by-file --ignore-dirs "$(3)" -o build/messages.pot $(1)
@$(BIN)/pybabel --quiet update --input-file build/messages.pot --no-fuzzy-matching \
  --ignore-obsolete --ignore-pot-creation-date --output-dir $(2)
@$(BIN)/pybabel --quiet compile --directory $(2)
endef

translations: setup ## update the translation catalogues from the code, and compile them
	@mkdir -p build
	$(call CATALOGUE,chalicelib worker,chalicelib/translations,.* _* microblog)
	$(call CATALOGUE,chalicelib/microblog,chalicelib/microblog/translations,.* _*)

check: setup ## what CI runs: format, lint, types, bandit, tests
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/bandit --quiet --configfile pyproject.toml --recursive app.py chalicelib worker infra
	@$(MAKE) test

lock: ## recompile the pinned requirements (ARGS=--upgrade for newer versions)
	@$(COMPILE) -o requirements.txt $(ARGS)
	@$(COMPILE) --group dev -c requirements.txt -o requirements-dev.txt $(ARGS)
	@$(subst pyproject.toml,infra/aws/checkov.in,$(COMPILE)) -o infra/aws/checkov.txt $(ARGS)
	@$(subst pyproject.toml,--group bench,$(COMPILE)) -o tests/bench/requirements.txt $(ARGS)
	@$(subst pyproject.toml,--group coverage,$(COMPILE)) -o tests/coverage.txt $(ARGS)
	@$(subst pyproject.toml,--group mutants,$(COMPILE)) -o tests/mutants.txt $(ARGS)
	@$(subst pyproject.toml,--group uv,$(COMPILE)) -o infra/uv.txt $(ARGS)
