# make check before a commit, make test before a push. CI runs .ci/run, which is both and more.
GO        ?= go
FUZZTIME  ?= 30s
BENCHTIME ?= 1s
SOAK      ?= 1h
BENCH     ?= .
PKG       ?= ./...
# Tools and clients that .ci/install built.
SEKISHO_TEST_TOOLS ?= $(CURDIR)/.cache/tools
export SEKISHO_TEST_TOOLS
export PATH := $(SEKISHO_TEST_TOOLS):$(PATH)

.PHONY: lint check test race e2e fuzz bench soak vuln build generate clean

lint: ## formatting, vet, staticcheck, the direction of dependencies
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$unformatted" || { echo "run gofmt -w on:" $$unformatted; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) test -count=1 .

check: lint ## what to run before a commit: lint and short tests
	$(GO) test -short ./...

test: ## everything, with the real clients and databases that are here; what is not is skipped aloud
	$(GO) test -timeout 20m ./...

race: ## the same with the race detector
	CGO_ENABLED=1 $(GO) test -timeout 30m -race ./...

e2e: ## the stock clients only
	$(GO) test -count=1 ./e2e

fuzz: ## each fuzz target for FUZZTIME
	@set -e; grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u | while read -r dir; do \
		for target in $$(grep -ho '^func Fuzz[A-Za-z0-9_]*' $$dir/*_test.go | cut -d' ' -f2); do \
			echo "== $$dir $$target"; $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$dir; \
		done; done

bench: ## benchmarks of PKG that match BENCH, for benchstat
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem -benchtime $(BENCHTIME) $(PKG)

soak: ## the tests of crashes, faults and interleavings, each package for SOAK
	@set -e; for dir in $$(grep -rl --include='*_test.go' SEKISHO_SOAK . | xargs -n1 dirname | sort -u); do \
		echo "== $$dir"; SEKISHO_SOAK=$(SOAK) $(GO) test -count=1 -timeout 0 -v $$dir; done

vuln: ## known vulnerabilities in what is called
	$(GO) tool govulncheck ./...

build: ## a static binary in bin/
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags='-s -w' -o bin/sekisho ./cmd/sekisho

generate: ## what is made from the code: the manual of the configuration, the table of actions
	$(GO) generate ./...

clean:
	rm -rf bin dist
