import json
import subprocess
from pathlib import Path

import pytest

from script._lib.local import ROOT

NAMES = {
    "pipeline",
    "pipeline_cpu",
    "pipeline_cpu_web",
    "pipeline_cpu_workers",
    "pipeline_cpu_flower",
    "pipeline_cpu_postgres",
    "pipeline_cpu_rabbitmq",
    "pipeline_cpu_mail",
    "pipeline_commits",
    "pipeline_memory",
    "pipeline_confirmed_p50",
    "pipeline_confirmed_p99",
    "pipeline_mailed_p50",
    "pipeline_mailed_p99",
    "intake",
    "intake_p50",
    "intake_p99",
    "intake_cpu_us",
    "relay",
    "relay_per_message_confirm",
    "relay_backlog",
    "relay_memory_mb",
    "relay_memory_growth",
    "consume",
    "consume_list",
    "reserve_stock",
    "as_of_p50",
    "as_of_p99",
    "end_to_end_p50",
    "end_to_end_p99",
    "ordered",
    "replay_dead_letters",
    "replay_dead_letters_freeze",
    "replay_dead_letters_memory_mb",
    "replay_events",
    "replay_events_memory_mb",
    "rebuild",
    "rebuild_eventsourcing",
    "rebuild_orm_loop",
    "rebuild_memory_mb",
    "verify_pipeline",
    "verify_pipeline_memory_mb",
    "large_archive_intake",
    "large_archive_relay",
    "large_archive_consume",
}


@pytest.mark.live
@pytest.mark.long
def test_every_benchmark_runs_and_is_written_down(tmp_path: Path) -> None:
    output = tmp_path / "bench.json"
    done = subprocess.run(
        [ROOT / "script/bench", "--quick", "--output", output], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(output.read_text())
    assert {result["name"] for result in report["results"]} == NAMES
    for result in report["results"]:
        # The few rows of a quick run may be gone before the first look at the backlog.
        assert result["ours"] > 0 or result["name"] == "relay_backlog"
        assert result["baseline"] > 0
        assert result["holds"] in (True, False, None)
    assert report["machine"]["cores"] >= 1
    assert {"python", "django", "celery", "rabbitmq", "postgresql"} <= set(report["versions"])


def test_a_benchmark_that_does_not_exist_is_refused() -> None:
    done = subprocess.run([ROOT / "script/bench", "nonsense"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "nonsense: no such benchmark" in done.stderr
