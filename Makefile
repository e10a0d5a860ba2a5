# `make devnet` runs the whole system; `make test` passes the tests. Each does its own set-up.
.PHONY: devnet test unit contracts peers e2e e2e-peers lint docs deny smoke clean-deps

CARGO ?= cargo
DEVNET_ARGS ?=

devnet: peers
	$(CARGO) run -p earnest-cli -- devnet $(DEVNET_ARGS)

test: peers contracts unit smoke

# The tests of the whole system run the binary. Most wait for slots rather than compute: more run at once than there are cores.
unit: export RUST_TEST_THREADS ?= 4
unit: peers
	$(CARGO) build --locked -p earnest-cli
	$(CARGO) test --workspace --locked

# The system as a user starts it: some slots of it, ending non-zero if any promise was broken.
smoke: peers
	$(CARGO) run --locked -p earnest-cli -- devnet --slots 14 --quiet

contracts: contracts/node_modules/.package-lock.json
	contracts/test

# Real peers: the execution client of the devnet's L1, the rollups' anvil, and Lodestar's builder client.
peers: crates/devnet/peers/node_modules/.package-lock.json contracts/node_modules/.package-lock.json \
	tests/peers/lodestar/node_modules/.package-lock.json

%/node_modules/.package-lock.json: %/package-lock.json
	cd $* && npm ci --no-audit --no-fund --loglevel=error
	@test -f $@ || { echo "npm left no $@: run 'npm ci' in $* and read what it says"; exit 1; }
	@touch $@

# Stock geth, Prysm and mev-boost propose blocks of our relay, straight and behind our sidecar: tests/peers/ethereum/README.md. Ends
# non-zero if it is too few of them, or one is lost.
e2e: e2e-peers contracts/node_modules/.package-lock.json
	$(CARGO) build --locked -p earnest-cli
	$(CARGO) test --locked -p earnest-tests --features e2e --test e2e

e2e-peers: target/peers/geth.built target/peers/prysm.built target/peers/mev-boost.built

# Into an ignored folder, and again only if what is pinned changes.
target/peers/%.built: tests/peers/ethereum/%/go.mod tests/peers/ethereum/%/go.sum
	@command -v go >/dev/null || { echo "missing: go, 1.25.1 or later, and a C compiler; they build geth, Prysm and mev-boost"; exit 1; }
	@mkdir -p target/peers/bin
	cd $(<D) && GOWORK=off GOFLAGS="-mod=readonly -trimpath -buildvcs=false" GOBIN=$(CURDIR)/target/peers/bin go install -p 2 tool
	@touch $@

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --features earnest-tests/e2e --locked -- -D warnings

docs:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked

deny:
	@command -v cargo-deny >/dev/null || $(CARGO) install cargo-deny --locked --version 0.20.2
	$(CARGO) fetch --locked --quiet
	$(CARGO) deny --offline check licenses bans sources
