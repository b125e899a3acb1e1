#!/bin/sh
# job.sh WEIR CMAKE GENERATED: the life of one job, from the outside.
. "$(dirname "$0")/common.sh"

# wait_until COMMAND...: until it succeeds, with a deadline far beyond what it takes.
wait_until() {
    tries=0
    until "$@" > /dev/null 2>&1; do
        tries=$((tries + 1))
        if [ "$tries" -gt 6000 ]; then
            fail "gave up waiting for: $*"
            finish
        fi
        sleep 0.05
    done
}

long=--timeout=60s # for a job to answer, on a busy machine

start() { # further options of run
    "$weir" run nexmark_bids --set=events=0 --set=rate=5000 "--set=output=$work/results" --checkpoint-interval=100ms "$@" \
        > "$work/run.out" 2> "$work/run.err" < /dev/null &
    job_pid=$!
    wait_until "$weir" status nexmark_bids
}

# ended: waits for the job; its exit status is in $status.
ended() {
    status=0
    wait "$job_pid" || status=$?
    job_pid=
}

status_is() { "$weir" status nexmark_bids --json > "$work/out" && [ "$(json state)" = "$1" ]; }
completed_beyond() { "$weir" status nexmark_bids --json > "$work/out" && [ "$(json checkpoints completed)" -gt "$1" ]; }
has_event() { "$weir" events nexmark_bids --event="$1" | grep -q .; }

start
wait_until completed_beyond 1
directory=$XDG_STATE_HOME/weir/nexmark_bids
[ "$(stat -c %a "$directory")" = 700 ] || fail "the checkpoint directory has mode $(stat -c %a "$directory")"
[ "$(stat -c %a "$directory/control.sock")" = 600 ] || fail "the control socket has mode $(stat -c %a "$directory/control.sock")"

try 0 list
shows '^nexmark_bids +running'
try 0 list --json
[ "$(json running 0 directory)" = "$directory" ] || fail "list --json: $(json running 0 directory)"
try 0 status nexmark_bids $long
shows '^state +running'
shows '^TASK +OPERATORS'
shows '^highest/0'
try 0 status "$directory" $long
try 0 status nexmark_bids --json $long
[ "$(json job)" = nexmark_bids ] || fail "status --json: job is $(json job)"

try 0 checkpoint nexmark_bids
shows '^checkpoint [0-9]+ complete'
try 0 checkpoint nexmark_bids --json
taken=$(json checkpoint)
[ "$taken" -gt 0 ] || fail "checkpoint --json gives '$taken'"

try 4 run nexmark_bids
says "$directory"
says 'another instance'

# A second job of the same name elsewhere is a job of its own.
"$weir" run nexmark_bids --set=events=0 --set=rate=100 --set=output= "--directory=$work/second" --quiet > /dev/null 2>&1 < /dev/null &
second_pid=$!
wait_until "$weir" status nexmark_bids-2
try 0 stop nexmark_bids-2
wait "$second_pid" || fail "the second job: exit status $?"

try 3 kill nexmark_bids nothing $long
says 'nothing'
wait_until status_is running
try 0 kill nexmark_bids highest/0 $long
shows '^sent SIGKILL to highest/0 \(pid [0-9]+\)'
wait_until has_event takeover
wait_until status_is running
try 0 kill nexmark_bids coordinator --json $long
wait_until status_is running

# Each role, by its own process; a coordinator that is stopped can answer nothing, and is reached all the same.
try 3 kill nexmark_bids --role=standby highest/9 $long
try 0 kill nexmark_bids coordinator --signal=STOP $long
shows '^sent SIGSTOP to coordinator'
try 0 kill nexmark_bids --role=coordinator --signal=cont --json $long
[ "$(json killed 0 task)" = coordinator ] || fail "kill --json: $(cat "$work/out")"
wait_until status_is running
try 0 kill nexmark_bids --role=launcher --signal=CONT $long
shows "^sent SIGCONT to launcher \(pid $job_pid\)"
wait_until "$weir" kill nexmark_bids highest/0 --role=snapshot
recoveries() { "$weir" events nexmark_bids --event=recovery_finished | wc -l; }
more_recoveries() { [ "$(recoveries)" -gt "$recoveries_before" ]; }
recoveries_before=$(recoveries)
try 0 kill nexmark_bids project --signal=7 $long
shows '^sent SIGBUS to [a-z]+/0'
wait_until more_recoveries
wait_until status_is running

# A kill point, armed while the job runs: of builds that have them.
deaths() { "$weir" events nexmark_bids --event=process_died | grep -c 'highest/0'; }
more_deaths() { [ "$(deaths)" -gt "$before" ]; }
if "$weir" kill nexmark_bids --kill-point=zz9 2> "$work/err"; then
    fail "a kill point of no such name was armed"
elif ! grep -q 'no kill points' "$work/err"; then
    says "'zz9'"
    for round in 1 2; do
        wait_until status_is running
        before=$(deaths) || true
        try 0 kill nexmark_bids highest/0 --kill-point=t3:2 $long
        shows '^armed t3:2@highest/0'
        wait_until more_deaths
    done
fi
wait_until status_is running
try 0 events nexmark_bids --event=process_died
shows 'task=.*highest/0'
[ "$("$weir" events nexmark_bids --limit=2 | wc -l)" = 2 ] || fail "events --limit=2"
try 0 events nexmark_bids --event=job_started --json
[ "$(json event)" = job_started ] || fail "events --json"

try 0 stop nexmark_bids
shows '^stopped with checkpoint [0-9]+'
ended
[ "$status" = 0 ] || fail "run: exit status $status after stop"
[ ! -s "$work/run.out" ] || fail "run printed on standard output"
[ ! -e "$directory/control.sock" ] || fail "the control socket was left behind"
try 3 status nexmark_bids
try 0 list
shows '^No job runs'

# What remains can be looked at without the job.
try 0 checkpoints nexmark_bids
shows '^[0-9]+ +checkpoint +complete'
try 0 checkpoints "$directory" --json
newest=$(json checkpoints 0 id)
[ "$newest" -gt "$taken" ] || fail "checkpoints --json: the newest is $newest, after $taken"
try 0 inspect nexmark_bids --verify
shows '^highest +highest +operator'
shows '^bids +highest +value +per key'
shows '^Verified'
try 0 inspect nexmark_bids "$newest" --verify --json
[ "$(json verified)" = ON ] || fail "inspect --json: verified is $(json verified)"
file=$directory/snapshots/$(json tasks 1 files 0 name)
try 3 inspect nexmark_bids 999999
try 2 inspect nexmark_bids newest

# SIGTERM ends it as stop does, and the next run goes on where it was.
start
wait_until completed_beyond 0
kill -TERM "$job_pid"
ended
[ "$status" = 0 ] || fail "run: exit status $status after SIGTERM"
"$weir" events nexmark_bids --event=job_started --json | tail -n 1 > "$work/out"
[ "$(json restored_checkpoint)" = "$newest" ] || fail "it was restored from $(json restored_checkpoint), not $newest"

# Damage is found, named, and makes the exit status.
try 0 checkpoints nexmark_bids --json
newest=$(json checkpoints 0 id)
try 0 inspect nexmark_bids --json
file=$directory/snapshots/$(json tasks 1 files 0 name)
printf 'X' | dd of="$file" bs=1 seek=5000 conv=notrunc 2> /dev/null
try 5 inspect nexmark_bids --verify
says "$(basename "$file")"
manifest=$(printf '%s/manifest-%020d' "$directory" "$newest")
[ -f "$manifest" ] || fail "no $manifest"
truncate -s 100 "$manifest"
try 0 checkpoints nexmark_bids
shows "^$newest .*damaged"
try 5 inspect nexmark_bids "$newest"

# In a pipe a run that goes well says nothing.
"$weir" run nexmark_q2 --set=events=1000 --set=output= > "$work/run.out" 2> "$work/run.err" < /dev/null || fail "nexmark_q2: exit status $?"
[ ! -s "$work/run.err" ] || fail "a run in a pipe says: $(cat "$work/run.err")"
finish
