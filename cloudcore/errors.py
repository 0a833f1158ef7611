"""The closed vocabulary of refusals. Codes are stable and never reused; each protocol maps them in one table of its own
(api: EC2, STS and IAM; objectstore: S3; cli: sentences). Nothing here knows HTTP.

A CloudError is an answer, not an accident: its text may be shown to the caller and names the offending value. Whatever
else is raised is a bug and reaches the caller as an opaque reference only.
"""

from __future__ import annotations

from enum import Enum


class Code(Enum):
    """What can be wrong, in the words of the domain."""

    # requests
    MISSING_ACTION = "missing-action"
    UNKNOWN_ACTION = "unknown-action"
    UNSUPPORTED = "unsupported"
    UNKNOWN_PARAMETER = "unknown-parameter"
    MISSING_PARAMETER = "missing-parameter"
    BAD_VALUE = "bad-value"
    BAD_COMBINATION = "bad-combination"
    BAD_REQUEST = "bad-request"
    BAD_PAGE_TOKEN = "bad-page-token"  # noqa: S105
    DRY_RUN = "dry-run"
    TOKEN_MISMATCH = "token-mismatch"  # noqa: S105
    THROTTLED = "throttled"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"
    # identity
    NOT_AUTHENTICATED = "not-authenticated"
    REQUEST_EXPIRED = "request-expired"
    NOT_AUTHORISED = "not-authorised"
    USER_UNKNOWN = "user-unknown"
    USER_DUPLICATE = "user-duplicate"
    PROJECT_UNKNOWN = "project-unknown"
    PROJECT_DUPLICATE = "project-duplicate"
    ACCESS_KEY_UNKNOWN = "access-key-unknown"
    ACCESS_KEY_DUPLICATE = "access-key-duplicate"
    ROLE_UNKNOWN = "role-unknown"
    ROLE_DUPLICATE = "role-duplicate"
    POLICY_UNKNOWN = "policy-unknown"
    POLICY_MALFORMED = "policy-malformed"
    PROFILE_UNKNOWN = "profile-unknown"
    PROFILE_DUPLICATE = "profile-duplicate"
    PROFILE_ASSOCIATED = "profile-associated"
    IDENTITY_QUOTA = "identity-quota"
    IN_USE = "in-use"
    # instances
    INSTANCE_MALFORMED = "instance-malformed"
    INSTANCE_UNKNOWN = "instance-unknown"
    INSTANCE_STATE = "instance-state"
    INSTANCE_PROTECTED = "instance-protected"
    INSTANCE_TYPE_UNKNOWN = "instance-type-unknown"
    INSTANCE_TYPE_TOO_LARGE = "instance-type-too-large"
    CAPACITY = "capacity"
    LAUNCHED_AND_ENDED = "launched-and-ended"
    USER_DATA_MALFORMED = "user-data-malformed"
    ZONE_UNKNOWN = "zone-unknown"
    # images
    IMAGE_MALFORMED = "image-malformed"
    IMAGE_UNKNOWN = "image-unknown"
    IMAGE_NAME_DUPLICATE = "image-name-duplicate"
    IMAGE_UNAVAILABLE = "image-unavailable"
    IMAGE_INVALID = "image-invalid"
    IMAGE_MANIFEST = "image-manifest"
    # key pairs
    KEY_PAIR_UNKNOWN = "key-pair-unknown"
    KEY_PAIR_DUPLICATE = "key-pair-duplicate"
    KEY_FORMAT = "key-format"
    # security groups
    GROUP_MALFORMED = "group-malformed"
    GROUP_UNKNOWN = "group-unknown"
    GROUP_DUPLICATE = "group-duplicate"
    GROUP_RESERVED = "group-reserved"
    GROUP_IN_USE = "group-in-use"
    RULE_DUPLICATE = "rule-duplicate"
    RULE_UNKNOWN = "rule-unknown"
    RULE_ID_MALFORMED = "rule-id-malformed"
    RULE_ID_UNKNOWN = "rule-id-unknown"
    # networks
    NETWORK_UNKNOWN = "network-unknown"
    NETWORK_DUPLICATE = "network-duplicate"
    VPC_MALFORMED = "vpc-malformed"
    VPC_UNKNOWN = "vpc-unknown"
    SUBNET_MALFORMED = "subnet-malformed"
    SUBNET_UNKNOWN = "subnet-unknown"
    INTERFACE_UNKNOWN = "interface-unknown"
    ROUTE_TABLE_UNKNOWN = "route-table-unknown"
    INTERNET_GATEWAY_UNKNOWN = "internet-gateway-unknown"
    NETWORK_ACL_UNKNOWN = "network-acl-unknown"
    DHCP_OPTIONS_UNKNOWN = "dhcp-options-unknown"
    ADDRESSES_EXHAUSTED = "addresses-exhausted"
    # elastic addresses
    ELASTIC_UNKNOWN = "elastic-unknown"
    ALLOCATION_UNKNOWN = "allocation-unknown"
    ASSOCIATION_UNKNOWN = "association-unknown"
    ELASTIC_IN_USE = "elastic-in-use"
    ALREADY_ASSOCIATED = "already-associated"
    ELASTIC_EXHAUSTED = "elastic-exhausted"
    # tags and generic resources
    RESOURCE_MALFORMED = "resource-malformed"
    RESOURCE_UNKNOWN = "resource-unknown"
    TAG_LIMIT = "tag-limit"
    # volumes, snapshots
    VOLUME_MALFORMED = "volume-malformed"
    VOLUME_UNKNOWN = "volume-unknown"
    VOLUME_STATE = "volume-state"
    VOLUME_IN_USE = "volume-in-use"
    VOLUME_ZONE = "volume-zone"
    VOLUME_TYPE_UNKNOWN = "volume-type-unknown"
    ATTACHMENT_UNKNOWN = "attachment-unknown"
    MODIFICATION_UNKNOWN = "modification-unknown"
    MODIFICATION_STATE = "modification-state"
    SNAPSHOT_MALFORMED = "snapshot-malformed"
    SNAPSHOT_UNKNOWN = "snapshot-unknown"
    SNAPSHOT_STATE = "snapshot-state"
    SNAPSHOT_IN_USE = "snapshot-in-use"
    IMPORT_TASK_MALFORMED = "import-task-malformed"
    IMPORT_TASK_UNKNOWN = "import-task-unknown"
    BLOCK_DEVICE = "block-device"
    BLOCK_DEVICE_MAPPING = "block-device-mapping"
    ATTACHMENT_LIMIT = "attachment-limit"
    ROOT_VOLUME = "root-volume"
    # kinds of which there is nothing: what is asked for by id is not there
    SPOT_REQUEST_UNKNOWN = "spot-request-unknown"
    RESERVED_INSTANCES_UNKNOWN = "reserved-instances-unknown"
    DEDICATED_HOST_UNKNOWN = "dedicated-host-unknown"
    PEERING_UNKNOWN = "peering-unknown"
    ENDPOINT_UNKNOWN = "endpoint-unknown"
    VPN_GATEWAY_UNKNOWN = "vpn-gateway-unknown"
    VPN_CONNECTION_UNKNOWN = "vpn-connection-unknown"
    CUSTOMER_GATEWAY_UNKNOWN = "customer-gateway-unknown"
    EGRESS_GATEWAY_UNKNOWN = "egress-gateway-unknown"
    PREFIX_LIST_UNKNOWN = "prefix-list-unknown"
    FLOW_LOG_UNKNOWN = "flow-log-unknown"
    TRANSIT_GATEWAY_UNKNOWN = "transit-gateway-unknown"
    CARRIER_GATEWAY_UNKNOWN = "carrier-gateway-unknown"
    CAPACITY_RESERVATION_UNKNOWN = "capacity-reservation-unknown"
    EXPORT_TASK_UNKNOWN = "export-task-unknown"
    # quotas
    INSTANCE_QUOTA = "instance-quota"
    VCPU_QUOTA = "vcpu-quota"
    GROUP_QUOTA = "group-quota"
    RULE_QUOTA = "rule-quota"
    ELASTIC_QUOTA = "elastic-quota"
    VOLUME_QUOTA = "volume-quota"
    SNAPSHOT_QUOTA = "snapshot-quota"
    # hosts
    HOST_UNKNOWN = "host-unknown"
    HOST_UNREACHABLE = "host-unreachable"
    NO_HYPERVISOR = "no-hypervisor"
    DISK_LOST = "disk-lost"
    # the machine below
    NOT_PERMITTED = "not-permitted"
    STATE_DIRECTORY = "state-directory"
    SCHEMA_NEWER = "schema-newer"
    PORT_TAKEN = "port-taken"
    CONFIGURATION = "configuration"
    PROGRAM_FAILED = "program-failed"


class CloudError(Exception):
    """One refusal: a `Code` and a sentence that names the value at fault. Safe to show to the caller."""

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(code, text)
        self.code, self.text = code, text

    def __str__(self) -> str:
        return self.text
