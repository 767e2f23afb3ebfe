# Two commands do: "make run" and "make test". Both build or install what they need and stop what
# they started. They write into this folder, the temporary folder and Go's caches.

GO ?= go
export WALLET_DEV_DIR ?= .wallet
TEMPORAL_CLI_VERSION := 1.5.1
GORELEASER_VERSION := v2.15.4

# Per run of "make bench", which then takes less than 9 minutes.
BENCH_DURATION ?= 6s

# Temporal on Postgres: the server of a deployment, its schemas and its Web UI.
TEMPORAL_SERVER := bin/temporal-server bin/temporal-sql-tool bin/temporal-ui-server
temporal_of_store = bin/temporal $(if $(filter postgres,$(WALLET_TEMPORAL_STORE)),$(TEMPORAL_SERVER))

.PHONY: run demo test bench record lint race faults fuzz bench-verify bench-run bench-life test-observability check-compose test-ui screenshots limits test-examples test-subscribers mutations test-mutations test-deploy check-release clean bin/wallet bin/wallet-dev help

help: ## this list
	@grep -E '^[a-z/-]+:.*##' Makefile | sed -E 's/:[^#]*## /\t/' | expand -t 20

run: bin/wallet bin/wallet-dev $(temporal_of_store) ## start everything, show the main job, stay until Ctrl-C
	@./bin/wallet-dev run

demo: bin/wallet bin/wallet-dev $(temporal_of_store) ## the same, but stop after the demonstration
	@./bin/wallet-dev demo

# Begin first, beside the others.
LONGEST := ./internal/test/e2e ./cmd/wallet ./activities ./trail ./internal/dev/bench ./internal/service/httpserver

test: bin/temporal $(TEMPORAL_SERVER) ## every test, on a real Postgres and a real Temporal
	$(GO) run ./internal/test/testenv/run $(GO) test -count=1 -timeout 30m -p 3 $(LONGEST) ./... # three at once: they wait much

# Go modules of their own, which ./... does not reach.
EXAMPLE_MODULES := $(patsubst %/go.mod,%,$(wildcard examples/go/*/go.mod))

# UPDATE=-update rewrites the expected outputs. The test installs npm's packages.
test-examples: bin/wallet bin/wallet-dev bin/temporal ## the examples in TypeScript, Go, HTTP and for the Temporal CLI, on real servers
	@missing=""; for tool in curl jq node npm; do command -v $$tool >/dev/null || missing="$$missing $$tool"; done; \
	if [ -n "$$missing" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $$(echo "$$missing" | sed 's/\bnode\b/nodejs/'); fi
	WALLET_TEST_EXAMPLES=1 $(GO) test -count=1 -timeout 15m ./examples $(UPDATE)
	@for module in $(EXAMPLE_MODULES); do $(GO) run ./internal/test/testenv/run $(GO) -C $$module test -count=1 -timeout 5m ./... || exit 1; done

# Half a year in two minutes: make test-subscribers SUBSCRIBERS=''; WALLET_TEMPORAL_STORE=postgres for more subscribers
SUBSCRIBERS ?= -subscribers 200 -months 12 -month 1m -fault-every 10s
test-subscribers: bin/wallet $(temporal_of_store) ## a year of 200 subscribers, a minute a month, while workers and servers are killed
	WALLET_TEST_SUBSCRIBERS=1 $(GO) test -count=1 -timeout 3h -v ./examples -run TestSubscribers $(SUBSCRIBERS)

race: bin/temporal ## the race detector on what is concurrent
	$(GO) run ./internal/test/testenv/run $(GO) test -count=1 -timeout 20m -race ./starter ./activities ./workflows ./internal/test/e2e -run 'Concurrent|Batch|SameID|TwoAtOnce|TwoWorkers|Flows|Order|Continue|Model' -short

# The same seed makes the same plan; DURATION is how long load and faults last on each store.
DURATION ?= 40s
SEED ?= 7
faults: bin/wallet bin/wallet-dev bin/temporal $(TEMPORAL_SERVER) ## kill, pause, cut off everything under load, then check: make faults DURATION=20m SEED=7
	./bin/wallet-dev torture --seed $(SEED) --duration $(DURATION) --temporal-store sqlite
	./bin/wallet-dev torture --seed $(SEED) --duration $(DURATION) --temporal-store postgres --workers 3

MECHANISM ?= .*
mutations: bin/temporal ## take each safety mechanism away: torture must notice; make mutations MECHANISM='row_lock|nothing'
	WALLET_TEST_MUTATIONS=1 $(GO) test -count=1 -timeout 30m -v ./internal/dev/mutations -run 'TestTortureNoticesEachMutation/^($(MECHANISM))$$'

test-mutations: bin/temporal ## take those away that torture has no part in: their tests must fail
	WALLET_TEST_MUTATIONS=1 $(GO) run ./internal/test/testenv/run $(GO) test -count=1 -timeout 30m -parallel 3 -v ./internal/dev/mutations -run TestTestsNoticeEachMutation

FUZZTIME ?= 30s
fuzz: ## let Go's fuzzer at each decoder in turn, the hashes too: make fuzz FUZZTIME=30s
	@for package in . ./workflows; do \
		for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz'); do \
			echo "$$package $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package || exit 1; \
		done; done

test-ui: bin/temporal ## what a person sees in the Web UI and the console, in a headless Chromium
	./internal/test/webui/with_chromium.sh $(GO) test -count=1 -timeout 15m ./internal/test/webui

screenshots: bin/temporal ## the same, and write its pictures to docs/
	./internal/test/webui/with_chromium.sh $(GO) test -count=1 -timeout 15m ./internal/test/webui -pictures "$(CURDIR)/docs"

limits: bin/temporal ## overload in full: 20,000 signals while Postgres is slow, 5,000 wallets at once, 10,000 payloads
	$(GO) run ./internal/test/testenv/run $(GO) test -count=1 -timeout 30m ./internal/test/e2e -run 'Flood|Thousands' -parallel 1 -v -full

ENTRIES ?= 1000000
WALLETS ?= 10000
bench-verify: bin/wallet bin/wallet-dev bin/temporal ## speed and memory of wallet verify: make bench-verify ENTRIES=1000000 WALLETS=100000 SCATTERED=1
	./bin/wallet-dev verifybench --entries $(ENTRIES) --wallets $(WALLETS) $(if $(SCATTERED),--scattered)

bench: bin/wallet-dev bin/temporal $(TEMPORAL_SERVER) ## measure the standard set, write docs/benchmarks.md and its plots
	./bin/wallet-dev bench --standard --duration $(BENCH_DURATION) --markdown docs/benchmarks.md --plot docs/benchmarks.svg

bench-run: bin/wallet-dev bin/temporal $(TEMPORAL_SERVER) ## a run over 1,000,000 lines and 100,000 wallets
	./bin/wallet-dev bench --run-lines 1000000 --run-wallets 100000

bench-life: bin/wallet-dev bin/temporal $(TEMPORAL_SERVER) ## 1,000,000 commands to one wallet, 10,000 wallets, 100,000 holds: does the cost grow?
	./bin/wallet-dev bench --life-commands 1000000 --life-wallets 10000 --life-holds 100000

record: bin/temporal ## record histories for the replay test: make record NAME=v5
	@test -n "$(NAME)" || { echo "name the version: make record NAME=v5"; exit 1; }
	$(GO) run ./internal/test/testenv/run $(GO) test -count=1 ./internal/test/e2e -run TestRecordHistories -record "$(NAME)"

lint: bin/staticcheck bin/workflowcheck ## go vet, gofmt, staticcheck, workflowcheck
	$(GO) vet ./...
	@for module in $(EXAMPLE_MODULES); do $(GO) -C $$module vet ./... && (cd $$module && "$(CURDIR)/bin/staticcheck" ./...) || exit 1; done
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$unformatted" || { echo "not gofmt-ed: $$unformatted"; exit 1; }
	./bin/staticcheck ./...
	./bin/workflowcheck -config workflows/workflowcheck.yaml ./workflows/...
	cd examples/go/subscription && ../../../bin/workflowcheck ./...

test-observability: bin/temporal bin/prometheus ## metrics, probes, traces; the alerts and the dashboard against a real Prometheus
	WALLET_NEED_PROMETHEUS=1 $(GO) run ./internal/test/testenv/run $(GO) test -count=1 -timeout 5m ./internal/service/telemetry

# Unpacked, not installed: Debian's package would start a Prometheus on this machine.
bin/prometheus:
	@mkdir -p bin
	@if command -v prometheus >/dev/null && command -v promtool >/dev/null; then ln -sf "$$(command -v prometheus)" "$$(command -v promtool)" bin/; \
	elif ! command -v apt-get >/dev/null; then echo "prometheus and promtool are missing: put them into the PATH (https://prometheus.io/download)"; exit 1; \
	else set -e; dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; chmod 755 "$$dir"; \
		if [ "$$(id -u)" = 0 ]; then apt-get update -q; fi; \
		(cd "$$dir" && apt-get download -q prometheus && dpkg -x prometheus_*.deb .); \
		cp "$$dir/usr/bin/prometheus" "$$dir/usr/bin/promtool" bin/; fi

# Docker is not needed for this: it only parses the file.
check-compose: ## docker-compose.yml is valid
	@if ! command -v docker-compose >/dev/null && ! docker compose version >/dev/null 2>&1; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends docker-compose; \
		else echo "docker-compose is missing: install it (Debian: apt-get install docker-compose)"; exit 1; fi; fi
	@if command -v docker-compose >/dev/null; then docker-compose config -q; else docker compose config -q; fi
	@echo "docker-compose.yml is valid"

test-deploy: bin/temporal ## the Kubernetes manifests, pgbouncer in transaction mode, backup and restore
	cd deploy/kubernetes && $(GO) vet ./... && $(GO) test -count=1 ./...
	@if ! { command -v pgbouncer || test -x /usr/sbin/pgbouncer; } >/dev/null || ! command -v pg_dump >/dev/null; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends pgbouncer postgresql-client; \
		else echo "pgbouncer or pg_dump is missing: install them (Debian: apt-get install pgbouncer postgresql-client)"; exit 1; fi; fi
	WALLET_TEST_DEPLOY=1 $(GO) run ./internal/test/testenv/run $(GO) test -count=1 -timeout 10m ./internal/test/e2e ./cmd/wallet -run 'Pgbouncer|ABackupOf'

check-release: ## .goreleaser.yaml is valid; builds goreleaser, which takes minutes the first time
	$(GO) run github.com/goreleaser/goreleaser/v2@$(GORELEASER_VERSION) check

bin/wallet:
	@$(GO) build -o bin/wallet ./cmd/wallet

bin/wallet-dev:
	@$(GO) build -o bin/wallet-dev ./cmd/wallet-dev

# The first build takes minutes; the result is kept until the pins change.
bin/temporal: tools/go.mod tools/go.sum
	@echo "building the Temporal CLI $(TEMPORAL_CLI_VERSION), which takes a few minutes the first time ..."
	cd tools && $(GO) build -ldflags "-s -w -X github.com/temporalio/cli/temporalcli.Version=$(TEMPORAL_CLI_VERSION)" -o ../bin/temporal github.com/temporalio/cli/cmd/temporal
	@touch bin/temporal

bin/temporal-server: tools/go.mod tools/go.sum
	@echo "building the Temporal server, which takes a few minutes the first time ..."
	cd tools && $(GO) build -ldflags "-s -w" -o ../bin/temporal-server go.temporal.io/server/cmd/server
	@touch bin/temporal-server

bin/temporal-sql-tool: tools/go.mod tools/go.sum
	cd tools && $(GO) build -ldflags "-s -w" -o ../bin/temporal-sql-tool go.temporal.io/server/cmd/tools/sql
	@touch bin/temporal-sql-tool

bin/temporal-ui-server: tools/go.mod tools/go.sum
	cd tools && $(GO) build -ldflags "-s -w" -o ../bin/temporal-ui-server github.com/temporalio/ui-server/v2/cmd/server
	@touch bin/temporal-ui-server

bin/staticcheck: tools/go.mod tools/go.sum
	cd tools && $(GO) build -o ../bin/staticcheck honnef.co/go/tools/cmd/staticcheck

bin/workflowcheck: tools/go.mod tools/go.sum
	cd tools && $(GO) build -o ../bin/workflowcheck go.temporal.io/sdk/contrib/tools/workflowcheck

clean: ## remove what was built, and the data of "make run"
	rm -rf bin .wallet
