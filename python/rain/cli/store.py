"""``rain store``: which data a service holds, and who keeps them."""

from __future__ import annotations

import click

from rain.cli.output import json_option, print_json
from rain.cli.service import address_argument, connection_options, find_service


@click.command(name="store", short_help="Show the data that a service holds.")
@address_argument
@connection_options
@json_option
def command(address: str | None, tls: str | None, http_port: int | None, as_json: bool) -> None:
    """Show the data objects in the stores of a running service: size, place, who keeps them.

    ADDRESS is HOST:PORT of a server or the socket of a standalone governor. Without it, the one
    that this user runs on this machine.
    """
    from rain.client.store import Store, StoredBlob

    stores = find_service(address, tls, http_port).ask("store")
    if as_json:
        print_json(
            [
                {**store, "blobs": [StoredBlob(*blob)._asdict() for blob in store["blobs"]]}
                for store in stores
            ]
        )
        return
    for store in stores:
        click.echo(f"governor {store['governor']}: ", nl=False)
        click.echo(repr(Store([StoredBlob(*blob) for blob in store["blobs"]], store["usage"])))
