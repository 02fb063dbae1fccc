# The key that encrypts everything at rest, and the buckets.

data "aws_caller_identity" "here" {}

data "aws_region" "here" {}

locals {
  account = data.aws_caller_identity.here.account_id
  region  = data.aws_region.here.region
  # What can be made again expires, by folder: not landing/, dataset/ and archive/, nor checkpoints, models, manifests.
  buckets = {
    data   = { name = var.data_bucket, expire = { "split/" = 90 } }
    stream = { name = var.stream_bucket, expire = { "tmp/" = 7, "spark-ui/" = 30 } }
    models = { name = var.model_bucket, expire = { "dagster/" = 90 } }
  }
}

resource "aws_kms_key" "this" {
  description             = "${var.name}: buckets, stream, database, secrets, topics, logs"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  # In a key's own policy "*" is this key.
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "AccountByItsPolicies"
        Effect    = "Allow"
        Principal = { AWS = "arn:aws:iam::${local.account}:root" }
        Action    = "kms:*"
        Resource  = "*"
      },
      {
        Sid       = "LogsOfThisAccount"
        Effect    = "Allow"
        Principal = { Service = "logs.${local.region}.amazonaws.com" }
        Action    = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncryptFrom", "kms:ReEncryptTo", "kms:GenerateDataKey", "kms:DescribeKey"]
        Resource  = "*"
        Condition = { ArnLike = { "kms:EncryptionContext:aws:logs:arn" = "arn:aws:logs:${local.region}:${local.account}:*" } }
      },
      {
        Sid       = "AlarmsToTopics"
        Effect    = "Allow"
        Principal = { Service = ["cloudwatch.amazonaws.com", "budgets.amazonaws.com", "events.amazonaws.com"] }
        Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource  = "*"
        Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
      },
    ]
  })
}

resource "aws_kms_alias" "this" {
  name          = "alias/${var.name}"
  target_key_id = aws_kms_key.this.key_id
}

module "bucket" {
  for_each    = local.buckets
  source      = "./bucket"
  name        = each.value.name
  expire      = each.value.expire
  kms_key_arn = aws_kms_key.this.arn
}
