"""A broker that has lost what it had acknowledged: refused at the start, restored from the archive."""

import shutil
from base64 import urlsafe_b64encode
from pathlib import Path

import pytest

from product import Product, product
from servers import until


def archived(one: Product) -> bool:
    """Whether the archive has everything that the log has."""
    with one.client() as client:
        said = client.get("/v1/status").json()
    return bool(said["archive"]["position"] == said["position"] == one.events()[-1]["position"])


@pytest.mark.nightly  # `archive/test_restore.py` restores a tail in `make test`, and the next test refuses a start
def test_a_stack_whose_broker_lost_its_tail_says_what_to_do_and_is_restored(tmp_path: Path) -> None:
    with product() as one:
        one.ok("run", "--agent", "shell", "--no-repo", "echo first")
        one.ok("down")
        data = one.home / "nats" / "data"
        shutil.copytree(data, tmp_path / "data")
        one.ok("up", "--detach")
        task = one.ok("run", "--agent", "shell", "--no-repo", "--json", "echo second").json
        until(lambda: archived(one), "the archive has caught up")
        events, bill = one.events(), one.ok("bill", "--json").json
        assert "lags 0" in one.ok("status").out
        restoring = one.admin("log", "restore")
        assert (restoring.code, "rclaude down" in restoring.err) == (2, True)
        one.ok("down")

        shutil.rmtree(data)
        shutil.copytree(tmp_path / "data", data)
        refused = one.run("up", "--detach")
        assert refused.code != 0
        assert "log_lost_tail" in refused.err
        assert "rclaude-admin log restore" in refused.err
        verified = one.admin("log", "verify", "--json")
        assert verified.code == 1
        [finding] = verified.json["findings"]
        last = events[-1]["position"] + 1  # the runner's goodbye
        assert (finding["side"], finding["kind"], finding["last"]) == ("broker", "cut", last)

        restoring = one.admin("log", "restore", "--json")
        assert restoring.code == 0, restoring.err
        assert restoring.json["last"] == last
        one.ok("up", "--detach")
        assert one.events()[: len(events)] == events
        assert one.task(task["id"])["state"] == "succeeded"
        assert one.ok("bill", "--json").json["lines"] == bill["lines"]
        assert one.admin("log", "verify", "--json").json["findings"] == []
        one.verified()


def test_a_refused_start_is_told_once_and_without_what_was_said_before_it() -> None:
    with product() as one:
        for _ in range(3):
            one.ok("run", "--agent", "noop", "--no-repo", "x")
        one.ok("down")
        *_, last = sorted(one.home.glob("nats/data/**/EVENTS/msgs/*.blk"))
        last.unlink()
        refused = one.run("up", "--detach")
        assert refused.code == 4
        _, failed, ended, *said = refused.err.splitlines()
        assert failed == "rclaude: the stack did not start:"
        assert ended.startswith("services ended with 1; the end of ")
        assert [line.partition(":")[0] for line in said] == ["log_lost_events"]


@pytest.mark.nightly
def test_a_stack_goes_on_without_what_nobody_has_when_that_is_asked_for(tmp_path: Path) -> None:
    with product() as one:
        first = one.ok("run", "--agent", "shell", "--no-repo", "--json", "echo first").json
        one.ok("down")
        data = one.home / "nats" / "data"
        shutil.copytree(data, tmp_path / "data")
        Product(one.home, {"RCLAUDE_ARCHIVE": "false"}).ok("up", "--detach")
        second = one.ok("run", "--agent", "shell", "--no-repo", "--json", "echo second").json
        end = one.events()[-1]["position"]
        one.ok("down")

        shutil.rmtree(data)
        shutil.copytree(tmp_path / "data", data)
        assert "log_lost_tail" in one.run("up", "--detach").err
        refused = one.admin("log", "restore", "--json")
        assert (refused.code, refused.json["error"]["code"]) == (2, "log_lost_for_good"), refused.err
        assert "rclaude-admin log restore --without-lost" in refused.err
        done = one.admin("log", "restore", "--without-lost", "--json")
        assert done.code == 0, done.err
        assert done.json["events"] == 0
        assert done.json["lost"]["last"] >= end
        assert "gateway_tasks" in done.json["rebuilt"]
        again = one.admin("log", "restore", "--without-lost")
        assert (again.code, again.out) == (0, f"nothing was missing: the log goes to {done.json['last']}\n")

        one.ok("up", "--detach")
        assert one.events("--until", str(done.json["last"]))[-1]["position"] == done.json["lost"]["first"] - 1
        assert one.task(first["id"])["state"] == "succeeded"
        assert one.run("show", second["id"]).code == 2
        one.ok("run", "--agent", "shell", "--no-repo", "echo third")
        one.verified()
        one.rebuilds_equal()


@pytest.mark.nightly
def test_a_stack_whose_data_keys_are_lost_makes_no_new_ones_by_itself(tmp_path: Path) -> None:
    with product() as one:
        task = one.ok("run", "--agent", "noop", "--no-repo", "--json", "a secret").json
        one.ok("down")
        [keys] = one.home.glob("nats/data/**/KV_KEYS")
        shutil.move(keys, tmp_path / "keys")
        refused = one.run("up", "--detach")
        assert refused.code != 0
        assert "no bucket KEYS" in refused.err
        assert one.admin("log", "verify", "--json").json["findings"] == []
        assert one.run("up", "--detach").code != 0
        shutil.rmtree(keys, ignore_errors=True)
        shutil.move(tmp_path / "keys", keys)
        one.ok("up", "--detach")
        assert one.task(task["id"])["prompt"] == "a secret"
        one.ok("down")

        kek = (one.home / "kek").read_text()
        (one.home / "kek").write_text(urlsafe_b64encode(bytes(32)).decode())
        refused = one.run("up", "--detach")
        assert refused.code != 0
        assert "key_unusable" in refused.err
        assert "Traceback" not in refused.err
        (one.home / "kek").write_text(kek)

        shutil.rmtree(keys)
        made = one.admin("broker", "init", "--new-keys")
        assert made.code == 0, made.err
        one.ok("up", "--detach")


@pytest.mark.nightly
def test_a_log_that_was_restored_beside_an_empty_bucket_of_keys_is_refused() -> None:
    with product() as one:
        sealed = one.ok("run", "--agent", "noop", "--no-repo", "--json", "a secret").json
        until(lambda: archived(one), "the archive has caught up")
        one.ok("down")
        shutil.rmtree(one.home / "nats" / "data")
        assert "log_lost_tail" in one.run("up", "--detach").err  # and it has made the streams again
        restored = one.admin("log", "restore")
        assert restored.code == 0, restored.err
        assert restored.err.startswith(
            "before the services start: the broker has a log and nothing in the bucket"
        )
        refused = one.run("up", "--detach")
        assert refused.code != 0
        assert "keys_lost" in refused.err
        assert "--new-keys" in refused.err
        assert one.admin("broker", "init").code == 2
        made = one.admin("broker", "init", "--new-keys")
        assert made.code == 0, made.err
        one.ok("up", "--detach")
        task = one.ok("run", "--agent", "noop", "--no-repo", "--json", "another").json
        assert one.task(task["id"])["prompt"] == "another"
        assert one.task(sealed["id"])["prompt"] is None
        assert [shown["id"] for shown in one.ok("list", "--json").json["tasks"]] == [task["id"], sealed["id"]]
