# The prediction API's own things: what the function works as, the function, the secret of its keys. Its gateway is in gateway.tf.

data "aws_caller_identity" "here" {}

data "aws_region" "here" {}

locals {
  account = data.aws_caller_identity.here.account_id
  region  = data.aws_region.here.region
  # The same in api/.chalice/config.json, which `make env.sync` writes.
  environment = {
    solution_prefix  = var.solution_prefix
    stream_name      = var.stream_name
    aws_region       = local.region
    stage            = var.stage
    model_bucket     = var.bucket_names.models
    stream_bucket    = var.bucket_names.stream
    api_keys_secret  = var.keys_secret
    alerts_topic_arn = var.alerts_topic_arn
    contract         = var.contract
  }
  # As Chalice names them: `chalice deploy` and the local log group say the same.
  functions = {
    app       = { name = "${var.name}-${var.stage}", handler = "app.app", timeout = 15 }
    authorize = { name = "${var.name}-${var.stage}-authorize", handler = "app.authorize", timeout = 5 }
  }
}

resource "aws_secretsmanager_secret" "keys" {
  name        = var.keys_secret
  description = "Salted hashes of API keys; `fraudit keys create` adds one"
  kms_key_id  = var.kms_key_arn
}

resource "aws_secretsmanager_secret_version" "keys" {
  secret_id     = aws_secretsmanager_secret.keys.id
  secret_string = jsonencode({ keys = [] })
  lifecycle {
    ignore_changes = [secret_string]
  }
}

resource "aws_iam_role" "this" {
  name = "${var.solution_prefix}-api"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "lambda.amazonaws.com" }
    }]
  })
}

resource "aws_iam_role_policy" "this" {
  name = "predict"
  role = aws_iam_role.this.name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Models"
        Effect   = "Allow"
        Action   = "sagemaker:InvokeEndpoint"
        Resource = [for model in ["xgb", "rcf"] : "arn:aws:sagemaker:${local.region}:${local.account}:endpoint/${var.solution_prefix}-${model}-*"]
      },
      {
        Sid      = "Events"
        Effect   = "Allow"
        Action   = ["kinesis:PutRecords", "kinesis:DescribeStreamSummary"]
        Resource = [var.stream_arn]
      },
      {
        Sid      = "Manifest"
        Effect   = "Allow"
        Action   = "s3:GetObject"
        Resource = ["${var.bucket_arns.models}/serving/manifest.json"]
      },
      {
        # Without it, S3 says of a manifest that is not there yet that it is forbidden.
        Sid       = "ManifestMissing"
        Effect    = "Allow"
        Action    = "s3:ListBucket"
        Resource  = [var.bucket_arns.models]
        Condition = { StringLike = { "s3:prefix" = "serving/*" } }
      },
      {
        Sid      = "DeadLetters"
        Effect   = "Allow"
        Action   = "s3:PutObject"
        Resource = ["${var.bucket_arns.stream}/dead-letters/*"]
      },
      {
        Sid      = "Keys"
        Effect   = "Allow"
        Action   = "secretsmanager:GetSecretValue"
        Resource = [aws_secretsmanager_secret.keys.arn]
      },
      {
        Sid      = "Alerts"
        Effect   = "Allow"
        Action   = ["sns:Publish", "sns:GetTopicAttributes"]
        Resource = [var.alerts_topic_arn]
      },
      {
        Sid      = "Key"
        Effect   = "Allow"
        Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource = [var.kms_key_arn]
      },
      {
        Sid      = "Logs"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = [for group in aws_cloudwatch_log_group.function : "${group.arn}:*"]
      },
      {
        Sid      = "Traces"
        Effect   = "Allow"
        Action   = ["xray:PutTraceSegments", "xray:PutTelemetryRecords"]
        Resource = "*"
      },
    ]
  })
}

resource "aws_cloudwatch_log_group" "function" {
  for_each          = local.functions
  name              = "/aws/lambda/${each.value.name}"
  retention_in_days = var.log_days
  kms_key_id        = var.kms_key_arn
}

# Outside the VPC: all that it asks is AWS's own, and it starts faster. `make chalice.deploy` brings newer code, and a newer configuration to callers.
resource "aws_lambda_function" "this" {
  for_each                       = local.functions
  function_name                  = each.value.name
  description                    = "fraudit: ${each.value.handler}"
  role                           = aws_iam_role.this.arn
  runtime                        = "python3.13"
  architectures                  = ["x86_64"]
  handler                        = each.value.handler
  filename                       = var.package
  memory_size                    = 512
  timeout                        = each.value.timeout
  publish                        = true
  reserved_concurrent_executions = var.reserved_concurrency
  kms_key_arn                    = var.kms_key_arn
  environment {
    variables = local.environment
  }
  tracing_config {
    mode = "Active"
  }
  lifecycle {
    ignore_changes = [filename, source_code_hash]
  }
  depends_on = [aws_cloudwatch_log_group.function, aws_iam_role_policy.this]
}

# What callers reach: `make chalice.deploy` moves it to a version that answers, and back.
resource "aws_lambda_alias" "live" {
  for_each         = local.functions
  name             = "live"
  description      = "What API Gateway calls"
  function_name    = aws_lambda_function.this[each.key].function_name
  function_version = aws_lambda_function.this[each.key].version
  lifecycle {
    ignore_changes = [function_version]
  }
}
