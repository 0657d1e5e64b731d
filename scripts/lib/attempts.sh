# Sourced by scripts/test: tests that fail by chance.
# shellcheck shell=bash

# Most failed tests that are tried again: more of them are no chance.
few=3
# Before the second attempt in a step's output; the names follow.
second_attempt='# second attempt:'

# `attempt [arguments of cargo test] -- [arguments of the tests]`: those of the workspace. Tests that
# fail are run once more, by name, and their result is the second one.
attempt() {
    local output status=0 failed names results broken ended
    output=$(mktemp)
    cargo test --locked --workspace --no-fail-fast "$@" 2>&1 | tee "$output" || status=$?
    mapfile -t failed < <(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$output" | sed 's/ - should panic$//')
    # A name that something else was printed into is not among them.
    results=$(sed -n 's/^test result: .* \([0-9]*\) failed;.*/\1/p' "$output" | awk '{ sum += $1 } END { print sum + 0 }')
    # Whoever did not get as far as its result crashed, and that counts.
    broken=$(sed -n 's/^error: \([0-9]*\) targets\{0,1\} failed:$/\1/p' "$output")
    ended=$(grep -c '^test result: FAILED' "$output" || true)
    rm -- "$output"
    if [[ $status -eq 0 || ${#failed[@]} -eq 0 || ${#failed[@]} -gt $few ||
        ${#failed[@]} -ne $results || $broken != "$ended" ]]; then
        return "$status"
    fi
    mapfile -t names < <(printf '%s\n' "${failed[@]}" | sort -u)
    # Examples in the documentation have blanks in their names, and don't fail by chance.
    if printf '%s\n' "${names[@]}" | grep -q ' '; then return "$status"; fi
    printf '%s %s\n' "$second_attempt" "${names[*]}"
    cargo test --locked --workspace --no-fail-fast "$@" --exact "${names[@]}"
}
