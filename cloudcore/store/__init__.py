"""The cell database: schema, migrations and repositories over SQLAlchemy Core."""
