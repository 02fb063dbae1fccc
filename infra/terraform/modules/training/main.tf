# What SageMaker works as, where models are registered, and a notebook.

data "aws_caller_identity" "here" {}

data "aws_region" "here" {}

locals {
  account = data.aws_caller_identity.here.account_id
  region  = data.aws_region.here.region
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

# A notebook that nobody works in costs money: it stops itself after an hour.
resource "aws_sagemaker_notebook_instance_lifecycle_configuration" "this" {
  name     = "${var.solution_prefix}-notebook"
  on_start = base64encode(file("${path.module}/on_start.sh"))
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
        Resource = ["${var.bucket_arns.data}/*", "${var.bucket_arns.models}/training/*", "${var.bucket_arns.models}/notebooks/*"]
      },
      {
        Sid      = "Write"
        Effect   = "Allow"
        Action   = "s3:PutObject"
        Resource = ["${var.bucket_arns.models}/notebooks/*", "${var.bucket_arns.data}/split/*"]
      },
      {
        Sid      = "Key"
        Effect   = "Allow"
        Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource = [var.kms_key_arn]
      },
      {
        Sid    = "TrainAndDeploy"
        Effect = "Allow"
        Action = [
          "sagemaker:CreateTrainingJob", "sagemaker:DescribeTrainingJob", "sagemaker:StopTrainingJob",
          "sagemaker:CreateModel", "sagemaker:DeleteModel", "sagemaker:CreateEndpointConfig", "sagemaker:DeleteEndpointConfig",
          "sagemaker:CreateEndpoint", "sagemaker:DescribeEndpoint", "sagemaker:DeleteEndpoint", "sagemaker:InvokeEndpoint",
        ]
        Resource = [
          for kind in ["training-job", "model", "endpoint-config", "endpoint"] :
          "arn:aws:sagemaker:${local.region}:${local.account}:${kind}/${var.solution_prefix}-notebook-*"
        ]
      },
      {
        Sid       = "HandOverRole"
        Effect    = "Allow"
        Action    = "iam:PassRole"
        Resource  = [aws_iam_role.sagemaker.arn]
        Condition = { StringEquals = { "iam:PassedToService" = "sagemaker.amazonaws.com" } }
      },
      {
        Sid    = "StopItself"
        Effect = "Allow"
        Action = ["sagemaker:StopNotebookInstance", "sagemaker:DescribeNotebookInstance"]
        Resource = [
          "arn:aws:sagemaker:${local.region}:${local.account}:notebook-instance/${var.solution_prefix}-notebook"
        ]
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
