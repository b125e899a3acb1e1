#!/bin/sh
# lines.sh WEIR CMAKE GENERATED: where the built-in jobs take their lines from, and what a start says that cannot be, or has nothing to do.
. "$(dirname "$0")/common.sh"

# has LINE FILE
has() { grep -qxF -- "$1" "$2" || fail "'$1' is not in what was put out: $(tr '\n' ' ' < "$2")"; }
tab=$(printf '\t')

# Standard input, with a journal and without; the second time nothing is left to do.
for journal in yes no; do
    printf 'a b a\nb' | "$weir" run wordcount "--name=c-$journal" --set=input=- "--set=journal=$journal" > "$work/out" 2> "$work/err" ||
        fail "standard input, journal=$journal: exit status $?"
    has "a${tab}2" "$work/out"
    has "b${tab}2" "$work/out"
    [ "$(wc -l < "$work/out")" = 4 ] || fail "$(wc -l < "$work/out") lines of 4 words"
    try 0 run wordcount "--name=c-$journal" --set=input=- "--set=journal=$journal"
    says "job 'c-$journal' had finished"
    [ ! -s "$work/out" ] || fail "a finished job puts out something"
done

# A file that grows while it is read.
echo 'x y' > "$work/log"
"$weir" run wordcount --name=grows "--set=input=$work/log" --set=follow=yes "--set=output=$work/grown" --checkpoint-interval=50ms > "$work/out" 2> "$work/err" \
    < /dev/null &
job_pid=$!
wait_for_word() {
    tries=0
    until cat "$work/grown"/part-* 2> /dev/null | grep -qxF -- "$1"; do
        tries=$((tries + 1))
        [ "$tries" -lt 3000 ] || { fail "gave up waiting for '$1'"; finish; }
        sleep 0.1
    done
}
wait_for_word "x${tab}1"
echo 'x z' >> "$work/log"
wait_for_word "z${tab}1"
try 0 stop grows --timeout=60s
wait "$job_pid" || fail "a job that followed a file: exit status $?"
job_pid=
has "x${tab}2" "$(ls "$work/grown"/part-* | tail -n 1)"

# The events of another day.
try 0 run nexmark_q0 --name=early --set=events=1 --set=base_time=5000
shows "^0${tab}0${tab}1000${tab}5000${tab}"

# What the user named and is not there; what limits do.
try 3 run wordcount --name=c-yes --set=input=- --set=journal=yes --restore=999
says "there is no checkpoint 999"
says "'weir checkpoints'"
try 3 inspect c-yes 999
says "there is no checkpoint 999"
try 3 run wordcount --name=nowhere "--set=input=$work/log" --set=output=/proc/nowhere
says "/proc/nowhere"
[ "$(wc -l < "$work/err")" = 1 ] || fail "a start that fails says it in $(wc -l < "$work/err") lines"
mkfifo "$work/fifo"
try 2 run nexmark_q0 --name=letters --on-poison=dead-letter "--dead-letter=$work/fifo"
says 'it is a FIFO'
sh -c 'ulimit -n 12 && exec "$@"' sh "$weir" run nexmark_q0 --name=few --set=events=1 --set=output= > "$work/out" 2> "$work/err" < /dev/null &&
    fail "12 descriptors were enough"
says 'ulimit -n'

# No progress line in a pipe; on a terminal the last one has what went in and what came out, of a chain in one process too.
try 0 run nexmark_q2 --name=piped --set=events=20000 "--set=output=$work/piped"
[ ! -s "$work/err" ] || fail "a run in a pipe says something"
script -qec "'$weir' run nexmark_q2 --name=seen --set=events=20000 '--set=output=$work/seen'" /dev/null < /dev/null > "$work/out" 2> "$work/err" ||
    fail "a run on a terminal: exit status $?"
shows "in 20.0 k .*, out $(cat "$work/seen"/part-* | wc -l),"

finish
