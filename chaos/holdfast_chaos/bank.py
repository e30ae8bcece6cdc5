"""Accounts that money moves between: no read sees a transfer half done, and none is lost or done twice.

Rules, of the accounts of one bank, which lie in one shard:
- *total*: what all accounts hold together never changes, at whatever level it is read, since a page of a
  scan and a transaction are consistent;
- *accounts*: a read shows every account, and no other;
- *overdrawn*: none is below zero, when the workload says so;
- *balance*: at the end each account holds what acknowledged transfers, and perhaps unknown ones, make of it.
  The same holds for every LINEARIZABLE read.

In the record: `transfer` of `{"from": a, "to": b, "amount": n}`, `read` of `{account: balance}`; the
accounts and what they begin with are in the header's settings, `accounts` and `balance`.
Source: Jepsen's bank; design testing.md, CHECKERS 4.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from holdfast_chaos.counter import Sums
from holdfast_chaos.operation import Operation, text_of
from holdfast_chaos.verdict import Finding, Judgement, judge


def check(
    operations: Iterable[Operation], accounts: Sequence[str], balance: int, *, overdraft: bool = False
) -> Judgement:
    """Judges every bank: one for each key.

    Args:
        operations: of a record.
        accounts: their names, the same in every bank.
        balance: what each begins with.
        overdraft: an account may be below zero.
    """
    banks: dict[str, list[Operation]] = {}
    for operation in operations:
        if operation.f in ("transfer", "read"):
            banks.setdefault(operation.key or "", []).append(operation)
    broken: list[Finding] = []
    reads = 0
    for key, own in banks.items():
        sums = {account: Sums(_moves(own, account)) for account in accounts}
        for read in own:
            if read.f == "read" and read.is_ok:
                reads += 1
                broken += _judged(key, read, sums, balance, overdraft=overdraft)
    return judge("bank", broken=broken, figures={"banks": len(banks), "reads": reads})


def _moves(operations: Iterable[Operation], account: str) -> Iterator[tuple[Operation, int]]:
    for operation in operations:
        if operation.f == "transfer":
            amount = int(operation.argument["amount"])
            if operation.argument["from"] == account:
                yield operation, -amount
            if operation.argument["to"] == account:
                yield operation, amount


def _judged(
    key: str, read: Operation, sums: dict[str, Sums], balance: int, *, overdraft: bool
) -> Iterator[Finding]:
    held: dict[str, int] = read.result
    story = (text_of(read),)
    if set(held) != set(sums):
        odd = ", ".join(sorted(set(held) ^ set(sums)))
        yield Finding("accounts", f"missing or strange: {odd}", key, story)
        return
    total, wanted = sum(held.values()), balance * len(sums)
    if total != wanted:
        yield Finding("total", f"{total} in all, it must be {wanted}", key, story)
    for account, moved in sums.items():
        amount = held[account]
        if amount < 0 and not overdraft:
            yield Finding("overdrawn", f"{account} holds {amount}", key, story)
        if read.level == "LINEARIZABLE":
            least, most = moved.bounds(read.start_ns, read.end_ns)
            if not least <= amount - balance <= most:
                message = f"{account} holds {amount}, it must lie in {balance + least}..{balance + most}"
                yield Finding("balance", message, key, story)
