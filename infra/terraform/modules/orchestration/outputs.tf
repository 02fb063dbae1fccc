output "repository_url" {
  description = "Where the image is pushed to."
  value       = aws_ecr_repository.this.repository_url
}

output "cluster" {
  description = "Of the tasks, for `aws ecs run-task`."
  value       = aws_ecs_cluster.this.name
}

output "once_security_group_id" {
  description = "Of tasks that run once, for `aws ecs run-task`."
  value       = aws_security_group.this["once"].id
}

output "door_instance_id" {
  description = "Target of `aws ssm start-session`."
  value       = aws_instance.door.id
}

output "domain" {
  description = "webserver.<this>:3000 and dashboard.<this>:8501 are the pages."
  value       = local.domain
}
