# What holds the state of the rest: applied once for an account, with its own state in a file, before anything else. docs/terraform.md.

terraform {
  required_version = ">= 1.10"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.0"
    }
  }
}

variable "account" {
  description = "The AWS account that this is for."
  type        = string
}

variable "region" {
  description = "Of the state."
  type        = string
  default     = "eu-west-1"
}

provider "aws" {
  region              = var.region
  allowed_account_ids = [var.account]
}

resource "aws_kms_key" "state" {
  description             = "fraudit: state of Terraform"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  # In a key's own policy "*" is this key.
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "AccountByItsPolicies"
      Effect    = "Allow"
      Principal = { AWS = "arn:aws:iam::${var.account}:root" }
      Action    = "kms:*"
      Resource  = "*"
    }]
  })
}

# As the other buckets: versions of the last 30 days are a way back. The lock is an object beside the state.
module "state" {
  source      = "../modules/storage/bucket"
  name        = "fraudit-terraform-state-${var.region}-${var.account}"
  kms_key_arn = aws_kms_key.state.arn
  expire      = {}
}

output "bucket" {
  description = "For dev.s3.tfbackend and prod.s3.tfbackend."
  value       = "fraudit-terraform-state-${var.region}-${var.account}"
}
