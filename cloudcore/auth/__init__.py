"""Who may speak to the cloud: users, projects, roles and access keys behind one Protocol.

    model    the values and the Protocol
    sql      in the cell database (or any other that the store opens)
    memory   in this process
    cached   an Auth Manager around another
    seal     how secret keys are kept at rest
"""
