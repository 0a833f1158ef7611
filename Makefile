# cloudcore. `make run` sets up and starts; `make help` lists the rest.
#   DRIVER=auto|libvirt|simulated   STATE=directory   CONFIRM=machine name, for `make clean` without a terminal
#   Anything of the configuration: make run CLOUDCORE_API__PORT=8774

DRIVER ?= auto
STATE ?= var
CONFIRM ?=
ARGS ?=

PYTHON := /usr/bin/python3
CLOUDCORE := bin/cloudcore
# Real guests need root; `sudo -n` never asks. Simulated ones do not, nor does a state that is one's own.
FREE := $(or $(filter simulated,$(DRIVER)),$(filter 0,$(shell id -u)),$(shell test -O '$(STATE)' && echo mine))
ROOT := $(if $(FREE),,sudo -n --preserve-env)

run: setup ## set up what is missing, start the cloud and a first instance, stay until Ctrl-C
	@$(ROOT) true 2>/dev/null || { echo "error: real guests need root, and sudo asks for a password" >&2; \
	    echo "try:   sudo -v && make run     or: make run DRIVER=simulated" >&2; exit 1; }
	@$(ROOT) $(CLOUDCORE) up --state $(STATE) --driver $(DRIVER) $(ARGS)

setup: python ## only the set-up: system packages, .venv
	@$(PYTHON) setup/bootstrap.py --driver $(DRIVER)

test: python ## set up what the tests need, and run them all
	@$(PYTHON) setup/bootstrap.py --test
	@.venv/bin/pytest -n 3 $(ARGS)

status: ## what runs, and whether it is well
	@$(ROOT) $(CLOUDCORE) status --state $(STATE)

logs: ## the daemons' log, as it grows
	@$(ROOT) $(CLOUDCORE) logs --state $(STATE) --follow

doctor: ## is this machine fit?
	@$(ROOT) $(CLOUDCORE) doctor --state $(STATE)

down: ## stop the cloud and its guests
	@$(ROOT) $(CLOUDCORE) down --state $(STATE) --instances stop

clean: ## delete everything the cloud made; asks for the machine's name
	@if [ -e $(STATE)/VERSION ] || $(ROOT) test -e $(STATE)/VERSION; then \
	    $(ROOT) $(CLOUDCORE) down --state $(STATE) --purge $(if $(CONFIRM),--confirm '$(CONFIRM)'); \
	else echo "there is no cloud in $(STATE): nothing to delete (.venv stays: rm -r .venv)"; fi

plan: python ## what `make setup` would change
	@$(PYTHON) setup/bootstrap.py --driver $(DRIVER) --plan

help: ## this
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

python:
	@test -x $(PYTHON) || { \
	    if [ "$$(id -u)" = 0 ]; then root=; else root="sudo -n"; fi; \
	    echo "  installing python3 with apt" >&2; \
	    $$root apt-get install -y --no-install-recommends python3 >/dev/null 2>&1 || { \
	        $$root apt-get update >/dev/null 2>&1; \
	        $$root apt-get install -y --no-install-recommends python3 >/dev/null; } || { \
	        echo "error: there is no $(PYTHON)" >&2; \
	        echo "try:   (as root) apt-get install -y python3" >&2; exit 1; }; }

.PHONY: run setup test status logs doctor down clean plan help python
.DEFAULT_GOAL := help
