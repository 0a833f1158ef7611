"""What our HTTP front doors have in common: connections that cannot be used to lock everybody out."""
