terraform {
  required_version = ">= 1.10"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.0"
    }
  }
  # Bucket and key come from bootstrap/: `terraform init -backend-config=dev.s3.tfbackend`.
  backend "s3" {
    encrypt      = true
    use_lockfile = true
  }
}

provider "aws" {
  region              = var.region
  allowed_account_ids = [var.account]
  default_tags {
    tags = {
      project = "fraudit-${var.stage}"
      stage   = var.stage
    }
  }
}
