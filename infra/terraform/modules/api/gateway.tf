# The REST API: explicit routes, the authorizer, throttling, a log without personal data, and errors in the API's one form.

locals {
  routes = {
    "predict"       = { method = "POST", keyed = true, parent = null, part = "predict" }
    "predict/batch" = { method = "POST", keyed = true, parent = "predict", part = "batch" }
    "feedback"      = { method = "POST", keyed = true, parent = null, part = "feedback" }
    "models"        = { method = "GET", keyed = true, parent = null, part = "models" }
    "health"        = { method = "GET", keyed = false, parent = null, part = "health" }
    "openapi.json"  = { method = "GET", keyed = false, parent = null, part = "openapi.json" }
  }
  # As api/gateway.py answers on a machine without API Gateway; a test compares them.
  responses = {
    UNAUTHORIZED                 = { status = 401, code = "unauthorized", message = "send an API key in the header x-api-key" }
    ACCESS_DENIED                = { status = 403, code = "forbidden", message = "the API key in the header x-api-key is not valid" }
    MISSING_AUTHENTICATION_TOKEN = { status = 404, code = "not_found", message = "there is nothing at this path" }
    REQUEST_TOO_LARGE            = { status = 413, code = "too_large", message = "the body is larger than 10485760 bytes" }
    THROTTLED                    = { status = 429, code = "throttled", message = "too many requests: try again after 1 s" }
    AUTHORIZER_FAILURE           = { status = 500, code = "authorizer_failed", message = "the API keys cannot be read; try again later" }
    DEFAULT_5XX                  = { status = 500, code = "internal_error", message = "the request could not be handled" }
  }
  not_allowed = { code = "method_not_allowed", message = "this path does not take this method: see the header Allow" }
}

resource "aws_api_gateway_rest_api" "this" {
  name               = "${var.name}-${var.stage}"
  description        = "Fraud predictions"
  binary_media_types = []
  endpoint_configuration {
    types = ["REGIONAL"]
  }
  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_api_gateway_resource" "top" {
  for_each    = { for path, route in local.routes : path => route if route.parent == null }
  rest_api_id = aws_api_gateway_rest_api.this.id
  parent_id   = aws_api_gateway_rest_api.this.root_resource_id
  path_part   = each.value.part
}

resource "aws_api_gateway_resource" "below" {
  for_each    = { for path, route in local.routes : path => route if route.parent != null }
  rest_api_id = aws_api_gateway_rest_api.this.id
  parent_id   = aws_api_gateway_resource.top[each.value.parent].id
  path_part   = each.value.part
}

locals {
  resource_ids = merge(
    { for path, resource in aws_api_gateway_resource.top : path => resource.id },
    { for path, resource in aws_api_gateway_resource.below : path => resource.id },
  )
}

resource "aws_api_gateway_authorizer" "keys" {
  name                             = "keys"
  rest_api_id                      = aws_api_gateway_rest_api.this.id
  type                             = "TOKEN"
  identity_source                  = "method.request.header.x-api-key"
  authorizer_uri                   = aws_lambda_alias.live["authorize"].invoke_arn
  authorizer_result_ttl_in_seconds = 60
}

resource "aws_api_gateway_method" "route" {
  for_each      = local.routes
  rest_api_id   = aws_api_gateway_rest_api.this.id
  resource_id   = local.resource_ids[each.key]
  http_method   = each.value.method
  authorization = each.value.keyed ? "CUSTOM" : "NONE"
  authorizer_id = each.value.keyed ? aws_api_gateway_authorizer.keys.id : null
}

resource "aws_api_gateway_integration" "route" {
  for_each                = local.routes
  rest_api_id             = aws_api_gateway_rest_api.this.id
  resource_id             = aws_api_gateway_method.route[each.key].resource_id
  http_method             = aws_api_gateway_method.route[each.key].http_method
  type                    = "AWS_PROXY"
  integration_http_method = "POST"
  uri                     = aws_lambda_alias.live["app"].invoke_arn
  timeout_milliseconds    = 16000
}

# Any other method on a path that there is: 405, answered by the gateway, so that nobody without a key runs the function.
resource "aws_api_gateway_method" "other" {
  for_each      = local.routes
  rest_api_id   = aws_api_gateway_rest_api.this.id
  resource_id   = local.resource_ids[each.key]
  http_method   = "ANY"
  authorization = "NONE"
}

resource "aws_api_gateway_integration" "other" {
  for_each             = local.routes
  rest_api_id          = aws_api_gateway_rest_api.this.id
  resource_id          = aws_api_gateway_method.other[each.key].resource_id
  http_method          = aws_api_gateway_method.other[each.key].http_method
  type                 = "MOCK"
  passthrough_behavior = "WHEN_NO_MATCH"
  # By the kind of what was sent: a kind without a template would be a fault of the gateway.
  request_templates = {
    for kind in ["application/json", "application/octet-stream", "application/x-www-form-urlencoded", "multipart/form-data", "text/csv", "text/plain"] :
    kind => jsonencode({ statusCode = 405 })
  }
}

resource "aws_api_gateway_method_response" "other" {
  for_each            = local.routes
  rest_api_id         = aws_api_gateway_rest_api.this.id
  resource_id         = aws_api_gateway_method.other[each.key].resource_id
  http_method         = aws_api_gateway_method.other[each.key].http_method
  status_code         = "405"
  response_parameters = { "method.response.header.Allow" = true }
}

resource "aws_api_gateway_integration_response" "other" {
  for_each            = local.routes
  rest_api_id         = aws_api_gateway_rest_api.this.id
  resource_id         = aws_api_gateway_integration.other[each.key].resource_id
  http_method         = aws_api_gateway_integration.other[each.key].http_method
  status_code         = aws_api_gateway_method_response.other[each.key].status_code
  response_parameters = { "method.response.header.Allow" = "'${each.value.method}'" }
  response_templates = {
    "application/json" = jsonencode({
      error = { code = local.not_allowed.code, message = local.not_allowed.message, field = null, request_id = "$context.requestId" }
    })
  }
}

resource "aws_api_gateway_gateway_response" "this" {
  for_each            = local.responses
  rest_api_id         = aws_api_gateway_rest_api.this.id
  response_type       = each.key
  status_code         = tostring(each.value.status)
  response_parameters = each.value.status == 429 ? { "gatewayresponse.header.Retry-After" = "'1'" } : {}
  response_templates = {
    "application/json" = jsonencode({
      error = { code = each.value.code, message = each.value.message, field = null, request_id = "$context.requestId" }
    })
  }
}

resource "aws_lambda_permission" "route" {
  for_each      = local.routes
  statement_id  = "gateway-${replace(replace(each.key, "/", "-"), ".", "-")}"
  action        = "lambda:InvokeFunction"
  function_name = aws_lambda_function.this["app"].function_name
  qualifier     = aws_lambda_alias.live["app"].name
  principal     = "apigateway.amazonaws.com"
  source_arn    = "${aws_api_gateway_rest_api.this.execution_arn}/*/${each.value.method}/${each.key}"
}

resource "aws_lambda_permission" "authorizer" {
  statement_id  = "gateway"
  action        = "lambda:InvokeFunction"
  function_name = aws_lambda_function.this["authorize"].function_name
  qualifier     = aws_lambda_alias.live["authorize"].name
  principal     = "apigateway.amazonaws.com"
  source_arn    = "${aws_api_gateway_rest_api.this.execution_arn}/authorizers/${aws_api_gateway_authorizer.keys.id}"
}

resource "aws_api_gateway_deployment" "this" {
  rest_api_id = aws_api_gateway_rest_api.this.id
  triggers = {
    definition = filesha256("${path.module}/gateway.tf")
  }
  lifecycle {
    create_before_destroy = true
  }
  depends_on = [
    aws_api_gateway_integration.route,
    aws_api_gateway_integration_response.other,
    aws_api_gateway_gateway_response.this,
  ]
}

resource "aws_cloudwatch_log_group" "access" {
  name              = "/aws/apigateway/${var.name}-${var.stage}"
  retention_in_days = var.log_days
  kms_key_id        = var.kms_key_arn
}

resource "aws_api_gateway_stage" "this" {
  rest_api_id          = aws_api_gateway_rest_api.this.id
  deployment_id        = aws_api_gateway_deployment.this.id
  stage_name           = "api"
  xray_tracing_enabled = true
  access_log_settings {
    destination_arn = aws_cloudwatch_log_group.access.arn
    # No address, no user agent, no body: which key asked for what, and how it went.
    format = jsonencode({
      request_id     = "$context.requestId"
      key_id         = "$context.authorizer.principalId"
      method         = "$context.httpMethod"
      path           = "$context.resourcePath"
      status         = "$context.status"
      latency_ms     = "$context.responseLatency"
      integration_ms = "$context.integrationLatency"
      error          = "$context.error.responseType"
    })
  }
  # The account must let API Gateway write logs first.
  depends_on = [aws_api_gateway_account.this]
}

resource "aws_api_gateway_method_settings" "all" {
  rest_api_id = aws_api_gateway_rest_api.this.id
  stage_name  = aws_api_gateway_stage.this.stage_name
  method_path = "*/*"
  settings {
    throttling_rate_limit  = var.rate
    throttling_burst_limit = var.burst
    metrics_enabled        = true
    logging_level          = "ERROR"
    # Bodies hold transactions.
    data_trace_enabled = false
    caching_enabled    = false
  }
}

# One for the whole account and region: what API Gateway writes logs as.
resource "aws_api_gateway_account" "this" {
  cloudwatch_role_arn = aws_iam_role.gateway.arn
}

resource "aws_iam_role" "gateway" {
  name = "${var.solution_prefix}-gateway-logs"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "apigateway.amazonaws.com" }
    }]
  })
}

# AWS's own policy for this; API Gateway refuses a narrower role.
resource "aws_iam_role_policy_attachment" "gateway" {
  role       = aws_iam_role.gateway.name
  policy_arn = "arn:aws:iam::aws:policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs"
}
