# `make run` starts the server; `make test` runs every test. `make help` lists the rest.

GO      ?= go
TAGS    := nomsgpack
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
FUZZTIME ?= 60s
SOAKTIME ?= 10m

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: build ## serve on http://localhost:8080, with the demonstration resource server
	@exec ./bin/tokenhouse serve --demo

.PHONY: build
build: ## build bin/tokenhouse, a static binary
	CGO_ENABLED=0 $(GO) build -tags $(TAGS) -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/tokenhouse ./cmd/tokenhouse

.PHONY: test
test: testenv bin/withpostgres ## run every test, with the race detector, on SQLite and a real PostgreSQL
	@bin/withpostgres .ci/test

.PHONY: bin/withpostgres
bin/withpostgres: # compiled as the server is, which is compiled anyway
	@CGO_ENABLED=0 $(GO) build -tags $(TAGS) -trimpath -o $@ ./internal/pgtest/withpostgres

.PHONY: test-race
test-race: testenv ## run every test under the race detector, those too that drive other processes
	@$(GO) run -tags $(TAGS) ./internal/pgtest/withpostgres .ci/go-test -timeout 60m ./...

.PHONY: testenv
testenv: ## find what the tests need on this machine, or install it where that is allowed
	@.ci/testenv

.PHONY: check
check: ## gofmt, go vet, staticcheck, golangci-lint, govulncheck, and the tests of the architecture
	@.ci/check

.PHONY: test-openbao
test-openbao: ## run the tests of Vault's transit engine against the OpenBao that OPENBAO names
	@TOKENHOUSE_TEST_OPENBAO="$(OPENBAO)" $(GO) test -count=1 -v -tags $(TAGS) ./keys/masterkey/vault

.PHONY: drills
drills: testenv ## attack, kill and starve the server as hard as the promises are (a quarter of an hour)
	@$(GO) run -tags $(TAGS) ./internal/pgtest/withpostgres .ci/drills

.PHONY: test-kms
test-kms: testenv ## run the tests of the key services that only a build tag brings in
	@.ci/test-kms
	@$(GO) vet -tags $(TAGS),cloudkms ./keys/masterkey/cloudkms ./internal/house
	@$(GO) test -tags $(TAGS),cloudkms ./keys/masterkey/cloudkms

.PHONY: test-timing
test-timing: bin/withpostgres ## compare how long refused logins take, 2000 of each kind on both databases, in about 25 minutes
	@TOKENHOUSE_TEST_TIMING=2000 bin/withpostgres \
		$(GO) test -count=1 -v -timeout 2h -tags $(TAGS) -run RefusedLogin ./internal/housetest

.PHONY: gallery
gallery: testenv ## write docs/gallery: every page of the console, by day on a laptop and by night on a phone
	@rm -f docs/gallery/*.png
	@TOKENHOUSE_TEST_GALLERY="$(CURDIR)/docs/gallery" $(GO) test -count=1 -tags $(TAGS) -run TestConsoleIsForEverybody ./internal/browsertest

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (60s)
	@FUZZTIME=$(FUZZTIME) .ci/fuzz

.PHONY: bench
bench: bin/withpostgres ## measure this machine, the databases and the server, in one run
	@bin/withpostgres $(GO) run -tags $(TAGS) ./internal/bench

.PHONY: soak
soak: bin/withpostgres ## keep the server under load for SOAKTIME (10m) and look for growth
	@bin/withpostgres $(GO) run -tags $(TAGS) ./internal/bench -soak $(SOAKTIME)

.PHONY: coverage-of-spec
coverage-of-spec: ## say which test names each promise, security case and certification module
	@$(GO) run ./internal/coverage

.PHONY: spec
spec: ## write docs/spec.md: each clause of a standard, and where the code cites it
	@$(GO) run ./internal/citations

.PHONY: image
image: build ## build the container image tokenhouse:latest with buildah
	@deployments/container/build

.PHONY: clean
clean: ## remove what was built; the data directory stays
	rm -rf bin
