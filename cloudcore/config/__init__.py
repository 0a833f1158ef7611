"""Configuration: one TOML file, every key also as CLOUDCORE_<SECTION>__<KEY>.

    model    the sections: frozen dataclasses, each key with its default and what it may be
    loading  reads file and environment, and reports every mistake at once
"""
