"""The API does what its OpenAPI document says, for whatever is sent to it."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from product import BIN, Product, product

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
    "ignored_auth",
)
ENDS_THE_RUN = ("delete_org", "leave_org", "revoke_key")
"""What the person who asks could not ask anything after."""


def document(one: Product, task: str) -> dict[str, Any]:
    """The served document, with a task that there is. No request waits for longer than a second, or for a position."""
    found: dict[str, Any] = one.api("/openapi.json").json()
    for item in found["paths"].values():
        for operation in item.values():
            parameters = [p for p in operation.get("parameters", ()) if p["name"] != "min_position"]
            for parameter in parameters:
                if parameter["name"] == "task":
                    parameter["schema"] = {"type": "string", "enum": [task, "task_unknown"]}
                elif parameter["name"] == "wait":
                    parameter["schema"] = {"type": "integer", "minimum": 0, "maximum": 1}
            operation["parameters"] = parameters
    return found


@pytest.mark.parametrize(
    ("phases", "examples"),
    [("fuzzing", 3), pytest.param("coverage,fuzzing", 30, marks=pytest.mark.nightly)],
)
def test_every_answer_is_one_that_the_openapi_document_has(
    tmp_path: Path, phases: str, examples: int
) -> None:
    with product() as one:
        task = one.submit("echo done")
        one.ended(task)
        (tmp_path / "openapi.json").write_text(json.dumps(document(one, task)))
        key = Path(one.stack_file()["api_key"]).read_text().strip()
        done = subprocess.run(
            [
                *(str(BIN / "st"), "run", str(tmp_path / "openapi.json"), "--url", one.stack_file()["url"]),
                *("--header", f"Authorization: Bearer {key}", "--checks", ",".join(CHECKS)),
                *("--phases", phases, "--seed", "1", "--no-shrink"),
                *("--max-examples", str(examples)),
                *("--workers", "2", "--continue-on-failure", "--warnings", "off"),
                *(word for name in ENDS_THE_RUN for word in ("--exclude-operation-id", name)),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=280 * examples,
        )
        assert done.returncode == 0, done.stdout + done.stderr
