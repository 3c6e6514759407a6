# Scalpel. `make` builds the commands and the library into build/, `make demo` runs the experiment, `make test`
# every test, `make help` lists the rest. Needs a C11 compiler and make.

CC    ?= cc
AR    ?= ar
BUILD ?= build
OBJ   := $(BUILD)/obj
ifeq ($(origin CC),default)
CC := cc
endif

# Warnings are errors with WERROR=1 (continuous integration sets it; a newer compiler must not break a user).
WARN   := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wvla -Wstrict-prototypes -Wmissing-prototypes
WERROR ?= 0
SAN    ?= 0
OPT    ?= -O2
comma  := ,
# No -ffast-math, and multiply-add is fused only where it is written: results are the same bits everywhere.
CFLAGS_ALL := -std=c11 $(OPT) -g -ffp-contract=off -fPIC -I. $(WARN) $(if $(filter 1,$(WERROR)),-Werror) \
	$(if $(filter 1,$(SAN)),-fsanitize=address$(comma)undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -DTN_SANITIZED) \
	$(CFLAGS)
LIBS := -lm

# THREADS=0 builds the serial version, with no thread in it; OMP=0 is its older name.
THREADS ?= $(if $(filter 0,$(OMP)),0,1)
ifneq ($(THREADS),0)
CFLAGS_ALL += -DTN_THREADS -pthread
endif

ARCH := $(shell $(CC) -dumpmachine)

# Sources: each folder's commands are *_main.c and cmd_*.c, everything else is library.
COMMAND_SRC := $(wildcard */cmd_*.c */*_main.c) tensor/cli.c
COMMAND_SRC := $(filter-out tests/%,$(COMMAND_SRC))
LIB_SRC     := $(filter-out $(COMMAND_SRC),$(wildcard tensor/*.c tokenizer/*.c qwen/*.c sae/*.c convert/*.c))
ifeq ($(THREADS),0)
LIB_SRC     := $(filter-out tensor/os_threads.c,$(LIB_SRC))
endif
LIB_OBJ     := $(LIB_SRC:%.c=$(OBJ)/%.o)
CLI_OBJ     := $(OBJ)/tensor/cli.o
COMMANDS    := qwen sae convert

# make test ONLY="json safetensors" builds and runs just those files.
ONLY     ?=
TEST_SRC := $(if $(ONLY),$(ONLY:%=tests/test_%.c),$(filter-out tests/test_main.c,$(wildcard tests/test_*.c)))
TEST_OBJ := $(TEST_SRC:%.c=$(OBJ)/%.o) $(OBJ)/tests/test_main.o

all: $(COMMANDS:%=$(BUILD)/%) $(BUILD)/libscalpel.a $(BUILD)/libscalpel.so

ifneq (,$(findstring x86_64,$(ARCH)))
$(OBJ)/tensor/kernels_avx2%: CFLAGS_ALL += -mavx2 -mfma -mf16c
$(OBJ)/tensor/kernels_avx512%: CFLAGS_ALL += -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx2 -mfma -mf16c
$(OBJ)/tensor/kernels_avx512vnni%: CFLAGS_ALL += -mavx512vnni
# Compilers before GCC 11 and Clang 12 do not know AVX-VNNI: then there is no such tier.
ifeq ($(shell $(CC) -mavxvnni -E -x c /dev/null >/dev/null 2>&1 && echo yes),yes)
$(OBJ)/tensor/kernels_avx2.o: CFLAGS_ALL += -DTN_AVXVNNI
$(OBJ)/tensor/kernels_avxvnni%: CFLAGS_ALL += -mavxvnni -mavx2 -mfma -mf16c
endif
# Nor do those before GCC 11 and Clang 12 know AMX.
AMX := -mamx-tile -mamx-bf16 -mamx-int8
ifeq ($(shell $(CC) $(AMX) -E -x c /dev/null >/dev/null 2>&1 && echo yes),yes)
$(OBJ)/tensor/kernels_avx512.o: CFLAGS_ALL += -DTN_AMX
$(OBJ)/tensor/kernels_amx%: CFLAGS_ALL += -DTN_AMX $(AMX) -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mavx2 -mfma -mf16c
endif
endif
ifneq (,$(filter aarch64% arm64%,$(ARCH)))
$(OBJ)/tensor/kernels_neondot%: CFLAGS_ALL += -march=armv8.2-a+dotprod
$(OBJ)/tensor/kernels_neoni8mm%: CFLAGS_ALL += -march=armv8.2-a+dotprod+i8mm
endif

# Each test file's one function is declared by the generated list, not by a header.
$(OBJ)/tests/%.o: CFLAGS_ALL += -Wno-missing-prototypes

# Objects are rebuilt when the flags change.
FLAGS_FILE := $(BUILD)/flags
$(FLAGS_FILE): FORCE
	@mkdir -p $(@D)
	@echo '$(CC) $(CFLAGS_ALL)' | cmp -s - $@ || echo '$(CC) $(CFLAGS_ALL)' > $@

$(OBJ)/%.o: %.c $(FLAGS_FILE)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -DBUILD_DIR='"$(BUILD)"' -MMD -MP -c $< -o $@

$(BUILD)/libscalpel.a: $(LIB_OBJ)
	@rm -f $@
	$(AR) rcs $@ $^

# The helper threads run until the process ends, so on ELF systems this library stays loaded as long (dlclose).
$(BUILD)/libscalpel.so: $(LIB_OBJ)
	$(CC) $(CFLAGS_ALL) -shared $(if $(findstring linux,$(ARCH)),-Wl$(comma)-z$(comma)nodelete) $^ -o $@ $(LIBS)

define COMMAND_RULE
$(BUILD)/$(1): $(patsubst %.c,$(OBJ)/%.o,$(wildcard $(1)/cmd_*.c $(1)/$(1)_main.c)) $(CLI_OBJ) $(BUILD)/libscalpel.a
	$$(CC) $$(CFLAGS_ALL) $$^ -o $$@ $$(LIBS)
endef
$(foreach c,$(COMMANDS),$(eval $(call COMMAND_RULE,$(c))))

# The list of test files, written only when it changes.
$(BUILD)/test_list.inc: FORCE
	@mkdir -p $(@D)
	@for f in $(TEST_SRC); do n=$${f#tests/test_}; echo "TEST_FILE($${n%.c})"; done | sort > $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@

$(OBJ)/tests/test_main.o: $(BUILD)/test_list.inc
$(OBJ)/tests/test_main.o: CFLAGS_ALL += -I$(BUILD)

$(OBJ)/tests/run: $(TEST_OBJ) $(BUILD)/libscalpel.a
	$(CC) $(CFLAGS_ALL) $^ -o $@ $(LIBS)

# The program that README.md shows.
$(BUILD)/example: $(OBJ)/docs/example.o $(BUILD)/libscalpel.a
	$(CC) $(CFLAGS_ALL) $^ -o $@ $(LIBS)

# RUNNER runs what was built for another processor, e.g. RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu" with
# CC=aarch64-linux-gnu-gcc; it runs the tests, not the commands that some of them start (test_cmd_*).
RUNNER ?=

test: all $(BUILD)/example $(OBJ)/tests/run
	@$(RUNNER) $(OBJ)/tests/run

# The whole experiment. The embedded model's takes a minute and a half and starts anew each time; with MODEL=DIR it may take
# long, so that it continues where it was stopped.
EMBEDDED := models/vehicles-4m
MODEL    ?= $(EMBEDDED)
LAYER    ?=
DEMO     := $(BUILD)/demo$(if $(filter-out $(EMBEDDED),$(MODEL)),-$(notdir $(MODEL:%/=%)))

demo:
	@$(MAKE) -j2 all
	@$(if $(filter $(EMBEDDED),$(MODEL)),rm -rf $(DEMO))
	@BIN=$(BUILD) experiments/transportation/run.sh $(MODEL) $(DEMO) $(LAYER)

format:
	clang-format -i $(filter-out tokenizer/unicode_tables.h,$(wildcard */*.c */*.h))

clean:
	rm -rf $(BUILD)

help:
	@echo 'make              the commands qwen, sae, convert and libscalpel in $(BUILD)/'
	@echo 'make test         build and run every test; ONLY="json forward" picks files'
	@echo 'make demo         the whole experiment on the embedded model; report in $(BUILD)/demo/report.html'
	@echo '                  MODEL=DIR LAYER=15 uses another model, report in $(BUILD)/demo-NAME/'
	@echo 'make format       clang-format over all sources'
	@echo 'make clean        remove $(BUILD)/, downloaded assets included'
	@echo 'Variables: CC=clang  THREADS=0|1  SAN=1 (address and undefined sanitizers)  WERROR=1  OPT=-O3  BUILD=dir'
	@echo '           CC=aarch64-linux-gnu-gcc RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu" (tests of another processor)'

FORCE:
.PHONY: all test demo format clean help FORCE
.DELETE_ON_ERROR:
-include $(wildcard $(OBJ)/*/*.d)
