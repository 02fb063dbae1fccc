"""The OpenAPI 3.1 document of this API.

Belongs here: its routes, and the form of their answers. Does not: the fields of a request, which are taken from where they are
declared (``transactions.py``, ``feedback_request.py``), so that the document cannot promise what the parser does not do.
"""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from chalicelib.decision import Decision
from chalicelib.feedback_request import FEEDBACK
from chalicelib.keys import HEADER
from chalicelib.settings import Settings
from chalicelib.transactions import METADATA, transaction_field

_LIMITS = {field.name: field.default for field in dataclasses.fields(Settings)}
_DESCRIPTION = f"""Scores card transactions and decides: approve, review or block.

Every answer with a status of 400 or above has the form of the schema Error, also where it comes from the gateway: 404
for a path that is not here, 405 for a method that its path does not take. `field` is the path of what was wrong, such as
`metadata.geo.latitude` or `transactions[3].data.V7`, and null where no one field is at fault. What a client sent is never
repeated, but for the name of a field; a `*` stands for a name that may be personal data.

Bodies are JSON in UTF-8, of at most {_LIMITS["max_body_bytes"]} bytes ({_LIMITS["max_batch_bytes"]} for a batch). Fields
that are not named here are refused, and so is one that is given twice.

The inputs of a transaction are those of the models being served; this document was made for the present ones.
"""
_ERRORS = {
    "400": "A rule is broken; `field` says where.",
    "401": f"No API key came in the header {HEADER}.",
    "403": "The API key is not valid.",
    "413": "The body is too large.",
    "415": "The body's content type is not application/json.",
    "429": "Too many requests; send it again later.",
    "500": "Something went wrong that should not have, or the API keys cannot be read; send it again later.",
    "503": "Nothing could be done: no model is served, none answered, or what was sent could not be kept. Send it again later.",
}
_OF_BODIES = ("400", "413", "415", "503")
_OF_KEYS = ("401", "403")
_ALWAYS = ("429", "500")


def document(
    inputs: Sequence[str] | None, *, logarithmic: Collection[str] = (), example_at: datetime
) -> dict[str, Any]:
    """Return the document.

    Args:
        inputs: Names of the inputs of the models, in order; None where none is served, which leaves ``data`` open.
        logarithmic: Those of them whose logarithm a model takes, so that they must lie above -1.
        example_at: When the transactions of the examples happened.
    """
    return {
        "openapi": "3.1.0",
        "info": {"title": "fraudit prediction API", "version": "1", "description": _DESCRIPTION},
        "servers": [{"url": ".", "description": "Where this document came from."}],
        "security": [{"apiKey": []}],
        "paths": _paths(_examples(inputs, example_at.isoformat())),
        "components": {
            "securitySchemes": {
                "apiKey": {
                    "type": "apiKey",
                    "in": "header",
                    "name": HEADER,
                    "description": "Made by `fraudit keys create`.",
                }
            },
            "schemas": {**_request_schemas(inputs, logarithmic), **_answer_schemas()},
            "responses": {
                status: {"description": description, **_headers(status), **_json("Error")}
                for status, description in _ERRORS.items()
            },
        },
    }


def _paths(examples: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "/predict": {
            "post": {
                "operationId": "predict",
                "summary": "Score one transaction and decide on it.",
                "description": "The same body gets the same decision while the same models are served.",
                **_body("Transaction", examples["predict"]),
                **_answers("200", "The decision.", "Prediction", _OF_BODIES, _OF_KEYS),
            }
        },
        "/predict/batch": {
            "post": {
                "operationId": "predictBatch",
                "summary": "Score many transactions, all by the same models.",
                "description": "A transaction that is refused has an error in its place; the others get their answers.",
                **_body("Batch", examples["batch"]),
                **_answers("200", "An answer for each, in the order sent.", "BatchAnswer", _OF_BODIES, _OF_KEYS),
            }
        },
        "/feedback": {
            "post": {
                "operationId": "feedback",
                "summary": "Say what was found out about a transaction.",
                "description": "The same label sent again is the same label. The latest of a source counts.",
                **_body("Feedback", examples["feedback"]),
                **_answers("202", "It will be stored.", "Accepted", _OF_BODIES, _OF_KEYS),
            }
        },
        "/models": {
            "get": {
                "operationId": "models",
                "summary": "Show which models are served, and by which thresholds they decide.",
                **_answers("200", "The serving manifest.", "Models", ("503",), _OF_KEYS),
            }
        },
        "/health": {
            "get": {
                "operationId": "health",
                "summary": "Say whether transactions can be scored.",
                "description": "200 whenever the API itself answers; the body has the verdict.",
                "security": [],
                "parameters": [
                    {
                        "name": "deep",
                        "in": "query",
                        "description": "1 asks every dependency too, at most every few seconds.",
                        "schema": {"type": "string"},
                        "example": "1",
                    }
                ],
                **_answers("200", "The verdict.", "Health"),
            }
        },
        "/openapi.json": {
            "get": {
                "operationId": "openapi",
                "summary": "This document, for the models being served.",
                "security": [],
                **_answers("200", "An OpenAPI document.", "Document"),
            }
        },
    }


def _body(schema: str, examples: Mapping[str, Any]) -> dict[str, Any]:
    content = _json(schema)["content"]
    content["application/json"]["examples"] = {name: {"value": value} for name, value in examples.items()}
    return {"requestBody": {"required": True, "content": content}}


def _answers(status: str, description: str, schema: str, *errors: Sequence[str]) -> dict[str, Any]:
    statuses = sorted({*_ALWAYS, *(status for group in errors for status in group)})
    return {
        "responses": {
            status: {"description": description, **_json(schema)},
            **{error: {"$ref": f"#/components/responses/{error}"} for error in statuses},
        }
    }


def _headers(status: str) -> dict[str, Any]:
    wait = {"description": "Seconds to wait.", "schema": {"type": "integer"}}
    return {"headers": {"Retry-After": wait}} if status == "429" else {}


def _json(schema: str) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": _ref(schema)}}}


def _ref(schema: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{schema}"}


def _request_schemas(inputs: Sequence[str] | None, logarithmic: Collection[str]) -> dict[str, Any]:
    transaction = _transaction(inputs, logarithmic)
    batch = {
        "type": "array",
        "items": _ref("Transaction"),
        "minItems": 1,
        "maxItems": _LIMITS["max_batch_transactions"],
        "description": "Of two with the same transaction_id the second is refused.",
    }
    return {
        "Transaction": transaction,
        "Batch": _object({"transactions": batch}),
        "Feedback": FEEDBACK.schema,
    }


def _transaction(inputs: Sequence[str] | None, logarithmic: Collection[str]) -> Mapping[str, Any]:
    if inputs is None:
        data = {"type": ["object", "string"], "description": "The inputs of the models; none are served now."}
        return _object({"metadata": METADATA.schema, "data": data})
    return transaction_field(tuple(inputs), frozenset(logarithmic)).schema


def _examples(inputs: Sequence[str] | None, timestamp: str) -> dict[str, dict[str, Any]]:
    metadata = {
        "transaction_id": "8d7e0a52-3f0f-4f5e-9c38-52a1b7d0c6aa",
        "timestamp": timestamp,
        "user_id": "user-17",
        "source": "Web",
        "device_info": {"device_type": "phone", "os_version": "Android 16", "app_version": "4.2.0"},
        "ip_address": "198.18.77.203",
        "geo": {"country": "NL", "region": "Zuid-Holland", "city": "Delft", "latitude": 52.01157, "longitude": 4.35711},
    }
    label = {"transaction_id": metadata["transaction_id"], "label": 1, "source": "chargeback"}
    feedback = {"now": label, "earlier": {**label, "source": "analyst", "labelled_at": timestamp}}
    if inputs is None:
        return {"predict": {}, "batch": {}, "feedback": feedback}
    by_name = {"metadata": metadata, "data": dict.fromkeys(inputs, 1.0)}
    csv = {"metadata": {**metadata, "transaction_id": "17"}, "data": ",".join("1.0" for _ in inputs)}
    return {
        "predict": {"byName": by_name, "csv": csv},
        "batch": {"two": {"transactions": [by_name, csv]}},
        "feedback": feedback,
    }


def _answer_schemas() -> dict[str, Any]:
    text, number = {"type": "string"}, {"type": "number"}
    text_or_null, number_or_null = {"type": ["string", "null"]}, {"type": ["number", "null"]}
    classifier = {
        "pred_proba": {**number_or_null, "minimum": 0, "maximum": 1, "description": "Calibrated probability of fraud."},
        "prediction": {"enum": [0, 1, None], "description": "1 where it asks for a review at least."},
        "model_version": text,
    }
    detector = {"score": {**number_or_null, "description": "Higher is stranger."}, "model_version": text}
    reason = {"feature": text, "value": number, "weight": {**number, "description": "By how much it raised the score."}}
    degraded = {
        "type": "array",
        "items": {"enum": ["fraud_classifier", "anomaly_detector", "reasons", "events", "dead_letters"]},
        "description": "What did not work on the way; a model named here has null for its answer.",
    }
    dependency = {"status": {"enum": ["ok", "down"]}, "latency_ms": number_or_null}
    error = {"code": text, "message": text, "field": text_or_null, "request_id": text}
    return {
        "Prediction": _object(
            {
                "transaction_id": text,
                "decision": {"enum": [decision.value for decision in Decision]},
                "fraud_classifier": _object(classifier),
                "anomaly_detector": _object(detector),
                "reasons": {
                    "type": "array",
                    "items": _object(reason),
                    "description": "What raised the classifier's score most; empty for what is approved.",
                },
                "degraded": degraded,
            }
        ),
        "BatchAnswer": _object(
            {"results": {"type": "array", "items": {"oneOf": [_ref("Prediction"), _ref("Error")]}}},
        ),
        "Accepted": _object({"transaction_id": text, "accepted": {"const": True}, "degraded": degraded}),
        "Models": {
            "type": "object",
            "properties": {
                "manifest_version": text,
                "inputs": {"type": "array", "items": text},
                "amount": text,
                "fraud_classifier": {"type": "object"},
                "anomaly_detector": {"type": "object"},
                "policy": {"type": "object"},
            },
            "required": ["manifest_version", "inputs", "amount", "fraud_classifier", "anomaly_detector", "policy"],
        },
        "Health": _object(
            {
                "status": {"enum": ["ok", "degraded", "down"]},
                "manifest_version": text_or_null,
                "reason": {**text_or_null, "description": "Why the manifest is not the current one."},
                "dependencies": {"type": "object", "additionalProperties": _object(dependency)},
            },
            optional=("dependencies",),
        ),
        "Document": {"type": "object", "required": ["openapi", "info", "paths"]},
        "Error": _object({"error": _object(error)}),
    }


def _object(properties: Mapping[str, Any], *, optional: Collection[str] = ()) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }
