# What tasks work as, and what starts them. What each of the former needs was recorded: infra/terraform/permissions.json.

locals {
  glue_job = "arn:aws:glue:${local.region}:${local.account}:job/${var.glue_job_name}"
  read_key = { Sid = "Key", Effect = "Allow", Action = ["kms:Decrypt"], Resource = [var.kms_key_arn] }
  use_key  = { Sid = "Key", Effect = "Allow", Action = ["kms:Decrypt", "kms:GenerateDataKey"], Resource = [var.kms_key_arn] }

  policies = {
    dagster          = local.dagster_statements
    dashboard        = local.dashboard_statements
    migrate          = local.migrate_statements
    dagster-database = local.dagster_database_statements
    smoke            = local.smoke_statements
  }
  injected = {
    dagster          = [aws_secretsmanager_secret.dagster.arn]
    dashboard        = [aws_secretsmanager_secret.dashboard.arn]
    migrate          = [var.warehouse.owner_secret_arn]
    dagster-database = [var.warehouse.owner_secret_arn]
    smoke            = [aws_secretsmanager_secret.dashboard.arn]
  }

  dashboard_statements = [
    {
      Sid    = "Read"
      Effect = "Allow"
      Action = "s3:GetObject"
      Resource = [
        "${var.bucket_arns.models}/evaluation/*",
        "${var.bucket_arns.models}/serving/manifest.json",
        "${var.bucket_arns.models}/serving/manifests/*",
        "${var.bucket_arns.stream}/stream/wish.json",
      ]
    },
    {
      Sid      = "Find"
      Effect   = "Allow"
      Action   = "s3:ListBucket"
      Resource = [var.bucket_arns.models]
    },
    {
      Sid      = "StreamJob"
      Effect   = "Allow"
      Action   = "glue:GetJobRuns"
      Resource = [local.glue_job]
    },
    {
      Sid      = "Stream"
      Effect   = "Allow"
      Action   = "kinesis:DescribeStreamSummary"
      Resource = [var.stream_arn]
    },
    {
      Sid      = "ReadMetrics"
      Effect   = "Allow"
      Action   = "cloudwatch:GetMetricData"
      Resource = "*"
    },
    {
      Sid      = "Login"
      Effect   = "Allow"
      Action   = "secretsmanager:GetSecretValue"
      Resource = [var.role_secret_arns.reader]
    },
    local.read_key,
  ]

  migrate_statements = [
    {
      Sid      = "StreamJobsCode"
      Effect   = "Allow"
      Action   = "s3:PutObject"
      Resource = [for name in ["glue_job.py", "fraudit_stream-py3-none-any.whl"] : "${var.bucket_arns.stream}/glue/${name}"]
    },
    {
      Sid      = "Logins"
      Effect   = "Allow"
      Action   = ["secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue", "secretsmanager:UpdateSecretVersionStage"]
      Resource = concat([for role in ["writer", "analyst", "reader"] : var.role_secret_arns[role]], [var.api_keys_secret_arn])
    },
    local.use_key,
  ]

  dagster_database_statements = [
    {
      Sid      = "Login"
      Effect   = "Allow"
      Action   = ["secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue", "secretsmanager:UpdateSecretVersionStage"]
      Resource = [aws_secretsmanager_secret.dagster.arn]
    },
    local.use_key,
  ]

  smoke_statements = [
    {
      Sid    = "Read"
      Effect = "Allow"
      Action = "s3:GetObject"
      Resource = [
        "${var.bucket_arns.data}/split/*",
        "${var.bucket_arns.models}/graph/*",
        "${var.bucket_arns.stream}/dead-letters/*",
      ]
    },
    {
      Sid      = "Find"
      Effect   = "Allow"
      Action   = "s3:ListBucket"
      Resource = [var.bucket_arns.data, var.bucket_arns.stream]
    },
    {
      Sid      = "Events"
      Effect   = "Allow"
      Action   = ["kinesis:GetRecords", "kinesis:GetShardIterator", "kinesis:ListShards"]
      Resource = [var.stream_arn]
    },
    {
      Sid      = "Login"
      Effect   = "Allow"
      Action   = "secretsmanager:GetSecretValue"
      Resource = [var.role_secret_arns.analyst]
    },
    local.read_key,
  ]
}

resource "aws_iam_role" "task" {
  for_each = local.policies
  name     = "${var.solution_prefix}-${each.key}"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
      Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
    }]
  })
}

resource "aws_iam_role_policy" "task" {
  for_each = local.policies
  name     = each.key
  role     = aws_iam_role.task[each.key].name
  policy   = jsonencode({ Version = "2012-10-17", Statement = each.value })
}

# What ECS works as before the first line of a task: it fetches the image and the secrets that go into the task's environment.
resource "aws_iam_role" "start" {
  for_each = local.injected
  name     = "${var.solution_prefix}-start-${each.key}"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
      Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
    }]
  })
}

resource "aws_iam_role_policy" "start" {
  for_each = local.injected
  name     = "start"
  role     = aws_iam_role.start[each.key].name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "ImageLogin"
        Effect   = "Allow"
        Action   = "ecr:GetAuthorizationToken"
        Resource = "*"
      },
      {
        Sid      = "Image"
        Effect   = "Allow"
        Action   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
        Resource = [aws_ecr_repository.this.arn]
      },
      {
        Sid      = "Logs"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = ["${aws_cloudwatch_log_group.this.arn}:*"]
      },
      {
        Sid      = "Secrets"
        Effect   = "Allow"
        Action   = "secretsmanager:GetSecretValue"
        Resource = each.value
      },
      local.read_key,
    ]
  })
}
