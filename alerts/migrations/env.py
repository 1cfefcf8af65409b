"""What alembic runs: it brings the journal that is open up to date, in one transaction.

Lives here: how a migration is run. Not here: the steps (versions), the schema that they lead to (alerts.journal)."""

from __future__ import annotations

from alembic import context

from alerts.journal import VERSIONS_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSIONS_TABLE,
    transactional_ddl=True,
)
context.run_migrations()
