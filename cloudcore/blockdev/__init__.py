"""Where the bytes of volumes lie: files or logical volumes, and how guests of other hosts reach them."""
