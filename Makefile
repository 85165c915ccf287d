# The menu. Everything longer than a line lives in crates/xtask.
CARGO ?= cargo
XTASK = $(CARGO) run --quiet --release -p gantry-xtask --

.PHONY: help run test test-fuzz check fix gen bench bench-gateway dist

help: ## show this menu
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 8

run: ## build Gantry and start it with a working demo (data in ./gantry-data)
	@$(XTASK) doctor run
	@$(CARGO) run --release -p gantry -- dev $(ARGS)

test: ## everything CI checks: lint, layers, unit, integration on SQLite and PostgreSQL, end to end
	@$(XTASK) test

test-fuzz: ## the contract against a live server, by Schemathesis: make test-fuzz CASES=100
	@$(XTASK) fuzz $(CASES)

check: ## the fast part of it: format, clippy, tidy, layers, licences
	@$(XTASK) check

fix: ## format and apply clippy's suggestions
	$(CARGO) fmt --all
	$(CARGO) clippy --release --workspace --all-targets --fix --allow-dirty --allow-staged

gen: ## write generated code again (protobuf)
	@$(XTASK) gen

bench: ## benchmarks against peers, as ratios: make bench ARGS="gateway"
	@$(XTASK) doctor bench
	$(CARGO) build --profile dist -p gantry -p gantry-bench --bins
	@$(CARGO) run --quiet --profile dist -p gantry -p gantry-bench --bin gantry-bench -- $(ARGS)

bench-gateway: ## the gateway against nginx, haproxy and a minimal Pingora proxy
	@$(MAKE) bench ARGS="gateway $(ARGS)"

dist: ## the fully optimised binary
	$(CARGO) build --profile dist -p gantry
