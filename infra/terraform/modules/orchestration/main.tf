# Dagster and the dashboard on ECS, from one image (docs/containers.md), each confined. Nobody comes in but through the door (door.tf):
# neither Dagster nor its code server asks who calls.

data "aws_caller_identity" "here" {}

data "aws_region" "here" {}

locals {
  account  = data.aws_caller_identity.here.account_id
  region   = data.aws_region.here.region
  services = { for name, task in local.tasks : name => task if task.runs }
  # What it is reached at within the VPC, such as code.fraudit-dev.internal.
  domain = "${var.name}.internal"
}

resource "aws_ecr_repository" "this" {
  name                 = var.name
  image_tag_mutability = "IMMUTABLE"
  image_scanning_configuration {
    scan_on_push = true
  }
  encryption_configuration {
    encryption_type = "KMS"
    kms_key         = var.kms_key_arn
  }
}

resource "aws_ecr_lifecycle_policy" "this" {
  repository = aws_ecr_repository.this.name
  policy = jsonencode({
    rules = [{
      rulePriority = 1
      description  = "The last ten images"
      selection    = { tagStatus = "any", countType = "imageCountMoreThan", countNumber = 10 }
      action       = { type = "expire" }
    }]
  })
}

resource "aws_ecs_cluster" "this" {
  name = var.name
  setting {
    name  = "containerInsights"
    value = "enabled"
  }
}

resource "aws_service_discovery_private_dns_namespace" "this" {
  name        = local.domain
  description = "Names of the tasks"
  vpc         = var.vpc_id
}

resource "aws_service_discovery_service" "this" {
  for_each = { for name, task in local.services : name => task if task.port != null }
  name     = each.key
  dns_config {
    namespace_id = aws_service_discovery_private_dns_namespace.this.id
    dns_records {
      type = "A"
      ttl  = 10
    }
  }
}

resource "aws_ecs_service" "this" {
  for_each         = local.services
  name             = each.key
  cluster          = aws_ecs_cluster.this.arn
  task_definition  = aws_ecs_task_definition.this[each.key].arn
  desired_count    = !var.running || (each.key == "dashboard" && length(var.dashboard_users) == 0) ? 0 : 1
  launch_type      = "FARGATE"
  platform_version = "LATEST"
  # The old task ends before the new one starts: two daemons would do everything twice.
  deployment_minimum_healthy_percent = 0
  deployment_maximum_percent         = 100
  propagate_tags                     = "SERVICE"
  network_configuration {
    subnets          = var.subnet_ids
    security_groups  = [aws_security_group.this[each.value.group].id]
    assign_public_ip = false
  }
  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }
  dynamic "service_registries" {
    for_each = each.value.port == null ? [] : [each.key]
    content {
      registry_arn = aws_service_discovery_service.this[each.key].arn
    }
  }
}
