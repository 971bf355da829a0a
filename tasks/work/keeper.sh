#!/bin/sh
# Keeps what an agent made: waits beside it, and hands its repository out as a checkpoint.
#
#   sh keeper.sh                    waits until it may end, and makes checkpoints meanwhile: the
#                                   container's first process
#   sh keeper.sh collect            makes a checkpoint and prints it
#   sh keeper.sh resume ID OFFSET   prints the rest of that checkpoint; 3 where it is gone
#   sh keeper.sh finish             lets the first process end
#   sh keeper.sh checkpoint         makes a checkpoint and announces it, if there is anything new: the
#                                   first process starts it, while the agent works
#
# A checkpoint is announced by one line on the container's log, and had by `resume ID 0` until the
# next one is made:
#
#   claude-jobs-checkpoint 1 ID SECONDS     SECONDS since 1970: what was there by then is in it
#
# What is printed (version 1):
#
#   claude-jobs-work 1 ID
#   NAME SIZE SHA256                a line for each part: facts, then notes, files, pack, patch where
#                                   there is something
#   (an empty line, then the bytes of the parts)
#
# Guarantees: nothing of the agent's repository is run, and neither its configuration nor its index
# is read; nothing is written but below KEEPER_DIR, and there never more than three times the limit
# and 64 MiB; the parts together are no larger than the limit, facts and notes aside; whatever could
# not be collected is named in the notes; a checkpoint is printed whole before it is replaced.
#
# Environment: CLAUDE_JOBS_KEEPER_TREE (without symbolic links in it), _DIR, _ALIVE_FILE,
# _PATIENCE_SECONDS, _CHECKPOINT_SECONDS (0: none while the agent works), _LIMIT_BYTES, _WAIT_SECONDS (for another collect), _STEP_SECONDS (for one
# command of git).
# Below KEEPER_DIR: base (the commit that was cloned, given), finish, lock/, checkpoints/ID/,
# scratch.ID/ (while a checkpoint is made), state (what the last one holds), looked and looking (when
# it was last looked for changes).
#
# POSIX sh under dash, busybox ash and bash, with git 2.22 or newer, sha256sum, and find, xargs -0,
# stat -c and head -c as coreutils, findutils and busybox have them. No awk, no perl.
# Names may hold any byte but NUL. They are passed as NUL-terminated lists, and to shells as arguments
# (xargs starts this script again for that); none is ever read by `read` or split in words.
# `:`, `exec` and other special built-ins end a POSIX shell when a redirection fails, hence
# `true >file`.

set -u
umask 077
export LC_ALL=C

periodic=''
script=$0
case $script in /*) ;; *) script=$PWD/$script ;; esac
dir=${CLAUDE_JOBS_KEEPER_DIR:?}
tree=${CLAUDE_JOBS_KEEPER_TREE:-}
alive_file=${CLAUDE_JOBS_KEEPER_ALIVE_FILE:-}
patience=${CLAUDE_JOBS_KEEPER_PATIENCE_SECONDS:-3600}
every=${CLAUDE_JOBS_KEEPER_CHECKPOINT_SECONDS:-0}
limit=${CLAUDE_JOBS_KEEPER_LIMIT_BYTES:-268435456}
wait_limit=${CLAUDE_JOBS_KEEPER_WAIT_SECONDS:-900}
step_limit=${CLAUDE_JOBS_KEEPER_STEP_SECONDS:-900}

lock=$dir/lock
checkpoints=$dir/checkpoints

parts='facts notes files pack patch'
most_notes=200      # of a kind
stale_after=60      # seconds without a sign of the agent's container
big=33554432        # bytes from which a file is hashed by itself, as a stream
chunk_files=4000    # of so many files, or bytes, the objects lie loose at a time: each takes a
chunk_bytes=33554432 # block of the disk, which is 4 KiB for an empty one
most_singles=2000   # files that are tried one by one, after git has refused their chunk
most_diffed=25165824 # bytes of a blob that may stand in a patch: git holds it thrice in memory
folder_bytes=4608   # of a loose tree object: a block, and its part of the folder it lies in

fail() {
    printf 'keeper.sh: %s\n' "$1" >&2
    exit 1
}

# --- the container's first process ---------------------------------------------------------------

# SIGTERM comes at the begin of a pod's grace, in which the flow may still collect.
await_finish() {
    trap '' TERM
    was_seen='' ended_at='' state='' due_at=''
    while [ ! -e "$dir/finish" ]; do
        now=$(date +%s)
        look_at_agent
        case $state in
            alive) was_seen=1 ended_at='' ;;
            # One that ended between two looks has left its transcript, which it begins after the sign.
            gone) [ -z "$was_seen" ] && [ ! -e "${alive_file%/*}/transcript" ] || ended_at=${ended_at:-$now} ;;
            stale) was_seen=1 ended_at=${ended_at:-$now} ;;
        esac
        if [ -n "$ended_at" ] && [ "$((now - ended_at))" -ge "$patience" ]; then break; fi
        [ -n "$ended_at" ] || [ -z "$was_seen" ] || [ "$every" = 0 ] || look_at_tree
        sleep 2
    done
    exit 0
}

# Starts a checkpoint when it is time for one and something has changed. Whether it has is found by the
# times of files and folders, which is cheap, and misses those that were set back; the checkpoint at
# the end does not go by them.
look_at_tree() {
    due_at=${due_at:-$((now + every))}
    [ "$now" -ge "$due_at" ] || return 0
    due_at=$((now + every))
    true >"$dir/looking"
    # What changes from now on is newer than that file: a clock's tick is shorter.
    sleep 1
    if [ ! -e "$dir/looked" ] ||
        [ -n "$(find "$tree" -newer "$dir/looked" 2>/dev/null | head -n 1)" ]; then
        # One that was cut short is tried again.
        sh "$script" checkpoint || return 0
    fi
    mv "$dir/looking" "$dir/looked"
}

# Sets the state. The agent's container can write what it likes to the file; its clock is ours, so an
# instant to come is as wrong as an old one. One that is just being written is empty and tells nothing.
look_at_agent() {
    if [ ! -f "$alive_file" ] || [ -h "$alive_file" ]; then
        state=gone
        return
    fi
    seconds=$(head -c 20 "$alive_file" 2>/dev/null | tr -d '\000\n')
    case $seconds in
        '') state=${state:-alive} ;;
        0* | *[!0-9]* | ???????????????*) state=stale ;;
        *)
            age=$((now - seconds))
            state=alive
            if [ "$age" -gt "$stale_after" ] || [ "$age" -lt "-$stale_after" ]; then state=stale; fi
            ;;
    esac
}

# --- one at a time -------------------------------------------------------------------------------
#
# The lock is a file that is renamed: `free`, or the name of who has it. A rename succeeds for one
# only, and a name never comes again; so the lock of a process that was killed can be taken over
# without a moment in which two have it.

# Sets the start time of a process, empty where it has ended. With it a number that came again is not
# taken for the same process.
read_start() {
    start='' stat=''
    { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
    stat=${stat##*) }
    # shellcheck disable=SC2086  # numbers
    set -- $stat
    [ "$1" = Z ] || start=${20}
}

# Argument: a lock's name, ID.PROCESS.START.
lives() {
    rest=${1#*.}
    read_start "${rest%%.*}" && [ -n "$start" ] && [ "$start" = "${rest#*.}" ]
}

# Prints the process. Argument: a lock's name.
holder_of() {
    rest=${1#*.}
    printf '%s' "${rest%%.*}"
}

# Sets `waited` to the seconds that it took.
take_lock() {
    waited=0
    read_start "$$" || fail 'there is no /proc'
    own=$id.$$.$start
    if mkdir "$lock" 2>/dev/null; then true >"$lock/free"; fi
    until mv "$lock/free" "$lock/$own" 2>/dev/null; do
        for holder in "$lock"/*; do
            name=${holder##*/}
            case $name in '*' | free) continue ;; esac
            if lives "$name"; then
                # The agent has ended, and a checkpoint of before is not worth waiting for.
                case $id:$name in c-*) ;; *:c-*) kill -KILL "$(holder_of "$name")" 2>/dev/null ;; esac
                continue
            fi
            mv "$holder" "$lock/$own" 2>/dev/null || continue
            end_leftovers "${name%%.*}"
            return 0
        done
        [ "$waited" -lt "$wait_limit" ] || return 1
        sleep 1
        waited=$((waited + 1))
    done
}

give_lock_back() {
    mv "$lock/$own" "$lock/free" 2>/dev/null
}

# What a killed collect has started may still write. Argument: its ID.
end_leftovers() {
    for environ in /proc/[0-9]*/environ; do
        { tr '\000' '\n' <"$environ" | grep -qx "CLAUDE_JOBS_KEEPER_ID=$1"; } 2>/dev/null || continue
        process=${environ#/proc/}
        kill -KILL "${process%/environ}" 2>/dev/null
    done
}

# --- what is printed -----------------------------------------------------------------------------

# Prints descriptors 3 to 8, all opened before the lock is given back, from a byte on.
print_from() {
    skip=$1
    for descriptor in 3 4 5 6 7 8; do
        eval "size=\$size_$descriptor"
        if [ "$skip" -ge "$size" ]; then
            skip=$((skip - size))
            continue
        fi
        if [ "$skip" = 0 ]; then
            cat <&"$descriptor" || return 1
        else
            tail -c "+$((skip + 1))" <&"$descriptor" || return 1
        fi
        skip=0
    done
}

# Arguments: ID, and the byte to begin with.
print_checkpoint() {
    made=$checkpoints/$1
    total=0 descriptor=3
    for part in header $parts; do
        size=$(($(wc -c <"$made/$part"))) || return 3
        eval "size_$descriptor=\$size"
        total=$((total + size)) descriptor=$((descriptor + 1))
    done
    [ "$2" -le "$total" ] || fail "checkpoint $1 has $total bytes only"
    # shellcheck disable=SC2094  # nothing is written there
    { [ -z "${own:-}" ] || give_lock_back; print_from "$2"; } \
        3<"$made/header" 4<"$made/facts" 5<"$made/notes" \
        6<"$made/files" 7<"$made/pack" 8<"$made/patch"
}

# --- git, without the agent's settings -----------------------------------------------------------

# What an image may set for its own git is none of ours.
forget_git_settings() {
    for name in $(env | sed -n 's/^\(GIT_[A-Z0-9_]*\)=.*/\1/p'); do unset "$name"; done
    unset XDG_CONFIG_HOME
    export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_SYSTEM=/dev/null GIT_CONFIG_GLOBAL=/dev/null
    export GIT_ATTR_NOSYSTEM=1 GIT_NO_REPLACE_OBJECTS=1 GIT_NO_LAZY_FETCH=1 GIT_ALLOW_PROTOCOL=''
    export GIT_OPTIONAL_LOCKS=0 GIT_TERMINAL_PROMPT=0 GIT_PAGER=cat GIT_LITERAL_PATHSPECS=1
    export GIT_AUTHOR_NAME=claude-jobs GIT_AUTHOR_EMAIL=claude-jobs@invalid
    export GIT_COMMITTER_NAME=claude-jobs GIT_COMMITTER_EMAIL=claude-jobs@invalid
}

# The repository that everything is made in. Made by hand, since `git init` takes hooks and settings
# from templates. Memory: what pack-objects and the diffs hold at a time is bounded by each of these.
make_store() {
    mkdir -p "$store/objects/pack" "$store/objects/info" "$store/refs/heads" "$store/info" \
        "$view/pack" "$scratch/empty" "$scratch/notes" || return 1
    echo 'ref: refs/heads/none' >"$store/HEAD"
    version=0 format=sha1
    if [ "${#base}" = 64 ]; then version=1 format=sha256; fi
    cat >"$store/config" <<CONFIG
[core]
    repositoryformatversion = $version
    bare = false
    hooksPath = /dev/null
    attributesFile = /dev/null
    excludesFile = /dev/null
    fsmonitor = false
    untrackedCache = false
    preloadIndex = false
    commitGraph = false
    multiPackIndex = false
    fileMode = true
    symlinks = true
    ignoreCase = false
    autocrlf = false
    safecrlf = false
    sparseCheckout = false
    protectHFS = true
    protectNTFS = true
    bigFileThreshold = 4m
    looseCompression = 0
    packedGitLimit = 64m
    packedGitWindowSize = 4m
    deltaBaseCacheLimit = 16m
    fsync = none
[index]
    version = 4
    threads = 1
    sparse = false
[pack]
    threads = 1
    windowMemory = 32m
    deltaCacheSize = 8m
    useBitmaps = false
    useBitmapBoundaryTraversal = false
    readReverseIndex = false
    writeReverseIndex = false
[gc]
    auto = 0
[maintenance]
    auto = false
[submodule]
    recurse = false
[protocol]
    allow = never
CONFIG
    [ "$version" = 0 ] || printf '[extensions]\n    objectFormat = %s\n' "$format" >>"$store/config"
    export GIT_DIR="$store" GIT_INDEX_FILE="$scratch/index" GIT_WORK_TREE="$scratch/empty"
    export GIT_ALTERNATE_OBJECT_DIRECTORIES="$view" TMPDIR="$scratch"
}

# Runs git in the working tree; elsewhere it sees an empty one, whose attributes are none.
in_tree() {
    (
        cd "$tree" || exit 128
        GIT_WORK_TREE=$tree step "$@"
    )
}

# Runs git, for no longer than is allowed. Arguments: the name under which it leaves its exit code and
# the begin of what it says, and git's arguments.
step() {
    step=$1
    shift
    rm -f "$scratch/$step.code"
    {
        {
            # shellcheck disable=SC2086  # words
            $timer git "$@" 2>&1 >&3 3>&-
            echo "$?" >"$scratch/$step.code"
            # bash tells on its own stderr that a command was killed.
        } 2>/dev/null | {
            head -c 65536 >"$scratch/$step.said"
            cat >/dev/null
        }
    } 3>&1
}

went_well() {
    code=''
    { read -r code <"$scratch/$1.code"; } 2>/dev/null
    [ "$code" = 0 ]
}

# Argument: the step that failed. Its last line tells why.
note_failure() {
    said=$(tail -n 1 "$scratch/$1.said" 2>/dev/null | tr '\000-\037' ' ' | head -c 460)
    note error "git ($1): ${said:-ended with ${code:-nothing}}"
}

# Arguments: a kind, and what is noted. Of each kind only so many are written; all are counted.
note() {
    count=0
    [ ! -e "$scratch/notes/$1.count" ] || read -r count <"$scratch/notes/$1.count"
    count=$((count + 1))
    printf '%s\n' "$count" >"$scratch/notes/$1.count"
    [ "$count" -gt "$most_notes" ] || printf '%s\t%s\0' "$1" "$2" >>"$scratch/notes/$1"
}

# Keeps standard input as a part, unless it is larger than the second argument says; sets its size.
keep() {
    head -c "$(($2 + 1))" >"$scratch/parts/$1"
}

size_of() {
    size=$(($(wc -c <"$1")))
}

# --- the agent's repository, read by hand --------------------------------------------------------

is_object_name() {
    case $1 in *[!0-9a-f]*) return 1 ;; esac
    [ "${#1}" = "${#base}" ]
}

# Tells whether a path below .git is a file, reached by folders alone. Argument: the path.
is_plain() {
    so_far=$tree/.git
    [ ! -h "$so_far" ] || return 1
    left_of_path=$1
    while [ -n "$left_of_path" ]; do
        so_far=$so_far/${left_of_path%%/*}
        case $left_of_path in */*) left_of_path=${left_of_path#*/} ;; *) left_of_path='' ;; esac
        [ ! -h "$so_far" ] || return 1
    done
    [ -f "$so_far" ] && [ -r "$so_far" ]
}

# Shows git the agent's objects by links to their packs and folders: neither alternates, which lead
# anywhere, nor commit graphs, bitmaps and the like, which may lie. A file of another kind could make
# git wait for ever.
link_objects() {
    objects=$tree/.git/objects
    if [ -h "$tree/.git" ] || [ ! -d "$tree/.git" ] || [ ! -e "$tree/.git/HEAD" ]; then
        note no_repository ''
        return 1
    fi
    if [ -h "$objects" ] || [ ! -d "$objects" ]; then
        note no_repository 'There is no folder of objects.'
        return 1
    fi
    if [ -n "$(find "$objects" -mindepth 1 -maxdepth 2 ! -type f ! -type d -print 2>/dev/null |
        head -c 1)" ]; then
        note unsupported 'Something among the objects of the repository is no file.'
        return 1
    fi
    if [ -e "$objects/info/alternates" ]; then
        note unsupported 'Objects that the repository borrows from elsewhere are not seen.'
    fi
    # shellcheck disable=SC2016  # of the shell that find starts
    {
        find "$objects" -mindepth 1 -maxdepth 1 -type d -name '[0-9a-f][0-9a-f]' \
            -exec sh -c 'view=$1; shift; ln -s "$@" "$view/"' sh "$view" {} +
        find "$objects/pack" -maxdepth 1 -type f \
            \( -name 'pack-*.pack' -o -name 'pack-*.idx' \) \
            -exec sh -c 'view=$1; shift; ln -s "$@" "$view/pack/"' sh "$view" {} +
    } 2>/dev/null
    copy_shallow
}

# The commits whose parents were not cloned, since git has to know.
copy_shallow() {
    is_plain shallow || return 0
    head -c 1048576 "$tree/.git/shallow" | tr -d '\000' | grep -Ex "[0-9a-f]{${#base}}" \
        >"$store/shallow" || rm -f "$store/shallow"
}

# Sets `value` to what a ref holds, by its own file or by the packed ones.
read_ref() {
    value=''
    if is_plain "$1"; then
        value=$(head -c 4096 "$tree/.git/$1" 2>/dev/null | tr -d '\000' | head -n 1)
    elif [ "$1" != HEAD ] && is_plain packed-refs; then
        value=$(tr -d '\000' <"$tree/.git/packed-refs" | grep -E "^[0-9a-f]{${#base}} refs/" |
            grep -F -- " $1" | while read -r object name; do
            if [ "$name" = "$1" ]; then
                echo "$object"
                break
            fi
        done)
    fi
}

# Sets `head` and `branch`, both empty where they are not known.
find_head() {
    head='' branch=''
    ref=HEAD
    for _ in 1 2 3 4 5; do
        read_ref "$ref"
        case $value in
            'ref: refs/'*) ref=${value#ref: } ;;
            *) break ;;
        esac
        if ! git check-ref-format "$ref" 2>/dev/null; then
            [ ! -e "$tree/.git/reftable" ] ||
                note unsupported 'The repository keeps its refs in a form that is not known.'
            value='' ref=HEAD
            break
        fi
    done
    case $ref in refs/heads/*) branch=${ref#refs/heads/} ;; esac
    if [ -z "$value" ]; then
        note no_commits ''
    elif ! is_object_name "$value"; then
        note unsupported 'What HEAD holds is no commit.'
    elif ! is_commit "$value"; then
        note error 'The commit that HEAD names is damaged or missing.'
    else
        head=$value
    fi
}

is_commit() {
    # shellcheck disable=SC2086
    [ "$($timer git cat-file -t "$1" 2>/dev/null)" = commit ]
}

note_progress() {
    for sign in 'rebase-merge rebase' 'rebase-apply rebase' 'MERGE_HEAD merge' \
        'CHERRY_PICK_HEAD cherry-pick' 'REVERT_HEAD revert' 'BISECT_LOG bisect'; do
        if [ -e "$tree/.git/${sign%% *}" ]; then note in_progress "${sign#* }"; fi
    done
    if [ -e "$tree/.git/info/sparse-checkout" ]; then
        note unsupported 'Of a sparse checkout, files that are not checked out look deleted.'
    fi
}

# --- what was not committed ----------------------------------------------------------------------
#
# The index is made from the agent's HEAD, and git compares it with the files without writing any
# object. What differs, and what is new and not ignored, passes `admit`, which knows sizes and kinds
# before git opens a file; then git adds it in chunks, and the loose objects of each are packed.
# `git add` would write the objects of all files again, since it cannot touch those it finds in a
# volume that is mounted read-only.

# Sets `work`: the commit of everything. It is HEAD where there is nothing besides or where what there
# is cannot be collected, and that is noted.
take_snapshot() {
    work=$head
    [ -n "$work" ] || [ "$has_base" = 0 ] || work=$base
    start=${head:-$from}
    find_hazard && return 0
    if ! fits_index; then
        note unsupported 'The repository has too many files; what was not committed is left out.'
        return 0
    fi
    step read-tree read-tree "$start"
    if ! went_well read-tree; then
        note_failure read-tree
        return 0
    fi
    printf '%s 0 0\n' "$limit" >"$scratch/state"
    true >"$scratch/chunk"
    true >"$scratch/entries"
    true >"$scratch/big"
    compare_files && add_files && commit_snapshot
}

# Git opens these whatever they are. A pipe would keep it waiting, a huge file is read as a whole.
find_hazard() {
    hazard=$(
        cd "$tree" && find . -path ./.git -prune -o \
            \( -name .gitignore -o -name .gitattributes -o -name .gitmodules -o -path '*/.git' \
            -o -path '*/.git/*' \) \( -type p -o -type b -o -type c \) -print -o \
            \( -name .gitignore -o -name .gitattributes -o -name .gitmodules \) \
            -type f -size +4194304c -print 2>/dev/null | head -n 1 | head -c 4096
    )
    [ -n "$hazard" ] || return 1
    note unsupported "What was not committed is left out: $hazard is no file that git can read."
}

# A tree may name another one a thousand times, and be a few hundred bytes. The index takes about as
# much as this listing, and twice that while it is written.
fits_index() {
    most_listed=$((limit / 4 + 12582912))
    listed=$(step ls-tree ls-tree -r "$start" | head -c "$((most_listed + 1))" | wc -c)
    [ "$listed" -le "$most_listed" ]
}

# Leaves an index in which all that is as in HEAD is known to be so.
compare_files() {
    # A repository in the tree has its own account of its files.
    step ls-gitlinks ls-files -s | sed -n 's/^160000 [0-9a-f]* 0.//p' | head -c 1048576 \
        >"$scratch/gitlinks"
    if [ -s "$scratch/gitlinks" ]; then
        step mark-gitlinks update-index --skip-worktree --stdin <"$scratch/gitlinks"
        went_well mark-gitlinks || { note_failure mark-gitlinks; return 1; }
        step ls-gitlinks ls-files -z -t | tr '\000\n' '\n\000' | sed -n 's/^S //p' |
            tr '\000\n' '\n\000' | pass note_gitlinks
    fi
    (cd "$tree" && find . -path ./.git -prune -o -type f -size "+${big}c" -print0 2>/dev/null) |
        pass list_big
    if [ -s "$scratch/big" ]; then
        step mark-big update-index -z --skip-worktree --stdin <"$scratch/big"
        went_well mark-big || { note_failure mark-big; return 1; }
    fi
    # Its exit code tells of files that differ.
    in_tree refresh update-index -q --refresh >/dev/null
    went_well refresh || [ "$code" = 1 ] || { note_failure refresh; return 1; }
}

add_files() {
    in_tree find-deleted diff-files --name-only -z --no-renames --diff-filter=D |
        step delete update-index -z --force-remove --stdin
    went_well find-deleted || { note_failure find-deleted; return 1; }
    went_well delete || { note_failure delete; return 1; }
    in_tree find-changed diff-files --name-only -z --no-renames --diff-filter=d | pass admit changed
    went_well find-changed || { note_failure find-changed; return 1; }
    pass admit big <"$scratch/big"
    copy_excludes
    in_tree find-new ls-files -z --others --exclude-standard | pass admit new
    went_well find-new || { note_failure find-new; return 1; }
    note_unopened
    flush
    if [ -s "$scratch/entries" ]; then
        step add-big update-index -z --add --replace --index-info <"$scratch/entries"
        went_well add-big || { note_failure add-big; return 1; }
        note_ignored add-big
    fi
    [ ! -e "$scratch/gave_up" ] || { note error 'Files could not be added.'; return 1; }
}

# What the agent has chosen to ignore in its clone alone.
copy_excludes() {
    is_plain info/exclude || return 0
    head -c 1048576 "$tree/.git/info/exclude" >"$store/info/exclude"
}

note_unopened() {
    while IFS= read -r line; do
        case $line in warning:*) note unreadable "${line#warning: }" ;; esac
    done <"$scratch/find-new.said"
}

commit_snapshot() {
    printf '0\n' >"$scratch/folders"
    true >"$scratch/last_folder"
    step find-folders diff-index --cached --name-only -z --no-renames "$start" |
        pass count_folders
    went_well find-folders || { note_failure find-folders; return 1; }
    read -r folders <"$scratch/folders"
    [ "$folders" != 0 ] || return 0
    if [ "$((folders * folder_bytes))" -gt "$((limit / 2 + 8388608))" ]; then
        note unsupported 'What was not committed is left out: it is spread over too many folders.'
        return 1
    fi
    snapshot=$(step write-tree write-tree)
    went_well write-tree || { note_failure write-tree; return 1; }
    pack_loose
    set --
    if [ -n "$head" ]; then set -- -p "$head"; elif [ "$has_base" = 1 ]; then set -- -p "$base"; fi
    date_as_head
    made=$(echo 'What was not committed' | step commit-tree commit-tree "$snapshot" "$@")
    went_well commit-tree || { note_failure commit-tree; return 1; }
    work=$made
}

# The same files on the same commit make the same commit again.
date_as_head() {
    seconds=''
    if [ -n "$head" ]; then
        seconds=$(step date rev-list --max-count=1 --timestamp "$head" | head -c 64)
        seconds=${seconds%% *}
    fi
    case ${seconds:-x} in *[!0-9]* | ???????????*) seconds=0 ;; esac
    export GIT_AUTHOR_DATE="@$seconds +0000" GIT_COMMITTER_DATE="@$seconds +0000"
}

# Hands NUL-terminated names from standard input to a function of this script, as arguments, many at
# a time. Arguments: the function, and what it is told before the names.
pass() {
    xargs -0 -r -n 500 sh "$script" pass "$id" "$@"
}

# --- functions that get names from xargs, each time in a shell of their own ----------------------

# The names are those that have to be known; what is marked stays as HEAD has it.
list_big() {
    cd "$tree" || exit 255
    git ls-files -z -- "$@" 2>/dev/null >>"$scratch/big"
}

note_gitlinks() {
    cd "$tree" || exit 255
    for name do
        if [ -e "$name/.git" ] || [ -h "$name/.git" ]; then note submodule "$name"; fi
    done
}

# Arguments: changed, new or big (tracked, and not compared yet), then names.
admit() {
    kind=$1
    shift
    cd "$tree" || exit 255
    read -r left files bytes <"$scratch/state"
    found=0
    for name do ! is_admissible || found=$((found + 1)); done
    if [ "$found" != "$#" ]; then
        for name do
            shift
            if is_admissible; then set -- "$@" "$name"; else note_refused; fi
        done
    fi
    [ "$#" -gt 0 ] || return 0
    sizes=$(stat -c '%s %a' -- "$@" 2>/dev/null)
    if [ "$(printf '%s\n' "$sizes" | wc -l)" -ne "$#" ]; then
        # One of them has gone meanwhile, and it is not known which.
        for name do
            shift
            if stat -- "$name" >/dev/null 2>&1; then set -- "$@" "$name"; else note_refused; fi
        done
        [ "$#" -gt 0 ] || return 0
        sizes=$(stat -c '%s %a' -- "$@")
    fi
    while read -r size mode; do
        admit_file "$1"
        shift
    done <<SIZES
$sizes
SIZES
    printf '%s %s %s\n' "$left" "$files" "$bytes" >"$scratch/state"
}

# Of a repository in the tree git tells the folder alone, with a slash.
is_admissible() {
    case $name in */) return 1 ;; esac
    [ -h "$name" ] || { [ -f "$name" ] && [ -r "$name" ]; }
}

note_refused() {
    if [ -d "$name" ] && [ ! -h "$name" ]; then
        note submodule "${name%/}"
    else
        note unreadable "$name"
    fi
}

# Besides its content a file costs its entries in the index, the trees and the packs.
admit_file() {
    cost=$((100 + 2 * ${#1}))
    if [ "$size" -gt "$big" ]; then
        admit_big "$1"
        return
    fi
    cost=$((cost + size))
    if [ "$cost" -gt "$left" ]; then
        note too_large "$1"
        return
    fi
    left=$((left - cost)) files=$((files + 1)) bytes=$((bytes + size))
    printf '%s\0' "$1" >>"$scratch/chunk"
    if [ "$files" -ge "$chunk_files" ] || [ "$bytes" -ge "$chunk_bytes" ]; then
        flush || exit 255
        files=0 bytes=0
    fi
}

# Streamed, and so as it is: git holds a file in memory while it converts line ends.
admit_big() {
    case $mode in *[1357]??) mode=100755 ;; *) mode=100644 ;; esac
    known=''
    if [ "$kind" = big ]; then
        known=$(git ls-files -s -- "$1" 2>/dev/null)
        known_mode=${known%% *}
        known=${known#* }
        known=${known%% *}
        if [ "$(git cat-file -s "$known" 2>/dev/null)" = "$size" ] &&
            [ "$(hash_file "$1")" = "$known" ]; then
            [ "$mode" = "$known_mode" ] ||
                printf '%s %s\t%s\0' "$mode" "$known" "$1" >>"$scratch/entries"
            return
        fi
    fi
    cost=$((cost + size))
    if [ "$cost" -gt "$left" ]; then
        note too_large "$1"
        return
    fi
    object=$(hash_file "$1" -w)
    if ! is_object_name "$object"; then
        note unreadable "$1"
        return
    fi
    left=$((left - cost))
    printf '%s %s\t%s\0' "$mode" "$object" "$1" >>"$scratch/entries"
}

hash_file() {
    # shellcheck disable=SC2086
    $timer git hash-object ${2:-} --no-filters -- "$1" 2>/dev/null
}

# Adds the chunk. One file that git refuses makes it refuse them all.
flush() {
    [ -s "$scratch/chunk" ] || return 0
    in_tree add update-index -z --add --remove --replace --stdin <"$scratch/chunk"
    if went_well add; then note_ignored add; else pass add_each <"$scratch/chunk"; fi
    true >"$scratch/chunk"
    pack_loose
}

# Names that may not be in a tree, such as .GIT, are passed over with a word. Argument: the step.
note_ignored() {
    while IFS= read -r line; do
        case $line in 'Ignoring path '*) note unsupported "${line#Ignoring path }" ;; esac
    done <"$scratch/$1.said"
}

add_each() {
    tried=0
    [ ! -e "$scratch/tried" ] || read -r tried <"$scratch/tried"
    for name do
        tried=$((tried + 1))
        if [ "$tried" -gt "$most_singles" ]; then
            note unsupported "$name"
            continue
        fi
        printf '%s\0' "$name" | in_tree add update-index -z --add --remove --replace --stdin
        if went_well add; then
            note_ignored add
        elif grep -q 'Permission denied' "$scratch/add.said"; then
            # busybox takes all files for readable where the user is root.
            note unreadable "$name"
        else
            note unsupported "$name"
        fi
    done
    printf '%s\n' "$tried" >"$scratch/tried"
}

pack_loose() {
    (cd "$store/objects" && find . -mindepth 2 -maxdepth 2 -type f) |
        sed -n 's,^\./\([0-9a-f][0-9a-f]\)/\([0-9a-f]*\)$,\1\2,p' |
        step pack-loose pack-objects -q --window=0 "$store/objects/pack/pack" >/dev/null
    if ! went_well pack-loose; then
        true >"$scratch/gave_up"
        return 1
    fi
    rm -rf "$store"/objects/[0-9a-f][0-9a-f]
}

# The folders on the way to sorted names, each counted once: so many trees are to be written.
count_folders() {
    read -r folders <"$scratch/folders"
    last=$(cat "$scratch/last_folder" && echo .)
    last=${last%.}
    [ "$folders" != 0 ] || folders=1
    for name do
        folder=$name
        while :; do
            case $folder in */*) folder=${folder%/*} ;; *) break ;; esac
            case $last/ in "$folder"/*) break ;; esac
            folders=$((folders + 1))
        done
        case $name in */*) last=${name%/*} ;; *) last='' ;; esac
    done
    printf '%s\n' "$folders" >"$scratch/folders"
    printf '%s' "$last" >"$scratch/last_folder"
}

# --- the parts -----------------------------------------------------------------------------------

fact() {
    printf '%s=%s\n' "$1" "$2" >>"$scratch/parts/facts"
}

make_facts() {
    fact version 1
    fact base "$base"
    fact object_format "$format"
    [ -z "$head" ] || fact head "$head"
    [ -z "$branch" ] || fact branch "$branch"
    [ -z "$work" ] || fact tree "$work"
    commits=0
    if [ -n "$head" ] && [ "$head" != "$base" ]; then
        set --
        if [ "$has_base" = 1 ]; then set -- "^$base"; fi
        commits=$(step count rev-list --count "$head" "$@")
        went_well count || { note_failure count; commits=''; }
        is_ancestor=''
        if [ "$has_base" = 1 ]; then
            step is-ancestor merge-base --is-ancestor "$base" "$head"
            if went_well is-ancestor; then is_ancestor=1; fi
        fi
        [ -n "$is_ancestor" ] || note history_rewritten ''
    fi
    [ -z "$commits" ] || fact commits "$commits"
    if [ "$work" = "$base" ]; then
        fact files 0
        fact insertions 0
        fact deletions 0
    fi
}

# Keeps a diff, sets its size, and fails where git did. Short lines take git fifty times their size in
# memory; so each part has another way for when that is too much. Arguments: the part, the size up to
# which files are compared by lines, and options of the diff.
compare() {
    part=$1 threshold=$2
    shift 2
    step "$part" -c "core.bigFileThreshold=$threshold" diff "$@" --no-ext-diff --no-textconv \
        --no-renames "$from" "$work" | keep "$part" "$left"
    size_of "$scratch/parts/$part"
    [ "$size" -gt "$left" ] || went_well "$part"
}

# Sets `left`, the bytes that the other parts may have.
make_files() {
    step diff-raw diff --raw -z --no-renames --abbrev=64 "$from" "$work" | keep raw "$left"
    went_well diff-raw || code=${code:-missing}
    size_of "$scratch/parts/raw"
    raw_size=$size
    if [ "$size" -gt "$left" ]; then
        note unsupported 'The list of the changed files is too large.'
        return 1
    fi
    [ "$code" = 0 ] || { note_failure diff-raw; return 1; }
    compare numstat 4m --numstat -z || compare numstat 256k --numstat -z
    if [ "$((size + raw_size + 1))" -gt "$left" ]; then
        note unsupported 'The list of the changed files is too large.'
        return 1
    fi
    went_well numstat || { note_failure numstat; return 1; }
    count_lines
    [ "$size" != 0 ] || return 0
    { cat "$scratch/parts/raw" && printf '\0' && cat "$scratch/parts/numstat"; } \
        >"$scratch/parts/files"
    left=$((left - size - raw_size - 1))
}

count_lines() {
    tr '\n\000' ' \n' <"$scratch/parts/numstat" | cut -f 1,2 | {
        files=0 insertions=0 deletions=0
        while read -r more less; do
            files=$((files + 1))
            [ "$more" != - ] || continue
            insertions=$((insertions + more)) deletions=$((deletions + less))
        done
        fact files "$files"
        fact insertions "$insertions"
        fact deletions "$deletions"
    }
}

# Prints the blobs of the changed files. Argument: the columns of the diff, modes and names of one
# side. A path holds anything; but each second entry is one, whatever is in it.
list_blobs() {
    tr '\n\000' ' \n' <"$scratch/parts/raw" | sed -n 'p;n' | cut -d ' ' -f "$1" |
        sed -e '/^:*000000 /d' -e '/^:*160000 /d' -e 's/^:*[0-7]* //'
}

# Prints the blobs of attributes and submodules that the trees of the pack may name and that the base
# has: a check of the pack's objects wants to read them. What rev-list leaves out is in the trees of
# the commits at the boundary.
list_settings() {
    [ "$has_base" = 1 ] || return 0
    step boundary rev-list --boundary "$work" ${head:+"$head"} "^$base" | sed -n 's/^-//p' |
        head -n 50 | while read -r commit; do
        step ls-settings ls-tree -r "$commit" |
            grep -iE '	"?(.*/)?(\.git(attributes|modules)|git(att|mod)~)[^/]*$' |
            cut -f 1 | cut -d ' ' -f 3
    done
}

make_pack() {
    {
        set --
        if [ "$has_base" = 1 ]; then set -- "^$base"; fi
        step list-objects rev-list --objects "$work" ${head:+"$head"} "$@"
        list_blobs 2,4
        list_settings
    } | step pack pack-objects -q --stdout | keep pack "$left"
    size_of "$scratch/parts/pack"
    if [ "$size" -gt "$left" ]; then
        true >"$scratch/parts/pack"
        note pack_too_large ''
        return
    fi
    for made in list-objects pack; do
        went_well "$made" && continue
        true >"$scratch/parts/pack"
        note_failure "$made"
        return
    done
    left=$((left - size))
}

make_patch() {
    largest=$({ list_blobs 1,3 && list_blobs 2,4; } |
        step sizes cat-file --batch-check='%(objectsize)' | sort -n | tail -n 1)
    case $largest in
        '') largest=0 ;;
        *[!0-9]*)
            note error 'An object that a patch needs is missing.'
            return
            ;;
    esac
    if [ "$largest" -gt "$most_diffed" ]; then
        note patch_too_large ''
        return
    fi
    if ! compare patch 4m --binary --full-index; then
        # For a binary patch git has read a file before it looks at its size.
        echo '* -diff' >"$store/info/attributes"
        compare patch 4m --binary --full-index
    fi
    if [ "$size" -gt "$left" ]; then
        true >"$scratch/parts/patch"
        note patch_too_large ''
    elif ! went_well patch; then
        true >"$scratch/parts/patch"
        note_failure patch
    fi
}

make_notes() {
    for kind in no_repository no_commits history_rewritten in_progress error unsupported \
        pack_too_large patch_too_large too_large submodule unreadable; do
        [ -e "$scratch/notes/$kind.count" ] || continue
        read -r count <"$scratch/notes/$kind.count"
        if [ "$count" -gt "$most_notes" ]; then
            # The last of those that may be told makes room for the number of the others.
            tr '\000\n' '\n\000' <"$scratch/notes/$kind" | head -n "$((most_notes - 1))" |
                tr '\000\n' '\n\000'
            printf '%s\tand %s more\0' "$kind" "$((count - most_notes + 1))"
        else
            cat "$scratch/notes/$kind"
        fi
    done >"$scratch/parts/notes"
}

make_header() {
    printf 'claude-jobs-work 1 %s\n' "$id"
    for part in $parts; do
        size_of "$scratch/parts/$part"
        [ "$size" != 0 ] || continue
        hash=$(sha256sum <"$scratch/parts/$part") || return 1
        printf '%s %s %s\n' "$part" "$size" "${hash%% *}"
    done
    echo
}

# --- a checkpoint --------------------------------------------------------------------------------

make_checkpoint() {
    rm -rf "$dir"/scratch.*
    mkdir -p "$scratch/parts" "$checkpoints" && make_store || return 1
    for part in $parts; do true >"$scratch/parts/$part" || return 1; done
    head='' branch='' work='' has_base=0 content=''
    if [ -n "$tree" ] && [ "$(cd "$tree" 2>/dev/null && pwd -P)" = "$tree" ]; then
        collect_tree || return 3
    else
        [ -z "$periodic" ] || return 3
        note no_repository 'The working tree is missing, or a link leads elsewhere.'
        make_facts
    fi
    make_notes
    rm -f "$scratch/parts/raw" "$scratch/parts/numstat"
    make_header >"$scratch/parts/header" || return 1
    rm -rf "${checkpoints:?}"/*
    mv "$scratch/parts" "$checkpoints/$id" || return 1
    printf '%s\n' "$content" >"$dir/state"
    rm -rf "$scratch"
}

# A repository that was made anew does not hold the base: all of it is new then. Fails where there is
# nothing new for a checkpoint while the agent works.
collect_tree() {
    from=$(git hash-object -t tree /dev/null)
    if link_objects; then
        find_head
        note_progress
        if is_commit "$base"; then
            has_base=1 from=$base
        else
            note unsupported 'The commit that was cloned is not there any more: all files are new.'
        fi
    fi
    take_snapshot
    rm -f "$scratch/index" "$scratch/index.lock"
    content="$base $head $work $branch"
    [ -z "$periodic" ] || is_new || return 1
    # Room for this one. Whoever receives the last one has it open.
    rm -rf "${checkpoints:?}"/*
    make_facts
    left=$limit
    if [ -n "$work" ] && [ "$work" != "$base" ]; then
        true >"$scratch/parts/raw"
        make_files
        make_pack
        [ ! -s "$scratch/parts/files" ] || make_patch
    fi
    return 0
}

# Compares with the last checkpoint; before the first one, with what was cloned.
is_new() {
    if [ ! -e "$dir/state" ]; then
        [ "$head" != "$base" ] || [ "$work" != "$base" ]
        return
    fi
    IFS= read -r known <"$dir/state"
    [ "$known" != "$content" ]
}

begin() {
    case ${limit:-x}${wait_limit:-x}${step_limit:-x} in
        *[!0-9]*) fail 'a limit in the environment is no number' ;;
    esac
    read -r base <"$dir/base" || fail "there is no $dir/base"
    case $base in *[!0-9a-f]*) fail "$dir/base holds no object name" ;; esac
    case ${#base} in 40 | 64) ;; *) fail "$dir/base holds no object name" ;; esac
    before=$(last_checkpoint)
    take_lock || fail 'another collect is still at work'
    trap give_lock_back EXIT
    trap 'exit 143' TERM INT HUP
}

checkpoint() {
    periodic=1 wait_limit=0
    began_at=$(date +%s)
    begin
    # A collect comes at the end, after which there is nothing new.
    make_checkpoint
    case $? in
        0) ;;
        3) rm -rf "$scratch" && return 0 ;;
        *) fail "no checkpoint can be made below $dir" ;;
    esac
    printf 'claude-jobs-checkpoint 1 %s %s\n' "$id" "$began_at"
}

collect() {
    begin
    # Who has waited for another gets what that one has made: a flow that lost its connection while
    # a checkpoint was made asks again, and would wait twice.
    found=$(last_checkpoint)
    case $waited:$found in
        0:* | *: | *:"$before" | *:c-*) make_checkpoint || fail "no checkpoint can be made below $dir" ;;
        *) id=$found ;;
    esac
    print_checkpoint "$id" 0
}

last_checkpoint() {
    for made in "$checkpoints"/*/header; do
        [ -e "$made" ] || continue
        made=${made%/header}
        printf '%s' "${made##*/}"
    done
}

resume() {
    case ${1:-.} in *[!0-9a-z-]*) fail 'resume needs an ID and an offset' ;; esac
    case ${2:-.} in *[!0-9]* | ???????????????????*) fail 'resume needs an ID and an offset' ;; esac
    offset=${2#"${2%%[!0]*}"}
    [ -e "$checkpoints/$1/header" ] || exit 3
    print_checkpoint "$1" "${offset:-0}" && return 0
    [ -e "$checkpoints/$1/header" ] || exit 3
    return 1
}

use_id() {
    id=$1
    scratch=$dir/scratch.$id
    store=$scratch/store view=$scratch/view
    # Git is given up before the container's memory is; what it reads of packs is not counted.
    # shellcheck disable=SC3045  # these three shells have it
    ulimit -d 196608 2>/dev/null
    timer=''
    if timeout -s KILL 5 true 2>/dev/null; then timer="timeout -s KILL $step_limit"; fi
}

case ${1:-} in
    '') await_finish ;;
    collect)
        exec </dev/null
        forget_git_settings
        use_id "$(date +%s)-$$"
        export CLAUDE_JOBS_KEEPER_ID="$id"
        collect
        ;;
    checkpoint)
        exec </dev/null
        forget_git_settings
        use_id "c-$(date +%s)-$$"
        export CLAUDE_JOBS_KEEPER_ID="$id"
        checkpoint
        ;;
    resume) resume "${2:-}" "${3:-}" ;;
    finish) true >"$dir/finish" || fail "cannot write below $dir" ;;
    pass)
        use_id "$2"
        base=''
        read -r base <"$dir/base"
        wanted=$3
        shift 3
        "$wanted" "$@"
        ;;
    *) fail "there is no $1" ;;
esac
