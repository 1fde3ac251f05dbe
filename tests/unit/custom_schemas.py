"""Strict schemas of custom resources, as far as catseye writes them: a field that is not here is refused.

Written by hand from the API references of the Prometheus operator, the Gateway API and KServe. tests/deploy checks the
same objects against what is generated from the projects' own definitions.
"""

STRING, NUMBER, FLAG = {"type": "string", "minLength": 1}, {"type": "integer"}, {"type": "boolean"}
DURATION = {"type": "string", "pattern": r"^([0-9]+(ms|[smhdwy]))+$"}
PORT = {"type": "integer", "minimum": 1, "maximum": 65535}


def record(required: dict, optional: dict | None = None) -> dict:
    return {
        "type": "object",
        "properties": required | (optional or {}),
        "required": list(required),
        "additionalProperties": False,
    }


def array(items: dict) -> dict:
    return {"type": "array", "items": items, "minItems": 1}


MAP = {"type": "object", "additionalProperties": {"type": "string"}}
META = record({"name": STRING}, {"labels": MAP, "annotations": MAP, "namespace": STRING})


def resource(version: str, kind: str, spec: dict) -> dict:
    return record({"apiVersion": {"const": version}, "kind": {"const": kind}, "metadata": META, "spec": spec})


_ENDPOINT = record(
    {"port": STRING},
    {
        "path": STRING,
        "interval": DURATION,
        "scrapeTimeout": DURATION,
        "authorization": record({"type": STRING, "credentials": record({"name": STRING, "key": STRING})}),
    },
)
_RULE = record({"alert": STRING, "expr": STRING}, {"for": DURATION, "labels": MAP, "annotations": MAP})
_LISTENER = record(
    {"name": STRING, "protocol": {"enum": ["HTTP", "HTTPS"]}, "port": PORT},
    {
        "hostname": STRING,
        "tls": record(
            {"mode": {"enum": ["Terminate", "Passthrough"]}, "certificateRefs": array(record({"name": STRING}))}
        ),
    },
)
_ROUTE_RULE = record(
    {
        "matches": array(record({"path": record({"type": {"enum": ["Exact", "PathPrefix"]}, "value": STRING})})),
        "backendRefs": array(record({"name": STRING, "port": PORT})),
    }
)
# The rest of a predictor is a PodSpec, which Kubernetes' own schemas check.
PREDICTOR = {"minReplicas", "maxReplicas", "scaleMetric", "scaleTarget", "deploymentStrategy", "labels"}

SCHEMAS = {
    "ServiceMonitor": resource(
        "monitoring.coreos.com/v1",
        "ServiceMonitor",
        record({"selector": record({"matchLabels": MAP}), "endpoints": array(_ENDPOINT)}),
    ),
    "PrometheusRule": resource(
        "monitoring.coreos.com/v1",
        "PrometheusRule",
        record({"groups": array(record({"name": STRING, "rules": array(_RULE)}, {"interval": DURATION}))}),
    ),
    "Gateway": resource(
        "gateway.networking.k8s.io/v1",
        "Gateway",
        record({"gatewayClassName": STRING, "listeners": array(_LISTENER)}),
    ),
    "HTTPRoute": resource(
        "gateway.networking.k8s.io/v1",
        "HTTPRoute",
        record(
            {"parentRefs": array(record({"name": STRING, "sectionName": STRING})), "rules": array(_ROUTE_RULE)},
            {"hostnames": array(STRING)},
        ),
    ),
    "InferenceService": resource(
        "serving.kserve.io/v1beta1",
        "InferenceService",
        record(
            {
                "predictor": {
                    "type": "object",
                    "required": ["containers", "minReplicas", "maxReplicas"],
                    "properties": {
                        "minReplicas": NUMBER,
                        "maxReplicas": NUMBER,
                        "scaleMetric": {"enum": ["cpu", "memory", "concurrency", "rps"]},
                        "scaleTarget": NUMBER,
                        "labels": MAP,
                    },
                }
            }
        ),
    ),
}
