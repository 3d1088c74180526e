"""The texts of `image`."""

from darwin_git.report.table import Data, table

MIB = 1 << 20


def built(data: Data) -> str:
    """`image build`."""
    done = "already made from the same inputs" if data["reused"] else "made"
    return f"{data['name']} {done}, {data['size'] // MIB} MiB: {_packages(data)}\n{data['id']}"


def listing(data: Data) -> str:
    """`image list`."""
    rows = [
        (
            "*" if one["named"] else "",
            one["id"].removeprefix("sha256:")[:12],
            ", ".join(one["names"]) or "-",
            f"{one['size'] // MIB} MiB",
            one["created"],
            _packages(one),
        )
        for one in data["images"]
    ]
    head = ("", "id", "name", "size", "made", "packages")
    lines = [table(rows, head) if rows else "no image of ours: `darwin-git image build` makes one"]
    if data["ready"] is None:
        lines.append(f"darwin.toml names {data['named']}, which the engine does not have")
    elif not any(one["named"] for one in data["images"]):
        lines.append(f"darwin.toml names {data['named']}, which `image build` did not make")
    for one in data["caches"]:
        size = f"{one['bytes'] / MIB:.1f} MiB" if one["bytes"] >= 0 else "size unknown"
        own = "" if one["own"] else "  (another clone's)"
        lines.append(f"cache {one['name']}  {size}{own}")
    return "\n".join(lines)


def cleaned(data: Data) -> str:
    """`image clean`."""
    lines = [f"removed {name}" for name in data["caches"]]
    lines += [f"removed image {name}" for name in data["images"]]
    lines += [f"in use, kept: {name}" for name in data["in_use"]]
    return "\n".join(lines) or "nothing to remove"


def checked(data: Data) -> str:
    """`image check`."""
    marks = {"ok": "ok  ", "note": "note", "bad": "BAD "}
    lines = []
    for check in data["checks"]:
        lines.append(f"{marks[check['state']]} {check['name']}: {check['found']}")
        if check["cure"]:
            lines.append(f"     -> {check['cure']}")
    return "\n".join(lines)


def _packages(one: Data) -> str:
    return ", ".join(f"{name} {version}" for name, version in one["packages"].items()) or "-"
