# What tasks work as, and what starts them. What each of the former needs was recorded: infra/terraform/permissions.json.

locals {
  sagemaker = "arn:aws:sagemaker:${local.region}:${local.account}"
  models    = ["${var.solution_prefix}-xgb", "${var.solution_prefix}-rcf"]
  kinds     = { for kind in ["training-job", "model", "endpoint-config", "endpoint"] : kind => [for model in local.models : "${local.sagemaker}:${kind}/${model}-*"] }
  groups_of = [for model in local.models : "${local.sagemaker}:model-package-group/${model}"]
  packages  = [for model in local.models : "${local.sagemaker}:model-package/${model}/*"]
  glue_job  = "arn:aws:glue:${local.region}:${local.account}:job/${var.glue_job_name}"
  read_key  = { Sid = "Key", Effect = "Allow", Action = ["kms:Decrypt"], Resource = [var.kms_key_arn] }
  use_key   = { Sid = "Key", Effect = "Allow", Action = ["kms:Decrypt", "kms:GenerateDataKey"], Resource = [var.kms_key_arn] }

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

  dagster_statements = [
    {
      Sid    = "Read"
      Effect = "Allow"
      Action = "s3:GetObject"
      Resource = concat(
        [for folder in ["archive", "dataset", "landing", "split"] : "${var.bucket_arns.data}/${folder}/*"],
        [for folder in ["dagster", "evaluation", "graph", "serving/manifests"] : "${var.bucket_arns.models}/${folder}/*"],
        ["${var.bucket_arns.models}/serving/manifest.json", "${var.bucket_arns.stream}/stream/wish.json"],
      )
    },
    {
      Sid    = "Write"
      Effect = "Allow"
      Action = "s3:PutObject"
      Resource = concat(
        [for folder in ["archive", "dataset", "split"] : "${var.bucket_arns.data}/${folder}/*"],
        [for folder in ["dagster", "evaluation", "graph", "serving/manifests"] : "${var.bucket_arns.models}/${folder}/*"],
        ["${var.bucket_arns.models}/serving/manifest.json"],
      )
    },
    {
      Sid      = "Replace"
      Effect   = "Allow"
      Action   = "s3:DeleteObject"
      Resource = [for folder in ["archive", "split"] : "${var.bucket_arns.data}/${folder}/*"]
    },
    {
      Sid      = "Find"
      Effect   = "Allow"
      Action   = "s3:ListBucket"
      Resource = [var.bucket_arns.data, var.bucket_arns.models]
    },
    {
      Sid      = "Train"
      Effect   = "Allow"
      Action   = ["sagemaker:CreateTrainingJob", "sagemaker:DescribeTrainingJob", "sagemaker:StopTrainingJob"]
      Resource = local.kinds["training-job"]
    },
    {
      Sid      = "Models"
      Effect   = "Allow"
      Action   = ["sagemaker:CreateModel", "sagemaker:DeleteModel"]
      Resource = local.kinds["model"]
    },
    {
      Sid      = "EndpointConfigs"
      Effect   = "Allow"
      Action   = ["sagemaker:CreateEndpointConfig", "sagemaker:DeleteEndpointConfig", "sagemaker:CreateEndpoint"]
      Resource = local.kinds["endpoint-config"]
    },
    {
      Sid      = "Endpoints"
      Effect   = "Allow"
      Action   = ["sagemaker:CreateEndpoint", "sagemaker:DescribeEndpoint", "sagemaker:DeleteEndpoint", "sagemaker:InvokeEndpoint"]
      Resource = local.kinds["endpoint"]
    },
    {
      Sid      = "FindEndpoints"
      Effect   = "Allow"
      Action   = "sagemaker:ListEndpoints"
      Resource = "*"
    },
    {
      Sid      = "Groups"
      Effect   = "Allow"
      Action   = ["sagemaker:CreateModelPackageGroup", "sagemaker:DescribeModelPackageGroup"]
      Resource = local.groups_of
    },
    {
      Sid      = "Registry"
      Effect   = "Allow"
      Action   = ["sagemaker:CreateModelPackage", "sagemaker:DescribeModelPackage", "sagemaker:UpdateModelPackage"]
      Resource = local.packages
    },
    {
      Sid       = "HandOverRole"
      Effect    = "Allow"
      Action    = "iam:PassRole"
      Resource  = [var.sagemaker_role_arn]
      Condition = { StringEquals = { "iam:PassedToService" = "sagemaker.amazonaws.com" } }
    },
    {
      Sid      = "StreamJob"
      Effect   = "Allow"
      Action   = ["glue:GetJobRuns", "glue:StartJobRun"]
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
      Sid       = "Heartbeats"
      Effect    = "Allow"
      Action    = "cloudwatch:PutMetricData"
      Resource  = "*"
      Condition = { StringEquals = { "cloudwatch:namespace" = "fraudit" } }
    },
    {
      Sid      = "Alerts"
      Effect   = "Allow"
      Action   = "sns:Publish"
      Resource = [var.operations_topic_arn]
    },
    {
      Sid      = "Login"
      Effect   = "Allow"
      Action   = "secretsmanager:GetSecretValue"
      Resource = [var.role_secret_arns.analyst]
    },
    local.use_key,
  ]

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
