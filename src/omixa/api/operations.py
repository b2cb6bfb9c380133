"""The table of endpoints. Routes and the OpenAPI document are made from it."""

from __future__ import annotations

from omixa.api import account, health, images, models
from omixa.api.operation import Operation

API = "/api/v1"

# GET /openapi.json joins in api/openapi.py, which describes all of these.
OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "createImage",
        "POST",
        f"{API}/images/generations",
        images.create_image,
        "Make or edit pictures",
        "ImageAnswer",
        "Images",
    ),
    Operation(
        "listModels",
        "GET",
        f"{API}/models",
        models.list_models,
        "List the models this key may call",
        "ModelList",
        "Models",
    ),
    Operation(
        "getModel",
        "GET",
        f"{API}/models/{{model}}",
        models.get_model,
        "Describe a model and its prices",
        "Model",
        "Models",
    ),
    Operation(
        "getModelSchema",
        "GET",
        f"{API}/models/{{model}}/schema",
        models.get_schema,
        "Return the JSON Schema of a model's requests",
        "Schema",
        "Models",
    ),
    Operation(
        "getRequest",
        "GET",
        f"{API}/requests/{{request}}",
        account.get_request,
        "Tell what happened to a request",
        "RequestDetails",
        "Requests",
    ),
    Operation(
        "getRequestResult",
        "GET",
        f"{API}/requests/{{request}}/result",
        account.get_result,
        "Fetch a request's answer again",
        "ImageAnswer",
        "Requests",
    ),
    Operation(
        "listRequests",
        "GET",
        f"{API}/usage/requests",
        account.list_requests,
        "List requests, newest first",
        "RequestList",
        "Usage",
        query=("limit", "after"),
    ),
    Operation(
        "listRollups",
        "GET",
        f"{API}/usage/rollups",
        account.list_rollups,
        "Add up usage by day or month",
        "RollupList",
        "Usage",
        query=("period_type", "since", "until"),
    ),
    Operation(
        "getBalance",
        "GET",
        f"{API}/balance",
        account.get_balance,
        "Return the balance that this key spends from",
        "Balance",
        "Usage",
    ),
    Operation(
        "getHealth",
        "GET",
        "/healthz",
        health.get_health,
        "Tell whether the process is alive",
        "Health",
        "Service",
        authenticated=False,
    ),
    Operation(
        "getReadiness",
        "GET",
        "/readyz",
        health.get_readiness,
        "Tell whether requests are admitted",
        "Readiness",
        "Service",
        authenticated=False,
    ),
)
