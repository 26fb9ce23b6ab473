#!/usr/bin/env bash
# Runs one task to its end and ends with the exit code of its state. Read from the environment: TASK_PROMPT, TASK_AGENT,
# TASK_REPOSITORY, TASK_PULL_REQUEST, TASK_BUDGET, TASK_TIMEOUT, and what rclaude itself reads (RCLAUDE_URL, RCLAUDE_API_KEY).
# Where there is a GITHUB_OUTPUT or a GITHUB_STEP_SUMMARY, it gets the task's state and a table.
set -uo pipefail
options=(--json --agent "${TASK_AGENT:-claude}")
[ -z "${TASK_REPOSITORY:-}" ] || options+=(--repo "$TASK_REPOSITORY")
[ "${TASK_PULL_REQUEST:-false}" != true ] || options+=(--pr)
[ -z "${TASK_BUDGET:-}" ] || options+=(--budget "$TASK_BUDGET")
[ -z "${TASK_TIMEOUT:-}" ] || options+=(--timeout "$TASK_TIMEOUT")
result=$(mktemp)
trap 'rm -f "$result"' EXIT
printf '%s' "$TASK_PROMPT" | rclaude run "${options[@]}" - >"$result"
code=$?
python3 - "$result" "$code" <<'PYTHON'
import json, os, sys

with open(sys.argv[1]) as file:
    text = file.read()
task = json.loads(text) if text.strip() else {}
error = task.get("error") or {}
pull = (task.get("pull_request") or {}).get("url") or ""
found = {
    "task": task.get("id") or error.get("id") or "",
    "state": task.get("state") or error.get("code") or "failed",
    "pull-request": pull,
}
why = " ".join(str(task.get("detail") or error.get("detail") or "").split())


def write(variable, lines):
    if os.environ.get(variable):
        with open(os.environ[variable], "a") as file:
            file.writelines(f"{line}\n" for line in lines)


def escaped(words):  # of a workflow command
    return words.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


write("GITHUB_OUTPUT", (f"{name}={value}" for name, value in found.items()))
cost = (task.get("cost") or {}).get("total_nano_usd", 0)
rows = [("Task", f"`{found['task']}`"), ("State", found["state"]), ("Cost", f"${int(cost) / 1e9:.4f}")]
rows += [("Pull request", pull)] if pull else []
write("GITHUB_STEP_SUMMARY", ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])
kind = "notice" if sys.argv[2] == "0" else "error"
said = f"{found['task']} {found['state']}" + (f": {why}" if why else "") + (f" {pull}" if pull else "")
if os.environ.get("GITHUB_ACTIONS"):
    print(f"::{kind} title=Remote Claude::{escaped(said)}")
else:
    print(said)
PYTHON
exit "$code"
