# Everything that is built, checked, measured or shown starts here. `make` alone
# lists the targets. Needs Go, git and make; `make deps` fetches what tests need.
SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS   += --no-print-directory

GO          ?= go
# Packages built and tested at a time. Their tests use all cores by themselves.
P           ?= 2
# Stores of the demo's fleet; 40 suit a small machine.
STORES      ?= 400
FUZZTIME    ?= 30s
VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

PROGRAMS    := ./agent/cmd/tillwire-agent ./aggregator/cmd/tillwire-aggregator ./simulator/cmd/tillwire-simulator
LDFLAGS     := -s -w -buildid= -X main.version=$(VERSION)

TOOLS       := $(CURDIR)/.bin
LINT_VERSION := v2.15.0
LINT        := $(TOOLS)/golangci-lint
LINT_STAMP  := $(TOOLS)/.golangci-lint-$(LINT_VERSION)

# Makes deb and rpm; later versions need a module that not every proxy has.
NFPM_VERSION := v2.45.2
NFPM        := $(TOOLS)/nfpm
NFPM_STAMP  := $(TOOLS)/.nfpm-$(NFPM_VERSION)

# Where Debian keeps the modules of the ERP that posting is proved against.
TRYTON := /usr/lib/python3/dist-packages/trytond/modules

# What tests need beyond Go: any of these programs or files = Debian package.
DEPS := gcc=gcc /usr/include/stdlib.h=libc6-dev redis-server=redis-server \
        protoc=protobuf-compiler zstd=zstd spin=spin ip=iproute2 nft=nftables \
        strace=strace mkfs.ext4=e2fsprogs systemd-analyze=systemd rpm=rpm \
        chromium,chromium-browser,google-chrome=chromium prometheus=prometheus \
        node,nodejs=nodejs npm=npm g++=g++ python3=python3 /usr/include/node/node.h,/usr/local/include/node/node.h=libnode-dev \
        trytond=tryton-server $(foreach m,stock stock-inventory-location sale purchase product-cost-fifo sale-stock-quantity stock-lot production,\
          $(TRYTON)/$(subst -,_,$(m))=tryton-modules-$(m))

# What is only measured beside: a Go module of its own.
PEERS := simulator/peers
# What `make bench` asks beside Go and gcc.
BENCH_DEPS := gcc=gcc /usr/include/stdlib.h=libc6-dev redis-server=redis-server \
        mosquitto,/usr/sbin/mosquitto=mosquitto pgbench=postgresql \
        initdb,/usr/lib/postgresql/*/bin/initdb=postgresql

# What the tests of packages need more: another Debian, another system, a signer.
DIST_DEPS := wixl=wixl msibuild=msitools osslsigncode=osslsigncode openssl=openssl gpg=gpg unzip=unzip debootstrap=debootstrap buildah=buildah \
        systemd-nspawn=systemd-container wine=wine wine64,/usr/lib/wine/wine64=wine64 x86_64-w64-mingw32-gcc=gcc-mingw-w64-x86-64 \
        zsh=zsh fish=fish mandoc=mandoc ansible-playbook=ansible-core ansible-lint=ansible-lint

.PHONY: help build dist dist-test nfpm demo check lint fmt layout test deps lazyfs bench bench-deps bench-compare gobench soak chaos pictures fuzz clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build the three programs into bin/ (static, reproducible)
	@mkdir -p bin
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags='$(LDFLAGS)' -o bin/ $(PROGRAMS)

# Two builds of one commit are alike, byte for byte, unless SIGN signs them.
DIST_ONLY ?=
dist: nfpm ## make a release in dist/: programs, deb, rpm, msi, archives, manual, SBOM (DIST_ONLY=linux/amd64, SIGN=installers/sign.sh)
	$(GO) run ./installers/cmd/tillwire-dist --out dist --version '$(VERSION)' --nfpm $(NFPM) --only '$(DIST_ONLY)'

nfpm: $(NFPM_STAMP)

dist-test: nfpm ## install the packages for real: in a booted Debian, under Wine, by Ansible; build twice; sign
	@$(MAKE) deps DEPS='$(DEPS) $(DIST_DEPS)'
	$(GO) vet -tags dist ./installers/...
	$(GO) test -tags dist -count=1 -p 1 -timeout 45m -v ./installers/...

demo: build ## run a chain and its fleet of real agents until Ctrl-C (STORES=400)
	@bin/tillwire-simulator demo --stores $(STORES)

check: lint layout ## format, lint, vet for Linux and Windows, house rules
	$(GO) vet ./...
	GOOS=windows CGO_ENABLED=0 $(GO) vet ./...

lint: $(LINT_STAMP)
	$(LINT) run --allow-parallel-runners ./...
	cd $(PEERS) && $(LINT) run --allow-parallel-runners ./...

fmt: $(LINT_STAMP) ## format the sources (gofumpt, gci)
	$(LINT) fmt

layout: ## the house rules alone
	$(GO) test -count=1 -run '^TestLayout' .

test: deps nfpm ## fetch what tests need, then run all of them with the race detector
	@race=-race; command -v "$$($(GO) env CC)" >/dev/null || { race=; echo "test: skipped the race detector: no C compiler"; }; \
	set -x; $(GO) test -count=1 -run 'TestBubble|TestHerd' ./simulator; CGO_ENABLED=$${race:+1} $(GO) test $$race -p $(P) -timeout 20m ./...
	@if command -v "$$($(GO) env CC)" >/dev/null; then set -x; cd $(PEERS) && CGO_ENABLED=1 $(GO) test -count=1 ./...; \
	else echo "test: skipped $(PEERS): no C compiler"; fi

# A missing thing is fetched where this is root on Debian, and named otherwise:
# the tests that need it skip themselves. With CI=true it is a failure.
deps: ## install the Debian packages that tests need, only the missing ones
	@missing=; \
	present() { local n; for n in $${1//,/ }; do [ -e "$$n" ] || command -v "$$n" >/dev/null && return; done; return 1; }; \
	for dep in $(DEPS); do present "$${dep%=*}" || missing+=" $$dep"; done; \
	[ -n "$$missing" ] || exit 0; \
	can=; \
	if ! command -v apt-get >/dev/null; then echo "deps: no apt-get here"; \
	elif [ "$$(id -u)" != 0 ]; then echo "deps: not root; run: sudo make deps"; \
	else can=1; apt-get -qq update || echo "deps: apt-get update failed; using the lists at hand"; fi; \
	failed=; \
	for dep in $$missing; do \
	  if [ -n "$$can" ]; then \
	    echo "deps: installing $${dep#*=}"; \
	    DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "$${dep#*=}" >/dev/null || true; \
	  fi; \
	  present "$${dep%=*}" || { failed=1; echo "deps: skipped $${dep#*=}: $${dep%=*} is missing, what needs it is skipped"; }; \
	done; \
	[ -z "$$failed" ] || [ "$${CI:-}" != true ] || { echo "deps: CI=true: a missing dependency is a failure"; exit 1; }

lazyfs: $(TOOLS)/lazyfs ## build the file system that forgets what was not synced (LAZYFS_SOURCE=mirror)

$(TOOLS)/lazyfs:
	@simulator/crashtest/lazyfs.sh $@

# ONLY=reads,merge picks parts; QUICK=--quick is coarse; BENCH_FLAGS=--full grows the ledger to 10⁸ rows.
ONLY        ?=
QUICK       ?=
BENCH_FLAGS ?=
bench: build bench-deps $(TOOLS)/tillwire-peers ## measure each path beside its limit or peer; results in simulator/results (ONLY=parts QUICK=--quick)
	@mkdir -p simulator/results
	bin/tillwire-simulator bench --out simulator/results $(if $(ONLY),--only $(ONLY)) $(QUICK) $(BENCH_FLAGS)

# A build that fails is told in the rows that miss it.
$(TOOLS)/tillwire-peers: $(wildcard $(PEERS)/*.go) $(PEERS)/go.mod $(PEERS)/go.sum
	@mkdir -p $(TOOLS)
	@if command -v "$$($(GO) env CC)" >/dev/null; then \
	  echo "bench: building $(PEERS); SQLite takes a C compiler a minute"; \
	  cd $(PEERS) && CGO_ENABLED=1 $(GO) build -o $@ . || echo "bench: $(PEERS) was not built: SQLite and NATS are left out"; \
	fi

bench-deps:
	@$(MAKE) deps DEPS='$(BENCH_DEPS)'

# The old build stands in a worktree of its own while both are measured in turns.
REF   ?= main
TURNS ?= 6
bench-compare: build ## what a change did: this tree beside REF=main, in turns (ONLY=parts TURNS=6 QUICK=--quick)
	@old=$$(mktemp -d)/old; trap 'git worktree remove --force "$$old"; rmdir "$${old%/*}"' EXIT; \
	git worktree add --quiet --detach "$$old" '$(REF)'; \
	$(MAKE) -C "$$old" build; \
	bin/tillwire-simulator compare "$$old/bin" bin --turns $(TURNS) --out .data/compare $(if $(ONLY),--only $(ONLY)) $(QUICK)

gobench: ## run the Go benchmarks of all packages
	@dirs=$$(grep -rl --include='*_test.go' '^func Benchmark' . | xargs -r -n1 dirname | sort -u); \
	[ -n "$$dirs" ] || { echo "gobench: no Go benchmarks"; exit 1; }; \
	$(GO) test -p 1 -run '^$$' -bench . -benchmem -timeout 30m $$dirs

# What a release goes through; each part stops by itself.
SOAK ?= 2h
soak: build ## kill, starve and unplug for SOAK=2h, thirty days in the dark, 4,000 stores at once
	@mkdir -p .data/soak
	bin/tillwire-simulator crash --release --for $(SOAK) --results .data/soak
	TILLWIRE_DAYS_DARK=30 $(GO) test -count=1 -timeout 30m -run 'TestBubble' -v ./simulator
	bin/tillwire-simulator experiment drain --stores 4000 --documents 200 --out .data/soak

# Everything that breaks Tillwire on purpose, in about ten minutes, and one page of it.
CHAOS_MINUTES ?= 5
chaos: build ## break everything on purpose, for about ten minutes; the page is .data/chaos/report.html
	@rm -rf .data/chaos && mkdir -p .data/chaos
	bin/tillwire-simulator crash --for 5m --results .data/chaos
	bin/tillwire-simulator experiment drain --process --out .data/chaos
	bin/tillwire-simulator chaos --plant all --minutes $(CHAOS_MINUTES) --results .data/chaos --report .data/chaos/report.html

pictures: ## take the pictures of the manuals from a small chain that runs
	@mkdir -p deploy/pictures
	TILLWIRE_PICTURES=$(CURDIR)/deploy/pictures $(GO) test -count=1 -run '^TestTheFaceOfARunningChain$$' ./simulator

fuzz: ## run each fuzzer for FUZZTIME=30s
	@found=$$(grep -rHoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . | sort); \
	[ -n "$$found" ] || { echo "fuzz: no fuzzers"; exit 1; }; \
	while IFS=: read -r file func; do \
	  name=$${func#func }; echo "fuzz: $$name in $${file%/*}"; \
	  $(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) -parallel $(P) "$${file%/*}"; \
	done <<< "$$found"

clean: ## remove what was built and what demos left (tools stay in .bin)
	rm -rf bin dist .data

$(LINT_STAMP):
	@mkdir -p $(TOOLS)
	GOBIN=$(TOOLS) GOFLAGS= CGO_ENABLED=0 $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)
	@rm -f $(TOOLS)/.golangci-lint-* && touch $@

$(NFPM_STAMP):
	@mkdir -p $(TOOLS)
	GOBIN=$(TOOLS) GOFLAGS= CGO_ENABLED=0 $(GO) install github.com/goreleaser/nfpm/v2/cmd/nfpm@$(NFPM_VERSION)
	@rm -f $(TOOLS)/.nfpm-* && touch $@
