# Sourced by scripts/test: tests that fail by chance.

# Most failed tests that are tried again: more of them are no chance.
few=3
# Before the second attempt in a step's output; the names follow.
second_attempt='# second attempt:'

# `attempt [arguments of cargo test] -- [arguments of the tests]`: those of the workspace. Tests that
# fail are run once more, by name, and their result is the second one.
attempt() {
    local output status=0 names broken ended
    output=$(mktemp)
    cargo test --locked --workspace --no-fail-fast "$@" 2>&1 | tee "$output" || status=$?
    mapfile -t names < <(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$output" | sed 's/ - should panic$//' | sort -u)
    # Whoever did not get as far as its result crashed, and that counts.
    broken=$(sed -n 's/^error: \([0-9]*\) targets\{0,1\} failed:$/\1/p' "$output")
    ended=$(grep -c '^test result: FAILED' "$output" || true)
    rm -- "$output"
    if [[ $status -eq 0 || ${#names[@]} -eq 0 || ${#names[@]} -gt $few || $broken != "$ended" ]]; then
        return "$status"
    fi
    printf '%s %s\n' "$second_attempt" "${names[*]}"
    cargo test --locked --workspace --no-fail-fast "$@" --exact "${names[@]}"
}
