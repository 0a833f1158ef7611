"""AWS signatures, sans-IO: SigV4 in header and presigned form, aws-chunked bodies."""
