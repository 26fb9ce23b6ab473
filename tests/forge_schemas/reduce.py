"""Writes the reduced schemas of the forges' APIs from what the vendors publish: the operations and the fields that are used here.

`python tests/forge_schemas/reduce.py FOLDER`, where FOLDER has what README.md names. A field that a client or a double uses
and the vendor does not have is not in the result, and the contract suite fails.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

HERE = Path(__file__).parent
Json = dict[str, Any]

FIELDS = frozenset(
    ["account_id", "add_labels", "author", "base", "body", "branch", "check_runs", "comment_type", "commentType", "comments", "comments_count", "conclusion", "content", "context", "count", "defaultBranch", "default_branch", "deleted", "description", "destination", "details_url", "displayName", "display_name", "draft", "failure_reason", "fileEnd", "filePath", "full_name", "genre", "head", "href", "html", "html_url", "id", "iid", "inline", "isDraft", "is_private", "key", "labels", "line", "links", "login", "mainbranch", "name", "new_line", "new_path", "notes", "number", "old_line", "output", "parentCommentId", "path", "path_with_namespace", "position", "private", "project", "pullRequestId", "raw", "ref", "repositories", "requested_reviewers", "resolved", "reviewer_ids", "reviewers", "rightFileStart", "sha", "source", "source_branch", "sourceRefName", "state", "status", "statuses", "summary", "system", "target_branch", "targetRefName", "target_url", "targetUrl", "team_reviewers", "threadContext", "title", "to", "total_count", "type", "url", "user", "username", "uuid", "value", "values", "visibility", "vote", "webUrl", "web_url"]
)  # fmt: skip


class Definitions:
    """Named schemas. `reduced` resolves references and keeps the fields that are used."""

    def __init__(self, named: Mapping[str, Json], *, enums: bool = True) -> None:
        self._named, self._enums = named, enums

    def reduced(self, schema: Json | None, *, required: bool = False, depth: int = 0) -> Json:
        if not schema or depth > 8:
            return {}
        if ref := schema.get("$ref"):
            return self.reduced(self._named[unquote(ref.rpartition("/")[2])], required=required, depth=depth)
        if parts := schema.get("allOf"):
            return self._merged([*parts, {k: v for k, v in schema.items() if k != "allOf"}], required, depth)
        for choice in ("oneOf", "anyOf"):
            if found := schema.get(choice):
                made: Json = {
                    "anyOf": [self.reduced(one, required=required, depth=depth + 1) for one in found]
                }
                return self._or_null(made, schema)
        made = {}
        if kind := schema.get("type"):
            made["type"] = kind
        if self._enums and "enum" in schema:
            made["enum"] = schema["enum"]
        if "items" in schema:
            made |= {
                "type": "array",
                "items": self.reduced(schema["items"], required=required, depth=depth + 1),
            }
        if properties := schema.get("properties"):
            made |= {
                "type": kind or "object",
                "properties": {
                    name: self.reduced(one, required=required, depth=depth + 1)
                    for name, one in properties.items()
                    if name in FIELDS
                },
                "additionalProperties": False,
            }
            if required and schema.get("required"):
                made["required"] = sorted(schema["required"])
        return self._or_null(made, schema)

    def _merged(self, parts: list[Json], required: bool, depth: int) -> Json:
        made: Json = {}
        for part in parts:
            one = self.reduced(part, required=required, depth=depth)
            properties = made.get("properties", {}) | one.get("properties", {})
            made |= one
            if properties:
                made |= {"properties": properties, "additionalProperties": False}
        return made

    def _or_null(self, made: Json, schema: Json) -> Json:
        """OpenAPI 3.0 says of a null what JSON Schema says by a type."""
        if not schema.get("nullable") or not made:
            return made
        return {"anyOf": [made, {"type": "null"}]}


def openapi(document: Json, operations: list[str]) -> Json:
    """Operations of an OpenAPI document: 3.0, or 2.0 with its body among the parameters."""
    named = document.get("components", {}).get("schemas") or document.get("definitions", {})
    answers, requests = Definitions(named), Definitions(named)
    shared = document.get("components", {}).get("parameters") or document.get("parameters", {})
    found: Json = {}
    for operation in operations:
        method, _, path = operation.partition(" ")
        about = document["paths"][path][method.lower()]
        parameters = [
            shared[one["$ref"].rpartition("/")[2]] if "$ref" in one else one
            for one in about.get("parameters", ())
        ]
        body: Json | None = next((one["schema"] for one in parameters if one["in"] == "body"), None)
        if "requestBody" in about:
            [body] = [one["schema"] for one in about["requestBody"]["content"].values()][:1]
        success: Json = next(one for status, one in about["responses"].items() if status.startswith("2"))
        answer = success.get("schema") or next(
            (one["schema"] for kind, one in success.get("content", {}).items() if "json" in kind), None
        )
        queries = [one["name"] for one in parameters if one["in"] == "query"]
        found[operation] = entry(queries, requests.reduced(body, required=True), answers.reduced(answer))
    return found


def entry(query: list[str], request: Json, answer: Json) -> Json:
    return {"query": sorted(query), "request": request, "answer": answer}


def github(folder: Path) -> Iterator[tuple[str, str, Json]]:
    document = json.loads((folder / "api.github.com.json").read_text())
    repo, pull = "/repos/{owner}/{repo}", "/repos/{owner}/{repo}/pulls/{pull_number}"
    issue = f"{repo}/issues/{{issue_number}}"
    yield (
        "github",
        f"@octokit/openapi {document['info']['version']}, generated/api.github.com.json",
        openapi(
            document,
            [
                *(f"GET {repo}", f"GET {repo}/pulls", f"POST {repo}/pulls", f"GET {pull}", f"PATCH {pull}"),
                *(f"GET {pull}/comments", f"GET {pull}/reviews", f"POST {pull}/requested_reviewers"),
                *(f"GET {issue}/comments", f"POST {issue}/comments", f"POST {issue}/labels"),
                *(f"GET {repo}/commits/{{ref}}/check-runs", f"GET {repo}/commits/{{ref}}/status"),
                *(f"GET {repo}/contents/{{path}}", "GET /user/repos", "GET /installation/repositories"),
            ],
        ),
    )


def azure(folder: Path) -> Iterator[tuple[str, str, Json]]:
    document = json.loads((folder / "git.json").read_text("utf-8-sig"))
    repo = "/{organization}/{project}/_apis/git/repositories/{repositoryId}"
    pull = f"{repo}/pullrequests/{{pullRequestId}}"
    by_name = {path.casefold(): path for path in document["paths"]}
    wanted = [
        *(f"GET {repo}", f"GET {repo}/pullrequests", f"POST {repo}/pullrequests", f"PATCH {pull}"),
        *(f"POST {pull}/labels", f"PUT {pull}/reviewers/{{reviewerId}}", f"GET {pull}/threads"),
        *(f"POST {pull}/threads", f"GET {pull}/statuses", f"GET {repo}/items"),
        "GET /{organization}/{project}/_apis/git/repositories",
    ]
    there = [f"{m} {by_name[p.casefold()]}" for m, _, p in (one.partition(" ") for one in wanted)]
    found = {
        operation.replace("/pullRequests", "/pullrequests"): one | {"answer": listed(one["answer"])}
        for operation, one in openapi(document, there).items()
    }
    all_projects = "/{organization}/_apis/git/repositories"
    found[f"GET {all_projects}"] = found[f"GET {all_projects.replace('/_apis', '/{project}/_apis')}"]
    yield "azure", "MicrosoftDocs/vsts-rest-api-specs adb28786, specification/git/7.1/git.json", found


def listed(answer: Json) -> Json:
    """A list as Azure DevOps sends it: the examples of the same repository have it, its Swagger document has the bare list."""
    if answer.get("type") != "array":
        return answer
    wrapped = {"count": {"type": "integer"}, "value": answer}
    return {"type": "object", "properties": wrapped, "required": ["value"], "additionalProperties": False}


def gitea(folder: Path) -> Iterator[tuple[str, str, Json]]:
    """The types that gitea-js generates from Gitea's Swagger document."""
    types = Definitions(json.loads((folder / "gitea.json").read_text())["definitions"])
    source = (folder / "gitea-js.d.ts").read_text()
    repo = "/repos/{owner}/{repo}"
    pull, issue = f"{repo}/pulls/{{index}}", f"{repo}/issues/{{index}}"
    operations: Json = {}
    for operation in (
        *(f"GET {repo}", f"GET {repo}/pulls", f"POST {repo}/pulls", f"GET {pull}", f"PATCH {pull}"),
        *(f"GET {pull}/reviews", f"GET {pull}/reviews/{{id}}/comments", f"POST {pull}/requested_reviewers"),
        *(f"GET {issue}/comments", f"POST {issue}/comments", f"POST {issue}/labels", f"GET {repo}/labels"),
        *(f"GET {repo}/commits/{{ref}}/status", f"GET {repo}/raw/{{filepath}}", "GET /user/repos"),
    ):
        method, _, path = operation.partition(" ")
        about = source.partition(f"@request {method}:{path}\n")[2].partition("\n        /**")[0]
        signature = re.search(r"\w+: \((.*)\) => Promise<HttpResponse<([\w\[\]]+), \w+>>;", about, re.DOTALL)
        assert signature, operation
        body = re.search(r"body: (\w+)", signature[1])
        query = re.search(r"query\?: \{(.*?)\n\s*\}", signature[1], re.DOTALL)
        answer = named(signature[2])
        operations[operation] = entry(
            re.findall(r"^\s+\"?(\w+)\"?\??:", query[1], re.MULTILINE) if query else [],
            types.reduced(named(body[1]) if body else None, required=True),
            types.reduced(answer),
        )
    yield "gitea", "gitea-js 1.23.0, generated from Gitea's Swagger document of that version", operations


def bitbucket(folder: Path) -> Iterator[tuple[str, str, Json]]:
    """The types that the package generates from Atlassian's OpenAPI document."""
    every = json.loads((folder / "bitbucket.json").read_text())["definitions"]
    every["Pullrequest"]["properties"] |= {"description": {"type": "string"}, "draft": {"type": "boolean"}}
    """Not in the package's types, which have the description as `summary.raw`: README.md."""
    types = Definitions(every)
    routes = (folder / "bitbucket.js").read_text()
    repo = "/repositories/{workspace}/{repo_slug}"
    pull, issue = f"{repo}/pullrequests/{{pull_request_id}}", f"{repo}/issues/{{issue_id}}"
    paging = ["page", "pagelen", "q", "sort"]
    """Of every list: developer.atlassian.com/cloud/bitbucket/rest/intro, *Pagination* and *Filtering*."""
    operations: Json = {}
    for method, path, asks, answers in (
        ("GET", repo, "", "Repository"),
        ("GET", f"{repo}/pullrequests", "", "PaginatedPullrequests"),
        ("POST", f"{repo}/pullrequests", "Pullrequest", "Pullrequest"),
        ("GET", pull, "", "Pullrequest"),
        ("PUT", pull, "Pullrequest", "Pullrequest"),
        ("GET", f"{pull}/comments", "", "PaginatedPullrequestComments"),
        ("POST", f"{pull}/comments", "PullrequestComment", "PullrequestComment"),
        ("GET", f"{issue}/comments", "", "PaginatedIssueComments"),
        ("POST", f"{issue}/comments", "IssueComment", "IssueComment"),
        ("GET", f"{pull}/statuses", "", "PaginatedCommitstatuses"),
        ("GET", f"{repo}/src/{{commit}}/{{path}}", "", ""),
        ("GET", "/repositories", "", "PaginatedRepositories"),
    ):
        before = [part for part in routes.split(f',url:"{path}"')[:-1] if f'method:"{method}"' in part[-900:]]
        assert before, (method, path)
        own = re.findall(r"(\w+):\{[^{}]*type:", before[0].rpartition('method:"')[2])
        query = paging if method == "GET" else []
        operations[f"{method} {path}"] = entry(
            sorted({*query, *own} - {"_body", "workspace", "repo_slug"}),
            types.reduced(named(asks)),
            types.reduced(named(answers)),
        )
    yield "bitbucket", "bitbucket 2.12.0, generated from Atlassian's OpenAPI document", operations


def gitlab(folder: Path) -> Iterator[tuple[str, str, Json]]:
    """The types of Gitbeaker, whose names of options are GitLab's in another case."""
    every = json.loads((folder / "gitlab.json").read_text())["definitions"]
    types = Definitions(every)
    options = Definitions(snake(every))
    project = "/projects/{id}"
    merge, issue = f"{project}/merge_requests/{{iid}}", f"{project}/issues/{{iid}}"
    note = {"type": "object", "properties": {"body": {"type": "string"}}, "required": ["body"]}
    new = {"required": ["source_branch", "target_branch", "title"], "properties": {
        name: {"type": "string"} for name in ("source_branch", "target_branch", "title")
    }}  # fmt: skip
    jobs = {"anyOf": [{"type": "array", "items": {"$ref": "#/definitions/JobSchema"}}]}
    line = {"type": ["integer", "null"]}
    position = {"type": ["object", "null"], "properties": {
        "new_path": {"type": "string"}, "new_line": line, "old_line": line
    }}  # fmt: skip
    more = {"type": "object", "properties": {"position": position, "resolved": {"type": "boolean"}}}
    """Of a discussion's note: docs.gitlab.com/api/discussions, *List project merge request discussion items*."""
    notes = {"type": "array", "items": {"allOf": [named("MergeRequestDiscussionNoteSchema"), more]}}
    discussions = {"type": "array", "items": {"type": "object", "properties": {"id": {}, "notes": notes}}}
    operations: Json = {}
    for operation, query, asks, answer in (
        (f"GET {project}", "", None, "ProjectSchema"),
        (f"GET {project}/merge_requests", "AllMergeRequestsOptions", None, "MergeRequestSchema[]"),
        (f"POST {project}/merge_requests", "", {"allOf": [new, named("CreateMergeRequestOptions")]}, "ExpandedMergeRequestSchema"),
        (f"PUT {merge}", "", named("EditMergeRequestOptions"), "ExpandedMergeRequestSchema"),
        (f"GET {merge}/discussions", "PaginationRequestOptions", None, discussions),
        (f"GET {merge}/pipelines", "", None, "PipelineSchema[]"),
        (f"GET {project}/pipelines/{{pipeline}}/jobs", "", None, jobs),
        (f"GET {project}/jobs/{{job}}/trace", "", None, ""),
        (f"GET {merge}/notes", "", None, "MergeRequestNoteSchema[]"),
        (f"POST {merge}/notes", "", note, "MergeRequestNoteSchema"),
        (f"GET {issue}/notes", "", None, "IssueNoteSchema[]"),
        (f"POST {issue}/notes", "", note, "IssueNoteSchema"),
        (f"GET {project}/repository/files/{{file}}/raw", "", None, ""),
        ("GET /projects", "AllProjectsOptions", None, "ProjectSchema[]"),
        ("GET /users", "AllUsersOptions", None, "UserSchema[]"),
    ):  # fmt: skip
        queries = {"page", "per_page", "order_by", "scope[]", "ref", "username"} | set(
            options_of(snake(every), query)
        )
        operations[operation] = entry(
            sorted(queries),
            options.reduced(asks, required=True),
            types.reduced(answer if isinstance(answer, dict) else named(answer)),
        )
    yield "gitlab", "@gitbeaker/core 43.8.0: types by hand, after GitLab's documentation", operations


def named(name: str) -> Json:
    if name in ("", "any", "void", "string", "File"):
        return {}
    if name.endswith("[]"):
        return {"type": "array", "items": named(name[:-2])}
    return {"$ref": f"#/definitions/{name}"}


def snake(found: Any) -> Any:
    """The names of properties as GitLab takes them."""
    if isinstance(found, list):
        return [snake(one) for one in found]
    if not isinstance(found, dict):
        return found
    made = {name: snake(one) for name, one in found.items()}
    if isinstance(properties := made.get("properties"), dict):
        made["properties"] = {
            re.sub(r"(?<=[a-z])([A-Z])", r"_\1", name).lower(): one for name, one in properties.items()
        }
    return made


def options_of(every: Mapping[str, Json], name: str) -> list[str]:
    """The names of the properties of a type."""
    schema = every.get(name, {})
    names = list(schema.get("properties", ()))
    for part in (*schema.get("allOf", ()), *schema.get("anyOf", ())):
        names += part.get("properties", ())
    return names


KINDS: list[Callable[[Path], Iterator[tuple[str, str, Json]]]] = [github, gitlab, gitea, bitbucket, azure]


def main(folder: Path) -> None:
    for reduce in KINDS:
        for kind, source, operations in reduce(folder):
            document = {"source": source, "operations": operations}
            (HERE / f"{kind}.json").write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
