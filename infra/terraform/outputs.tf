output "kinesis_stream_name" {
  description = "KINESIS_STREAM_NAME."
  value       = module.stream.name
}

output "lambda_exec_role_arn" {
  description = "LAMBDA_EXEC_ROLE_ARN."
  value       = module.api.role_arn
}

output "rds_postgres_endpoint" {
  description = "POSTGRES_HOST, within the VPC alone."
  value       = module.warehouse.address
}

output "rds_postgres_port" {
  description = "POSTGRES_PORT."
  value       = module.warehouse.port
}

output "settings" {
  description = "Variables of .env.example, by name."
  value       = merge(local.settings, { POSTGRES_HOST = module.warehouse.address, POSTGRES_PORT = tostring(module.warehouse.port) })
}

output "owner_secret_arn" {
  description = "POSTGRES_SECRET_ARN: for migrations alone."
  value       = module.warehouse.owner_secret_arn
}

output "api_environment" {
  description = "Variables of the functions, for api/.chalice/config.json."
  value       = module.api.environment
}

output "function_names" {
  description = "Functions of the API, whose code is brought by its own deployment: app, authorize."
  value       = module.api.function_names
}

output "repository_url" {
  description = "Where the image is pushed to."
  value       = module.orchestration.repository_url
}

output "run_once" {
  description = "Options of `aws ecs run-task` for the tasks migrate, dagster-database and smoke."
  value = {
    cluster        = module.orchestration.cluster
    subnets        = module.network.private_subnet_ids
    security_group = module.orchestration.once_security_group_id
    task_prefix    = local.name
  }
}

output "door" {
  description = "Target of `aws ssm start-session`, and the domain of the pages behind it."
  value       = { instance_id = module.orchestration.door_instance_id, domain = module.orchestration.domain }
}

output "notebook_name" {
  description = "Of the notebook; null where there is none."
  value       = module.training.notebook_name
}
