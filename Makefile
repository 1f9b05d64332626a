# harness-lua. `make help` lists what there is. Everything is built below build/.
#
# One tree of objects for each variant: rel (build/harness-lua), asan (build/asan/harness-lua),
# strict (warnings are errors), cov (for gcov), fuzz (clang, for libFuzzer).
# `make VARIANT=asan` builds one; SAN=1 is short for that. V=1 shows the commands.
VARIANT ?= $(if $(SAN),asan,rel)
OUT     := $(if $(filter rel,$(VARIANT)),build,build/$(VARIANT))
OBJ     := build/obj/$(VARIANT)
PREFIX  ?= /usr/local
ifeq ($(origin CC),default)
CC      := gcc
endif

WARN := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla
TRAP := -fno-sanitize-recover=all -fno-omit-frame-pointer

CFLAGS_rel    := -O2 -g
CFLAGS_asan   := -O1 -g -fsanitize=address,undefined $(TRAP)
CFLAGS_tsan   := -O1 -g -fsanitize=thread -fno-omit-frame-pointer
CFLAGS_strict := -O2 -Werror
CFLAGS_cov    := -O0 -g --coverage
CFLAGS_fuzz   := -O1 -g -fsanitize=fuzzer-no-link,address,undefined $(TRAP) -w
FLAGS = $(CFLAGS_$(VARIANT)) $(CFLAGS)

# Asked once, and only when something is compiled: `make test` may have to install pkg-config first.
PKGS       := lua5.4 libuv libcjson libpcre2-8 yaml-0.1
PKG_CFLAGS = $(eval PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS)))$(PKG_CFLAGS)
PKG_LIBS   = $(eval PKG_LIBS := $(shell pkg-config --libs $(PKGS)))$(PKG_LIBS)
ALL_CFLAGS = -std=c11 -D_GNU_SOURCE $(WARN) -fPIC -fno-plt -fvisibility=hidden $(PKG_CFLAGS) $(FLAGS)
LDLIBS     = $(PKG_LIBS) -ldl -lm -lpthread
# The command has the whole Lua library in it, as lua5.4 has, where it comes as an archive, too: calls
# into a shared one cost more. C modules find it there.
LUA_FILE   = $(shell $(CC) -print-file-name=liblua5.4.a)
LUA_WHOLE  = -Wl,--whole-archive $(LUA_FILE) -Wl,--no-whole-archive
CMD_LIBS   = $(if $(findstring /,$(LUA_FILE)),$(LUA_WHOLE) $(filter-out -llua5.4,$(LDLIBS)),$(LDLIBS))

C_FILES   := $(wildcard engine/*.c bindings/*.c sandbox/*.c)
O_FILES   := $(C_FILES:%.c=$(OBJ)/%.o)
# What is in everything; the command, the embedding library and the module for a stock Lua add theirs.
ENDS      := $(OBJ)/bindings/main.o $(OBJ)/bindings/line_editor.o $(OBJ)/bindings/luaopen.o $(filter $(OBJ)/bindings/embed%,$(O_FILES))
COMMON    := $(filter-out $(ENDS),$(O_FILES)) $(OBJ)/modules_data.o $(OBJ)/jail_data.o
EMBEDDING := $(filter $(OBJ)/bindings/embed%,$(O_FILES)) $(COMMON)
ABI       := 0
# The cov build counts lines of Lua too.
COVERAGE  := $(if $(filter cov,$(VARIANT)),$(OBJ)/spec/support/coverage.o)
LDFLAGS_cov := -Wl,--wrap=lua_newstate
LUA_FILES := $(sort $(shell find lua -name '*.lua'))

SHELL := /bin/bash
Q     := $(if $(V),,@)
SETUP := @spec/support/setup.sh
PEERS := @spec/support/peers.sh
BUILD  = @$(MAKE) --no-print-directory $(if $(filter -j%,$(MAKEFLAGS)),,-j$(shell nproc))

all: $(OUT)/harness-lua libraries ## build the command and the libraries

$(OUT)/harness-lua: $(OBJ)/bindings/main.o $(OBJ)/bindings/line_editor.o $(COMMON) $(COVERAGE)
	@mkdir -p $(@D)
	$(if $(V),,@echo "  LD $@")
	$(Q)$(CC) $(FLAGS) $(LDFLAGS) $(LDFLAGS_$(VARIANT)) -Wl,-E -Wl,--as-needed -o $@ $^ $(CMD_LIBS)

$(OBJ)/%.o: %.c Makefile | packages
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC $<")
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# Annotations are for editors only.
EMBEDDED  := $(filter-out lua/harness/types.lua,$(LUA_FILES))
$(OBJ)/modules_data.o: bindings/embed.sh bindings/modules.h $(EMBEDDED) | packages
	@mkdir -p $(@D)
	$(if $(V),,@echo "  EMBED lua/")
	$(Q)sh bindings/embed.sh $(EMBEDDED) > $(OBJ)/modules_data.c
	$(Q)$(CC) $(ALL_CFLAGS) -Ibindings -c -o $@ $(OBJ)/modules_data.c

# harness-jail, a program of its own without anything of the engine's but the JSON codec; the library
# holds it as bytes (sandbox/jail_image.h). Static, since it runs where none of our libraries may be; so
# without sanitizers, whose runtimes are not for such programs.
JAIL_C      := $(wildcard sandbox/jail/*.c) $(wildcard bindings/json*.c) engine/buf.c
JAIL_O      := $(JAIL_C:%.c=$(OBJ)/jail/%.o)
JAIL_PKGS   := libseccomp lua5.4
JAIL_CFLAGS = -std=c11 -D_GNU_SOURCE $(WARN) -O2 -ffunction-sections $(if $(filter strict,$(VARIANT)),-Werror) \
  $(if $(filter fuzz,$(VARIANT)),-w) -I$(OBJ)/sandbox/jail $(shell pkg-config --cflags $(JAIL_PKGS))

# The seccomp filters are compiled here, not at each start.
JAIL_FILTERS := $(OBJ)/sandbox/jail/filter_data.h $(OBJ)/sandbox/jail/code_filter_data.h
$(JAIL_FILTERS): $(OBJ)/sandbox/jail/%filter_data.h: sandbox/jail/filter/%rules.c sandbox/jail/filter/compile.h Makefile | packages
	@mkdir -p $(@D)
	$(Q)$(CC) $(JAIL_CFLAGS) -o $(@:.h=) $< $(shell pkg-config --libs libseccomp)
	$(Q)$(@:.h=) > $@.new && mv $@.new $@

$(JAIL_O): $(OBJ)/jail/%.o: %.c $(JAIL_FILTERS) Makefile | packages
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC $<")
	$(Q)$(CC) $(JAIL_CFLAGS) -MMD -MP -c -o $@ $<

$(OBJ)/harness-jail: $(JAIL_O)
	$(if $(V),,@echo "  LD $@")
	$(Q)$(CC) -static -s -Wl,--gc-sections -o $@ $^ $(shell pkg-config --static --libs lua5.4)

$(OBJ)/jail_data.o: $(OBJ)/harness-jail
	$(Q)printf '%s\n' '.section .rodata' '.global jail_program, jail_program_size' '.hidden jail_program, jail_program_size' \
	  '.balign 16' 'jail_program: .incbin "$<"' '1: .balign 8' 'jail_program_size: .quad 1b - jail_program' \
	  '.section .note.GNU-stack,"",%progbits' | $(CC) -c -x assembler -o $@ -

libraries: $(OUT)/libharness.a $(OUT)/libharness.so $(OUT)/harness/core.so $(OUT)/harness.pc
	@:

# One object in which every name but harness_* is local: a host may have a buf_add of its own.
$(OUT)/libharness.a: $(EMBEDDING)
	@mkdir -p $(@D) && rm -f $@
	$(if $(V),,@echo "  AR $@")
	$(Q)$(CC) -r -nostdlib -o $(OBJ)/libharness.o $^
	$(Q)objcopy --wildcard --keep-global-symbol='harness_*' $(OBJ)/libharness.o
	$(Q)ar rcs $@ $(OBJ)/libharness.o

$(OUT)/libharness.so: $(EMBEDDING) bindings/exports.map
	$(if $(V),,@echo "  LD $@")
	$(Q)$(CC) $(FLAGS) $(LDFLAGS) -shared -Wl,-soname,libharness.so.$(ABI) -Wl,--version-script=bindings/exports.map \
	  -Wl,--as-needed -o $@ $(EMBEDDING) $(LDLIBS)
	$(Q)ln -sf libharness.so $@.$(ABI)

# For a stock lua5.4, which brings the Lua library itself. It is never unloaded, since threads that resolve
# names may outlive the Lua state. build/harness.so is the same file under the
# name that `require "harness"` looks for.
$(OUT)/harness/core.so: $(OBJ)/bindings/luaopen.o $(COMMON)
	@mkdir -p $(@D)
	$(if $(V),,@echo "  LD $@")
	$(Q)$(CC) $(FLAGS) $(LDFLAGS) -shared -Wl,--as-needed -Wl,-z,nodelete -o $@ $^ $(filter-out -llua5.4,$(LDLIBS))
	$(Q)ln -sf harness/core.so $(OUT)/harness.so

$(OUT)/harness.pc: bindings/harness.pc.in bindings/bindings.h
	@mkdir -p $(@D)
	$(Q)sed -e 's|@PREFIX@|$(PREFIX)|' -e "s|@VERSION@|$$(sed -n 's/^#define HARNESS_VERSION "\(.*\)"/\1/p' bindings/bindings.h)|" $< > $@

# C programs that embed the engine, for specs and as examples.
PROGRAMS := $(patsubst %.c,$(OUT)/%,$(wildcard spec/embed/*.c examples/*.c))
programs: $(PROGRAMS) $(OUT)/spec/sandbox/probe $(OUT)/spec/sandbox/code_probe
	@:

# Runs inside of sandboxes, where nothing of ours is.
$(OUT)/spec/sandbox/probe: spec/sandbox/probe.c
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC $@")
	$(Q)$(CC) -std=c11 -D_GNU_SOURCE $(WARN) $(if $(filter strict,$(VARIANT)),-Werror) -O1 -static -o $@ $<

# Under the limits of harness-jail code.
$(OUT)/spec/sandbox/code_probe: spec/sandbox/code_probe.c $(OBJ)/jail/sandbox/jail/code_limits.o sandbox/jail/code.h
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC $@")
	$(Q)$(CC) $(JAIL_CFLAGS) -static -o $@ $(filter-out %.h,$^) $(shell pkg-config --static --libs lua5.4)

$(OUT)/spec/embed/% $(OUT)/examples/%: $(OUT)/libharness.a
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC $@")
	$(Q)$(CC) -std=c11 -D_GNU_SOURCE $(WARN) $(PKG_CFLAGS) $(FLAGS) -Ibindings $(LDFLAGS_$(notdir $@)) -o $@ $(@:$(OUT)/%=%).c $< $(LDLIBS)
LDFLAGS_no_memory := -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=strdup
$(PROGRAMS): $(OUT)/%: %.c bindings/harness.h
$(filter $(OUT)/spec/%,$(PROGRAMS)): spec/embed/check.h
$(OUT)/spec/embed/slab: engine/slab.c
$(OUT)/spec/embed/remove: sandbox/files_directory_remove.c

# Everything of ours but the command's main: the fuzzers take from it what they need.
build/fuzz/libfuzzed.a: $(COMMON) $(OBJ)/sandbox/jail/code_frame.o
	@mkdir -p $(@D) && rm -f $@
	$(Q)ar rcs $@ $^

packages:
	@pkg-config --exists $(PKGS) $(JAIL_PKGS) || { \
	  echo "libraries are missing; install them with: spec/support/setup.sh build" >&2; exit 1; }

demo: ## the main job: an agent with tools, streamed to the terminal
	$(SETUP) build
	$(BUILD)
	@sh examples/demo.sh

test: ## all specs, or one: SPEC=spec/x_spec.lua (TIMES=1 lists the slowest tests)
	$(SETUP) build test
	$(PEERS) test
	$(BUILD) all programs
	@spec/support/run.sh build/harness-lua $(SPEC)

FACTOR ?= 10
test-asan: ## the same with ASan, UBSan and leak check, heavy specs reduced by FACTOR=10
	$(SETUP) build test
	$(PEERS) test
	$(BUILD) VARIANT=asan all programs
	@HARNESS_SPEC_FACTOR=$(FACTOR) HARNESS_SPEC_TIMEOUT=600 \
	  ASAN_OPTIONS=detect_leaks=1:abort_on_error=0 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 \
	  spec/support/run.sh build/asan/harness-lua $(SPEC)

test-tsan: ## several engines in several threads, under ThreadSanitizer
	$(SETUP) build test
	$(BUILD) VARIANT=tsan programs
	@TSAN_OPTIONS=halt_on_error=1 build/tsan/spec/embed/threads && echo "1 passed, 0 failed"

TIME ?= 60
fuzz: ## the fuzzers, TIME=60 seconds each, or one: ONLY=sse; each has to find its planted bug too
	$(SETUP) build fuzz
	$(BUILD) VARIANT=fuzz CC=clang-14 run-fuzzers

run-fuzzers: build/fuzz/libfuzzed.a
	@CC='$(CC)' CFLAGS='$(ALL_CFLAGS)' LIBS='$(LDLIBS)' spec/support/fuzz.sh $(TIME) $(ONLY)

check: ## warnings as errors, clang-tidy, cppcheck, luacheck, shellcheck, formatting
	$(SETUP) build check
	$(BUILD) VARIANT=strict all programs
	@CFLAGS='$(ALL_CFLAGS)' spec/support/check.sh

bench: ## what the targets ask for, measured beside its peers; one row: ROW=relay
	$(SETUP) build bench
	$(PEERS) bench
	$(BUILD)
	@lua5.4 spec/bench/run.lua $(ROW)

profile: ## where the instructions of a run go, by callgrind
	$(SETUP) build bench
	$(BUILD)
	@lua5.4 spec/bench/profile.lua

ROUNDS ?= 5
soak: ## all specs ROUNDS=5 times with other random numbers, the first time with all counts in full; the fuzzers
	@for round in $$(seq $(ROUNDS)); do echo "round $$round"; \
	  HARNESS_SOAK=$$([ $$round = 1 ] && echo full || echo 1) HARNESS_SPEC_TIMEOUT=3600 $(MAKE) --no-print-directory test || exit 1; done
	@$(MAKE) --no-print-directory fuzz TIME=60

coverage: ## lines and branches that the specs reach
	$(SETUP) build test coverage
	$(PEERS) test
	$(BUILD) VARIANT=cov
	@spec/support/coverage.sh $(SPEC)

format: ## lay the C files out as .clang-format says
	clang-format-14 -i engine/*.[ch] bindings/*.[ch] $(wildcard sandbox/*.[ch] sandbox/jail/*.[ch] sandbox/jail/filter/*.[ch] spec/sandbox/*.c spec/fuzz/*.c spec/embed/*.[ch] examples/*.c)

# Where things go; DESTDIR= goes before all of it, for packagers.
AT     := $(DESTDIR)$(PREFIX)
LUADIR  = $(AT)/share/lua/5.4
LIBDIR  = $(AT)/lib/lua/5.4
# Each line: mode, file here, where to.
INSTALLED = \
  755:build/harness-lua:$(AT)/bin/harness-lua \
  644:bindings/harness.h:$(AT)/include/harness.h \
  644:build/libharness.a:$(AT)/lib/libharness.a \
  755:build/libharness.so:$(AT)/lib/libharness.so.$(ABI) \
  644:build/harness.pc:$(AT)/lib/pkgconfig/harness.pc \
  644:bindings/harness-lua.1:$(AT)/share/man/man1/harness-lua.1 \
  644:bindings/completion.bash:$(AT)/share/bash-completion/completions/harness-lua \
  644:bindings/_harness-lua:$(AT)/share/zsh/site-functions/_harness-lua \
  644:LICENSE:$(AT)/share/doc/harness-lua/LICENSE \
  644:README.md:$(AT)/share/doc/harness-lua/README.md \
  644:CHANGELOG.md:$(AT)/share/doc/harness-lua/CHANGELOG.md \
  $(INSTALLED_LUA)
INSTALLED_LUA = 755:build/harness/core.so:$(LIBDIR)/harness/core.so \
  $(foreach f,$(filter-out lua/harness/cli.lua lua/harness/cli/%,$(LUA_FILES)),644:$(f):$(LUADIR)/$(f:lua/%=%))

install: all ## put all of it below PREFIX=/usr/local (DESTDIR= for packagers)
	@rm -f build/harness.pc && $(MAKE) --no-print-directory build/harness.pc
	@for one in $(INSTALLED); do IFS=: read -r mode from to <<< "$$one"; install -D -m $$mode "$$from" "$$to" || exit 1; done
	ln -sf libharness.so.$(ABI) $(AT)/lib/libharness.so
	@[ -n "$(DESTDIR)" ] || [ "$$(id -u)" != 0 ] || ldconfig # programs find the library at once

install-rock: libraries # what the rockspec asks for: the Lua modules and harness/core.so
	@for one in $(INSTALLED_LUA); do IFS=: read -r mode from to <<< "$$one"; install -D -m $$mode "$$from" "$$to" || exit 1; done

uninstall: ## take it away again
	@for one in $(INSTALLED); do rm -f "$${one##*:}"; done
	rm -f $(AT)/lib/libharness.so
	@rm -rf $(AT)/share/doc/harness-lua
	@find $(LUADIR)/harness $(LIBDIR)/harness -depth -type d -empty -delete 2>/dev/null || true

clean: ## remove build/
	rm -rf build

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | \
	  awk -F '\t' '{ printf "  make %-10s %s\n", $$1, $$2 }'

-include $(O_FILES:.o=.d) $(JAIL_O:.o=.d)
.PHONY: install-rock all libraries programs test-tsan packages demo test test-asan fuzz run-fuzzers check bench profile soak coverage format install \
        uninstall clean help
