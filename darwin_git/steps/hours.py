"""Device hours: what could pass their limit is not begun."""

from darwin_git.domain.population import State
from darwin_git.errors import SPENT, DarwinError
from darwin_git.steps.world import World


def refuse_spent(world: World, state: State, trainings: int, what: str) -> None:
    """Refuse what the device hours may not allow.

    Args:
        trainings: the most that `what` may take.

    Raises:
        DarwinError: it could pass a limit; exit code 5.
    """
    totals = state.totals
    needed = trainings * totals.train_seconds / max(1, totals.trainings)
    for limits, spent in (
        (world.account.whole, totals.train_seconds),
        (world.account.command, totals.train_seconds - world.trained_before),
    ):
        if limits.seconds is not None and spent + needed > limits.seconds:
            raise DarwinError(
                f"{limits.name} allows {limits.seconds / 3600:.2f} device hours: "
                f"{spent / 3600:.2f} h are spent, and {what} may take {needed / 3600:.2f} h",
                hint="raise budget.device_hours in darwin.toml or --device-hours; "
                "`darwin-git report` shows what there is",
                exit_code=SPENT,
            )
