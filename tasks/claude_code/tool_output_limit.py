r"""The hook that shortens what tools answer before the model reads it.

Claude Code hands the hook one JSON object on stdin and takes the value of `updatedToolOutput`
instead of the tool's own output. Printing nothing leaves the output as it is.

POSIX sh and any awk, as nothing else is sure to be in an agent's image. JSON is not decoded: the
text is cut at quotes, strings of `tool_response` that are longer than the limit lose their end, and
everything else is passed on byte by byte. A cut never splits a character or an escape such as `\n`.
Base64 is left alone, for half an image is none.

The object reaches awk in short lines, as mawk takes quadratic time for a long one: a line's end
means no more than a space in JSON, so those that stand there give way to those of `fold`.
"""

TOOL_OUTPUT_LIMIT_FILE = "limit-tool-output.sh"

TOOL_OUTPUT_LIMIT_SCRIPT = r"""#!/bin/sh
# limit-tool-output.sh BYTES: shortens texts of a tool's output; see tool_output_limit.py.
export LIMIT="$1" LC_ALL=C
tr '\n' ' ' | fold -b -w 4000 | awk '
function joined(first, last,    middle) {
    if (first >= last) return lines[last]
    middle = int((first + last) / 2)
    return joined(first, middle) joined(middle + 1, last)
}

function ends_in_escape(text,    n) {
    n = 0
    while (n < length(text) && substr(text, length(text) - n, 1) == "\\") n++
    return n % 2
}

# Ends before the character or the escape that the limit falls into.
function shortened(text,    kept) {
    kept = limit
    while (kept > 0 && index(continuation, substr(text, kept + 1, 1))) kept--
    text = substr(text, 1, kept)
    if (match(text, /\\u[0-9a-fA-F]?[0-9a-fA-F]?[0-9a-fA-F]?$/) \
        && !ends_in_escape(substr(text, 1, RSTART - 1))) text = substr(text, 1, RSTART - 1)
    if (ends_in_escape(text)) text = substr(text, 1, length(text) - 1)
    # The first half of a character outside of the Basic Multilingual Plane.
    if (match(text, /\\u[dD][89aAbB][0-9a-fA-F][0-9a-fA-F]$/) \
        && !ends_in_escape(substr(text, 1, RSTART - 1))) text = substr(text, 1, RSTART - 1)
    return text
}

# What stands between strings: follows the depth and finds where the value begins and ends.
function take_structure(text,    i, character, start) {
    start = inside ? 1 : 0
    for (i = 1; i <= length(text); i++) {
        character = substr(text, i, 1)
        if (character == ":" && depth == 1 && string == "tool_response") {
            inside = 1
            start = i + 1
        } else if (index("{[", character)) {
            depth++
        } else if (index("}]", character)) {
            depth--
        }
        if (inside && (depth == 0 || (depth == 1 && character == ","))) {
            pieces[++count] = substr(text, start, i - start)
            inside = 0
        }
    }
    if (inside) pieces[++count] = substr(text, start)
    key = text ~ /^[ \t]*:/ ? string : ""
}

function take_string(text, size, next_structure,    kept) {
    string = text
    if (!inside) return
    if (size > limit && key != "base64" && key != "data" && next_structure !~ /^[ \t]*:/) {
        kept = shortened(text)
        cut = 1
        text = kept "\\n[" (size - length(kept)) " more bytes left out]"
    }
    pieces[++count] = "\"" text "\""
}

BEGIN {
    limit = ENVIRON["LIMIT"] + 0
    for (i = 128; i < 192; i++) continuation = continuation sprintf("%c", i)
}

{ lines[NR] = $0 }

END {
    parts = split(joined(1, NR), part, "\"")
    for (p = 1; p <= parts; p++) {
        take_structure(part[p])
        if (++p > parts) break
        text = part[p]
        size = length(text)
        escaped = ends_in_escape(text)
        while (escaped && p < parts) {
            p++
            size += 1 + length(part[p])
            # Past the limit nothing is kept, or many quotes would take quadratic time.
            if (length(text) <= limit + 16 || size <= limit + 16) text = text "\"" part[p]
            escaped = part[p] == "" ? 0 : ends_in_escape(part[p])
        }
        take_string(text, size, part[p + 1])
    }
    if (!cut) exit
    printf "%s", "{\"hookSpecificOutput\":{\"hookEventName\":\"PostToolUse\",\"updatedToolOutput\":"
    for (i = 1; i <= count; i++) printf "%s", pieces[i]
    print "}}"
}'
"""
