"""The fixtures that other container tests stand on: an engine that can be killed is a real one."""

from pathlib import Path
from typing import Any

from tests.containers import Engine, leftovers


def test_a_container_outlives_its_killed_engine(
    second_engine: Engine, engine_client: Any, engine_image: str
) -> None:
    second_engine.load(engine_image, engine_client)
    client = second_engine.client()
    job = client.containers.create(
        engine_image,
        ["python3", "-c", "import time; time.sleep(60)"],
        network_mode="none",
        labels={"darwin-git.role": "test"},
    )
    job.start()
    pid = client.api.inspect_container(job.id)["State"]["Pid"]
    second_engine.kill()
    assert Path(f"/proc/{pid}").exists()
    second_engine.start()
    assert client.api.inspect_container(job.id)["State"]["Running"]
    assert leftovers(client) == [f"container /{job.name} running"]
    second_engine.stop()
    second_engine.start()
    assert client.api.inspect_container(job.id)["State"]["Running"]
    second_engine.clear()
    assert leftovers(client) == []
    client.close()
    assert not Path(f"/proc/{pid}").exists()
