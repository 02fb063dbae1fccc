# What the job works as: its code needs the first part, Glue itself the second.

resource "aws_iam_role" "this" {
  name = "${var.solution_prefix}-glue"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "glue.amazonaws.com" }
    }]
  })
}

resource "aws_iam_role_policy" "job" {
  name = "stream"
  role = aws_iam_role.this.name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Events"
        Effect   = "Allow"
        Action   = ["kinesis:GetRecords", "kinesis:GetShardIterator", "kinesis:ListShards"]
        Resource = [var.stream_arn]
      },
      {
        Sid    = "Code"
        Effect = "Allow"
        Action = "s3:GetObject"
        Resource = [
          for name in ["glue_job.py", "fraudit_stream-py3-none-any.whl", "environment.tar.gz"] : "${var.stream_bucket_arn}/glue/${name}"
        ]
      },
      {
        Sid      = "Checkpoint"
        Effect   = "Allow"
        Action   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
        Resource = ["${var.stream_bucket_arn}/checkpoints/*", "${var.stream_bucket_arn}/tmp/*", "${var.stream_bucket_arn}/spark-ui/*"]
      },
      {
        Sid       = "FindCheckpoint"
        Effect    = "Allow"
        Action    = "s3:ListBucket"
        Resource  = [var.stream_bucket_arn]
        Condition = { StringLike = { "s3:prefix" = ["checkpoints/*", "tmp/*", "spark-ui/*", "glue/*"] } }
      },
      {
        Sid      = "Login"
        Effect   = "Allow"
        Action   = "secretsmanager:GetSecretValue"
        Resource = [var.writer_secret_arn]
      },
      {
        Sid      = "Key"
        Effect   = "Allow"
        Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource = [var.kms_key_arn]
      },
    ]
  })
}

resource "aws_iam_role_policy" "service" {
  name = "glue"
  role = aws_iam_role.this.name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Connection"
        Effect   = "Allow"
        Action   = "glue:GetConnection"
        Resource = ["arn:aws:glue:${local.region}:${local.account}:catalog", aws_glue_connection.vpc.arn]
      },
      {
        Sid      = "Logs"
        Effect   = "Allow"
        Action   = ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents", "logs:AssociateKmsKey"]
        Resource = ["arn:aws:logs:${local.region}:${local.account}:log-group:/aws-glue/*"]
      },
      {
        Sid       = "Metrics"
        Effect    = "Allow"
        Action    = "cloudwatch:PutMetricData"
        Resource  = "*"
        Condition = { StringEquals = { "cloudwatch:namespace" = "Glue" } }
      },
      {
        Sid    = "LookAtNetwork"
        Effect = "Allow"
        Action = [
          "ec2:DescribeNetworkInterfaces", "ec2:DescribeRouteTables", "ec2:DescribeSecurityGroups", "ec2:DescribeSubnets",
          "ec2:DescribeVpcEndpoints",
        ]
        Resource = "*"
      },
      {
        Sid      = "LookAtVpc"
        Effect   = "Allow"
        Action   = "ec2:DescribeVpcAttribute"
        Resource = ["arn:aws:ec2:${local.region}:${local.account}:vpc/${var.vpc_id}"]
      },
      {
        Sid    = "MakeInterface"
        Effect = "Allow"
        Action = "ec2:CreateNetworkInterface"
        Resource = [
          "arn:aws:ec2:${local.region}:${local.account}:subnet/${var.subnet_id}",
          "arn:aws:ec2:${local.region}:${local.account}:security-group/${aws_security_group.this.id}",
          "arn:aws:ec2:${local.region}:${local.account}:network-interface/*",
        ]
      },
      {
        Sid       = "TagInterface"
        Effect    = "Allow"
        Action    = ["ec2:CreateTags", "ec2:DeleteTags"]
        Resource  = ["arn:aws:ec2:${local.region}:${local.account}:network-interface/*"]
        Condition = { "ForAllValues:StringEquals" = { "aws:TagKeys" = ["aws-glue-service-resource"] } }
      },
      {
        Sid       = "RemoveInterface"
        Effect    = "Allow"
        Action    = "ec2:DeleteNetworkInterface"
        Resource  = ["arn:aws:ec2:${local.region}:${local.account}:network-interface/*"]
        Condition = { StringEquals = { "ec2:Subnet" = "arn:aws:ec2:${local.region}:${local.account}:subnet/${var.subnet_id}" } }
      },
    ]
  })
}
