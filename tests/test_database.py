"""The migrated database that `make setup` leaves for the first server."""

import sqlite3
from contextlib import closing

from flows import database, local_stack


def test_setup_leaves_a_migrated_database_that_a_new_home_gets(tmp_path, monkeypatch):
    monkeypatch.setattr(local_stack, "PROJECT_HOME", tmp_path / "project")
    database.main()
    template = database.template_path(tmp_path / "project")
    before = template.read_bytes()
    database.main()
    assert template.read_bytes() == before, "there is one already"
    database.prepare(tmp_path / "home", tmp_path / "project")
    with closing(sqlite3.connect(tmp_path / "home" / database.NAME)) as connection:
        tables = {name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")}
        (version,) = connection.execute("select version_num from alembic_version").fetchone()
    assert version and {"flow_run", "task_run", "deployment", "work_pool"} <= tables


def test_a_failed_migration_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(local_stack, "PROJECT_HOME", tmp_path / "project")
    monkeypatch.setattr(database.sys, "executable", "false")
    database.main()
    assert not (tmp_path / "project").exists()
