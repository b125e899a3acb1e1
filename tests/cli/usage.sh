#!/bin/sh
# usage.sh WEIR CMAKE GENERATED: what the command says without a running job.
. "$(dirname "$0")/common.sh"

# Exit status | arguments | what standard error says.
while IFS='|' read -r status arguments text; do
    # shellcheck disable=SC2086 # several arguments
    try "$status" $arguments
    says "$text"
    [ ! -s "$work/out" ] || fail "weir $arguments: an error printed something on standard output"
done << 'TABLE'
2||which command?
2|rnu|did you mean 'run'
2|xyzzy|no command 'xyzzy'
2|--xyzzy|no option '--xyzzy'
2|run|which JOB?
2|status|which JOB?
2|list extra|one argument too many
2|run wordcount extra|one argument too many
3|run wordcuont|did you mean 'wordcount'
3|run ./missing.so|'./missing.so'
2|run wordcount --chekpoint-interval=1s|did you mean '--checkpoint-interval'
2|run wordcount --checkpoint-interval=1ms|from 2ms to 1d
2|run wordcount --checkpoint-interval|needs a value
2|run wordcount --no-chain=1|takes no value
2|run wordcount --ring-size=100k|a power of two
2|run wordcount --guarantee=often|exactly-once, at-least-once, none
2|run wordcount --set=input|NAME=VALUE
2|run wordcount --set=input=x --set=inptu=y|inptu
2|run weblog|nothing to read: give --set input=PATH
2|run wordcount --set=input=x --set=follow=si|follow=si is neither yes nor no
2|run wordcount --set=input=- --set=follow=yes|follow=yes is for files
2|run weblog --set=input=x --set=journal=yes|journal=yes: input=x is a file
2|run nexmark_q0 --from-scratch --restore=1|--restore
3|status nothing|no job 'nothing' runs
3|status /nonexistent/directory|'/nonexistent/directory'
3|status /|no job runs on '/'
3|stop nothing|no job 'nothing' runs
3|checkpoint nothing|no job 'nothing' runs
3|kill nothing count|no job 'nothing' runs
2|kill nothing|needs OPERATOR
2|kill nothing count/x|behind the '/'
2|kill nothing count --signal=FOO|'FOO' is no signal
2|kill nothing count --role=king|'king' is no role
2|kill nothing count --role=launcher|serves all operators
2|kill nothing --role=snapshot|needs OPERATOR
2|kill nothing count --kill-point=t3 --signal=KILL|sends no signal
2|kill nothing count --kill-point=t3,t4|one name
3|kill nothing --role=launcher|no job 'nothing' runs
2|status nothing --timeout=soon|--timeout
2|events nothing --event=job_start|did you mean 'job_started'
2|events nothing --since=yesterday|--since
2|events nothing --limit=0|--limit
3|events /|events.jsonl
3|checkpoints /|no job has kept checkpoints there
3|inspect /|no job has kept checkpoints there
2|help xyzzy|no command 'xyzzy'
TABLE

WEIR_IO=floppy try 2 run wordcount
WEIR_IO=floppy "$weir" run wordcount 2> "$work/err" || true
says 'WEIR_IO'

try 0 --version
shows '^weir \(Weir\) [0-9]+\.[0-9]+\.[0-9]+$'
try 0 --help
for command in $(sed -n '/^Commands/,/^$/s/^  \([a-z]*\) .*/\1/p' "$work/out"); do
    commands="${commands-} $command"
    try 0 "$command" --help
    shows "^Usage: weir $command"
    try 0 help "$command"
    [ -s "$generated/man1/weir-$command.1" ] || fail "no manual page of $command"
done
[ "$(echo "$commands" | wc -w)" -ge 11 ] || fail "--help lists only:$commands"

# Every option of run is in its help, its manual page and the completion, and the help has a text for it.
try 0 run --help
options=$(sed -n 's/^  --\([a-z-]*\).*/\1/p' "$work/out")
[ "$(echo "$options" | wc -l)" -ge 30 ] || fail "run --help lists too few options"
for option in $options; do
    awk -v name="--$option" '$1 == name || index($1, name "=") == 1 { if (NF < 3) { getline; if (NF < 3) exit 1 }; found = 1 } END { exit !found }' \
        "$work/out" || fail "run --help has no text for --$option"
    grep -qF -- "\\-\\-$(echo "$option" | sed 's/-/\\-/g')" "$generated/man1/weir-run.1" || fail "the manual page lacks --$option"
    grep -qF -- "--$option" "$generated/completions/weir" || fail "the completion lacks --$option"
done
try 0 run wordcount --help
shows '^Parameters of wordcount'
shows '^  input '

try 0 list --json
[ "$(json built_in 0 name)" = wordcount ] || fail "list --json: $(json built_in 0 name)"
try 0 list
shows '^No job runs'

mkdir -p "$work/disk"
status=0
"$weir" doctor --json "--directory=$work/disk" > "$work/out" 2> "$work/err" || status=$?
[ "$status" -le 1 ] || fail "doctor: exit status $status"
expected=OFF
[ "$status" = 1 ] || expected=ON
[ "$(json ok)" = "$expected" ] || fail "doctor: exit status $status, but ok is $(json ok)"
[ "$(json checks 0 check)" = kernel ] || fail "doctor --json: $(json checks 0 check)"
[ -z "$(ls -A "$work/disk")" ] || fail "doctor left something behind"
try 1 doctor --directory=/proc
shows '^fail  directory'
shows 'mend: '

# A result that cannot be written is a failure.
if [ -c /dev/full ]; then
    status=0
    "$weir" --help > /dev/full 2> "$work/err" || status=$?
    [ "$status" = 1 ] || fail "a full disk behind standard output: exit status $status"
    says 'cannot write'
fi

if command -v bash > /dev/null; then
    complete() { # WORDS...: what the completion offers for the last one
        bash -c 'compopt() { :; }; complete() { :; }; . "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _weir; echo "${COMPREPLY[@]}"' _ \
            "$generated/completions/weir" "$@"
    }
    [ "$(complete weir doc)" = doctor ] || fail "completion of 'doc': $(complete weir doc)"
    [ "$(complete weir run wordc)" = wordcount ] || fail "completion of 'run wordc': $(complete weir run wordc)"
    [ "$(complete weir run wordcount --no-ch)" = --no-chain ] || fail "completion of '--no-ch'"
    [ "$(complete weir run wordcount --io = ur)" = uring ] || fail "completion of '--io=ur': $(complete weir run wordcount --io = ur)"
fi
finish
