"""omixa receipts: verify."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from omixa.cli.context import Context, fail

if TYPE_CHECKING:
    from omixa.api.shapes import RequestReceipt
    from omixa.services import BackOffice
    from omixa.storage.database import Transaction


@click.group()
def receipts() -> None:
    """Check receipts."""


@receipts.command("verify")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.pass_obj
def verify_receipt(context: Context, file: Path) -> None:
    """Check a receipt, a FILE of JSON as GET /requests/{id}/receipt sends it, against the ledger; exit 1 when it differs.

    The hash of its entry is computed again from the receipt's own fields, every figure is compared with the ledger's rows, and
    the account's chain of hashes is followed from its first entry through this one to the last.
    """
    from omixa.api.shapes import RequestReceipt

    try:
        receipt = msgspec.json.decode(file.read_bytes(), type=RequestReceipt)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        fail(f"{file} is not a receipt in JSON: {error}", 1)

    async def work(office: BackOffice) -> tuple[list[str], int]:
        return await office.database.read(lambda tx: _checked(tx, receipt))

    faults, later = context.run(work)
    for fault in faults:
        click.echo(f"WRONG {fault}")
    if faults:
        sys.exit(1)
    for transfer in receipt.transfers:
        click.echo(
            f"{transfer.id} is entry {transfer.chain_seq} of account {transfer.chain_account}, hash {transfer.hash}"
        )
    click.echo(
        f"The receipt of {receipt.request_id} is what the ledger says: billed {receipt.billed_amount} {receipt.currency}."
    )
    if later:
        click.echo(f"It was corrected {later} times since: fetch its receipt again.")


def _checked(tx: Transaction, receipt: RequestReceipt) -> tuple[list[str], int]:
    """Return what is wrong with a receipt, and how many corrections were made after it."""
    from omixa.api.receipt_check import differences
    from omixa.api.receipts import receipt_shape
    from omixa.billing.receipts import chain_faults, read_receipt

    faults = list(_wrong_hashes(receipt))
    stored = read_receipt(tx, receipt.request_id)
    if stored is None:
        return [*faults, f"the ledger knows no request {receipt.request_id} that has ended"], 0
    then = stored.as_of(len(receipt.transfers))
    faults += differences(receipt, receipt_shape(then))
    faults += chain_faults(tx, sorted({row["chain_account_id"] for row in stored.transfers}))
    return faults, len(stored.transfers) - len(then.transfers)


def _wrong_hashes(receipt: RequestReceipt) -> Iterator[str]:
    from omixa.api.receipt_check import transfer_hash

    for transfer in receipt.transfers:
        try:
            right = transfer_hash(transfer) == transfer.hash
        except ValueError as error:
            yield f"{transfer.id}: {error}"
        else:
            if not right:
                yield f"{transfer.id}: its hash does not follow from its fields"
