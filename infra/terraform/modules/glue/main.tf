# The stream job. Its script, wheel and environment are uploaded by `fraudit prepare` and `make glue.deploy`; what it is told of
# PostgreSQL comes with each start.

data "aws_caller_identity" "here" {}

data "aws_region" "here" {}

locals {
  account = data.aws_caller_identity.here.account_id
  region  = data.aws_region.here.region
  bucket  = "s3://${var.stream_bucket_name}"
}

resource "aws_glue_job" "this" {
  name                   = var.name
  description            = "Predictions and labels from Kinesis to PostgreSQL"
  role_arn               = aws_iam_role.this.arn
  glue_version           = "6.0"
  worker_type            = var.worker_type
  number_of_workers      = var.most_workers
  connections            = [aws_glue_connection.vpc.name]
  security_configuration = aws_glue_security_configuration.this.name
  maintenance_window     = "Sun:03"
  # What failed is started by Dagster's monitor, which knows whether the job is to run.
  max_retries = 0
  command {
    name            = "gluestreaming"
    script_location = "${local.bucket}/glue/glue_job.py"
    python_version  = "3"
  }
  execution_property {
    max_concurrent_runs = 1
  }
  default_arguments = {
    "--extra-py-files"                   = "${local.bucket}/glue/fraudit_stream-py3-none-any.whl"
    "--python-virtual-env"               = "${local.bucket}/glue/environment.tar.gz"
    "--enable-auto-scaling"              = "true"
    "--enable-continuous-cloudwatch-log" = "true"
    "--enable-job-insights"              = "true"
    "--enable-metrics"                   = "true"
    "--enable-observability-metrics"     = "true"
    "--enable-spark-ui"                  = "true"
    "--spark-event-logs-path"            = "${local.bucket}/spark-ui/"
    "--TempDir"                          = "${local.bucket}/tmp/"
    "--aws_region"                       = local.region
    "--kinesis_stream"                   = var.stream_name
    "--s3_checkpoint_bucket"             = var.stream_bucket_name
    "--stage"                            = var.stage
    "--trigger_seconds"                  = tostring(var.trigger_s)
  }
}

resource "aws_glue_security_configuration" "this" {
  name = var.name
  encryption_configuration {
    cloudwatch_encryption {
      cloudwatch_encryption_mode = "SSE-KMS"
      kms_key_arn                = var.kms_key_arn
    }
    job_bookmarks_encryption {
      job_bookmarks_encryption_mode = "CSE-KMS"
      kms_key_arn                   = var.kms_key_arn
    }
    s3_encryption {
      s3_encryption_mode = "SSE-KMS"
      kms_key_arn        = var.kms_key_arn
    }
  }
}

# Workers in the VPC, beside the database; they reach AWS by its endpoints or the NAT, and no package index.
resource "aws_glue_connection" "vpc" {
  name            = "${var.name}-vpc"
  connection_type = "NETWORK"
  physical_connection_requirements {
    availability_zone      = var.zone
    subnet_id              = var.subnet_id
    security_group_id_list = [aws_security_group.this.id]
  }
}

resource "aws_security_group" "this" {
  name        = var.name
  description = "Workers of the stream job"
  vpc_id      = var.vpc_id
}

# Glue asks for it: driver and workers talk to each other on ports that Spark chooses.
resource "aws_vpc_security_group_ingress_rule" "each_other" {
  security_group_id            = aws_security_group.this.id
  description                  = "Workers among themselves"
  referenced_security_group_id = aws_security_group.this.id
  ip_protocol                  = "tcp"
  from_port                    = 0
  to_port                      = 65535
}

resource "aws_vpc_security_group_egress_rule" "each_other" {
  security_group_id            = aws_security_group.this.id
  description                  = "Workers among themselves"
  referenced_security_group_id = aws_security_group.this.id
  ip_protocol                  = "tcp"
  from_port                    = 0
  to_port                      = 65535
}

resource "aws_vpc_security_group_egress_rule" "aws" {
  security_group_id = aws_security_group.this.id
  description       = "HTTPS to AWS"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_vpc_security_group_egress_rule" "warehouse" {
  security_group_id            = aws_security_group.this.id
  description                  = "PostgreSQL"
  referenced_security_group_id = var.warehouse.security_group_id
  ip_protocol                  = "tcp"
  from_port                    = var.warehouse.port
  to_port                      = var.warehouse.port
}

resource "aws_vpc_security_group_ingress_rule" "warehouse" {
  security_group_id            = var.warehouse.security_group_id
  description                  = "The stream job"
  referenced_security_group_id = aws_security_group.this.id
  ip_protocol                  = "tcp"
  from_port                    = var.warehouse.port
  to_port                      = var.warehouse.port
}
