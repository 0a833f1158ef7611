"""One maker a daemon, for `twistd -n cloudcore-api`. Imports nothing of ours, and no __init__.py beside or above it."""

from twisted.application.service import ServiceMaker

api = ServiceMaker("cloudcore-api", "cloudcore.daemon.api", "EC2 front door", "cloudcore-api")
conductor = ServiceMaker("cloudcore-conductor", "cloudcore.daemon.conductor", "intent to reality",
                         "cloudcore-conductor")  # fmt: skip
scheduler = ServiceMaker("cloudcore-scheduler", "cloudcore.daemon.scheduler", "placement", "cloudcore-scheduler")
network = ServiceMaker("cloudcore-network", "cloudcore.daemon.network", "a host's network agent", "cloudcore-network")
compute = ServiceMaker("cloudcore-compute", "cloudcore.daemon.compute", "a host's compute agent", "cloudcore-compute")
volume = ServiceMaker("cloudcore-volume", "cloudcore.daemon.volume", "a host's volume service", "cloudcore-volume")
metadata = ServiceMaker("cloudcore-metadata", "cloudcore.daemon.metadata", "169.254.169.254", "cloudcore-metadata")
objectstore = ServiceMaker("cloudcore-objectstore", "cloudcore.daemon.objectstore", "S3 object store",
                           "cloudcore-objectstore")  # fmt: skip
