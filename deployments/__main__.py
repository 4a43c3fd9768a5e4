"""Entry point of ``pt-pipeline``: the commands of flows, with those that run them as a service."""

from __future__ import annotations

from deployments.cli.check_deployments import check_deployments
from deployments.cli.deliveries import deliveries
from deployments.cli.stack import down, status, up
from deployments.cli.webhook import webhook
from flows.__main__ import app

# One line per command, its signature in deployments/cli, its body imported when it is called.
app.command()(up)
app.command()(status)
app.command()(down)
app.command()(webhook)
app.command()(check_deployments)
app.add_typer(deliveries, name="deliveries")


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
