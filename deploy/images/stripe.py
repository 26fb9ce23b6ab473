"""The double of Stripe as a server: `stripe.py --port P --url URL --webhooks URL`. Its payment page pays at once."""

from __future__ import annotations

import argparse
import sys

import uvicorn
from fastapi.responses import RedirectResponse

from stripe_double import StripeDouble


def main(arguments: list[str]) -> None:
    """Serve until it is stopped. `url` is where browsers and billing reach it, `webhooks` where it reports to."""
    parser = argparse.ArgumentParser(description="A double of Stripe.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--webhooks", required=True)
    given = parser.parse_args(arguments)
    double = StripeDouble()
    double.url, double.webhooks = given.url, given.webhooks

    def pay(session: str) -> RedirectResponse:
        double.complete(f"{double.url}/pay/{session}")
        return RedirectResponse(str(double.objects[session]["success_url"]), 303)

    double.app.add_api_route("/pay/{session}", pay, methods=["GET"])
    double.app.router.routes.insert(
        0, double.app.router.routes.pop()
    )  # before the route that takes everything
    uvicorn.run(double.app, host="0.0.0.0", port=given.port, log_level="info")  # noqa: S104  in a container


if __name__ == "__main__":
    main(sys.argv[1:])
