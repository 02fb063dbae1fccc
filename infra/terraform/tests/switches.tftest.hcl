# What the modules' variables switch. No provider is asked: `make tf.test`, or `terraform test` where the true one is installed.

mock_provider "aws" {
  mock_data "aws_availability_zones" {
    defaults = { names = ["eu-west-1a", "eu-west-1b", "eu-west-1c"] }
  }
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_region" {
    defaults = { region = "eu-west-1" }
  }
}

run "one_way_out_for_all_zones" {
  command = plan
  module {
    source = "./modules/network"
  }
  variables {
    name                = "fraudit"
    cidr                = "10.20.0.0/16"
    zones               = 2
    nat_per_zone        = false
    interface_endpoints = []
    kms_key_arn         = "arn:aws:kms:eu-west-1:123456789012:key/1"
    log_days            = 365
  }
  assert {
    condition     = length(aws_nat_gateway.this) == 1
    error_message = "a development profile pays for one NAT gateway"
  }
  assert {
    condition     = length(aws_route_table.private) == 2
    error_message = "each zone has its own routes, whatever way out they lead to"
  }
  assert {
    condition     = length(aws_security_group.endpoints) == 0
    error_message = "no endpoints, no group of endpoints"
  }
}

run "a_way_out_in_each_zone" {
  command = plan
  module {
    source = "./modules/network"
  }
  variables {
    name                = "fraudit"
    cidr                = "10.20.0.0/16"
    zones               = 3
    nat_per_zone        = true
    interface_endpoints = ["kinesis-streams", "secretsmanager"]
    kms_key_arn         = "arn:aws:kms:eu-west-1:123456789012:key/1"
    log_days            = 365
  }
  assert {
    condition     = length(aws_nat_gateway.this) == 3
    error_message = "a zone that is lost must not take another's way out with it"
  }
  assert {
    condition     = length(distinct([for subnet in concat(values(aws_subnet.private), values(aws_subnet.public)) : subnet.cidr_block])) == 6
    error_message = "no two subnets have the same addresses"
  }
  assert {
    condition     = length(aws_vpc_endpoint.services) == 2
    error_message = "each service that is named has an endpoint"
  }
}

run "a_database_that_stays" {
  command = plan
  module {
    source = "./modules/warehouse"
  }
  variables {
    name           = "fraudit-prod"
    database       = "fraudit_postgres_db"
    secrets        = "fraudit/warehouse"
    vpc_id         = "vpc-1"
    subnet_ids     = ["subnet-1", "subnet-2"]
    instance_class = "db.m7g.large"
    storage_gb     = 100
    multi_az       = true
    protected      = true
    log_days       = 365
    kms_key_arn    = "arn:aws:kms:eu-west-1:123456789012:key/1"
  }
  assert {
    condition     = aws_db_instance.this.deletion_protection && aws_db_instance.this.final_snapshot_identifier == "fraudit-prod-final"
    error_message = "a protected database is not deleted, and leaves a snapshot"
  }
  assert {
    condition     = toset(keys(aws_secretsmanager_secret.role)) == toset(["analyst", "reader", "writer"])
    error_message = "each who asks the database has a secret of its own"
  }
}

run "a_database_that_goes" {
  command = plan
  module {
    source = "./modules/warehouse"
  }
  variables {
    name           = "fraudit-dev"
    database       = "fraudit_postgres_db"
    secrets        = "fraudit/warehouse"
    vpc_id         = "vpc-1"
    subnet_ids     = ["subnet-1", "subnet-2"]
    instance_class = "db.t3.micro"
    storage_gb     = 20
    multi_az       = false
    protected      = false
    log_days       = 365
    kms_key_arn    = "arn:aws:kms:eu-west-1:123456789012:key/1"
  }
  assert {
    condition     = !aws_db_instance.this.deletion_protection && aws_db_instance.this.skip_final_snapshot
    error_message = "a database for development can be taken down by one command"
  }
  assert {
    condition     = aws_db_instance.this.backup_retention_period == 7 && !aws_db_instance.this.publicly_accessible
    error_message = "it has backups and is private all the same"
  }
}

run "what_expires" {
  command = plan
  module {
    source = "./modules/storage/bucket"
  }
  variables {
    name        = "fraud-detection-data-bucket-eu-west-1-123456789012"
    expire      = { "split/" = 90 }
    kms_key_arn = "arn:aws:kms:eu-west-1:123456789012:key/1"
  }
  assert {
    condition     = [for rule in aws_s3_bucket_lifecycle_configuration.this.rule : rule.filter[0].prefix if length(rule.expiration) > 0] == ["split/"]
    error_message = "what is not named stays"
  }
}
