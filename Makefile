# ggscope: `make demo` on a fresh machine, `make test` for everything that CI runs, `make help` for the rest.

PREFIX ?= /usr/local
CARGO ?= cargo
target := $(abspath $(or $(CARGO_TARGET_DIR),target))

# The collector carries the shim inside. Exported for every cargo call: one without it would build another collector.
export GGSCOPE_EMBED_SHIM := $(target)/release/libggscope.so
# And the page.
ui := $(abspath collector/ui)
export GGSCOPE_EMBED_UI := $(ui)/dist
ui_sources := $(wildcard $(ui)/*.json $(ui)/*.ts $(ui)/*.js $(ui)/*.html) $(shell find $(ui)/src $(ui)/public -type f)
# Node.js of vendor/setup is there only where the system's does not do.
export PATH := $(abspath vendor/node/bin):$(PATH)

.PHONY: all ui vendor demo test test-all bench shots install lint fmt clean help

all: vendor ui ## build everything, release: target/release/ggscope and libggscope.so
	$(CARGO) build --release -p ggscope-shim
	$(CARGO) build --release -p ggscope-collector

ui: $(ui)/dist/index.html ## build the page that the collector carries

$(ui)/node_modules/.package-lock.json: $(ui)/package.json $(ui)/package-lock.json
	vendor/setup --node
	cd $(ui) && npm ci --no-audit --no-fund --loglevel=error
	touch $@

$(ui)/dist/index.html: $(ui)/node_modules/.package-lock.json $(ui_sources)
	cd $(ui) && npm run --silent build

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
	if [ "$$(id -u)" = 0 ]; then $(CARGO) test --release --workspace --test faults -- --ignored users; fi
	$(CARGO) test --release --workspace --doc
	$(CARGO) build --release -p ggscope-collector --examples
	cd $(ui) && npm run --silent test && npm run --silent test:browser
	RUSTFLAGS="--cfg loom" $(CARGO) test -p ggscope-format --release --target-dir $(target)/loom loom_

test-all: test ## the same, and every architecture of llama.cpp's test generator instead of a third of them
	GGSCOPE_ARCHITECTURES=all $(CARGO) test --release --workspace --test architectures every

bench: all ## the numbers in docs/performance.md
	vendor/setup --tests
	$(CARGO) bench --workspace --bench '*'
	$(CARGO) build --release -p ggscope-collector --examples
	benches/overhead
	benches/attention
	benches/inspect
	benches/page.mjs

shots: demo ## the pictures in docs/img, from a real run
	docs/screenshots.mjs

install: all ## install into PREFIX (/usr/local): program, shim, man pages, shell completions
	install -D -m 755 $(target)/release/ggscope $(DESTDIR)$(PREFIX)/bin/ggscope
	install -D -m 755 $(target)/release/libggscope.so $(DESTDIR)$(PREFIX)/lib/libggscope.so
	$(target)/release/ggscope generate $(target)/generated
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man1 $(target)/generated/man/*.1
	install -D -m 644 $(target)/generated/completions/ggscope.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/ggscope
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/zsh/site-functions $(target)/generated/completions/_ggscope
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d $(target)/generated/completions/ggscope.fish

lint: all ## formatting, clippy and svelte-check, warnings are errors
	$(CARGO) fmt --all --check
	cd $(ui) && npm run --silent lint
	$(CARGO) clippy --workspace --all-targets --release -- -D warnings

fmt: $(ui)/node_modules/.package-lock.json ## format the code
	$(CARGO) fmt --all
	cd $(ui) && npm run --silent format

clean: ## remove what was built here (not the cache)
	$(CARGO) clean
	rm -rf $(ui)/dist $(ui)/node_modules
	rm -f vendor/llama.cpp vendor/build vendor/build-dl vendor/build-static vendor/models vendor/node vendor/python

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16
