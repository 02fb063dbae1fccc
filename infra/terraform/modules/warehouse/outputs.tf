output "address" {
  description = "Host name."
  value       = aws_db_instance.this.address
}

output "port" {
  description = "Of PostgreSQL."
  value       = aws_db_instance.this.port
}

output "identifier" {
  description = "Of the instance, for its metrics."
  value       = aws_db_instance.this.identifier
}

output "security_group_id" {
  description = "Who is let in gets a rule here."
  value       = aws_security_group.this.id
}

output "owner_secret_arn" {
  description = "Secret of the owner, which AWS changes; for migrations alone."
  value       = aws_db_instance.this.master_user_secret[0].secret_arn
}

output "role_secret_arns" {
  description = "By writer, analyst, reader."
  value       = { for role, secret in aws_secretsmanager_secret.role : role => secret.arn }
}
