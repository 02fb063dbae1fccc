# What SageMaker works as, where models are registered, and a notebook.

data "aws_caller_identity" "here" {}

data "aws_region" "here" {}

locals {
  account   = data.aws_caller_identity.here.account_id
  region    = data.aws_region.here.region
  sagemaker = "arn:aws:sagemaker:${local.region}:${local.account}"
  # What the notebooks make (notebooks/workbench.py): none of the names of what serves.
  notebook_names = [for model in ["xgb", "rcf"] : "${var.solution_prefix}-notebook-${model}"]
}

# Training jobs and endpoints read parts of tables, and read and write models.
resource "aws_iam_role" "sagemaker" {
  name = "${var.solution_prefix}-sagemaker"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "sagemaker.amazonaws.com" }
      Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
    }]
  })
}

resource "aws_iam_role_policy" "sagemaker" {
  name = "train-and-serve"
  role = aws_iam_role.sagemaker.name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "FindParts"
        Effect   = "Allow"
        Action   = "s3:ListBucket"
        Resource = [var.bucket_arns.data, var.bucket_arns.models]
      },
      {
        Sid      = "ReadParts"
        Effect   = "Allow"
        Action   = "s3:GetObject"
        Resource = ["${var.bucket_arns.data}/split/*", "${var.bucket_arns.models}/training/*"]
      },
      {
        Sid      = "WriteModels"
        Effect   = "Allow"
        Action   = ["s3:PutObject", "s3:AbortMultipartUpload"]
        Resource = ["${var.bucket_arns.models}/training/*"]
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
        Action   = ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"]
        Resource = ["arn:aws:logs:${local.region}:${local.account}:log-group:/aws/sagemaker/*"]
      },
      {
        Sid       = "Metrics"
        Effect    = "Allow"
        Action    = "cloudwatch:PutMetricData"
        Resource  = "*"
        Condition = { StringLike = { "cloudwatch:namespace" = ["/aws/sagemaker/*", "AWS/SageMaker"] } }
      },
      {
        Sid      = "BuiltInContainers"
        Effect   = "Allow"
        Action   = ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:BatchCheckLayerAvailability"]
        Resource = [for repository in var.algorithm_repositories : "arn:aws:ecr:${local.region}:${repository}"]
      },
      {
        Sid      = "ContainerLogin"
        Effect   = "Allow"
        Action   = "ecr:GetAuthorizationToken"
        Resource = "*"
      },
    ]
  })
}

resource "aws_sagemaker_model_package_group" "this" {
  for_each                        = { xgb = "XGBoost, supervised", rcf = "Random Cut Forest, unsupervised" }
  model_package_group_name        = "${var.solution_prefix}-${each.key}"
  model_package_group_description = each.value
}

resource "aws_security_group" "notebook" {
  name        = "${var.solution_prefix}-notebook"
  description = "The notebook: nobody comes in"
  vpc_id      = var.vpc_id
}

resource "aws_vpc_security_group_egress_rule" "notebook" {
  security_group_id = aws_security_group.notebook.id
  description       = "HTTPS to AWS"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

# A notebook that nobody works in costs money: it stops itself after an hour. And it takes the notebooks of the last deployment.
resource "aws_sagemaker_notebook_instance_lifecycle_configuration" "this" {
  name = "${var.solution_prefix}-notebook"
  on_start = base64encode(templatefile("${path.module}/on_start.sh", {
    bucket = trimprefix(var.bucket_arns.models, "arn:aws:s3:::")
  }))
}

resource "aws_iam_role" "notebook" {
  name = "${var.solution_prefix}-notebook"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "sagemaker.amazonaws.com" }
      Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
    }]
  })
}

resource "aws_iam_role_policy" "notebook" {
  name = "train-and-deploy"
  role = aws_iam_role.notebook.name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Find"
        Effect   = "Allow"
        Action   = "s3:ListBucket"
        Resource = [var.bucket_arns.data, var.bucket_arns.models]
      },
      {
        Sid      = "Read"
        Effect   = "Allow"
        Action   = "s3:GetObject"
        Resource = ["${var.bucket_arns.data}/split/*", "${var.bucket_arns.models}/notebooks/instance/*"]
      },
      {
        Sid      = "Key"
        Effect   = "Allow"
        Action   = "kms:Decrypt"
        Resource = [var.kms_key_arn]
      },
      {
        Sid      = "Train"
        Effect   = "Allow"
        Action   = ["sagemaker:CreateTrainingJob", "sagemaker:DescribeTrainingJob", "sagemaker:StopTrainingJob"]
        Resource = [for name in local.notebook_names : "${local.sagemaker}:training-job/${name}-*"]
      },
      {
        Sid      = "Model"
        Effect   = "Allow"
        Action   = ["sagemaker:CreateModel", "sagemaker:DescribeModel", "sagemaker:DeleteModel"]
        Resource = [for name in local.notebook_names : "${local.sagemaker}:model/${name}"]
      },
      {
        Sid      = "EndpointConfig"
        Effect   = "Allow"
        Action   = ["sagemaker:CreateEndpointConfig", "sagemaker:DescribeEndpointConfig", "sagemaker:DeleteEndpointConfig"]
        Resource = [for name in local.notebook_names : "${local.sagemaker}:endpoint-config/${name}"]
      },
      {
        Sid    = "CreateEndpoint"
        Effect = "Allow"
        Action = "sagemaker:CreateEndpoint"
        Resource = flatten([
          for name in local.notebook_names : ["${local.sagemaker}:endpoint/${name}", "${local.sagemaker}:endpoint-config/${name}"]
        ])
      },
      {
        Sid      = "Endpoint"
        Effect   = "Allow"
        Action   = ["sagemaker:DescribeEndpoint", "sagemaker:InvokeEndpoint", "sagemaker:DeleteEndpoint"]
        Resource = [for name in local.notebook_names : "${local.sagemaker}:endpoint/${name}"]
      },
      {
        Sid       = "HandOverRole"
        Effect    = "Allow"
        Action    = "iam:PassRole"
        Resource  = [aws_iam_role.sagemaker.arn]
        Condition = { StringEquals = { "iam:PassedToService" = "sagemaker.amazonaws.com" } }
      },
      {
        Sid      = "StopItself"
        Effect   = "Allow"
        Action   = ["sagemaker:StopNotebookInstance", "sagemaker:DescribeNotebookInstance"]
        Resource = ["${local.sagemaker}:notebook-instance/${var.solution_prefix}-notebook"]
      },
      {
        Sid      = "Logs"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"]
        Resource = ["arn:aws:logs:${local.region}:${local.account}:log-group:/aws/sagemaker/NotebookInstances:*"]
      },
    ]
  })
}

resource "aws_sagemaker_notebook_instance" "this" {
  count                  = var.notebook ? 1 : 0
  name                   = "${var.solution_prefix}-notebook"
  role_arn               = aws_iam_role.notebook.arn
  instance_type          = var.notebook_instance_type
  volume_size            = var.notebook_volume_gb
  kms_key_id             = var.kms_key_arn
  subnet_id              = var.subnet_id
  security_groups        = [aws_security_group.notebook.id]
  direct_internet_access = "Disabled"
  root_access            = "Disabled"
  platform_identifier    = "notebook-al2023-v1"
  lifecycle_config_name  = aws_sagemaker_notebook_instance_lifecycle_configuration.this.name
  instance_metadata_service_configuration {
    minimum_instance_metadata_service_version = "2"
  }
}
