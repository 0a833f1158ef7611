"""How the closed vocabulary of refusals reads on the wire: one table for EC2, one for STS and IAM.

Clients branch on these codes. Every EC2 refusal is HTTP 400 unless STATUS says otherwise: a 5xx makes clients repeat
for minutes, so what we do not offer, and capacity, are 400s. InvalidGroup.NotFound holds for a group's id too: waiters
and Terraform test that one.
"""

from __future__ import annotations

from cloudcore.errors import Code

EC2: dict[Code, str] = {
    # requests
    Code.MISSING_ACTION: "MissingAction",
    Code.UNKNOWN_ACTION: "InvalidAction",
    Code.UNSUPPORTED: "UnsupportedOperation",
    Code.UNKNOWN_PARAMETER: "UnknownParameter",
    Code.MISSING_PARAMETER: "MissingParameter",
    Code.BAD_VALUE: "InvalidParameterValue",
    Code.BAD_COMBINATION: "InvalidParameterCombination",
    Code.BAD_REQUEST: "InvalidRequest",
    Code.BAD_PAGE_TOKEN: "InvalidNextToken",
    Code.DRY_RUN: "DryRunOperation",
    Code.TOKEN_MISMATCH: "IdempotentParameterMismatch",
    Code.THROTTLED: "RequestLimitExceeded",
    Code.UNAVAILABLE: "Unavailable",
    Code.INTERNAL: "InternalError",
    # identity
    Code.NOT_AUTHENTICATED: "AuthFailure",
    Code.REQUEST_EXPIRED: "RequestExpired",
    Code.NOT_AUTHORISED: "UnauthorizedOperation",
    Code.PROFILE_UNKNOWN: "InvalidParameterValue",
    Code.PROFILE_ASSOCIATED: "IncorrectState",
    # instances
    Code.INSTANCE_MALFORMED: "InvalidInstanceID.Malformed",
    Code.INSTANCE_UNKNOWN: "InvalidInstanceID.NotFound",
    Code.INSTANCE_STATE: "IncorrectInstanceState",
    Code.INSTANCE_PROTECTED: "OperationNotPermitted",
    Code.INSTANCE_TYPE_UNKNOWN: "InvalidInstanceType",
    Code.INSTANCE_TYPE_TOO_LARGE: "Unsupported",
    Code.CAPACITY: "InsufficientInstanceCapacity",
    Code.LAUNCHED_AND_ENDED: "IdempotentInstanceTerminated",
    Code.USER_DATA_MALFORMED: "InvalidUserData.Malformed",
    Code.ZONE_UNKNOWN: "InvalidParameterValue",
    # images
    Code.IMAGE_MALFORMED: "InvalidAMIID.Malformed",
    Code.IMAGE_UNKNOWN: "InvalidAMIID.NotFound",
    Code.IMAGE_NAME_DUPLICATE: "InvalidAMIName.Duplicate",
    Code.IMAGE_UNAVAILABLE: "InvalidAMIID.Unavailable",
    Code.IMAGE_INVALID: "InvalidParameterValue",
    Code.IMAGE_MANIFEST: "InvalidManifest",
    # key pairs
    Code.KEY_PAIR_UNKNOWN: "InvalidKeyPair.NotFound",
    Code.KEY_PAIR_DUPLICATE: "InvalidKeyPair.Duplicate",
    Code.KEY_FORMAT: "InvalidKey.Format",
    # security groups
    Code.GROUP_MALFORMED: "InvalidGroupId.Malformed",
    Code.GROUP_UNKNOWN: "InvalidGroup.NotFound",
    Code.GROUP_DUPLICATE: "InvalidGroup.Duplicate",
    Code.GROUP_RESERVED: "CannotDelete",
    Code.GROUP_IN_USE: "DependencyViolation",
    Code.RULE_DUPLICATE: "InvalidPermission.Duplicate",
    Code.RULE_UNKNOWN: "InvalidPermission.NotFound",
    Code.RULE_ID_MALFORMED: "InvalidSecurityGroupRuleId.Malformed",
    Code.RULE_ID_UNKNOWN: "InvalidSecurityGroupRuleId.NotFound",
    # networks
    Code.VPC_MALFORMED: "InvalidVpcId.Malformed",
    Code.VPC_UNKNOWN: "InvalidVpcID.NotFound",
    Code.SUBNET_MALFORMED: "InvalidSubnetID.Malformed",
    Code.SUBNET_UNKNOWN: "InvalidSubnetID.NotFound",
    Code.INTERFACE_UNKNOWN: "InvalidNetworkInterfaceID.NotFound",
    Code.ROUTE_TABLE_UNKNOWN: "InvalidRouteTableID.NotFound",
    Code.INTERNET_GATEWAY_UNKNOWN: "InvalidInternetGatewayID.NotFound",
    Code.NETWORK_ACL_UNKNOWN: "InvalidNetworkAclID.NotFound",
    Code.DHCP_OPTIONS_UNKNOWN: "InvalidDhcpOptionID.NotFound",
    Code.ADDRESSES_EXHAUSTED: "InsufficientFreeAddressesInSubnet",
    # elastic addresses
    Code.ELASTIC_UNKNOWN: "InvalidAddress.NotFound",
    Code.ALLOCATION_UNKNOWN: "InvalidAllocationID.NotFound",
    Code.ASSOCIATION_UNKNOWN: "InvalidAssociationID.NotFound",
    Code.ELASTIC_IN_USE: "InvalidIPAddress.InUse",
    Code.ALREADY_ASSOCIATED: "Resource.AlreadyAssociated",
    Code.ELASTIC_EXHAUSTED: "InsufficientAddressCapacity",
    # tags and generic resources
    Code.RESOURCE_MALFORMED: "InvalidID",
    Code.RESOURCE_UNKNOWN: "InvalidParameterValue",
    Code.TAG_LIMIT: "TagLimitExceeded",
    # volumes, snapshots
    Code.VOLUME_MALFORMED: "InvalidVolumeID.Malformed",
    Code.VOLUME_UNKNOWN: "InvalidVolume.NotFound",
    Code.VOLUME_STATE: "IncorrectState",
    Code.VOLUME_IN_USE: "VolumeInUse",
    Code.VOLUME_ZONE: "InvalidVolume.ZoneMismatch",
    Code.VOLUME_TYPE_UNKNOWN: "UnknownVolumeType",
    Code.ATTACHMENT_UNKNOWN: "InvalidAttachment.NotFound",
    Code.MODIFICATION_UNKNOWN: "InvalidVolumeModification.NotFound",
    Code.MODIFICATION_STATE: "IncorrectModificationState",
    Code.SNAPSHOT_MALFORMED: "InvalidSnapshotID.Malformed",
    Code.SNAPSHOT_UNKNOWN: "InvalidSnapshot.NotFound",
    Code.SNAPSHOT_STATE: "IncorrectState",
    Code.SNAPSHOT_IN_USE: "InvalidSnapshot.InUse",
    Code.IMPORT_TASK_MALFORMED: "InvalidConversionTaskId.Malformed",
    Code.IMPORT_TASK_UNKNOWN: "InvalidConversionTaskId",
    Code.BLOCK_DEVICE: "InvalidParameterValue",
    Code.BLOCK_DEVICE_MAPPING: "InvalidBlockDeviceMapping",
    Code.ATTACHMENT_LIMIT: "AttachmentLimitExceeded",
    Code.ROOT_VOLUME: "OperationNotPermitted",
    # kinds of which there is nothing
    Code.SPOT_REQUEST_UNKNOWN: "InvalidSpotInstanceRequestID.NotFound",
    Code.RESERVED_INSTANCES_UNKNOWN: "InvalidReservedInstancesId",
    Code.DEDICATED_HOST_UNKNOWN: "InvalidHostID.NotFound",
    Code.PEERING_UNKNOWN: "InvalidVpcPeeringConnectionID.NotFound",
    Code.ENDPOINT_UNKNOWN: "InvalidVpcEndpointId.NotFound",
    Code.VPN_GATEWAY_UNKNOWN: "InvalidVpnGatewayID.NotFound",
    Code.VPN_CONNECTION_UNKNOWN: "InvalidVpnConnectionID.NotFound",
    Code.CUSTOMER_GATEWAY_UNKNOWN: "InvalidCustomerGatewayID.NotFound",
    Code.EGRESS_GATEWAY_UNKNOWN: "InvalidGatewayID.NotFound",
    Code.PREFIX_LIST_UNKNOWN: "InvalidPrefixListID.NotFound",
    Code.FLOW_LOG_UNKNOWN: "InvalidFlowLogId.NotFound",
    Code.TRANSIT_GATEWAY_UNKNOWN: "InvalidTransitGatewayID.NotFound",
    Code.CARRIER_GATEWAY_UNKNOWN: "InvalidCarrierGatewayID.NotFound",
    Code.CAPACITY_RESERVATION_UNKNOWN: "InvalidCapacityReservationId.NotFound",
    Code.EXPORT_TASK_UNKNOWN: "InvalidExportTaskID.NotFound",
    # quotas
    Code.INSTANCE_QUOTA: "InstanceLimitExceeded",
    Code.VCPU_QUOTA: "VcpuLimitExceeded",
    Code.GROUP_QUOTA: "SecurityGroupLimitExceeded",
    Code.RULE_QUOTA: "RulesPerSecurityGroupLimitExceeded",
    Code.ELASTIC_QUOTA: "AddressLimitExceeded",
    Code.VOLUME_QUOTA: "VolumeLimitExceeded",
    Code.SNAPSHOT_QUOTA: "SnapshotLimitExceeded",
    # hosts
    Code.HOST_UNREACHABLE: "Unavailable",
    Code.NO_HYPERVISOR: "Unsupported",
    Code.DISK_LOST: "InternalError",
}

STATUS: dict[str, int] = {
    "AuthFailure": 401,
    "UnauthorizedOperation": 403,
    "DryRunOperation": 412,
    "RequestLimitExceeded": 503,
    "Unavailable": 503,
    "InternalError": 500,
}

QUERY: dict[Code, tuple[str, int]] = {
    Code.MISSING_ACTION: ("MissingAction", 400),
    Code.UNKNOWN_ACTION: ("InvalidAction", 400),
    Code.UNSUPPORTED: ("InvalidAction", 400),
    Code.NOT_AUTHENTICATED: ("SignatureDoesNotMatch", 403),
    Code.REQUEST_EXPIRED: ("SignatureDoesNotMatch", 403),
    Code.NOT_AUTHORISED: ("AccessDenied", 403),
    Code.USER_UNKNOWN: ("NoSuchEntity", 404),
    Code.ACCESS_KEY_UNKNOWN: ("NoSuchEntity", 404),
    Code.ROLE_UNKNOWN: ("NoSuchEntity", 404),
    Code.POLICY_UNKNOWN: ("NoSuchEntity", 404),
    Code.PROFILE_UNKNOWN: ("NoSuchEntity", 404),
    Code.ROLE_DUPLICATE: ("EntityAlreadyExists", 409),
    Code.PROFILE_DUPLICATE: ("EntityAlreadyExists", 409),
    Code.ACCESS_KEY_DUPLICATE: ("EntityAlreadyExists", 409),
    Code.IDENTITY_QUOTA: ("LimitExceeded", 409),
    Code.TAG_LIMIT: ("LimitExceeded", 409),
    Code.IN_USE: ("DeleteConflict", 409),
    Code.POLICY_MALFORMED: ("MalformedPolicyDocument", 400),
    Code.BAD_REQUEST: ("ValidationError", 400),
    Code.UNKNOWN_PARAMETER: ("ValidationError", 400),
    Code.MISSING_PARAMETER: ("ValidationError", 400),
    Code.BAD_VALUE: ("ValidationError", 400),
    Code.BAD_COMBINATION: ("ValidationError", 400),
    Code.BAD_PAGE_TOKEN: ("ValidationError", 400),
    Code.THROTTLED: ("Throttling", 400),
    Code.UNAVAILABLE: ("ServiceUnavailable", 503),
    Code.INTERNAL: ("InternalFailure", 500),
}


def ec2(code: Code) -> tuple[str, int]:
    """(code on the wire, HTTP status). A code that is no EC2 refusal is our bug, and reads so."""
    name = EC2.get(code, "InternalError")
    return name, STATUS.get(name, 400)


def query(code: Code) -> tuple[str, int]:
    return QUERY.get(code, ("InternalFailure", 500))
