# What Dagster works as: the graph's own permissions, by what it does with each service. The roles themselves are in roles.tf.

locals {
  sagemaker = "arn:aws:sagemaker:${local.region}:${local.account}"
  models    = ["${var.solution_prefix}-xgb", "${var.solution_prefix}-rcf"]
  kinds     = { for kind in ["training-job", "model", "endpoint-config", "endpoint"] : kind => [for model in local.models : "${local.sagemaker}:${kind}/${model}-*"] }
  groups_of = [for model in local.models : "${local.sagemaker}:model-package-group/${model}"]
  packages  = [for model in local.models : "${local.sagemaker}:model-package/${model}/*"]

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
}
