"""The object store: S3 over HTTP, durable before the 200.

    service      ObjectStore: everything composed; factory() is what a daemon listens with
    front        the only module that knows twisted.web: heads in, bodies streamed, answers out
    routes       the table: method, scope and marker -> operation, permission, kind of body
    chain        route -> signature -> bucket -> permission -> operation, once
    buckets, objects, writing, copying, multipart, listings   the operations, one small function each
    documents    XML in and out
    blobs, transfer   large bodies on disk, and between disk and socket
    index/       names, sizes and references: SQLite, one committer that batches
    garbage      what nobody refers to any more
    names, ranges, conditions, checksums, listing   pure
"""
