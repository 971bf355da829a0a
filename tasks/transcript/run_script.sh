#!/bin/sh
# Starts the agent, prints what it prints by the line grammar (line_grammar.py, version 1), and ends
# with its exit code. Where a check was asked for, it runs between the agent's end and the trailer.
#
#   sh run.sh COMMAND [ARGUMENT...]
#
# Guarantees: each stdout line is numbered at the source and on its way before the next one is read;
# stderr never mixes with it; the trailer comes last, whatever ended the agent; SIGTERM reaches the
# agent; nothing started here outlives this script; the prompt is not read in a pod it was not
# meant for.
#
# Environment: CLAUDE_JOBS_INPUT_DIR, _WORK_DIR, _LINE_TOKEN, _POD_UID, _TERMINATION_LOG,
# _TIMEOUT_SECONDS, _KILL_AFTER_SECONDS, _AFTER_RESULT_SECONDS, _ACK_WAIT_SECONDS, _ACK_ABOVE_BYTES,
# _COPY_LIMIT_BYTES, _CHECK_TIMEOUT_SECONDS, _ALIVE_FILE.
# Writes below WORK_DIR only: transcript (the copy), bundle/, run/ (its own pipes and counts); and
# into ALIVE_FILE, where it is set, the epoch seconds every 5 s from before there is a transcript
# until this script ends, which takes the file away.
#
# POSIX sh under dash, busybox ash and bash; perl, any awk, or none; sha256sum where there is one.
# `:`, `exec` and other special built-ins end a POSIX shell when a redirection fails, hence
# `true >file`.

set -u

# First of all: as a container's first process a shell without a trap does not get the signal at all.
# bash 5.2 cannot parse a trap while it looks for the end of "$(", and forgets the signal: under bash
# the trap comes behind the last "$(" of this process.
terminated=''
[ -n "${BASH_VERSION:-}" ] || trap 'terminated=1' TERM INT HUP QUIT

input=${CLAUDE_JOBS_INPUT_DIR:?}
work=${CLAUDE_JOBS_WORK_DIR:?}
token=${CLAUDE_JOBS_LINE_TOKEN:?}
pod_uid=${CLAUDE_JOBS_POD_UID:-}
termination_log=${CLAUDE_JOBS_TERMINATION_LOG:-/dev/termination-log}
timeout=${CLAUDE_JOBS_TIMEOUT_SECONDS:-0}
kill_after=${CLAUDE_JOBS_KILL_AFTER_SECONDS:-10}
after_result_limit=${CLAUDE_JOBS_AFTER_RESULT_SECONDS:-0}
ack_wait=${CLAUDE_JOBS_ACK_WAIT_SECONDS:-0}
ack_above=${CLAUDE_JOBS_ACK_ABOVE_BYTES:-8388608}
copy_limit=${CLAUDE_JOBS_COPY_LIMIT_BYTES:-943718400}
check_timeout=${CLAUDE_JOBS_CHECK_TIMEOUT_SECONDS:-0}
alive=${CLAUDE_JOBS_ALIVE_FILE:-}
# Anybody with the token can imitate this script, and the agent does not need it.
unset CLAUDE_JOBS_LINE_TOKEN

started=$(date +%s)
run=$work/run
kill_timer='' failed_reads=0
lines=0 bytes=0 sha256=- code=0 timed_out=0 after_result=0 last_result=0 copied=0
stderr_lines=0 stderr_skipped=0 refused=-
check_code=- check_timed_out=0 check_seconds=0 check_lines=0 check_skipped=0

# --- signals and timers --------------------------------------------------------------------------
#
# Two processes share the work. This one only takes signals and hands them on; it sleeps in `read`,
# since a shell that takes a signal in `wait` while a child ends may lose that child's status and
# then wait for ever (seen with bash 5.2). A signal that comes just before `read` sleeps is noted but
# its trap waits until `read` returns (seen with busybox 1.35, one start of 5,000); hence
# wake_signal_taker. The supervisor, a subshell, ignores signals, so that its `wait` can be trusted;
# it starts the agent and its helpers, and waits for them.

ignore_signals() {
    trap '' TERM INT HUP QUIT
}

reset_signals() {
    trap - TERM INT HUP QUIT
}

# SIGTERM for the agent, whichever signal came. The kubelet kills the whole container when the grace
# is over, trailer and all; so an agent that ignores it is killed here, before that.
# shellcheck disable=SC2317  # called by the trap
on_signal() {
    terminated=1 failed_reads=0
    { true >"$run/terminated"; } 2>/dev/null
    signal_agent TERM
    [ -z "$kill_timer" ] || return 0
    kill_agent_later &
    kill_timer=$!
}

# The check is a shell; the signal is for the programs that it waits for, too, once for each: a
# holder of the pipe is listed for its stdout and its stderr.
signal_agent() {
    agent=''
    { read -r agent <"$run/agent_pid"; } 2>/dev/null
    [ -z "$agent" ] || kill "-$1" "$agent" 2>/dev/null
    [ -p "$run/check" ] || return 0
    last=$agent
    list_pipe_holders | while read -r holder; do
        case $holder in
            "$agent" | "$last") ;;
            *) kill "-$1" "$holder" 2>/dev/null ;;
        esac
        last=$holder
    done
}

# Makes this subshell the timer of that name: SIGTERM ends it together with the sleep it waits for.
# Shells lose a signal that comes just after a fork; so the order is left in a file too, and sleep
# gets SIGKILL.
become_timer() {
    exec </dev/null >/dev/null 2>&1
    stop_order=$run/stop_$1 nap='' stopped=''
    trap 'stopped=1; [ -z "$nap" ] || kill -KILL "$nap"' TERM
    trap '' INT HUP QUIT
}

pause() {
    sleep "$1" &
    nap=$!
    [ -n "$stopped" ] || [ -e "$stop_order" ] || wait "$nap"
    if [ -n "$stopped" ] || [ -e "$stop_order" ]; then
        kill -KILL "$nap"
        wait "$nap"
        exit 0
    fi
}

# Not for a shell that takes signals.
stop_timer() {
    [ -n "$2" ] || return 0
    true >"$run/stop_$1"
    kill "$2" 2>/dev/null
    wait "$2" 2>/dev/null
}

# Arguments: the timer's name, its seconds, and the file that tells of it.
end_at_limit() {
    become_timer "$1"
    pause "$2"
    true >"$run/$3"
    signal_agent TERM
    pause "$kill_after"
    signal_agent KILL
}

# Ends an agent that has printed its result and stays, as with a server or a shell in the background
# that never ends: nothing but notes came after the result for so long. Of a result too long for the
# look at the end of the copy nothing is known, and the agent stays.
end_agent_after_result() {
    become_timer after_result
    look_every=$((after_result_limit < 5 ? 1 : 5))
    size=0 settled='' closed_at=''
    while :; do
        pause "$look_every"
        size_now=$(wc -c <"$work/transcript")
        if [ "$size_now" != "$size" ]; then
            size=$size_now settled=''
            continue
        fi
        if [ -z "$settled" ]; then
            settled=1
            if [ -z "$(tail -c 262144 "$work/transcript" | say_if_closed)" ]; then
                closed_at=''
            elif [ -z "$closed_at" ]; then
                closed_at=$(date +%s)
            fi
        fi
        [ -n "$closed_at" ] || continue
        [ "$(($(date +%s) - closed_at))" -ge "$after_result_limit" ] || continue
        true >"$run/after_result"
        signal_agent TERM
        pause "$kill_after"
        signal_agent KILL
    done
}

# Prints a word if every turn of the main agent in these lines has its result. A turn that the CLI
# began by itself may stand before the result of the one before it. What a result holds may look like
# another event; quoted, its marks are escaped.
say_if_closed() {
    open_turns=0 closed=''
    while IFS= read -r entry || [ -n "$entry" ]; do
        case $entry in
            *'"type":"result"'*'"total_cost_usd":'* | *'"total_cost_usd":'*'"type":"result"'*)
                event=result
                ;;
            *'"parent_tool_use_id":"'*) continue ;;
            *'"subtype":"init"'*) event=init ;;
            *'"type":"assistant"'* | *'"type":"user"'* | *'"type":"stream_event"'*) event=turn ;;
            *'"type":"result"'*) event=result ;;
            *) continue ;;
        esac
        if [ "$event" = result ]; then
            open_turns=$((open_turns > 0 ? open_turns - 1 : 0))
            closed=closed
        elif [ "$event" = init ] || [ "$open_turns" = 0 ]; then
            open_turns=$((open_turns + 1))
        fi
    done
    [ "$open_turns" -gt 0 ] || printf '%s' "$closed"
}

# shellcheck disable=SC2317  # called by the trap
kill_agent_later() {
    become_timer kill
    pause "$kill_after"
    signal_agent KILL
}

# Nobody reads on where the signal taker is gone; then nothing is alive either.
wake_signal_taker() {
    become_timer wake
    while :; do
        pause 5
        echo >"$run/ended" || exit
        say_alive
    done
}

# Renamed, so that no reader finds half of it.
say_alive() {
    [ -z "$alive" ] || { date +%s >"$alive.new" && mv -f "$alive.new" "$alive"; } 2>/dev/null
}

# --- what is printed -----------------------------------------------------------------------------

# Three programs number stdout and do the same. Each prints a line before it reads on, writes the
# copy up to its limit, and leaves the number of lines and of the last result. A disk that fills up
# must cost the copy, not the transcript.

# The agent's own settings for perl are none of ours.
number_by_perl() {
    # shellcheck disable=SC2016  # perl, not sh, reads the $
    TOKEN=$token COPY=$work/transcript LIMIT=$copy_limit COUNTS=$run/lines LC_ALL=C \
        PERL5OPT='' PERLIO='' exec perl -e '
        binmode STDIN;
        binmode STDOUT;
        $| = 1;
        $SIG{XFSZ} = "IGNORE";
        my ($token, $limit) = @ENV{"TOKEN", "LIMIT"};
        my ($size, $last_result) = (0, 0);
        my $copying = open my $copy, ">", $ENV{COPY};
        while (<STDIN>) {
            chomp;
            my $line = "$token o $. " . length() . " $_\n";
            print $line;
            $size += length $line;
            $copying &&= $size <= $limit && syswrite($copy, $line) == length $line;
            $last_result = $. if index($_, q("type":"result")) >= 0;
        }
        open my $counts, ">", $ENV{COUNTS};
        printf $counts "%d %d\n", $., $last_result;'
}

number_by_awk() {
    # shellcheck disable=SC2016
    TOKEN=$token COPY=$work/transcript LIMIT=$copy_limit COUNTS=$run/lines LC_ALL=C exec awk '
        BEGIN {
            token = ENVIRON["TOKEN"]; limit = ENVIRON["LIMIT"] + 0; copying = 1
            copy = "cat >\"$COPY\" 2>/dev/null || exec cat >/dev/null"
        }
        {
            line = token " o " NR " " length($0) " " $0
            print line
            fflush()
            if (copying) {
                size += length(line) + 1
                copying = size <= limit
            }
            if (copying) {
                print line | copy
                fflush(copy)
            }
            if (index($0, "\"type\":\"result\"")) last_result = NR
        }
        END {
            close(copy)
            print NR, last_result + 0 >ENVIRON["COUNTS"]
        }'
}

# Slower than the others, and without NUL bytes; the hash tells of those.
number_by_shell() {
    LC_ALL=C number=0 size=0 copying=1 last_result=0
    trap '' XFSZ
    while IFS= read -r line || [ -n "$line" ]; do
        number=$((number + 1))
        line="$token o $number ${#line} $line"
        printf '%s\n' "$line"
        size=$((size + ${#line} + 1))
        [ "$size" -le "$copy_limit" ] || copying=''
        [ -z "$copying" ] || printf '%s\n' "$line" >&6 2>/dev/null || copying=''
        case $line in *'"type":"result"'*) last_result=$number ;; esac
    done 6>"$work/transcript"
    printf '%s %s\n' "$number" "$last_result" >"$run/lines"
}

# Keeps the first and the last 32 KiB, 8 KiB of a line, however much there is. Arguments: the letter
# of its lines, and the name under which its files go.
keep_lines() {
    # shellcheck disable=SC2016
    TOKEN=$token KIND=$1 COUNTS=$run/$2_counts LC_ALL=C exec awk '
        {
            line = substr($0, 1, 8192)
            size = length(line) + 1
            if (!tail_lines && head_size + size <= 32768) {
                head_size += size
                kept[++head_lines] = line
                next
            }
            tail[++tail_lines] = line
            tail_size += size
            while (tail_size > 32768) {
                tail_size -= length(tail[++dropped]) + 1
                delete tail[dropped]
            }
        }
        function put(text) {
            print ENVIRON["TOKEN"] " " ENVIRON["KIND"] " " (++printed) " " length(text) " " text
        }
        END {
            for (i = 1; i <= head_lines; i++) put(kept[i])
            for (i = dropped + 1; i <= tail_lines; i++) put(tail[i])
            print printed + 0, dropped + 0 >ENVIRON["COUNTS"]
        }'
}

# What keep_lines cuts anyway, for an awk that long lines must not reach.
cut_lines() {
    if [ "$numbering" = perl ]; then
        # shellcheck disable=SC2016
        LC_ALL=C PERL5OPT='' PERLIO='' exec perl -e '
            binmode STDIN;
            binmode STDOUT;
            while (<STDIN>) { chomp; print substr($_, 0, 8192), "\n" }'
    fi
    LC_ALL=C
    while IFS= read -r line || [ -n "$line" ]; do printf '%.8192s\n' "$line"; done
}

# Of a check the end tells most.
keep_lines_without_awk() {
    if [ "$1" = c ]; then
        wc -l <"$run/cut_$2" >"$run/$2_total" &
        tee "$run/cut_$2" | tail -c 65536 >"$run/$2_head"
        wait "$!"
        read -r skipped <"$run/$2_total"
        skipped=$((skipped - $(wc -l <"$run/$2_head")))
    else
        head -c 65536 >"$run/$2_head"
        skipped=$(wc -l)
    fi
    (
        LC_ALL=C
        printed=0
        while IFS= read -r line || [ -n "$line" ]; do
            printed=$((printed + 1))
            printf '%s %s %s %s %s\n' "$token" "$1" "$printed" "${#line}" "$line"
        done <"$run/$2_head"
        printf '%s %s\n' "$printed" "$((skipped))" >"$run/$2_counts"
    )
}

print_trailer() {
    trailer="t 1 lines=$lines bytes=$bytes sha256=$sha256 exit=$code timed_out=$timed_out"
    trailer="$trailer last_result=$last_result copied=$copied stderr_lines=$stderr_lines"
    trailer="$trailer stderr_skipped=$stderr_skipped refused=$refused"
    [ "$after_result" = 0 ] || trailer="$trailer after_result=1"
    if [ "$check_timeout" -gt 0 ]; then
        trailer="$trailer check=$check_code check_timed_out=$check_timed_out"
        trailer="$trailer check_seconds=$check_seconds check_lines=$check_lines"
        trailer="$trailer check_skipped=$check_skipped"
    fi
    printf '%s %s\n' "$token" "$trailer"
    { printf '%s' "$trailer" >"$termination_log"; } 2>/dev/null
}

refuse() {
    refused=$1 code=$2
    print_trailer
    exit "$code"
}

fail_to_start() {
    stderr_lines=1 code=1
    printf '%s e 1 %s %s\n' "$token" "${#1}" "$1"
    print_trailer
    leave 1
}

# That it lives no more is the last that this script says.
leave() {
    # In this order: a renaming that outlives the killed signal taker is early, or finds nothing.
    [ -z "$alive" ] || rm -f "$alive.new" "$alive"
    exit "$1"
}

# --- what is checked before the agent starts -----------------------------------------------------

# A deleted or evicted pod of a live Job is replaced at once; only the pod that the prompt was
# handed to may send it.
check_pod() {
    [ ! -e "$input/revoked" ] || refuse revoked 76
    meant_for=''
    [ ! -r "$input/pod-uid" ] || read -r meant_for <"$input/pod-uid"
    if [ -z "$pod_uid" ] || [ "$pod_uid" != "$meant_for" ]; then refuse pod_replaced 76; fi
}

unpack_bundle() {
    [ -e "$input/bundle.tar.gz" ] || return 0
    wanted=''
    [ ! -r "$input/bundle.sha256" ] || read -r wanted _ <"$input/bundle.sha256"
    found=$(sha256sum <"$input/bundle.tar.gz" 2>/dev/null)
    if [ -z "$wanted" ] || [ "$wanted" != "${found%% *}" ]; then refuse bundle_mismatch 77; fi
    mkdir -p "$work/bundle" || refuse bundle_mismatch 77
    tar -xzf "$input/bundle.tar.gz" -C "$work/bundle" 2>/dev/null || refuse bundle_mismatch 77
}

# Opens the prompt as descriptor 3; an unpacked one has no name any more by then.
open_prompt() {
    if [ -r "$input/prompt" ]; then
        exec 3<"$input/prompt"
    elif [ -r "$input/prompt.gz" ] &&
        gzip -dc <"$input/prompt.gz" >"$run/prompt" 2>/dev/null; then
        exec 3<"$run/prompt"
        rm -f "$run/prompt"
    else
        refuse no_prompt 78
    fi
}

# --- the pipes around the agent ------------------------------------------------------------------
#
#   agent --stdout--> tee --> number_by_... --> our stdout, and the copy
#                      +----> sha256sum, wc, and where nothing numbers, the last byte
#         --stderr--> (cut_lines -->) keep_lines
#   check --both----> (cut_lines -->) keep_lines

# Helpers end by end-of-file alone: signals are ignored here, so a signal to the whole group loses no
# line.
start_helpers() {
    mkfifo "$run/stdout" "$run/stderr" "$run/numbering" "$run/counting" "$run/hashing" \
        "$run/last_byte_in" "$run/cut_stderr" || return 1
    wc -lc <"$run/counting" >"$run/counts" &
    helpers=$!
    if [ "$hashed" = 1 ]; then
        sha256sum <"$run/hashing" >"$run/sha256" &
        helpers="$helpers $!"
    fi
    if [ "$numbered" = 1 ]; then
        "number_by_$numbering" <"$run/numbering" &
    else
        tail -c 1 <"$run/last_byte_in" >"$run/last_byte" &
        helpers="$helpers $!"
        cat <"$run/numbering" &
    fi
    helpers="$helpers $!"
    start_keeping e stderr
    (
        # One reader that dies must not take the others' input with it.
        trap '' PIPE
        set -- "$run/counting"
        [ "$hashed" = 0 ] || set -- "$@" "$run/hashing"
        [ "$numbered" = 1 ] || set -- "$@" "$run/last_byte_in"
        exec tee "$@" <"$run/stdout" >"$run/numbering"
    ) &
    readers="$readers $!"
}

# Arguments as of keep_lines; the second is the pipe's name too.
start_keeping() {
    case $awk in
        mawk)
            keep_lines "$1" "$2" <"$run/cut_$2" >"$run/$2_lines" &
            helpers="$helpers $!"
            cut_lines <"$run/$2" >"$run/cut_$2" &
            ;;
        other) keep_lines "$1" "$2" <"$run/$2" >"$run/$2_lines" & ;;
        none) keep_lines_without_awk "$1" "$2" <"$run/$2" >"$run/$2_lines" & ;;
    esac
    readers=$!
}

# Prints the processes that can still write to the agent's stdout or stderr, or for the check.
list_pipe_holders() {
    # shellcheck disable=SC2012  # one `ls` for all; the names are numbers, the pipe's is ours
    ls -l /proc/[0-9]*/fd 2>/dev/null | while IFS= read -r entry; do
        case $entry in
            /proc/*/fd:)
                holder=${entry#/proc/}
                holder=${holder%/fd:}
                ;;
            l?w*" -> $run/stdout" | l?w*" -> $run/stderr" | l?w*" -> $run/check")
                printf '%s\n' "$holder"
                ;;
        esac
    done
}

# A descendant of the ended agent that keeps a pipe open would hold up the end for ever. The agent
# is over, so it is killed; end-of-file then comes by itself and no byte is lost. Only where it
# cannot be killed is the reader cut off, and then the hash would prove nothing. Arguments: the
# timer's name, and its patience in seconds.
guard_drain() {
    become_timer "$1"
    pause "$2"
    for _ in 1 2 3; do
        holders=$(list_pipe_holders)
        for holder in $holders; do kill -KILL "$holder"; done
        pause 1
    done
    if [ ! -r /proc/self/fd ] || [ -n "$(list_pipe_holders)" ]; then
        true >"$run/cut"
        # shellcheck disable=SC2086  # each a word
        kill -KILL $readers
    fi
}

start_agent() {
    (
        reset_signals
        # Asked to stop before it began, the agent is not started at all.
        [ ! -e "$run/terminated" ] || exit 143
        exec "$@"
    ) <&3 3<&- >"$run/stdout" 2>"$run/stderr" &
    agent_pid=$!
    exec 3<&-
    printf '%s\n' "$agent_pid" >"$run/agent_pid"
    [ ! -e "$run/terminated" ] || signal_agent TERM
}

await_agent() {
    timeout_timer=''
    if [ "$timeout" -gt 0 ]; then
        left=$((started + timeout - $(date +%s)))
        end_at_limit timeout "$((left > 0 ? left : 0))" timed_out &
        timeout_timer=$!
    fi
    result_timer=''
    if [ "$after_result_limit" -gt 0 ] && [ "$numbered" = 1 ]; then
        end_agent_after_result &
        result_timer=$!
    fi
    wait "$agent_pid" 2>/dev/null
    code=$?
    rm -f "$run/agent_pid"
    stop_timer timeout "$timeout_timer"
    stop_timer after_result "$result_timer"
    [ ! -e "$run/after_result" ] || after_result=1
    if [ -e "$run/timed_out" ]; then timed_out=1 code=124; fi
}

# Arguments: those of the guard, then the pipes that are read.
await_helpers() {
    drain=$1
    guard_drain "$1" "$2" &
    guard=$!
    shift 2
    # An agent ended before it had its pipes open leaves their readers waiting for a first writer.
    openers=''
    for pipe in "$@"; do
        true >"$run/$pipe" &
        openers="$openers $!"
    done
    for helper in $readers $helpers; do wait "$helper"; done
    stop_timer "$drain" "$guard"
    for opener in $openers; do
        kill -KILL "$opener" 2>/dev/null
        wait "$opener" 2>/dev/null
    done
}

# --- the check -----------------------------------------------------------------------------------

# Runs it where the agent can have succeeded: the code of one that was ended after its result tells
# nothing. The line that tells of it stands in the copy too, for a reader to whom the log is refused.
run_check() {
    [ "$check_timeout" -gt 0 ] && [ ! -e "$run/terminated" ] || return 0
    [ "$code" = 0 ] || [ "$after_result" = 1 ] || return 0
    end_what_is_left
    rm -f "$run/check"
    mkfifo "$run/check" "$run/cut_check" || return 0
    check_began=$(date +%s)
    begun="$token b 1 exit=$code after_result=$after_result timeout=$check_timeout"
    begun="$begun started=$check_began"
    printf '%s\n' "$begun"
    [ "$numbered" = 0 ] || (
        trap '' XFSZ
        { printf '%s\n' "$begun" >>"$work/transcript"; } 2>/dev/null
    )
    helpers=''
    start_keeping c check
    start_check
    end_at_limit check "$check_timeout" check_timed_out &
    check_timer=$!
    wait "$check_pid" 2>/dev/null
    check_code=$?
    rm -f "$run/agent_pid"
    stop_timer check "$check_timer"
    check_seconds=$(($(date +%s) - check_began))
    patience=2
    if [ -e "$run/check_timed_out" ]; then check_timed_out=1 check_code=124 patience=$kill_after; fi
    [ ! -e "$run/terminated" ] || patience=$kill_after
    await_helpers check_drain "$patience" check
    rm -f "$run/check"
    [ ! -r "$run/check_counts" ] || read -r check_lines check_skipped <"$run/check_counts"
    cat "$run/check_lines"
}

# The file of its environment is `set -- env 'NAME=VALUE'...`.
start_check() {
    (
        reset_signals
        [ ! -e "$run/terminated" ] || exit 143
        set --
        # shellcheck disable=SC1091  # of the run's Secret
        [ ! -e "$input/check-env" ] || . "$input/check-env"
        exec "$@" sh "$input/check"
    ) </dev/null >"$run/check" 2>&1 &
    check_pid=$!
    printf '%s\n' "$check_pid" >"$run/agent_pid"
    [ ! -e "$run/terminated" ] || signal_agent TERM
}

# What the agent left running could change the files while they are checked. What holds its pipes has
# ended by now. Whose process another one is can be told in a container of our own, where this script
# is the first process and /proc tells of no other container; what somebody has started there from
# outside has no parent.
end_what_is_left() {
    [ "$$" = 1 ] || return 0
    # shellcheck disable=SC2016  # of the child, whose parent this subshell is
    sh -c 'echo "$PPID"' >"$run/me"
    read -r me <"$run/me"
    { read -r stat </proc/self/stat; } 2>/dev/null || return 0
    [ "${stat%% *}" = "$me" ] && read_parent "$me" || return 0
    own=" 1 $me $parent $waker "
    for _ in 1 2 3 4 5; do
        found=''
        for entry in /proc/[0-9]*; do
            process=${entry#/proc/}
            case $own in *" $process "*) continue ;; esac
            read_parent "$process" || continue
            if [ "$state" = Z ] || [ "$parent" = "$waker" ]; then continue; fi
            while [ "$parent" -gt 1 ] 2>/dev/null && read_parent "$parent"; do :; done
            [ "$parent" != 0 ] || continue
            kill -KILL "$process" 2>/dev/null && found=1
        done
        [ -n "$found" ] || return 0
        sleep 0.2 2>/dev/null || sleep 1
    done
}

# A program's name stands there in brackets, and may hold anything.
read_parent() {
    { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
    stat=${stat##*) }
    state=${stat%% *}
    stat=${stat#* }
    parent=${stat%% *}
}

# --- the account of it ---------------------------------------------------------------------------

collect_counts() {
    [ ! -r "$run/counts" ] || read -r lines bytes <"$run/counts"
    [ ! -r "$run/sha256" ] || read -r sha256 _ <"$run/sha256"
    [ ! -e "$run/cut" ] || sha256=-
    [ ! -r "$run/stderr_counts" ] || read -r stderr_lines stderr_skipped <"$run/stderr_counts"
    if [ "$numbered" = 1 ]; then
        lines=0
        [ ! -r "$run/lines" ] || read -r lines last_result <"$run/lines"
        copied=$(($(wc -l <"$work/transcript")))
    elif [ "$bytes" -gt 0 ] && [ -n "$(cat "$run/last_byte")" ]; then
        lines=$((lines + 1))
        echo
    fi
}

# Output that one log file cannot hold may be had from the copy only, and that goes with the
# container; so may all output where the log is refused, and then the reader asks to be waited for.
# The 64 stands in the grammar too: what a log file holds per line besides.
wait_for_acknowledgement() {
    [ "$((bytes + 64 * lines))" -gt "$ack_above" ] || [ -e "$work/hold" ] || return 0
    until_second=$(($(date +%s) + ack_wait))
    while [ ! -e "$work/ack" ] && [ ! -e "$run/terminated" ] &&
        [ "$(date +%s)" -lt "$until_second" ]; do
        sleep 0.2 2>/dev/null || sleep 1
    done
}

# --- the run -------------------------------------------------------------------------------------

# perl takes any byte and is the fastest. mawk holds its input back unless it is told not to, and
# then takes quadratic time for a long line and, up to 1.3.4, adds a line of its own memory to a
# last one without LF; so beside mawk alone the shell numbers.
awk=none numbering=plain numbered=1 hashed=0
if awk 'BEGIN { exit 0 }' </dev/null >/dev/null 2>&1; then
    case $(awk -W version 2>&1 </dev/null) in
        mawk*) awk=mawk numbering=shell ;;
        *) awk=other numbering=awk ;;
    esac
fi
if PERL5OPT='' perl -e 'exit 0' </dev/null >/dev/null 2>&1; then numbering=perl; fi
[ "$numbering" != plain ] || numbered=0
if sha256sum </dev/null >/dev/null 2>&1; then hashed=1; fi

supervise() {
    check_pod
    unpack_bundle
    open_prompt
    start_helpers 3<&- || fail_to_start "run.sh: cannot make pipes below $work"
    start_agent "$@"
    await_agent
    await_helpers drain 2 stdout stderr
    collect_counts
    cat "$run/stderr_lines"
    run_check
    print_trailer
    wait_for_acknowledgement
    exit "$code"
}

say_alive
printf '%s h 1 pod_uid=%s numbered=%s started=%s\n' "$token" "$pod_uid" "$numbered" "$started"
{ rm -rf "$run" && mkdir -p "$run" && true >"$work/transcript" && mkfifo "$run/ended"; } \
    2>/dev/null || fail_to_start "run.sh: cannot write below $work"
# What /proc names a pipe is its real path.
run=$(cd "$run" && pwd -P)
trap on_signal TERM INT HUP QUIT
[ -z "$terminated" ] || true >"$run/terminated"
# Whoever alone can write to the pipe is the supervisor: where it was killed, the pipe ends.
exec 4<>"$run/ended"
exec 5>"$run/ended"
exec 4<"$run/ended"
(
    ignore_signals
    wake_signal_taker 4<&- 5>&- &
    waker=$!
    (supervise "$@") 4<&- 5>&-
    printf '%s\n' "$?" >&5
    stop_timer wake "$waker"
) &
supervisor=$!
exec 5>&-
exit_code=''
# A signal breaks a read off, too, and sets the count back.
while [ -z "$exit_code" ] && [ "$failed_reads" -lt 3 ]; do
    read -r exit_code <&4 || failed_reads=$((failed_reads + 1))
done
ignore_signals
stop_timer kill "$kill_timer"
wait "$supervisor"
leave "${exit_code:-137}"
