output "bucket_arns" {
  description = "By data, stream, models."
  value       = { for key, bucket in module.bucket : key => bucket.arn }
}

output "bucket_names" {
  description = "By data, stream, models."
  value       = { for key, bucket in module.bucket : key => bucket.name }
}

output "kms_key_arn" {
  description = "Of the key that encrypts everything at rest."
  value       = aws_kms_key.this.arn
}
