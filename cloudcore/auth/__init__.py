"""The Auth Manager: users, projects, roles and access keys behind one Protocol."""
