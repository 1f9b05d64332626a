#!/bin/sh
# Writes a C file that holds the Lua modules given as arguments (paths below lua/), sorted by module
# name, and the table that bindings/modules.c searches. The assembler copies the files' bytes.
set -eu
echo '/* Made by bindings/embed.sh. */'
echo '#include "modules.h"'
list=$(for path in "$@"; do
    name=$(printf '%s' "$path" | sed -e 's|^lua/||' -e 's|\.lua$||' -e 's|/init$||' -e 's|/|.|g')
    printf '%s %s\n' "$name" "$path"
done | LC_ALL=C sort)
n=0
printf '%s\n' "$list" | while read -r name path; do
    printf '__asm__(".section .rodata\\nmodule_%d:\\n.incbin \\"%s\\"\\nmodule_%d_end:\\n.byte 0\\n.previous");\n' \
        "$n" "$path" "$n"
    printf 'extern const char module_%d[], module_%d_end[];\n' "$n" "$n"
    n=$((n + 1))
done
echo 'const struct module MODULES[] = {'
n=0
printf '%s\n' "$list" | while read -r name path; do
    printf '    {"%s", "@%s", module_%d, module_%d_end},\n' "$name" "$path" "$n" "$n"
    n=$((n + 1))
done
echo '};'
echo 'const size_t MODULE_COUNT = sizeof MODULES / sizeof MODULES[0];'
