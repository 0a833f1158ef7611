"""S3's refusals: a closed vocabulary with its HTTP status, in one table.

500, 502, 503 and 504 are retried by clients, so nothing that will not change answers with them; 507 is not retried.
"""

from __future__ import annotations

STATUS: dict[str, int] = {
    "AccessDenied": 403, "AuthorizationHeaderMalformed": 400, "AuthorizationQueryParametersError": 400,
    "BadDigest": 400, "BucketAlreadyExists": 409, "BucketNotEmpty": 409, "EntityTooLarge": 400, "EntityTooSmall": 400,
    "IllegalLocationConstraintException": 400, "IncompleteBody": 400, "InsufficientStorage": 507,
    "InternalError": 500, "InvalidAccessKeyId": 403, "InvalidArgument": 400, "InvalidBucketName": 400,
    "InvalidDigest": 400, "InvalidPart": 400, "InvalidPartNumber": 416, "InvalidPartOrder": 400, "InvalidRange": 416,
    "InvalidRequest": 400, "InvalidToken": 400, "InvalidURI": 400, "KeyTooLongError": 400, "MalformedXML": 400,
    "MaxMessageLengthExceeded": 400, "MetadataTooLarge": 400, "MethodNotAllowed": 405, "MissingContentLength": 411,
    "NoSuchBucket": 404, "NoSuchBucketPolicy": 404, "NoSuchCORSConfiguration": 404, "NoSuchKey": 404,
    "NoSuchLifecycleConfiguration": 404, "NoSuchPublicAccessBlockConfiguration": 404, "NoSuchTagSet": 404,
    "NoSuchUpload": 404, "NoSuchVersion": 404, "NoSuchWebsiteConfiguration": 404, "NotImplemented": 501,
    "NotModified": 304, "ObjectLockConfigurationNotFoundError": 404, "OwnershipControlsNotFoundError": 404,
    "PreconditionFailed": 412, "ReplicationConfigurationNotFoundError": 404, "RequestTimeTooSkewed": 403,
    "ServerSideEncryptionConfigurationNotFoundError": 404, "ServiceUnavailable": 503, "SignatureDoesNotMatch": 403,
    "XAmzContentSHA256Mismatch": 400,
}


class Refused(Exception):
    """An answer, not an accident. `code` is one of STATUS; `text` is for the caller and names the value at fault.

    `headers` go out with the answer. In a transaction it is raised before anything is written.
    """

    def __init__(self, code: str, text: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(code, text)
        self.code, self.text, self.headers, self.status = code, text, headers, STATUS[code]


def no_such_bucket(name: str) -> Refused:
    return Refused("NoSuchBucket", f"The bucket '{name}' does not exist")


def no_such_key() -> Refused:
    return Refused("NoSuchKey", "The key does not exist")


def no_such_upload() -> Refused:
    return Refused("NoSuchUpload", "The upload does not exist; it may have been aborted or completed")
