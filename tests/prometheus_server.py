"""A real Prometheus over samples that a test gives."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from nats_cluster import free_ports
from servers import until


@contextmanager
def running_prometheus(folder: Path, samples: list[str]) -> Iterator[str]:
    """Its URL. A sample is a line of OpenMetrics: series, value, time in seconds."""
    (folder / "samples").write_text("\n".join([*samples, "# EOF", ""]))
    made = ["promtool", "tsdb", "create-blocks-from", "openmetrics", f"{folder}/samples", f"{folder}/data"]
    subprocess.run(made, check=True, capture_output=True)
    (folder / "prometheus.yaml").write_text("scrape_configs: []\n")
    [port] = free_ports(1)
    process = subprocess.Popen(
        [
            "prometheus", f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}", "--storage.tsdb.retention.time=100y",
        ],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip

    def ready() -> bool:
        try:
            return httpx2.get(f"http://127.0.0.1:{port}/-/ready").is_success
        except httpx2.TransportError:
            return False

    try:
        until(ready, "Prometheus", 60)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)
