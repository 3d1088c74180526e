"""Money: promised before it is spent, never more than allowed, never a guessed price."""

import pytest

from darwin_git.domain.account import Account, Allowed, Spend, total
from darwin_git.domain.exchange import Usage

CALL = Usage(tokens_in=900, tokens_out=100, usd=0.01, seconds=2.0, counted="api", calls=1)
MOST = Usage(tokens_in=1000, tokens_out=500, usd=0.02)


def test_calls_in_flight_count_with_the_most_that_they_may_take() -> None:
    account = Account(whole=Allowed("[budget]", tokens=3200))
    assert account.refusal(MOST) == ""
    first = account.reserve(MOST)
    second = account.reserve(MOST)
    assert "3,000 are spent or promised" in account.refusal(MOST)
    account.settle(first, CALL)
    assert "2,500" in account.refusal(MOST), "one call's real usage took its promise's place"
    account.settle(second, CALL)
    assert account.refusal(Usage(tokens_in=1000, tokens_out=200)) == ""
    assert account.refusal(Usage(tokens_in=1000, tokens_out=201)) != ""


def test_what_earlier_commands_spent_counts_for_the_run_and_not_for_the_command() -> None:
    before = Spend(calls=3, tokens_in=500, usd=0.95)
    run = Account(before, Allowed("[budget]", usd=1.0), Allowed("this command", usd=0.5))
    assert run.refusal(Usage(usd=0.04)) == ""
    assert run.refusal(Usage(usd=0.06)).startswith("[budget] allows 1 USD: 0.9500")
    mine = Account(before, Allowed("[budget]"), Allowed("this command", usd=0.5))
    assert mine.refusal(Usage(usd=0.5)) == ""
    assert mine.refusal(Usage(usd=0.51)).startswith("this command allows 0.5 USD")


def test_an_unknown_price_is_counted_as_unknown() -> None:
    spent = total([CALL, Usage(tokens_in=5, usd=None, calls=1), Usage(seconds=3.0)])
    assert spent == Spend(2, 905, 100, pytest.approx(0.01), 1, 5.0)


def test_the_total_is_before_and_now() -> None:
    account = Account(Spend(calls=1, tokens_in=10, usd=0.1, unpriced=1, seconds=1.0))
    account.settle(account.reserve(MOST), CALL)
    assert account.total == Spend(2, 910, 100, pytest.approx(0.11), 1, 3.0)
