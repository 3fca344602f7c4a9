# `make` lists what there is. ARGS="..." is handed on to the program that is run.

CARGO_DENY_VERSION := 0.20.2
CARGO_FUZZ_VERSION := 0.13.2

BIN := $(or $(CARGO_TARGET_DIR),target)/release/stillframe

export STILLFRAME_TEST_PYTHON ?= $(CURDIR)/target/venv/bin/python
export STILLFRAME_TEST_ETCD ?= $(or $(shell command -v etcd),$(CURDIR)/target/tools/etcd/usr/bin/etcd)

.DEFAULT_GOAL := help
.PHONY: help demo serve test test-long test-milvus test-spark fuzz bench bench-load bench-restore fmt lint openapi publish-openapi proto proto-check sqlx sqlx-check setup release deny

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: release ## build, then watch a snapshot and a restore of a real collection (ARGS=--keep: stay up)
	$(BIN) demo $(ARGS)

serve: release ## build, then run the service with its defaults (ARGS=... as in `stillframe serve --help`)
	$(BIN) serve $(ARGS)

test: ## the whole test suite
	@.ci/setup cc postgres python curl etcd deploy clients faketime
	cargo test --locked $(ARGS)

test-milvus: ## a real Milvus 2.3.5 on an S3 server: import, snapshot, restore, and the rows proved (Linux x86_64); then Milvus' Go client and Avro library
	@.ci/setup cc postgres milvus
	cargo build --locked --bin stillframe --example s3_server
	target/milvus-venv/bin/python tests/milvus/run.py $(ARGS)
	cargo test --locked --test it -- --ignored --nocapture milvus::go formats::hamba

test-long: ## what is too slow for `make test`: ignored tests, three minutes of fuzzing, then the benches
	@.ci/setup cc postgres python curl java spark etcd deploy clients faketime
	cargo test --locked -- --ignored # a debug build: the points where tests let it crash are in no release build
	$(MAKE) fuzz
	cargo bench --locked

test-spark: ## the Spark example and the guide's, on PySpark (installs about 800 MB under target/)
	@.ci/setup cc postgres python java spark
	cargo test --locked --test it python::spark -- --ignored

fuzz: ## fuzz the readers of stored files, with coverage feedback (SECONDS_EACH=60, FUZZ_TARGETS="manifest metadata bundle")
	@.ci/setup cc c++
	@CARGO_PROFILE_DEV_DEBUG=0 cargo install --quiet --debug --locked --root target/tools cargo-fuzz@$(CARGO_FUZZ_VERSION)
	.ci/fuzz

bench: ## the benches (ARGS=... as in `cargo bench`)
	@.ci/setup cc postgres
	cargo bench --locked $(ARGS)

bench-restore: ## restores beside loops of copies and s5cmd (ARGS=... as in `stillframe bench restore`)
	@.ci/setup cc postgres python
	cargo build --release --locked --bin stillframe --example s3_server
	.ci/bench-restore $(ARGS)

bench-load: ## requests a second beside an axum hello and a `select 1`, by wrk (SECONDS_EACH=, ROUNDS=, CLIENTS="1 16 128")
	@.ci/setup cc postgres curl wrk
	cargo build --release --locked --bin stillframe --example load_floor
	.ci/bench-load

fmt: ## format the code
	cargo fmt

lint: deny proto-check ## formatting, clippy, docs, the fuzz targets compile, and the licences and sources of dependencies
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings
	.ci/fuzz --check
	RUSTDOCFLAGS='-D warnings' cargo doc --no-deps --locked
	target/tools/bin/cargo-deny --locked check bans licenses sources

openapi: ## write openapi/openapi.json and openapi-3.0.json anew from the code
	@.ci/setup cc
	@mkdir -p openapi target
	cargo run --quiet --locked -- openapi > target/openapi.json && mv target/openapi.json openapi/openapi.json
	cargo run --quiet --locked -- openapi --as 3.0 > target/openapi.json && mv target/openapi.json openapi/openapi-3.0.json

publish-openapi: openapi ## check the document, and take it as the one that clients have: changes are compared with it
	cargo test --quiet --locked --test it -- compatibility::
	cp openapi/openapi.json openapi/published.json
	@# of the lists only their heads stay
	sed -i '1,/^# ---$$/!d' openapi/intended-breaks.txt openapi/new-operations.txt

proto: ## write the messages of Milvus' calls anew, after a change of src/milvus/proto/*.proto
	@.ci/setup cc
	.ci/proto/run

proto-check: ## check that they are up to date
	@.ci/setup cc
	.ci/proto/run --check

sqlx: ## write .sqlx anew, after a change of a query or a migration
	@.ci/setup cc postgres
	.ci/with-postgres .ci/sqlx

sqlx-check: ## check every query against a real Postgres, and that .sqlx is up to date
	@.ci/setup cc postgres
	.ci/with-postgres .ci/sqlx --check

setup: ## install what this machine lacks for all of the above; each of them does it by itself
	@.ci/setup cc postgres python curl etcd deploy clients faketime

release:
	@.ci/setup cc postgres
	cargo build --release --locked

# Built without optimisation: a third of the time, and it runs for two seconds.
deny:
	@.ci/setup cc
	@CARGO_PROFILE_DEV_DEBUG=0 cargo install --quiet --debug --locked --root target/tools cargo-deny@$(CARGO_DENY_VERSION)
