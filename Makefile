# What one does with this repository. `make` alone lists it.

CARGO ?= cargo

.PHONY: help build run test check bench clean-run

help:
	@echo 'make run        PostgreSQL and Pooler in front of it, throw-away, until Ctrl-C'
	@echo 'make test       all tests; installs PostgreSQL and the drivers they need'
	@echo 'make check      formatting, lints, documentation'
	@echo 'make bench      memory of an idle client, as a table; some minutes, it builds for release'
	@echo 'make build      the release binary, target/release/pooler'
	@echo 'make clean-run  what a killed `make run` may have left behind'

build:
	$(CARGO) build --release --locked

run:
	@scripts/run.sh

test:
	@tests/setup.sh
	$(CARGO) test --workspace --locked $(CARGO_TEST_FLAGS)

check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps --document-private-items --locked

# Each client of the crowd takes a file descriptor on either side.
bench:
	@tests/setup.sh postgres
	ulimit -Sn "$$(ulimit -Hn)" && $(CARGO) bench --locked --bench idle_clients

clean-run:
	@scripts/run.sh clean
