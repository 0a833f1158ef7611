"""What is stored, under which name, how often referred to. `model`: values and Protocols; `sqlite`: the door."""
