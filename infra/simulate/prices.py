"""List prices in US dollars, us-east-1, without free tiers and savings plans; late 2025.

Prices change and differ by region: check them on each service's pricing page before you plan with
them. All are for arm64 where there is a choice.
"""

HOURS = 730
"""Of a month, as AWS's own calculator counts."""

FARGATE_VCPU_H = 0.03238
FARGATE_GB_H = 0.00356
SPOT_PART = 0.3
"""What Fargate Spot costs, as a part of the price on demand: it moves, and is up to 70 % less."""

LAMBDA_GB_S = 0.0000133334
LAMBDA_X86_GB_S = 0.0000166667
LAMBDA_REQUEST = 0.20 / 1e6
GATEWAY_REQUEST = 3.50 / 1e6
"""API Gateway, REST, the first 333 million a month."""

SES_EMAIL = 0.10 / 1000
SES_GB = 0.12
"""Of attachments."""

S3_GB_MONTH = 0.023
S3_PUT = 0.005 / 1000
S3_GET = 0.0004 / 1000
INTERNET_GB = 0.09
"""Data out to the internet, the first 10 TB a month."""

ACU_H = 0.12
AURORA_GB_MONTH = 0.10
AURORA_IO = 0.20 / 1e6
CACHE_NODE_H = 0.0256
"""ElastiCache for Valkey, cache.t4g.small."""

NAT_H = 0.045
NAT_GB = 0.045
ADDRESS_H = 0.005
"""A public IPv4 address, of which a NAT gateway has one."""

ENDPOINT_H = 0.01
"""An interface endpoint, in each zone."""

ENDPOINT_GB = 0.01
LOGS_GB = 0.50
METRIC_MONTH = 0.30
ALARM_MONTH = 0.10
SECRET_MONTH = 0.40
DASHBOARD_MONTH = 3.00
