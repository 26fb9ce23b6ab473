"""What a task can reach: a package index that the operator and the task allow, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from package_index import HOST, package_index, served
from product import git, product


def repository(folder: Path) -> None:
    """A bare repository that plain HTTP can serve."""
    work = folder / "work"
    work.mkdir(parents=True)
    git(work, "init", "-q", "-b", "main")
    (work / "README").write_text("from a forge\n")
    git(work, "add", ".")
    git(work, "-c", "user.name=A", "-c", "user.email=a@example.com", "commit", "-qm", "one")
    subprocess.run(["git", "clone", "-q", "--bare", str(work), str(folder / "made.git")], check=True)
    git(folder / "made.git", "update-server-info")


@pytest.mark.timeout(300)
def test_a_task_reaches_what_operator_and_task_allow_and_nothing_else(tmp_path: Path) -> None:
    package_index(tmp_path / "www")
    repository(tmp_path / "www")
    with served(tmp_path / "www") as port:
        host = f"{HOST}:{port}"
        index = f"http://{host}/simple"
        script = f"""
            set -e
            python3 -m pip -q --disable-pip-version-check download --no-deps --index-url {index} -d /tmp/pip made-up-greeting
            {sys.executable} -c 'import sys; sys.path.insert(0, "/tmp/pip/made_up_greeting-1.0-py3-none-any.whl"); import made_up_greeting'
            {Path(sys.executable).parent}/uv pip install -q --target /tmp/uv --index-url {index} made-up-greeting
            {sys.executable} -c 'import sys; sys.path.insert(0, "/tmp/uv"); import made_up_greeting'
            git clone -q http://{host}/made.git /tmp/cloned && cat /tmp/cloned/README
            for n in 1 2; do curl -s https://evil.example/ || echo "curl refused $?"; done
            curl -s -o /dev/null -w '%{{http_code}}\\n' http://169.254.169.254/latest/meta-data/
            curl -s -m 5 --noproxy '*' http://{host}/simple/ || echo "no way around $?"
        """
        with product({"RCLAUDE_OUTBOUND_ALLOW": host}) as one:
            ended = one.run(
                "run", "--agent", "shell", "--no-repo", "--network", f"{host},169.254.169.254", script
            )
            shown = ended.out + ended.err
            assert ended.code == 0, shown
            assert shown.count("greetings from a package") == 2
            assert "from a forge" in shown
            assert shown.count("evil.example:443 is not on the task's network list") == 1, shown
            assert shown.count("curl refused") == 2
            assert "169.254.169.254:80 is not on the public internet" in shown
            assert "403" in shown
            assert "no way around 7" in shown

            task = one.ok("show", "--json").json
            assert task["usage"]["egress_bytes"] > 1000
            frames = one.ok("logs", task["id"], "--json").lines
            audit = [frame for frame in frames if frame["kind"] == "connection"]
            assert {(f["host"], f["outcome"]) for f in audit} == {
                (HOST, "closed"), ("evil.example", "refused"), ("169.254.169.254", "refused"),
            }  # fmt: skip
            assert sum(f["sent"] + f["received"] for f in audit) == task["usage"]["egress_bytes"]

            none = one.run(
                "run",
                "--agent",
                "shell",
                "--no-repo",
                "--network",
                "none",
                "env; curl -sS https://evil.example/",
            )
            assert none.code != 0
            assert "_PROXY=" not in none.out.upper()
            assert "Could not resolve host" in none.out + none.err

            wrong = one.run(
                "run", "--agent", "shell", "--no-repo", "--network", "https://evil.example", "true"
            )
            assert wrong.code != 0
            assert "HOST[:PORT]" in wrong.err
