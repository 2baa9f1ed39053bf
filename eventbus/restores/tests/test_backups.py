"""What is known of backups, and of the timeline that the database is on."""

from unittest.mock import patch

import pytest

from eventbus.restores import backups
from eventbus.restores.backups import BackupStatus, backup_status
from eventbus.restores.models import BaseBackup, Reconciliation
from eventbus.restores.timeline import is_reconciled, timeline

pytestmark = pytest.mark.django_db

ARCHIVES = backups.STATUS.replace("current_setting('archive_mode') <> 'off'", "true")


def test_where_nothing_is_archived_nothing_can_be_late() -> None:
    assert backup_status() is None


def test_the_age_is_that_of_the_last_backup() -> None:
    with patch.object(backups, "STATUS", ARCHIVES):
        never = backup_status()
        BaseBackup.objects.create()
        now = backup_status()
    assert isinstance(never, BackupStatus)
    assert isinstance(now, BackupStatus)
    assert never.backup_age is None
    assert now.backup_age is not None
    assert 0 <= now.backup_age < 3600
    assert now.archive_lag > 0, "since anybody counts"


def test_a_new_database_has_forgotten_nothing_and_a_restored_one_is_on_another_timeline() -> None:
    assert is_reconciled()
    Reconciliation.objects.create(timeline=timeline() - 1)
    assert not is_reconciled()
    Reconciliation.objects.create(timeline=timeline())
    assert is_reconciled()
