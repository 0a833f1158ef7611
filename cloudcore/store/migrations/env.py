"""Run by alembic. The connection, and the transaction it is in, belong to store/migrating.py."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], render_as_batch=True)
context.run_migrations()
