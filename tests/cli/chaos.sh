#!/bin/sh
# chaos.sh WEIR CMAKE GENERATED CHAOS_JOB: jobs under faults, right ones and wrong ones.
. "$(dirname "$0")/common.sh"
job=$4
export TMPDIR="$work/scratch"
mkdir "$TMPDIR"

left_nothing() { [ -z "$(ls -A "$TMPDIR")" ] || fail "$1 left behind: $(ls "$TMPDIR")"; }

# run EXPECTED_STATUS PROGRAM ARGUMENT...: like try, with another program, and time for many runs.
run() {
    expected=$1
    shift
    status=0
    timeout -k 5 900 "$@" > "$work/out" 2> "$work/err" < /dev/null || status=$?
    [ "$status" = "$expected" ] || { fail "$*: exit status $status, expected $expected"; sed 's/^/    stdout: /' "$work/out" >&2; }
}

# Bad usage: status 2, nothing on standard output, nothing left behind.
while IFS='|' read -r arguments text; do
    # shellcheck disable=SC2086 # several arguments
    try 2 chaos $arguments
    says "$text"
    [ ! -s "$work/out" ] || fail "weir chaos $arguments: an error printed something on standard output"
done << 'TABLE'
|which JOB?
wordcount|nothing to read
nexmark_bids --kils=3|did you mean '--kills'
nexmark_bids --kills=many|--kills
nexmark_bids --fault=flood|'flood' is no kind of fault
nexmark_bids --target=nobody|'nobody' is no operator
nexmark_bids --target=highest/7|'highest/7' is no operator
nexmark_bids --interval=0|--interval
nexmark_bids --directory=/tmp|--directory cannot be given
nexmark_bids --from-scratch|--from-scratch cannot be given
nexmark_bids --set=output=|no output that could be compared
nexmark_bids --ring-size=3|--ring-size
TABLE
try 3 chaos wordcuont
try 3 chaos nexmark_bids --expect=/nonexistent
left_nothing "bad usage"

# Two examples: nothing is lost. Words from a text that is in the way anyhow.
try 0 chaos wordcount "--set=input=$here/../../README.md" --kills=6 --interval=10ms
shows '^seed +[0-9]+'
shows '^records +[0-9]+ compared: 0 lost, 0 doubled, 0 wrong'
head -n 1 "$work/out" | grep -q '^seed' || fail "the seed is not the first line"
[ ! -s "$work/err" ] || fail "a run that goes well says: $(cat "$work/err")"
run 0 "$weir" chaos nexmark_bids --set=events=20k --set=rate=40k --set=parallelism=2 --kills=15 --interval=30ms --fault=kill --fault=stop --fault=segv \
    --hold=10ms --seed=7 --json "--junit=$work/junit.xml"
[ "$(json same)" = ON ] || fail "chaos --json: same is $(json same)"
[ "$(json records compared)" -ge 18000 ] || fail "chaos --json: $(json records compared) records compared"
[ "$(json faults hit)" -ge 8 ] || fail "chaos --json: only $(json faults hit) faults took effect"
[ "$(json recoveries disk count)" != 0 ] || [ "$(json recoveries in_place count)" != 0 ] || fail "no recovery was seen"
grep -q 'seed 7' "$work/err" || fail "with --json the seed is not on standard error"
cp "$work/out" "$work/first"
left_nothing "a run that went well"

# The same seed makes the same choices, whatever the runs look like.
choices() { # FILE
    sed -n 's/^ *"\(number\|kind\|place\)": \(.*[^,]\),\{0,1\}$/\2/p' "$1"
}
run 0 "$weir" chaos nexmark_bids --set=events=20k --set=rate=40k --set=parallelism=2 --kills=15 --interval=30ms --fault=kill --fault=stop --fault=segv \
    --hold=10ms --seed=7 --json
choices "$work/first" > "$work/choices1"
choices "$work/out" > "$work/choices2"
[ "$(wc -l < "$work/choices1")" = 45 ] || fail "$(wc -l < "$work/choices1") lines of choices instead of 45"
cmp -s "$work/choices1" "$work/choices2" || fail "seed 7 chose differently: $(diff "$work/choices1" "$work/choices2" | head)"
run 0 "$weir" chaos nexmark_bids --set=events=20k --set=rate=40k --kills=15 --interval=10ms --seed=8 --fault=kill --fault=stop --json
choices "$work/out" > "$work/choices2"
! cmp -s "$work/choices1" "$work/choices2" || fail "seed 8 chose the same"

# JUnit: well-formed, one case a run, and the seed.
if command -v python3 > /dev/null; then
    python3 - "$work/junit.xml" "$work/first" << 'PYTHON' || fail "junit.xml"
import json, sys, xml.etree.ElementTree as tree
suite = tree.parse(sys.argv[1]).getroot()
runs = json.load(open(sys.argv[2], encoding="utf-8"))["runs"]
assert suite.tag == "testsuite" and suite.get("failures") == "0", suite.attrib
assert int(suite.get("tests")) == len(suite.findall("testcase")) == len(runs) > 0, suite.attrib
assert suite.find("properties/property[@name='seed']").get("value") == "7"
PYTHON
fi

# A program of one job has the command, too. The same job with what it should put out, given.
run 0 "$job" chaos --kills=5
run 0 "$job" run "--directory=$work/d" "--set=output=$work/right" --quiet
run 0 "$job" chaos --kills=3 "--expect=$work/right" --keep
shows '^kept '
[ "$(ls "$TMPDIR"/weir-chaos-*)" = run-1 ] || [ -d "$(echo "$TMPDIR"/weir-chaos-*/run-1)" ] || fail "--keep kept $(ls "$TMPDIR"/*)"
rm -r "$TMPDIR"/weir-chaos-*
[ ! -e "$work/out-of-the-job" ] || fail "it wrote to the job's own output"

# Jobs that are broken are found out, with numbers and examples, and what they did is kept.
found_out() { # PROPERTY
    [ "$(json same)" = OFF ] || fail "$1: it passed"
    number=0
    until [ "$(json runs $number state)" = differs ] || [ $number -gt 20 ]; do number=$((number + 1)); done
    [ $number -le 20 ] || fail "$1: no run differs"
    [ -d "$(json runs $number kept)" ] || fail "$1: '$(json runs $number kept)' is not there"
    [ -n "$(json runs $number examples 0 record)" ] || fail "$1: no example"
    rm -rf "$TMPDIR"/weir-chaos-*
}
# Faults that come faster than this machine recovers from them hit processes that have done nothing yet, and find nothing: then
# rarer ones, in a longer job.
find_fault() { # ARGUMENT...
    for row in 50ms:30000 400ms:60000 2s:100000; do
        status=0
        timeout -k 5 600 "$job" chaos --interval=${row%:*} --set=count=${row#*:} --kills=10 --json "$@" > "$work/out" 2> "$work/err" < /dev/null ||
            status=$?
        [ "$status" = 0 ] || [ "$status" = 7 ] || break
    done
    [ "$status" = 1 ] || { fail "chaos $*: exit status $status, expected 1"; sed 's/^/    stdout: /' "$work/out" >&2; }
}
find_fault --set=broken=private --target=count
[ "$(json records lost)" -gt 0 ] || fail "private state: $(json records lost) lost"
found_out "private state"
find_fault --set=broken=twice --output-param=output --target=sink --fault=segv "--junit=$work/junit.xml"
[ "$(json records doubled)" -gt 0 ] || fail "a sink that writes twice: $(json records doubled) doubled"
[ "$(json records lost)" = 0 ] || fail "a sink that writes twice: $(json records lost) lost"
found_out "a sink that writes twice"
grep -q '<failure message=' "$work/junit.xml" || fail "junit.xml names no failure"
run 1 "$job" chaos --kills=2 --restart=none --fault=segv --target=count
grep -q 'the job failed' "$work/err" || fail "a job that failed: $(cat "$work/err")"
rm -r "$TMPDIR"/weir-chaos-*

# Right, but nothing proved: no fault came in time.
run 7 "$job" chaos --set=count=10 --kills=1 --interval=1h --runs=2
left_nothing "a job that was too short"
run 6 "$job" chaos --set=count=0 --run-timeout=1s
grep -q 'run-timeout' "$work/err" || fail "a job without an end: $(cat "$work/err")"
rm -r "$TMPDIR"/weir-chaos-*

# Interrupted: all gone, whoever had been forked.
"$job" chaos --set=count=0 --kills=5 > "$work/out" 2> "$work/err" < /dev/null &
job_pid=$!
tries=0
until ls "$TMPDIR"/weir-chaos-*/reference/checkpoints/control.sock > /dev/null 2>&1 || [ "$tries" -gt 6000 ]; do
    tries=$((tries + 1))
    sleep 0.05
done
children=$(cat "/proc/$job_pid/task/$job_pid/children")
kill -TERM "$job_pid"
status=0
wait "$job_pid" || status=$?
job_pid=
[ "$status" = 130 ] || fail "interrupted: exit status $status"
for child in $children; do
    [ ! -d "/proc/$child" ] || fail "interrupted: process $child is still there"
done
left_nothing "an interrupted run"

# Kill points and disk faults, of builds that have them: a run for each.
run 0 "$job" chaos --set=count=4000 --kill-points=t3,k7,v1 "--io-faults=fdatasync:1:error=EIO,rename_new:2:delay=20,openat:9:error=EMFILE" --json ||
    true
if grep -q 'no kill points' "$work/err"; then
    failures=$((failures - 1))
    try 2 chaos nexmark_bids --kill-points=t3
    says 'no kill points'
else
    [ "$(json faults hit)" -ge 7 ] || fail "kill points and disk faults: $(json faults hit) took effect"
    try 2 chaos nexmark_bids --kill-points=t3,zz
    says "'zz'"
    try 2 chaos nexmark_bids --io-faults=floppy:1:error=EIO
    says "'floppy'"
fi
left_nothing "a sweep"
finish
