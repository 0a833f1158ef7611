"""The command line. `commands` is the whole of it as one table; `entry` reads it, runs one row, and turns a refusal
into `error: / why: / try:` and an exit code. What a row names is imported when it runs: `cloudcore env` stays quick.
"""
