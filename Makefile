# What there is to do with a clone. `make run` and `make test` need nothing but rustup, a C compiler
# and (for the tests) Python 3.11 or later, Node.js, nginx, Chromium and the programs of a PostgreSQL server.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

TARGET := wasm32-wasip2
WASM := guests/target/$(TARGET)/release
BIN := target/release/dativo-wasm
VENV ?= target/test-venv
FUZZ_SECONDS ?= 60

.PHONY: help run test lint guests target venv servers soak fuzz bench bench-commit bench-csv bench-postgres bench-rest bench-encrypted bench-iceberg bench-serve

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: guests ## Build everything in release and run jobs/quickstart.yaml: a CSV becomes Parquet
	@echo "== building the runtime (release; some minutes the first time)"
	cargo build --release -p dativo-wasm
	@echo "== running jobs/quickstart.yaml"
	$(BIN) run jobs/quickstart.yaml
	@echo "== out/quickstart holds"
	@ls -l out/quickstart/*.parquet
	@echo "look at it with any Parquet tool, for example:"
	@echo "  python3 -m pip install duckdb"
	@echo "  python3 -c \"import duckdb; print(duckdb.sql(\\\"from 'out/quickstart/*.parquet' limit 5\\\"))\""
	@echo "at what a job would do:      $(BIN) plan jobs/quickstart.yaml"
	@echo "and to read it all once more: $(BIN) state reset jobs/quickstart.yaml"

test: guests venv servers ## Run every test
	@echo "== tests of the runtime, with the hostile guests and readers from PyPI"
	DATIVO_TEST_PYTHON=$(abspath $(VENV))/bin/python cargo test -p dativo-wasm
	@echo "== tests of the guests' own code"
	cd guests && cargo test --workspace --exclude hostile

lint: guests ## Formatting, clippy, docs, licences
	@echo "== formatting"
	cargo fmt --check
	cd guests && cargo fmt --check
	@echo "== clippy"
	cargo clippy --all-targets -- -D warnings
	cd guests && cargo clippy --workspace --all-targets -- -D warnings
	cd guests && cargo clippy --workspace --target $(TARGET) -- -D warnings
	@echo "== docs"
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --document-private-items
	cd guests && RUSTDOCFLAGS="-D warnings" cargo doc --no-deps
	@echo "== licences, sources, duplicates"
	@command -v cargo-deny >/dev/null || { echo "cargo-deny is missing; cargo install cargo-deny --locked" >&2; exit 1; }
	cargo deny check bans licenses sources
	cargo deny --manifest-path guests/Cargo.toml --config deny.toml check bans licenses sources

guests: target ## Build the connectors and the hostile test guests into guests/dist
	@echo "== building the guests for $(TARGET)"
	cd guests && cargo build --release --target $(TARGET)
	@mkdir -p guests/dist/test
	@install_if_new() { cmp -s "$$1" "$$2" || cp "$$1" "$$2"; }; \
	install_if_new $(WASM)/reader_csv.wasm guests/dist/csv.wasm; \
	install_if_new $(WASM)/reader_postgres.wasm guests/dist/postgres.wasm; \
	install_if_new $(WASM)/reader_rest.wasm guests/dist/rest.wasm; \
	install_if_new $(WASM)/writer_parquet.wasm guests/dist/parquet.wasm; \
	install_if_new $(WASM)/writer_encrypted_s3.wasm guests/dist/encrypted-s3.wasm; \
	install_if_new $(WASM)/writer_iceberg.wasm guests/dist/iceberg.wasm; \
	install_if_new $(WASM)/writer_discard.wasm guests/dist/discard.wasm; \
	install_if_new $(WASM)/flaky.wasm guests/dist/test/flaky.wasm; \
	install_if_new $(WASM)/hostile.wasm guests/dist/test/hostile.wasm; \
	install_if_new $(WASM)/reach.wasm guests/dist/test/reach.wasm; \
	install_if_new $(WASM)/dial.wasm guests/dist/test/dial.wasm; \
	install_if_new $(WASM)/sealing.wasm guests/dist/test/sealing.wasm; \
	install_if_new $(WASM)/textual.wasm guests/dist/test/textual.wasm; \
	install_if_new $(WASM)/thief.wasm guests/dist/test/thief.wasm

target:
	@if ! ls "$$(rustc --print sysroot)/lib/rustlib/$(TARGET)/lib/"libstd-*.rlib >/dev/null 2>&1; then \
	  echo "== the Rust target $(TARGET) is missing; adding it"; \
	  if ! timeout 120 rustup target add $(TARGET); then \
	    echo "rustup could not fetch $(TARGET): its server does not answer."; \
	    echo "tools/install-wasip2-target builds the same from Debian's rust-src and wasi-libc; trying that"; \
	    tools/install-wasip2-target; \
	  fi; \
	fi

venv:
	@tests/support/venv.sh $(VENV)

servers:
	@tests/support/http.sh install $(abspath $(VENV))-http
	@tests/support/aws.sh install $(abspath $(VENV))-aws
	@tests/support/venv.sh $(abspath $(VENV))-iceberg tests/support/iceberg/requirements.txt
	@tests/support/serve/install.sh $(abspath $(VENV))-serve

soak: guests venv servers ## The heavy proofs: kills, a 1 GB table, random tables, fuzzing (an hour)
	@echo "== hundreds of kills"
	DATIVO_TEST_PYTHON=$(abspath $(VENV))/bin/python DATIVO_SOAK=1 cargo test -p dativo-wasm --test integration exactly_once -- --nocapture
	@echo "== CSV: a table of 1 GB, thousands of random ones, every cut"
	DATIVO_TEST_PYTHON=$(abspath $(VENV))/bin/python DATIVO_SOAK=1 cargo test -p dativo-wasm --test integration csv:: -- --nocapture
	@echo "== Postgres: hundreds of runs that are followed and killed, hundreds of thousands of random rows"
	DATIVO_TEST_PYTHON=$(abspath $(VENV))/bin/python DATIVO_SOAK=1 cargo test -p dativo-wasm --test integration postgres:: -- --nocapture
	@echo "== kills at random times: 200 runs into a table, a process that serves"
	DATIVO_TEST_PYTHON=$(abspath $(VENV))/bin/python DATIVO_SOAK=1 cargo test -p dativo-wasm --test integration at_random_times -- --nocapture
	@echo "== a day of 10,000 jobs, and a component that never compiles"
	DATIVO_TEST_PYTHON=$(abspath $(VENV))/bin/python DATIVO_SOAK=1 cargo test -p dativo-wasm --test integration serve::day -- --nocapture
	DATIVO_TEST_PYTHON=$(abspath $(VENV))/bin/python DATIVO_SOAK=1 cargo test -p dativo-wasm --test integration compiler:: -- --nocapture
	@echo "== upserts beside a map"
	DATIVO_TEST_PYTHON=$(abspath $(VENV))/bin/python DATIVO_SOAK=1 cargo test -p dativo-wasm --test integration random_upserts -- --nocapture
	@echo "== buckets, encrypted files and tables: a kill at every occasion of every named point"
	DATIVO_TEST_PYTHON=$(abspath $(VENV))/bin/python DATIVO_SOAK=1 cargo test -p dativo-wasm --test integration a_kill_at_any_named_point -- --nocapture
	@if cargo +nightly fuzz --version >/dev/null 2>&1; then \
	  $(MAKE) fuzz FUZZ_SECONDS=600; \
	else \
	  echo "skipped: fuzzing needs a nightly toolchain and cargo-fuzz (cargo install cargo-fuzz --locked)"; \
	fi

fuzz: ## The decoders of CSV, Postgres and JSON and the openers of sealed files on what libFuzzer comes up with (FUZZ_SECONDS=60; needs nightly, cargo-fuzz)
	@echo "== fuzzing the CSV scanner for $(FUZZ_SECONDS) s"
	cd guests/reader-csv && cargo +nightly fuzz run csv -- -max_total_time=$(FUZZ_SECONDS) -max_len=4096
	@echo "== fuzzing the Postgres decoder for $(FUZZ_SECONDS) s"
	mkdir -p runtime/fuzz/corpus/decode
	printf '\0\0' | cat - runtime/src/capabilities/postgres/decode/recorded/types.rows > runtime/fuzz/corpus/decode/recorded
	cd runtime && cargo +nightly fuzz run decode -- -max_total_time=$(FUZZ_SECONDS) -max_len=4096
	@echo "== fuzzing the JSON decoder for $(FUZZ_SECONDS) s"
	cd runtime && cargo +nightly fuzz run json -- -max_total_time=$(FUZZ_SECONDS) -max_len=1024
	@echo "== fuzzing the openers of sealed files for $(FUZZ_SECONDS) s"
	cd runtime && cargo +nightly fuzz run seal -- -max_total_time=$(FUZZ_SECONDS) -max_len=1024

bench: ## Warm start and peak memory of the release build (after make run)
	bench/warm_start.sh
	bench/memory.sh

bench-csv: guests ## CSV against polars, duckdb and pyarrow (half an hour; QUICK=1: minutes)
	cargo build --release -p dativo-wasm
	bench/csv/run.sh

bench-postgres: guests ## PostgreSQL against duckdb, connectorx, polars, adbc and psycopg2 (an hour; QUICK=1: minutes)
	cargo build --release -p dativo-wasm --bin dativo-wasm --example postgres_native
	bench/postgres/run.sh

bench-encrypted: guests servers venv ## Encrypt and upload against upload alone, to SeaweedFS (half an hour)
	cargo build --release -p dativo-wasm
	VENV=$(VENV) bench/encrypted/run.sh

bench-commit: guests servers venv ## How long commits of many files, and to tables of many snapshots, take in a bucket (minutes)
	cargo build --release -p dativo-wasm
	VENV=$(VENV) bench/commit/run.sh

bench-iceberg: guests ## PostgreSQL to Iceberg against dlt and pyiceberg (a quarter of an hour; SCALE=0.1: minutes)
	cargo build --release -p dativo-wasm
	bench/iceberg/run.sh

bench-serve: guests ## Memory and latency of many small jobs in one process (minutes)
	cargo build --release -p dativo-wasm --bin dativo-wasm --example instances
	bench/serve/run.sh

bench-rest: guests ## REST against requests with pyarrow, orjson and dlt (half an hour; QUICK=1: minutes)
	cargo build --release -p dativo-wasm
	bench/rest/run.sh
