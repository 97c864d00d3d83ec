# One command sets up and runs everything that must hold: make test. `make unit` is the quick part.

GO      ?= go
CACHE   := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/wsproxy
RELEASE ?=
LDFLAGS := -s -w $(if $(RELEASE),-X main.release=$(RELEASE))
FUZZ    ?= 50000x
DIST    ?= dist
ARCHS   ?= amd64 arm64

.PHONY: build packages test check unit fuzz e2e servers generate bench bench-quick bench-programs clean

build:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o wsproxy ./cmd/wsproxy

# A deb and an rpm for each architecture: make packages RELEASE=1.2.3
packages:
	@echo "== packages"
	@set -e; for arch in $(ARCHS); do \
		CGO_ENABLED=0 GOOS=linux GOARCH=$$arch $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(DIST)/$$arch/wsproxy ./cmd/wsproxy; \
		for kind in deb rpm; do \
			ARCH=$$arch DIST=$(DIST) VERSION=$(or $(RELEASE),0.0.0-devel) \
				$(GO) tool -modfile=deploy/go.mod nfpm package -f deploy/packages/nfpm.yaml -p $$kind -t $(DIST); \
		done; \
	done

test: check unit fuzz e2e
	@echo "make test: all parts passed"

# Formatting, vet, modernisations and static analysis; tools are pinned in tools/go.mod.
check:
	@echo "== check"
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$unformatted" || { echo "gofmt: $$unformatted"; exit 1; }
	@# With the end-to-end tests, and so for each module.
	@set -e; for module in . otel-collector deploy; do \
		echo "$$module"; \
		$(GO) vet -C $$module -tags e2e ./...; \
		diff=$$($(GO) fix -C $$module -diff -tags e2e ./... 2>&1) && test -z "$$diff" || { echo "go fix:"; echo "$$diff"; exit 1; }; \
		$(GO) tool -C $$module -modfile=$(CURDIR)/tools/go.mod staticcheck -tags e2e ./...; \
	done

# Unit and integration tests, on loopback and in memory.
unit:
	@echo "== unit"
	$(GO) test -race ./...
	@# The stack and the ways to deploy are modules of their own. They read files of this one, which the test cache does not see.
	$(GO) test -C otel-collector -count=1 ./...
	$(GO) test -C deploy -count=1 -timeout 20m ./...

# Every fuzz target from its saved seeds, so many times: a limit in time may fail on its own (context deadline exceeded).
fuzz:
	@echo "== fuzz, $(FUZZ) each"
	@set -e; for pkg in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$pkg | grep ^Fuzz || true); do \
			echo "$$pkg $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZ) -fuzzminimizetime 20x $$pkg; \
		done; \
	done

# The real peers that the end-to-end tests need, built or installed once and cached.
servers:
	@echo "== servers"
	@mkdir -p $(CACHE)
	e2e/servers/get >$(CACHE)/servers.env

# The built binary against the real collector, Jaeger and Prometheus, egress proxies and clients.
e2e: servers
	@echo "== e2e"
	WSPROXY_SERVERS=$(CACHE)/servers.env $(GO) test -count=1 -timeout 20m -v -tags e2e ./e2e/...
	@# Packages, installed by dpkg and rpm into folders of their own.
	$(GO) test -C deploy -count=1 -timeout 20m -v -tags e2e -run 'TestUnitIsValid|TestPackages' ./...

# Rewrites what is made from the code: constants, reference pages, golden texts.
generate:
	$(GO) generate ./...
	$(GO) test ./admin ./cmd/wsproxy/demo ./config ./egress ./lifecycle ./telemetry -update
	$(GO) test ./cmd/wsproxy -run '^TestFaults$$' -update
	$(GO) run -C otel-collector ./dashboards grafana/dashboards
	$(GO) run -C otel-collector ./alerting rules

# wsproxy beside other proxies, written to docs/benchmarks.md. Wants a quiet machine with two cores and 25 minutes.
# BENCH has further flags, as BENCH='-full -workloads echo'; see `go run ./bench run -h`.
bench: bench-programs
	@echo "== bench"
	bench/peers/get traefik >>$(CACHE)/bench.env
	$(CACHE)/bench run -procs 1,2,4 -programs $(CACHE)/bench.env -revision "$$(git describe --always --dirty)" -results $(CACHE)/bench.json -doc docs/benchmarks.md $(BENCH)

# The same in a few minutes, shorter and with less of it; the document goes to standard output.
bench-quick: bench-programs
	@echo "== bench-quick"
	$(CACHE)/bench run -quick -programs $(CACHE)/bench.env -revision "$$(git describe --always --dirty)" -results $(CACHE)/bench-quick.json $(BENCH)

bench-programs: build
	@mkdir -p $(CACHE)
	@echo "wsproxy=$(CURDIR)/wsproxy" >$(CACHE)/bench.env
	e2e/servers/get collector >>$(CACHE)/bench.env
	bench/peers/get >>$(CACHE)/bench.env
	$(GO) build -o $(CACHE)/bench ./bench

clean:
	rm -rf wsproxy dist
