# ggscope: `make demo` on a fresh machine, `make test` for everything that CI runs, `make help` for the rest.

PREFIX ?= /usr/local
CARGO ?= cargo
target := $(abspath $(or $(CARGO_TARGET_DIR),target))

# The collector carries the shim inside. Exported for every cargo call: one without it would build another collector.
export GGSCOPE_EMBED_SHIM := $(target)/release/libggscope.so

.PHONY: all vendor demo test bench install lint fmt clean help

all: vendor ## build everything, release: target/release/ggscope and libggscope.so
	$(CARGO) build --release -p ggscope-shim
	$(CARGO) build --release -p ggscope-collector

vendor: ## fetch and build llama.cpp and the demo model, into a cache outside the tree
	vendor/setup

demo: all ## record the demo model answering over llama-server's HTTP API, print what was seen
	vendor/demo

test: ## everything that CI tests
	vendor/setup --tests
	$(MAKE) all
	vendor/test-setup
	$(CARGO) rustc --release -p ggscope-shim --crate-type staticlib --features static-wrap --target-dir $(target)/static
	if command -v cargo-nextest >/dev/null; then \
	    $(CARGO) nextest run --release --workspace; \
	else \
	    $(CARGO) test --release --workspace --lib --bins --tests; \
	fi
	$(CARGO) test --release --workspace --doc
	RUSTFLAGS="--cfg loom" $(CARGO) test -p ggscope-format --release --target-dir $(target)/loom loom_

bench: all ## the numbers in docs/performance.md
	$(CARGO) bench --workspace --bench '*'
	benches/overhead

install: all ## install into PREFIX (/usr/local)
	install -D -m 755 $(target)/release/ggscope $(DESTDIR)$(PREFIX)/bin/ggscope
	install -D -m 755 $(target)/release/libggscope.so $(DESTDIR)$(PREFIX)/lib/libggscope.so

lint: all ## formatting and clippy, warnings are errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --release -- -D warnings

fmt: ## format the code
	$(CARGO) fmt --all

clean: ## remove what was built here (not the cache of llama.cpp)
	$(CARGO) clean
	rm -f vendor/llama.cpp vendor/build vendor/build-dl vendor/build-static vendor/models

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16
