"""What answers of the model are counted as: all of it, once, in the class that decides its price."""

from __future__ import annotations

import json
from typing import Any

from remote_claude.contracts.model_prices import list_prices
from remote_claude.contracts.runner import Cumulative, ModelUse
from remote_claude.runner.model_proxy.answers import AnswerReader
from remote_claude.runner.model_proxy.apis.anthropic import MessagesUsage, uses_of
from remote_claude.runner.model_proxy.model_usage import (
    PaymentTerms,
    UsageMeter,
    request_size,
)

TERMS = PaymentTerms()
MODEL = "claude-opus-5"


def streamed(*events: dict[str, Any]) -> AnswerReader:
    reader = AnswerReader("text/event-stream; charset=utf-8", MessagesUsage(TERMS))
    for event in events:
        reader.feed(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
    return reader


def started(**usage: Any) -> dict[str, Any]:
    return {"type": "message_start", "message": {"model": MODEL, "usage": usage}}


def cost(uses: list[ModelUse] | None) -> int:
    assert uses is not None
    return sum(list_prices().nano_usd(use) for use in uses)


def test_a_compaction_is_counted_beside_the_message_that_it_made_room_for() -> None:
    usage = {
        "input_tokens": 20_000,
        "output_tokens": 1_000,
        "iterations": [
            {"type": "compaction", "input_tokens": 180_000, "output_tokens": 3_500},
            {"type": "message", "input_tokens": 20_000, "output_tokens": 1_000},
        ],
    }
    message, compaction = uses_of(TERMS, MODEL, usage)
    assert message.quantities == {"input": 20_000, "output": 1_000}
    assert compaction.quantities == {"input": 180_000, "output": 3_500}
    assert (message.calls, compaction.calls) == (1, 0)
    assert cost([message, compaction]) == 200_000 * 5_000 + 4_500 * 25_000


def test_another_model_that_was_asked_for_advice_is_counted_at_its_own_price() -> None:
    iterations = [
        {"type": "advisor_message", "model": "claude-fable-5", "input_tokens": 10, "output_tokens": 1}
    ]
    _, advice = uses_of(TERMS, MODEL, {"input_tokens": 1, "iterations": iterations})
    assert (advice.model, advice.quantities) == ("claude-fable-5", {"input": 10, "output": 1})


def test_a_stream_that_is_cut_counts_the_searches_and_their_results() -> None:
    found = "x" * 4_000
    reader = streamed(
        started(input_tokens=100, output_tokens=1),
        {"type": "content_block_start", "content_block": {"type": "server_tool_use", "name": "web_search"}},
        {
            "type": "content_block_start",
            "content_block": {"type": "web_search_tool_result", "content": [{"text": found}]},
        },
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "y" * 40}},
    )
    [use] = reader.uses() or []
    assert use.estimated == 1
    assert use.quantities["web_search"] == 1
    assert use.quantities["input"] >= 100 + len(found) // 4
    assert use.quantities["output"] == 10


def test_the_usage_at_the_end_of_a_stream_is_exact() -> None:
    last = {"output_tokens": 30, "input_tokens": 150, "server_tool_use": {"web_search_requests": 2}}
    reader = streamed(started(input_tokens=100, output_tokens=1), {"type": "message_delta", "usage": last})
    [use] = reader.uses() or []
    assert (use.quantities, use.estimated) == ({"input": 150, "output": 30, "web_search": 2}, 0)


def test_a_call_without_an_answer_counts_as_far_as_it_was_sent() -> None:
    meter = UsageMeter(TERMS)
    call = meter.begin(4_000, {"model": MODEL, "max_tokens": 200})
    [opened] = meter.usage().open_calls
    assert (opened.nano_usd, opened.sent.quantities) == (1_000 * 5_000, {"input": 1_000})
    assert opened.upper_nano_usd == 1_000 * 6_250 + 200 * 25_000
    reader = AnswerReader("application/json", MessagesUsage(TERMS))
    reader.feed(b"not what anybody can read")
    meter.end(call, reader.uses())
    [use] = meter.usage().cumulative.model_use
    assert (use.calls, use.estimated, use.quantities) == (1, 1, {"input": 1_000})


def test_an_image_is_not_counted_by_its_length() -> None:
    body = json.dumps({"source": {"type": "base64", "data": "A" * 100_000}}).encode()
    size, images = request_size(body)
    assert (size < 100, images) == (True, 1)


def test_every_dollar_follows_from_the_quantities() -> None:
    meter = UsageMeter(TERMS)
    for geo, speed, tokens in (("us", "standard", 3), ("us", "standard", 7), ("global", "fast", 9)):
        call = meter.begin(10, {"model": MODEL})
        usage = {"input_tokens": tokens, "output_tokens": 1, "inference_geo": geo, "speed": speed}
        meter.end(call, uses_of(TERMS, MODEL, usage))
    cumulative = meter.usage().cumulative
    assert cumulative.price_table == list_prices().version
    assert {(u.region, u.speed, u.calls) for u in cumulative.model_use} == {
        ("us", "standard", 2),
        ("global", "fast", 1),
    }
    assert cumulative.model_nano_usd == sum(map(list_prices().nano_usd, cumulative.model_use))
    assert cumulative.model_nano_usd == (10 * 5_000 + 2 * 25_000) * 11 // 10 + 9 * 10_000 + 50_000


def test_what_the_customers_own_key_pays_is_apart() -> None:
    meter = UsageMeter(PaymentTerms(paid_by="customer"))
    meter.end(
        meter.begin(10, {"model": MODEL}),
        uses_of(PaymentTerms(paid_by="customer"), MODEL, {"input_tokens": 2}),
    )
    used = meter.usage().cumulative
    assert (used.model_nano_usd, used.customer_model_nano_usd) == (0, 10_000)
    assert (used + Cumulative(model_nano_usd=1)).customer_model_nano_usd == 10_000
