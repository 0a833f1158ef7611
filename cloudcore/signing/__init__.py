"""AWS signatures, sans-IO: SigV4 in header and presigned form, aws-chunked bodies.

    heads    what is signed: method, path, query and headers, raw
    sigv4    judging a request: read_claim(head), then verify(claim, head, ...)
    signer   the client's side: sign and presign
    chunked  the aws-chunked body and its chain of signatures
"""
