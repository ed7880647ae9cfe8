"""The processes that a process has started (from Linux's /proc)."""

from pathlib import Path


def descendants(pid: int) -> dict[int, list[str]]:
    """Return the processes below `pid`, with their command lines."""
    parents, commands = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            commands[int(folder.name)] = (folder / "cmdline").read_text().split("\0")
        except (OSError, IndexError):
            continue  # it has ended meanwhile

    def is_below(process: int) -> bool:
        while process in parents:
            process = parents[process]
            if process == pid:
                return True
        return False

    return {process: commands[process] for process in parents if process in commands and is_below(process)}


def environment_of(pid: int) -> dict[str, str]:
    """Return the environment with which a process was started."""
    entries = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return dict(entry.split("=", 1) for entry in entries if entry)
