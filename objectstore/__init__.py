"""The object store: S3 over HTTP, durable before the 200."""
