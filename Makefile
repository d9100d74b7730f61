# Every target that is meant for people has a line "name: ## what it does"; `make` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

# A version by git where there is a repository, else "source". CI may not own the checkout: then git answers nothing.
VERSION := $(or $(shell [ -e .git ] && git describe --tags --always --dirty 2>/dev/null),source)
TOOL := go tool -modfile=tools/go.mod
# Kubernetes and its like are not ours to check, and take minutes to compile: `make kind-tests` builds them.
MODULES = $(shell find . -name go.mod -not -path './.*/*' -not -path '*/testdata/*' -not -path './internal/testcluster/programs/*' -printf '%h\n' | sort)

# Static programs, and one build cache for programs and tests. The race detector alone needs cgo.
export CGO_ENABLED := $(if $(findstring -race,$(TESTFLAGS)),1,0)

# In CI results are never taken from the cache.
ifeq ($(CI),true)
TESTFLAGS ?= -count=1
endif
export TESTFLAGS

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## build the programs into bin/
	@VERSION='$(VERSION)' tools/build.sh

# The commit and its time, for images: the same commit makes the same images, whenever.
REVISION = $(shell [ -e .git ] && git rev-parse HEAD 2>/dev/null)
CREATED = $(or $(shell [ -e .git ] && git log -1 --format=%ct 2>/dev/null),0)

.PHONY: images
images: ## make images of hub, spoke and harness in bin/images (ARCH="amd64 arm64" IMAGES=nave-spoke REGISTRY=host/path)
	@go build -buildvcs=false -o bin/make-images ./internal/images/cmd/images
	@bin/make-images --out bin/images --version '$(VERSION)' --revision '$(REVISION)' --created $(CREATED) \
		$(if $(ARCH),--arch '$(ARCH)') $(if $(IMAGES),--images '$(IMAGES)') $(if $(REGISTRY),--registry '$(REGISTRY)')

.PHONY: test
test: ## check format, vet, and run the tests of every module (TESTFLAGS="-run X -race")
	@tools/test.sh

.PHONY: arch
arch: ## check the rules of the house only
	go test ./internal/arch/...

.PHONY: lint
lint: ## staticcheck in every module, and buf lint on the proto sources
	@for m in $(MODULES); do \
		echo "lint: staticcheck in $$m"; \
		(cd $$m && go tool -modfile='$(CURDIR)/tools/go.mod' staticcheck ./...) || exit 1; \
	done
	@if [ -n "$$(find . -name '*.proto' -not -path './.*' -print -quit)" ]; then echo "lint: buf"; $(TOOL) buf lint; fi

.PHONY: generate
generate: ## generate code from the proto sources, in place
	@tools/generate.sh

.PHONY: check-generated
check-generated: ## fail when generated code is not what its sources say
	@tools/check-generated.sh

.PHONY: demo
demo: build ## show a federation on this machine, from an empty folder to a delivered signal
	go run ./internal/demo

.PHONY: demo-external
demo-external: build ## like demo, on an etcd, a PostgreSQL and an overlay of their own, two of which are killed
	@go build -buildvcs=false -o bin/etcd-member ./internal/etcdtest/cmd/member
	go run ./internal/demo --external

.PHONY: chaos
chaos: build ## kill and freeze a federation under traffic, and judge it (SEED=... MINUTES=10)
	@go build -buildvcs=false -o bin/chaos ./internal/chaos # the agents are this program
	@bin/chaos --seed $(or $(SEED),0) --minutes $(or $(MINUTES),10)

.PHONY: leaks
leaks: build ## cut links and end sessions N times, and show that nothing is left of them (N=1000)
	@go build -buildvcs=false -o bin/leaks ./internal/leaks
	@bin/leaks --n $(or $(N),1000) $(if $(ROUTERS),--routers $(ROUTERS)) $(if $(PLANT),--plant $(PLANT)) $(if $(PROFILES),--profiles $(PROFILES))

.PHONY: kind-tests
kind-tests: build bin/helm kind-tests-build ## test federations on real Kubernetes clusters, as root; logs of failures are kept in .kind-tests/ (RUN=TestX)
	@rm -rf .kind-tests
	go test -tags kindtests -count=1 -v -timeout 40m $(if $(RUN),-run '$(RUN)') ./kind-tests

# One of each kind: the bed, a life over OpenZiti in two clusters, losses, rights, who a pod is, the API server's faults, the charts.
KIND_TESTS_FEW := ^Test(ABedHasTwoClusters|TwoCloudsRunTheirSessions|LossesInACluster|TheRightsOfASpoke|TokensOfAnAPIServer|RuntimeAndAPIServer|AnAPIServerTakesEveryRenderOfTheCharts|TheSpokesChartJoinsACluster)$$

.PHONY: kind-tests-few
kind-tests-few: ## like kind-tests, but those alone that CI runs: five minutes instead of half an hour
	@$(MAKE) --no-print-directory kind-tests RUN='$(KIND_TESTS_FEW)'

.PHONY: kind-tests-build
kind-tests-build: ## build the programs of the test clusters, unless they are in the cache: ten minutes, once
	@go build -buildvcs=false -o bin/testcluster-programs ./internal/testcluster/cmd/programs
	@nice -n 15 bin/testcluster-programs

.PHONY: kind-tests-deps
kind-tests-deps: ## get what the test clusters need of Debian
	@tools/deps.sh clusters

.PHONY: charts
charts: bin/helm ## check the charts of hub and spoke, and package them into bin/charts with the version
	@VERSION='$(VERSION)' CREATED='$(CREATED)' tools/charts.sh

.PHONY: charts-golden
charts-golden: bin/helm ## render the charts anew for their tests; look at the difference before you commit it
	go test -count=1 ./internal/charts -run '^TestRendersAreTheKeptOnes$$' -args -update

# Helm is others' code, which takes minutes to compile, once: it has a module of its own.
bin/helm: tools/helm/go.mod tools/helm/go.sum
	@echo "helm: building, which takes minutes the first time"
	@go -C tools/helm build -buildvcs=false -trimpath -ldflags "-s -w" -o '$(CURDIR)/bin/helm' helm.sh/helm/v4/cmd/helm
	@touch bin/helm

.PHONY: dev
dev: build ## like demo, and keep the federation running until interrupted
	@go build -buildvcs=false -o bin/demo ./internal/demo # go run would call Ctrl-C a failure
	@bin/demo --keep

.PHONY: bench
bench: build bin/bench ## measure every path beside its floor, and write docs/benchmarks.md (RUN=accept,events PROFILES=folder)
	bin/bench --page docs/benchmarks.md $(if $(RUN),--run $(RUN)) $(if $(PROFILES),--profiles $(PROFILES))

.PHONY: bench-kube
bench-kube: build kind-tests-build ## like bench, of sessions that are pods, on real clusters, as root (RUN=pod-start,pod-many QUICK=1)
	@go build -buildvcs=false -ldflags "-X github.com/nave-dev/nave/internal/version.Version=$(VERSION)" -o bin/bench-kube ./internal/bench/clusters/cmd/bench-kube
	@go build -buildvcs=false -tags grpcnotrace -ldflags "-s -w" -o bin/bench-kube-runtime ./internal/bench/clusters/runtime # built as the spoke is
	bin/bench-kube $(if $(QUICK),--quick,--page docs/benchmarks.md) $(if $(RUN),--run $(RUN))

.PHONY: bench-compare
bench-compare: build bin/bench ## compare the ratios of figures to their floors with the committed ones (KEEP=1 commits new ones)
	bin/bench --quick --ratios internal/bench/ratios.json $(if $(RUN),--run $(RUN)) $(if $(KEEP),--keep)

.PHONY: bin/bench
bin/bench:
	@go build -buildvcs=false -ldflags "-X github.com/nave-dev/nave/internal/version.Version=$(VERSION)" -o bin/bench ./internal/bench
	@go build -buildvcs=false -tags grpcnotrace -ldflags "-s -w" -o bin/bench-bare ./internal/bench/floor/bare # a floor, built as the spoke is

.PHONY: fuzz
fuzz: ## look for inputs that break a decoder (T=30s PKG=spoke/journal)
	@T='$(or $(T),30s)' PKG='$(PKG)' tools/fuzz.sh

.PHONY: vuln
vuln: ## look for known vulnerabilities (needs the network)
	@for m in $(MODULES); do \
		echo "vuln: $$m"; \
		(cd $$m && go tool -modfile='$(CURDIR)/tools/go.mod' govulncheck ./...) || exit 1; \
	done

.PHONY: deps
deps: ## get what building and testing need: Debian packages and Go modules
	@tools/deps.sh

.PHONY: agents
agents: ## get the agents that tests run, as examples/agents pins them (npm; 177 MB, once)
	@tools/agents.sh

.PHONY: clean
clean: ## remove what was built and what the demo left
	rm -rf bin .demo .kind-tests
