#!/bin/bash
# links.sh SOURCE: relative links of all Markdown pages must lead to something.
set -euo pipefail
cd "$1"
broken=0
while IFS= read -r page; do
    while IFS= read -r link; do
        case $link in *://* | '#'*) continue ;; esac
        if [ ! -e "$(dirname "$page")/${link%%#*}" ]; then
            echo "$page: no such file: $link"
            broken=1
        fi
    done < <(grep -o '](\([^)]*\))' "$page" | sed 's/^](//; s/)$//')
done < <(find . -path './build*' -prune -o -path ./.git -prune -o -name '*.md' -print)
exit $broken
