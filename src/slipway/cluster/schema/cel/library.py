"""The functions that Kubernetes 1.37 gives to CEL: the language's own and its libraries'.

Which libraries are on is a fact of apiserver `pkg/cel/environment/base.go`: strings (version 2), lists (3), sets,
two-variable comprehensions, optionals, regex, URL, IP, CIDR, quantity, semver, named formats. Math and base64
encoders are not among them. The authorizer belongs to admission, which adds its functions to these.
"""

from __future__ import annotations

from slipway.cluster.schema.cel.collections import COLLECTIONS
from slipway.cluster.schema.cel.kinds import Functions
from slipway.cluster.schema.cel.named_formats import NAMED_FORMATS
from slipway.cluster.schema.cel.network import NETWORK
from slipway.cluster.schema.cel.optionals import OPTIONALS
from slipway.cluster.schema.cel.quantity import QUANTITY
from slipway.cluster.schema.cel.semver import SEMVER
from slipway.cluster.schema.cel.standard import STANDARD
from slipway.cluster.schema.cel.strings import STRINGS

KUBERNETES: Functions = STANDARD.merged(
    OPTIONALS, STRINGS, COLLECTIONS, NETWORK, QUANTITY, SEMVER, NAMED_FORMATS
)
