output "role_arn" {
  description = "What the function works as: LAMBDA_EXEC_ROLE_ARN."
  value       = aws_iam_role.this.arn
}

output "url" {
  description = "Of the stage: CHALICE_API_URL."
  value       = aws_api_gateway_stage.this.invoke_url
}

output "environment" {
  description = "Variables of the functions."
  value       = local.environment
}

output "function_names" {
  description = "By app, authorize."
  value       = { for key, function in aws_lambda_function.this : key => function.function_name }
}

output "keys_secret_arn" {
  description = "Of the secret with the hashed API keys."
  value       = aws_secretsmanager_secret.keys.arn
}
