"""What a deployment costs, estimated from list prices. Source: AWS price list, us-east-1, in USD without taxes."""

from __future__ import annotations

HOURS = 730
"""Of a month."""
ENDPOINT_HOUR, ENDPOINTS = 0.01, 3
IMAGE_GIB, IMAGE_GIB_MONTH = 0.5, 0.10
VCPU_HOUR, GIB_HOUR, ADDRESS_HOUR = 0.04048, 0.004445, 0.005


def monthly(task_hours: int, vcpu: int = 2, memory_gib: int = 4) -> dict[str, float]:
    """Dollars a month: what is there anyhow, and tasks of this size for so many hours."""
    fixed = ENDPOINTS * ENDPOINT_HOUR * HOURS + IMAGE_GIB * IMAGE_GIB_MONTH
    hour = vcpu * VCPU_HOUR + memory_gib * GIB_HOUR + ADDRESS_HOUR
    return {
        "fixed_usd": round(fixed, 2),
        "task_hour_usd": round(hour, 4),
        "task_hours": task_hours,
        "total_usd": round(fixed + task_hours * hour, 2),
    }
