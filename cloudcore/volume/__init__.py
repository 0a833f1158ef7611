"""The volumes of one host: made, grown, copied out, served to guests elsewhere, removed (rpc/volume.py)."""
